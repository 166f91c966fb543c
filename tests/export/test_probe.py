"""probe.json as an export writes it: rows of the vocabulary, proven logits, and tolerances."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.inference.conftest import TABLE, save_int8, save_model
from trainer_ext.export.probe import (
    LENGTHS,
    draw_rows,
    row_lengths,
    special_tokens_around,
    write_probe,
)
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.probe import Probe, ProbeRow, read_probe
from trainer_ext.inference.single import SinglePredictor


def save_export(folder: Path, **changes) -> Path:
    save_model(folder, **changes)
    save_int8(folder / "model_quantized.onnx")
    return folder


def load_all(folder: Path) -> dict[str, SinglePredictor]:
    """A predictor for each variant; the float file stands for PyTorch, too."""
    files = {"pytorch": "model.onnx", "onnx": "model.onnx", "int8": "model_quantized.onnx"}
    return {name: load_single(folder, 1, "cpu", file_name=file) for name, file in files.items()}


def written(folder: Path, predictors: dict[str, SinglePredictor]) -> dict:
    write_probe(folder, predictors)
    return json.loads((folder / "probe.json").read_text())


def test_rows_and_logits(tmp_path):
    """Lengths from 3 to max_length; the logits are those computed by hand; what was proven passes here."""
    folder = save_export(tmp_path)
    content = written(folder, load_all(folder))
    assert [len(row["input_ids"]) for row in content["rows"]] == [3, 4, 6, 8]
    for row in content["rows"]:
        ids = row["input_ids"]
        assert row["logits"]["pytorch"] == row["logits"]["onnx"] == TABLE[ids].sum(axis=0).tolist()
        assert ids[0] == 2 and not {0, 2} & set(ids[1:]), "no special token within the text"
    assert set(content["tolerance"]) == {"onnx", "int8"}
    assert content["instruction_set"] and content["versions"]["onnxruntime"]
    probe = read_probe(folder)
    for name, predictor in load_all(folder).items():
        if name != "pytorch":
            assert probe.check(predictor, name, every_row=True) is None


def test_loading_runs_as_many_tokens_at_a_time_as_kernels_take(tmp_path):
    """The row of 32 found AMX kernels that the shorter ones did not; the long ones would be felt on a cold start."""
    rows = [ProbeRow("", [0] * length, {}) for length in LENGTHS]
    loaded = Probe(tmp_path / "probe.json", rows, {}).rows_on_loading()
    assert [len(row.input_ids) for row in loaded] == [3, 4, 6, 8, 16, 32]


def shift_answers(predictor: SinglePredictor, shift: float, monkeypatch) -> None:
    """Add a number to whatever the predictor's session answers."""
    run = predictor.session.run

    def shifted(inputs):
        return {name: array + np.float32(shift) for name, array in run(inputs).items()}

    monkeypatch.setattr(predictor.session, "run", shifted)


@pytest.mark.parametrize("name, share", [("int8", 0.4), ("onnx", 2.0)])
def test_a_variant_may_differ_by_a_share_of_what_it_differs_by_itself(
    tmp_path, monkeypatch, name, share
):
    """From PyTorch; dynamic INT8 by less, as its products overflow where they are not exact."""
    folder = save_export(tmp_path)
    predictors = load_all(folder)
    shift_answers(predictors[name], 7.0, monkeypatch)
    assert written(folder, predictors)["tolerance"][name] == pytest.approx([share * 7.0], rel=0.01)


def test_a_variant_that_is_almost_equal_may_differ_by_a_share_of_the_spread(tmp_path):
    folder = save_export(tmp_path)
    content = written(folder, load_all(folder))
    spread = np.std([row["logits"]["pytorch"] for row in content["rows"]])
    assert content["tolerance"]["onnx"] == pytest.approx([0.001 * spread])
    assert content["tolerance"]["int8"] == pytest.approx([0.005 * spread])


def test_the_same_export_writes_the_same_rows(tmp_path):
    folder = save_export(tmp_path)
    first = written(folder, load_all(folder))
    assert written(folder, load_all(folder)) == first


def test_a_pruned_vocabulary_has_gaps(tmp_path):
    """Only ids that exist are drawn, and none of a special token."""
    folder = save_export(tmp_path, max_length=128)
    words = {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3, "good": 5, "food": 7, "[MASK]": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = draw_rows(load_single(folder, 1, "cpu", file_name="model.onnx"))
    assert [len(row) for row in rows] == [3, 4, 6, 8, 16, 32, 64, 128]
    for row in rows:
        assert row[0] == 2 and row[-1] == 3 and set(row[1:-1]) <= {5, 7}
    assert set(rows[-1][1:-1]) == {5, 7}


def test_targets_of_regression_have_tolerances_of_their_own(tmp_path):
    """Scores in hundreds must not hide those from 1 to 4."""
    space = {"columns": ["a", "b", "c"], "classes": [], "values": []}
    folder = save_export(tmp_path, task="regression", label_space=space)
    predictors = load_all(folder)
    content = written(folder, predictors)
    assert [len(values) for values in content["tolerance"].values()] == [3, 3]
    for row in content["rows"]:
        row["logits"]["onnx"][2] += 0.5
    (folder / "probe.json").write_text(json.dumps(content))
    mismatch = read_probe(folder).check(predictors["onnx"], "onnx")
    assert mismatch.difference == pytest.approx(0.5)
    assert mismatch.tolerance == content["tolerance"]["onnx"][2]


def test_aspects_are_nested_lists(tiny_aspects_copy):
    content = written(tiny_aspects_copy, {"pytorch": float_of(tiny_aspects_copy)})
    ids = content["rows"][0]["input_ids"]
    assert content["rows"][0]["logits"]["pytorch"] == [TABLE[ids].sum(axis=0).tolist()] * 2


@pytest.fixture
def tiny_aspects_copy(tmp_path) -> Path:
    return save_model(tmp_path, "multi_aspect")


def float_of(folder: Path) -> SinglePredictor:
    return load_single(folder, 1, "cpu", file_name="model.onnx")


def test_a_variant_that_is_not_finite_has_no_probe(tmp_path, monkeypatch, capsys):
    """fp16 may overflow on random tokens; JSON has no NaN."""
    folder = save_export(tmp_path)
    predictors = load_all(folder)
    run = predictors["int8"].session.run
    monkeypatch.setattr(
        predictors["int8"].session,
        "run",
        lambda inputs: {name: array * np.nan for name, array in run(inputs).items()},
    )
    content = written(folder, predictors)
    assert "int8" not in content["tolerance"] and "int8" not in content["rows"][0]["logits"]
    assert "int8 answers random tokens with NaN or infinity" in capsys.readouterr().err
    assert not read_probe(folder).covers("int8")


@pytest.mark.parametrize(
    "special, longest, expected",
    [
        (2, 128, [3, 4, 6, 8, 16, 32, 64, 128]),
        (2, 512, [3, 4, 6, 8, 16, 32, 64, 128]),
        (1, 12, [3, 4, 6, 8]),
        (3, 20, [4, 6, 8, 16]),
        (0, 2, [2]),
    ],
)
def test_lengths(special, longest, expected):
    assert row_lengths(special, longest) == expected


def test_a_tokenizer_that_makes_nothing_of_the_text():
    """Its special tokens go in front."""
    tokenizer = Tokenizer(models.BPE({"[CLS]": 0, "x": 1}, []))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 0)]
    )
    assert special_tokens_around(tokenizer) == ([0], [])
