"""Several models as one: on models computed by hand."""

import json

import numpy as np
import pytest

from tests.conftest import run_ok, run_script
from tests.inference.conftest import CLASSES, expected_logits, save_model, save_onnx
from trainer_ext.errors import UserError
from trainer_ext.evaluation.scoring import score
from trainer_ext.inference import load_predictor
from trainer_ext.inference.ensemble import NO_REJECTION, EnsemblePredictor
from trainer_ext.inference.folder import warn_once
from trainer_ext.inference.members import expand_braces, members_of
from trainer_ext.inference.memory import free_memory
from trainer_ext.inference.weights import folder_weights
from trainer_ext.tasks.activations import softmax

REPORT = {"chosen": "onnx", "variants": [{"name": "onnx", "file": "model.onnx"}]}
TEXTS = ["good food", "bad staff", "dull", "", "good good dull"]


@pytest.fixture(scope="module")
def cv(tmp_path_factory):
    """fold-0 as it is, fold-1 with the opposite logits, as export.py leaves a folder of folds."""
    folder = tmp_path_factory.mktemp("cv")
    save_model(folder / "fold-0")
    save_onnx(save_model(folder / "fold-1") / "model.onnx", sign=-1)
    (folder / "cv.json").write_text(json.dumps({"weights": {"fold-0": 0.9, "fold-1": 0.1}}))
    return folder


def probabilities(predictor) -> np.ndarray:
    return np.array([list(answer["probabilities"].values()) for answer in predictor.predict(TEXTS)])


def by_hand(*weights: float) -> np.ndarray:
    logits = np.array([expected_logits(text) for text in TEXTS])
    return weights[0] * softmax(logits) + weights[1] * softmax(-logits)


def test_a_folder_of_folds_is_the_mean_of_its_models(cv):
    """And a list of them too, and the pattern."""
    for path in (cv, [cv / "fold-0", cv / "fold-1"], f"{cv}/fold-{{0..1}}"):
        predictor = load_predictor(path)
        assert isinstance(
            predictor, EnsemblePredictor
        ) and predictor.task.label_space.classes == tuple(CLASSES)
        assert np.allclose(probabilities(predictor), by_hand(0.5, 0.5), atol=1e-6)


def test_an_ensemble_says_that_it_does_not_reject(cv, tmp_path, caplog):
    """A threshold of one member's scores means nothing for their mean; the member alone still has it."""
    unsure = {"score": "max_probability", "threshold": 0.1, "rate": 0.05}
    alone = save_model(tmp_path / "unsure", rejection=unsure)
    warn_once.cache_clear()
    assert "rejected" in load_predictor(alone).predict(TEXTS)[0]
    assert NO_REJECTION not in caplog.text
    answers = load_predictor([cv / "fold-0", alone]).predict(TEXTS)
    assert "rejected" not in answers[0] and NO_REJECTION in caplog.text


def test_weighted(cv, tmp_path):
    """With the weights in cv.json."""
    assert np.allclose(
        probabilities(load_predictor(cv, ensemble="weighted")), by_hand(0.9, 0.1), atol=1e-6
    )
    two = [save_model(tmp_path / name) for name in "ab"]
    with pytest.raises(
        UserError, match="weighted needs weights fitted on out-of-fold.*, but .*a is a single model"
    ):
        load_predictor(two, ensemble="weighted")
    unweighted = [save_model(tmp_path / name) for name in ("fold-0", "fold-1")]
    with pytest.raises(UserError, match="but .*cv.json has none"):
        load_predictor(unweighted, ensemble="weighted")
    with pytest.raises(UserError, match="'median' is not one of mean, logits"):
        load_predictor(cv, ensemble="median")


def test_folders_are_weighed_by_their_out_of_fold_predictions(tmp_path):
    """Two folders over the same rows: the one that is right gets more; inside a folder its own weights hold."""
    labels = ["neg", "pos", "neutral", "pos"] * 10
    for name, right in (("good", 0.8), ("bad", 0.1)):
        folder = tmp_path / name
        for k in range(2):
            save_model(folder / f"fold-{k}")
        (folder / "cv.json").write_text(json.dumps({"weights": {"fold-0": 0.75, "fold-1": 0.25}}))
        lines = ["id,fold,label,pred_label,probability_neg,probability_neutral,probability_pos\n"]
        for k, label in enumerate(labels):
            p = [right if c == label else (1 - right) / 2 for c in CLASSES]
            lines.append(f"{k},0,{label},x,{','.join(map(str, p))}\n")
        (folder / "oof.csv").write_text("".join(lines))
    weights = load_predictor([tmp_path / "good", tmp_path / "bad"], ensemble="weighted").weights
    assert sum(weights) == pytest.approx(1) and weights[0] == pytest.approx(0.75, abs=1e-3)
    assert weights[1] / weights[0] == pytest.approx(1 / 3)
    one_by_one = [tmp_path / "good/fold-1", tmp_path / "good/fold-0"]
    assert load_predictor(one_by_one, ensemble="weighted").weights == [0.25, 0.75]
    (tmp_path / "bad/oof.csv").write_text("".join([*lines[:-1], lines[-1].replace("39,", "77,")]))
    with pytest.raises(UserError, match="bad and .*good were validated on different rows"):
        load_predictor([tmp_path / "good", tmp_path / "bad"], ensemble="weighted")
    (tmp_path / "bad/oof.csv").write_text("".join([*lines[:-1], lines[-1].replace("pos", "neg")]))
    with pytest.raises(
        UserError, match="bad and .*good were validated on rows with different labels"
    ):
        load_predictor([tmp_path / "good", tmp_path / "bad"], ensemble="weighted")


def test_out_of_fold_predictions_are_weighed_as_they_are(tmp_path):
    """They are calibrated already: the temperature of the models does not count again."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60)
    for name, skill in (("a", 1.5), ("b", 1.0)):
        p = softmax(skill * np.eye(3)[labels] + generator.normal(size=(60, 3)))
        lines = [
            f"{k},{CLASSES[label]},{','.join(map(str, p[k]))}\n" for k, label in enumerate(labels)
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "oof.csv").write_text(
            "id,label," + ",".join(f"probability_{c}" for c in CLASSES) + "\n"
        )
        with open(tmp_path / name / "oof.csv", "a") as file:
            file.writelines(lines)
    plain, hot = (
        save_model(tmp_path / "x"),
        save_model(tmp_path / "y", calibration={"temperature": 4.0}),
    )
    weights = [
        folder_weights([tmp_path / "a", tmp_path / "b"], str(model)) for model in (plain, hot)
    ]
    assert weights[0] == weights[1] and min(weights[0]) > 0.1


def test_one_after_another_answers_the_same(cv, monkeypatch):
    """Models that do not fit together are loaded in turn for each window of rows, and dropped again."""
    monkeypatch.setattr("trainer_ext.inference.ensemble.ROWS_AT_A_TIME", 2)
    predictor = load_predictor(cv, memory=1)
    assert predictor.members == []
    assert np.allclose(probabilities(predictor), by_hand(0.5, 0.5), atol=1e-6)
    assert free_memory() > 2**20


def test_it_scores_and_streams(cv):
    """The interface of a single predictor."""
    predictor = load_predictor(cv, batch_size=2)
    assert next(predictor.predict_iter(iter(["good"] * 1000)))["probabilities"]
    assert predictor.logits(TEXTS).shape == (5, 3)
    assert predictor.batch_size == 2
    assert predictor.description == "model.onnx on cpu"
    assert score(predictor, TEXTS, [2, 0, 1, 1, 2])["metrics"]["accuracy"] >= 0


def test_different_labels(tmp_path, cv):
    """Refused, naming both."""
    other = save_model(
        tmp_path / "x",
        label_space={"columns": ["label"], "classes": ["a", "b", "c"], "values": ["a", "b", "c"]},
    )
    with pytest.raises(UserError, match="fold-0 and .*x cannot be combined: their"):
        load_predictor([cv / "fold-0", other])


def test_a_single_model_stays_one(cv):
    """No ensemble around it, and nothing to combine."""
    assert not isinstance(load_predictor([cv / "fold-0"]), EnsemblePredictor)
    with pytest.raises(
        UserError, match="ensemble vote is for several models, but there is only .*fold-0"
    ):
        load_predictor(cv / "fold-0", ensemble="vote")


def test_unfinished_folds(tmp_path):
    """The fold file says how many there should be; one that is cut off, without its last file, is none."""
    for k in (1, 2):
        save_model(tmp_path / f"fold-{k}")
    (tmp_path / "fold-1/export_report.json").write_text(json.dumps(REPORT))
    (tmp_path / "folds.json").write_text(json.dumps({"folds": 3, "fold_repeats": 1}))
    with pytest.raises(
        UserError, match="not complete: fold-0, fold-2 not trained or exported to the end"
    ):
        load_predictor(tmp_path)


def test_listed_seeds_answer_and_no_others(tmp_path):
    """All that seeds.json names have to be there; a folder that it does not name is left alone."""
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [7, 2]}))
    for seed in (1, 2, 7):
        save_model(tmp_path / f"seed-{seed}")
        (tmp_path / f"seed-{seed}/metrics.json").write_text("{}")
    assert members_of(str(tmp_path)) == [str(tmp_path / "seed-7"), str(tmp_path / "seed-2")]
    (tmp_path / "seed-7/metrics.json").unlink()
    with pytest.raises(UserError, match="not complete: seed-7 not trained"):
        members_of(str(tmp_path))


def test_order_of_members(tmp_path):
    """By number; other folders are left alone."""
    for name in ("fold-10", "fold-2", "fold-x", "soup"):
        save_model(tmp_path / name)
    assert [name.rpartition("/")[2] for name in members_of(str(tmp_path))] == ["fold-2", "fold-10"]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a-{0..2}", ["a-0", "a-1", "a-2"]),
        ("wandb:e/p/n-{0..1}:best", ["wandb:e/p/n-0:best", "wandb:e/p/n-1:best"]),
        ("{a,b}-{9..10}", ["a-9", "a-10", "b-9", "b-10"]),
        ("plain", ["plain"]),
        ("a{b}", ["a{b}"]),
    ],
)
def test_braces(pattern, expected):
    assert expand_braces(pattern) == expected


def test_predict_py(cv, tmp_path):
    """--model several times, a way to combine, and no torch."""
    out = tmp_path / "o.jsonl"
    argv = [
        "predict.py",
        "--model",
        f"{cv}/fold-0",
        "--model",
        f"{cv}/fold-1",
        "--text",
        "good food",
        "--output",
    ]
    code = f"import runpy, sys; sys.argv = {[*argv, str(out)]}\n"
    code += "try: runpy.run_path('predict.py', run_name='__main__')\n"
    code += "except SystemExit: print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert run_ok("-c", code).stdout.strip() == "[]"
    answer = json.loads(out.read_text())
    assert list(answer["probabilities"].values()) == pytest.approx(
        by_hand(0.5, 0.5)[0].tolist(), abs=1e-6
    )
    done = run_script("predict.py", "--model", cv, "--model", cv / "none", "--text", "x")
    assert (
        done.returncode == 2
        and "none does not exist" in done.stderr
        and "Traceback" not in done.stderr
    )
