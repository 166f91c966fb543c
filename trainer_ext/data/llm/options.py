"""The options of a job for a language model, checked before anything is read or sent."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.row_writer import check_paths
from trainer_ext.errors import UserError

MODES = ("augment", "filter", "label")
DEFAULTS = {"num_paraphrases": 1, "threshold": 0.5}
ONLY_IN = {
    "num_paraphrases": "augment",
    "id_column": "augment",
    "threshold": "filter",
    "label_names": "label",
}
TEMPERATURES = {"augment": 0.9, "filter": 0.0, "label": 0.0}


@dataclass(kw_only=True)
class RowOptions:
    """Which rows, and what is done with them."""

    _argument_group_name = "rows"

    mode: str = option(help="What the model is asked for.", choices=MODES)
    input: str = option(help="Rows: csv, tsv, jsonl, parquet or txt (.gz too).", metavar="FILE")
    output: str = option(help="Where the rows go, .jsonl or .csv.", metavar="FILE")
    text_column: str = option("text", "Column with the text.")
    label_columns: list[str] = option(
        ["label"], "Shown to the model; label: the column that is filled.", nargs="*"
    )
    id_column: str | None = option(None, "augment: column that names a row (default: id).")
    label_names: list[str] | None = option(None, "label: the labels to choose from.")
    num_paraphrases: int | None = option(
        None, "augment: new texts for each row (default: 1).", minimum=1
    )
    threshold: float | None = option(
        None, "filter: lowest score that is kept (default: 0.5).", minimum=0, maximum=1
    )


@dataclass(kw_only=True)
class RequestOptions:
    """Whom to ask, how, and how often."""

    _argument_group_name = "requests"

    base_url: str = option(help="Of the endpoint, e.g. http://localhost:8000/v1.", metavar="URL")
    model: str = option(help="Its name there, e.g. qwen2-7b-instruct.", metavar="NAME")
    prompt: str | None = option(
        None, "A template of your own; trainer_ext/data/llm/prompts/ has ours.", metavar="FILE"
    )
    language: str = option("en", "Of our prompt.", choices=("en", "zh"))
    temperature: float | None = option(
        None, "Default: 0.9 for augment, else 0.", minimum=0, maximum=2
    )
    max_tokens: int | None = option(
        None, "Longest reply (default: what the server does).", minimum=1
    )
    concurrency: int = option(4, "Requests at a time.", minimum=1)
    timeout: float = option(60.0, "Seconds without a sign of life.", above=0)
    max_retries: int = option(
        5, "Repetitions of a request, and of an answer that is not valid.", minimum=0
    )
    retry_wait: float = option(1.0, "Seconds before the first repetition, doubling.", minimum=0)
    max_requests: int | None = option(
        None, "Budget: requests sent, repetitions included.", minimum=1
    )
    max_tokens_total: int | None = option(
        None, "Budget: tokens of requests and replies together.", minimum=1
    )
    cache_dir: str | None = option(
        None, "Replies so far (default: .llm_cache beside the output).", metavar="DIR"
    )


@dataclass(kw_only=True)
class LlmOptions(RowOptions, RequestOptions, FileOptions):
    """One job."""


def settle(options: LlmOptions) -> None:
    """Refuse what does not go together, and fill in the defaults of the mode.

    Raises:
        UserError: naming the flag and its value.
    """
    check_paths(options.input, options.output)
    for name, mode in ONLY_IN.items():
        value = getattr(options, name)
        if value is None:
            setattr(options, name, DEFAULTS.get(name))
        elif mode != options.mode:
            raise UserError(f"--{name} {value} has no effect with --mode {options.mode}")
    check_address(options.base_url)
    if options.mode == "label":
        check_label_mode(options)
    if options.temperature is None:
        options.temperature = TEMPERATURES[options.mode]
    if not options.cache_dir:
        options.cache_dir = str(Path(options.output).parent / ".llm_cache")


def check_address(base_url: str) -> None:
    """Raise `UserError` for an address that is not one, or that holds a secret."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(
            f"--base_url {base_url} is not an address; expected e.g. http://localhost:8000/v1"
        )
    if url.username or url.password or url.query:
        # Not shown: the message would hold the key.
        raise UserError(
            "--base_url holds a key or a query; the key belongs into the variable OPENAI_API_KEY"
        )


def check_label_mode(options: LlmOptions) -> None:
    """Check that there is one column to fill, and that there are at least two different labels."""
    if len(options.label_columns) != 1:
        raise UserError(
            f"--mode label fills one column; --label_columns names {len(options.label_columns)}"
        )
    given = options.label_names or []
    different = {name.strip().casefold() for name in given}
    if len(different) < 2 or len(different) < len(given) or "" in different:
        raise UserError(
            f"--mode label needs --label_names: two or more different labels, got {options.label_names}"
        )
