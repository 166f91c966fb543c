"""Which stages of an export apply to which encoder family: `python benchmarks/families.py > table.md`.

Tiny encoders with random weights (two layers, 32 wide) are exported through each exporter, once as a checkpoint of
this project and once as a plain classifier of transformers; the students have no plain form. The table is what the
stages report: how many places of the graph a pass changed, which INT8 setting was good, and how far the file's logits
are from PyTorch's, in units of their spread. An export by torch takes seconds, so that `--exporters optimum` is a quick
look.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The small encoders are those of the tests.
sys.path.insert(0, str(ROOT))

from tests.families import FAMILIES, STUDENTS, save_ours, save_plain, save_rows  # noqa: E402
from trainer_ext.errors import UserError  # noqa: E402
from trainer_ext.export.graph.optimise import PASSES, RUNTIME_PASSES  # noqa: E402
from trainer_ext.export.options import ExportOptions  # noqa: E402
from trainer_ext.export.report import ExportReport  # noqa: E402
from trainer_ext.export.run import export_model  # noqa: E402

KINDS = {"ours": save_ours, "plain": save_plain}
ALL_PASSES = (*PASSES, *RUNTIME_PASSES)
ALL = [*FAMILIES, *STUDENTS]
HEADER = ("encoder", "exporter", "ONNX", *ALL_PASSES, "INT8", "fp16")
NOTHING = "nothing to change"


def export_reports(
    family: str, exporter: str, rows: Path, folder: Path
) -> Iterator[ExportReport | None]:
    """Export a family's checkpoint of ours and its plain one, if any; None where the exporter refuses."""
    for kind, save in KINDS.items():
        if kind == "plain" and family in STUDENTS:
            continue
        model = folder / f"{family}-{kind}"
        if not model.exists():
            save(model, family)
        options = ExportOptions(
            model=model,
            output_dir=folder / f"{family}-{kind}-{exporter}",
            eval_file=str(rows),
            # Random models answer by chance: their logits are compared, not their metric.
            max_metric_drop=100,
            exporter=exporter,
            also=("fp16",),
        )
        try:
            yield export_model(options)
        except UserError as error:
            print(f"{family}, {kind}, {exporter}: {error}", file=sys.stderr)
            yield None


def cells(report: ExportReport | None) -> list[str]:
    """Return what the stages did, in the order of the header's columns after the first two."""
    if report is None:
        return ["no", *["" for _ in HEADER[3:]]]
    found = [f"{report.variant('onnx').max_relative_diff:.0e}"]
    details: dict[str, Any] = {}
    for stage in report.stages:
        # Those for the runtime are run by the stage whose file it serves.
        if stage.name in ("graph", "int8"):
            details |= stage.details
    for name in ALL_PASSES:
        places = details.get(name, "skipped")
        if places == NOTHING:
            places = 0
        found.append(str(places))
    for name in ("int8", "fp16"):
        variant = report.variant(name)
        verdict = f"{variant.rms_relative_diff:.1g}"
        if not variant.good:
            verdict += ", not good"
        found.append(verdict)
    return found


def join_kinds(ours: str, plain: str) -> str:
    """Return one cell for both kinds of checkpoint."""
    if ours == plain:
        return ours
    return f"{ours} / {plain}"


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exporters", nargs="+", default=["optimum", "torch"])
    parser.add_argument("--families", nargs="+", default=ALL, choices=ALL)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    print(f"| {' | '.join(HEADER)} |")
    print(f"|{'---|' * len(HEADER)}")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = save_rows(folder / "rows.jsonl")
        for family in args.families:
            for exporter in args.exporters:
                found = [cells(report) for report in export_reports(family, exporter, rows, folder)]
                joined = map(join_kinds, found[0], found[-1])
                print(f"| {' | '.join([family, exporter, *joined])} |", flush=True)


if __name__ == "__main__":
    main()
