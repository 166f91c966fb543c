"""What a benchmark compares: the checkpoint, the plain exports of it, and each file of the export."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxruntime.quantization import quantize_dynamic

from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.errors import UserError, describe_error
from trainer_ext.export.benchmark.results import BenchmarkVariant
from trainer_ext.export.benchmark.worker import Job
from trainer_ext.export.quantise import QUANTISED_FILE, only_errors_logged
from trainer_ext.export.recorded import recorded_checkpoint
from trainer_ext.export.to_onnx import ONNX_FILE, export_onnx
from trainer_ext.inference.folder import WEIGHTS, read_pipeline
from trainer_ext.inference.layout import find_file
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.session import TorchSession

PYTORCH = "pytorch"
PLAIN_ONNX = "plain_onnx"
PLAIN_INT8 = "plain_int8"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contender:
    """One way to answer: what the results say of it, and the job of its process, on one thread."""

    variant: BenchmarkVariant
    job: Job


@dataclass
class Contenders:
    """All that takes part, and why something does not.

    Args:
        folder: of the export.
        report: its content.
        scratch: an empty folder for the plain files.
        rows: a JSON file with the rows that are run.
        trust_remote_code: whether code that the checkpoint brings may be run.
    """

    folder: Path
    report: Mapping[str, Any]
    scratch: Path
    rows: Path
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        self.found: list[Contender] = []
        self.notes: list[str] = []

    def gather(self) -> list[Contender]:
        """Return the checkpoint, the plain files, and the files of the report, in this order.

        Raises:
            UserError: if no file of the export is there.
        """
        checkpoint, why = recorded_checkpoint(self.report)
        pipeline = read_pipeline(self.folder)
        if checkpoint is None:
            self.notes.append(
                f"{why}: PyTorch, plain ONNX and plain INT8, which are made of it, are not measured"
            )
        else:
            self.add(PYTORCH, checkpoint, WEIGHTS, task=pipeline.task.name)
            self.add_plain_files(checkpoint, pipeline)
        before = len(self.found)
        for recorded in self.report["variants"]:
            if recorded["name"] != PYTORCH:
                self.add_exported(recorded)
        if len(self.found) == before:
            raise UserError(f"{self.folder}: none of its models is there")
        return self.found

    def add_exported(self, recorded: Mapping[str, Any]) -> None:
        """Add a file of the export, run as prediction runs it."""
        name, file = recorded["name"], recorded["file"]
        if find_file(self.folder, file).is_file():
            self.add(name, self.folder, file)
        else:
            self.notes.append(f"{name} is not measured: {file} is not there")

    def add_plain_files(self, checkpoint: Path, pipeline: Pipeline) -> None:
        """Export the checkpoint without any of our passes, quantise it with the defaults, and add both files."""
        logger.info("benchmark: making plain ONNX and INT8 files to compare with ...")
        task = pipeline.task.name
        try:
            plain_onnx(checkpoint, self.scratch, task, self.exporter(), self.trust_remote_code)
        except UserError as error:
            self.notes.append(f"{PLAIN_ONNX} and {PLAIN_INT8} are not measured: {error}")
            return
        self.add(PLAIN_ONNX, self.scratch, ONNX_FILE, plain=True)
        try:
            plain_int8(self.scratch)
        except (
            Exception
        ) as error:  # the quantiser has no type of its own for graphs that it cannot read
            self.notes.append(f"{PLAIN_INT8} is not measured: {describe_error(error)}")
            return
        self.add(
            PLAIN_INT8,
            self.scratch,
            QUANTISED_FILE,
            plain=True,
            padded_to=pipeline.max_length,
            pad_token_id=pipeline.pad_token_id,
        )

    def exporter(self) -> str:
        """Return what wrote the export's ONNX file, so that the plain one has the same graph."""
        for stage in self.report.get("stages", []):
            if stage.get("name") == "onnx":
                return str(stage.get("details", {}).get("exporter", "auto"))
        return "auto"

    def add(self, name: str, folder: Path, file: str, **details: Any) -> None:
        """Add one way to answer.

        Args:
            name: of the variant.
            folder: of the model.
            file: in it.
            **details: of its `Job`.
        """
        path = find_file(folder, file)
        variant = BenchmarkVariant(
            name, file, size_with_weights(path), padded_to=details.get("padded_to")
        )
        job = Job(
            folder=str(folder.resolve()),
            file=file,
            threads=1,
            rows=str(self.rows.resolve()),
            trust_remote_code=self.trust_remote_code,
            **details,
        )
        self.found.append(Contender(variant, job))


def plain_onnx(
    checkpoint: Path, folder: Path, task: str, exporter: str, trust_remote_code: bool
) -> None:
    """Write model.onnx as the exporter makes it, without our passes."""
    model = TorchSession(checkpoint, None, "cpu", trust_remote_code).model
    pipeline = None
    if not isinstance(model, EncoderWithHead):
        pipeline = read_pipeline(checkpoint, task)
    export_onnx(model, folder, pipeline, exporter)


def plain_int8(folder: Path) -> None:
    """Write model_quantized.onnx as ONNX Runtime's `quantize_dynamic` makes it of model.onnx by default."""
    source = folder / ONNX_FILE
    # Beyond 2 GB the weights are in a file beside the graph.
    has_weights_beside = size_with_weights(source) > source.stat().st_size
    with only_errors_logged():
        quantize_dynamic(
            source, folder / QUANTISED_FILE, use_external_data_format=has_weights_beside
        )


def size_with_weights(path: Path) -> int:
    """Return the bytes of a model's file and of the weights that lie beside it (`model.onnx_data`)."""
    size = 0
    for file in path.parent.glob(f"{path.name}*"):
        size += file.stat().st_size
    return size
