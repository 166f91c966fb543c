"""Ask the teacher about every training row, once; its answers are kept in the output folder."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.row_hash import rows_sha256
from trainer_ext.data.teacher_outputs import TEACHER_ROW, TeacherOutputs
from trainer_ext.errors import UserError
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.inference.combine import asked_of
from trainer_ext.inference.identity import files_sha256
from trainer_ext.tasks import Task
from trainer_ext.training.unlabelled import (
    choose_pseudo_labels,
    joined,
    read_unlabelled,
    without_labels,
)

FOLDER = "teacher_cache"
ROWS_A_PART = 1024  # what a run that is cut off may lose

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teaching:
    """What a teacher adds to the training.

    Attributes:
        outputs: its answers to the training rows and, after them, to the texts without labels.
        unlabelled: the rows without labels that are learned from; None without such.
        numbers: which texts these are, (N,), counted among those without labels.
    """

    outputs: TeacherOutputs
    unlabelled: Dataset | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.arange(0))

    def add_to(self, train: Dataset, unlabelled: Dataset | None) -> Dataset:
        """Return the tokenised rows to train on, with the numbers by which the collator finds the teacher's values.

        Args:
            train: the labelled rows.
            unlabelled: the others, tokenised.
        """
        train = with_row_numbers(train, range(len(train)))
        if unlabelled is None:
            return train
        numbers = len(train) + self.numbers
        return joined(train, with_row_numbers(unlabelled, numbers.tolist()))


def ask_teacher(args: Arguments, task: Task, rows: Dataset) -> Teaching | None:
    """Return what `--teacher` answers to the training rows and to the texts of `--unlabelled_file`.

    The answers are computed, or those in the output folder. Several models answer as an ensemble: the mean of their
    probabilities (in regression of their scores). Texts go through each model's own cleaning and tokenizer.

    Returns:
        None without `distill`.

    Raises:
        UserError: for a model of another task or other labels, and for a file of texts that cannot be read.
    """
    objective, training = args.objective, args.training
    if not objective.teacher_weight:
        return None
    predictor = load_predictor(
        objective.teacher or (),
        batch_size=training.per_device_eval_batch_size,
        trust_remote_code=args.model.trust_remote_code,
    )
    check_teacher(" ".join(objective.teacher or ()), predictor.task, task)
    labelled, _ = inputs_and_labels(rows)
    unlabelled = read_unlabelled(objective.unlabelled_file or (), args.data, task)
    texts = [*labelled, *unlabelled]
    words = list(map(len, texts)) if task.reads_words else None
    outputs = TeacherOutputs(
        Path(training.output_dir) / FOLDER,
        content_key(predictor, texts, objective.distill),
        len(texts),
        tuple(task.head_shape),
        words,
        task.token_classes,
        has_confidence=keeps_labels(task, objective.distill),
    )
    answer_rest(outputs, predictor, texts, objective.distill, not training.disable_tqdm)
    if not unlabelled:
        return Teaching(outputs)
    numbers = np.arange(len(unlabelled))
    if objective.pseudo_label_threshold:
        confidences = outputs.confidences(len(labelled))
        numbers = choose_pseudo_labels(confidences, objective.pseudo_label_threshold)
    chosen = [unlabelled[number] for number in numbers]
    return Teaching(outputs, without_labels(chosen, rows), numbers)


def check_teacher(name: str, teacher: Task, student: Task) -> None:
    """Raise `UserError` unless a teacher answers the student's question, with its labels in the same order."""
    of_student = asked_of(student)
    for what, value in asked_of(teacher).items():
        if value != of_student[what]:
            raise UserError(
                f"teacher {name} is for other {what} than the training rows: {value} and {of_student[what]}"
            )


def content_key(predictor: Predictor, texts: Sequence[Any], distill: str) -> str:
    """Return a hash of all that the stored values depend on: the teacher's files, the texts, and what is stored."""
    content = {
        "teacher": files_sha256(predictor.files),
        "texts": rows_sha256(f"{text}\x1e" for text in texts),
        "distill": distill,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def answer_rest(
    outputs: TeacherOutputs,
    predictor: Predictor,
    texts: Sequence[Any],
    distill: str,
    shows_bar: bool,
) -> None:
    """Compute the values of rows that have none yet, part by part, with a progress bar."""
    if outputs.is_complete:
        logger.info("the teacher's answers to %d rows are in %s", len(texts), outputs.folder)
        return
    # A teacher whose models do not fit into memory together is loaded anew for each window.
    part = max(ROWS_A_PART, predictor.window_size)
    with tqdm(
        total=len(texts), initial=outputs.done, desc="teacher", unit="row", disable=not shows_bar
    ) as bar:
        while not outputs.is_complete:
            window = texts[outputs.done : outputs.done + part]
            values, confidences = [], []
            for output in predictor.logits_iter(window):
                values.append(stored_values(predictor.task, output, distill))
                if keeps_labels(predictor.task, distill):
                    confidences.append(confidence(predictor.task, output))
                bar.update()
            outputs.write(values, confidences)


def stored_values(task: Task, output: Any, distill: str) -> tuple[np.ndarray, ...]:
    """Return what is kept of one row's output, an array for each head.

    For hard distillation of classes the decisions as 0 and 1, made with the teacher's thresholds and transitions;
    otherwise logits, divided by the teacher's own temperature. Words that the teacher has cut off are NaN.
    """
    heads = task.heads(output)
    values = []
    for head in heads:
        if keeps_labels(task, distill):
            values.append(np.asarray(task.votes(head), dtype=np.float32))
        else:
            values.append(np.asarray(head / task.calibration.temperature, dtype=np.float32))
    if task.token_classes:
        values[1] = np.where(is_read(heads[1])[:, None], values[1], np.float32("nan"))
    return tuple(values)


def keeps_labels(task: Task, distill: str) -> bool:
    """Return whether a teacher's labels are kept, as opposed to its probabilities or scores."""
    return distill == "hard" and task.has_classes


def confidence(task: Task, output: Any) -> float:
    """Return the probability of the least certain decision in one row's output.

    Words that the teacher has cut off do not count.
    """
    heads = list(task.heads(output))
    if task.token_classes:
        heads[1] = heads[1][is_read(heads[1])]
    return min(map(task.confidence, heads))


def is_read(words: np.ndarray) -> np.ndarray:
    """Return (W,) which words a teacher has read, from its logits (W, C): of such a word they are not all equal."""
    differs: np.ndarray = np.ptp(words, axis=-1) != 0
    return differs


def with_row_numbers(tokens: Dataset, numbers: Sequence[int]) -> Dataset:
    """Return tokenised rows with their numbers, by which the collator finds the teacher's values."""
    return tokens.add_column(TEACHER_ROW, list(numbers))
