"""The one exception a user is meant to see, and the one place that turns whatever ends a script into a line."""

import errno
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from trainer_ext import log
from trainer_ext.synonyms import other_name

DEBUG = "TRAINER_EXT_DEBUG"  # set by --debug, also for child processes
# What `transformers.TrainingArguments.debug` takes: a flag of the same name as ours.
HF_DEBUG = ("underflow_overflow", "tpu_metrics_debug", "")
STAGE = "stage"  # attribute of an error: what was being done
INTERRUPTED = 130  # as a shell reports SIGINT
TERMINATED = 143  # and SIGTERM
LONGEST = 300  # characters of a message that is not ours
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_WORDS = (
    "no space left on device",
    "disk is full",
    "disk quota exceeded",
    "file write failed",
)
MEMORY_WORDS = ("out of memory", "can't allocate memory", "failed to allocate memory", "bad_alloc")
# A path that the user named, or its permissions. Other system errors (input/output error ...) are not bad input.
WRONG_PATH = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EROFS,
    errno.EINVAL,
    errno.EXDEV,
}


class UserError(Exception):
    """Bad input: the message names the file, row or flag, the value seen and what was expected."""

    status = 2  # the exit status of a script that ends with it
    reported_elsewhere = False  # by another process of the same launch


class RunError(UserError):
    """A part of a job failed (a fold, a seed) though its input was good; the message says how to go on."""

    status = 1


class Interrupted(UserError):
    """The user stopped a job, and there is more to say than that; the message says how to go on."""

    status = INTERRUPTED


class Terminated(KeyboardInterrupt):
    """SIGTERM: the script ends as with Ctrl-C, so that it removes what is half-written and ends its children."""

    reported_elsewhere = False


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `"; did you mean 'focal_gamma'?"` for the nearest candidate, or an empty string if none is near.

    What other trainers call it goes before what is spelt alike.
    """
    # Of two spellings of a flag the first one counts, which has underscores.
    by_name = {plain_name(name): name for name in reversed(list(candidates))}
    known = other_name(plain_name(word), set(by_name))
    if known:
        return f"; did you mean {by_name[known]!r}?"
    import difflib  # as long as all goes well, nobody waits for it

    near = difflib.get_close_matches(word, by_name.values(), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def plain_name(flag: str) -> str:
    """Return the name of a flag: `--max-length` -> `max_length`."""
    return flag.lstrip("-").replace("-", "_")


def check_range(
    name: str,
    value: float,
    low: float,
    high: float = float("inf"),
    above: bool = False,
) -> None:
    """Raise `UserError` unless low <= value <= high (low < value if `above`); infinity is never in a range."""
    in_range = low < value <= high if above else low <= value <= high
    if in_range and value != float("inf"):
        return
    bounds = f"{'above' if above else 'at least'} {low}"
    if high != float("inf"):
        bounds += f" and at most {high}"
    raise UserError(f"{name} {value} is out of range: it must be {bounds}")


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Put the place of a row (or of whatever is read) before the message of a `UserError`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


@contextmanager
def stage(doing: str) -> Iterator[None]:
    """Note on whatever ends the block what was being done (`while saving`); the innermost stage counts."""
    try:
        yield
    except BaseException as error:
        if not hasattr(error, STAGE):
            setattr(error, STAGE, doing)
        raise


@contextmanager
def reported_once() -> Iterator[None]:
    """Let one process of each machine report a `UserError` that all processes of a launch (torchrun) raise."""
    try:
        yield
    except (UserError, Terminated) as error:
        error.reported_elsewhere = os.environ.get("LOCAL_RANK", "0") != "0"
        raise


def run_main(main: Callable[[], int | None]) -> None:
    """Run an entry script: whatever it raises becomes one line on stderr and an exit status.

    2: bad input. 1: anything else that went wrong. 130: interrupted, 143: ended by SIGTERM. `--debug` adds the
    traceback; it is taken off the command line here, so that every command has it, and is known to the processes that
    the command starts.
    """
    open_closed_streams()
    log.configure()
    if take_debug(sys.argv):
        os.environ[DEBUG] = "1"
    # A process that waits for others of its launch would not hear of the signal.
    if "LOCAL_RANK" not in os.environ:
        signal.signal(signal.SIGTERM, raise_terminated)
    try:
        status = main()
        # A reader that went away shows here, not at exit where nothing can be done about it.
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        gone = stdout_is_gone()
        if gone and isinstance(error, BrokenPipeError):
            # Whoever read our output has enough (`predict.py ... | head`).
            sys.exit(0)
        message, status = explain(error)
        # Standard error may lie on the full disk.
        with suppress(OSError):
            report(error, message)
    sys.exit(status or 0)


def open_closed_streams() -> None:
    """Let a standard stream that was closed (`>&-`) take what is written, and drop it: Python has None in its place.

    Called before anything is opened: a file of answers would get the free descriptor, and with it what libraries print.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  open to the end


def report(error: BaseException, message: str) -> None:
    """Print what ended a script, with the traceback if it was asked for."""
    if os.environ.get(DEBUG):
        traceback.print_exception(type(error), error, error.__traceback__)
    if not getattr(error, "reported_elsewhere", False):
        print(f"error: {message}", file=sys.stderr, flush=True)


def raise_terminated(signum: int, frame: Any) -> None:
    """Handle SIGTERM."""
    raise Terminated


def take_debug(argv: list[str]) -> bool:
    """Remove `--debug` from a command line and tell whether it was there; `--debug WORD` of transformers stays."""
    kept = []
    for position, token in enumerate(argv):
        following = argv[position + 1] if position + 1 < len(argv) else None
        if token != "--debug" or following in HF_DEBUG:
            kept.append(token)
    found = len(kept) < len(argv)
    argv[:] = kept
    return found


def stdout_is_gone() -> bool:
    """Tell whether standard output takes no more (its reader left, its disk is full); it then goes nowhere.

    Python flushes it once more at exit, and would fail with a message of its own.
    """
    try:
        sys.stdout.flush()
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        if not any(events & select.POLLERR for _, events in poll.poll(0)):
            return False
    except io.UnsupportedOperation:
        # A notebook's or a test's output is not a file.
        return False
    except OSError:
        pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def explain(error: BaseException) -> tuple[str, int]:
    """Return one line for what ended a script, and its exit status."""
    doing = f" {getattr(error, STAGE)}" if hasattr(error, STAGE) else ""
    if isinstance(error, UserError):
        return one_line(str(error)), error.status
    if isinstance(error, Terminated):
        return f"ended by SIGTERM{doing}", TERMINATED
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted{doing}", INTERRUPTED
    chain = causes(error)
    if any(is_disk_full(cause) for cause in chain):
        where = file_of(chain)
        place = f" ({where})" if where else ""
        message = (
            f"no space left on the disk{doing}{place}: free some, then run the same command again"
        )
        return message, 1
    if any(is_out_of_memory(cause) for cause in chain):
        hint = "smaller batches (or a shorter --max_length) need less"
        return f"out of memory{doing}: {message_of(error)}; {hint}", 1
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        status = 2 if error.errno in WRONG_PATH else 1
        return one_line(f"{where}{error.strerror}{doing}"), status
    package = missing_package(error)
    if package:
        needed = "pip install -e . brings what training, export and scoring need"
        return f"{package} is not installed{doing}: {needed}", 1
    message = f"{type(error).__name__}{doing}: {message_of(error)}{where_to_look(error)}"
    return message, 1


def missing_package(error: BaseException) -> str:
    """Return the name of a package that is not installed, empty if an error is about anything else."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    name = error.name or ""
    # The package of a module with a dot is there, and lacks a part that it had or will have in another version.
    if "." in name:
        return ""
    return name


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and those it was raised from or while handling, the last one first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def file_of(chain: Iterable[BaseException]) -> Any:
    """Return the file that the first of some errors is about; None if none of them names one."""
    for error in chain:
        name = getattr(error, "filename", None)
        if name:
            return name
    return None


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the disk is full; libraries (safetensors, torch, SQLite) say so in words of their own."""
    return getattr(error, "errno", None) in DISK_FULL or contains(error, DISK_FULL_WORDS)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the memory of the machine or of a GPU was too small."""
    return isinstance(error, MemoryError) or contains(error, MEMORY_WORDS)


def contains(error: BaseException, words: Iterable[str]) -> bool:
    """Tell whether a message holds one of some words."""
    text = str(error).lower()
    return any(word in text for word in words)


def describe_error(error: BaseException, longest: int = LONGEST) -> str:
    """Return what a library's error says, on one line; the type as well if it says one word (KeyError) or nothing."""
    if not str(error).strip():
        return type(error).__name__
    line = message_of(error, longest)
    if " " in line:
        return line
    return f"{type(error).__name__} {line}"


def message_of(error: BaseException, longest: int = LONGEST) -> str:
    """Return an error's message on one line, cut to a length fit to read."""
    text = str(error)
    # A data loader's worker quotes its whole traceback, which ends with the message.
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    line = one_line(text) or "no message"
    if len(line) <= longest:
        return line
    return f"{line[:longest]} ..."


def one_line(text: str) -> str:
    """Replace line breaks by blanks, and what would steer a terminal (escape sequences) by its code."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def where_to_look(error: BaseException) -> str:
    """Keep the traceback of an error that nobody foresaw, and say where: a training may have run for hours before."""
    if os.environ.get(DEBUG):
        return ""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="trainer-ext-",
            suffix=".traceback.txt",
            delete=False,
            encoding="utf-8",
            errors="replace",
        ) as file:
            traceback.print_exception(type(error), error, error.__traceback__, file=file)
        return f" (traceback: {file.name}, or with --debug)"
    except OSError:
        return " (--debug shows the traceback)"
