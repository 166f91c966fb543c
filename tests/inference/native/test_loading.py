"""Which runtime answers for an export, and what is said where the native one cannot."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_script
from tests.families import some_texts
from trainer_ext.data.preprocessing.batch import Batch
from trainer_ext.data.preprocessing.truncation import Tokens
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.native import library as library_module
from trainer_ext.inference.native import open_native
from trainer_ext.inference.native.library import (
    TARGETS,
    Library,
    library_file,
    library_here,
)
from trainer_ext.inference.native.plan import read_plan
from trainer_ext.inference.native.session import NativeSession

pytestmark = pytest.mark.skipif(library_here() is None, reason="no library for this CPU")
TEXTS = [*some_texts(40), "", " ".join(some_texts(11))]
FILE = "model_quantized.onnx"


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "onnx"))


@pytest.fixture
def no_library(monkeypatch, tmp_path):
    """As after an installation without a compiler."""
    monkeypatch.setattr(library_module, "library_file", lambda target: tmp_path / "nowhere.so")
    library_here.cache_clear()
    yield
    library_here.cache_clear()


@pytest.mark.parametrize("target", TARGETS)
def test_every_library_answers_as_onnx_runtime(target, exported):
    if target not in instruction_set().split():
        pytest.skip(f"this CPU has no {target}")
    if not library_file(target).is_file():
        pytest.skip(f"{library_file(target).name} is not compiled: python setup.py build_ext")
    predictor = load_predictor(exported, num_threads=1, runtime="native")
    file = exported / FILE
    predictor.session = NativeSession(file, read_plan(file), Library(target), 1)
    expected = load_predictor(exported, num_threads=1, runtime="onnx").logits(TEXTS)
    difference = predictor.logits(TEXTS) - expected
    # Attention in bfloat16 moves a few numbers to the next level in every text.
    usual = 0.05 * expected.std() if target == "avx512_bf16" else 1e-5
    assert np.median(np.abs(difference)) < usual
    assert np.abs(difference).max() < 0.2 * expected.std()


@pytest.mark.parametrize("batch_size", [1, 3, 64, 1000])
def test_an_answer_does_not_depend_on_the_batch(batch_size, exported):
    predictor = load_predictor(exported, num_threads=2, runtime="native", batch_size=batch_size)
    alone = load_predictor(exported, num_threads=1, runtime="native")
    texts = TEXTS * 3
    expected = np.concatenate([alone.logits([text]) for text in texts])
    assert np.array_equal(predictor.logits(texts), expected)
    with ThreadPoolExecutor(2) as pool:
        for answers in pool.map(predictor.logits, [texts] * 4):
            assert np.array_equal(answers, expected)


def test_the_runtime_asked_for(exported):
    """`auto` is native where it can be."""
    for runtime, is_native in (("auto", True), ("native", True), ("onnx", False)):
        predictor = load_predictor(exported, num_threads=1, runtime=runtime)
        assert ("(native, " in predictor.description) is is_native
        assert predictor.description.startswith(f"{FILE} on cpu")
    with pytest.raises(UserError, match="runtime 'openvino' is not one of auto, native, onnx"):
        load_predictor(exported, runtime="openvino")
    # Another file of the same export.
    assert "native" not in load_predictor(exported, file_name="model.onnx").description
    with pytest.raises(UserError, match=r"cannot run model.onnx: .* no plan for model.onnx"):
        load_predictor(exported, file_name="model.onnx", runtime="native")
    with pytest.raises(UserError, match="provider cuda is one of ONNX Runtime"):
        load_predictor(exported, provider="cuda", runtime="native")


def test_without_a_compiler_everything_works(exported, no_library):
    predictor = load_predictor(exported, num_threads=1)
    assert "native" not in predictor.description
    assert len(predictor.predict(TEXTS)) == len(TEXTS)
    with pytest.raises(UserError, match="no library is compiled for this CPU"):
        load_predictor(exported, runtime="native")


@pytest.mark.parametrize(
    "instructions, safe, unsafe",
    [
        ("x86_64 avx2", "avx2", ""),
        ("x86_64 avx_vnni avx2", "avx_vnni", "avx_vnni"),
        ("mips", "", ""),
    ],
)
def test_weights_that_are_not_safe_in_pairs(instructions, safe, unsafe, monkeypatch):
    """AVX2 adds two products in 16 bits; the others are exact for any weights."""
    if safe and not library_file(safe).is_file():
        pytest.skip(f"{library_file(safe).name} is not compiled: python setup.py build_ext")
    monkeypatch.setattr(library_module, "instruction_set", lambda: instructions)
    library_here.cache_clear()
    found = [getattr(library_here(is_safe), "target", "") for is_safe in (True, False)]
    library_here.cache_clear()
    assert found == [safe, unsafe]


def spoil(folder: Path, **changes) -> None:
    """Write other values into encoder.json."""
    path = folder / "native/encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("encoder.json", b"{", "encoder.json is not valid JSON"),
        ("encoder.json", b"[]", "encoder.json is not an object"),
        ("head.onnx", None, "head.onnx cannot be loaded"),
        ("head.onnx", b"", "head.onnx cannot be loaded"),
        ("head.onnx", b"garbage" * 9, "head.onnx cannot be loaded"),
    ],
)
@pytest.mark.parametrize("runtime", ["auto", "native"])
def test_a_damaged_file_is_named(name, content, message, runtime, folder):
    path = folder / "native" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_predictor(folder, runtime=runtime)
    assert "native" not in load_predictor(folder, runtime="onnx").description


def test_half_a_head(folder):
    path = folder / "native/head.onnx"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="head.onnx cannot be loaded"):
        load_predictor(folder)


def test_the_head_of_another_export(folder):
    spoil(folder, output="elsewhere")
    with pytest.raises(UserError, match="head.onnx does not read elsewhere"):
        load_predictor(folder)


@pytest.mark.parametrize("change", [{"bytes": 1}, {"file": "model.onnx"}, {"format": 0}])
def test_a_plan_of_another_file_is_left_alone(change, folder):
    spoil(folder, **change)
    assert "native" not in load_predictor(folder).description
    with pytest.raises(UserError, match="the export has no plan for model_quantized.onnx"):
        load_predictor(folder, runtime="native")


def test_answers_that_were_not_proven(folder, capsys):
    """The probe rows find it: ONNX Runtime answers, and says so; asked for by name, it is an error."""
    spoil(folder, attention_scale=90.0)
    predictor = load_predictor(folder, num_threads=1)
    assert "native" not in predictor.description
    assert "ONNX Runtime runs it instead" in capsys.readouterr().err
    with pytest.raises(UserError, match="--runtime auto takes ONNX Runtime instead"):
        load_predictor(folder, runtime="native")


def run_ids(session: NativeSession, *texts: list[int]) -> dict[str, np.ndarray]:
    """Run rows of token ids."""
    tokens = [Tokens(ids, [0] * len(ids)) for ids in texts]
    return session.run(Batch(tokens, 0, ("input_ids", "attention_mask")))


def test_ids_beyond_the_embeddings(exported):
    """A vocabulary that has grown after the training, or a max_length above the positions."""
    session = open_native(exported / FILE, 1, "cpu", is_needed=True)
    for ids in ([2, 200, 3], [-1], [2] * 67):
        with pytest.raises(UserError, match="beyond the embeddings"):
            run_ids(session, ids)


def test_no_tokens_at_all(exported):
    """Of a tokenizer without special tokens: there is nothing to encode."""
    session = open_native(exported / FILE, 1, "cpu", is_needed=True)
    for texts in ([[]], [[2, 3], []]):
        with pytest.raises(UserError, match="a text has no tokens"):
            run_ids(session, *texts)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["auto", "native", "onnx"])
def test_predict_with_a_runtime(runtime, exported):
    done = run_script(
        "predict.py", "--model", exported, "--text", "good food", "--runtime", runtime
    )
    assert done.returncode == 0 and "good food" in done.stdout
    assert ("(native, " in done.stderr) is (runtime != "onnx")


def test_predict_refuses_in_one_line(folder):
    """Exit status 2, and no traceback."""
    (folder / "native/head.onnx").unlink()
    model = ("--model", folder, "--text", "good food")
    for flags in ((), ("--runtime", "native")):
        done = run_script("predict.py", *model, *flags)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "head.onnx" in done.stderr.splitlines()[-1]
    (folder / "native/encoder.json").unlink()
    assert run_script("predict.py", *model).returncode == 0
    done = run_script("predict.py", *model, "--runtime", "native")
    assert done.returncode == 2 and "no plan for model_quantized.onnx" in done.stderr
