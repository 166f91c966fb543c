"""OpenVINO behind the interface of every session; skipped where the package is not installed."""

import sys

import pytest

from tests.inference.conftest import expected_logits, save_model
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor
from trainer_ext.inference.openvino_session import OpenvinoSession

TEXTS = ["good food", "", "bad", "what a dull and bad staff", "good good good"]


@pytest.fixture
def folder(tmp_path):
    """An export with the same model in both formats."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    folder = save_model(tmp_path / "model")
    openvino.save_model(
        openvino.convert_model(folder / "model.onnx"),
        folder / "openvino_model.xml",
        compress_to_fp16=False,
    )
    return folder


@pytest.mark.parametrize("threads, batch_size", [(1, 1), (1, 3), (2, 2)])
def test_it_answers_as_the_onnx_model(folder, threads, batch_size):
    """In any batch, by several callers, in input order."""
    predictor = load_predictor(
        folder, runtime="openvino", num_threads=threads, batch_size=batch_size
    )
    assert predictor.description == "openvino_model.xml on openvino"
    assert predictor.session.parallel_runs == threads
    expected = [expected_logits(text) for text in TEXTS * 9]
    assert predictor.logits(TEXTS * 9).tolist() == expected


def test_a_damaged_model_is_named(folder):
    (folder / "openvino_model.xml").write_text("<net")
    with pytest.raises(UserError, match="openvino_model.xml cannot be loaded: ") as caught:
        load_predictor(folder, runtime="openvino")
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    folder = save_model(tmp_path)
    (folder / "openvino_model.xml").write_text("<net/>")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"needs the package openvino: pip install -e \.\[openvino"):
        load_predictor(folder, runtime="openvino")


def test_an_export_without_the_model(tiny_model):
    with pytest.raises(UserError, match="has no openvino_model.xml"):
        load_predictor(tiny_model, runtime="openvino")


def test_what_contradicts_the_runtime(tiny_model, tmp_path):
    with pytest.raises(UserError, match="runs .xml files, but file_name is model.onnx"):
        load_predictor(tiny_model, runtime="openvino", file_name="model.onnx")
    with pytest.raises(UserError, match="provider cuda is one of ONNX Runtime"):
        OpenvinoSession(tmp_path / "openvino_model.xml", provider="cuda")
