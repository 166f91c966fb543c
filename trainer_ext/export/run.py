"""Checkpoint to a proven ONNX folder: the stages of an export, in their order."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.export import gate
from trainer_ext.export.eval_rows import EvalRows, evaluation_rows
from trainer_ext.export.latency import measure_latency
from trainer_ext.export.layout import arrange
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.publish import publish
from trainer_ext.export.quantise import SETTINGS, quantise
from trainer_ext.export.report import ExportReport, build_report
from trainer_ext.export.stages import Stages
from trainer_ext.export.to_onnx import copy_tokenizer, export_onnx
from trainer_ext.files import scratch_folder, write_json
from trainer_ext.inference.folder import WEIGHTS, model_file, read_pipeline, read_tokenizer
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.session import TorchSession

# The gate's latencies are of one thread, so that they compare between machines.
THREADS = 1

logger = logging.getLogger(__name__)


def export_model(options: ExportOptions, replaced: Sequence[Path] = ()) -> ExportReport:
    """Export, quantise and prove one checkpoint; the files appear in `output_dir` together, or not at all.

    Args:
        options: of the export.
        replaced: folders of an earlier export that do not belong with this one. They are made unusable just before its
            files appear.

    Returns:
        The report, which is also written to output_dir.

    Raises:
        UserError: if the checkpoint cannot be loaded or exported, or there are no rows to prove it on.
    """
    pipeline = read_pipeline(options.model)
    model_file(options.model, WEIGHTS)  # an ONNX folder is not a checkpoint
    # On the CPU even if there is a GPU: Optimum makes its example inputs there, and the INT8 model runs there.
    session = TorchSession(options.model, THREADS, "cpu", options.trust_remote_code)
    pytorch = SinglePredictor(session, read_tokenizer(options.model), pipeline)
    rows = evaluation_rows(options, pytorch)
    if options.output_dir.resolve() == options.model.resolve():
        raise UserError(
            f"output_dir {options.output_dir} is the checkpoint itself; give another folder"
        )
    with scratch_folder(options.output_dir) as stage:
        report = fill_stage(stage, options, session.model, pytorch, rows)
        arrange(stage, report.variants, options.layout)
        write_json(stage / "export_report.json", report.to_dict())
        publish(stage, options.output_dir, replaced)
    return report


def fill_stage(
    stage: Path,
    options: ExportOptions,
    model: EncoderWithHead,
    pytorch: SinglePredictor,
    rows: EvalRows,
) -> ExportReport:
    """Write the export's files into `stage`, run the same rows through each, and report which are good.

    Args:
        stage: an empty folder.
        options: of the export.
        model: of the checkpoint.
        pytorch: answers with `model`; the other variants are compared with it.
        rows: texts and labels.
    """
    task = pytorch.task
    labels = task.stack_labels(rows.labels)
    stages = Stages(options.skip, options.also)
    # First: a checkpoint whose training has diverged is refused before the export takes its time.
    checkpoint, reference = gate.run_variant(
        "pytorch", model_file(options.model, WEIGHTS), pytorch, rows, None
    )
    # In the order of the stages: `gate.choose` takes the last one before the first that is not good.
    variants = [checkpoint]
    predictors = {"pytorch": pytorch}

    with stages.run("onnx"):
        onnx_path = export_onnx(model, stage)
        copy_tokenizer(options.model, stage)
    onnx_predictor = load_single(stage, THREADS, "cpu", file_name=onnx_path.name)
    exported, _ = gate.run_variant("onnx", onnx_path, onnx_predictor, rows, reference)
    gate.judge_onnx(exported)
    variants.append(exported)
    predictors["onnx"] = onnx_predictor

    judge = partial(
        gate.judge_int8,
        pytorch=checkpoint,
        max_metric_drop=options.max_metric_drop,
        greater_is_better=task.greater_is_better,
        unit=task.metric_unit(labels),
    )
    # Also if ONNX is not good: the report then shows what either of them does.
    if stages.wanted("int8"):
        with stages.run("int8") as record:
            int8, int8_predictor = quantise_until_good(stage, onnx_path, judge, rows, reference)
            record.details["setting"] = int8.setting
        variants.append(int8)
        predictors["int8"] = int8_predictor

    gate.add_latencies(variants, predictors, rows.texts)
    report = build_report(
        variants, task.default_metric, len(rows.texts), options.max_metric_drop, THREADS
    )
    report.stages = stages.records
    same_answer = task.one_answer(reference, labels)
    if same_answer:
        report.notes.append(
            f"the model answers {same_answer} for all {len(rows.texts)} rows, "
            "whose labels differ: has it learnt?"
        )
    if options.benchmark:
        report.latency = measure_latency(predictors, rows.texts)
    return report


def quantise_until_good(
    stage: Path,
    onnx_path: Path,
    judge: Callable[[gate.Variant], None],
    rows: EvalRows,
    reference: Any,
) -> tuple[gate.Variant, SinglePredictor]:
    """Quantise with one setting after another until `judge` leaves the variant good.

    Returns:
        The first good variant with its predictor; if no setting is good enough, the last one tried, marked as not good.
    """
    for setting in SETTINGS:
        logger.info("trying %s ...", setting.name)
        path = quantise(onnx_path, stage, setting)
        predictor = load_single(stage, THREADS, "cpu", file_name=path.name)
        variant, _ = gate.run_variant("int8", path, predictor, rows, reference)
        variant.setting = setting.name
        variant.dynamic_int8 = True
        judge(variant)
        if variant.good:
            break
        logger.info("%s: %s", setting.name, variant.why)
    return variant, predictor
