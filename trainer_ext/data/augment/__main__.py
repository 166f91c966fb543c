"""New training rows: `python -m trainer_ext.data.augment --input FILE --output FILE --method eda|mlm --target_size N`.

The output holds every input row, in order and unchanged but for an `id` (its number in the file) where rows have none,
then new rows until there are N. A new row is a copy of its source with another text (for --task joint other tokens and
slots; slots stay whole), and `source_id` (the source's id) and `operation`. Use it as --train_file; validation and test
files must hold originals only.
"""

import argparse
import sys
from collections.abc import Sequence

from tabulate import tabulate
from tqdm import tqdm

from trainer_ext.arguments.files import add_file_flags, file_options
from trainer_ext.data.augment.eda import DEFAULT_ALPHA, EDA, OPERATIONS
from trainer_ext.data.augment.job import EXTRA_COLUMNS, Job, Method, summary
from trainer_ext.data.augment.rows import JointRows, TextRows
from trainer_ext.data.augment.sentence import Splitter
from trainer_ext.data.augment.thesaurus import own_thesaurus, read_thesaurus
from trainer_ext.data.io.row_writer import check_paths, open_rows
from trainer_ext.errors import ArgumentParser, UserError, check_range, did_you_mean, run_main
from trainer_ext.tasks import TASKS


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input",
        required=True,
        help="rows as for train.py: csv, tsv, jsonl, parquet, txt, slot files",
    )
    parser.add_argument("--output", required=True, help="where the rows go, .jsonl or .csv")
    parser.add_argument("--method", choices=("eda", "mlm"), default="eda", help="default: eda")
    parser.add_argument(
        "--language", choices=("zh", "en"), required=True, help="zh: words by jieba; en: by blanks"
    )
    parser.add_argument(
        "--target_size", type=int, required=True, help="rows in the output, originals included"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="the same seed gives the same file (default: 42)"
    )
    parser.add_argument(
        "--task",
        choices=tuple(TASKS),
        default="single_label",
        help="joint: rows have tokens and slots",
    )
    parser.add_argument("--text_column", default="text", help="default: text")
    parser.add_argument(
        "--id_column", help="column that names a row (default: id where there is one)"
    )
    parser.add_argument(
        "--operations", nargs="+", help=f"for eda, some of {' '.join(OPERATIONS)} (default: all)"
    )
    parser.add_argument(
        "--alpha",
        nargs="+",
        default=[str(DEFAULT_ALPHA)],
        help=f"share of the words that is edited: a number, or OPERATION=NUMBER ... (default: {DEFAULT_ALPHA})",
    )
    parser.add_argument(
        "--thesaurus", help="synonyms for eda, a group a line (default: a small one of our own)"
    )
    parser.add_argument("--model_name_or_path", help="for mlm: any fill-mask model")
    parser.add_argument(
        "--top_k", type=int, help="for mlm: draw from this many proposals (default: 10)"
    )
    add_file_flags(parser)
    args = parser.parse_args(argv)
    check(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse contradictions before anything is read or loaded."""
    check_paths(args.input, args.output)
    check_range("target_size", args.target_size, 1)
    if args.method == "mlm" and not args.model_name_or_path:
        raise UserError("--method mlm needs --model_name_or_path: a fill-mask model")
    of_the_other = (
        ("operations", "thesaurus") if args.method == "mlm" else ("model_name_or_path", "top_k")
    )
    for name in of_the_other:
        if getattr(args, name) is not None:
            raise UserError(
                f"--{name} {getattr(args, name)} has no effect with --method {args.method}"
            )
    check_range("top_k", args.top_k or 1, 1)
    args.alphas = alphas(
        args.alpha, args.operations, ["mlm"] if args.method == "mlm" else list(OPERATIONS)
    )


def alphas(given: list[str], operations: list[str] | None, possible: list[str]) -> dict[str, float]:
    """The alpha of each operation that is used.

    Raises:
        UserError: for an unknown operation, or an alpha that is no share.
    """
    numbers: dict[str, float] = {}
    for item in given:
        name, equals, value = item.rpartition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise UserError(
                f"--alpha {item} is not understood; expected 0.1 or OPERATION=0.1"
            ) from None
        check_range(f"alpha {name}".strip(), numbers[name], 0, 1)
        if equals and name not in possible:
            raise UserError(unknown_operation(f"--alpha {item}", name, possible))
    for name in operations or []:
        if name not in possible:
            raise UserError(unknown_operation("--operations", name, possible))
    used = {
        name: numbers.get(name, numbers.get("", DEFAULT_ALPHA)) for name in operations or possible
    }
    if not any(used.values()):
        raise UserError(f"--alpha {' '.join(given)} switches every operation off")
    return used


def unknown_operation(flag: str, name: str, possible: list[str]) -> str:
    """The message for a name that is no operation."""
    return f"{flag}: {name!r} is no operation{did_you_mean(name, possible)}; expected one of {', '.join(possible)}"


def make_method(args: argparse.Namespace) -> Method:
    """What proposes new sentences."""
    if args.method == "mlm":
        from trainer_ext.data.augment.mlm import MaskedLM

        return MaskedLM(args.model_name_or_path, args.alphas["mlm"], args.top_k or 10)
    return EDA(
        read_thesaurus(args.thesaurus) if args.thesaurus else own_thesaurus(args.language),
        args.alphas,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Augment one file."""
    args = parse(argv)
    splitter = Splitter(args.language)
    reads_words = TASKS[args.task].reads_words
    rows = JointRows(splitter) if reads_words else TextRows(splitter, args.text_column)
    job = Job(
        path=args.input,
        method=make_method(args),
        rows=rows,
        target_size=args.target_size,
        seed=args.seed,
        task=args.task,
        id_column=args.id_column,
        files=file_options(args),
        name=args.method,
    )
    bar = tqdm(total=args.target_size, desc="augmenting", unit="row", mininterval=0.5)
    with open_rows(args.output, EXTRA_COLUMNS) as writer, bar:
        originals = job.run(writer, bar)
    print(tabulate(summary(job, originals), tablefmt="plain"))
    print(f"-> {args.output}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
