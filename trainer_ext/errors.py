"""The one exception a user is meant to see, and how the entry scripts show it."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Bad input: the message names the file, row or flag, the value seen and what was expected."""

    status = 2  # the exit status of a script that ends with it


class RunError(UserError):
    """A part of a job failed (a fold, a seed) though its input was good; the message says how to go on."""

    status = 1


class ArgumentParser(argparse.ArgumentParser):
    """`argparse` whose errors are one `UserError` instead of a page of usage; unknown flags name the nearest."""

    def error(self, message: str):
        """Called by argparse for a value or flag it cannot take."""
        word = message.rpartition("arguments: ")[2].split(" ")[0].split("=")[0]
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = did_you_mean(word, flags) if "unrecognized arguments" in message else ""
        raise UserError(f"{message}{near} (--help lists the flags)")


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`"; did you mean 'focal_gamma'?"` for the nearest candidate, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_range(name: str, value: float, low: float, high: float = float("inf"), above: bool = False) -> None:
    """Raise `UserError` unless low <= value <= high (low < value where `above`)."""
    if not low <= value <= high or (above and value == low) or value == float("inf"):
        bounds = f"{'above' if above else 'at least'} {low}" + ("" if high == float("inf") else f" and at most {high}")
        raise UserError(f"{name} {value} is out of range: it must be {bounds}")


def near_choice(message: str) -> str:
    """`"; did you mean 'fgm'?"` for argparse's message about a value that is no choice, or an empty string."""
    found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
    return did_you_mean(found[1], re.findall(r"[^\s,']+", found[2])) if found else ""


def run_main(main: Callable[[], int | None]) -> None:
    """Run an entry script: a `UserError` becomes one line on stderr and its exit status, without a traceback."""
    try:
        status = main()
        sys.stdout.flush()  # a reader that went away shows here, not at exit where nothing can be done about it
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = error.status
    except BrokenPipeError:  # the reader of our output went away (`predict.py ... | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status or 0)
