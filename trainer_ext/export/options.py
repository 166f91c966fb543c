"""What an export takes."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

from trainer_ext.arguments.files import FileOptions
from trainer_ext.errors import UserError, check_range
from trainer_ext.export.stages import check_also, check_skip
from trainer_ext.files import check_folder

# `hub` has the models in the folders where the Hub's tools look for them (export/layout.py).
LAYOUTS = ("flat", "hub")
EXPORTERS = ("auto", "optimum", "torch")
DEFAULT_DROP = 0.5  # points


@dataclass(frozen=True)
class ExportOptions:
    """The settings of one export.

    Attributes:
        model: folder of a checkpoint, or of folds or seeds.
        output_dir: where the export goes.
        eval_file: labelled rows for the gate; None: those the checkpoint was chosen on.
        max_metric_drop: largest drop of the task's metric allowed for INT8, in points.
        max_eval_samples: use only the first rows; None: all.
        benchmark: measure latency, throughput and memory beside PyTorch and plain exports (`benchmark.json`).
        layout: `flat`, or `hub`: the models in the folders that the Hub's tools read.
        trust_remote_code: run code shipped with the checkpoint.
        exporter: `optimum`, `torch` or `auto`.
        skip: stages and passes that are left out.
        also: optional stages that run.
        unlabelled_file: texts without labels on which INT8 is compared with float; None: those of the training file, if
            it is there.
        task: what a plain checkpoint of transformers predicts; None: as its config says.
        text_column, label_columns: of `eval_file`; None: as in the training.
        files: how `eval_file` and `unlabelled_file` are written. The training's own files are read as the training
            read them.

    Raises:
        UserError: for a number out of range, a stage or exporter that does not exist, and an output folder that cannot
            be written.
    """

    model: Path
    output_dir: Path
    eval_file: str | None = None
    max_metric_drop: float = DEFAULT_DROP
    max_eval_samples: int | None = None
    benchmark: bool = False
    layout: str = "flat"
    trust_remote_code: bool = False
    exporter: str = "auto"
    skip: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unlabelled_file: str | None = None
    task: str | None = None
    text_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    files: FileOptions = field(default_factory=FileOptions)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError(f"--layout {self.layout} is not one of {', '.join(LAYOUTS)}")
        # NaN would refuse every variant: each comparison with it is false.
        if not math.isfinite(self.max_metric_drop):
            raise UserError(f"--max_metric_drop {self.max_metric_drop} is not a number of points")
        if self.max_eval_samples is not None:
            check_range("--max_eval_samples", self.max_eval_samples, 1)
        if self.exporter not in EXPORTERS:
            raise UserError(f"--exporter {self.exporter} is not one of {', '.join(EXPORTERS)}")
        self.check_files()
        check_skip(self.skip)
        check_also(self.also)
        check_folder("--output_dir", self.output_dir)

    def check_files(self) -> None:
        """Refuse reading flags without a file that follows them."""
        if self.eval_file or self.unlabelled_file:
            return
        default = FileOptions()
        for spec in fields(FileOptions):
            if getattr(self.files, spec.name) != getattr(default, spec.name):
                raise UserError(
                    f"--{spec.name} {getattr(self.files, spec.name)} has no effect without --eval_file: "
                    "files of the training are read as the training read them"
                )
