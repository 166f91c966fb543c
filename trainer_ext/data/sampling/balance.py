"""A balanced file of training rows: `python -m trainer_ext.data.balance --input FILE --output FILE --method METHOD`.

The output holds rows of the input in their order, a row that is repeated with its copies right behind it. Every row
names its source in `source_id` (its id, or its number in the file, which becomes its `id` where rows have none); copies
have an id of their own and the `operation` copy. Give it training rows only. `train.py --balance` does the same without
a file, with other copies in each epoch. Which rows, and how often: trainer_ext/data/sampling/resample.py.
"""

import argparse
import json
from array import array
from collections.abc import Sequence

import numpy as np

from trainer_ext.arguments.files import add_file_flags, file_options
from trainer_ext.data.io.readers import require_columns, text_of
from trainer_ext.data.io.row_writer import check_paths, open_rows
from trainer_ext.data.labelled import encoded_labels, raw_label, read_labelled, space_of
from trainer_ext.data.provenance import (
    DEFAULT_ID,
    OPERATION,
    SOURCE_ID,
    named_rows,
    new_row,
    source_of,
)
from trainer_ext.data.sampling.resample import METHODS, make_resampler
from trainer_ext.errors import ArgumentParser, UserError, check_range, run_main
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS, Task

BALANCED_TASKS = tuple(name for name, task in TASKS.items() if task.can_balance)
COPY = "copy"
SHOWN = 20


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input", required=True, help="training rows: csv, tsv, jsonl, parquet, txt (.gz too)"
    )
    parser.add_argument("--output", required=True, help="where the rows go, .jsonl or .csv")
    parser.add_argument(
        "--method", choices=METHODS, required=True, help="up, down, or (hybrid) to the mean size"
    )
    parser.add_argument(
        "--task", choices=BALANCED_TASKS, default="single_label", help="default: single_label"
    )
    parser.add_argument("--text_column", default="text", help="default: text")
    parser.add_argument(
        "--label_columns", nargs="+", default=["label"], help="as for train.py (default: label)"
    )
    parser.add_argument(
        "--label_separator",
        default=",",
        help="between the labels of a multi_label row (default: ,)",
    )
    parser.add_argument(
        "--id_column", help="column that names a row (default: id where there is one)"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="the same seed gives the same file (default: 42)"
    )
    add_file_flags(parser)
    args = parser.parse_args(argv)
    check_paths(args.input, args.output)
    check_range("seed", args.seed, 0)
    TASKS[args.task].check_columns(args.label_columns)
    return args


def read_labels(args: argparse.Namespace) -> tuple[Task, np.ndarray]:
    """The task and the encoded labels of the input's rows; holds no texts, and equal labels once.

    Raises:
        UserError: for a missing column, text or label, with file and row.
    """
    kind = TASKS[args.task]
    codes, known, different = array("q"), {}, []  # of the different ones the place and the labels
    for row in read_labelled(args.input, args.task, file_options(args)):
        if not codes:
            require_columns(
                row, kind.required_columns(args.text_column, args.label_columns), args.input
            )
        text_of(row, args.text_column)
        raw = [raw_label(row, column, kind) for column in args.label_columns]
        code = known.setdefault(json.dumps(raw, default=str), len(known))
        if code == len(different):
            different.append((row.where, raw))
        codes.append(code)
    if not codes:
        raise UserError(f"{args.input} is empty: it has no rows")
    task = kind(space_of(kind, args.label_columns, None, different, args.label_separator))
    encoded = [encoded_labels(task, where, raw) for where, raw in different]
    return task, np.asarray(encoded)[np.frombuffer(codes, dtype=np.int64)]


def write_rows(args: argparse.Namespace, counts: np.ndarray) -> None:
    """Write each row of the input as often as `counts` says."""
    with open_rows(args.output, extra=(SOURCE_ID, OPERATION)) as writer:
        named_by = args.id_column or DEFAULT_ID
        rows = named_rows(read_labelled(args.input, args.task, file_options(args)), args.id_column)
        for row, count in zip(rows, counts, strict=True):
            source, name = source_of(row, named_by), row.values[named_by]
            original = {**row.values, SOURCE_ID: source}
            for copy in range(count):
                writer.write(
                    new_row(original, source, COPY, named_by, f"{name}-{COPY}-{copy}")
                    if copy
                    else original
                )


def summary(task: Task, labels: np.ndarray, rows: np.ndarray) -> str:
    """How often each label occurs before and after, the commonest first; of aspects the classes of all of them."""
    names = task.label_space.classes
    before, after = task.count_labels(labels), task.count_labels(labels[rows])
    order = np.argsort(-before, kind="stable")[:SHOWN]
    rows = [[names[k], int(before[k]), int(after[k])] for k in order]
    return table(rows, ["label", "before", "after"])


def main(argv: Sequence[str] | None = None) -> None:
    """Balance one file."""
    args = parse(argv)
    task, labels = read_labels(args)
    rows = make_resampler(task.classes_to_balance(labels), args.method).draw(args.seed, epoch=0)
    write_rows(args, np.bincount(rows, minlength=len(labels)))
    print(
        f"{len(labels)} rows -> {len(rows)} rows in {args.output}\n\n{summary(task, labels, rows)}"
    )


if __name__ == "__main__":
    run_main(main)
