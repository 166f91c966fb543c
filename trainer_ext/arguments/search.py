"""The flags of a search over other flags."""

from dataclasses import dataclass

from trainer_ext.arguments.fields import option


@dataclass
class SearchArguments:
    """A search for the best values of flags, with Optuna."""

    _argument_group_name = "search"

    search: str | None = option(
        None,
        "Search the flags in this YAML: a list of choices, or {low, high, log} for each.",
        metavar="FILE",
    )
    search_trials: int = option(20, "Trials in all; the same command with more goes on.", minimum=1)
