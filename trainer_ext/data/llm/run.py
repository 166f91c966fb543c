"""Run one job from flags to files: check every row, ask, write the answers and what was left out."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from trainer_ext.arguments.files import file_options
from trainer_ext.data.io.readers import Row, read_rows
from trainer_ext.data.io.row_writer import RowWriter, open_rows
from trainer_ext.data.llm.answers import Answer, schema_of
from trainer_ext.data.llm.cache import Cache
from trainer_ext.data.llm.client import Budget, Client, Parameters
from trainer_ext.data.llm.job import Asker, Outcome, rejected
from trainer_ext.data.llm.modes import Judge, Kept, Labeller, LeftOut, Mode, Paraphraser
from trainer_ext.data.llm.options import LlmOptions
from trainer_ext.data.llm.prompt import Prompt, read_prompt
from trainer_ext.data.provenance import DEFAULT_ID, OPERATION, SOURCE_ID, is_new, named_rows
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text

logger = logging.getLogger(__name__)

NOT_ASKED = "not asked: the budget is spent"


def run(args: LlmOptions) -> None:
    """Do the job that the flags describe, and print a table of what became of the rows.

    Raises:
        UserError: for rows that cannot be sent (before the first request), or a server that does not answer.
    """
    schema = schema_of(args.mode, args.label_names or ())
    prompt = read_prompt(
        args.prompt,
        args.mode,
        args.language,
        schema.model_json_schema(),
        args.text_column,
        args.label_columns,
        args.label_names or (),
        args.num_paraphrases or 1,
    )
    mode = make_mode(args)
    count = check_rows(args, mode, prompt)
    # After the rows: a job that is refused leaves no cache behind.
    asker = make_asker(args, prompt, schema)
    counts = Counter({"rows in": count})
    rejected_path = Path(args.output).with_suffix(".rejected.jsonl")
    extra = (SOURCE_ID, OPERATION) if args.mode == "augment" else ()
    # Both files are written anew each time, so that every row is in exactly one of them.
    with atomic_writer(rejected_path) as left_out, open_rows(args.output, extra) as writer:
        if args.mode == "augment":
            copy_originals(args, writer, counts)
        outcomes = asker.outcomes(rows_to_ask(args), args.concurrency)
        for outcome in tqdm(outcomes, total=count, desc=args.mode, unit="row", mininterval=0.5):
            for result in results(mode, outcome):
                if isinstance(result, Kept):
                    writer.write(result.values)
                else:
                    line = rejected(outcome, result.reason)
                    left_out.write(json_text(line, default=str) + "\n")
                counts[kind_of(result)] += 1
    asker.cache.close()
    print_summary(counts, asker)
    log_what_is_left(counts, asker, rejected_path, args.output)


def check_rows(args: LlmOptions, mode: Mode, prompt: Prompt) -> int:
    """Read every row once, so that nothing is sent before all of them are known to be in order.

    Returns:
        The number of rows to ask for.
    """
    empty = True
    count = 0
    for row in read(args):
        empty = False
        check_row(args, row)
        # For its errors only: a column that the template names may be missing.
        prompt.messages(row)
        if isinstance(mode, Paraphraser):
            mode.remember(row)
        if is_asked_about(args, row):
            count += 1
    if empty:
        raise UserError(f"{args.input} is empty: it has no rows")
    return count


def make_asker(args: LlmOptions, prompt: Prompt, schema: type[Answer]) -> Asker:
    """Return what asks the endpoint, within the budget and through the cache."""
    # `settle` filled in what depends on the mode.
    assert args.temperature is not None and args.cache_dir is not None
    parameters: Parameters = {"model": args.model, "temperature": args.temperature}
    if args.max_tokens:
        parameters["max_tokens"] = args.max_tokens
    budget = Budget(args.max_requests, args.max_tokens_total)
    client = Client(
        args.base_url, parameters, budget, args.timeout, args.max_retries, args.retry_wait
    )
    return Asker(client, Cache(args.cache_dir), prompt, schema)


def copy_originals(args: LlmOptions, writer: RowWriter, counts: Counter[str]) -> None:
    """Write every input row as it is: paraphrases are added to them."""
    # Read once more: keeping the rows would let memory grow with the file.
    for row in read(args):
        writer.write(row.values)
        counts["rows out"] += 1


def read(args: LlmOptions) -> Iterator[Row]:
    """Return the input's rows; each with an id if rows are made from them."""
    rows = read_rows(args.input, options=file_options(args))
    if args.mode == "augment":
        return named_rows(rows, args.id_column)
    return rows


def make_mode(args: LlmOptions) -> Mode:
    """Return what makes rows of answers."""
    if args.mode == "augment":
        assert args.num_paraphrases is not None
        return Paraphraser(args.text_column, args.id_column or DEFAULT_ID, args.num_paraphrases)
    if args.mode == "filter":
        assert args.threshold is not None
        return Judge(args.threshold)
    return Labeller(args.label_columns[0])


def check_row(args: LlmOptions, row: Row) -> None:
    """Raise `UserError` for a row that the mode would spoil."""
    if args.mode == "augment" and {"tokens", "slots"} <= set(row.values):
        raise UserError(
            f"{row.where}: has tokens and slots, which a paraphrase does not have; "
            "python -m trainer_ext.data.augment --task joint keeps them"
        )
    column = args.label_columns[0] if args.mode == "label" else None
    if column and row.values.get(column) not in (None, ""):
        raise UserError(
            f"{row.where}: has the label {row.values[column]!r} in column {column!r}, which would be lost; "
            "--label_columns names another column to fill"
        )


def rows_to_ask(args: LlmOptions) -> Iterator[tuple[int, Row]]:
    """Yield the rows that the model is asked about, with their numbers in the file."""
    for number, row in enumerate(read(args), 1):
        if is_asked_about(args, row):
            yield number, row


def is_asked_about(args: LlmOptions, row: Row) -> bool:
    """Return whether the model is asked about a row: rows made from others are not paraphrased again."""
    return args.mode != "augment" or not is_new(row.values)


def results(mode: Mode, outcome: Outcome) -> Iterator[Kept | LeftOut]:
    """Yield what came of a row: rows to write, and what is left out."""
    if outcome.answer is None:
        yield LeftOut(outcome.problem or NOT_ASKED)
    else:
        yield from mode.results(outcome.row, outcome.answer)


def kind_of(result: Kept | LeftOut) -> str:
    """Return under which name a result is counted."""
    if isinstance(result, Kept):
        return "rows out"
    if result.reason == NOT_ASKED:
        return "not asked"
    return "rejected"


def print_summary(counts: Counter[str], asker: Asker) -> None:
    """Print how many rows there are of each kind, and what they cost."""
    budget = asker.client.budget
    lines = [(name, counts[name]) for name in ("rows in", "rows out", "rejected", "not asked")]
    lines += [
        ("requests", budget.requests),
        ("from the cache", asker.counts["cached"]),
        ("tokens", budget.tokens),
    ]
    print(tabulate(lines, tablefmt="plain"))


def log_what_is_left(counts: Counter[str], asker: Asker, rejected_path: Path, output: str) -> None:
    """Say where the rows are, which have no answer, and how to go on with them."""
    budget = asker.client.budget
    logger.info("-> %s; what was left out, and why -> %s", output, rejected_path)
    if counts["not asked"]:
        logger.warning(
            "the budget is spent (%d requests, %d tokens): %d rows were not asked about (they are in %s). "
            "The same command goes on with them, with the same budget again",
            budget.requests,
            budget.tokens,
            counts["not asked"],
            rejected_path,
        )
    for count, missing in (("no answer", "no reply"), ("no valid answer", "no valid answer")):
        if asker.counts[count]:
            logger.warning(
                "the server gave %s to %d rows: the same command asks for them again",
                missing,
                asker.counts[count],
            )
