"""Which provider runs a file: the best there is, or the one asked for and no other, and never another in silence."""

import logging
from configparser import ConfigParser
from itertools import combinations
from pathlib import Path

import onnxruntime as ort
import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.inference.conftest import save_int8, save_model
from trainer_ext.cli import predict
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor, loading, proving
from trainer_ext.inference.onnx_session import OnnxSession
from trainer_ext.inference.providers import CHOICES, PROVIDERS, note_once, open_on, too_old

TENSORRT, CUDA, OPENVINO, CPU = PROVIDERS.values()
AZURE = "AzureExecutionProvider"
MODEL = Path("model.onnx")


class FakeSession:
    """What onnxruntime gives back: it may have taken another provider than it was asked for."""

    def __init__(self, providers: list[str]):
        self.providers = providers

    def get_providers(self) -> list[str]:
        return self.providers


@pytest.fixture
def offered(monkeypatch):
    """Sets what onnxruntime offers, and which of it really loads; returns what it was asked for."""
    note_once.cache_clear()

    def offer(*names: str, broken: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> list:
        asked: list[tuple] = []

        def session(path, options, providers, provider_options):
            asked.append((providers, provider_options))
            if providers[0] in failing:
                raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
            return FakeSession([CPU] if providers[0] in broken else [*providers, CPU])

        monkeypatch.setattr(ort, "get_available_providers", lambda: list(names))
        monkeypatch.setattr(ort, "InferenceSession", session)
        return asked

    return offer


def taken(provider: str, dynamic_int8: bool = False) -> str:
    """The name of the provider that a file is opened on."""
    _, name = open_on(MODEL, ort.SessionOptions(), provider, dynamic_int8)
    return name


def test_auto_takes_the_best_that_is_there(offered):
    """For every set of providers: TensorRT, CUDA, OpenVINO, CPU, in this order."""
    order = {TENSORRT: "tensorrt", CUDA: "cuda", OPENVINO: "openvino"}
    for size in range(4):
        for present in combinations(order, size):
            offered(AZURE, *present, CPU)
            expected = [order[name] for name in order if name in present] + ["cpu"]
            assert taken("auto") == expected[0], present
            assert taken("auto", dynamic_int8=True) == "cpu"


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_one_that_is_asked_for_is_taken_or_an_error(offered, name):
    """Naming what there is."""
    offered(*PROVIDERS.values())
    assert taken(name) == name
    offered(AZURE, CPU)
    if name == "cpu":
        assert taken(name) == "cpu"
        return
    with pytest.raises(UserError) as caught:
        taken(name)
    assert str(caught.value) == (
        f"provider {name} is not available: onnxruntime offers {AZURE}, {CPU}"
    )


@pytest.mark.parametrize("name", ["tensorrt", "cuda", "openvino"])
@pytest.mark.parametrize("present", [True, False])
def test_int8_runs_on_the_cpu_only(offered, name, present):
    """Whether the other provider is there or not."""
    offered(*([PROVIDERS[name]] if present else []), CPU)
    with pytest.raises(UserError) as caught:
        taken(name, dynamic_int8=True)
    assert str(caught.value) == (
        f"provider {name} cannot run the INT8 model: use model.onnx, or provider cpu"
    )


def test_a_silent_fallback_is_noticed(offered):
    """An error for the one asked for; `auto` goes on to the next."""
    offered(TENSORRT, CUDA, CPU, broken=(TENSORRT, CUDA))
    for name in ("tensorrt", "cuda"):
        with pytest.raises(UserError, match=f"onnxruntime fell back from {name} to {CPU}"):
            taken(name)
    assert taken("auto") == "cpu"
    offered(TENSORRT, CUDA, CPU, broken=(TENSORRT,))
    assert taken("auto") == "cuda"


def test_a_provider_that_fails_is_skipped(offered):
    """By `auto`; a file that no provider loads is the error of the last one."""
    offered(CUDA, CPU, failing=(CUDA,))
    assert taken("auto") == "cpu"
    with pytest.raises(UserError, match="model.onnx cannot be loaded: CUDA failure 100"):
        taken("cuda")
    offered(CUDA, CPU, failing=(CUDA, CPU))
    with pytest.raises(UserError, match="model.onnx cannot be loaded"):
        taken("auto")


def test_an_onnxruntime_that_is_too_old_is_the_reason(offered, monkeypatch):
    """In place of what it says itself of a file with newer operators, which is no help."""
    offered(CPU, failing=(CPU,))
    for version in ("1.22.1", "0.99.0"):
        monkeypatch.setattr(ort, "__version__", version)
        expected = (
            f"^model.onnx cannot be loaded: onnxruntime {version} is older than 1.23: pip inst"
        )
        with pytest.raises(UserError, match=expected):
            taken("cpu")
    for version in ("1.23.0", "1.100.0.dev20270101", "2.0.0"):
        monkeypatch.setattr(ort, "__version__", version)
        with pytest.raises(UserError, match="cannot be loaded: CUDA failure 100"):
            taken("cpu")


@pytest.mark.parametrize("python, oldest", [("3.10", "1.23.0"), ("3.11", "1.25.0")])
def test_the_package_asks_for_an_onnxruntime_that_loads_exports(python, oldest):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    found = []
    for line in config["options"]["install_requires"].split("\n"):
        if line.startswith("onnxruntime"):
            requirement = Requirement(line)
            if requirement.marker.evaluate({"python_version": python}):
                found.append(str(requirement.specifier))
    assert found == [f">={oldest.removesuffix('.0')}"]
    assert too_old(oldest) == ""


def test_auto_says_what_it_took_and_why(offered, capsys):
    """In one line, and once."""
    offered(CUDA, CPU, broken=(CUDA,))
    taken("auto")
    taken("auto")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"provider cpu: tensorrt, openvino not available: onnxruntime offers {CUDA}, {CPU}; "
        f"cuda not usable: model.onnx: onnxruntime fell back from cuda to {CPU}"
    )
    offered(TENSORRT, CPU)
    taken("auto")
    taken("cpu")
    assert capsys.readouterr().err.splitlines() == ["provider tensorrt"]


def test_float32_stays_float32(offered):
    """TF32 and bfloat16 answer otherwise than was proven: both are on unless they are switched off."""
    asked = offered(*PROVIDERS.values())
    taken("cuda")
    taken("openvino")
    taken("cpu")
    assert asked[0] == ([CUDA], [{"use_tf32": "0"}])
    assert '"INFERENCE_PRECISION_HINT": "f32"' in asked[1][1][0]["load_config"]
    assert asked[2] == ([CPU], [{}])


def test_unknown_provider(tiny_model):
    """With the ones there are."""
    with pytest.raises(
        UserError, match="provider 'rocm' is not one of auto, tensorrt, cuda, openvino, cpu"
    ):
        load_predictor(tiny_model, provider="rocm")


def test_the_provider_in_use_is_named(tiny_model, tmp_path, caplog):
    """Beside the file."""
    folder = save_model(tmp_path)
    save_int8(folder / "model_quantized.onnx")
    with caplog.at_level(logging.INFO):
        note_once.cache_clear()
        assert load_predictor(folder).description == "model_quantized.onnx on cpu"
    assert "provider cpu: dynamic INT8 runs on CPUs only" in caplog.text
    assert OnnxSession(folder / "model.onnx", provider="cpu").provider == "cpu"


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_cannot_be(tiny_model, threads):
    """They were taken for `as many as there are cores`."""
    with pytest.raises(
        UserError, match=f"num_threads {threads} is out of range: it must be at least 1"
    ):
        load_predictor(tiny_model, num_threads=threads)


def test_choices_of_the_command_are_those_of_the_function():
    """The command has its own copies, so that `--help` need not load onnxruntime."""
    assert predict.PROVIDERS == CHOICES
    assert tuple(loading.RUNTIMES) == predict.RUNTIMES
    assert predict.ON_MISMATCH == proving.ON_MISMATCH


def test_a_checkpoint_takes_no_provider_of_exports(topic_checkpoint):
    """They were taken for `auto`."""
    with pytest.raises(UserError, match="provider openvino runs exported models only"):
        load_predictor(topic_checkpoint, provider="openvino")
