"""Export a checkpoint, or a folder of folds, to ONNX and INT8, and verify the exported files.

Writes model.onnx, model_quantized.onnx (dynamic INT8), tokenizer, config.json and export_report.json. The same labelled
rows go through PyTorch, ONNX and INT8; exit status 1 and the report say so if one of them is not good.

Each model of a folder of folds (or seeds) gets a folder of its own; `predict --model DIR` then answers with all of
them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions, file_options
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.errors import UserError
from trainer_ext.export.options import DEFAULT_DROP, EXPORTERS, LAYOUTS, ExportOptions
from trainer_ext.export.stages import OPTIONAL_STAGES
from trainer_ext.tasks import TASKS
from trainer_ext.tracking.artifacts.resolve import resolve_model

if TYPE_CHECKING:
    from trainer_ext.export.benchmark.results import Benchmark
    from trainer_ext.export.report import ExportReport

# Flags that --verify takes no account of.
ONLY_TO_EXPORT = ("output_dir", "exporter", "task", "skip", "also", "layout")


@dataclass(kw_only=True)
class ExportFlags(FileOptions, CommandOptions):
    """The flags of `export`."""

    _argument_group_name = "export"

    model: str | None = option(
        None,
        "Checkpoint folder written by train, artifact:NAME:ALIAS or wandb:ENTITY/...",
        positional=True,
        metavar="MODEL",
    )
    output_dir: Path | None = option(
        None, "Where the ONNX files go; required with MODEL.", metavar="DIR"
    )
    verify: Path | None = option(
        None,
        "Instead of MODEL: an export that goes through the gate once more, on this machine.",
        metavar="DIR",
    )
    eval_file: str | None = option(
        None,
        "Labelled rows for the gate (default: the validation file of the training).",
        metavar="FILE",
    )
    unlabelled_file: str | None = option(
        None,
        "Texts on which INT8 is compared as well (default: those of the training file).",
        metavar="FILE",
    )
    text_column: str | None = option(
        None, "Text column of --eval_file (default: as in training, else 'text')."
    )
    label_columns: list[str] = option(
        [], "Label columns of --eval_file (default: as in training, else 'label')."
    )
    task: str | None = option(
        None,
        "What a checkpoint of plain transformers predicts, if its config.json does not say.",
        choices=tuple(TASKS),
    )
    max_metric_drop: float | None = option(
        None,
        f"Largest drop of the metric allowed for INT8, in points ({DEFAULT_DROP}; of --verify: as exported).",
    )
    max_eval_samples: int | None = option(None, "Use only the first N rows of the file.", minimum=1)
    benchmark: bool = option(
        False,
        "Measure latency, throughput and memory beside PyTorch and plain exports; with --verify of that folder.",
    )
    exporter: str = option(
        "auto",
        "What writes the ONNX file; auto: Optimum if it can, else torch.",
        choices=EXPORTERS,
    )
    skip: list[str] = option(
        [], "Stages or passes to leave out (docs/export.md lists them).", metavar="STAGE"
    )
    also: list[str] = option([], f"Optional stages: {', '.join(OPTIONAL_STAGES)}.", metavar="STAGE")
    layout: str = option(
        "flat",
        "flat: all files side by side; hub: the models in DIR/onnx, as transformers.js expects.",
        choices=LAYOUTS,
    )
    trust_remote_code: bool = option(False, "Run code shipped with the checkpoint.")


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext export") -> int:
    """Export, print the table, and say which file is good; returns the exit status."""
    # Otherwise tokenizers warns whenever a library forks after it has used threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    flags = read_options(ExportFlags, argv, prog, __doc__)
    if flags.verify is not None:
        return verify(flags, flags.verify)
    if flags.model is None:
        raise UserError("nothing to export: give MODEL, or --verify DIR (--help lists the flags)")
    # An artifact is a folder from here on; the export itself knows nothing of references.
    model = resolve_model(flags.model)
    if not model.is_dir():
        raise UserError(f"model {model} does not exist")
    options = export_options(flags, model)
    from trainer_ext.inference.members import members_of  # loads ONNX Runtime

    members = [Path(name) for name in members_of(str(model))]
    if members == [model]:
        return export_one(options)
    return export_several(options, members)


def export_options(flags: ExportFlags, model: Path) -> ExportOptions:
    """Return the flags as the export takes them, for the folder that `flags.model` names."""
    if flags.output_dir is None:
        raise UserError("--output_dir is missing: the folder that gets the export")
    max_metric_drop = DEFAULT_DROP if flags.max_metric_drop is None else flags.max_metric_drop
    return ExportOptions(
        model=model,
        output_dir=flags.output_dir,
        eval_file=flags.eval_file,
        unlabelled_file=flags.unlabelled_file,
        task=flags.task,
        text_column=flags.text_column,
        label_columns=tuple(flags.label_columns) or None,
        max_metric_drop=max_metric_drop,
        max_eval_samples=flags.max_eval_samples,
        benchmark=flags.benchmark,
        layout=flags.layout,
        trust_remote_code=flags.trust_remote_code,
        exporter=flags.exporter,
        skip=tuple(flags.skip),
        also=tuple(flags.also),
        files=file_options(flags),
    )


def export_one(options: ExportOptions) -> int:
    """Export one checkpoint."""
    from trainer_ext.export.report import report_table
    from trainer_ext.export.run import export_model

    report = export_model(options)
    print(f"\n{report_table(report)}\n")
    print_int8(report)
    print_notes(report)
    if report.benchmark is not None:
        print_benchmark(report.benchmark, options.output_dir)
        print(
            "The choice is for size, whatever the speed: INT8 if it is good, else ONNX, else PyTorch."
        )
    # PyTorch is chosen if neither ONNX file is good enough: then the checkpoint is what to use.
    folder = options.model if report.chosen == "pytorch" else options.output_dir
    use = folder / report.variant(report.chosen).file
    tested_on = f"{report.instruction_set}, {report.threads} thread"
    print(f"{verdict(report.passed)} on {report.eval_rows} rows ({tested_on}). Use {use}")
    return 0 if report.passed else 1


def export_several(options: ExportOptions, members: list[Path]) -> int:
    """Export each model of a folder of folds or seeds into a folder of its own."""
    from trainer_ext.export.members import export_members
    from trainer_ext.export.report import members_table

    joint = export_members(options, members)
    print(f"\n{members_table(joint)}\n")
    for name, report in joint.models.items():
        print_notes(report, f"{name}: ")
        if report.benchmark is not None:
            print_benchmark(report.benchmark, options.output_dir / name)
    print(f"{verdict(joint.passed)}. Use {options.output_dir} (all models together)")
    # One that failed fails all: they answer together.
    return 0 if joint.passed else 1


def verify(flags: ExportFlags, folder: Path) -> int:
    """Run an export through the gate on this machine, and print what was found."""
    check_verify_flags(flags)
    from trainer_ext.export.report import variants_table
    from trainer_ext.export.verify import verify_export

    found = verify_export(
        folder,
        eval_file=flags.eval_file,
        unlabelled_file=flags.unlabelled_file,
        max_metric_drop=flags.max_metric_drop,
        max_eval_samples=flags.max_eval_samples,
        text_column=flags.text_column,
        label_columns=flags.label_columns,
        trust_remote_code=flags.trust_remote_code,
        files=file_options(flags),
    )
    passed = True
    for name, verification in found.items():
        print(f"\n{variants_table(verification.variants, verification.metric_name)}\n")
        if verification.how_sure is not None:
            print(f"how sure: {verification.how_sure.words}")
        for variant, finding in verification.probe.items():
            print(f"probe.json: {variant} {finding}")
        for note in verification.notes:
            print(f"note: {note}")
        print(
            f"{verdict(verification.passed)}: {name} on {verification.eval_rows} rows "
            f"({verification.instruction_set}), compared with {verification.reference}"
        )
        passed = passed and verification.passed
    if flags.benchmark:
        benchmark_again(folder, flags.trust_remote_code)
    return 0 if passed else 1


def benchmark_again(folder: Path, trust_remote_code: bool) -> None:
    """Measure an export, or each model of an exported folder of folds or seeds, on this machine."""
    from trainer_ext.export.benchmark.run import benchmark_export
    from trainer_ext.inference.members import members_of

    for name in members_of(str(folder)):
        print_benchmark(benchmark_export(Path(name), trust_remote_code), Path(name))


def check_verify_flags(flags: ExportFlags) -> None:
    """Refuse flags that say how an export is made beside --verify, which makes none."""
    default = ExportFlags()
    if flags.model is not None:
        raise UserError(f"--verify {flags.verify} and {flags.model} are both given; drop one")
    for name in ONLY_TO_EXPORT:
        if getattr(flags, name) != getattr(default, name):
            raise UserError(f"--{name} has no effect with --verify: nothing is exported")


def verdict(passed: bool) -> str:
    """Return the word that scripts look for."""
    return "Passed" if passed else "NOT passed"


def print_int8(report: "ExportReport") -> None:
    """Print the settings that were tried, what each class lost, and how sure all this is."""
    from trainer_ext.export.deltas import deltas_table, worst
    from trainer_ext.export.frontier import frontier_table

    if len(report.frontier) > 1:
        print(f"INT8 settings tried, the first with nothing in FP32:\n{frontier_table(report)}\n")
    most = worst(report.deltas, report.max_metric_drop)
    if most:
        print(f"lost by INT8 in single metrics, the worst:\n{deltas_table(most)}\n")
    if report.how_sure is not None:
        print(f"how sure: {report.how_sure.words}")


def print_benchmark(benchmark: "Benchmark", folder: Path) -> None:
    """Print the times of single texts, and where the rest is."""
    from trainer_ext.export.benchmark.results import benchmark_table

    print(f"\n{folder.name}, one text at a time, 1 thread ({benchmark.instruction_set}):\n")
    print(f"{benchmark_table(benchmark)}\n")
    for note in benchmark.notes:
        print(f"note: {note}")
    print(f"All batches and threads: {folder / 'benchmark.json'}, drawn in benchmark.png")


def print_notes(report: "ExportReport", of: str = "") -> None:
    """Print what the report says beside its verdict."""
    # A part of the report, so on standard output with it.
    for note in report.notes:
        print(f"note: {of}{note}")
