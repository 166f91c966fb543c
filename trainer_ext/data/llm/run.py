"""One job from flags to files: look at every row, ask, write the answers and what was left out."""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from trainer_ext.arguments.files import file_options
from trainer_ext.data.io.readers import Row, read_rows
from trainer_ext.data.io.row_writer import open_rows
from trainer_ext.data.llm.answers import schema_of
from trainer_ext.data.llm.cache import Cache
from trainer_ext.data.llm.client import Budget, Client
from trainer_ext.data.llm.job import Asker, Outcome, rejected
from trainer_ext.data.llm.modes import Mode, Paraphraser, judge, label
from trainer_ext.data.llm.options import LlmOptions
from trainer_ext.data.llm.prompt import Prompt, read_prompt
from trainer_ext.data.provenance import DEFAULT_ID, OPERATION, SOURCE_ID, is_new, named_rows
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text

NOT_ASKED = "not asked: the budget is spent"


def run(args: LlmOptions) -> None:
    """Do the job that the flags describe; prints a table of what became of the rows.

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
    mode, count = prepare(args, prompt)
    parameters = {"model": args.model, "temperature": args.temperature}
    parameters |= {"max_tokens": args.max_tokens} if args.max_tokens else {}
    budget = Budget(args.max_requests, args.max_tokens_total)
    client = Client(
        args.base_url, parameters, budget, args.timeout, args.max_retries, args.retry_wait
    )
    cache = Cache(args.cache_dir)
    asker = Asker(client, cache, prompt, schema)
    counts = Counter({"rows in": count})
    rejected_path = Path(args.output).with_suffix(".rejected.jsonl")
    bar = tqdm(total=count, desc=args.mode, unit="row", mininterval=0.5)
    extra = (SOURCE_ID, OPERATION) if args.mode == "augment" else ()
    with atomic_writer(rejected_path) as left_out, open_rows(args.output, extra) as writer, bar:
        if args.mode == "augment":
            for row in read(args):
                writer.write(row.values)
                counts["rows out"] += 1
        rows = ((k, row) for k, row in enumerate(read(args), 1) if to_ask(args, row))
        for outcome in asker.outcomes(rows, args.concurrency):
            bar.update()
            for values, reason in results(mode, outcome):
                counts[
                    "rows out"
                    if reason is None
                    else "not asked"
                    if reason == NOT_ASKED
                    else "rejected"
                ] += 1
                if reason is None:
                    writer.write(values)
                else:
                    left_out.write(json_text(rejected(outcome, reason), default=str) + "\n")
    cache.close()
    report(counts, asker, rejected_path, args)


def prepare(args: LlmOptions, prompt: Prompt) -> tuple[Mode, int]:
    """Read every row once, so that nothing is sent before all of them are known to be in order.

    Returns:
        What makes rows of answers, and the number of rows to ask for.
    """
    mode, empty, count = make_mode(args), True, 0
    for row in read(args):
        empty = False
        check_row(args, row)
        prompt.messages(row)
        if isinstance(mode, Paraphraser):
            mode.know(row)
        count += to_ask(args, row)
    if empty:
        raise UserError(f"{args.input} is empty: it has no rows")
    return mode, count


def read(args: LlmOptions) -> Iterator[Row]:
    """The input's rows; each with an id where rows are made from them."""
    rows = read_rows(args.input, options=file_options(args))
    return named_rows(rows, args.id_column) if args.mode == "augment" else rows


def make_mode(args: LlmOptions) -> Mode:
    """What makes rows of answers."""
    if args.mode == "augment":
        return Paraphraser(args.text_column, args.id_column or DEFAULT_ID, args.num_paraphrases)
    if args.mode == "filter":
        return partial(judge, threshold=args.threshold)
    return partial(label, column=args.label_columns[0])


def check_row(args: LlmOptions, row: Row) -> None:
    """Refuse rows that the mode would spoil."""
    if args.mode == "augment" and {"tokens", "slots"} <= set(row.values):
        raise UserError(
            f"{row.where}: has tokens and slots, which a paraphrase does not have; "
            "python -m trainer_ext.data.augment --task joint keeps them"
        )
    if args.mode == "label" and row.values.get(args.label_columns[0]) not in (None, ""):
        column = args.label_columns[0]
        raise UserError(
            f"{row.where}: has the label {row.values[column]!r} in column {column!r}, which would be lost; "
            "--label_columns names another column to fill"
        )


def to_ask(args: LlmOptions, row: Row) -> bool:
    """Whether the model is asked about a row: rows made from others are not paraphrased again."""
    return args.mode != "augment" or not is_new(row.values)


def results(mode: Mode, outcome: Outcome) -> Iterator[tuple[dict | None, str | None]]:
    """(row to write, None) or (None, why not) for each thing that came of a row."""
    if outcome.answer is not None:
        yield from mode(outcome)
    else:
        yield None, outcome.problem or NOT_ASKED


def report(counts: Counter, asker: Asker, rejected_path: Path, args: LlmOptions) -> None:
    """The table at the end, and how to go on."""
    budget = asker.client.budget
    counts = {name: counts[name] for name in ("rows in", "rows out", "rejected", "not asked")}
    counts |= {
        "requests": budget.requests,
        "from the cache": asker.counts["cached"],
        "tokens": budget.tokens,
    }
    print(tabulate(counts.items(), tablefmt="plain"))
    print(f"-> {args.output}; what was left out, and why -> {rejected_path}", file=sys.stderr)
    if counts["not asked"]:
        print(
            f"the budget is spent ({budget.requests} requests, {budget.tokens} tokens): {counts['not asked']} rows "
            f"were not asked about (they are in {rejected_path}). The same command goes on with them, with the same "
            "budget again",
            file=sys.stderr,
        )
    for count, what in (("no answer", "no reply"), ("no valid answer", "no valid answer")):
        if asker.counts[count]:
            print(
                f"the server gave {what} to {asker.counts[count]} rows: the same command asks for them again",
                file=sys.stderr,
            )
