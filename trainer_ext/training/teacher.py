"""Ask the teacher about every training row, once; its answers are kept in the output folder."""

import hashlib
import json
import logging
from collections.abc import Sequence
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

FOLDER = "teacher_cache"
ROWS_A_PART = 1024  # what a run that is cut off may lose

logger = logging.getLogger(__name__)


def ask_teacher(args: Arguments, task: Task, rows: Dataset) -> TeacherOutputs | None:
    """Return what `--teacher` answers to the training rows, computed or from the output folder; None without `distill`.

    Several models answer as an ensemble: the mean of their probabilities (in regression of their scores). Texts go
    through each model's own cleaning and tokenizer.

    Raises:
        UserError: for a model of another task or other labels.
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
    texts, _ = inputs_and_labels(rows)
    words = list(map(len, texts)) if task.reads_words else None
    outputs = TeacherOutputs(
        Path(training.output_dir) / FOLDER,
        content_key(predictor, texts, objective.distill),
        len(texts),
        tuple(task.head_shape),
        words,
        task.token_classes,
    )
    answer_rest(outputs, predictor, texts, objective.distill, not training.disable_tqdm)
    return outputs


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
            values = []
            for output in predictor.logits_iter(window):
                values.append(stored_values(predictor.task, output, distill))
                bar.update()
            outputs.write(values)


def stored_values(task: Task, output: Any, distill: str) -> tuple[np.ndarray, ...]:
    """Return what is kept of one row's output, an array for each head.

    For hard distillation of classes the decisions as 0 and 1, made with the teacher's thresholds and transitions;
    otherwise logits, divided by the teacher's own temperature. Words that the teacher has cut off are NaN.
    """
    heads = task.heads(output)
    values = []
    for head in heads:
        if distill == "hard" and task.has_classes:
            values.append(np.asarray(task.votes(head), dtype=np.float32))
        else:
            values.append(np.asarray(head / task.calibration.temperature, dtype=np.float32))
    if task.token_classes:
        # The logits of a word that has been read are not all equal.
        is_read = np.ptp(heads[1], axis=-1) != 0
        values[1] = np.where(is_read[:, None], values[1], np.float32("nan"))
    return tuple(values)


def with_row_numbers(tokens: Dataset) -> Dataset:
    """Return the training rows with their numbers, by which the collator finds the teacher's values."""
    return tokens.add_column(TEACHER_ROW, list(range(len(tokens))))
