"""Predict: `python predict.py --model M (--text "..." ... | --input FILE) [--output FILE]`.

M is a checkpoint, an ONNX folder, a folder of folds or seeds, artifact:NAME:ALIAS of the local store or
wandb:ENTITY/PROJECT/NAME:ALIAS. Several (--model A --model B, or --model A-{0..4}) answer together, by the mean of
their probabilities unless --ensemble says otherwise. FILE is csv, tsv, jsonl, json, parquet or txt (.gz too; with the
reading flags of train.py), or - for standard input, with a text a line. The output is jsonl or csv by its ending, a row
per input row in order; without it a table is printed. With --evaluate the input is labelled, and the task's metrics
are printed and saved.
"""

import argparse
import sys

from trainer_ext.data.readers import file_format
from trainer_ext.data.writers import check_output, screen_headers, screen_rows, write_answers
from trainer_ext.errors import ArgumentParser, UserError, run_main
from trainer_ext.file_options import add_file_flags, file_options
from trainer_ext.tracking.resolve import resolve_model

ON_SCREEN = 200
WAYS = ("mean", "logits", "vote", "weighted")  # as inference/combine.py has them, which loads ONNX Runtime


def parse() -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--model", required=True, action="append", help="folder or reference; may be given several times"
    )
    parser.add_argument("--ensemble", choices=WAYS, help="how several models answer together (default: mean)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", nargs="+", help="texts to answer for")
    source.add_argument("--input", help="file of rows, or - for standard input")
    parser.add_argument("--output", help="answers as .jsonl or .csv")
    parser.add_argument("--evaluate", action="store_true", help="the input is labelled: print and save the metrics")
    parser.add_argument("--text_column", help="column with the text (default: as in training, else 'text')")
    parser.add_argument("--id_column", help="column that names a row (default: as in training, else 'id')")
    parser.add_argument("--file_name", help="which file of an ONNX folder (default: the one its report chose)")
    parser.add_argument("--batch_size", type=int, default=8, help="rows in one run (default: 8)")
    parser.add_argument("--provider", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--num_threads", type=int, help="default: the cores this process may use")
    add_file_flags(parser)
    args = parser.parse_args()
    if args.batch_size < 1 or (args.num_threads is not None and args.num_threads < 1):
        raise UserError("--batch_size and --num_threads must be at least 1")
    if args.evaluate and not args.input:
        raise UserError("--evaluate needs labelled rows: give --input FILE")
    if args.drop_missing and not args.evaluate:
        raise UserError("--drop_missing is for --evaluate: without it each row gets its answer, also an empty one")
    file_options(args).check([file_format(args.input, file_options(args))] if args.input else [])
    if args.output:
        check_output(args.output)
    return args


def main() -> None:
    """Load the model, then answer or evaluate."""
    args = parse()
    from trainer_ext.inference import load_predictor
    from trainer_ext.inference.ensemble import expand_braces
    from trainer_ext.inference.job import answer_rows, rows_of

    models = [resolve_model(name) for model in args.model for name in expand_braces(model)]
    predictor = load_predictor(models, args.num_threads, args.provider, args.batch_size, args.file_name, args.ensemble)
    print(f"{', '.join(args.model)}: {predictor.task.name} on {predictor.session.provider}", file=sys.stderr)
    if args.evaluate:
        evaluate(predictor, args)
    rows = rows_of(predictor, args.text, args.input, labelled=args.evaluate, options=file_options(args))
    answers = answer_rows(predictor, rows, args.text_column, args.id_column)
    if args.output:
        count = write_answers(args.output, progress(answers))
        print(f"{count} rows -> {args.output}", file=sys.stderr)
    elif not args.evaluate:
        print_answers(answers)


def progress(answers):
    """A progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(answers, desc="predicting", unit="row", mininterval=0.5)


def print_answers(answers) -> None:
    """Tables on the screen; the first rows only of a long input."""
    from itertools import islice

    from trainer_ext.characters import on_screen
    from trainer_ext.reports.tables import table

    shown = list(islice(answers, ON_SCREEN))
    aspects = [answer for answer in shown if "aspects" in answer]
    for answer in aspects:
        print(f"\n{on_screen(answer['text'])}\n\n{table(screen_rows(answer), screen_headers(answer))}")
    if shown and not aspects:
        print(table([row for answer in shown for row in screen_rows(answer)], screen_headers(shown[0])))
    if next(answers, None) is not None:
        print(f"... and more: the first {ON_SCREEN} rows are shown; --output FILE.jsonl keeps all")


def evaluate(predictor, args: argparse.Namespace) -> None:
    """Score the model on labelled rows; imports the metric libraries only now."""
    from trainer_ext.data.labelled import labelled_rows, texts_and_labels
    from trainer_ext.files import write_json
    from trainer_ext.inference.job import metrics_path
    from trainer_ext.inference.scoring import score
    from trainer_ext.reports.tables import metrics_table

    task = predictor.task
    text_column = args.text_column or predictor.pipeline["text_column"]
    rows = list(labelled_rows(args.input, task, text_column, task.label_space.columns, file_options(args)))
    if not rows:
        raise UserError(f"{args.input} is empty: it has no rows")
    scores = score(predictor, *texts_and_labels(rows, text_column, task))["metrics"]
    metrics = {f"eval_{name}": value for name, value in scores.items()}
    path = metrics_path(args.output, args.input)
    write_json(path, metrics)
    print(f"\n{metrics_table(metrics)}\n\nWritten to {path}")


if __name__ == "__main__":
    run_main(main)
