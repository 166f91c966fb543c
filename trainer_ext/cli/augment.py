"""Make new training rows from labelled ones.

The output holds every input row, in order and unchanged but for an `id` (its number in the file) if rows have none,
then new rows until there are --target_size. A new row is a copy of its source with another text (for --task joint other
tokens and slots; slots stay whole), and `source_id` (the source's id) and `operation`.

Use it as --train_file; validation and test files must hold originals only.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate
from tqdm import tqdm

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions, file_options
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.data.augment.eda import DEFAULT_ALPHA, EDA, OPERATIONS
from trainer_ext.data.augment.job import EXTRA_COLUMNS, Job, Method, summary
from trainer_ext.data.augment.rows import JointRows, TextRows
from trainer_ext.data.augment.sentence import Splitter
from trainer_ext.data.augment.thesaurus import own_thesaurus, read_thesaurus
from trainer_ext.data.io.row_writer import check_paths, open_rows
from trainer_ext.errors import UserError, check_range, did_you_mean
from trainer_ext.tasks import TASKS

logger = logging.getLogger(__name__)

# By method, the flags that it would ignore.
WITHOUT_EFFECT = {"mlm": ("operations", "thesaurus"), "eda": ("model_name_or_path", "top_k")}
DEFAULT_TOP_K = 10


@dataclass(kw_only=True)
class RowOptions:
    """Which rows, and how many."""

    _argument_group_name = "rows"

    input: str = option(
        help="Rows as for train: csv, tsv, jsonl, parquet, txt, slot files.", metavar="FILE"
    )
    output: str = option(help="Where the rows go, .jsonl or .csv.", metavar="FILE")
    target_size: int = option(help="Rows in the output, originals included.", minimum=1)
    task: str = option("single_label", "joint: rows have tokens and slots.", choices=tuple(TASKS))
    text_column: str = option("text", "Column with the text.")
    id_column: str | None = option(None, "Column that names a row (default: id if there is one).")
    seed: int = option(42, "The same seed gives the same file.")


@dataclass(kw_only=True)
class MethodOptions:
    """How new texts are made."""

    _argument_group_name = "method"

    method: str = option(
        "eda", "Edit words, or let a language model fill them in.", choices=("eda", "mlm")
    )
    language: str = option(help="zh: words by jieba; en: by blanks.", choices=("zh", "en"))
    operations: list[str] | None = option(
        None, f"eda: some of {' '.join(OPERATIONS)} (default: all)."
    )
    alpha: list[str] = option(
        [str(DEFAULT_ALPHA)],
        "Share of the words that is edited: a number, or OPERATION=NUMBER ...",
    )
    thesaurus: str | None = option(
        None, "eda: synonyms, a group a line (default: a small one of our own).", metavar="FILE"
    )
    model_name_or_path: str | None = option(None, "mlm: any fill-mask model.")
    top_k: int | None = option(
        None, f"mlm: draw from this many proposals (default: {DEFAULT_TOP_K}).", minimum=1
    )


@dataclass(kw_only=True)
class AugmentOptions(RowOptions, MethodOptions, FileOptions, CommandOptions):
    """The flags of `augment`."""


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext augment") -> None:
    """Augment one file."""
    options = read_options(AugmentOptions, argv, prog, __doc__)
    # Before a model or a dictionary is loaded, and before the output is opened.
    check(options)
    job = build_job(options)
    bar = tqdm(total=options.target_size, desc="augmenting", unit="row", mininterval=0.5)
    with open_rows(options.output, EXTRA_COLUMNS) as writer, bar:
        originals = job.run(writer, bar)
    print(tabulate(summary(job, originals), tablefmt="plain"))
    logger.info("-> %s", options.output)


def check(options: AugmentOptions) -> None:
    """Refuse contradictions before anything is read or loaded."""
    check_paths(options.input, options.output)
    if options.method == "mlm" and not options.model_name_or_path:
        raise UserError("--method mlm needs --model_name_or_path: a fill-mask model")
    for name in WITHOUT_EFFECT[options.method]:
        value = getattr(options, name)
        if value is not None:
            raise UserError(f"--{name} {value} has no effect with --method {options.method}")


def build_job(options: AugmentOptions) -> Job:
    """Put the job together from its flags."""
    method = build_method(options)  # before the splitter, which loads a dictionary
    splitter = Splitter(options.language)
    rows: JointRows | TextRows = TextRows(splitter, options.text_column)
    if TASKS[options.task].reads_words:
        rows = JointRows(splitter)
    return Job(
        path=options.input,
        method=method,
        rows=rows,
        target_size=options.target_size,
        seed=options.seed,
        task=options.task,
        id_column=options.id_column,
        files=file_options(options),
        name=options.method,
    )


def build_method(options: AugmentOptions) -> Method:
    """Return what proposes new sentences."""
    if options.method == "mlm":
        from trainer_ext.data.augment.mlm import MaskedLM

        assert options.model_name_or_path is not None
        alpha = alphas(options.alpha, None, ["mlm"])["mlm"]
        return MaskedLM(options.model_name_or_path, alpha, options.top_k or DEFAULT_TOP_K)
    chosen = alphas(options.alpha, options.operations, list(OPERATIONS))
    if options.thesaurus:
        return EDA(read_thesaurus(options.thesaurus), chosen)
    return EDA(own_thesaurus(options.language), chosen)


def alphas(
    given: Sequence[str],
    operations: Sequence[str] | None,
    possible: Sequence[str],
) -> dict[str, float]:
    """Return the alpha of each operation that is used.

    Args:
        given: `0.1` for all operations, or `OPERATION=0.1`.
        operations: those that are used; None: all that are possible.
        possible: those of the method.

    Raises:
        UserError: for an unknown operation, or an alpha that is not a share.
    """
    for name in operations or ():
        check_operation("--operations", name, possible)
    numbers = read_alphas(given, possible)
    default = numbers.get("", DEFAULT_ALPHA)
    used = {name: numbers.get(name, default) for name in operations or possible}
    # The job would draw operations that change nothing until it gives up.
    if not any(used.values()):
        raise UserError(f"--alpha {' '.join(given)} switches every operation off")
    return used


def read_alphas(given: Sequence[str], possible: Sequence[str]) -> dict[str, float]:
    """Return the numbers by operation; under the empty name the one for all others."""
    numbers: dict[str, float] = {}
    for item in given:
        # From the right, so that a number alone is a value with an empty name.
        name, equals, value = item.rpartition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise UserError(
                f"--alpha {item} is not understood; expected 0.1 or OPERATION=0.1"
            ) from None
        check_range(f"alpha {name}".strip(), numbers[name], 0, 1)
        if equals:
            check_operation(f"--alpha {item}", name, possible)
    return numbers


def check_operation(flag: str, name: str, possible: Sequence[str]) -> None:
    """Raise `UserError` for a name that is not an operation."""
    if name not in possible:
        near = did_you_mean(name, possible)
        raise UserError(
            f"{flag}: {name!r} is not an operation{near}; expected one of {', '.join(possible)}"
        )
