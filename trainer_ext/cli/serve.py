"""Serve models over HTTP: /predict, /v1/classify, /health, /ready, /info, /metrics and /openapi.json; a page at /.

A model is what predict takes: an export, a checkpoint, a folder of folds or seeds (which answer together), or
artifact:NAME:ALIAS. With several --model NAME=MODEL a request says which one ("model": NAME); the first answers if it
does not.

SIGHUP loads every model anew, so that an alias that has moved is followed; SIGTERM stops when what was accepted is
answered. If the environment has TRAINER_EXT_API_KEY, or --api_key_file is given, requests need
`Authorization: Bearer KEY`.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.cli.predict import ModelOptions
from trainer_ext.cores import available_cores
from trainer_ext.errors import RunError, UserError

if TYPE_CHECKING:
    from trainer_ext.serving.limits import Limits
    from trainer_ext.serving.sources import Source

API_KEY = "TRAINER_EXT_API_KEY"
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
# The flags of a model that load_predictor takes under the same names.
SETTINGS = (
    "provider",
    "batch_size",
    "file_name",
    "ensemble",
    "trust_remote_code",
    "task",
    "runtime",
    "on_mismatch",
)


@dataclass(kw_only=True)
class ServerOptions:
    """Where the server listens, and what it takes on."""

    _argument_group_name = "server"

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0: every one of this machine.")
    port: int = option(8000, "Port; 0: any that is free.", minimum=0, maximum=65535)
    workers: int = option(1, "Processes, each with the models in its memory.", minimum=1)
    api_key_file: Path | None = option(
        None, f"File that holds the API key (default: the variable {API_KEY}; none: open to all)."
    )
    log_texts: bool = option(False, "Write the texts of requests into the log.")
    page: bool = option(True, "Answer / with a page to try the models on.")
    max_body_bytes: int = option(1 << 20, "Bytes of a request's body.", minimum=1)
    max_texts: int = option(128, "Texts of a request.", minimum=1)
    max_characters: int = option(100_000, "Characters of a text.", minimum=1)
    max_queue: int = option(1024, "Texts that wait for a model; more are refused.", minimum=1)
    max_requests: int = option(1024, "Requests in hand; more are refused.", minimum=1)
    max_batch_tokens: int = option(4096, "Tokens in one run, padding included.", minimum=1)
    request_timeout: float = option(
        30.0, "Seconds from a request to its answer, reading and waiting included.", above=0
    )
    stop_timeout: float = option(
        30.0, "Seconds that accepted requests have to be answered after SIGTERM.", above=0
    )


@dataclass(kw_only=True)
class ServeOptions(ModelOptions, ServerOptions, CommandOptions):
    """The flags of `serve`."""

    _argument_group_name = "models"

    model: list[str] = option(
        help="Folder or reference, or NAME=MODEL; may be given several times.",
        action="append",
        metavar="MODEL",
    )
    batch_size: int = option(32, "Texts in one run; INT8 in ONNX Runtime takes one.", minimum=1)


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext serve") -> int:
    """Listen, load the models, and answer until a signal stops it."""
    options = read_options(ServeOptions, argv, prog, __doc__)
    check(options)
    key = read_key(options.api_key_file)
    # Tokenizers share out a few short texts among all cores, which the callers of a model are on already.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from trainer_ext.serving.logs import log_as_json
    from trainer_ext.serving.sockets import bind
    from trainer_ext.serving.sources import parse_sources

    sources = parse_sources(options.model)
    bound = bind(options.host, options.port)
    log_as_json()

    def work(on_ready: Callable[[], None]) -> None:
        run(options, sources, bound, key, on_ready)

    if options.workers == 1:
        work(lambda: None)
        return 0
    from trainer_ext.serving.workers import run_workers

    return run_workers(options.workers, work)


def check(options: ServeOptions) -> None:
    """Refuse contradictions and missing packages before anything is opened."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise RunError(f'{package} is not installed: pip install -e ".[serve]"')
    if options.max_texts > options.max_queue:
        raise UserError(
            f"--max_texts {options.max_texts} is more than --max_queue {options.max_queue}: a request of so many "
            "texts would always be refused"
        )


def read_key(path: Path | None) -> str | None:
    """Return the API key; None if the server is open.

    Raises:
        UserError: if the file cannot be read, or the key is empty, which would let everyone in.
    """
    if path is None:
        key = os.environ.get(API_KEY)
        if key is not None and not key.strip():
            raise UserError(f"{API_KEY} is empty: unset it, or give it a key")
        return key and key.strip()
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api_key_file {path} cannot be read: {error}") from None
    if not key:
        raise UserError(f"--api_key_file {path} is empty")
    return key


def limits_of(options: ServeOptions) -> "Limits":
    """Return the bounds that the flags set."""
    from trainer_ext.serving.limits import Limits

    return Limits(
        body=options.max_body_bytes,
        texts=options.max_texts,
        characters=options.max_characters,
        queue=options.max_queue,
        requests=options.max_requests,
        seconds=options.request_timeout,
        rows=options.batch_size,
        tokens=options.max_batch_tokens,
    )


def settings_of(options: ServeOptions) -> dict[str, Any]:
    """Return the arguments of `load_predictor`; the processes share the cores."""
    settings = {name: getattr(options, name) for name in SETTINGS}
    threads = options.num_threads
    if threads is None:
        threads = max(1, available_cores() // options.workers)
    return {**settings, "num_threads": threads}


def run(
    options: ServeOptions,
    sources: Sequence["Source"],
    bound: socket.socket,
    key: str | None,
    on_ready: Callable[[], None],
) -> None:
    """Load the models and serve them, in one process."""
    # Until there is something to load anew; by default it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from trainer_ext.serving.metrics import Metrics
    from trainer_ext.serving.model import Models
    from trainer_ext.serving.server import serve
    from trainer_ext.serving.service import Service

    limits = limits_of(options)
    metrics = Metrics()
    models = Models(sources, settings_of(options), limits, metrics)
    service = Service(models, limits, metrics)
    serve(bound, service, key, options.log_texts, options.page, options.stop_timeout, on_ready)
