"""The table of scores and the model card of a folder of folds or seeds."""

from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved_yaml
from trainer_ext.files import write_text
from trainer_ext.reports.cards import card_metadata, card_name, render_card
from trainer_ext.reports.tables import is_of_one_class, table
from trainer_ext.tasks import TASKS

MOST_COLUMNS = 8  # models side by side on the screen


def summary_table(summary: dict[str, Any]) -> str:
    """Return the metrics by model (if they are few), mean, standard deviation and all models together, as a table."""
    together = "oof" if "oof" in summary else "ensemble"
    models = summary.get("folds") or summary["seeds"]
    parts: dict[str, dict[str, float]] = {}
    if len(models) <= MOST_COLUMNS:
        parts |= models
    for part in ("mean", "std", together, "test"):
        if part in summary:
            parts[part] = summary[part]
    names = []
    for name in summary["mean"]:
        if not name.startswith("test_") and not is_of_one_class(name):
            names.append(name)
    # The metric that chose the checkpoints stands first.
    names.sort(key=lambda name: name != summary["metric"])
    rows = [[name, *(scores.get(name, "") for scores in parts.values())] for name in names]
    return table(rows, ["metric", *parts])


def write_card(folder: Path, args: Arguments, summary: dict[str, Any]) -> None:
    """Write README.md: what the models are, how good they are, how to use them together."""
    members = summary["seeds"] if "seeds" in summary else summary["folds"]
    together = summary["oof"] if "oof" in summary else summary["ensemble"]
    one = next(iter(members))
    text = render_card(
        "cross_validation_card.md.jinja",
        card_metadata(folder, args, {"validation": together}),
        name=card_name(folder),
        task=args.data.task,
        members=len(members),
        made=None if "seeds" in summary else summary["made"],
        rows=summary["validated_rows"],
        scores=summary_table(summary),
        soup=summary.get("soup"),
        folder=str(folder),
        one=one,
        has_classes=TASKS[args.data.task].has_classes,
        number=one.split("-")[1],
        recipe=resolved_yaml(args),
        recipe_file=str(folder / "resolved_config.yaml"),
    )
    write_text(folder / "README.md", text)
