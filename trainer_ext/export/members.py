"""A folder of folds or seeds, exported model by model, each through the gate."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.export.run import ExportOptions, export_model
from trainer_ext.files import write_json
from trainer_ext.inference.members import LISTS, MEMBER
from trainer_ext.reports.tables import table


def export_members(options: ExportOptions, members: Sequence[Path]) -> dict[str, Any]:
    """Export each model into `output_dir/NAME`; returns the joint report, which is also written to output_dir.

    Without --eval_file a fold is judged on its own validation rows.

    Returns:
        `passed` (whether every model did), `metric_name`, and `models`: the report of each.

    Raises:
        UserError: as for one model, and when output_dir holds models that are not among these.
    """
    output_dir, names = options.output_dir, {path.name for path in members}
    if output_dir.resolve() == options.model.resolve():
        raise UserError(f"output_dir {output_dir} holds the models themselves; give another folder")
    others = (
        [p.name for p in output_dir.iterdir() if MEMBER.fullmatch(p.name)]
        if output_dir.is_dir()
        else []
    )
    if set(others) - names:
        raise UserError(
            f"output_dir {output_dir} holds {', '.join(sorted(set(others) - names))} of another export"
        )
    copy_if_there(
        LISTS, options.model, output_dir
    )  # first: what is cut off is known to be incomplete
    reports = {}
    for model in members:
        print(f"{model.name}:", flush=True)
        # Models of two exports never answer together: when the first is replaced, the later ones end.
        replaced = (
            () if reports else (output_dir, *(output_dir / later.name for later in members[1:]))
        )
        one = replace(options, model=model, output_dir=output_dir / model.name, replaced=replaced)
        reports[model.name] = export_model(one)
    first = next(iter(reports.values()))
    whole = {
        "passed": all(report["passed"] for report in reports.values()),
        "metric_name": first["metric_name"],
        "instruction_set": first["instruction_set"],
        "models": reports,
    }
    copy_if_there(("cv.json", "oof.csv"), options.model, output_dir)  # the weights of an ensemble
    write_json(output_dir / "export_report.json", whole)
    return whole


def copy_if_there(names: Sequence[str], source: Path, target: Path) -> None:
    """Copy those of the files that are in `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def members_table(whole: dict[str, Any]) -> str:
    """A line for each model: its metric as trained and as chosen, size and speed."""
    metric = whole["metric_name"]
    rows = []
    for name, report in whole["models"].items():
        variants = {variant["name"]: variant for variant in report["variants"]}
        start, chosen = variants["pytorch"], variants[report["chosen"]]
        verdict = (
            "good"
            if report["passed"]
            else next(v["why"] for v in variants.values() if not v["good"])
        )
        sizes = [f"{variant['bytes'] / 1e6:.2f}" for variant in (start, chosen)]
        times = [f"{variant['latency_ms_p50']:.2f}" for variant in (start, chosen)]
        pairs = zip((f"{v['metric']:.4f}" for v in (start, chosen)), sizes, times, strict=True)
        (m0, s0, t0), (m1, s1, t1) = pairs
        rows.append([name, report["chosen"], report["eval_rows"], m0, m1, s0, s1, t0, t1, verdict])
    headers = [
        "model",
        "chosen",
        "rows",
        f"{metric} before",
        "after",
        "MB before",
        "after",
        "ms before",
        "after",
    ]
    return table(rows, [*headers, "verdict"])
