"""Hide what must not leave the machine or stay in a file: keys, tokens and passwords, found by their names.

Imports the standard library only.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import PurePath
from typing import Any

NAME = re.compile(
    r"(?:.*[_-])?(?:token|secret|password|passwd|passphrase|(?:api)?key|credentials?)", re.I
)
IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")  # user and password, or a token, before the host
SHORTEST = 8  # characters: a shorter value may be part of any word
HIDDEN = "***"


def is_secret(name: str) -> bool:
    """Return whether a flag or variable of this name holds a secret: `hub_token`, `WANDB_API_KEY`."""
    return NAME.fullmatch(name.lstrip("-")) is not None


def in_environment(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the values of the variables that hold secrets, the longest first."""
    variables = os.environ if environment is None else environment
    found = set()
    for name, value in variables.items():
        if is_secret(name) and len(value) >= SHORTEST:
            found.add(value)
    # A value may be part of a longer one, of which the rest would stay if it went first.
    return sorted(found, key=len, reverse=True)


def without_secrets(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a command line that may be shown: `***` for the values of secret flags, wherever they stand in it.

    Also for the values of secret variables, and for what stands before the host of an address.
    """
    secrets = in_environment(environment) + flag_values(argv)
    return [hide(token, secrets) for token in argv]


def flag_values(argv: Sequence[str]) -> list[str]:
    """Return the values of the secret flags in a command line."""
    values = []
    for token, following in zip_longest(argv, argv[1:], fillvalue=""):
        flag, equals, value = token.partition("=")
        if not flag.startswith("-") or not is_secret(flag):
            continue
        if not equals:
            value = following
        # A secret flag without a value is followed by another flag.
        if value and not is_flag(value):
            values.append(value)
    return values


def is_flag(token: str) -> bool:
    """Return whether a token is a flag and not a value."""
    return token.startswith("--")


def hide(token: str, secrets: Sequence[str]) -> str:
    """Return one token without any of the secrets; the name of a flag stays."""
    flag = equals = ""
    value = token
    if is_flag(token):
        flag, equals, value = token.partition("=")
    for secret in secrets:
        if value == secret:
            value = HIDDEN
        elif len(secret) >= SHORTEST:
            value = value.replace(secret, HIDDEN)
    return flag + equals + IN_ADDRESS.sub(f"{HIDDEN}@", value)


def public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags as others may read them: of places on this machine their last part, and no secrets."""
    secrets = in_environment()
    shown: dict[str, Any] = {}
    for name, value in values.items():
        if is_secret(name):
            continue
        # Classes and columns are called what they are called, `/` or `a/b` too.
        if name.startswith("label_") or name.endswith("_column"):
            shown[name] = value
        elif isinstance(value, (list, tuple)):
            shown[name] = [public_value(name, item, secrets) for item in value]
        else:
            shown[name] = public_value(name, value, secrets)
    return shown


def public_value(name: str, value: Any, secrets: Sequence[str]) -> Any:
    """Return one value of a flag as others may read it."""
    if not isinstance(value, str):
        return value
    if is_place(name, value):
        return PurePath(value).name
    return hide(value, secrets)


def is_place(name: str, value: str) -> bool:
    """Return whether a flag's value names a file or folder of this machine, rather than a model or data set."""
    if "/" not in value or "://" in value:
        return False
    if value.startswith(("/", "./", "../", "~")) or name.endswith(("_file", "_dir")):
        return True
    # `outputs/teacher` has the form of a name on the Hub.
    return os.path.exists(value)


@contextmanager
def shown_command_line() -> Iterator[None]:
    """Let W&B see the command line without keys and tokens: it shows `sys.argv` on the run's page."""
    before = sys.argv
    sys.argv = without_secrets(before)
    try:
        yield
    finally:
        sys.argv = before
