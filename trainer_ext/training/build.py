"""A `CustomTrainer` put together from the parsed flags."""

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from datasets import Dataset
from huggingface_hub import HfApi
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
)

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.tokenize import (
    Collator,
    encoder,
    read_words_with_blanks,
    tokenize,
)
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.data.sampling.resample import make_resampler
from trainer_ext.data.streaming import StreamedDataset, TokenStream
from trainer_ext.errors import UserError, describe_error
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.objectives.build import build_objective
from trainer_ext.runs.resume import kept_flags
from trainer_ext.tasks import Task
from trainer_ext.training.progress import ShortProgress
from trainer_ext.training.trainer import CustomTrainer


def tokenise(
    args: Arguments,
    task: Task,
    model: EncoderWithHead,
    tokenizer: PreTrainedTokenizerBase,
    datasets: Mapping[str, Dataset | StreamedDataset | None],
) -> dict[str, Dataset | TokenStream | None]:
    """The `train` and `validation` rows as the model reads them, now and in prediction."""
    pipeline = model.config.pipeline
    reading = {
        "max_length": pipeline["max_length"],
        "truncation": Truncation.from_dict(pipeline["truncation"]),
        "cleaning": Cleaning.from_dict(pipeline["cleaning"]),
    }
    if task.token_classes:
        read_words_with_blanks(tokenizer)
    tokens = {}
    for split in ("train", "validation"):
        rows = datasets[split]
        if isinstance(rows, StreamedDataset):
            tokens[split] = TokenStream(
                rows, encoder(tokenizer, **reading), data_seed(args.training)
            )
        elif rows:
            tokens[split] = tokenize(
                rows, tokenizer, num_proc=args.data.preprocessing_num_workers, **reading
            )
        else:
            tokens[split] = None
    return tokens


def build_trainer(
    args: Arguments,
    task: Task,
    model: EncoderWithHead,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence,
    tokens: Mapping[str, Dataset | TokenStream | None],
) -> CustomTrainer:
    """Join rows as `tokenise` gives them with model, objective and callbacks; `labels` are the training rows'."""
    training = args.training
    callbacks = []
    if task.token_classes:
        training.label_names = ["labels", "token_labels"]
    if training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
        training.restore_callback_states_from_checkpoint = (
            True  # else a resumed run forgets its patience
        )
    resampler = None
    if args.data.balance != "none":
        resampler = make_resampler(task.classes_to_balance(labels), args.data.balance)
        print(
            f"balance {args.data.balance}: an epoch shows {len(resampler)} rows, drawn from {len(tokens['train'])}"
        )
    trainer = CustomTrainer(
        model=model,
        args=training,
        objective=build_objective(args.objective, task, labels, training.label_smoothing_factor),
        task=task,
        resampler=resampler,
        flags=kept_flags(args),
        train_dataset=tokens["train"],
        eval_dataset=tokens["validation"],
        processing_class=tokenizer,
        data_collator=Collator(tokenizer),
        callbacks=callbacks,
    )
    note_idle_gpus(training)
    note_late_start(training, len(resampler) if resampler else len(tokens["train"]))
    if not training.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(
            ShortProgress((task.default_metric, "accuracy", "exact_match", "slot_f1"))
        )
    return trainer


def data_seed(training: TrainingArguments) -> int:
    """The seed of the rows' order."""
    return training.seed if training.data_seed is None else training.data_seed


def check_hub(training: TrainingArguments) -> None:
    """Before anything else: whether the hub answers, and lets `push_to_hub` in.

    Raises:
        UserError: in one line what it says, or that it says nothing.
    """
    if training.push_to_hub:
        try:
            HfApi().whoami(token=training.hub_token)
        except OSError as error:
            raise UserError(f"push_to_hub: {describe_error(error)}") from error


def note_idle_gpus(training: TrainingArguments) -> None:
    """Say so where one process of several GPUs uses one."""
    gpus = (
        torch.cuda.device_count()
        if training.device.type == "cuda" and training.world_size == 1
        else 1
    )
    if gpus > 1:
        print(
            f"note: {gpus} GPUs are visible and one is used; `torchrun --nproc_per_node {gpus} train.py ...` trains on "
            f"all (each with per_device_train_batch_size {training.per_device_train_batch_size})",
            file=sys.stderr,
        )


def note_late_start(training: TrainingArguments, rows: int) -> None:
    """Say so where `max_steps` end before the epoch in which adversarial training starts."""
    steps = math.ceil(
        rows
        / (training.train_batch_size * training.gradient_accumulation_steps * training.world_size)
    )
    start = training.adversarial_settings().start_epoch if training.adversarial != "none" else 0
    if 0 < training.max_steps <= start * steps:
        print(
            f"note: adversarial {training.adversarial} has no effect: it starts with epoch {start:g}, step "
            f"{math.ceil(start * steps)}, but max_steps is {training.max_steps}",
            file=sys.stderr,
        )
