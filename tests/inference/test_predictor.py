"""The predictor on a model computed by hand: order, padding, streaming, and folders that are none."""

import json
import shutil
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.conftest import WORDS, expected_logits, save_int8, save_model, save_onnx
from trainer_ext.errors import RunError, UserError
from trainer_ext.evaluation.scoring import score
from trainer_ext.inference import load_predictor
from trainer_ext.inference.folder import chosen_file
from trainer_ext.inference.predictor import WINDOW
from trainer_ext.tracking.artifacts.store import Store

TEXTS = [
    "good food",
    "",
    "bad",
    "what a dull and bad staff this was today again",
    "good good good",
    "food",
    "  ",
]
ANY_TEXTS = st.lists(st.sampled_from([*WORDS[3:], "new"]), max_size=15).map(" ".join)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_logits_are_in_input_order(tiny_model, batch_size):
    """Whatever the lengths and the batch size: rows are sorted and padded inside, and masked."""
    predictor = load_predictor(tiny_model, batch_size=batch_size)
    logits = predictor.logits(TEXTS)
    assert logits.dtype == np.float32 and logits.shape == (7, 3)
    assert logits.tolist() == [expected_logits(text) for text in TEXTS]


@pytest.fixture(scope="module")
def predictors(tiny_model) -> dict:
    """One predictor for each batch size."""
    return {size: load_predictor(tiny_model, num_threads=1, batch_size=size) for size in (1, 2, 5)}


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(ANY_TEXTS, max_size=40), batch_size=st.sampled_from([1, 2, 5]))
def test_any_texts_as_one_by_one(predictors, texts, batch_size):
    """Also more than a window, and texts longer than max_length."""
    logits = list(predictors[batch_size].logits_iter(iter(texts)))
    assert [row.tolist() for row in logits] == [expected_logits(text) for text in texts]


def test_answers(tiny_model):
    """Decoded by the task in the config."""
    answers = load_predictor(tiny_model).predict(["good", "bad", "dull"])
    assert [answer["label"] for answer in answers] == ["pos", "neg", "neutral"]
    assert list(answers[0]) == ["label", "score", "probabilities"]


def test_aspect_answers(tiny_aspects):
    """Logits (N, A, C) come back per aspect."""
    predictor = load_predictor(tiny_aspects)
    assert predictor.logits(["good", "bad staff"]).shape == (2, 2, 3)
    answer = predictor.predict(["bad"])[0]
    assert {name: inner["label"] for name, inner in answer["aspects"].items()} == {
        "food": "neg",
        "staff": "neg",
    }


def test_no_texts(tiny_model):
    """No answers, no error."""
    predictor = load_predictor(tiny_model)
    assert predictor.predict([]) == [] and predictor.logits([]).shape == (0, 3)


def test_long_text_is_cut(tiny_model):
    """At max_length tokens, [CLS] included."""
    assert load_predictor(tiny_model).logits(["bad " * 500]).tolist() == [
        expected_logits("bad " * 11)
    ]


def test_predict_iter_is_lazy(tiny_model):
    """Texts are taken a window at a time and never more, so that an endless stream is answered."""
    predictor, taken = load_predictor(tiny_model, batch_size=2), 0

    def texts():
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield "good" if number % 3 else "bad"

    answers = predictor.predict_iter(texts())
    assert taken == 0
    labels = [answer["label"] for answer in islice(answers, 2 * WINDOW)]
    assert taken == 2 * WINDOW
    assert labels == (["neg", "pos", "pos"] * WINDOW)[: 2 * WINDOW]
    next(answers)
    assert taken == 4 * WINDOW


def test_score(tiny_model):
    """Metrics, logits and labels of labelled texts."""
    scored = score(load_predictor(tiny_model), ["good", "bad", "dull", "bad"], [2, 0, 1, 1])
    assert scored["metrics"]["accuracy"] == 0.75
    assert scored["logits"].shape == (4, 3) and scored["labels"].tolist() == [2, 0, 1, 1]


# --- INT8: one scale a run --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory):
    """A model whose activations are quantised with a scale taken from the run."""
    folder = save_model(tmp_path_factory.mktemp("int8") / "model")
    save_int8(folder / "model_quantized.onnx")
    return folder


LONG_AND_SHORT = [
    " ".join(["good"] * (1 + 5 * (k % 3)) + ["bad", "dull"] * (k % 2)) for k in range(300)
]


@pytest.mark.parametrize("batch_size, threads", [(1, 1), (8, 1), (32, 1), (8, 2), (1, 3), (32, 3)])
def test_int8_answers_do_not_depend_on_their_neighbours(int8_model, batch_size, threads):
    """To the bit: alone, in any batch, in any order, by any number of callers; the answers stay in input order."""
    alone = load_predictor(int8_model, 1)
    expected = [alone.logits([text])[0].tolist() for text in LONG_AND_SHORT]
    predictor = load_predictor(int8_model, threads, batch_size=batch_size)
    assert [row.tolist() for row in predictor.logits_iter(LONG_AND_SHORT)] == expected
    assert predictor.logits(LONG_AND_SHORT[::-1]).tolist() == expected[::-1]


def test_the_int8_model_shows_it(int8_model):
    """Else the test above would say nothing: in one run the same texts differ."""
    predictor = load_predictor(int8_model, 1, batch_size=8)
    expected = predictor.logits(LONG_AND_SHORT[:8])
    predictor.session.batch_invariant = True
    assert np.abs(predictor.logits(LONG_AND_SHORT[:8]) - expected).max() > 0.01


def test_int8_work_is_shared_out(int8_model, monkeypatch):
    """Over as many callers as there are threads, of one thread each; float runs have the threads themselves."""
    predictor, seen = load_predictor(int8_model, 3), set()
    assert predictor.session.parallel_runs == 3
    assert predictor.session._session.get_session_options().intra_op_num_threads == 1
    run, together = predictor.session.run, threading.Barrier(3, timeout=30)

    def recorded(inputs):
        if len(seen) < 3:
            together.wait()  # three runs are under way at the same time
        seen.add(threading.get_ident())
        return run(inputs)

    monkeypatch.setattr(predictor.session, "run", recorded)
    predictor.logits(LONG_AND_SHORT[:3])
    assert len(seen) == 3
    float_session = load_predictor(int8_model, 3, file_name="model.onnx").session
    assert float_session.parallel_runs == 1 and float_session.batch_invariant
    assert float_session._session.get_session_options().intra_op_num_threads == 3


def test_outputs_that_are_no_numbers_are_refused(tmp_path, monkeypatch):
    """As the export refuses them; NaN would answer the first class."""
    predictor = load_predictor(save_model(tmp_path))
    monkeypatch.setattr(
        predictor.session, "run", lambda inputs: {"logits": np.full((1, 3), np.nan, np.float32)}
    )
    with pytest.raises(RunError, match="model.onnx: .*not finite numbers"):
        predictor.predict(["good"])


def test_another_instruction_set_is_said_once(tmp_path, capsys):
    folder = save_model(tmp_path)
    content = {
        "chosen": "onnx",
        "variants": [{"name": "onnx", "file": "model.onnx"}],
        "instruction_set": "x86_64 mmx",
    }
    (folder / "export_report.json").write_text(json.dumps(content))
    for _ in range(2):
        load_predictor(folder)
    assert capsys.readouterr().err.count("was proven on x86_64 mmx") == 1


# --- which file -----------------------------------------------------------------------------------------------------


def report(chosen: str) -> str:
    """export_report.json with three variants."""
    files = {"pytorch": "model.safetensors", "onnx": "model.onnx", "int8": "model_quantized.onnx"}
    variants = [{"name": name, "file": file} for name, file in files.items()]
    return json.dumps({"chosen": chosen, "variants": variants})


@pytest.mark.parametrize(
    "files, chosen, expected",
    [
        ([], None, "model.safetensors"),
        (["model.onnx"], None, "model.onnx"),
        (["model.onnx", "model_quantized.onnx", "model.safetensors"], None, "model_quantized.onnx"),
        (["model.onnx", "model_quantized.onnx"], "int8", "model_quantized.onnx"),
        (["model.onnx", "model_quantized.onnx"], "onnx", "model.onnx"),
        (["model.onnx", "model_quantized.onnx"], "pytorch", "model.safetensors"),
    ],
)
def test_chosen_file(tmp_path, files, chosen, expected):
    """The report's choice; without a report the smallest there is."""
    for name in files:
        (tmp_path / name).touch()
    if chosen:
        (tmp_path / "export_report.json").write_text(report(chosen))
    assert chosen_file(tmp_path) == expected


def test_the_reports_choice_is_run(tmp_path):
    """A quantised file that the gate refused is not run, unless it is asked for."""
    folder = save_model(tmp_path)
    save_onnx(folder / "model_quantized.onnx", sign=-1)
    assert (
        load_predictor(folder).predict(["bad"])[0]["label"] == "pos"
    )  # no report: the (here wrong) INT8
    (folder / "export_report.json").write_text(report("onnx"))
    assert load_predictor(folder).predict(["bad"])[0]["label"] == "neg"
    assert (
        load_predictor(folder, file_name="model_quantized.onnx").predict(["bad"])[0]["label"]
        == "pos"
    )


def test_nothing_that_the_gate_refused_is_run(tmp_path):
    """Where the report chose PyTorch, neither ONNX file was good: an error, not one of them."""
    folder = save_model(tmp_path)
    save_onnx(folder / "model_quantized.onnx", sign=-1)
    (folder / "export_report.json").write_text(report("pytorch"))
    with pytest.raises(UserError, match=r"has no model.safetensors, which its export report chose"):
        load_predictor(folder)


# --- folders that are none ------------------------------------------------------------------------------------------


def refusal(folder, **kwargs) -> str:
    """The message with which a folder is refused."""
    with pytest.raises(UserError) as caught:
        load_predictor(folder, **kwargs)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_folder_and_file(tmp_path):
    """Each by its own message."""
    assert refusal(tmp_path / "none").endswith("does not exist")
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file").endswith("is not a folder")
    assert "has no config.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    "config, message",
    [
        ("{", "config.json is not valid JSON"),
        ("\xff", "config.json is not valid JSON"),
        ("[]", "lacks task, label_space, max_length"),
        ('{"pipeline": null}', "lacks task, label_space, max_length"),
        ('{"model_type": "bert"}', "is not a model of this project"),
    ],
)
def test_broken_config(tmp_path, config, message):
    """Naming the file and what is wrong with it."""
    folder = save_model(tmp_path)
    (folder / "config.json").write_bytes(config.encode("latin-1"))
    assert message in refusal(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "parsing"}, "task 'parsing' is not one of single_label, multi_label"),
        (
            {"label_space": {"columns": ["label"], "classes": ["a", "b"]}},
            "label space is not readable",
        ),
        ({"label_space": ["a", "b"]}, "label space is not readable"),
        ({"label_space": None}, "label space is not readable"),
        ({"calibration": {"heat": 2}}, "calibration is not readable"),
    ],
)
def test_broken_pipeline(tmp_path, changes, message):
    """A config that cannot be meant for us."""
    assert message in refusal(save_model(tmp_path, **changes))


@pytest.mark.parametrize(
    "key", ["task", "label_space", "max_length", "pad_token_id", "input_names", "text_column"]
)
def test_incomplete_pipeline(tmp_path, key):
    """Each key that inference needs."""
    folder = save_model(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["pipeline"][key]
    (folder / "config.json").write_text(json.dumps(config))
    assert refusal(folder).endswith(f"lacks {key}")


@pytest.mark.parametrize("content", [None, "", "{", '{"model": {}}', "\xff"])
def test_broken_tokenizer(tmp_path, content):
    """Missing, or not one."""
    folder = save_model(tmp_path)
    (folder / "tokenizer.json").unlink()
    if content is None:
        assert "has no tokenizer.json" in refusal(folder)
    else:
        (folder / "tokenizer.json").write_bytes(content.encode("latin-1"))
        assert "tokenizer.json cannot be read: " in refusal(folder)


def test_broken_model(tmp_path):
    """Missing, cut short, or another file asked for."""
    folder = save_model(tmp_path)
    assert refusal(folder, file_name="model_quantized.onnx").endswith("has no model_quantized.onnx")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-100])
    assert "model.onnx cannot be loaded: " in refusal(folder)
    (folder / "model.onnx").unlink()
    assert refusal(folder).endswith("has no model.safetensors")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"variants": [], "chosen": "onnx"}', '{"variants": [{}]}']
)
def test_broken_report(tmp_path, content):
    """Nothing is guessed beside a report that cannot be read."""
    folder = save_model(tmp_path)
    (folder / "export_report.json").write_text(content)
    assert "export_report.json is n" in refusal(folder)


TABLES = {
    "data frame": lambda rows: pandas.DataFrame({"n": range(len(rows)), "review": rows}),
    "series": lambda rows: pandas.Series(rows, index=list("xy")),
    "array": lambda rows: np.array(rows),
    "object array": lambda rows: np.array(rows, dtype=object),
    "data set": lambda rows: Dataset.from_dict({"n": [1, 2], "review": rows}),
    "column of a data set": lambda rows: Dataset.from_dict({"review": rows})["review"],
    "arrow table": lambda rows: pyarrow.table({"review": rows}),
    "column called text": lambda rows: pandas.DataFrame({"text": rows}),
    "tuple": tuple,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_what_holds_texts(tiny_model, make):
    """A data frame answered for the names of its columns."""
    predictor = load_predictor(tiny_model)
    assert [answer["label"] for answer in predictor.predict(make(["good", "bad"]))] == [
        "pos",
        "neg",
    ]
    assert predictor.logits(make(["good", "bad"])).shape[0] == 2


@pytest.mark.parametrize(
    "texts, message",
    [
        (
            pandas.DataFrame({"a": ["good"], "b": ["bad"]}),
            "expected a column 'review' with the texts, got 'a', 'b'",
        ),
        ([{"a": "good"}], "text 1: expected a text, got {'a': 'good'}"),
        (pandas.Series(["good", None]), "text 2: expected a text, got (None|nan)"),
        (np.array([["good"]]), "text 1: expected a text, got array"),
        (b"good", "expected a list of texts, got one text"),
        ([b"good"], "text 1: expected a text, got b'good'"),
    ],
    ids=["frame", "mapping", "gap", "matrix", "bytes", "list of bytes"],
)
def test_what_holds_no_texts(tiny_model, texts, message):
    """Refused with the item."""
    with pytest.raises(UserError, match=message):
        load_predictor(tiny_model).predict(texts)


def test_a_reference_to_a_model(tiny_model, tmp_path, monkeypatch):
    """`artifact:NAME:ALIAS`, as predict.py takes it; also among several."""
    monkeypatch.setenv("TRAINER_EXT_ARTIFACTS", str(tmp_path / "store"))
    version = Store().put(
        "tiny", {path.name: path for path in Path(tiny_model).iterdir() if path.is_file()}, {}
    )
    for reference in (f"artifact:{version}", "artifact:tiny"):
        assert load_predictor(reference).predict(["good"])[0]["label"] == "pos"
    assert load_predictor(["artifact:tiny", tiny_model]).predict(["good"])[0]["label"] == "pos"
    with pytest.raises(UserError, match="none"):
        load_predictor("artifact:none:best")


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model.onnx"])
def test_the_files_that_decide_on_answers(tiny_model, tmp_path, name):
    """Config, tokenizer, the model and its weights beside it; nothing else of the folder."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / "model.onnx").rename(folder / name)
    (folder / f"{name}.data").write_text("")
    (folder / "README.md").write_text("")
    predictor = load_predictor(folder)
    expected = ["config.json", "tokenizer.json", name, f"{name}.data"]
    assert [str(path.relative_to(folder)) for path in predictor.files] == expected
