"""export_report.json and its table."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from trainer_ext.export.gate import INT8_TOLERANCE, ONNX_TOLERANCE, Variant, choose
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.reports.tables import table


def build_report(
    variants: list[Variant],
    metric_name: str,
    rows: int,
    max_metric_drop: float,
    threads: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The report; `passed` is true when every variant is good, `notes` are what a reader should know all the same."""
    return {
        "passed": all(variant.good for variant in variants),
        "chosen": choose(variants),
        "metric_name": metric_name,
        "max_metric_drop": max_metric_drop,
        "eval_rows": rows,
        "tolerances": {
            "onnx_max_relative_diff": ONNX_TOLERANCE,
            "int8_rms_relative_diff": INT8_TOLERANCE,
        },
        "notes": list(notes),
        "threads": threads,
        "instruction_set": instruction_set(),
        "versions": {
            name: version(name)
            for name in ("torch", "transformers", "optimum", "onnx", "onnxruntime")
        },
        "variants": [variant.to_dict() for variant in variants],
    }


def report_table(report: dict[str, Any]) -> str:
    """The variants, one a line."""
    headers = [
        "variant",
        "MB",
        report["metric_name"],
        "max logit diff",
        "rms / spread",
        "agreement",
        "ms (p50)",
        "verdict",
    ]
    rows = [
        [
            variant["name"],
            f"{variant['bytes'] / 1e6:.2f}",
            f"{variant['metric']:.4f}",
            f"{variant['max_logit_diff']:.2g}",
            f"{variant['rms_relative_diff']:.2g}",
            f"{variant['label_agreement']:.4f}",
            f"{variant['latency_ms_p50']:.2f}",
            "chosen"
            if variant["name"] == report["chosen"]
            else "good"
            if variant["good"]
            else variant["why"],
        ]
        for variant in report["variants"]
    ]
    return table(rows, headers)
