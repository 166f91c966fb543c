"""The probe: how far the encoder gets as it is before it is fine-tuned, with nothing but a linear model on top.

A model that does not beat it has gained nothing from fine-tuning. A row's vector is the mean of the last layer's states
of its tokens, whatever `--pooling` is: a first token means little before it is trained for the task, and the other
poolings have parameters of their own, which are random by then.

It is taken from the model in memory before the first step. That is what training starts from in a resumed run, too,
because the checkpoint is loaded later.

Source: Alain and Bengio 2016, Understanding intermediate layers using linear classifier probes (arXiv:1610.01644).
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.preprocessing.tokenize import encoder, model_inputs
from trainer_ext.data.training_data import Datasets
from trainer_ext.evaluation.baselines import TrainingRows, probe_outputs, spread
from trainer_ext.modeling.own_code import is_checkpoint
from trainer_ext.modeling.pooling import mean_pooling
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.tasks import Task
from trainer_ext.training.build import encoding_settings
from trainer_ext.training.training_rows import rows_for_baselines

if TYPE_CHECKING:
    from trainer_ext.training.trainer import CustomTrainer

logger = logging.getLogger(__name__)

BLOCK = 1024  # rows that are tokenised, and sorted by length, together
SHARE = 0.2  # of the work of training that the probe may take
STEP_WORK = 3  # of a row in training, where reading it once is 1: forward, and backward twice that
FREE_ROWS = 2000  # that may be read in any case: the quickest trainings have reports, too
MOST_VALIDATION = 50_000  # vectors in memory


class Probe(NamedTuple):
    """What the probe scores on the validation rows.

    Attributes:
        metrics: by name; empty without a probe.
        note: what it is, or why there is none, for the report; empty if it was not asked for.
    """

    metrics: Mapping[str, float]
    note: str


NO_PROBE = Probe({}, "")


def probe_encoder(args: Arguments, trainer: "CustomTrainer", datasets: Datasets) -> Probe:
    """Fit and score the probe, or say why not. Weights and random state stay as they are.

    Args:
        args: of the run.
        trainer: before it trains.
        datasets: the labelled rows by split.
    """
    training, task, validation = args.training, trainer.task, datasets["validation"]
    if not (training.write_report and training.baseline == "probe" and validation):
        return NO_PROBE
    reason = why_no_probe(args, task)
    if reason:
        return without_probe(reason)
    most = rows_to_read(trained_rows(trainer), len(validation))
    if not most:
        return without_probe("with so many validation rows it would not be cheap")
    assert isinstance(validation, Dataset) and datasets["train"] is not None
    begun = time.monotonic()
    train = fewer(rows_for_baselines(args, task, datasets["train"]), most)
    items, labels = inputs_and_labels(validation)
    # A loader, or a model with random features, would draw from what training draws from.
    with torch.random.fork_rng():
        vectors = vectors_of(trainer, train.items)
        unseen = vectors_of(trainer, items)
    if not (np.isfinite(vectors).all() and np.isfinite(unseen).all()):
        return without_probe("its vectors are not finite numbers")
    plain = type(task)(task.label_space)
    outputs = probe_outputs(plain, vectors, train.labels, unseen)
    metrics = plain.compute_metrics(outputs, plain.stack_labels(labels))
    seconds = time.monotonic() - begun
    logger.info(
        "probe on the frozen encoder: %s %.4f (%d rows, %.1f s)",
        task.default_metric,
        metrics[task.default_metric],
        len(train.items),
        seconds,
    )
    read = f"{len(train.items)} of {train.of} training rows"
    return Probe(metrics, f"The frozen encoder's linear model was trained on {read}.")


def without_probe(reason: str) -> Probe:
    """Return what the report says instead of scores."""
    return Probe({}, f"No probe on the frozen encoder: {reason}.")


def why_no_probe(args: Arguments, task: Task) -> str:
    """Return why the frozen encoder would say little, or its probe would be dear; empty if there is to be one."""
    if args.model.from_scratch != "none":
        return "its weights are random before training"
    if task.token_classes:
        return "tags need a vector of each word"
    # The stages of a chain as well: each begins with the model of the one before it.
    if is_checkpoint(encoder_path(args.model.model_name_or_path or "")):
        return "training begins with a model that was fine-tuned already"
    return ""


def trained_rows(trainer: "CustomTrainer") -> int:
    """Return how many rows the whole training reads, counted each time."""
    training = trainer.args
    if training.num_train_epochs == 0 and training.max_steps <= 0:
        return 0
    rows_a_step = (
        training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    )
    return trainer.steps()[1] * rows_a_step


def rows_to_read(trained: int, validation: int) -> int:
    """Return how many training rows a probe may read to stay cheap; 0 if it cannot.

    Args:
        trained: rows that the training reads, counted each time.
        validation: rows that the probe has to answer.
    """
    budget = max(FREE_ROWS, int(SHARE * STEP_WORK * trained))
    # With fewer training rows than validation rows it would be cheap, but no fair probe.
    if validation > min(budget // 2, MOST_VALIDATION):
        return 0
    return budget - validation


def fewer(rows: TrainingRows, most: int) -> TrainingRows:
    """Return at most so many of the rows, at equal distances."""
    pairs = list(spread(zip(rows.items, rows.labels, strict=True), len(rows.items), most))
    items, labels = zip(*pairs, strict=True)
    return TrainingRows(list(items), list(labels), rows.of)


@torch.no_grad()
def vectors_of(trainer: "CustomTrainer", items: Sequence[str]) -> np.ndarray:
    """Return a vector of each text (N, H), from the trainer's model as it is."""
    # Its dropout is off from here to the first step, which turns it on again.
    model = trainer.model.eval()
    tokenizer = trainer.processing_class
    vectors = np.empty((len(items), model.config.hidden_size), np.float32)
    bar = tqdm(
        total=len(items), desc="frozen encoder", unit="row", disable=trainer.args.disable_tqdm
    )
    for places, rows in batches(trainer, items):
        inputs = pad_without_fast_tokenizer_warning(
            tokenizer, rows, padding_side="right", return_tensors="pt"
        ).to(trainer.args.device)
        with trainer.compute_loss_context_manager():
            _, layers = model.token_states(**inputs)
        mask = inputs["attention_mask"]
        vectors[places] = mean_pooling(layers[-1].float(), mask).cpu().numpy()
        bar.update(len(places))
    bar.close()
    return vectors


def batches(
    trainer: "CustomTrainer", items: Sequence[str]
) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """Yield the places of some texts, of similar length, and what the model reads of each."""
    encode = encoder(trainer.processing_class, **encoding_settings(trainer.model))
    size = trainer.args.eval_batch_size
    for first in range(0, len(items), BLOCK):
        columns = encode({"text": list(items[first : first + BLOCK])})
        lengths = columns["length"]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            rows = [{name: values[k] for name, values in columns.items()} for k in chosen]
            yield [first + k for k in chosen], list(map(model_inputs, rows))
