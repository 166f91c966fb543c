"""What an export takes."""

from dataclasses import dataclass, field
from pathlib import Path

from trainer_ext.arguments.files import FileOptions
from trainer_ext.errors import UserError, check_range
from trainer_ext.export.stages import check_also, check_skip
from trainer_ext.files import check_folder

# `hub` has the models in the folders where the Hub's tools look for them (export/layout.py).
LAYOUTS = ("flat", "hub")


@dataclass(frozen=True)
class ExportOptions:
    """The settings of one export.

    Attributes:
        model: folder of a checkpoint, or of folds or seeds.
        output_dir: where the export goes.
        eval_file: labelled rows for the gate; None: those the checkpoint was chosen on.
        max_metric_drop: largest drop of the task's metric allowed for INT8, in points.
        max_eval_samples: use only the first rows; None: all.
        benchmark: measure latencies for batches of 1, 8 and 32.
        layout: `flat`, or `hub`: the models in the folders that the Hub's tools read.
        trust_remote_code: run code shipped with the checkpoint.
        skip: stages and passes that are left out.
        also: optional stages that run.
        files: how `eval_file` is written. The training's own validation file is read as the training read it.

    Raises:
        UserError: for a number out of range, a stage that does not exist, and an output folder that cannot be written.
    """

    model: Path
    output_dir: Path
    eval_file: str | None = None
    max_metric_drop: float = 0.5
    max_eval_samples: int | None = None
    benchmark: bool = False
    layout: str = "flat"
    trust_remote_code: bool = False
    skip: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    files: FileOptions = field(default_factory=FileOptions)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError(f"--layout {self.layout} is not one of {', '.join(LAYOUTS)}")
        if self.max_eval_samples is not None:
            check_range("--max_eval_samples", self.max_eval_samples, 1)
        check_skip(self.skip)
        check_also(self.also)
        check_folder("--output_dir", self.output_dir)
