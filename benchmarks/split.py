"""Split a file of rows into parts, for data sets that are published in one piece.

    python benchmarks/split.py ../shared/data/ellipse/ellipse_part70.csv.gz outputs/data/essays \
        train=0.64 validation=0.16 test=0.2

Rows are shuffled with --seed (default: 0) and cut into parts in the order given; each part is written as JSON lines.
A part is a share of all rows, or a number of rows: `train=2000`. The same file and seed give the same parts. Files of
intents and slots need `--task joint`. The flags that describe the file are those of train.py.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.command_line import parse_command
from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.labelled import read_labelled
from trainer_ext.errors import UserError, run_main
from trainer_ext.files import atomic_writer
from trainer_ext.tasks import TASKS


@dataclass(kw_only=True)
class SplitOptions(FileOptions):
    """The command line."""

    _argument_group_name = "split"

    file: str = option(help="The file to split.", positional=True, metavar="FILE")
    output_dir: Path = option(help="Where the parts go.", positional=True, metavar="DIR")
    parts: list[str] = option(
        help="A part: its name, and its share or number of rows.",
        positional=True,
        metavar="NAME=SIZE",
    )
    task: str = option("single_label", "The task of the rows.", choices=tuple(TASKS))
    seed: int = option(0, "Seed of the shuffling.")


def split(rows: list[dict], parts: dict[str, float], seed: int = 0) -> dict[str, list[dict]]:
    """Shuffle rows and cut them into parts; a size up to 1 is a share of all rows, a larger one a number.

    Raises:
        UserError: if the parts are larger than the file.
    """
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    cut: dict[str, list[dict]] = {}
    start = 0
    end = 0.0  # not rounded here, so that shares of 1 / 3 add up to all rows
    for name, size in parts.items():
        end += size * len(rows) if size <= 1 else size
        if round(end) > len(rows):
            raise UserError(f"the parts {parts} need more than the {len(rows)} rows of the file")
        cut[name] = rows[start : round(end)]
        start = round(end)
    return cut


def parse_parts(parts: list[str]) -> dict[str, float]:
    """Turn `train=0.8` into a name and a size.

    Raises:
        UserError: if a part has another form.
    """
    sizes = {}
    for part in parts:
        name, _, size = part.partition("=")
        try:
            sizes[name] = float(size)
        except ValueError:
            raise UserError(
                f"parts {parts}: expected NAME=SIZE, such as train=0.8 or train=2000"
            ) from None
    return sizes


def main() -> None:
    """Read, split, write."""
    options = parse_command(SplitOptions, prog="benchmarks/split.py", description=__doc__)
    sizes = parse_parts(options.parts)
    rows = [row.values for row in read_labelled(options.file, options.task, options)]
    for name, part in split(rows, sizes, options.seed).items():
        path = options.output_dir / f"{name}.jsonl"
        with atomic_writer(path) as file:
            for row in part:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{len(part):>7} rows -> {path}")


if __name__ == "__main__":
    run_main(main)
