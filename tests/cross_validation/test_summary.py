"""What joined folds are scored with, on noise and on models that are only files."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.cross_validation.conftest import TINY
from tests.inference.conftest import CLASSES, save_model
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.cross_fit import cross_fitted
from trainer_ext.cross_validation.summary import Scored, scored_by_folds, summarise
from trainer_ext.data.fold_table import Division, FoldTable
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError
from trainer_ext.evaluation.outputs import OUTPUTS, load_history, load_outputs, save_outputs
from trainer_ext.tasks import TASKS, LabelSpace

FOLDS, ROWS = 3, 90
SPACE = LabelSpace(("label",), tuple(CLASSES), tuple(CLASSES))


def save(folder, task, logits, labels) -> None:
    """As a run saves its outputs; the hashes are not looked at here."""
    scored = {"metrics": {}, "logits": logits, "labels": labels}
    save_outputs(folder, task, scored, np.zeros((len(labels), 16), dtype=np.uint8))


def of_noise(folder, name: str, what: str, repeats: int = 1):
    """`cv.json`, the rows of oof.csv, logits and labels of folds whose logits have nothing to do with the labels."""
    generator, task = np.random.default_rng(0), TASKS[name](SPACE)
    if name == "single_label":
        labels = generator.choice(3, ROWS, p=[0.1, 0.2, 0.7])
        rows = [Row({"review": "a", "label": CLASSES[k]}, "x") for k in labels]
    else:
        labels = (generator.random((ROWS, 3)) < [0.1, 0.3, 0.5]).astype(int)
        rows = [
            Row(
                {
                    "review": "a",
                    "label": [c for c, there in zip(CLASSES, row, strict=True) if there],
                },
                "x",
            )
            for row in labels
        ]
    logits = generator.normal(size=(repeats, ROWS, 3))
    parts = {}
    for k in range(FOLDS * repeats):
        repeat, fold = divmod(k, FOLDS)
        parts[f"fold-{k}"] = part = (
            np.arange(fold, ROWS, FOLDS) if repeat == 0 else np.arange(ROWS)[fold * 30 :][:30]
        )
        own = task.fit_calibration(logits[repeat][part], labels[part], what)
        member = save_model(folder / f"fold-{k}", name, calibration=own.to_dict())
        save(member, task, logits[repeat][part], labels[part])
        (member / "metrics.json").write_text(
            json.dumps({"eval_f1_macro": 1.0, "test_f1_macro": 0.5})
        )
    (folder / "train.jsonl").write_text("")
    flags = TINY | {
        "task": name,
        "text_column": "review",
        "calibrate": what,
        "folds": FOLDS,
        "fold_repeats": repeats,
    }
    args = parse_values({}, flags | {"train_file": folder / "train.jsonl", "output_dir": folder})
    folds = None if repeats > 1 else (np.arange(ROWS) % FOLDS).tolist()
    scored = Scored(rows, None, list(map(str, range(ROWS))), folds, parts)
    summary = summarise(args, scored, {}).summary
    with open(folder / "oof.csv", newline="") as file:
        return summary, list(csv.DictReader(file)), logits[0], labels


def fitted_elsewhere(task, logits, labels, fold: int, what: str):
    others = np.arange(ROWS) % FOLDS != fold
    return type(task)(task.label_space, task.fit_calibration(logits[others], labels[others], what))


@pytest.mark.parametrize("what", ["thresholds", "both"])
@pytest.mark.parametrize("name", ["single_label", "multi_label"])
def test_no_row_is_decided_by_what_was_fitted_on_it(tmp_path, name, what):
    """Each by what the rows of the other folds say: predictions, probabilities, and all metrics."""
    summary, oof, logits, labels = of_noise(tmp_path, name, what)
    task, predicted, of_folds = TASKS[name](SPACE), np.zeros_like(labels), []
    for fold in range(FOLDS):
        part = np.arange(fold, ROWS, FOLDS)
        other = fitted_elsewhere(task, logits, labels, fold, what)
        predicted[part] = other.predictions(logits[part])
        p = other.probabilities(logits[part], other.calibration.temperature)
        assert [float(oof[k]["probability_pos"]) for k in part] == pytest.approx(
            p[:, 2].tolist(), abs=1e-6
        )
        scores = other.compute_metrics(logits[part], labels[part]) | other.calibration_metrics(
            logits[part], labels[part]
        )
        assert summary["folds"][f"fold-{fold}"] == scores | {"test_f1_macro": 0.5}
        of_folds.append(scores["f1_macro"])
    assert summary["oof"]["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert summary["mean"]["f1_macro"] == pytest.approx(np.mean(of_folds))
    names = [CLASSES[k] for k in predicted] if name == "single_label" else None
    names = names or [
        json.dumps([c for c, there in zip(CLASSES, row, strict=True) if there]) for row in predicted
    ]
    assert [row["pred_label"] for row in oof] == names
    own = np.zeros_like(labels)
    for fold in range(FOLDS):
        part = np.arange(fold, ROWS, FOLDS)
        flattering = task.fit_calibration(logits[part], labels[part], what)
        own[part] = type(task)(SPACE, flattering).predictions(logits[part])
    assert summary["oof"]["f1_macro"] < f1_score(labels, own, average="macro") - 0.02


def test_repeats_are_fitted_each_by_itself(tmp_path):
    """A row has a model in each of them, and the mean of their biases."""
    summary, oof, *_ = of_noise(tmp_path, "single_label", "both", repeats=2)
    assert len(summary["folds"]) == 2 * FOLDS and len(oof) == ROWS and "fold" not in oof[0]
    assert 0 < summary["oof"]["f1_macro"] < 0.6


def test_a_fold_is_fitted_on_the_others_of_its_own_repeat():
    """Those of another repeat hold the very rows that it decides."""
    generator, task, names = (
        np.random.default_rng(0),
        TASKS["single_label"](SPACE),
        [f"fold-{k}" for k in range(4)],
    )
    logits = {name: generator.normal(size=(30, 3)) for name in names}
    labels = {name: generator.integers(0, 3, 30) for name in names}
    fitted = cross_fitted(dict.fromkeys(names, task), logits, labels, "both", 2)
    for name, other in zip(names, ("fold-1", "fold-0", "fold-3", "fold-2"), strict=True):
        assert fitted[name].calibration == task.fit_calibration(
            logits[other], labels[other], "both"
        )


def test_weights_are_one_over_the_loss_of_each_fold(tmp_path):
    """With the temperature that the rows of the other folds say."""
    summary, _, logits, labels = of_noise(tmp_path, "single_label", "both")
    losses = []
    for fold in range(FOLDS):
        part = np.arange(fold, ROWS, FOLDS)
        other = fitted_elsewhere(TASKS["single_label"](SPACE), logits, labels, fold, "both")
        losses.append(other.nll(logits[part], labels[part], other.calibration.temperature))
    expected = 1 / np.array(losses)
    assert list(summary["weights"].values()) == pytest.approx(expected / expected.sum())


def test_augmented_rows_between_the_others_take_no_place():
    ids, original = ["1", "2", "3", "4"], np.array([True, False, True, True])
    division = Division("", 4, 2, "stratified", None, 1, 42)
    table = FoldTable(None, ids, np.array([[0, 0, 1, 0]]), original, division)
    scored = scored_by_folds(table, [Row({"text": name}, "x") for name in ids])
    assert [row.values["text"] for row in scored.rows] == scored.ids == [
        "1",
        "3",
        "4",
    ] and scored.folds == [0, 1, 0]
    assert {name: part.tolist() for name, part in scored.parts.items()} == {
        "fold-0": [0, 2],
        "fold-1": [1],
    }


def test_damaged_outputs(tmp_path):
    """Named, with what to do: cut off, empty, or something else."""
    task = TASKS["single_label"](SPACE)
    save(tmp_path, task, np.zeros((50, 3)), np.zeros(50, dtype=int))
    whole = (tmp_path / OUTPUTS).read_bytes()
    for damaged in (
        whole[:200],
        whole[:-100],
        b"",
        b"PK\x03\x04",
        b"text",
        whole.replace(b"\0" * 64, b"\1" * 64),
    ):
        (tmp_path / OUTPUTS).write_bytes(damaged)
        with pytest.raises(
            UserError, match="validation_outputs.npz cannot be read .*; remove .* and run the same"
        ):
            load_outputs(tmp_path, task)
    (tmp_path / "history.json").write_text("[{")
    with pytest.raises(UserError, match="history.json is not valid JSON"):
        load_history(tmp_path)
