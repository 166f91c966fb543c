"""export_report.json and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trainer_ext.export.benchmark.results import Benchmark
from trainer_ext.export.certainty import Certainty
from trainer_ext.export.deltas import Delta
from trainer_ext.export.gate import INT8_TOLERANCE, ONNX_TOLERANCE, Variant, choose
from trainer_ext.export.stages import StageRecord
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

LIBRARIES = ("torch", "transformers", "optimum", "onnx", "onnxruntime")


@dataclass
class ExportReport:
    """What the gate found; the fields are the keys of export_report.json.

    Attributes:
        passed: whether every variant is good.
        chosen: name of the variant to use.
        metric_name: the task's default metric.
        max_metric_drop: points INT8 was allowed to lose.
        eval_rows: number of rows the variants were run on.
        tolerances: of the logit differences, by name.
        notes: what a reader should know in either case.
        threads: of the latencies.
        instruction_set: of this CPU; on another one INT8 may round and run differently.
        versions: of the libraries.
        variants: PyTorch, ONNX and INT8, in this order.
        stages: what each stage of the export did, in their order.
        checkpoint: folder of the checkpoint.
        checkpoint_sha256: of its weights, so that `--verify` knows them again.
        frontier: INT8 with every setting that was tried, in order; the last good one need not be the chosen one.
        deltas: what the INT8 variant changes in each metric of the task, largest loss first.
        how_sure: how sure the verdict on INT8 is.
        benchmark: for `--benchmark`; None otherwise. export_report.json has its rows of one thread, as `latency`.
    """

    passed: bool
    chosen: str
    metric_name: str
    max_metric_drop: float
    eval_rows: int
    tolerances: dict[str, float]
    notes: list[str]
    threads: int
    instruction_set: str
    versions: dict[str, str]
    variants: list[Variant] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    frontier: list[Variant] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    how_sure: Certainty | None = None
    benchmark: Benchmark | None = None

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`; `KeyError` if there is none."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    @property
    def verdict(self) -> str:
        """Return `good`, or why the first variant that is not good is not."""
        for variant in self.variants:
            if not variant.good:
                return variant.why
        return "good"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of export_report.json."""
        content = asdict(self)
        del content["benchmark"]
        # benchmark.json has all of it, also of other machines: `threads` of this report is 1.
        if self.benchmark is not None:
            rows = self.benchmark.rows_with(threads=self.threads)
            content["latency"] = [asdict(row) for row in rows]
        # Of the settings tried, too, `chosen` is the one whose file is in the folder and answers.
        for variant in content["frontier"]:
            variant["chosen"] = self.is_chosen_setting(variant["name"], variant["setting"])
        return content

    def is_chosen_setting(self, name: str, setting: str) -> bool:
        """Return whether the file made with this setting is the one to use."""
        return self.chosen == name and self.variant(name).setting == setting


def build_report(
    variants: list[Variant],
    metric_name: str,
    eval_rows: int,
    max_metric_drop: float,
    threads: int,
) -> ExportReport:
    """Build the report on judged variants."""
    return ExportReport(
        passed=all(variant.good for variant in variants),
        chosen=choose(variants),
        metric_name=metric_name,
        max_metric_drop=max_metric_drop,
        eval_rows=eval_rows,
        tolerances={
            "onnx_max_relative_diff": ONNX_TOLERANCE,
            "int8_rms_relative_diff": INT8_TOLERANCE,
        },
        notes=[],
        threads=threads,
        instruction_set=instruction_set(),
        versions=library_versions(),
        variants=variants,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that make or run an export; of those that are installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            # Optimum is optional, and onnxruntime has packages of other names.
            continue
    return versions


@dataclass
class MembersReport:
    """Reports on all models of a folder of folds or seeds; the fields are the keys of its export_report.json.

    Attributes:
        passed: whether every model passed.
        metric_name, instruction_set: as in each report.
        models: the reports, by the models' names.
    """

    passed: bool
    metric_name: str
    instruction_set: str
    models: dict[str, ExportReport]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of export_report.json."""
        models = {name: report.to_dict() for name, report in self.models.items()}
        return {
            "passed": self.passed,
            "metric_name": self.metric_name,
            "instruction_set": self.instruction_set,
            "models": models,
        }


def join_reports(models: Mapping[str, ExportReport]) -> MembersReport:
    """Build the report on several models from the reports on each."""
    # Metric and machine are the same for all: they are models of one run, exported by one process.
    first = next(iter(models.values()))
    return MembersReport(
        passed=all(report.passed for report in models.values()),
        metric_name=first.metric_name,
        instruction_set=first.instruction_set,
        models=dict(models),
    )


def report_table(report: ExportReport) -> str:
    """Format the variants of an export, one a line."""
    return variants_table(report.variants, report.metric_name, report.chosen)


def variants_table(variants: Sequence[Variant], metric_name: str, chosen: str = "") -> str:
    """Format variants, one a line; of the chosen one the setting stands in place of the verdict."""
    headers = (
        "variant",
        "MB",
        metric_name,
        "max logit diff",
        "rms / spread",
        "agreement",
        "ms (p50)",
        "verdict",
    )
    rows = []
    for variant in variants:
        verdict = "good" if variant.good else variant.why
        if variant.name == chosen:
            verdict = "chosen"
            if variant.setting:
                verdict = f"chosen: {variant.setting}"
        row = (
            variant.name,
            megabytes(variant),
            f"{variant.metric:.4f}",
            f"{variant.max_logit_diff:.2g}",
            f"{variant.rms_relative_diff:.2g}",
            f"{variant.label_agreement:.4f}",
            f"{variant.latency_ms_p50:.2f}",
            verdict,
        )
        rows.append(row)
    return table(rows, headers)


def members_table(joint: MembersReport) -> str:
    """Format a line for each model: its metric, size and speed, as trained and as chosen."""
    headers = (
        "model",
        "chosen",
        "rows",
        f"{joint.metric_name} before",
        f"{joint.metric_name} after",
        "MB before",
        "MB after",
        "ms before",
        "ms after",
        "verdict",
    )
    rows = []
    for name, report in joint.models.items():
        before = report.variant("pytorch")
        after = report.variant(report.chosen)
        row = (
            name,
            report.chosen,
            report.eval_rows,
            f"{before.metric:.4f}",
            f"{after.metric:.4f}",
            megabytes(before),
            megabytes(after),
            f"{before.latency_ms_p50:.2f}",
            f"{after.latency_ms_p50:.2f}",
            report.verdict,
        )
        rows.append(row)
    return table(rows, headers)


def megabytes(variant: Variant) -> str:
    """Format a file's size."""
    return f"{variant.bytes / 1e6:.2f}"
