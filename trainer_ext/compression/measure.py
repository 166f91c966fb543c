"""Measure the models of a chain on this machine, all in turns: size, parameters, latency, memory.

Each stage answers as plain ONNX, so that they differ by their shapes alone; the export as `predict.py` answers.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from safetensors import safe_open

from trainer_ext.compression.chain_report import ChainReport, StageRow
from trainer_ext.cores import available_cores
from trainer_ext.export.benchmark.contenders import Contender, plain_onnx, size_with_weights
from trainer_ext.export.benchmark.results import Benchmark, BenchmarkVariant
from trainer_ext.export.benchmark.rows import draw_rows
from trainer_ext.export.benchmark.run import Race
from trainer_ext.export.benchmark.worker import Job
from trainer_ext.export.eval_rows import evaluation_rows
from trainer_ext.export.latency import THREADS
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.recorded import read_export_report
from trainer_ext.export.report import library_versions
from trainer_ext.export.to_onnx import ONNX_FILE
from trainer_ext.files import read_json, scratch_folder, write_json
from trainer_ext.inference.folder import WEIGHTS, read_pipeline, read_tokenizer
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.layout import find_file
from trainer_ext.inference.loading import load_single

TEXTS_COUNTED = 1000  # validation texts, for the typical length

logger = logging.getLogger(__name__)


def measure(
    folders: Mapping[str, Path],
    exported: Path,
    trust_remote_code: bool = False,
) -> ChainReport:
    """Return the rows of all stages and of the export.

    Args:
        folders: of the checkpoints, by stage, in their order.
        exported: folder of the last one's export.
        trust_remote_code: whether code that a checkpoint brings may be run.
    """
    stages = list(folders.values())
    metric_name = read_pipeline(stages[0]).task.default_metric
    length = typical_length(stages[0], trust_remote_code)
    logger.info("measuring %d models in turns, texts of %d tokens", len(stages) + 1, length)
    # Files of plain ONNX are only measured: hundreds of megabytes that nobody needs later.
    with scratch_folder(exported / "measure") as scratch:
        contenders = []
        for stage, folder in folders.items():
            plain = scratch / stage
            plain.mkdir()
            plain_onnx(folder, plain, read_pipeline(folder).task.name, "auto", trust_remote_code)
            contenders.append(contender(stage, plain, ONNX_FILE, write_rows(folder, plain), True))
        # What predict.py answers with, native code included.
        chosen = chosen_variant(exported)
        name = f"{chosen['name']} export"
        rows = write_rows(exported, scratch)
        contenders.append(contender(name, exported, chosen["file"], rows, False))
        benchmark = run(contenders, chosen["name"], length)
    report = ChainReport(metric_name, length, benchmark.instruction_set, benchmark.versions)
    for stage, folder in folders.items():
        metric = read_json(folder / "metrics.json")[f"eval_{metric_name}"]
        size = (folder / WEIGHTS).stat().st_size
        report.stages.append(row_of(benchmark, stage, folder, size, metric, parameters_of(folder)))
    size = contenders[-1].variant.bytes
    parameters = parameters_of(stages[-1])
    report.stages.append(row_of(benchmark, name, exported, size, chosen["metric"], parameters))
    report.notes.extend(benchmark.notes)
    return report


def typical_length(folder: Path, trust_remote_code: bool) -> int:
    """Return the length to measure at: the smallest of the benchmark's that half of the validation texts fit into."""
    predictor = load_single(folder, THREADS, "cpu", trust_remote_code=trust_remote_code)
    options = ExportOptions(folder, folder / "unused", max_eval_samples=TEXTS_COUNTED)
    items = map(predictor.task.prepare, evaluation_rows(options, predictor).texts)
    encodings = predictor.encode(list(items))
    middle = median(len(encoding.ids) for encoding in encodings)
    lengths = list(draw_rows(read_tokenizer(folder), read_pipeline(folder)))
    # Lengths of other benchmarks, so that figures can be compared.
    fitting = [length for length in lengths if length >= middle]
    return min(fitting, default=max(lengths))


def write_rows(folder: Path, target: Path) -> Path:
    """Write rows of token ids of a model's own vocabulary; returns the file."""
    path = target / "rows.json"
    write_json(path, draw_rows(read_tokenizer(folder), read_pipeline(folder)))
    return path


def contender(name: str, folder: Path, file: str, rows: Path, plain: bool) -> Contender:
    """Return what takes part in the measurement: a file, run by ONNX Runtime's own settings or as `predict.py` does."""
    variant = BenchmarkVariant(name, file, size_with_weights(find_file(folder, file)))
    job = Job(str(folder.resolve()), file, THREADS, str(rows.resolve()), plain)
    return Contender(variant, job)


def chosen_variant(exported: Path) -> Mapping[str, Any]:
    """Return the variant of an export that `predict.py` takes, as its report has it."""
    report = read_export_report(exported)
    found: Mapping[str, Any] = next(
        variant for variant in report["variants"] if variant["name"] == report["chosen"]
    )
    return found


def run(contenders: Iterable[Contender], chosen: str, length: int) -> Benchmark:
    """Measure one text at a time, all in turns, and the memory of each process."""
    benchmark = Benchmark(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        instruction_set=instruction_set(),
        cores=available_cores(),
        versions=library_versions(),
        chosen=chosen,
        variants=[contender.variant for contender in contenders],
    )
    with Race(benchmark, THREADS) as race:
        race.start(contenders)
        # One text at a time, as a service on a device answers.
        race.run(length, 1)
        # At the end, when each process has been at its peak.
        race.record_memory()
    return benchmark


def row_of(
    benchmark: Benchmark,
    name: str,
    folder: Path,
    size: int,
    metric: float,
    parameters: int,
) -> StageRow:
    """Return the row of a model with what was measured of it, if it could be."""
    variant = next(variant for variant in benchmark.variants if variant.name == name)
    found = benchmark.rows_with(variant=name)
    return StageRow(
        name=name,
        folder=str(folder),
        bytes=size,
        metric=metric,
        parameters=parameters,
        latency_ms_p50=found[0].ms_p50 if found else None,
        peak_memory_bytes=variant.peak_memory_bytes,
        runs_on=variant.runs_on,
    )


def parameters_of(folder: Path) -> int:
    """Count the numbers in a checkpoint's weights."""
    count = 0
    with safe_open(folder / WEIGHTS, framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118 (not a dictionary)
            # Shapes are in the header: no weight is read.
            count += math.prod(weights.get_slice(name).get_shape())
    return count
