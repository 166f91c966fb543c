"""Split a file of rows into parts, always in the same way: for data sets published in one piece.

    python benchmarks/split.py ../shared/data/ellipse/ellipse_part70.csv.gz outputs/data/essays \
        train=0.64 validation=0.16 test=0.2

Rows are shuffled with --seed (0), the parts follow each other, and each is written as jsonl. `train=2000` takes rows.
With `--task joint` the file is one of intents and slots. The reading flags are those of train.py.
"""

import argparse
import json
import random
from pathlib import Path

from trainer_ext.arguments.files import add_file_flags, file_options
from trainer_ext.data.labelled import read_labelled
from trainer_ext.errors import ArgumentParser, UserError, run_main
from trainer_ext.files import atomic_writer


def split(rows: list[dict], parts: dict[str, float], seed: int = 0) -> dict[str, list[dict]]:
    """Shuffled rows by part; a part is a share of all (at most 1) or a number of rows."""
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    out, start, bound = {}, 0, 0.0
    for name, size in parts.items():
        bound += size * len(rows) if size <= 1 else size
        if round(bound) > len(rows):
            raise UserError(f"the parts {parts} are more than the {len(rows)} rows")
        out[name] = rows[start : round(bound)]
        start = round(bound)
    return out


def main() -> None:
    """Read, split, write."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("parts", nargs="+", metavar="NAME=SIZE")
    parser.add_argument("--task", default="single_label")
    parser.add_argument("--seed", type=int, default=0)
    add_file_flags(parser)
    args = parser.parse_args()
    try:
        parts = {name: float(size) for name, size in (part.split("=") for part in args.parts)}
    except ValueError:
        raise UserError(
            f"parts {args.parts}: expected NAME=SIZE, such as train=0.8 or train=2000"
        ) from None
    values = [row.values for row in read_labelled(args.file, args.task, file_options(args))]
    for name, rows in split(values, parts, args.seed).items():
        with atomic_writer(args.output_dir / f"{name}.jsonl") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(f"{len(rows):>7} rows -> {args.output_dir / name}.jsonl")


if __name__ == "__main__":
    run_main(main)
