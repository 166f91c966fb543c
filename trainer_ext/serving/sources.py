"""Which models a command line names. Loads nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.errors import UserError

NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.+)")
# What a name may not hold, if it is made of a path or a reference.
UNNAMABLE = re.compile(r"[^A-Za-z0-9._]+")


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: by which requests ask for it.
        path: folder or reference, resolved anew by each load: an alias may have moved.
    """

    name: str
    path: str


def parse_sources(given: Sequence[str]) -> list[Source]:
    """Read the values of `--model`: NAME=MODEL, or MODEL, whose name is the last part of its path.

    Raises:
        UserError: for two models of one name.
    """
    sources: list[Source] = []
    for value in given:
        match = NAMED.fullmatch(value)
        # A folder may have an equals sign in its name.
        if match and not Path(value).exists():
            source = Source(match[1], match[2])
        else:
            source = Source(default_name(value), value)
        for other in sources:
            if other.name == source.name:
                raise UserError(
                    f"--model {value} and --model {other.path} are both called {source.name}: "
                    "give one of them another name (NAME=MODEL)"
                )
        sources.append(source)
    return sources


def default_name(path: str) -> str:
    """Return `news` for runs/news/, artifact:news:best and runs/{news}."""
    last = path.removeprefix("artifact:").removeprefix("wandb:").rstrip("/").rsplit("/", 1)[-1]
    name = UNNAMABLE.sub("-", last.split(":")[0]).strip("-.")
    return name or "model"
