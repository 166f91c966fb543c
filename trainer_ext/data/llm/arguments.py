"""The flags of `python -m trainer_ext.data.llm`, checked before anything is read or sent."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from trainer_ext.arguments.files import add_file_flags
from trainer_ext.data.io.row_writer import check_paths
from trainer_ext.errors import ArgumentParser, UserError, check_range

MODES = ("augment", "filter", "label")
DEFAULTS = {"num_paraphrases": 1, "threshold": 0.5}
ONLY_IN = {
    "num_paraphrases": "augment",
    "id_column": "augment",
    "threshold": "filter",
    "label_names": "label",
}
TEMPERATURES = {"augment": 0.9, "filter": 0.0, "label": 0.0}


def parse(doc: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: for values out of range, and flags that do not go together.
    """
    parser = ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--mode", choices=MODES, required=True, help="what the model is asked for")
    parser.add_argument(
        "--input", required=True, help="rows: csv, tsv, jsonl, parquet or txt (.gz too)"
    )
    parser.add_argument("--output", required=True, help="where the rows go, .jsonl or .csv")
    parser.add_argument(
        "--base_url", required=True, help="of the endpoint, e.g. http://localhost:8000/v1"
    )
    parser.add_argument("--model", required=True, help="its name there, e.g. qwen2-7b-instruct")
    add_row_flags(parser)
    add_request_flags(parser)
    args = parser.parse_args(argv)
    check(args)
    return args


def add_row_flags(parser: argparse.ArgumentParser) -> None:
    """Which columns, which prompt, and what is done with the answers."""
    parser.add_argument("--text_column", default="text", help="default: text")
    parser.add_argument(
        "--label_columns", nargs="*", default=["label"], help="shown to the model; in label: filled"
    )
    parser.add_argument("--id_column", help="augment: column that names a row (default: id)")
    parser.add_argument("--label_names", nargs="+", help="label: the labels to choose from")
    parser.add_argument(
        "--num_paraphrases", type=int, help="augment: new texts for each row (default: 1)"
    )
    parser.add_argument(
        "--threshold", type=float, help="filter: lowest score that is kept (default: 0.5)"
    )
    parser.add_argument(
        "--prompt", help="a template of your own; trainer_ext/data/llm/prompts/ has ours"
    )
    parser.add_argument(
        "--language", choices=("en", "zh"), default="en", help="of our prompt (default: en)"
    )


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """How requests are sent, and how many."""
    parser.add_argument("--temperature", type=float, help="default: 0.9 for augment, else 0")
    parser.add_argument(
        "--max_tokens", type=int, help="longest reply (default: what the server does)"
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, help="requests at a time (default: 4)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds without a sign of life (default: 60)"
    )
    parser.add_argument(
        "--max_retries", type=int, default=5, help="repetitions of a request (default: 5)"
    )
    parser.add_argument(
        "--retry_wait",
        type=float,
        default=1.0,
        help="seconds before the first (default: 1), doubling",
    )
    parser.add_argument(
        "--max_requests", type=int, help="budget: requests sent, repetitions included"
    )
    parser.add_argument(
        "--max_tokens_total", type=int, help="budget: tokens of requests and replies together"
    )
    parser.add_argument(
        "--cache_dir", help="replies so far (default: .llm_cache beside the output)"
    )
    add_file_flags(parser)


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together; fill in the defaults of the mode."""
    check_paths(args.input, args.output)
    for name, mode in ONLY_IN.items():
        if getattr(args, name) is not None and mode != args.mode:
            raise UserError(f"--{name} {getattr(args, name)} has no effect with --mode {args.mode}")
        if getattr(args, name) is None:
            setattr(args, name, DEFAULTS.get(name))
    url = urlsplit(args.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(
            f"--base_url {args.base_url} is no address; expected e.g. http://localhost:8000/v1"
        )
    if url.username or url.password or url.query:
        raise UserError(
            "--base_url holds a key or a query; the key belongs into the variable OPENAI_API_KEY"
        )
    if args.mode == "label":
        check_label_mode(args)
    for name, low in (
        ("num_paraphrases", 1),
        ("concurrency", 1),
        ("max_retries", 0),
        ("retry_wait", 0),
    ):
        check_range(name, getattr(args, name), low)
    for name in ("max_tokens", "max_requests", "max_tokens_total"):
        check_range(name, getattr(args, name) or 1, 1)
    check_range("threshold", args.threshold, 0, 1)
    check_range("timeout", args.timeout, 0, above=True)
    args.temperature = TEMPERATURES[args.mode] if args.temperature is None else args.temperature
    check_range("temperature", args.temperature, 0, 2)
    args.cache_dir = args.cache_dir or str(Path(args.output).parent / ".llm_cache")


def check_label_mode(args: argparse.Namespace) -> None:
    """One column to fill, and at least two different labels."""
    if len(args.label_columns) != 1:
        raise UserError(
            f"--mode label fills one column; --label_columns names {len(args.label_columns)}"
        )
    names = {name.strip().casefold() for name in args.label_names or ()}
    if len(names) < 2 or len(names) < len(args.label_names) or "" in names:
        raise UserError(
            f"--mode label needs --label_names: two or more different labels, got {args.label_names}"
        )
