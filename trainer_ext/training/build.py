"""Build a `CustomTrainer` from the parsed flags."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from datasets import Dataset
from huggingface_hub import HfApi
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.dataset import without_names
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.tokenize import (
    Collator,
    encoder,
    read_words_with_spaces,
    tokenize,
)
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.data.sampling.resample import make_resampler
from trainer_ext.data.streaming import StreamedDataset, TokenStream
from trainer_ext.data.teacher_outputs import LABELLED, TeacherOutputs
from trainer_ext.errors import UserError, describe_error
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.objectives.build import build_objective
from trainer_ext.runs.resume import kept_flags
from trainer_ext.tasks import Task
from trainer_ext.training.progress import ShortProgress, progress_file
from trainer_ext.training.trainer import CustomTrainer

logger = logging.getLogger(__name__)

MAIN_METRICS = ("accuracy", "exact_match", "slot_f1")
"""Shown with each evaluation beside the task's default metric, if the task has them."""

Tokens: TypeAlias = Dataset | TokenStream


def tokenize_splits(
    args: Arguments,
    task: Task,
    model: EncoderWithHead,
    tokenizer: PreTrainedTokenizerBase,
    datasets: Mapping[str, Dataset | StreamedDataset | None],
) -> dict[str, Tokens | None]:
    """Return the rows of `train`, `unlabelled` and `validation` as the model reads them, in training and prediction."""
    settings = encoding_settings(model)
    if task.token_classes:
        read_words_with_spaces(tokenizer)
    tokens: dict[str, Tokens | None] = {}
    for split in ("train", "unlabelled", "validation"):
        rows = datasets.get(split)
        if isinstance(rows, StreamedDataset):
            encode = encoder(tokenizer, **settings)
            tokens[split] = TokenStream(rows, encode, data_seed(args.training))
        elif rows:
            workers = args.data.preprocessing_num_workers
            # The cache of tokens would depend on the path of the file, too.
            own = without_names(rows)
            tokens[split] = tokenize(own, tokenizer, num_proc=workers, **settings)
        else:
            tokens[split] = None
    return tokens


def encoding_settings(model: EncoderWithHead) -> dict[str, Any]:
    """Return how the model's rows are cleaned, tokenised and cut: arguments of `tokenize.encoder`."""
    pipeline = model.config.pipeline
    return {
        "max_length": pipeline["max_length"],
        "truncation": Truncation.from_dict(pipeline["truncation"]),
        "cleaning": Cleaning.from_dict(pipeline["cleaning"]),
    }


def build_trainer(
    args: Arguments,
    task: Task,
    model: EncoderWithHead,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence,
    tokens: Mapping[str, Tokens | None],
    teacher: TeacherOutputs | None = None,
) -> CustomTrainer:
    """Return a trainer of the model on the rows of `tokenize_splits`, with the objective and callbacks of the flags.

    Args:
        labels: of the training rows.
        tokens: the splits `train` and `validation`; the training rows with those without labels, if there are some.
        teacher: what the teacher answers to the training rows, for `--distill`.
    """
    training = args.training
    rows = tokens["train"]
    assert rows is not None, "a run has training rows"
    has_unlabelled = isinstance(rows, Dataset) and LABELLED in rows.column_names
    if task.token_classes:
        # By itself Trainer takes `labels` only.
        training.label_names = ["labels", "token_labels"]
    callbacks: list[TrainerCallback] = []
    if training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
        # Else a resumed run begins to count its patience anew.
        training.restore_callback_states_from_checkpoint = True
    watched = progress_file()
    if watched is not None:
        callbacks.append(watched)
    resampler = None
    if args.data.balance != "none":
        resampler = make_resampler(task.classes_to_balance(labels), args.data.balance)
        resampler = resampler.with_rows(len(rows) - len(labels))
        logger.info(
            "balance %s: an epoch shows %d rows, drawn from %d",
            args.data.balance,
            len(resampler),
            len(rows),
        )
    trainer = CustomTrainer(
        model=model,
        args=training,
        objective=build_objective(
            args.objective, task, labels, training.label_smoothing_factor, has_unlabelled
        ),
        task=task,
        resampler=resampler,
        flags=kept_flags(args),
        train_dataset=rows,
        eval_dataset=tokens["validation"],
        processing_class=tokenizer,
        data_collator=Collator(tokenizer, teacher),
        callbacks=callbacks,
    )
    # Now, when devices and rows are known; the flags by themselves are in order.
    warn_of_idle_gpus(training)
    warn_of_late_start(training, len(rows) if resampler is None else len(resampler))
    if not training.disable_tqdm:
        # Both print dictionaries with a score for each class.
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(ShortProgress((task.default_metric, *MAIN_METRICS)))
    return trainer


def data_seed(training: TrainingArguments) -> int:
    """Return the seed of the rows' order."""
    return training.seed if training.data_seed is None else training.data_seed


def check_hub(training: TrainingArguments) -> None:
    """Check, before anything else, that the hub answers and accepts the token of `push_to_hub`.

    Raises:
        UserError: with the hub's reason in one line, or that there was no answer.
    """
    if not training.push_to_hub:
        return
    try:
        HfApi().whoami(token=training.hub_token)
    except OSError as error:
        raise UserError(f"push_to_hub: {describe_error(error)}") from error


def warn_of_idle_gpus(training: TrainingArguments) -> None:
    """Warn if this is the only process and there are several GPUs."""
    if training.device.type != "cuda" or training.world_size > 1:
        return
    gpus = torch.cuda.device_count()
    if gpus > 1:
        logger.warning(
            "%d GPUs are visible and one is used; `torchrun --nproc_per_node %d train.py ...` trains on all (each with "
            "per_device_train_batch_size %d)",
            gpus,
            gpus,
            training.per_device_train_batch_size,
        )


def warn_of_late_start(training: TrainingArguments, rows: int) -> None:
    """Warn if `max_steps` is reached before the epoch in which adversarial training starts."""
    if training.adversarial == "none" or training.max_steps <= 0:
        return
    rows_a_step = (
        training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    )
    steps_an_epoch = math.ceil(rows / rows_a_step)
    start = training.adversarial_settings().start_epoch
    # The flags alone cannot tell: how many steps an epoch has is known only now.
    if training.max_steps <= start * steps_an_epoch:
        logger.warning(
            "adversarial %s has no effect: it starts with epoch %g, step %d, but max_steps is %d",
            training.adversarial,
            start,
            math.ceil(start * steps_an_epoch),
            training.max_steps,
        )
