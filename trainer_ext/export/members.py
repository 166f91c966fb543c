"""A folder of folds or seeds, exported model by model, each through the gate."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.publish import check_not_foreign
from trainer_ext.export.report import ExportReport, MembersReport, join_reports
from trainer_ext.export.run import export_model
from trainer_ext.files import write_json
from trainer_ext.inference.members import LISTS, MEMBER

# An ensemble with `weighted` reads its weights from these.
OUT_OF_FOLD = ("cv.json", "oof.csv")

logger = logging.getLogger(__name__)


def export_members(options: ExportOptions, members: Sequence[Path]) -> MembersReport:
    """Export each model into `output_dir/NAME`.

    Without --eval_file a fold is judged on its own validation rows.

    Returns:
        The joint report, which is also written to output_dir.

    Raises:
        UserError: as for one model, and if output_dir holds models that are not among these.
    """
    output_dir = options.output_dir
    if output_dir.resolve() == options.model.resolve():
        raise UserError(f"output_dir {output_dir} holds the models themselves; give another folder")
    check_not_foreign(output_dir)
    check_no_other_models(output_dir, members)
    # First: the lists tell prediction that an export which is cut off is incomplete.
    copy_existing(LISTS, options.model, output_dir)
    reports: dict[str, ExportReport] = {}
    for model in members:
        logger.info("%s:", model.name)
        # Models of two exports must not answer together: when the first is replaced, the later ones become unusable.
        replaced: list[Path] = []
        if not reports:
            replaced = [output_dir, *(output_dir / later.name for later in members[1:])]
        one = replace(options, model=model, output_dir=output_dir / model.name)
        reports[model.name] = export_model(one, replaced)
    joint = join_reports(reports)
    copy_existing(OUT_OF_FOLD, options.model, output_dir)
    write_json(output_dir / "export_report.json", joint.to_dict())
    return joint


def check_no_other_models(output_dir: Path, members: Sequence[Path]) -> None:
    """Raise `UserError` if a folder holds models that are not among these: they would answer together with them."""
    if not output_dir.is_dir():
        return
    own = {model.name for model in members}
    others = [
        path.name
        for path in output_dir.iterdir()
        if MEMBER.fullmatch(path.name) and path.name not in own
    ]
    if others:
        raise UserError(
            f"output_dir {output_dir} holds {', '.join(sorted(others))} of another export"
        )


def copy_existing(names: Sequence[str], source: Path, target: Path) -> None:
    """Copy those of the files that exist in `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
