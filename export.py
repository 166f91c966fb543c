"""Export a checkpoint, or a folder of folds: `python export.py MODEL_DIR --output_dir DIR [--eval_file FILE]`.

Writes model.onnx, model_quantized.onnx (dynamic INT8), tokenizer, config.json and export_report.json. The same labelled
rows go through PyTorch, ONNX and INT8; exit status 1 and the report say so when one of them is not good. Of a folder
of folds (or seeds) each model gets a folder of its own; `predict.py --model DIR` then answers with all of them.
"""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
from dataclasses import fields
from pathlib import Path

from trainer_ext.arguments.files import add_file_flags, file_options
from trainer_ext.errors import ArgumentParser, UserError, run_main
from trainer_ext.tracking.artifacts.resolve import resolve_model


def parse() -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        help="checkpoint folder written by train.py, artifact:NAME:ALIAS or wandb:ENTITY/...",
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="where the ONNX files go")
    parser.add_argument(
        "--eval_file",
        help="labelled rows for the gate (default: the validation file of the training)",
    )
    parser.add_argument(
        "--max_metric_drop", type=float, default=0.5, help="points INT8 may lose (default: 0.5)"
    )
    parser.add_argument(
        "--max_eval_samples", type=int, help="use only the first N rows of the file"
    )
    parser.add_argument(
        "--benchmark", action="store_true", help="add a latency table: batches of 1, 8 and 32"
    )
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that the checkpoint brings along"
    )
    add_file_flags(parser)
    return parser.parse_args()


def main() -> int:
    """Export, print the table, and say which file is good."""
    args = parse()
    args.model = resolve_model(args.model)
    if not args.model.is_dir():
        raise UserError(f"model {args.model} does not exist")
    from trainer_ext.export.members import export_members
    from trainer_ext.export.options import ExportOptions
    from trainer_ext.export.report import latency_table, members_table, report_table
    from trainer_ext.export.run import export_model
    from trainer_ext.inference.members import members_of

    names = [field.name for field in fields(ExportOptions) if field.name != "files"]
    options = ExportOptions(
        **{name: getattr(args, name) for name in names}, files=file_options(args)
    )
    members = [Path(name) for name in members_of(str(args.model))]
    if members != [args.model]:
        joint = export_members(options, members)
        print(f"\n{members_table(joint)}\n")
        for name, report in joint.models.items():
            print_notes(report, f"{name}: ")
        verdict = "Passed" if joint.passed else "NOT passed"
        print(f"{verdict}. Use {args.output_dir} (all models together)")
        return 0 if joint.passed else 1
    report = export_model(options)
    print(f"\n{report_table(report)}\n")
    print_notes(report)
    if report.latency:
        print(latency_table(report.latency), "\n")
    where = args.model if report.chosen == "pytorch" else args.output_dir
    print(
        f"{'Passed' if report.passed else 'NOT passed'} on {report.eval_rows} rows "
        f"({report.instruction_set}, {report.threads} thread). "
        f"Use {where / report.variant(report.chosen).file}"
    )
    return 0 if report.passed else 1


def print_notes(report, of: str = "") -> None:
    """Print what the report says beside its verdict."""
    for note in report.notes:
        print(f"note: {of}{note}")


if __name__ == "__main__":
    run_main(main)
