"""`predict.py` on ten times the rows takes no more memory, whatever the rows come from."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tests.conftest import ROOT
from tests.inference.conftest import save_model

FEW, MANY = 4_000, 40_000
# Of the 20 MB that the rows take; what allocators keep differs by about 2 MB from run to run.
MORE_MB = 6.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux"),
]


def texts(rows: int) -> list[str]:
    """Texts of 500 characters that no file format makes smaller by much."""
    generator = random.Random(0)
    return [f"good {generator.randbytes(247).hex()}" for _ in range(rows)]


def save_rows(path: Path, rows: int) -> Path:
    """A file in the format that its ending says; parquet in a single row group."""
    lines = texts(rows)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.table({"text": lines}), path)
        assert parquet.ParquetFile(path).num_row_groups == 1
        return path
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([["text"], *([line] for line in lines)])
        elif path.suffix == ".jsonl":
            file.writelines(json.dumps({"text": line}) + "\n" for line in lines)
        else:
            file.writelines(f"{line}\n" for line in lines)
    return path


# A process of its own: Linux counts what the parent of a process had in memory as the process's peak.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def peak_mb(model: Path, source: str, output: Path, stdin=None) -> float:
    """The largest resident memory of a run over all rows."""
    command = [sys.executable, "predict.py", "--model", model, "--num_threads", "1"]
    command += ["--input", source, "--output", output, "--text_column", "text"]
    if source == "-":
        command += ["--file_format", "txt"]
    measured = [sys.executable, "-c", MEASURE, *map(str, command)]
    done = subprocess.run(measured, cwd=ROOT, stdin=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt", "parquet"])
def test_a_file(tmp_path, ending):
    model = save_model(tmp_path / "model")
    peaks = []
    for rows in (FEW, MANY):
        file = save_rows(tmp_path / f"{rows}.{ending}", rows)
        output = tmp_path / f"{rows}-out.jsonl"
        peaks.append(peak_mb(model, str(file), output))
        with open(output, encoding="utf-8") as answers:
            assert sum(1 for _ in answers) == rows
    assert peaks[1] - peaks[0] < MORE_MB, peaks


def test_standard_input(tmp_path):
    """Through a pipe, whose end nobody knows."""
    model = save_model(tmp_path / "model")
    peaks = []
    for rows in (FEW, MANY):
        file = save_rows(tmp_path / f"{rows}.txt", rows)
        with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as pipe:
            output = tmp_path / f"{rows}-out.jsonl"
            peaks.append(peak_mb(model, "-", output, pipe.stdout))
    assert peaks[1] - peaks[0] < MORE_MB, peaks
