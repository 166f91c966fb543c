"""`fit` from a notebook: the same model as train.py makes, from files, frames and data sets; nothing left behind."""

import doctest
import importlib.util
import inspect
import json
import os
import subprocess
import sys

import numpy as np
import pandas
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from tests.conftest import CLASSES, ROOT, labelled_lines, run_ok
from tests.versions import until_4
from trainer_ext import api, fit, load_predictor
from trainer_ext.data.in_memory import columns_of_tuples, divide_splits, write_table
from trainer_ext.errors import UserError
from trainer_ext.export import export

RECIPE = {
    "from_scratch": "tiny",
    "config_overrides": "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64",
    "vocab_size": 200,
    "max_length": 32,
    "max_steps": 4,
    "per_device_train_batch_size": 16,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "f1_macro",
    "report_to": "none",
    "write_report": False,
}


@pytest.fixture(scope="module")
def frames():
    """Train and validation rows as data frames."""
    return [
        pandas.DataFrame(labelled_lines(*size), columns=["text", "label"])
        for size in ((48, 1), (24, 2))
    ]


def weights(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_recipe_file_gives_what_train_py_gives(tmp_path, topic_files):
    """Same bytes, same metrics."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE | {"train_file": str(topic_files["train"])}))
    run = fit(
        recipe,
        validation_file=topic_files["validation"],
        learning_rate=1e-3,
        output_dir=tmp_path / "fit",
    )
    flags = ["--validation_file", topic_files["validation"], "--learning_rate", "1e-3"]
    run_ok("train.py", recipe, *flags, "--output_dir", tmp_path / "script")
    assert weights(run.output_dir) == weights(tmp_path / "script")
    assert run.metrics == json.loads((run.output_dir / "metrics.json").read_text())
    assert (
        run.metrics["eval_f1_macro"]
        == json.loads((tmp_path / "script/metrics.json").read_text())["eval_f1_macro"]
    )
    assert load_predictor(run.output_dir).predict(["a goal"])[0]["label"] in CLASSES


def test_frames_data_sets_and_lists_are_the_same_rows(tmp_path, frames):
    """Three kinds of tables train the same model; class ids of a data set are its class names."""
    train, validation = frames
    names = sorted(CLASSES)
    features = Dataset.from_pandas(train).features.copy()
    features["label"] = ClassLabel(names=names)
    as_ids = train.assign(label=[names.index(name) for name in train["label"]])
    made = {
        "frame": fit(
            RECIPE, train_file=train, validation_file=validation, output_dir=tmp_path / "frame"
        ),
        "data set": fit(
            RECIPE,
            train_file=Dataset.from_pandas(as_ids, features=features),
            validation_file=Dataset.from_pandas(validation),
            output_dir=str(tmp_path / "set"),
        ),
        "list": fit(
            RECIPE | {"output_dir": tmp_path / "list", "train_file": train.to_dict("records")},
            validation_file=validation.to_dict("records"),
        ),
    }
    assert len({weights(run.output_dir) for run in made.values()}) == 1
    run_ok(
        "train.py", tmp_path / "frame" / "resolved_config.yaml", "--output_dir", tmp_path / "again"
    )
    assert weights(tmp_path / "again") == weights(tmp_path / "frame"), (
        "the rows were kept with the run"
    )


def test_nothing_is_left_for_the_next_training(tmp_path, frames, bf16_cpu):
    """bf16 leaves variables and shared state behind; a run in fp32 after it is equal to one in a fresh process."""
    train, validation = frames
    before = dict(os.environ)
    fit(
        RECIPE,
        train_file=train,
        validation_file=validation,
        output_dir=tmp_path / "bf16",
        bf16=True,
    )
    assert dict(os.environ) == before
    run = fit(RECIPE, train_file=train, validation_file=validation, output_dir=tmp_path / "fp32")
    run_ok("train.py", run.output_dir / "resolved_config.yaml", "--output_dir", tmp_path / "fresh")
    assert weights(run.output_dir) == weights(tmp_path / "fresh")
    assert weights(run.output_dir) != weights(tmp_path / "bf16")


def test_none_takes_a_flag_back(tmp_path, frames):
    """As leaving it out of the recipe."""
    run = fit(
        RECIPE | {"rdrop_alpha": 4.0},
        rdrop_alpha=None,
        train_file=frames[0],
        validation_file=frames[1],
        output_dir=tmp_path,
    )
    assert "rdrop_alpha" not in (run.output_dir / "resolved_config.yaml").read_text()


def test_bad_input_is_one_clear_error(tmp_path, frames):
    """The same errors as on the command line."""
    with pytest.raises(UserError, match="learning_rat.*learning_rate"):
        fit(RECIPE, learning_rat=1, output_dir=tmp_path)
    with pytest.raises(UserError, match="unknown key optimiser in the recipe"):
        fit({"optimiser": "adam"}, output_dir=tmp_path)
    with pytest.raises(UserError, match="train_file, row 1: expected a mapping"):
        fit(RECIPE, train_file=["a", "b"], output_dir=tmp_path)
    with pytest.raises(UserError, match="output_dir is missing"):
        fit(RECIPE, train_file=frames[0])
    with pytest.raises(UserError, match="does not exist"):
        fit(tmp_path / "none.yaml")


def test_a_refused_call_leaves_the_rows_of_the_run_that_is_there(tmp_path, frames):
    """Neither a folder that holds another run nor a misspelt flag changes or leaves anything."""
    train, validation = frames
    done = fit(RECIPE, train_file=train, validation_file=validation, output_dir=tmp_path / "run")
    before = (done.output_dir / "data/train.jsonl").read_bytes()
    with pytest.raises(UserError, match="already holds another run"):
        fit(RECIPE, train_file=train[:40], validation_file=validation, output_dir=tmp_path / "run")
    with pytest.raises(UserError, match="holds a run on other rows"):
        fit(
            RECIPE,
            train_file=train[:40],
            validation_file=validation,
            output_dir=tmp_path / "run",
            resume_from_checkpoint=True,
        )
    assert (done.output_dir / "data/train.jsonl").read_bytes() == before
    with pytest.raises(UserError, match="focal_gama.*focal_gamma"):
        fit(RECIPE, train_file=train, focal_gama=2, output_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    bad = train.assign(label=["one"] * len(train))
    with pytest.raises(UserError, match="one class only"):
        fit(RECIPE, train_file=bad, validation_file=validation, output_dir=tmp_path / "new")
    fit(RECIPE, train_file=train, validation_file=validation, output_dir=tmp_path / "new")


def test_one_text_is_not_a_list_of_texts(topic_checkpoint):
    """Else there would be an answer for each character."""
    predictor = load_predictor(topic_checkpoint)
    for answer in (
        predictor.predict,
        predictor.predict_iter,
        predictor.logits,
        predictor.logits_iter,
    ):
        with pytest.raises(UserError, match="expected a list of texts, got one text: 'a goal'"):
            answer("a goal")


@pytest.mark.parametrize("item", [None, 1.5, float("nan"), {"text": "hi"}, ("a", "b")])
def test_what_is_no_text_is_named_by_its_number(topic_checkpoint, item):
    """A cell of a data frame that is empty is NaN; a pair would be read as two sentences."""
    predictor = load_predictor(topic_checkpoint)
    for answer in (
        predictor.predict,
        predictor.logits,
        lambda texts: list(predictor.predict_iter(iter(texts))),
    ):
        with pytest.raises(UserError, match="^text 2: expected a text, got "):
            answer(["a goal", item])
    with pytest.raises(
        UserError, match="expected a list of texts, got a mapping with the keys 'text'"
    ):
        predictor.predict({"text": "a goal"})


def test_importing_the_package_stays_light():
    """`from trainer_ext import load_predictor` loads neither torch nor transformers."""
    heavy = "[name for name in ('torch', 'transformers') if name in sys.modules]"
    code = f"import sys; from trainer_ext import load_predictor; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_cells_that_json_does_not_know(tmp_path):
    cells = [
        np.array([1, 0, 1]),
        {"b", "a"},
        pandas.NA,
        pandas.NaT,
        ("a", "b"),
        np.float32(1.5),
        pandas.Timestamp("2020-01-02"),
    ]
    write_table(
        pandas.DataFrame({"text": ["t"] * len(cells), "labels": cells}),
        tmp_path / "rows.jsonl",
        "train_file",
    )
    written = [
        json.loads(line)["labels"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()
    ]
    assert written == [[1, 0, 1], ["a", "b"], None, None, ["a", "b"], 1.5, "2020-01-02 00:00:00"]


def test_what_a_run_has(tmp_path, frames):
    """The trainer, what it logged, and answers; from a `DatasetDict` that holds all splits."""
    splits = DatasetDict(
        {"train": Dataset.from_pandas(frames[0]), "dev": Dataset.from_pandas(frames[1])}
    )
    run = fit(RECIPE, train_file=splits, output_dir=tmp_path / "o", logging_steps=1)
    assert run.trainer.state.global_step == 4 and run.trainer.train_dataset is not None
    assert [entry["step"] for entry in run.history if "eval_f1_macro" in entry] == [2, 4]
    (answer,) = run.predict(["a goal"])
    assert answer == load_predictor(run.output_dir).predict(["a goal"])[0]
    assert run.predict(frames[1])[0]["label"] in CLASSES
    assert {path.name for path in (tmp_path / "o/data").iterdir()} == {
        "train.jsonl",
        "validation.jsonl",
    }


ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "x"), ("b", "y")],
        {"text": ["a", "b"], "label": ["x", "y"]},
        {"text": np.array(["a", "b"]), "label": pandas.Series(["x", "y"])},
        {"text": ("a", "b"), "label": ("x", "y")},
        pandas.DataFrame(ROWS),
        list(pandas.DataFrame(ROWS).itertuples(index=False)),
        iter(ROWS),
        zip(["a", "b"], ["x", "y"]),  # noqa: B905
    ],
    ids=[
        "tuples",
        "lists",
        "arrays",
        "tuples of columns",
        "frame",
        "named tuples",
        "iterator",
        "zip",
    ],
)
def test_forms_of_rows(tmp_path, rows):
    """All the same file."""
    write_table(rows, tmp_path / "a.jsonl", "train_file")
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == ROWS


@pytest.mark.parametrize(
    "rows, message",
    [
        ([("a", "x", "y")], "train_file, row 1: 3 values for the columns text, label"),
        (
            {"text": ["a", "b"], "label": ["x"]},
            "train_file: a mapping must hold lists of the same length; got 'text': 2",
        ),
        (
            {"text": "a", "label": ["x"]},
            "train_file: a mapping must hold lists of the same length; got 'text': str",
        ),
        (["a"], "train_file, row 1: expected a mapping of columns to values, got str"),
        (7, "train_file: expected a file or rows, got int"),
    ],
)
def test_what_is_no_table(tmp_path, rows, message):
    """Named by its row."""
    with pytest.raises(UserError, match=message):
        write_table(rows, tmp_path / "a.jsonl", "train_file")


def test_tuples_by_the_flags(tmp_path):
    """The text, then the label columns, as the flags call them."""
    assert columns_of_tuples({"text_column": "t"}, {"label_columns": ["a", "b"]}) == ["t", "a", "b"]
    assert columns_of_tuples({}, {"label_columns": "a"}) == ["text", "a"]


def test_splits_of_a_data_set(frames):
    """Those that are given beside it win; without a training split there is nothing to train on."""
    data = Dataset.from_pandas(frames[1])
    flags = divide_splits(
        {"train_file": DatasetDict({"train": data, "test": data}), "test_file": "t.csv"}, {}
    )
    assert flags == {"train_file": data, "test_file": "t.csv"}
    with pytest.raises(UserError, match="train_file has the splits test, but no train"):
        divide_splits({"train_file": DatasetDict({"test": data})}, {})


class WithoutProgress(doctest.OutputChecker):
    """Let a step print what it likes on its way if the example does not say what it shows."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def run_examples(*functions) -> None:
    """Run the examples in docstrings, in order."""
    runner = doctest.DocTestRunner(WithoutProgress())
    for function in functions:
        (example,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__)
        runner.run(example)
    assert runner.tries > 3 and runner.failures == 0


def test_the_examples_run(tmp_path, monkeypatch):
    """Of `fit`, of `export` on the model that the one of `fit` leaves, and of `load_predictor` on what that leaves."""
    monkeypatch.chdir(tmp_path)
    run_examples(api.fit, export, load_predictor)


@pytest.mark.slow
def test_the_example_of_a_cross_validation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples(api.cross_validate)


@until_4
def test_keywords_are_those_of_the_dataclasses():
    """What editors complete from: `python docs/write_keywords.py` brings it up to date."""
    path = ROOT / "docs" / "write_keywords.py"
    spec = importlib.util.spec_from_file_location("write_keywords", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGET.read_text(encoding="utf-8") == script.source()
    assert "Unpack" in str(inspect.signature(fit))


@pytest.mark.slow
def test_export_is_a_function_before_and_after_its_room_is_imported():
    """`trainer_ext.export` is a folder of the package too, which takes the name when it is first imported."""
    code = (
        "from trainer_ext import CustomTrainer, cross_validate, export, fit, load_predictor\n"
        "import trainer_ext.export.run\n"
        "from trainer_ext import export as later\n"
        "for function in (export, later):\n"
        "    try: function('nothing-there', 'out')\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert done.stdout == "UserError\n" * 2


def test_cross_validate_has_five_folds_unless_told(monkeypatch, tmp_path):
    """The recipe's number wins over the default, the keyword over both."""
    asked = []
    monkeypatch.setattr(api, "run", lambda args, changes: asked.append(args.folds.folds) or {})
    rows = [("a text", "a"), ("another", "b")]
    for recipe, folds in (({}, None), ({"folds": 3}, None), ({"folds": 3}, 2)):
        api.cross_validate(
            RECIPE | recipe, folds, train_file=rows, output_dir=tmp_path / f"{len(asked)}"
        )
    assert asked == [5, 3, 2]
