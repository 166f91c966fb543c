"""What must not leave the machine or stay in a file: keys, tokens and passwords, told by the names they go by.

Imports the standard library only.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

NAME = re.compile(
    r"(?:.*[_-])?(?:token|secret|password|passwd|passphrase|(?:api)?key|credentials?)", re.I
)
IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")  # user and password, or a token, before the host
SHORTEST = 8  # a shorter value may be a part of any word
HIDDEN = "***"


def is_secret(name: str) -> bool:
    """Whether a flag or variable of this name holds a secret: `hub_token`, `WANDB_API_KEY`."""
    return NAME.fullmatch(name.lstrip("-")) is not None


def in_environment(environment: Mapping[str, str] | None = None) -> list[str]:
    """Values of the variables that hold secrets, the longest first."""
    variables = os.environ if environment is None else environment
    found = {
        value for name, value in variables.items() if is_secret(name) and len(value) >= SHORTEST
    }
    return sorted(found, key=len, reverse=True)


def without_secrets(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """A command line that may be shown: the values of secret flags, wherever they stand in it, are `***`.

    Also what is in a secret variable, and what stands before the host of an address.
    """
    values = in_environment(environment)
    for place, token in enumerate(argv):
        following = argv[place + 1] if place + 1 < len(argv) else ""
        flag, equals, value = token.partition("=")
        if flag.startswith("-") and is_secret(flag):
            values.append(value if equals else following)
    values = [value for value in values if value and not is_flag(value)]
    return [hidden(token, values) for token in argv]


def is_flag(token: str) -> bool:
    """Whether a token is a flag and no value."""
    return token.startswith("--")


def hidden(token: str, values: Sequence[str]) -> str:
    """One token without any of the values; the name of a flag stays."""
    flag, equals, value = token.partition("=") if is_flag(token) else ("", "", token)
    for secret in values:
        if value == secret:
            value = HIDDEN
        elif len(secret) >= SHORTEST:
            value = value.replace(secret, HIDDEN)
    return flag + equals + IN_ADDRESS.sub(f"{HIDDEN}@", value)


@contextmanager
def shown_command_line() -> Iterator[None]:
    """Let W&B see the command line without keys and tokens: it shows `sys.argv` on the run's page."""
    before = sys.argv
    sys.argv = without_secrets(before)
    try:
        yield
    finally:
        sys.argv = before
