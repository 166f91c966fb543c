"""Probe rows on a model computed by hand: an export that answers otherwise here than was proven is noticed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.inference.conftest import TABLE, save_int8, save_model, save_onnx
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor
from trainer_ext.inference.folder import warn_once
from trainer_ext.inference.probe import read_probe
from trainer_ext.inference.proving import load_float, variant_of

IDS = [[2, 3], [2, 4, 6], [2, 5, 6, 7, 3], [2, *[3] * 11]]
FLOAT, INT8 = "model.onnx", "model_quantized.onnx"


def write_probe(folder: Path, **shifts: float) -> dict:
    """probe.json as proven by hand, with a number added to each logit of a variant."""
    rows = []
    for ids in IDS:
        proven = TABLE[ids].sum(axis=0)
        logits = {name: (proven + shift).tolist() for name, shift in shifts.items()}
        rows.append({"input_ids": list(ids), "logits": logits})
    content = {"rows": rows, "tolerance": {name: [0.5] for name in shifts}}
    (folder / "probe.json").write_text(json.dumps(content))
    return content


@pytest.fixture
def folder(tmp_path) -> Path:
    """An export with a float and an INT8 model, which differ by less than 0.2; of this one the report chose INT8."""
    warn_once.cache_clear()
    folder = save_model(tmp_path / "model")
    save_int8(folder / INT8)
    return folder


def test_answers_as_proven_are_given_in_silence(folder, capsys):
    """Also on another CPU than the export's, which was warned of before."""
    write_report(folder, instruction_set="x86_64 mmx")
    write_probe(folder, int8=0.0, onnx=0.0)
    assert load_predictor(folder, provider="cpu").description == f"{INT8} on cpu"
    assert capsys.readouterr().err == ""


def test_without_a_probe_an_export_loads_as_before(folder, capsys):
    """Exports of older versions have none; with a probe of other variants it is the same."""
    write_report(folder, instruction_set="x86_64 mmx")
    for content in (None, {"rows": [{"input_ids": [2], "logits": {}}], "tolerance": {}}):
        if content:
            (folder / "probe.json").write_text(json.dumps(content))
        warn_once.cache_clear()
        assert load_predictor(folder, provider="cpu").description == f"{INT8} on cpu"
        assert "was proven on x86_64 mmx" in capsys.readouterr().err


def write_report(folder: Path, **entries) -> None:
    files = {"onnx": FLOAT, "int8": INT8}
    variants = [{"name": name, "file": file} for name, file in files.items()]
    content = {"chosen": "int8", "variants": variants, **entries}
    (folder / "export_report.json").write_text(json.dumps(content))


def test_the_float_model_answers_instead(folder, capsys):
    """In one line that says what, where and by how much."""
    write_probe(folder, int8=3.0, onnx=0.0)
    predictor = load_predictor(folder, provider="cpu")
    assert predictor.description == f"{FLOAT} on cpu"
    assert predictor.predict(["good"])[0]["label"] == "pos"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: model: the answers differ on this machine (")
    assert line.endswith(
        f": {INT8} on cpu by 3 (root mean square of the logits), more than 0.5; "
        f"the float model answers instead ({FLOAT} on cpu)"
    )


def test_error_and_ignore(folder, capsys):
    """One refuses, the other says so and goes on."""
    write_probe(folder, int8=3.0, onnx=0.0)
    with pytest.raises(UserError, match="answers differ .*--on_mismatch float answers with"):
        load_predictor(folder, on_mismatch="error", provider="cpu")
    assert capsys.readouterr().err == ""
    predictor = load_predictor(folder, on_mismatch="ignore", provider="cpu")
    assert predictor.description == f"{INT8} on cpu"
    assert "they are given all the same (--on_mismatch ignore)" in capsys.readouterr().err
    with pytest.raises(UserError, match="on_mismatch 'no' is not one of float, error, ignore"):
        load_predictor(folder, on_mismatch="no")
    with pytest.raises(UserError, match="runtime 'tf' is not one of auto, native, onnx"):
        load_predictor(folder, runtime="tf")


@pytest.mark.parametrize("reason", ["differs", "missing"])
def test_no_float_model_to_answer_instead(folder, reason):
    """It answers otherwise, too; or it is not there."""
    write_probe(folder, int8=3.0, onnx=-2.0)
    if reason == "missing":
        (folder / FLOAT).unlink()
    with pytest.raises(UserError, match="there is no float model that answers as proven"):
        load_predictor(folder)
    assert load_predictor(folder, on_mismatch="ignore").session.file_name == INT8


def test_a_float_model_that_differs_is_an_error(folder):
    """There is nothing to fall back to."""
    write_probe(folder, onnx=3.0)
    with pytest.raises(UserError, match="model.onnx on cpu by 3 .* no float model"):
        load_predictor(folder, file_name=FLOAT, provider="cpu")


def test_the_tolerance_is_a_root_mean_square(folder):
    """0.7 in every logit is more than 0.5; the INT8 model's own 0.02 and a shift of 0.4 are not."""
    write_probe(folder, int8=0.4, onnx=0.0)
    assert load_predictor(folder).session.file_name == INT8
    write_probe(folder, int8=0.7, onnx=0.0)
    assert load_predictor(folder).session.file_name == FLOAT


def test_saturation_is_caught(folder, monkeypatch):
    """A kernel that cuts sums at +-6, as 16 bits do with larger ones."""
    content = write_probe(folder, int8=0.0, onnx=0.0)
    from trainer_ext.inference.onnx_session import OnnxSession

    run = OnnxSession.run

    def saturating(self, inputs):
        arrays = run(self, inputs)
        if self.file_name == INT8:
            arrays["logits"] = np.clip(arrays["logits"], -6, 6)
        return arrays

    monkeypatch.setattr(OnnxSession, "run", saturating)
    assert max(np.ravel([row["logits"]["int8"] for row in content["rows"]])) > 12
    assert load_predictor(folder).session.file_name == FLOAT


def test_ensembles_check_each_member(folder, tmp_path, capsys):
    """Only the one that differs is replaced, also where members are loaded again for each window."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    write_probe(folder, int8=0.0, onnx=0.0)
    write_probe(other, int8=3.0, onnx=0.0)
    for memory in (None, 0):
        warn_once.cache_clear()
        predictor = load_predictor([folder, other], memory=memory, provider="cpu")
        assert predictor.description == f"{INT8} on cpu, {FLOAT} on cpu"
        assert predictor.predict(["good"])[0]["label"] == "pos"
        assert capsys.readouterr().err.count("other: the answers differ") == 1
    with pytest.raises(UserError, match="other: the answers differ"):
        load_predictor([folder, other], on_mismatch="error")


def test_variants_are_known_by_the_report_or_their_names(folder):
    """The report's `file` counts, then what export.py calls its files."""
    assert variant_of(folder, folder / INT8) == "int8"
    assert variant_of(folder, folder / "mine.onnx") == "mine"
    variants = [{"name": "small", "file": INT8}, "x"]
    (folder / "export_report.json").write_text(json.dumps({"variants": variants}))
    assert variant_of(folder, folder / INT8) == "small"
    assert variant_of(folder, folder / FLOAT) == "onnx"


def test_a_gpu_that_differs_leaves_the_work_to_the_cpu(folder):
    """With `auto`, the float model on the CPU is what is left."""
    write_probe(folder, onnx=0.0)
    asked = []

    def load(file: Path, provider: str | None):
        asked.append((file.name, provider))
        return load_predictor(folder, file_name=file.name, provider=provider or "cpu")

    failed = load(folder / FLOAT, None)
    failed.session.provider = "cuda"
    probe = read_probe(folder)
    found = load_float(folder, folder / FLOAT, failed, load, probe)
    assert found is not None and found.session.provider == "cpu"
    assert asked == [(FLOAT, None), (FLOAT, "cpu")]


# --- damage ---------------------------------------------------------------------------------------------------------


def changed(content: dict, place: tuple, value):
    """The content with another value in one place."""
    if not place:
        return value
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


@pytest.mark.parametrize(
    "place, value, message",
    [
        ((), [], "probe.json is not a probe"),
        (("rows",), [], r"probe.json: rows \[\] is not a list of rows"),
        (("rows", 1), 7, r"rows\[1\] 7 is not an object"),
        (("rows", 1, "input_ids"), [], r"rows\[1\].input_ids \[\] is not a list of token ids"),
        (("rows", 1, "input_ids"), [2, True], r"rows\[1\].input_ids: True is not a token id"),
        (("rows", 0, "input_ids"), [2, 99], r"rows\[0\].input_ids cannot be run: "),
        (("rows", 0, "input_ids"), [2] * 13, r"rows\[\d\].input_ids has 13 tokens, .* takes 12"),
        (("rows", 1, "logits"), None, r"rows\[1\].logits None is not an object"),
        (("rows", 1, "logits"), {}, r"rows\[1\].logits.int8 is missing"),
        (("rows", 1, "logits", "int8"), [1, 2], r"logits.int8 \(logits\) is not \(3,\) numbers"),
        (("rows", 1, "logits", "int8"), [[1], [2, 3], [4]], r"is not \(3,\) numbers"),
        (("rows", 1, "logits", "int8"), ["1", "2", "3"], r"is not \(3,\) numbers"),
        (("rows", 1, "logits", "int8"), {"logits": 1}, r"is not \(3,\) numbers"),
        (("rows", 1, "logits", "int8"), [float("nan"), 1, 2], "not a finite number"),
        (("tolerance",), 1, "tolerance 1 is not an object"),
        (("tolerance",), {}, "tolerance.int8 None is not a list of 1 numbers"),
        (("tolerance", "int8"), [1, 2], r"tolerance.int8 \[1, 2\] is not a list of 1 numbers"),
        (("tolerance", "int8"), [-1], r"tolerance.int8 \[-1\] holds what is not a number above 0"),
        (("tolerance", "int8"), [10**400], "holds what is not a number above 0"),
    ],
)
def test_a_damaged_probe_names_the_entry(folder, place, value, message):
    """Whatever the policy: nothing is known then."""
    content = write_probe(folder, int8=0.0, onnx=0.0)
    (folder / "probe.json").write_text(json.dumps(changed(content, place, value)))
    with pytest.raises(UserError, match=message):
        load_predictor(folder, on_mismatch="ignore")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["logits", "int8", "rows", "input_ids"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(value, above: tuple = ()) -> Iterator[tuple]:
    """Every place of a JSON value."""
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, (dict, list)) else ():
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*above, key))
        else:
            yield (*above, key)


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("damaged") / "model")
    save_int8(folder / INT8)
    return folder


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_is_one_line_or_does_not_matter(damaged_folder, data):
    """Any JSON in any place."""
    content = write_probe(damaged_folder, int8=0.0, onnx=0.0)
    place = data.draw(st.sampled_from(list(places(content))))
    damaged = changed(content, place, data.draw(JSON))
    (damaged_folder / "probe.json").write_text(json.dumps(damaged))
    assert "\n" not in refusal(damaged_folder)


def refusal(folder: Path) -> str:
    """What is said of a folder; empty if it answers."""
    try:
        load_predictor(folder, num_threads=1).predict(["good"])
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("content", ["", "{", "[" * 10**5, "\xff"])
def test_what_is_no_json(folder, content):
    (folder / "probe.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="probe.json is not valid JSON"):
        load_predictor(folder)


# --- the command ----------------------------------------------------------------------------------------------------


def predict(*args) -> subprocess.CompletedProcess:
    """predict.py in a fresh process that says which heavy modules it has loaded."""
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path('predict.py', run_name='__main__')\n"
        "finally:\n"
        "    heavy = 'torch transformers pandas sklearn matplotlib pyarrow onnx openvino'.split()\n"
        "    print('loaded', [name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def test_predict_falls_back_and_stays_light(folder):
    """Both models are run without torch, transformers or pandas."""
    write_probe(folder, int8=3.0, onnx=0.0)
    done = predict("--model", folder, "--text", "good")
    assert done.returncode == 0 and "pos" in done.stdout
    assert "answers differ" in done.stderr and "the float model answers instead" in done.stderr
    assert done.stderr.splitlines()[-1] == "loaded []"
    refused = predict("--model", folder, "--text", "good", "--on_mismatch", "error")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "answers differ" in errors[0]


def test_a_wrong_float_file_is_noticed(folder):
    """A model.onnx of another training, put into the folder."""
    write_probe(folder, int8=0.0, onnx=0.0)
    save_onnx(folder / FLOAT, sign=-1)
    with pytest.raises(UserError, match="answers differ"):
        load_predictor(folder, file_name=FLOAT)
    assert load_predictor(folder).session.file_name == INT8
