"""The INT8 settings that were tried, beside the float files: tables for the screen and for Markdown."""

from collections.abc import Sequence

from trainer_ext.export.bootstrap import Loss
from trainer_ext.export.deltas import Delta
from trainer_ext.export.gate import Variant
from trainer_ext.export.report import ExportReport
from trainer_ext.reports.tables import code_span
from trainer_ext.tables import markdown_table, table

WORST = 10  # metrics in Markdown
NOT_MEASURED = "-"


def frontier_table(report: ExportReport) -> str:
    """Format every setting that was tried, one a line, for the screen."""
    return table(all_cells(report, report.frontier), headers(report.metric_name))


def all_cells(report: ExportReport, variants: Sequence[Variant]) -> list[tuple[str, ...]]:
    """Return a line for each variant."""
    rows = []
    for variant in variants:
        is_chosen = report.is_chosen_setting(variant.name, variant.setting)
        rows.append(cells(variant, is_chosen))
    return rows


def headers(metric: str) -> tuple[str, ...]:
    """Return the columns of the frontier."""
    return (
        "setting",
        "MB",
        "ms (p50)",
        metric,
        "points lost (95%)",
        "p",
        "mean logit diff",
        "agreement",
        "verdict",
    )


def cells(variant: Variant, chosen: bool) -> tuple[str, ...]:
    """Return a setting's line."""
    p_value = NOT_MEASURED
    if variant.loss is not None and variant.loss.p_value is not None:
        p_value = f"{variant.loss.p_value:.2g}"
    verdict = "good"
    if not variant.good:
        verdict = variant.why
    elif chosen:
        verdict = "chosen"
    return (
        variant.setting or variant.name,
        f"{variant.bytes / 1e6:.2f}",
        f"{variant.latency_ms_p50:.2f}",
        f"{variant.metric:.4f}",
        loss_cell(variant.loss),
        p_value,
        f"{variant.mean_logit_diff:.2g}",
        f"{variant.label_agreement:.4f}",
        verdict,
    )


def loss_cell(loss: Loss | None) -> str:
    """Format a loss with its bounds: `0.10 (-0.50 to 1.20)`."""
    if loss is None or loss.points is None:
        return NOT_MEASURED
    return f"{loss.points:.2f} ({loss.low:.2f} to {loss.high:.2f})"


def markdown(report: ExportReport) -> str:
    """Return export_report.md: verdict, files, settings, and what changes most."""
    verdict = "passed"
    if not report.passed:
        verdict = "NOT passed"
    lines = [
        "# Export report",
        "",
        f"The gate was {verdict} on {report.eval_rows} rows ({report.instruction_set}, "
        f"{report.threads} thread). Use `{report.variant(report.chosen).file}`.",
        "",
    ]
    if report.how_sure is not None:
        lines += [f"How sure: {report.how_sure.words}.", ""]
    for note in report.notes:
        lines += [f"Note: {note}.", ""]
    lines += [how_to_read(report), ""]
    # An empty line on both sides: without it Markdown takes a table for text.
    columns = headers(report.metric_name)
    lines += ["## Files", "", *markdown_table(columns, all_cells(report, report.variants)), ""]
    if report.frontier:
        tried = markdown_table(columns, all_cells(report, report.frontier))
        lines += ["## INT8 settings tried", "", *tried, ""]
    for variant in report.frontier:
        if variant.fp32_nodes:
            kept = ", ".join(map(code_span, variant.fp32_nodes))
            lines += [f"{variant.setting}: {kept} in FP32.", ""]
    if report.deltas:
        lines += ["## What loses most", "", *markdown_deltas(report.deltas[:WORST]), ""]
    lines += ["![Size against loss](export_report.png)", ""]
    return "\n".join(lines)


def how_to_read(report: ExportReport) -> str:
    """Say what is allowed, and what the columns mean that a reader cannot guess."""
    return (
        f"INT8 is refused if it is shown, at 95%, to lose more than {report.max_metric_drop:g} points of "
        f"{report.metric_name} (a point is 0.01; of errors, 0.01 of the labels' standard deviation); `p` is how "
        "probable such rows are if it loses no more. A loss that is measured but not shown may be chance: more rows "
        "would tell. `agreement` counts single answers, each aspect or word of a row by itself."
    )


def markdown_deltas(deltas: Sequence[Delta]) -> list[str]:
    """Return the lines of a table of changes; metrics have names from data."""
    rows = []
    for delta in deltas:
        row = (
            code_span(delta.metric),
            f"{delta.before:.4f}",
            f"{delta.after:.4f}",
            f"{delta.loss_points:.2f} ({delta.loss_low:.2f} to {delta.loss_high:.2f})",
        )
        rows.append(row)
    return markdown_table(("metric", "PyTorch", "INT8", "points lost (95%)"), rows)
