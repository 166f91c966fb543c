"""A sweep as it is written: a YAML file of runs, each by what it has over the others, and of grids.

output_dir: outputs/sweeps/losses
recipe: configs/news_scratch.yaml      # of every run that names no other
flags: {num_train_epochs: 3}           # of every run
runs:
  cross-entropy: {}
  focal: {focal_gamma: 2}
grid:                                  # every run with every combination of these
  max_length: [16, 32]
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.recipe import items_of, mapping_in, read_yaml, to_tokens, token_of
from trainer_ext.errors import UserError, did_you_mean

KEYS = ("output_dir", "recipe", "flags", "runs", "grid")
NAME = re.compile(r"[\w.=+-]+")
MOST_RUNS = 1000


@dataclass(frozen=True)
class SweepRun:
    """One run: its name, which is that of its folder, and the words of train's command line."""

    name: str
    words: list[str]


@dataclass(frozen=True)
class Sweep:
    """The runs in their order, and the folder that they are to go into; None if the file names none."""

    output_dir: str | None
    runs: list[SweepRun]


def read_sweep(path: Path) -> Sweep:
    """Read the file of a sweep.

    Raises:
        UserError: for what is not such a file, naming the key.
    """
    if not path.is_file():
        raise UserError(f"sweep {path} does not exist")
    parts = dict(items_of(read_yaml(path), str(path)))
    # A misspelt key would leave out all that stands under it.
    for key in parts:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key}{did_you_mean(key, KEYS)}")
    named = named_runs(parts.get("runs"), path)
    grid = {}
    if "grid" in parts:
        grid = mapping_in(parts["grid"], f"{path}: grid")
    common = {}
    if "flags" in parts:
        common = mapping_in(parts["flags"], f"{path}: flags")
    recipe = text_of(parts.get("recipe"), f"{path}: recipe")
    runs = []
    for name, own in named.items():
        for suffix, point in points_of(grid, path).items():
            # The more special wins.
            values = common | own | point
            runs.append(SweepRun(joined(name, suffix), words_of(values, recipe)))
    check_runs(runs, path)
    return Sweep(text_of(parts.get("output_dir"), f"{path}: output_dir"), runs)


def named_runs(node: yaml.Node | None, path: Path) -> dict[str, dict[str, Any]]:
    """Return what each named run has over the others; one without a name if the file has a grid only."""
    if node is None:
        return {"": {}}
    runs = {}
    for name, value in items_of(node, f"{path}: runs"):
        runs[name] = mapping_in(value, f"{path}: run {name}")
    return runs


def text_of(node: yaml.Node | None, where: str) -> str | None:
    """Return a value that is a word, as it is written."""
    if node is None:
        return None
    if not isinstance(node, yaml.ScalarNode):
        raise UserError(f"{where} must be one word")
    return str(node.value)


def points_of(grid: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Return every combination of a grid's values, by the name it gives to a run; one empty one without a grid."""
    for flag, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: grid: {flag} must be a list of values, such as [1, 2]")
    points = {}
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        parts = [f"{flag}={token_of(value)}" for flag, value in point.items()]
        # Paths and lists of values hold characters that a folder's name should not.
        points[re.sub(r"[^\w.=+-]+", "_", "-".join(parts))] = point
    return points


def joined(name: str, suffix: str) -> str:
    """Return the name of a run at a point of a grid."""
    return "-".join(part for part in (name, suffix) if part)


def words_of(values: Mapping[str, Any], recipe: str | None) -> list[str]:
    """Return the words of train's command line."""
    own_recipe = values.get("recipe", recipe)
    # As in a recipe, null counts as left out.
    flags = {
        flag: value for flag, value in values.items() if value is not None and flag != "recipe"
    }
    words = [] if own_recipe is None else [own_recipe]
    return words + to_tokens(flags)


def check_runs(runs: Sequence[SweepRun], path: Path) -> None:
    """Raise `UserError` for a sweep of fewer than two runs, for too many, and for names that are no folders."""
    # One run has nothing to be compared with.
    if len(runs) < 2:
        raise UserError(f"{path} has {len(runs)} runs: a sweep needs two or more (runs, grid)")
    # A grid of six lists of ten is a million, and surely a mistake.
    if len(runs) > MOST_RUNS:
        raise UserError(f"{path} has {len(runs)} runs, more than {MOST_RUNS}")
    names = [run.name for run in runs]
    for name in names:
        # It becomes a folder, which must not lie elsewhere or be hidden.
        if not NAME.fullmatch(name) or name.startswith("."):
            raise UserError(f"{path}: run {name!r}: a name has letters, digits and . _ - + = only")
        if names.count(name) > 1:
            raise UserError(f"{path}: two runs are called {name}")
    for run in runs:
        if "--output_dir" in run.words:
            raise UserError(f"{path}: run {run.name}: output_dir stands at the top of the file")
