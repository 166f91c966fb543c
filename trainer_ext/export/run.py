"""Checkpoint to gated ONNX folder; written beside the target first, so that a failure leaves nothing half done."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.dataset import recorded_rows
from trainer_ext.data.fold_table import validation_rows_of
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import labelled_rows, texts_and_labels
from trainer_ext.data.row_hash import examples_sha256
from trainer_ext.errors import UserError, check_range
from trainer_ext.export import gate
from trainer_ext.export.latency import latency_table
from trainer_ext.export.publish import publish
from trainer_ext.export.quantise import SETTINGS, quantise
from trainer_ext.export.report import build_report
from trainer_ext.export.to_onnx import copy_tokenizer, export_onnx
from trainer_ext.files import check_folder, scratch_folder, write_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.tasks import Task

THREADS = 1


@dataclass(frozen=True)
class ExportOptions:
    """The flags of export.py."""

    model: Path
    output_dir: Path
    eval_file: str | None
    max_metric_drop: float
    max_eval_samples: int | None
    benchmark: bool
    trust_remote_code: bool = False
    files: FileOptions = field(default_factory=FileOptions)
    """How `eval_file` is written; the training's own validation file is read as the training read it."""
    replaced: tuple[Path, ...] = ()
    """Folders of an earlier export that are of no use beside this one: made unusable before it is there."""

    def __post_init__(self):
        if self.max_eval_samples is not None:
            check_range("--max_eval_samples", self.max_eval_samples, 1)
        check_folder("--output_dir", self.output_dir)


def export_model(options: ExportOptions) -> dict[str, Any]:
    """Export, quantise, gate; returns the report, which is also written to output_dir."""
    # On the CPU also where there is a GPU: Optimum makes its example inputs there, and the INT8 model runs there.
    pytorch = load_predictor(
        options.model,
        THREADS,
        "cpu",
        file_name="model.safetensors",
        trust_remote_code=options.trust_remote_code,
    )
    rows = evaluation_rows(options, pytorch)
    if options.output_dir.resolve() == options.model.resolve():
        raise UserError(
            f"output_dir {options.output_dir} is the checkpoint itself; give another folder"
        )
    with scratch_folder(options.output_dir) as stage:
        report = export_into(stage, options, pytorch, rows)
        publish(stage, options.output_dir, options.replaced)
    return report


def export_into(
    stage: Path, options: ExportOptions, pytorch: Predictor, rows: tuple[list[str], list]
) -> dict[str, Any]:
    """All files of the export, in `stage`."""
    first, reference = gate.run_variant(
        "pytorch", options.model / "model.safetensors", pytorch, rows, None
    )
    print("exporting to ONNX ...", flush=True)
    model_path = export_onnx(pytorch.session.model, stage)
    copy_tokenizer(options.model, stage)
    onnx_predictor = load_predictor(stage, THREADS, "cpu", file_name=model_path.name)
    second, _ = gate.run_variant("onnx", model_path, onnx_predictor, rows, reference)
    gate.judge_onnx(second)
    labels = pytorch.task.stack_labels(rows[1])
    judge = partial(
        gate.judge_int8,
        pytorch=first,
        max_metric_drop=options.max_metric_drop,
        greater_is_better=pytorch.task.greater_is_better,
        unit=pytorch.task.metric_unit(labels),
    )
    third, int8_predictor = quantise_until_good(stage, model_path, judge, rows, reference)
    variants = [first, second, third]
    predictors = {"pytorch": pytorch, "onnx": onnx_predictor, "int8": int8_predictor}
    gate.add_latencies(variants, predictors, rows[0])
    metric, notes = pytorch.task.default_metric, []
    if answer := pytorch.task.one_answer(reference, labels):
        notes.append(
            f"the model answers {answer} for all {len(rows[0])} rows, whose labels differ: has it learnt?"
        )
    report = build_report(variants, metric, len(rows[0]), options.max_metric_drop, THREADS, notes)
    if options.benchmark:
        report["latency"] = latency_table(predictors, rows[0])
    write_json(stage / "export_report.json", report)
    return report


def quantise_until_good(
    stage: Path, model_path: Path, judge: Callable[[gate.Variant], None], rows, reference
) -> tuple[gate.Variant, Predictor]:
    """INT8 with the first setting that `judge` leaves good, or the last one tried, marked as not good."""
    for setting in SETTINGS:
        print(f"INT8: {setting.name} ...", flush=True)
        path = quantise(model_path, stage, setting)
        predictor = load_predictor(stage, THREADS, "cpu", file_name=path.name)
        variant, _ = gate.run_variant("int8", path, predictor, rows, reference)
        variant.setting = setting.name
        judge(variant)
        if variant.good:
            break
        print(f"INT8 with {setting.name}: {variant.why}", flush=True)
    return variant, predictor


def evaluation_rows(options: ExportOptions, predictor: Predictor) -> tuple[list[str], list]:
    """Texts and labels from --eval_file, else from the validation file the checkpoint was chosen on."""
    task, text_column = predictor.task, predictor.pipeline.text_column
    if not options.eval_file and (
        rows := recorded_fold_rows(options.model, task) or kept_back(options.model, predictor)
    ):
        return texts_and_labels(rows[: options.max_eval_samples], text_column, task)
    path, files = (
        (options.eval_file, options.files)
        if options.eval_file
        else recorded_validation_file(options.model)
    )
    if not path:
        raise UserError(
            "no rows to prove the export on: give --eval_file (the checkpoint records no validation file)"
        )
    limit = (
        options.max_eval_samples
        if options.eval_file
        else recorded_config(options.model).get("max_eval_samples")
    )
    rows = list(
        islice(labelled_rows(path, task, text_column, task.label_space.columns, files), limit)
    )
    if not rows:
        raise UserError(f"{path} is empty: it has no rows")
    texts, labels = texts_and_labels(rows, text_column, task)
    recorded = predictor.pipeline.validation_data_sha256
    found = examples_sha256(zip(texts, labels, strict=True))
    if not options.eval_file and recorded and recorded != found:
        print(
            f"note: {path} holds other rows now than those {options.model} was chosen on",
            file=sys.stderr,
        )
    return texts[: options.max_eval_samples], labels[: options.max_eval_samples]


def recorded_config(model: Path) -> dict[str, Any]:
    """The checkpoint's resolved_config.yaml; empty where it has none."""
    try:
        return dict(yaml.safe_load((model / "resolved_config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError):
        return {}


def recorded_validation_file(model: Path) -> tuple[str | None, FileOptions]:
    """`validation_file` and its reading flags in the resolved_config.yaml; None where none is recorded.

    Raises:
        UserError: when the file is not there, or not seen from the working directory.
    """
    values, names = recorded_config(model), {spec.name for spec in fields(FileOptions)}
    files = FileOptions(**{name: value for name, value in values.items() if name in names})
    if not values.get("validation_file"):
        return None, files
    return str(recorded_path(model, values, "validation_file")), files


def recorded_path(model: Path, values: dict[str, Any], flag: str) -> Path:
    """Where a file named in a checkpoint's recipe is: a table kept in the run's own folder moves along with it.

    Raises:
        UserError: when it is not there.
    """
    path, folder = Path(str(values[flag])), Path(str(values.get("output_dir", "")))
    if values.get("output_dir") and path.is_relative_to(folder):
        whole = model.parent if "fold" in values or values.get("seeds") else model
        inside = whole / path.relative_to(folder)
        if inside.is_file():
            return inside
    if not path.is_file():
        where = (
            ""
            if path.is_absolute()
            else f" from {Path.cwd()}: start export.py where the training was started, or"
        )
        raise UserError(
            f"the {flag} of {model}, {path}, is not there{where or ':'} give --eval_file"
        )
    return path


def kept_back(model: Path, predictor: Predictor) -> list[Row]:
    """The rows that `validation_split` kept back from a checkpoint's training; none where it had another validation.

    Raises:
        UserError: when its training file has gone, or holds other rows now.
    """
    config = recorded_config(model)
    if config.get("validation_split") and config.get("train_file"):
        config["train_file"] = str(recorded_path(model, config, "train_file"))
    return recorded_rows(config, predictor.task, predictor.pipeline.train_data_sha256)


def recorded_fold_rows(model: Path, task: Task) -> list[Row]:
    """The rows that a fold was validated on, a part of its training file; none when the checkpoint is no fold.

    Raises:
        UserError: when that file is not there.
    """
    config = recorded_config(model)
    if "fold" not in config or not config.get("train_file"):
        return []
    config["train_file"] = str(recorded_path(model, config, "train_file"))
    return validation_rows_of(model.parent, config, task)
