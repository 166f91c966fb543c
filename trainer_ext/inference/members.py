"""Which models a name stands for: a folder of folds or seeds, a pattern with braces, or a single folder."""

import re
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.files import read_json

MEMBER = re.compile(r"(fold|seed)-(\d+)")
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
# Which models a folder has to have; train.py and export.py write them first.
LISTS = ("folds.json", "seeds.json")
MOST_MODELS = 10_000  # in one folder; a damaged list must not fill the memory with names


def expand_braces(name: str) -> list[str]:
    """Expand `a-{0..2}` to a-0, a-1, a-2 and `a-{x,y}` to a-x, a-y, as a shell would; leave anything else as it is."""
    found = BRACES.search(name)
    if not found:
        return [name]
    before = name[: found.start()]
    after = name[found.end() :]
    expanded: list[str] = []
    for item in brace_items(found):
        # There may be more braces after these.
        expanded += expand_braces(before + item + after)
    return expanded


def brace_items(found: re.Match[str]) -> list[str]:
    """Return what a pair of braces stands for."""
    first, last, listed = found.groups()
    if listed:
        return str(listed).split(",")
    numbers = range(int(first), int(last) + 1)
    return list(map(str, numbers))


def members_of(name: str) -> list[str]:
    """Return the fold-k (or seed-s) models of a folder that train.py or export.py filled; any other name as it is.

    The folder's list says which models there should be. Without a list, those that are there count.

    Raises:
        UserError: if one is missing, or its training or export was cut off.
    """
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return [name]
    names = listed_members(folder)
    missing = [member for member in names if not is_complete(folder / member)]
    if missing:
        raise UserError(
            f"model {name} is not complete: {', '.join(missing)} not trained or exported to the end; "
            "run the command that made it again"
        )
    if not names:
        names = found_members(folder)
    if not names:
        return [name]
    return [str(folder / member) for member in names]


def found_members(folder: Path) -> list[str]:
    """Return the names of the models in a folder, in the order of their numbers."""
    numbers: dict[str, int] = {}
    for path in folder.iterdir():
        match = MEMBER.fullmatch(path.name)
        if match and (path / "config.json").is_file():
            numbers[path.name] = int(match[2])
    return sorted(numbers, key=numbers.__getitem__)


def is_complete(folder: Path) -> bool:
    """Tell whether a model was trained, or exported, to its end."""
    # config.json is the last file put into a folder and the first taken away when it is replaced.
    if not (folder / "config.json").is_file():
        return False
    trained = (folder / "metrics.json").is_file()
    exported = (folder / "export_report.json").is_file()
    return trained or exported


def listed_members(folder: Path) -> list[str]:
    """Return the names in the folder's list; none if it does not have one.

    Raises:
        UserError: for a list that is damaged.
    """
    listed = read_lists(folder)
    folds = listed.get("folds", 0)
    repeats = listed.get("fold_repeats", 1)
    seeds = listed.get("seeds", [])
    are_counts = isinstance(seeds, list) and all(map(is_count, [folds, repeats, *seeds]))
    if not are_counts or folds * repeats > MOST_MODELS:
        raise UserError(
            f"{folder}: {' or '.join(LISTS)} is damaged: folds, fold_repeats and seeds are not numbers"
        )
    # Repeats are numbered on: two times three folds are fold-0 to fold-5.
    fold_names = [f"fold-{number}" for number in range(folds * repeats)]
    seed_names = [f"seed-{seed}" for seed in seeds]
    return fold_names + seed_names


def is_count(value: Any) -> bool:
    """Tell whether a value from JSON is a number of things."""
    # type() and not isinstance(): JSON's true is an int to Python.
    return type(value) is int and value >= 0


def read_lists(folder: Path) -> dict[str, Any]:
    """Return the content of folds.json and seeds.json together."""
    listed: dict[str, Any] = {}
    for name in LISTS:
        path = folder / name
        if not path.is_file():
            continue
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a list of models: expected an object")
        listed.update(content)
    return listed
