"""`--embeddings_from`: a fresh encoder starts with the word embeddings of another one, whose tokenizer it has."""

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from trainer_ext.errors import UserError
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.own_code import read_config
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded

FLAG = "embeddings_from"

logger = logging.getLogger(__name__)


@torch.no_grad()
def take_embeddings(model: EncoderWithHead, name: str, tokens: int, own_code: bool = False) -> None:
    """Replace the word embeddings of a fresh model by those of another encoder, and log how.

    Narrower ones get the principal components of the other's (`principal_components`).

    Args:
        model: its embeddings are changed in place.
        name: of a pretrained encoder (hub name or folder), or of a checkpoint of ours.
        tokens: of the tokenizer that both have.
        own_code: whether code that `name` brings may be run.

    Raises:
        UserError: if it cannot be loaded, or its embeddings are narrower.
    """
    target = matrix_of(model.encoder)
    # An encoder may have more rows than its tokenizer has tokens, or fewer.
    source = word_embeddings(name, own_code)[:tokens]
    width, own_width = target.shape[1], source.shape[1]
    if width > own_width:
        raise UserError(
            f"{FLAG} {name}: its embeddings are {own_width} wide, and those of the model {width}: give it at most as "
            "many with --config_overrides (embedding_size of a bilstm, hidden_size of the others)"
        )
    if width == own_width:
        logger.info("%s %s: %d vectors as they are, %d wide", FLAG, name, len(source), width)
    else:
        source, explained = principal_components(source, width)
        logger.info(
            "%s %s: %d vectors, %d of %d principal components, %.1f%% of the variance",
            FLAG,
            name,
            len(source),
            width,
            own_width,
            100 * explained,
        )
    target[: len(source)] = source


def word_embeddings(name: str, own_code: bool = False) -> Tensor:
    """Return the input embeddings (rows, width) of an encoder, in float32."""
    path = encoder_path(name, FLAG)
    encoder: PreTrainedModel
    try:
        config = read_config(path, own_code)
        if isinstance(config, EncoderWithHeadConfig):
            checkpoint = EncoderWithHead.from_pretrained(path, config=config, own_code=own_code)
            encoder = checkpoint.encoder
        else:
            encoder = AutoModel.from_pretrained(
                path, config=config, dtype=torch.float32, trust_remote_code=own_code
            )
    except Exception as error:  # of many unrelated types, for as many kinds of damage
        raise UserError(
            f"{FLAG} {name} cannot be loaded: {why_not_loaded(error, WITH_FLAG)}"
        ) from error
    return matrix_of(encoder).detach().float()


def matrix_of(encoder: PreTrainedModel) -> Tensor:
    """Return the input embeddings (rows, width) themselves."""
    embeddings: Any = encoder.get_input_embeddings()
    weight: Tensor = embeddings.weight
    return weight


def principal_components(vectors: Tensor, width: int) -> tuple[Tensor, float]:
    """Return vectors in the `width` directions in which they vary most, from their mean, and the share of variance.

    Source: Pearson 1901, On lines and planes of closest fit; Eckart & Young 1936: no other linear map to this width
    loses less of their squared distances.

    Args:
        vectors: (N, H).
        width: at most H.

    Returns:
        (N, width) in float32, and the share of the variance that is kept, in 0..1.
    """
    centred = vectors.double()
    centred = centred - centred.mean(dim=0)
    # Of the H x H matrix: a vocabulary has far more rows than columns. Ascending.
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    kept = directions[:, -width:].flip(1)
    # A direction and its opposite are as good: the largest entry is positive, on every machine.
    largest = kept.abs().argmax(dim=0)
    kept = kept * kept.gather(0, largest[None]).sign()
    total = float(variances.sum())
    explained = float(variances[-width:].sum()) / total if total else 1.0
    return (centred @ kept).float(), explained
