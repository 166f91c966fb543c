"""The gate once more, on the machine at hand, for a folder that was exported and proven elsewhere.

What INT8 answers differs between CPUs, and libraries change. `export.py --verify DIR` runs labelled rows through every
file of the export, compares them with the checkpoint (or, if it is out of reach, with model.onnx), and appends what it
found to the report. The first verdict stays as it is.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.readers import DEFAULTS
from trainer_ext.errors import UserError, describe_error
from trainer_ext.export import gate
from trainer_ext.export.certainty import Certainty, how_sure
from trainer_ext.export.eval_rows import EvalRows, evaluation_rows
from trainer_ext.export.float16 import judge_float16
from trainer_ext.export.latency import THREADS
from trainer_ext.export.options import DEFAULT_DROP, ExportOptions
from trainer_ext.export.ort_format import judge_ort_format
from trainer_ext.export.recorded import read_export_report, recorded_checkpoint
from trainer_ext.export.report import library_versions
from trainer_ext.export.texts import Texts, unlabelled_texts
from trainer_ext.files import write_json
from trainer_ext.inference.folder import REPORT, WEIGHTS, read_pipeline
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.layout import find_file
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.members import members_of
from trainer_ext.inference.probe import read_probe
from trainer_ext.inference.single import SinglePredictor

PYTORCH = "pytorch"
FLOAT = "onnx"

logger = logging.getLogger(__name__)


@dataclass
class Verification:
    """What the gate found on one machine; an entry of `verifications` in export_report.json.

    Attributes:
        passed: whether every variant that was proven is good here, too.
        date: in UTC.
        instruction_set: of this CPU.
        versions: of the libraries.
        probe: by variant, whether probe.json is answered here as it was proven.
        reference: what the variants were compared with, `pytorch` or `onnx`.
        metric_name, max_metric_drop, eval_rows: as in the report.
        variants: as in the report.
        how_sure: of the verdict on INT8.
        notes: what could not be verified, and why.
    """

    passed: bool
    date: str
    instruction_set: str
    versions: dict[str, str]
    reference: str
    metric_name: str
    max_metric_drop: float
    eval_rows: int
    variants: list[gate.Variant] = field(default_factory=list)
    how_sure: Certainty | None = None
    probe: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def verify_export(
    folder: str | Path,
    *,
    eval_file: str | None = None,
    unlabelled_file: str | None = None,
    max_metric_drop: float | None = None,
    max_eval_samples: int | None = None,
    text_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    trust_remote_code: bool = False,
    files: FileOptions = DEFAULTS,
) -> dict[str, Verification]:
    """Verify an export, or each model of an exported folder of folds or seeds; append to their reports.

    Args:
        folder: that `export.py` has written.
        eval_file: labelled rows; None: those the checkpoint was chosen on, if it is there.
        unlabelled_file: texts on which INT8 is compared as well; None: those of the training file, if it is there.
        max_metric_drop: points that may be lost; None: as many as when it was exported.
        max_eval_samples: use only the first rows; None: all.
        text_column, label_columns: of `eval_file`, if they are not called as in training.
        trust_remote_code: run code shipped with the checkpoint.
        files: how `eval_file` and `unlabelled_file` are written.

    Returns:
        What was found, by the name of the model's folder.

    Raises:
        UserError: if the folder is not an export, there are no rows, or they cannot be read.
    """
    found = {}
    for name in members_of(str(folder)):
        member = Path(name)
        report = read_export_report(member)
        allowed = max_metric_drop
        # An export that was allowed to lose more is not refused for it here.
        if allowed is None:
            allowed = float(report.get("max_metric_drop", DEFAULT_DROP))
        options = ExportOptions(
            model=member,
            output_dir=member,
            eval_file=eval_file,
            unlabelled_file=unlabelled_file,
            max_metric_drop=allowed,
            max_eval_samples=max_eval_samples,
            text_column=text_column,
            label_columns=tuple(label_columns or ()) or None,
            trust_remote_code=trust_remote_code,
            files=files,
        )
        found[member.name] = verify_folder(member, options)
    return found


def verify_folder(folder: Path, options: ExportOptions) -> Verification:
    """Verify the export of one model, and append what was found to its report."""
    report = read_export_report(folder)
    verifier = Verifier(folder, report, options)
    verification = verifier.verify()
    # Read again: the rows may have taken minutes, and another process may have added a verdict of its own.
    content = read_export_report(folder)
    earlier = content.get("verifications")
    if not isinstance(earlier, list):
        earlier = []
    content["verifications"] = [*earlier, asdict(verification)]
    write_json(folder / REPORT, content)
    return verification


class Verifier:
    """One folder: its report, the rows, and what they are compared with.

    Args:
        folder: of the export.
        report: its content.
        options: of the command.
    """

    def __init__(self, folder: Path, report: dict[str, Any], options: ExportOptions):
        self.folder = folder
        self.report = report
        self.options = options
        self.notes: list[str] = []
        self.predictors: dict[str, SinglePredictor] = {}
        self.variants: list[gate.Variant] = []
        self.allowed = options.max_metric_drop
        self.task = read_pipeline(folder).task

    def verify(self) -> Verification:
        """Run the rows through every file."""
        checkpoint = self.load_checkpoint()
        rows_options = self.options
        predictor = checkpoint or self.load_any()
        if checkpoint is not None:
            rows_options = replace(self.options, model=Path(self.report["checkpoint"]))
        elif not self.options.eval_file:
            raise UserError(
                f"no rows to verify {self.folder} on: give --eval_file ({self.notes[0]})"
            )
        rows = evaluation_rows(rows_options, predictor)
        texts = unlabelled_texts(rows_options, predictor, rows.texts)
        reference: Any = None
        if checkpoint is not None:
            file = Path(self.report["checkpoint"]) / WEIGHTS
            variant, reference = gate.run_variant(PYTORCH, file, checkpoint, rows, None)
            self.variants.append(variant)
            self.predictors[PYTORCH] = checkpoint
        # In the order of the report: model.onnx comes first, and may have to stand in for the checkpoint.
        for recorded in self.report["variants"]:
            if recorded["name"] != PYTORCH:
                reference = self.verify_variant(recorded, rows, texts, reference)
        measured = [variant for variant in self.variants if variant.name in self.predictors]
        if measured:
            gate.add_latencies(measured, self.predictors, rows.texts)
        return self.conclude(rows, texts)

    def load_checkpoint(self) -> SinglePredictor | None:
        """Return the checkpoint that was exported; None (and a note) if it is not there, or not the same any more."""
        folder, why = recorded_checkpoint(self.report)
        if folder is None:
            self.notes.append(f"{why}: model.onnx stands in for it")
            return None
        trusted = self.options.trust_remote_code
        task = self.task.name
        checkpoint = load_single(
            folder, THREADS, "cpu", file_name=WEIGHTS, trust_remote_code=trusted, task=task
        )
        # A checkpoint of plain transformers knows neither its task for sure nor its columns; the export was told.
        checkpoint.pipeline = read_pipeline(self.folder)
        return checkpoint

    def load_any(self) -> SinglePredictor:
        """Return a predictor that tells how rows are read: of the first file that can be loaded."""
        for recorded in self.report["variants"]:
            if recorded["name"] == PYTORCH:
                continue
            try:
                return self.load(recorded)
            except UserError as error:
                logger.debug("%s: %s", recorded["file"], error)
        raise UserError(f"{self.folder}: none of its models can be loaded")

    def load(self, recorded: Mapping[str, Any]) -> SinglePredictor:
        """Load a file of the export, whatever its probe says here."""
        # The float model in its place would be compared with itself.
        return load_single(
            self.folder,
            THREADS,
            "cpu",
            file_name=recorded["file"],
            on_mismatch="ignore",
        )

    def check_probe(self) -> dict[str, str]:
        """Return for each file whether the rows of probe.json are answered here as they were proven."""
        found: dict[str, str] = {}
        try:
            probe = read_probe(self.folder)
            for name, predictor in self.predictors.items():
                if probe is None or name == PYTORCH or not probe.covers(name):
                    continue
                mismatch = probe.check(predictor, name, every_row=True)
                found[name] = "matches"
                if mismatch is not None:
                    found[name] = f"differs {mismatch}"
        except UserError as error:
            # A damaged probe is refused on loading; the gate is about the files.
            self.notes.append(describe_error(error))
        for name, finding in found.items():
            if finding != "matches":
                self.notes.append(
                    f"probe.json: {name} {finding}; prediction goes by --on_mismatch here"
                )
        return found

    def verify_variant(
        self,
        recorded: Mapping[str, Any],
        rows: EvalRows,
        texts: Texts | None,
        reference: Any,
    ) -> Any:
        """Judge one file, and return what the next ones are compared with.

        Args:
            recorded: its entry in the report.
            rows: texts and labels.
            texts: without labels.
            reference: logits of PyTorch; None: model.onnx becomes the reference.
        """
        name = recorded["name"]
        file = find_file(self.folder, recorded["file"])
        # Listed before it is judged, so that a file that is missing or cannot run has its line.
        variant = gate.Variant(name, recorded["file"], 0, float("nan"))
        self.variants.append(variant)
        if not file.is_file():
            variant.reject(f"{recorded['file']} is not there")
            return reference
        variant.bytes = file.stat().st_size
        try:
            predictor = self.load(recorded)
            measured, logits = gate.run_variant(
                name, file, predictor, rows, reference, self.allowed
            )
        except Exception as error:  # each runtime has types of its own, for loading and for running
            variant.reject(describe_error(error))
            return reference
        measured.file = recorded["file"]
        measured.setting = str(recorded.get("setting", ""))
        measured.fp32_nodes = list(recorded.get("fp32_nodes", []))
        measured.dynamic_int8 = bool(recorded.get("dynamic_int8"))
        self.variants[-1] = measured
        self.predictors[name] = predictor
        if reference is None and name == FLOAT:
            reference = logits
        elif reference is None:
            measured.reject("there is no float model to compare it with")
        else:
            self.judge(measured, logits, rows, texts)
        # It may answer well; but nobody has proven it.
        if measured.bytes != recorded.get("bytes"):
            measured.reject(
                f"{recorded['file']} has {measured.bytes} bytes, the report says "
                f"{recorded.get('bytes')}: it is another file"
            )
        return reference

    def judge(
        self,
        variant: gate.Variant,
        logits: Any,
        rows: EvalRows,
        texts: Texts | None,
    ) -> None:
        """Judge a variant as the stage that made it does.

        Args:
            variant: with its differences.
            logits: of the variant on the rows.
            rows: texts and labels.
            texts: without labels.
        """
        if variant.name == FLOAT:
            gate.judge_onnx(variant)
        elif variant.name == "fp16":
            judge_float16(variant)
        elif variant.name == "ort":
            self.judge_ort(variant, logits, rows)
        else:
            self.judge_int8(variant, rows, texts)

    def judge_ort(self, variant: gate.Variant, logits: Any, rows: EvalRows) -> None:
        """Judge the file that onnxruntime has optimised: INT8 if there is INT8."""
        by_name = {other.name: other for other in self.variants}
        for name in ("int8", FLOAT):
            if name in self.predictors:
                before = self.task.flat(self.predictors[name].logits(rows.texts))
                difference = float(np.abs(self.task.flat(logits) - before).max())
                judge_ort_format(variant, by_name[name], difference)
                return
        variant.reject("what it was made of is not there to compare it with")

    def judge_int8(self, variant: gate.Variant, rows: EvalRows, texts: Texts | None) -> None:
        """Judge INT8, on texts without labels as well."""
        task = self.task
        unit = task.metric_unit(task.stack_labels(rows.labels))
        gate.judge_int8(variant, self.variants[0], self.allowed, task.greater_is_better, unit)
        float_predictor = self.predictors.get(FLOAT) or self.predictors.get(PYTORCH)
        if not variant.good or texts is None or float_predictor is None:
            return
        gate.judge_on_texts(
            variant,
            task,
            self.predictors[variant.name].logits(texts.texts),
            float_predictor.logits(texts.texts),
            texts.source,
            self.allowed,
        )

    def conclude(self, rows: EvalRows, texts: Texts | None) -> Verification:
        """Return the verdict: what was good where it was exported has to be good here."""
        proven = {entry["name"] for entry in self.report["variants"] if entry.get("good", True)}
        bad = [variant for variant in self.variants if variant.name in proven and not variant.good]
        verification = Verification(
            passed=not bad and self.report["chosen"] in self.predictors,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            instruction_set=instruction_set(),
            versions=library_versions(),
            reference=FLOAT if PYTORCH not in self.predictors else PYTORCH,
            metric_name=self.task.default_metric,
            max_metric_drop=self.allowed,
            eval_rows=len(rows.texts),
            variants=self.variants,
            probe=self.check_probe(),
            notes=self.notes,
        )
        for variant in self.variants:
            if variant.name == "int8":
                source = texts.source if texts else ""
                verification.how_sure = how_sure(variant, self.task, self.allowed, source)
        return verification
