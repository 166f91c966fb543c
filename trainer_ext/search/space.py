"""The space of a search: which values each flag may take, read from a YAML and checked before anything trains.

`learning_rate: {low: 1.0e-5, high: 1.0e-4, log: true}` is a range, `focal_gamma: [0, 1, 2]` a list of choices. A choice
is written as in a recipe, and may be a list itself.
"""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trainer_ext.arguments.command_line import read_boolean
from trainer_ext.arguments.first_pass import described_flags, kept_flags, training_parser
from trainer_ext.arguments.parser import parse_values
from trainer_ext.arguments.recipe import check_known, read_recipe
from trainer_ext.errors import UserError

KEYS = {"low", "high", "log"}
# Flags whose values decide on which rows, or by which metric, a trial is scored; and those of the search itself.
NOT_SEARCHED = {
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "do_train", "push_to_hub"),
    *("task", "label_columns", "label_names", "label_separator", "drop_missing"),
    *("validation_file", "validation_split", "test_file", "dataset_name", "dataset_config_name"),
    *("max_eval_samples", "metric_for_best_model", "greater_is_better"),
    *("folds", "fold", "fold_strategy", "fold_repeats", "group_column", "seeds", "soup"),
    *("search", "search_trials", "launcher", "ray_address", "num_cpus_per_run"),
    *("num_gpus_per_run", "num_fold_workers", "report_to", "help"),
}
# Other values beside a value, when it is asked whether the value can be trained with.
COMBINATIONS = 30


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; with `log` as many below the geometric mean of both as above it."""

    low: float
    high: float
    log: bool
    is_integer: bool

    def distribution(self) -> BaseDistribution:
        """Return it as Optuna has it."""
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def ends(self) -> list[Any]:
        """Return the values that are checked: what both ends allow, all between them do."""
        return [self.distribution().to_external_repr(value) for value in (self.low, self.high)]

    def flag_value(self, proposed: Any) -> Any:
        """Return the value of the flag for what Optuna proposes."""
        return proposed

    def proposal_of(self, value: Any) -> Any:
        """Return what Optuna would propose for a value of the flag; None if it is not in the range."""
        # A recipe may say none, or a word.
        number = as_number(value)
        if number is None or not self.low <= number <= self.high:
            return None
        return int(number) if self.is_integer else number


@dataclass(frozen=True)
class Choices:
    """Some values, by the name under which Optuna knows each: lists are no choices of Optuna's."""

    values: Mapping[str, Any]

    def distribution(self) -> BaseDistribution:
        """Return it as Optuna has it."""
        return CategoricalDistribution(list(self.values))

    def ends(self) -> list[Any]:
        """Return the values that are checked: all."""
        return list(self.values)

    def flag_value(self, proposed: Any) -> Any:
        """Return the value of the flag for what Optuna proposes."""
        return self.values[proposed]

    def proposal_of(self, value: Any) -> Any:
        """Return the name of a value of the flag; None if it is not among the choices."""
        for name, choice in self.values.items():
            numbers = as_number(choice), as_number(value)
            is_same = numbers[0] is not None and numbers[0] == numbers[1]
            if is_same or name.lower() == name_of(value).lower():
                return name
        return None


Space = Mapping[str, Range | Choices]


def read_space(path: str, has_shuffled_rows: bool) -> Space:
    """Read the space, each flag by its name.

    Args:
        path: of the YAML.
        has_shuffled_rows: whether the seed decides which rows trials are scored on.

    Raises:
        UserError: naming the file and the flag, for an unknown flag, one that decides what trials are scored on, or a
            value that is neither a list of choices nor a range.
    """
    content = read_recipe(path)
    if not content:
        raise UserError(
            f"{path} is empty: give a list of choices, or {{low, high}}, for some flags"
        )
    flags = {action.dest: action for action in actions()}
    # A misspelt flag would be searched for hours, without effect.
    check_known(content, set(flags), f"flag {{}} in {path}")
    refused = NOT_SEARCHED | ({"seed"} if has_shuffled_rows else set())
    space: dict[str, Range | Choices] = {}
    for name, value in content.items():
        if name in refused:
            raise UserError(
                f"{path}: {name} cannot be searched: trials would be scored on other rows, or by another metric, or it "
                "is about the search itself"
            )
        space[name] = read_values(f"{path}: {name}", value, flags[name])
    return space


def actions() -> Sequence[argparse.Action]:
    """Return every flag of train.py as the parser has it."""
    return training_parser(kept_flags() or described_flags())._actions


def read_values(where: str, value: Any, flag: argparse.Action) -> Range | Choices:
    """Read what a flag may be."""
    if isinstance(value, list):
        return read_choices(where, value)
    if isinstance(value, dict):
        return read_range(where, value, flag)
    raise UserError(
        f"{where}: {value!r} is neither a list of choices, [a, b], nor a range, {{low: 1, high: 2}}"
    )


def read_choices(where: str, values: Sequence[Any]) -> Choices:
    """Read a list of choices."""
    # By name, because a list cannot be a key.
    named = {name_of(value): value for value in values}
    if len(named) < len(values):
        raise UserError(f"{where}: a choice is listed twice")
    if len(named) < 2:
        raise UserError(f"{where}: there is nothing to choose from; a recipe fixes a value")
    return Choices(named)


def name_of(value: Any) -> str:
    """Return a choice as one word for tables and pictures."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def read_range(where: str, content: Mapping[str, Any], flag: argparse.Action) -> Range:
    """Read a range of numbers."""
    check_known(content, KEYS, f"key {{}} in {where}")
    low, high = (as_number(content.get(key)) for key in ("low", "high"))
    if low is None or high is None:
        raise UserError(f"{where}: {dict(content)} must have numbers for low and high")
    log = content.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{where}: log {log!r} is neither true nor false")
    if not low < high:
        raise UserError(f"{where}: low {low:g} must be below high {high:g}")
    # 0 has no logarithm.
    if log and low <= 0:
        raise UserError(f"{where}: low {low:g} must be above 0 if log is true")
    if flag.choices or flag.type is read_boolean:
        raise UserError(f"{where} does not take numbers: list its choices, [a, b]")
    is_integer = flag.type is int
    if is_integer and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{where} takes integers, but low is {low:g} and high {high:g}")
    return Range(low, high, log, is_integer)


def as_number(value: Any) -> float | None:
    """Return a value as a number; None for anything else. YAML reads 1e-5, without a dot, as text."""
    # True is 1 to Python.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the space as Optuna has it."""
    return {name: values.distribution() for name, values in space.items()}


def flag_values(space: Space, proposed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags of what Optuna proposes."""
    return {name: space[name].flag_value(value) for name, value in proposed.items()}


def check_values(path: str, space: Space, recipe: Mapping[str, Any]) -> None:
    """Check that each value can be trained with, by itself or beside other values of the space.

    Raises:
        UserError: naming file, flag and value, with what the parser says about it.
    """
    for name, values in space.items():
        for value in values.ends():
            why = refusal(space, recipe, name, value)
            if why is not None:
                raise UserError(f"{path}: {name} {value}: {why}")


def refusal(space: Space, recipe: Mapping[str, Any], name: str, value: Any) -> UserError | None:
    """Return why a value cannot be trained with; None if it can, perhaps only beside certain others."""
    first: UserError | None = None
    generator = random.Random(0)
    for attempt in range(COMBINATIONS):
        proposed = {name: value}
        # By itself first: that is what a message should be about.
        if attempt:
            for other, values in space.items():
                proposed.setdefault(other, generator.choice(values.ends()))
        try:
            parse_values(recipe, flag_values(space, proposed))
            return None
        except UserError as error:
            first = first or error
        # There is nothing beside it to vary.
        if len(space) == 1:
            break
    return first


def default_proposal(space: Space, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of the recipe itself as Optuna would propose them; None if the space leaves one out."""
    proposed = {}
    for action in actions():
        if action.dest in space:
            value = recipe.get(action.dest, action.default)
            proposed[action.dest] = space[action.dest].proposal_of(value)
    if None in proposed.values():
        return None
    return proposed
