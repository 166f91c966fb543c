"""Encoder layers with fewer heads and neurons than the encoder's config says: find and shrink their matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer_ext.errors import UserError

# Encoders that name their matrices as BERT does.
LIKE_BERT = ("bert", "roberta", "xlm-roberta", "electra")
NARROWABLE = (*LIKE_BERT, "distilbert")


@dataclass(frozen=True)
class Block:
    """The matrices of one encoder layer.

    Attributes:
        attention: the module that divides its states into heads.
        projections: names of the query, key and value in `attention`.
        attention_output: the module with the matrix that reads the heads, and its name there.
        inner, outer: the modules with the feed-forward matrices, and their names there.
    """

    attention: Any
    projections: tuple[str, str, str]
    attention_output: tuple[nn.Module, str]
    inner: tuple[nn.Module, str]
    outer: tuple[nn.Module, str]

    @property
    def head_size(self) -> int:
        """Return the width of a head, which narrowing leaves as it is."""
        size: int = self.attention.attention_head_size
        return size

    @property
    def heads(self) -> int:
        """Return the number of heads."""
        query: nn.Linear = getattr(self.attention, self.projections[0])
        return query.out_features // self.head_size

    @property
    def inner_size(self) -> int:
        """Return the number of feed-forward neurons."""
        return linear_at(self.inner).out_features


def linear_at(place: tuple[nn.Module, str]) -> nn.Linear:
    """Return the matrix at a place."""
    module, name = place
    linear: nn.Linear = getattr(module, name)
    return linear


def layers_of(encoder: Any) -> nn.ModuleList:
    """Return the layers of an encoder.

    Raises:
        UserError: for an encoder whose layers are not known here.
    """
    kind = encoder.config.model_type
    layers: nn.ModuleList
    if kind in LIKE_BERT:
        layers = encoder.encoder.layer
        return layers
    if kind == "distilbert":
        layers = encoder.transformer.layer
        return layers
    raise UserError(
        f"an encoder of the kind {kind} cannot be cut; those that can: {', '.join(NARROWABLE)}"
    )


def set_layers(encoder: Any, layers: nn.ModuleList) -> None:
    """Put other layers in the place of an encoder's, one of those that `layers_of` knows."""
    if encoder.config.model_type == "distilbert":
        encoder.transformer.layer = layers
    else:
        encoder.encoder.layer = layers


def evenly(depth: int, count: int) -> list[int]:
    """Return the numbers of `count` layers of `depth`, the last one among them: of 12 and 4 these are 2, 5, 8, 11.

    DistilBERT (Sanh et al., arXiv:1910.01108, section 3) and TinyBERT's uniform layer map choose so.
    """
    return [(number + 1) * depth // count - 1 for number in range(count)]


def blocks_of(encoder: Any) -> list[Block]:
    """Return the matrices of each layer, or raise `UserError` for an encoder that is not known here."""
    layers = layers_of(encoder)
    if encoder.config.model_type == "distilbert":
        return [block_of_distilbert(layer) for layer in layers]
    return [block_of_bert(layer) for layer in layers]


def block_of_bert(layer: Any) -> Block:
    """Return the matrices of a layer named as BERT's."""
    return Block(
        layer.attention.self,
        ("query", "key", "value"),
        (layer.attention.output, "dense"),
        (layer.intermediate, "dense"),
        (layer.output, "dense"),
    )


def block_of_distilbert(layer: Any) -> Block:
    """Return the matrices of a DistilBERT layer."""
    return Block(
        layer.attention,
        ("q_lin", "k_lin", "v_lin"),
        (layer.attention, "out_lin"),
        (layer.ffn, "lin1"),
        (layer.ffn, "lin2"),
    )


def sizes_of(encoder: Any) -> list[dict[str, int]]:
    """Return heads and inner size of each layer, as config.json holds them."""
    return [{"heads": block.heads, "inner": block.inner_size} for block in blocks_of(encoder)]


def resize(encoder: Any, sizes: Sequence[dict[str, int]]) -> None:
    """Give each layer the first heads and neurons only, before its weights are loaded."""
    for block, size in zip(blocks_of(encoder), sizes, strict=True):
        keep(block, torch.arange(size["heads"]), torch.arange(size["inner"]))


def keep(block: Block, heads: Tensor, neurons: Tensor) -> None:
    """Keep some heads and feed-forward neurons of a layer, in the order given.

    Args:
        block: changed in place.
        heads: numbers of the heads (int64), in 0 ... heads - 1.
        neurons: numbers of the neurons (int64), in 0 ... inner size - 1.
    """
    # The outputs of a projection are grouped by head.
    columns = (heads[:, None] * block.head_size + torch.arange(block.head_size)).flatten()
    for name in block.projections:
        setattr(block.attention, name, with_outputs(getattr(block.attention, name), columns))
    # What reads the heads loses the same columns, so that nothing else changes.
    set_linear(block.attention_output, with_inputs(linear_at(block.attention_output), columns))
    set_linear(block.inner, with_outputs(linear_at(block.inner), neurons))
    set_linear(block.outer, with_inputs(linear_at(block.outer), neurons))
    set_head_count(block.attention, len(heads))


def set_head_count(attention: Any, heads: int) -> None:
    """Tell an attention how many heads its matrices have, under the names of both transformers 4.57 and 5."""
    width = heads * attention.attention_head_size
    values = {
        "num_attention_heads": heads,
        "n_heads": heads,
        "all_head_size": width,
        "dim": width,
    }
    for name, value in values.items():
        # Each kind of encoder has some of these names.
        if hasattr(attention, name):
            setattr(attention, name, value)


def set_linear(place: tuple[nn.Module, str], linear: nn.Linear) -> None:
    """Put a matrix at a place."""
    module, name = place
    setattr(module, name, linear)


def with_outputs(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    """Return the matrix with some of its outputs."""
    return linear_with(linear, linear.weight[rows], linear.bias[rows])


def with_inputs(linear: nn.Linear, columns: Tensor) -> nn.Linear:
    """Return the matrix that reads some of its inputs."""
    return linear_with(linear, linear.weight[:, columns], linear.bias)


def linear_with(linear: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a matrix of new weights that is trained if the old one is."""
    # Without memory, as its weights are replaced at once.
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=linear.weight.requires_grad)
    made.bias = nn.Parameter(bias.detach().clone(), requires_grad=linear.bias.requires_grad)
    made.train(linear.training)
    return made
