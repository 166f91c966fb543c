"""Checkpoint to a proven ONNX folder: the stages of an export, in their order."""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from trainer_ext import errors
from trainer_ext.errors import UserError
from trainer_ext.export import gate
from trainer_ext.export.benchmark.run import benchmark_export
from trainer_ext.export.card import write_card
from trainer_ext.export.certainty import how_sure
from trainer_ext.export.eval_rows import EvalRows, evaluation_rows
from trainer_ext.export.exported import is_quantisation_aware
from trainer_ext.export.frontier import markdown
from trainer_ext.export.graph import fuse_for_runtime, optimise_graph
from trainer_ext.export.int8 import Int8Choice, Int8Gate
from trainer_ext.export.int8_smoothing import smooth_activations
from trainer_ext.export.latency import THREADS
from trainer_ext.export.layout import arrange, notes_on
from trainer_ext.export.native import write_proven
from trainer_ext.export.optional import optional_variants
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.picture import export_picture
from trainer_ext.export.probe import write_probe
from trainer_ext.export.publish import check_not_foreign, publish
from trainer_ext.export.report import ExportReport, build_report
from trainer_ext.export.stages import Stages
from trainer_ext.export.texts import Texts, unlabelled_texts
from trainer_ext.export.to_onnx import copy_tokenizer, export_onnx
from trainer_ext.files import file_sha256, scratch_folder, write_json, write_text
from trainer_ext.inference.folder import WEIGHTS, model_file, read_pipeline
from trainer_ext.inference.loading import checkpoint_tokenizer, load_single
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.session import TorchSession

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
        UserError: if the checkpoint cannot be loaded or exported, there are no rows to prove it on, or output_dir is
            not an export's.
    """
    pipeline = read_pipeline(options.model, options.task)
    model_file(options.model, WEIGHTS)  # an ONNX folder is not a checkpoint
    if options.output_dir.resolve() == options.model.resolve():
        raise UserError(
            f"output_dir {options.output_dir} is the checkpoint itself; give another folder"
        )
    check_not_foreign(options.output_dir)
    # On the CPU even if there is a GPU: Optimum makes its example inputs there, and the INT8 model runs there.
    session = TorchSession(options.model, THREADS, "cpu", options.trust_remote_code)
    if not isinstance(session.model, EncoderWithHead):
        # A plain checkpoint was trained on columns it does not record; the export does.
        pipeline = pipeline.with_columns(options.text_column, options.label_columns)
    pytorch = SinglePredictor(session, checkpoint_tokenizer(options.model), pipeline)
    rows = evaluation_rows(options, pytorch)
    texts = unlabelled_texts(options, pytorch, rows.texts)
    with scratch_folder(options.output_dir) as stage:
        report = fill_stage(stage, options, session.model, pytorch, rows, texts)
        arrange(stage, report.variants, options.layout)
        report.notes += notes_on(stage, options.layout)
        write_report(stage, report)
        write_card(stage, options.model, options.output_dir, markdown(report))
        publish(stage, options.output_dir, replaced)
    if options.benchmark:
        add_benchmark(options, report)
    return report


def add_benchmark(options: ExportOptions, report: ExportReport) -> None:
    """Measure the files where they are now, and write the report again."""
    with errors.stage("while benchmarking (the export is complete)"):
        report.benchmark = benchmark_export(options.output_dir, options.trust_remote_code)
    write_json(options.output_dir / "export_report.json", report.to_dict())


def fill_stage(
    stage: Path,
    options: ExportOptions,
    model: PreTrainedModel,
    pytorch: SinglePredictor,
    rows: EvalRows,
    texts: Texts | None = None,
) -> ExportReport:
    """Write the export's files into `stage`, run the same rows through each, and report which are good.

    Args:
        stage: an empty folder.
        options: of the export.
        model: of the checkpoint.
        pytorch: answers with `model`; the other variants are compared with it.
        rows: texts and labels.
        texts: without labels, on which INT8 is compared as well.
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

    with stages.run("onnx") as record:
        plain_pipeline = None
        if not isinstance(model, EncoderWithHead):
            plain_pipeline = pytorch.pipeline
        onnx_path, used, why = export_onnx(model, stage, plain_pipeline, options.exporter)
        record.details = {"exporter": used, "why": why}
        copy_tokenizer(options.model, stage)
    if stages.wanted("graph"):
        with stages.run("graph") as record:
            record.details = optimise_graph(onnx_path, onnx_path, options.skip).to_dict()
    onnx_predictor = load_single(stage, THREADS, "cpu", file_name=onnx_path.name)
    exported, _ = gate.run_variant("onnx", onnx_path, onnx_predictor, rows, reference)
    gate.judge_onnx(exported)
    variants.append(exported)
    predictors["onnx"] = onnx_predictor

    int8: Int8Choice | None = None
    # Also if ONNX is not good: the report then shows what either of them does.
    if stages.wanted("int8"):
        with stages.run("int8") as record, TemporaryDirectory(dir=stage) as scratch:
            # INT8 is for ONNX Runtime on CPUs: what other runtimes may not know is rewritten in this copy.
            float_path = Path(scratch) / onnx_path.name
            before = onnx_path
            if "graph" not in options.skip:
                fused = fuse_for_runtime(onnx_path, float_path, options.skip)
                record.details.update(fused.to_dict())
                before = float_path
            seen = texts.texts if texts else rows.texts
            if is_quantisation_aware(model):
                # It has learnt to answer with the weights as they are rounded now.
                record.details["smooth"] = "not done: the model was trained for INT8"
                float_path = before
            else:
                smoothed = smooth_activations(
                    before, float_path, onnx_predictor, seen, THREADS, options.skip
                )
                record.details.update(smoothed.to_dict())
            int8_gate = Int8Gate(
                stage,
                float_path,
                onnx_predictor,
                rows,
                reference,
                checkpoint,
                options.max_metric_drop,
                texts,
                THREADS,
                options.skip,
            )
            int8 = int8_gate.choose()
            record.details["setting"] = int8.variant.setting
        variants.append(int8.variant)
        predictors["int8"] = int8.predictor

    proven = [(variant, predictors[variant.name]) for variant in variants[1:]]
    optional = optional_variants(stages, stage, proven, rows, reference)
    for variant, predictor in optional:
        predictors[variant.name] = predictor
    write_probe(stage, predictors)
    if int8 is not None and stages.wanted("native"):
        with stages.run("native") as record:
            served = write_proven(stage, int8, rows, reference)
            record.details = served.details
            # Its time is that of what will answer.
            predictors["int8"] = served.predictor
    gate.add_latencies([*variants, *(variant for variant, _ in optional)], predictors, rows.texts)
    report = build_report(
        variants, task.default_metric, len(rows.texts), options.max_metric_drop, THREADS
    )
    # After the choice, which is among the portable ones.
    report.variants += [variant for variant, _ in optional]
    report.stages = stages.records
    report.checkpoint = str(options.model.resolve())
    report.checkpoint_sha256 = file_sha256(model_file(options.model, WEIGHTS))
    if int8 is not None:
        report.frontier = int8.tried
        report.deltas = int8.deltas
        source = texts.source if texts else ""
        report.how_sure = how_sure(int8.variant, task, options.max_metric_drop, source)
    same_answer = task.one_answer(reference, labels)
    if same_answer:
        report.notes.append(
            f"the model answers {same_answer} for all {len(rows.texts)} rows, "
            "whose labels differ: has it learnt?"
        )
    return report


def write_report(folder: Path, report: ExportReport) -> None:
    """Write the report as JSON, as Markdown, and as a picture."""
    write_json(folder / "export_report.json", report.to_dict())
    write_text(folder / "export_report.md", markdown(report))
    export_picture(report, folder / "export_report.png")
