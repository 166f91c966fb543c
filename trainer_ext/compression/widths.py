"""Several widths from one start: an ordinary run for each, in OUTPUT_DIR/width-0.75 and so on, and a table of them.

Each is cut from the same start, fine-tuned with the same recipe and, with a teacher, distilled.

Source: Hou et al., DynaBERT (arXiv:2004.04037), whose widths share their weights; here each has weights of its own.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved, write_resolved
from trainer_ext.compression.chain import Stage, Train, in_folder, run_stages
from trainer_ext.compression.measure import parameters_of
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, read_json, write_json
from trainer_ext.inference.folder import WEIGHTS, read_pipeline
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import check_not_foreign, locked, mark
from trainer_ext.tables import table

REPORT = "widths.json"
WRITTEN = (REPORT, "resolved_config.yaml")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WidthRow:
    """One model.

    Attributes:
        width: share of the heads and neurons of each layer.
        folder: of the model, in the output folder.
        metric: the task's default one on the validation rows.
        bytes: of its weights on disk.
        parameters: of the model.
    """

    width: float
    folder: str
    metric: float
    bytes: int
    parameters: int


def run_widths(args: Arguments, train: Train) -> dict[str, float]:
    """Train a model of each width that is not finished, and compare them.

    The widths are no part of what a folder is held for: the same command with one more of them trains that one.

    Args:
        args: with several widths.
        train: trains one model in its own folder.

    Returns:
        The metric of each model, by the name of its folder.

    Raises:
        UserError: for a folder that holds another run, for a width of which a layer has no whole number, and what
            training raises.
    """
    folder = Path(args.training.output_dir)
    check_folder("output_dir", folder)
    with locked(folder):
        take_folder(args, folder)
        models = models_of(args)
        run_stages(models, train)
        metric_name = read_pipeline(models[0].folder).task.default_metric
        widths = args.model.width or []
        rows = []
        for width, model in zip(widths, models, strict=True):
            rows.append(row_of(width, model.folder, metric_name))
        content = {"metric_name": metric_name, "widths": [asdict(row) for row in rows]}
        write_json(folder / REPORT, content)
    print(f"\n{widths_table(rows, metric_name)}\n\nThe models and {REPORT} are in {folder}")
    return {row.folder: row.metric for row in rows}


def take_folder(args: Arguments, folder: Path) -> None:
    """Take the folder for models of several widths; each of them looks after a folder of its own.

    Raises:
        UserError: when it holds a run of one model, or what no run has written.
    """
    check_not_foreign(folder, WRITTEN)
    # A model at the top would be one of a width that nobody can tell.
    if (folder / "config.json").exists() or checkpoints(folder):
        raise UserError(
            f"output_dir {folder} already holds a run of one model: give another folder"
        )
    mark(folder, WRITTEN)
    write_resolved(args, folder)


def models_of(args: Arguments) -> list[Stage]:
    """Return the run of each width."""
    models = []
    for width in args.model.width or []:
        name = f"width-{width:g}"
        folder = Path(args.training.output_dir) / name
        models.append(Stage(name, in_folder(args, resolved(args), folder, {"width": [width]})))
    return models


def row_of(width: float, folder: Path, metric_name: str) -> WidthRow:
    """Return what is compared of a finished model."""
    metric = read_json(folder / "metrics.json")[f"eval_{metric_name}"]
    size = (folder / WEIGHTS).stat().st_size
    return WidthRow(width, folder.name, metric, size, parameters_of(folder))


def widths_table(rows: list[WidthRow], metric_name: str) -> str:
    """Return the table of all models."""
    cells = []
    for row in rows:
        size = f"{row.bytes / 1e6:.2f}"
        cells.append((row.folder, f"{row.metric:.4f}", size, f"{row.parameters:,}"))
    return table(cells, ["model", metric_name, "MB", "parameters"])
