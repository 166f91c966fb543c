"""Compare runs: read them, judge, print, write."""

from collections.abc import Sequence
from pathlib import Path

from trainer_ext.comparison.paired import judge
from trainer_ext.comparison.picture import comparison_picture
from trainer_ext.comparison.runs import read_run
from trainer_ext.comparison.table import (
    Compared,
    as_markdown,
    as_text,
    compare_flags,
    short_names,
    write_csv,
)
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, write_text

ENDINGS = (".csv", ".md", ".png")


def compare(folders: Sequence[Path], outputs: Sequence[Path] = ()) -> Compared:
    """Compare runs with the first of them, print the table, and write it to files by their ending.

    Raises:
        UserError: for fewer than two runs, for what is not a run, for runs of other rows or labels, and for a file
            with another ending or in a folder that cannot be written to.
    """
    # Before anything is read: resampling many rows takes a while.
    for path in outputs:
        if path.suffix not in ENDINGS:
            raise UserError(f"--output {path}: expected a name that ends in {', '.join(ENDINGS)}")
        check_folder(f"--output {path}:", path.parent)
    if len(folders) < 2:
        raise UserError("compare needs the folders of two runs or more")
    # All of them before the first test: the last may be the one that cannot be compared.
    runs = [read_run(folder) for folder in folders]
    compared = compare_flags(short_names(folders), runs, judge(runs))
    print(as_text(compared))
    for path in outputs:
        write(compared, path)
        print(f"{path} was written")
    return compared


def write(compared: Compared, path: Path) -> None:
    """Write the comparison to a csv, md or png file."""
    if path.suffix == ".csv":
        write_csv(compared, path)
    elif path.suffix == ".md":
        write_text(path, as_markdown(compared))
    else:
        comparison_picture(compared, path)
