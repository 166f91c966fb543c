"""The tokenizer and the model a run starts from: from scratch, a pretrained encoder, or a checkpoint of ours."""

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from transformers import (
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.errors import UserError
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.model import EncoderWithHead, from_pretrained_encoder
from trainer_ext.modeling.overrides import override_config
from trainer_ext.modeling.own_code import read_config
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.modeling.scratch import scratch_config, train_tokenizer
from trainer_ext.remote_code import WITH_FLAG, why_not_loaded
from trainer_ext.tasks import Task
from trainer_ext.tasks.label_space import outputs_of

TRAINED_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")
POSITIONS_AFTER_PADDING = {
    *(
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "mpnet",
        "data2vec-text",
        "roberta-prelayernorm",
    ),
    *("ibert", "xmod", "longformer"),
}


def build_tokenizer(
    model: ModelArguments, data: DataArguments, texts: Iterable[str]
) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer, or one trained on `texts` (the training part only).

    Raises:
        UserError: when it cannot be loaded, or is a slow one (inference needs `tokenizer.json`).
    """
    if model.from_scratch != "none":
        return train_tokenizer(texts, model.vocab_size, data.max_length)
    name = encoder_path(model.model_name_or_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=model.trust_remote_code)
    except (
        Exception
    ) as error:  # without the package of its format it is AttributeError, TypeError, ...
        raise cannot_load(name, error) from error
    if not tokenizer.is_fast:
        raise UserError(f"{name} has no fast tokenizer (tokenizer.json), which prediction needs")
    read_as_prediction(tokenizer, name)
    tokenizer.model_max_length = data.max_length
    return tokenizer


def read_as_prediction(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Undo settings of a pretrained tokenizer that prediction, which knows its tokenizer.json only, would not obey.

    Raises:
        UserError: when it has no token to pad with.
    """
    tokenizer.truncation_side = "right"  # --truncation keeps other parts
    tokenizer.padding_side = "right"
    tokenizer.split_special_tokens = tokenizer.backend_tokenizer.encode_special_tokens = False
    if "attention_mask" not in tokenizer.model_input_names:  # without it padding would be read
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
    if tokenizer.pad_token_id is None:  # decoders; whatever it is, it is masked
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
    labels: Sequence = (),
) -> EncoderWithHead:
    """A model for `task`; its head is fresh unless `model_name_or_path` is a checkpoint with the same head.

    `labels` are the encoded ones of the training part; a fresh regression head starts at their scale.

    Raises:
        UserError: when the weights cannot be loaded, or the encoder cannot take `max_length` tokens.
    """
    name = encoder_path(model.model_name_or_path or "")
    if model.from_scratch != "none":
        found = encoder = scratch_config(
            model.from_scratch, model.config_overrides, tokenizer, data.max_length
        )
    else:
        try:
            found = read_config(name, model.trust_remote_code)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise cannot_load(name, error) from error
        encoder = found.encoder if isinstance(found, EncoderWithHeadConfig) else found
        override_config(encoder, model.config_overrides, pretrained=True)
    check_positions(encoder, data.max_length)
    checkpoint = found if isinstance(found, EncoderWithHeadConfig) else None
    if checkpoint:
        # how to train, not what the weights are
        checkpoint.head_dropout, checkpoint.multi_sample_dropout = (
            model.head_dropout,
            model.multi_sample_dropout,
        )
        other_head = why_not_the_same_head(name, checkpoint, model, task)
        if not other_head:
            return continue_from(name, checkpoint, pipeline, model.trust_remote_code)
        if not model.ignore_mismatched_sizes:
            raise UserError(
                f"{other_head}; --ignore_mismatched_sizes true takes its encoder and gives it a fresh head"
            )
    note_what_is_lost(name, found, model.pooling or "cls", tokenizer)
    config = EncoderWithHeadConfig(
        encoder=encoder,
        head_shape=list(task.head_shape),
        token_classes=task.token_classes,
        pooling=model.pooling or "cls",
        head_dropout=model.head_dropout,
        multi_sample_dropout=model.multi_sample_dropout,
        pipeline=pipeline.to_dict(),
        pad_token_id=tokenizer.pad_token_id,
        **for_pipelines(task),
        **task.head_scale(labels),
    )
    try:
        if model.from_scratch != "none":
            return EncoderWithHead(config)
        if checkpoint:
            own_code = model.trust_remote_code
            fresh = EncoderWithHead(config, own_code)
            fresh.encoder = EncoderWithHead.from_pretrained(
                name, config=checkpoint, own_code=own_code
            ).encoder
            return fresh
        return from_pretrained_encoder(name, config, model.trust_remote_code)
    except (
        Exception
    ) as error:  # transformers and torch raise many types for values that make no encoder
        if model.config_overrides:
            raise UserError(
                f"config_overrides {model.config_overrides}: {why_not_loaded(error, WITH_FLAG)}"
            ) from error
        raise cannot_load(name, error) from error


def for_pipelines(task: Task) -> dict[str, Any]:
    """Config values from which transformers' text-classification pipeline answers as we do, or refuses."""
    if task.no_pipeline:  # the pipeline takes its function from here when there are no labels, and names it in an error
        return {"id2label": {}, "label2id": {}, "function_to_apply": f"none, as {task.no_pipeline}"}
    names = task.label_space.classes or task.label_space.columns
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: k for k, name in enumerate(names)},
        "problem_type": task.problem_type,
    }


def note_what_is_lost(
    name: str, found: PretrainedConfig, pooling: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Say in one line each what of a pretrained model a fresh head does not use."""
    trained = [kind for kind in found.architectures or () if kind.endswith(TRAINED_HEADS)]
    if trained and not isinstance(found, EncoderWithHeadConfig):
        # Between the encoder and its labels each architecture has layers of its own, which our heads do not have.
        print(
            f"note: fresh head: the one that {name} was trained with ({trained[0]}) is not used",
            file=sys.stderr,
        )
    first = tokenizer("a")["input_ids"][:1]
    if pooling == "cls" and not set(first) & set(tokenizer.all_special_ids):
        print(
            f"note: pooling cls reads the first token, but the tokenizer of {name} puts none there for it; "
            "see --pooling mean",
            file=sys.stderr,
        )


def why_not_the_same_head(
    name: str, checkpoint: EncoderWithHeadConfig, model: ModelArguments, task: Task
) -> str:
    """What the head of a checkpoint was trained for that this run does not ask for; empty when it fits."""
    if model.pooling not in (None, checkpoint.pooling):
        return f"pooling {model.pooling} is not that of {name}, whose head was trained on {checkpoint.pooling}"
    before = checkpoint.pipeline.get("task")
    if before != task.name:
        return f"{name} was trained for the task {before}, but this run's is {task.name}"
    stored, asked = (
        outputs_of(checkpoint.pipeline.get("label_space", {})),
        outputs_of(task.label_space.to_dict()),
    )
    for what in {**stored, **asked}:
        if stored.get(what) != asked.get(what):
            before, now = (short(space.get(what)) for space in (stored, asked))
            return f"{name} was trained for the {what} {before}, but this run's are {now}"
    return ""


def short(values: Any) -> str:
    """A list of names as text, not longer than a line."""
    text = ", ".join(map(str, values)) if isinstance(values, list) else str(values)
    return text if len(text) <= 120 else f"{text[:117]}..."


def continue_from(
    name: str, config: EncoderWithHeadConfig, pipeline: Pipeline, own_code: bool
) -> EncoderWithHead:
    """Train on from a checkpoint of this project, head and all."""
    try:
        model = EncoderWithHead.from_pretrained(name, config=config, own_code=own_code)
    except Exception as error:
        raise cannot_load(name, error) from error
    model.config.pipeline = pipeline.to_dict()
    return model


def check_positions(encoder, max_length: int) -> None:
    """Refuse a `max_length` beyond the encoder's position embeddings; DeBERTa has none, only relative ones."""
    positions = getattr(encoder, "max_position_embeddings", None)
    offset = 2 if encoder.model_type in POSITIONS_AFTER_PADDING else 0  # padding_idx + 1
    relative = not getattr(encoder, "position_biased_input", True)
    if positions and not relative and positions - offset < max_length:
        raise UserError(
            f"max_length {max_length} is more than the {positions - offset} positions of the encoder"
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


def cannot_load(name: str | None, error: Exception) -> UserError:
    """One line for the many ways in which transformers says that a model is not there or broken."""
    return UserError(
        f"model_name_or_path {name} cannot be loaded: {why_not_loaded(error, WITH_FLAG)}"
    )
