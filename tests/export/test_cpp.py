"""`examples/cpp`, compiled against the library of the installed onnxruntime, prints our logits.

`make test-cpp` gets the headers and runs this; ORT_INCLUDE and ORT_LIBRARY name others.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.conftest import ROOT
from tests.families import save_plain, save_rows
from tests.inference.conftest import TABLE, save_int8, save_model
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.ort_format import save_ort_format
from trainer_ext.export.run import export_model
from trainer_ext.inference.onnx_session import OnnxSession

HEADER = "onnxruntime_cxx_api.h"
# Token ids of the model that tests/inference/conftest.py computes by hand.
ROWS = [[2, 3, 6], [2, 4, 7, 5], [1]]


def find_headers() -> Path | None:
    """The folder with the C++ headers; None if there is none."""
    places = [ROOT / "tests/cpp/include", Path("/usr/include/onnxruntime")]
    if "ORT_INCLUDE" in os.environ:
        places.insert(0, Path(os.environ["ORT_INCLUDE"]))
    for place in places:
        if (place / HEADER).is_file():
            return place
    return None


def find_library() -> Path | None:
    """The shared library, which newer wheels of onnxruntime have; None if there is none."""
    if "ORT_LIBRARY" in os.environ:
        return Path(os.environ["ORT_LIBRARY"])
    capi = Path(onnxruntime.__file__).parent / "capi"
    found = [*capi.glob("libonnxruntime.so.*"), *Path("/usr/lib").glob("*/libonnxruntime.so")]
    if found:
        return found[0]
    return None


HEADERS = find_headers()
LIBRARY = find_library()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("g++") and shutil.which("make")), reason="no g++, no make"
    ),
    pytest.mark.skipif(HEADERS is None, reason=f"no {HEADER}: run `make test-cpp`"),
    pytest.mark.skipif(LIBRARY is None, reason="this onnxruntime comes without its shared library"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The example, compiled."""
    build = tmp_path_factory.mktemp("cpp")
    variables = (f"BUILD={build}", f"ORT_INCLUDE={HEADERS}", f"ORT_LIBRARY={LIBRARY}")
    command = ["make", "-C", str(ROOT / "examples/cpp"), *variables]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return build / "logits"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Float, INT8, and INT8 prepared for this CPU."""
    folder = save_model(tmp_path_factory.mktemp("models"))
    save_int8(folder / "model_quantized.onnx")
    save_ort_format(folder / "model_quantized.onnx")
    return folder


def run(program: Path, model: Path, ids: str, folder: Path):
    """The finished process, on a file of token ids."""
    (folder / "ids.txt").write_text(ids, encoding="utf-8")
    command = [str(program), str(model), str(folder / "ids.txt")]
    return subprocess.run(command, text=True, capture_output=True, timeout=60)


def logits(program: Path, model: Path, folder: Path) -> np.ndarray:
    """(N, classes) as the program prints them, of `ROWS`."""
    lines = [" ".join(str(token) for token in row) for row in ROWS]
    done = run(program, model, "\n".join(lines) + "\n", folder)
    assert done.returncode == 0, done.stderr
    rows = []
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        assert name == "logits"
        rows.append([float(number) for number in numbers])
    return np.array(rows, np.float32)


def session_logits(path: Path) -> np.ndarray:
    """(N, classes) as a session of ours has them, of `ROWS`."""
    session = OnnxSession(path, 1)
    found = []
    for row in ROWS:
        ids = np.array([row], np.int64)
        outputs = session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
        found.append(outputs["logits"][0])
    return np.array(found)


def test_float_by_hand(program, models, tmp_path):
    expected = [TABLE[row].sum(axis=0) for row in ROWS]
    assert np.array_equal(logits(program, models / "model.onnx", tmp_path), expected)


@pytest.mark.parametrize("name", ["model_quantized.onnx", "model_quantized.ort"])
def test_int8_as_python_has_it(program, models, tmp_path, name):
    """To the bit: the same library with the same settings."""
    expected = session_logits(models / "model_quantized.onnx")
    assert np.array_equal(logits(program, models / name, tmp_path), expected)


def test_an_export_with_attention_as_one_operator(program, tmp_path):
    """The file of an encoder, which is of opset 23, and the one prepared for this CPU."""
    checkpoint = save_plain(tmp_path / "plain")
    rows = save_rows(tmp_path / "rows.jsonl")
    folder = tmp_path / "exported"
    export_model(ExportOptions(checkpoint, folder, str(rows), max_metric_drop=100, also=("ort",)))
    if not TRANSFORMERS_5:
        graph = onnx.load(folder / "model_quantized.onnx").graph
        assert "Attention" in {node.op_type for node in graph.node}
    expected = session_logits(folder / "model_quantized.onnx")
    for name in ("model_quantized.onnx", "model_quantized.ort"):
        assert np.array_equal(logits(program, folder / name, tmp_path), expected)


def test_what_cannot_be_run_is_an_error(program, models, tmp_path):
    """With what is wrong, and no answer."""
    for ids, model, words in (
        ("2 good 6\n", "model.onnx", "not a row of token ids: 2 good 6"),
        ("2 3\n", "nothing.onnx", "nothing.onnx"),
        ("2 9999\n", "model.onnx", "out of data bounds"),
    ):
        done = run(program, models / model, ids, tmp_path)
        assert done.returncode == 1 and words in done.stderr and not done.stdout
