"""What differs between the flags of runs, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer_ext.arguments.first_pass import described_flags, kept_flags, training_parser

# Where a run writes, what it is called and what it shows does not make its model another one.
NOT_OF_THE_MODEL = {
    "output_dir",
    "run_name",
    "run_group",
    "run_tags",
    "report_to",
    "project",
    "disable_tqdm",
    "log_level",
    "logging_steps",
    "push_to_hub",
    "hub_model_id",
    "hub_revision",
    "hub_private_repo",
    "hub_strategy",
    "soup",
}
NONE_WORDS = (None, "none", "")


def differing(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the flags that are not the same in all runs, with the value in each.

    Args:
        runs: the flags of each, as resolved_config.yaml has them: one that was left out has its default.
    """
    defaults = default_flags()
    names: dict[str, None] = {}  # a set that keeps the order
    for flags in runs:
        names |= dict.fromkeys(flags)
    found = {}
    for name in names:
        if name in NOT_OF_THE_MODEL:
            continue
        values = [flags.get(name, defaults.get(name)) for flags in runs]
        shown = list(map(as_text, values))
        if len(set(shown)) > 1:
            found[name] = shown
    return found


def default_flags() -> dict[str, Any]:
    """Return the default of every flag of train."""
    parser = training_parser(kept_flags() or described_flags())
    return {action.dest: action.default for action in parser._actions}


def as_text(value: Any) -> str:
    """Return a flag's value as it is written on a command line; numbers that are equal are written alike."""
    if value in NONE_WORDS:
        return "none"
    if isinstance(value, (list, tuple)):
        return " ".join(map(as_text, value))
    # A dataclass has 0.0 where a recipe says 0; `true` is a number in Python.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
