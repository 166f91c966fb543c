"""Predict: `python predict.py --model M (--text "..." ... | --input FILE) [--output FILE]`.

M is a checkpoint, an ONNX folder, a folder of folds or seeds, artifact:NAME:ALIAS of the local store or
wandb:ENTITY/PROJECT/NAME:ALIAS. Several (--model A --model B, or --model 'A-{0..4}') answer together, by the mean of
their probabilities unless --ensemble says otherwise. FILE is csv, tsv, jsonl, json, parquet or txt (.gz too; with the
reading flags of train.py), or - for standard input, with a text a line. The output is jsonl or csv by its ending (- is
jsonl on standard output), a row per input row in order; without it a table is printed. With --evaluate the input is
labelled, and the task's metrics are printed and saved.
"""

import argparse
import sys

from trainer_ext.arguments.files import add_file_flags, file_options
from trainer_ext.data.io.answers import (
    check_not_read,
    check_output,
    metrics_path,
    print_answers,
    write_answers,
    write_table,
)
from trainer_ext.data.io.readers import file_format
from trainer_ext.errors import ArgumentParser, UserError, run_main
from trainer_ext.tracking.artifacts.resolve import resolve_model

WAYS = (
    "mean",
    "logits",
    "vote",
    "weighted",
)  # as inference/combine.py has them, which loads ONNX Runtime


def parse() -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        help="folder or reference; may be given several times",
    )
    parser.add_argument(
        "--ensemble", choices=WAYS, help="how several models answer together (default: mean)"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", nargs="+", help="texts to answer for")
    source.add_argument("--input", help="file of rows, or - for standard input")
    parser.add_argument(
        "--output", help="answers as .jsonl or .csv, or - for jsonl on standard output"
    )
    parser.add_argument(
        "--keep_columns", nargs="+", default=[], help="columns of the input that the answers keep"
    )
    parser.add_argument("--no_text", action="store_true", help="leave the text out of the answers")
    parser.add_argument(
        "--labels_only", action="store_true", help="leave scores and probabilities out"
    )
    parser.add_argument(
        "--submission_format", help="a sample submission: the output (.csv) has its columns"
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="the input is labelled: print and save the metrics"
    )
    parser.add_argument(
        "--text_column", help="column with the text (default: as in training, else 'text')"
    )
    parser.add_argument(
        "--id_column", help="column that names a row (default: as in training, else 'id')"
    )
    parser.add_argument(
        "--file_name", help="which file of an ONNX folder (default: the one its report chose)"
    )
    parser.add_argument(
        "--batch_size", type=int, default=8, help="rows in one run (default: 8); INT8 runs one"
    )
    parser.add_argument("--provider", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that a checkpoint brings along"
    )
    parser.add_argument("--num_threads", type=int, help="default: the cores this process may use")
    add_file_flags(parser)
    args = parser.parse_args()
    check(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse contradictions before a model is loaded."""
    if args.batch_size < 1 or (args.num_threads is not None and args.num_threads < 1):
        raise UserError("--batch_size and --num_threads must be at least 1")
    if args.evaluate and not args.input:
        raise UserError("--evaluate needs labelled rows: give --input FILE")
    if args.drop_missing and not args.evaluate:
        raise UserError(
            "--drop_missing is for --evaluate: without it each row gets its answer, also an empty one"
        )
    for name in ("keep_columns", "no_text", "labels_only", "submission_format"):
        if getattr(args, name) and not args.output:
            raise UserError(f"--{name} is for --output: a table on the screen has its own columns")
        if getattr(args, name) and args.submission_format and name != "submission_format":
            raise UserError(
                f"--{name} and --submission_format {args.submission_format} are both given; drop one"
            )
    if args.submission_format and not args.output.lower().endswith(".csv"):
        raise UserError(f"--submission_format writes csv, but --output is {args.output}")
    file_options(args).check([file_format(args.input, file_options(args))] if args.input else [])
    if args.output:
        check_output(args.output)
    read = [path for path in (args.input, args.submission_format) if path]
    for path in read:
        check_not_read(args.output or "", path)
        if args.evaluate:
            check_not_read(metrics_path(args.output, args.input), path, "the file of metrics")


def main() -> None:
    """Load the model, then answer or evaluate."""
    args = parse()
    from trainer_ext.inference import load_predictor
    from trainer_ext.inference.job import Form, answer_rows, rows_of
    from trainer_ext.inference.members import expand_braces
    from trainer_ext.inference.submission import Submission

    models = [resolve_model(name) for model in args.model for name in expand_braces(model)]
    names = ("num_threads", "provider", "batch_size", "file_name", "ensemble", "trust_remote_code")
    predictor = load_predictor(models, **{name: getattr(args, name) for name in names})
    print(
        f"{', '.join(args.model)}: {predictor.task.name}, {predictor.description}", file=sys.stderr
    )
    sample = Submission(args.submission_format, predictor.task) if args.submission_format else None
    if args.evaluate:
        evaluate(predictor, args)
    rows = rows_of(
        predictor, args.text, args.input, labelled=args.evaluate, options=file_options(args)
    )
    form = Form(not args.no_text, tuple(args.keep_columns), args.labels_only)
    answers = answer_rows(
        predictor, rows, args.text_column, sample.id_column if sample else args.id_column, form
    )
    if sample:
        count = write_table(args.output, sample.write(progress(answers)))
    elif args.output:
        count = write_answers(args.output, progress(answers), predictor.task.join)
    elif not args.evaluate:
        print_answers(answers)
    if args.output:
        print(f"{count} rows -> {args.output}", file=sys.stderr)


def progress(answers):
    """A progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(answers, desc="predicting", unit="row", mininterval=0.5)


def evaluate(predictor, args: argparse.Namespace) -> None:
    """Score the model on labelled rows; imports the metric libraries only now."""
    from trainer_ext.data.labelled import labelled_rows, texts_and_labels
    from trainer_ext.evaluation.scoring import score
    from trainer_ext.files import write_json
    from trainer_ext.reports.tables import metrics_table

    task = predictor.task
    text_column = args.text_column or predictor.pipeline.text_column
    rows = list(
        labelled_rows(args.input, task, text_column, task.label_space.columns, file_options(args))
    )
    if not rows:
        raise UserError(f"{args.input} is empty: it has no rows")
    scores = score(predictor, *texts_and_labels(rows, text_column, task))["metrics"]
    metrics = {f"eval_{name}": value for name, value in scores.items()}
    path = metrics_path(args.output, args.input)
    write_json(path, metrics)
    place = (
        sys.stderr if args.output == "-" else sys.stdout
    )  # which then holds answers and nothing else
    print(f"\n{metrics_table(metrics)}\n\nWritten to {path}", file=place)


if __name__ == "__main__":
    run_main(main)
