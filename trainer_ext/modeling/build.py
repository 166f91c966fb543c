"""The tokenizer and the model a run starts from: from scratch, a pretrained encoder, or a checkpoint of ours."""

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from tokenizers.pre_tokenizers import Metaspace
from transformers import (
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.compatibility import has_vocabulary
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.plain_checkpoint import position_limit
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import UserError
from trainer_ext.modeling.bilstm import BiLstmConfig
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.embeddings_from import FLAG as EMBEDDINGS_FROM
from trainer_ext.modeling.embeddings_from import take_embeddings
from trainer_ext.modeling.model import EncoderWithHead, from_pretrained_encoder
from trainer_ext.modeling.overrides import override_config
from trainer_ext.modeling.own_code import is_checkpoint, read_config
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.modeling.scratch import scratch_config, train_tokenizer
from trainer_ext.modeling.static import StaticConfig
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded
from trainer_ext.tasks import Task
from trainer_ext.tasks.label_space import outputs_of

# Heads that a pretrained model may come with. Between the encoder and its labels each architecture has layers of its
# own, which our heads do not have, so that their weights cannot be used.
TRAINED_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")
# Their first token has not read the text, or no more of it than the others.
OWN_POOLINGS = {BiLstmConfig.model_type: "attention", StaticConfig.model_type: "mean_hidden"}
LONGEST_LIST = 120  # characters of label names in a message

logger = logging.getLogger(__name__)


def build_tokenizer(
    model: ModelArguments,
    data: DataArguments,
    texts: Iterable[str],
    by_character: bool = False,
) -> PreTrainedTokenizerBase:
    """Return the pretrained tokenizer, that of `embeddings_from`, or one trained on `texts` (the training part only).

    Args:
        model: where it comes from.
        data: for `max_length`.
        texts: a new one is trained on.
        by_character: whether texts are read character by character. A checkpoint of ours was trained one way already.

    Raises:
        UserError: if it cannot be loaded, or is a slow one (inference needs `tokenizer.json`).
    """
    given, flag = model.model_name_or_path or "", "model_name_or_path"
    if model.from_scratch != "none":
        if not model.embeddings_from:
            return train_tokenizer(texts, model.vocab_size, data.max_length)
        given, flag = model.embeddings_from, EMBEDDINGS_FROM
    name = encoder_path(given, flag)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=model.trust_remote_code)
    except (
        Exception
    ) as error:  # AttributeError, TypeError ... if the package of its format is missing
        raise cannot_load(name, error, flag) from error
    if not has_vocabulary(tokenizer):
        raise UserError(f"{flag} {name} cannot be loaded: it has no vocabulary")
    if not tokenizer.is_fast:
        raise UserError(f"{name} has no fast tokenizer (tokenizer.json), which prediction needs")
    read_as_prediction(tokenizer, name)
    tokenizer.model_max_length = data.max_length
    if by_character and not is_checkpoint(name):
        read_as_characters(tokenizer)
    return tokenizer


def read_as_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    """Put no blank before words that are the characters of one text.

    SentencePiece puts one before each word. Most characters are no piece together with it, and would take two tokens.
    """
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(pre_tokenizer, Metaspace):
        pre_tokenizer.prepend_scheme = "never"


def read_as_prediction(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Undo settings of a pretrained tokenizer that are not in tokenizer.json, all that prediction reads.

    Raises:
        UserError: if it has no token to pad with.
    """
    tokenizer.truncation_side = "right"  # --truncation decides which part stays
    tokenizer.padding_side = "right"
    tokenizer.split_special_tokens = False
    tokenizer.backend_tokenizer.encode_special_tokens = False
    if "attention_mask" not in tokenizer.model_input_names:  # without it padding would be read
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
    if tokenizer.pad_token_id is None:  # decoders; any token will do, as padding is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no pad_token, and no eos_token to pad with instead"
        )


def build_model(
    model: ModelArguments,
    data: DataArguments,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    pipeline: Pipeline,
    labels: Sequence[Any] = (),
) -> EncoderWithHead:
    """Build a model for `task`; its head is fresh unless `model_name_or_path` is a checkpoint with the same head.

    Args:
        model: where the encoder comes from, pooling and head.
        data: for `max_length`.
        task: decides the shape of the head.
        tokenizer: of the model.
        pipeline: travels in the model's config.
        labels: encoded, of the training part; a fresh regression head starts at their scale.

    Raises:
        UserError: if the weights cannot be loaded, or the encoder cannot take `max_length` tokens.
    """
    name = encoder_path(model.model_name_or_path or "")
    found = start_config(name, model, tokenizer, data.max_length)
    checkpoint = found if isinstance(found, EncoderWithHeadConfig) else None
    encoder = checkpoint.encoder if checkpoint else found
    check_positions(encoder, data.max_length)
    if checkpoint:
        # These say how to train, not what the weights are.
        checkpoint.head_dropout = model.head_dropout
        checkpoint.multi_sample_dropout = model.multi_sample_dropout
        difference = head_difference(name, checkpoint, model, task)
        if not difference:
            return continue_from(name, checkpoint, pipeline, model.trust_remote_code)
        if not model.ignore_mismatched_sizes:
            raise UserError(
                f"{difference}; --ignore_mismatched_sizes true takes its encoder and gives it a fresh head"
            )
    note_what_is_lost(name, found, pooling_of(encoder, model), tokenizer)
    config = fresh_head_config(encoder, model, task, tokenizer, pipeline, labels)
    try:
        built = with_fresh_head(name, config, checkpoint, model)
    except (
        Exception
    ) as error:  # transformers and torch raise many types for values that no encoder can have
        if model.config_overrides:
            raise UserError(
                f"config_overrides {model.config_overrides}: {why_not_loaded(error, WITH_FLAG)}"
            ) from error
        raise cannot_load(name, error) from error
    if model.embeddings_from:
        take_embeddings(built, model.embeddings_from, len(tokenizer), model.trust_remote_code)
    return built


def start_config(
    name: str,
    model: ModelArguments,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> PretrainedConfig:
    """Return the config to start from: of an encoder from scratch, a pretrained one, or a checkpoint of ours.

    Raises:
        UserError: if it cannot be read, or `config_overrides` do not fit it.
    """
    if model.from_scratch != "none":
        return scratch_config(model.from_scratch, model.config_overrides, tokenizer, max_length)
    try:
        found = read_config(name, model.trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise cannot_load(name, error) from error
    encoder = found.encoder if isinstance(found, EncoderWithHeadConfig) else found
    override_config(encoder, model.config_overrides, pretrained=True)
    if not isinstance(found, EncoderWithHeadConfig):
        return found
    # Fitted to the model as it was.
    found.ood_classes = 0
    if found.layer_sizes:
        # `num_hidden_layers` may have been overridden.
        found.layer_sizes = found.layer_sizes[: encoder.num_hidden_layers]
    return found


def pooling_of(encoder: PretrainedConfig, model: ModelArguments) -> str:
    """Return the pooling that was asked for, or else the encoder's own; `cls` for those of transformers."""
    return model.pooling or OWN_POOLINGS.get(encoder.model_type, "cls")


def fresh_head_config(
    encoder: PretrainedConfig,
    model: ModelArguments,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    pipeline: Pipeline,
    labels: Sequence[Any],
) -> EncoderWithHeadConfig:
    """Return the config of an encoder with a fresh head for `task`."""
    scale: dict[str, Any] = task.head_scale(labels)
    return EncoderWithHeadConfig(
        encoder=encoder,
        head_shape=list(task.head_shape),
        token_classes=task.token_classes,
        pooling=pooling_of(encoder, model),
        head_dropout=model.head_dropout,
        multi_sample_dropout=model.multi_sample_dropout,
        pipeline=pipeline.to_dict(),
        pad_token_id=tokenizer.pad_token_id,
        **for_pipelines(task),
        **scale,
    )


def with_fresh_head(
    name: str,
    config: EncoderWithHeadConfig,
    checkpoint: EncoderWithHeadConfig | None,
    model: ModelArguments,
) -> EncoderWithHead:
    """Build the model, with the encoder's weights unless it is one from scratch."""
    own_code = model.trust_remote_code
    if model.from_scratch != "none":
        return EncoderWithHead(config)
    if checkpoint is None:
        return from_pretrained_encoder(name, config, own_code)
    fresh = EncoderWithHead(config, own_code)
    trained = EncoderWithHead.from_pretrained(name, config=checkpoint, own_code=own_code)
    fresh.encoder = trained.encoder
    fresh.config.layer_sizes = checkpoint.layer_sizes
    return fresh


def continue_from(
    name: str,
    config: EncoderWithHeadConfig,
    pipeline: Pipeline,
    own_code: bool,
) -> EncoderWithHead:
    """Train on from a checkpoint of this project, head and all."""
    try:
        model = EncoderWithHead.from_pretrained(name, config=config, own_code=own_code)
    except Exception as error:
        raise cannot_load(name, error) from error
    model.config.pipeline = pipeline.to_dict()
    return model


def for_pipelines(task: Task) -> dict[str, Any]:
    """Return config values from which transformers' text-classification pipeline answers as we do, or refuses."""
    if task.no_pipeline:
        # Without labels the pipeline looks up its function here, and names this text in its error.
        return {"id2label": {}, "label2id": {}, "function_to_apply": f"none, as {task.no_pipeline}"}
    names = task.label_space.classes or task.label_space.columns
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": task.problem_type,
    }


def note_what_is_lost(
    name: str,
    found: PretrainedConfig,
    pooling: str,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Note which parts of a pretrained model a fresh head does not use."""
    trained = [kind for kind in found.architectures or () if kind.endswith(TRAINED_HEADS)]
    if trained and not isinstance(found, EncoderWithHeadConfig):
        logger.info(
            "fresh head: the one that %s was trained with (%s) is not used", name, trained[0]
        )
    first_token = tokenizer("a")["input_ids"][:1]
    if pooling == "cls" and not set(first_token) & set(tokenizer.all_special_ids):
        logger.warning(
            "pooling cls reads the first token, but the tokenizer of %s does not put a special one "
            "there; see --pooling mean",
            name,
        )


def head_difference(
    name: str,
    checkpoint: EncoderWithHeadConfig,
    model: ModelArguments,
    task: Task,
) -> str:
    """Return how a checkpoint's head differs from the one this run asks for; empty if it fits."""
    if model.pooling not in (None, checkpoint.pooling):
        return (
            f"pooling {model.pooling} is not that of {name}, "
            f"whose head was trained on {checkpoint.pooling}"
        )
    trained_task = checkpoint.pipeline.get("task")
    if trained_task != task.name:
        return f"{name} was trained for the task {trained_task}, but this run's is {task.name}"
    trained = outputs_of(checkpoint.pipeline.get("label_space", {}))
    asked = outputs_of(task.label_space.to_dict())
    for what in {**trained, **asked}:
        if trained.get(what) != asked.get(what):
            before = shorten(trained.get(what))
            now = shorten(asked.get(what))
            return f"{name} was trained for the {what} {before}, but this run's are {now}"
    return ""


def shorten(values: Any) -> str:
    """Return a list of names as text, not longer than a line."""
    text = str(values)
    if isinstance(values, list):
        text = ", ".join(map(str, values))
    if len(text) <= LONGEST_LIST:
        return text
    return f"{text[: LONGEST_LIST - 3]}..."


def check_positions(encoder: PretrainedConfig, max_length: int) -> None:
    """Raise `UserError` for a `max_length` beyond the encoder's position embeddings."""
    positions = position_limit(encoder.to_dict())
    if positions is not None and positions < max_length:
        raise UserError(
            f"max_length {max_length} is more than the {positions} positions of the encoder"
        )


def pipeline_of(
    data: DataArguments,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    cleaning: Cleaning,
    data_hash: str,
    validation_hash: str | None = None,
) -> Pipeline:
    """Describe what inference needs beside the weights; it travels in the checkpoint's config."""
    return Pipeline(
        task=task,
        text_column=data.text_column,
        id_column=data.id_column,
        cleaning=cleaning,
        max_length=data.max_length,
        truncation=Truncation(data.truncation, data.truncation_head_share, data.truncation_marker),
        input_names=tokenizer.model_input_names,
        pad_token_id=tokenizer.pad_token_id,
        train_data_sha256=data_hash,
        validation_data_sha256=validation_hash,
        versions={name: version(name) for name in ("torch", "transformers", "tokenizers")},
    )


def cannot_load(name: str, error: Exception, flag: str = "model_name_or_path") -> UserError:
    """Return one line for the many ways in which transformers says that a model is missing or broken."""
    return UserError(f"{flag} {name} cannot be loaded: {why_not_loaded(error, WITH_FLAG)}")
