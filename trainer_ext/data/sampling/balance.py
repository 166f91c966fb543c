"""Write a balanced file of training rows.

Every row of the output names its source in `source_id` (its id, or its number in the file, which becomes its `id` if
rows have none); copies follow their source, have an id of their own and the `operation` copy. Which rows, and how
often: trainer_ext/data/sampling/resample.py.
"""

import json
from array import array
from dataclasses import dataclass

import numpy as np

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions, file_options
from trainer_ext.data.io.readers import text_of
from trainer_ext.data.io.row_writer import open_rows
from trainer_ext.data.labelled import (
    check_first_row,
    encoded_labels,
    raw_labels,
    read_labelled,
    space_of,
)
from trainer_ext.data.provenance import (
    DEFAULT_ID,
    OPERATION,
    SOURCE_ID,
    named_rows,
    new_row,
    source_of,
)
from trainer_ext.data.sampling.resample import METHODS, make_resampler
from trainer_ext.errors import UserError
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS, Task

BALANCED_TASKS = tuple(name for name, task in TASKS.items() if task.can_balance)
COPY = "copy"
SHOWN = 20


@dataclass(kw_only=True)
class BalanceOptions(FileOptions):
    """Which rows are balanced, and how."""

    _argument_group_name = "balancing"

    input: str = option(
        help="Training rows: csv, tsv, jsonl, parquet, txt (.gz too).", metavar="FILE"
    )
    output: str = option(help="Where the rows go, .jsonl or .csv.", metavar="FILE")
    method: str = option(help="Up, down, or (hybrid) to the mean size.", choices=METHODS)
    task: str = option("single_label", "What is predicted.", choices=BALANCED_TASKS)
    text_column: str = option("text", "Column with the text.")
    label_columns: list[str] = option(["label"], "As for train.")
    label_separator: str = option(",", "Between the labels of a multi_label row.")
    id_column: str | None = option(None, "Column that names a row (default: id if there is one).")
    seed: int = option(42, "The same seed gives the same file.", minimum=0)


def read_labels(args: BalanceOptions) -> tuple[Task, np.ndarray]:
    """Return the task and the encoded labels of the input's rows; texts are read, but not kept.

    Raises:
        UserError: for a missing column, text or label, with file and row.
    """
    kind = TASKS[args.task]
    columns = kind.required_columns(args.text_column, args.label_columns)
    rows = read_labelled(args.input, args.task, file_options(args))
    # A million rows have few different labels: each is kept once, and of a row the number of its labels.
    numbers: dict[str, int] = {}
    different: list[tuple[str, list]] = []  # by number, the place of the first row and its labels
    row_numbers = array("q")
    for row in check_first_row(rows, columns, args.input):
        text_of(row, args.text_column)
        raw = raw_labels(row, args.label_columns, kind)
        key = json.dumps(raw, default=str)
        if key not in numbers:
            numbers[key] = len(different)
            different.append((row.where, raw))
        row_numbers.append(numbers[key])
    if not row_numbers:
        raise UserError(f"{args.input} is empty: it has no rows")
    task = kind(space_of(kind, args.label_columns, None, different, args.label_separator))
    encoded = np.asarray([encoded_labels(task, where, raw) for where, raw in different])
    return task, encoded[np.frombuffer(row_numbers, dtype=np.int64)]


def write_rows(args: BalanceOptions, counts: np.ndarray) -> None:
    """Write each row of the input as often as `counts` says."""
    id_column = args.id_column or DEFAULT_ID
    rows = named_rows(read_labelled(args.input, args.task, file_options(args)), args.id_column)
    with open_rows(args.output, extra=(SOURCE_ID, OPERATION)) as writer:
        for row, count in zip(rows, counts, strict=True):
            if not count:
                continue
            source = source_of(row, id_column)
            original = {**row.values, SOURCE_ID: source}
            writer.write(original)
            for copy in range(1, count):
                name = f"{row.values[id_column]}-{COPY}-{copy}"
                writer.write(new_row(original, source, COPY, id_column, name))


def summary(task: Task, labels: np.ndarray, rows: np.ndarray) -> str:
    """Return a table of how often each label occurs before and after, the commonest first.

    Of a task with several aspects, a class is counted over all of them.
    """
    names = task.label_space.classes
    before = task.count_labels(labels)
    after = task.count_labels(labels[rows])
    lines = []
    for index in np.argsort(-before, kind="stable")[:SHOWN].tolist():
        lines.append([names[index], int(before[index]), int(after[index])])
    return table(lines, ["label", "before", "after"])


def balance_file(options: BalanceOptions) -> str:
    """Balance one file; return what came of it, as a table."""
    task, labels = read_labels(options)
    resampler = make_resampler(task.classes_to_balance(labels), options.method)
    rows = resampler.draw(options.seed, epoch=0)
    write_rows(options, np.bincount(rows, minlength=len(labels)))
    counted = summary(task, labels, rows)
    return f"{len(labels)} rows -> {len(rows)} rows in {options.output}\n\n{counted}"
