"""A cross-validation from a notebook: what it leaves, that it is right, and what happens when it is started again."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, f1_score

from tests.conftest import CLASSES
from tests.cross_validation.conftest import TINY, topic_rows
from trainer_ext import fit, load_predictor
from trainer_ext.arguments.parser import parse, parse_values, write_resolved
from trainer_ext.comparison.job import compare
from trainer_ext.cross_validation.launchers.process import ProcessLauncher
from trainer_ext.cross_validation.members import fold_seed
from trainer_ext.cross_validation.run import prepare
from trainer_ext.cross_validation.side_by_side import SideBySide
from trainer_ext.cross_validation.submission import submit
from trainer_ext.cross_validation.train_members import job_of
from trainer_ext.data.in_memory import write_table
from trainer_ext.errors import UserError
from trainer_ext.tasks.transitions import neighbours


def read_csv(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def weights(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_what_it_leaves(cv):
    """Complete models, and the whole beside them; no file of a run in between."""
    names = {path.name for path in cv.folder.iterdir()}
    assert names == {
        *("fold-0", "fold-1", "folds.csv", "folds.json", "oof.csv", "cv.json", "README.md"),
        *("resolved_config.yaml", "plots", "data", ".trainer_ext.json"),
        *("report.html", "report", "suspects.csv"),
    }
    for name in (
        "config.json",
        "metrics.json",
        "tokenizer.json",
        "resolved_config.yaml",
        "plots/learning_curves.png",
    ):
        assert (cv.folder / "fold-1" / name).is_file(), name
    assert (cv.folder / "plots" / "learning_curves.png").stat().st_size > 10_000


def test_the_report_of_all_folds_judges_every_training_row(cv):
    """Baselines are means over the folds; suspects are named in the file beside the models only."""
    (first, *_), suspects = (
        read_csv(cv.folder / name) for name in ("report/baselines.csv", "suspects.csv")
    )
    assert list(first) == ["metric", "model", "majority", "n-grams"]
    of_folds = [read_csv(cv.folder / f"fold-{k}" / "report" / "baselines.csv") for k in range(2)]
    values = [float(row["n-grams"]) for table in of_folds for row in table[:1]]
    assert float(first["n-grams"]) == pytest.approx(np.mean(values))
    assert {row["split"] for row in suspects} == {"train"}
    assert {row["row_id"] for row in suspects} <= {row["id"] for row in cv.rows}
    assert not (cv.folder / "fold-0" / "suspects.csv").exists()
    assert "out-of-fold predictions of 2 models" in (cv.folder / "report.html").read_text()


def test_oof_is_every_row_once_and_its_metric_is_right(cv):
    """Each row predicted by the model that did not see it; scikit-learn agrees with cv.json."""
    oof, summary = read_csv(cv.folder / "oof.csv"), json.loads((cv.folder / "cv.json").read_text())
    assert [row["id"] for row in oof] == [row["id"] for row in cv.rows]
    assert [row["label"] for row in oof] == [row["label"] for row in cv.rows]
    models = [load_predictor(cv.folder / f"fold-{k}") for k in range(2)]
    for row, given in zip(oof, cv.rows, strict=True):
        answer = models[int(row["fold"])].predict([given["text"]])[0]
        assert answer["label"] == row["pred_label"]
        assert float(row["probability_games"]) == pytest.approx(
            answer["probabilities"]["games"], abs=2e-5
        )
    gold, predicted = ([row[name] for row in oof] for name in ("label", "pred_label"))
    assert summary["oof"]["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert summary["oof"]["f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    of_folds = [
        json.loads((cv.folder / f"fold-{k}/metrics.json").read_text())["eval_accuracy"]
        for k in range(2)
    ]
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(of_folds))
    assert summary["std"]["accuracy"] == pytest.approx(abs(of_folds[0] - of_folds[1]) / 2**0.5)
    assert summary["folds"]["fold-1"]["accuracy"] == of_folds[1] and sum(
        summary["weights"].values()
    ) == pytest.approx(1)
    assert cv.run.metrics["oof_f1_macro"] == summary["oof"]["f1_macro"]


def test_folds_are_compared_as_one_run(cv, tmp_path, capsys):
    """With a copy of themselves: mean and spread are those of cv.json, no row is answered otherwise."""
    copy = tmp_path / "copy"
    shutil.copytree(cv.folder, copy)
    compared = compare([cv.folder, copy])
    summary = json.loads((cv.folder / "cv.json").read_text())
    shown = f"{summary['mean']['f1_macro']:.4f} ± {summary['std']['f1_macro']:.4f}"
    assert capsys.readouterr().out.count(shown) == 2
    measured, _ = compared.judged.metrics
    assert measured.value == pytest.approx(summary["oof"]["f1_macro"])
    (comparison,) = compared.judged.comparisons
    assert comparison.p_bootstrap == comparison.p_mcnemar == 1.0
    assert compared.judged.rows == len(cv.rows) and comparison.only_this == 0


def test_test_rows_that_are_in_the_training_file_are_named_before_anything_trains(tmp_path, caplog):
    """Each fold's own warning is in its log alone."""
    rows = topic_rows(12)
    write_table(rows, tmp_path / "train.jsonl", "")
    known = rows[0] | {"text": rows[0]["text"].upper()}
    new = {"id": "new", "text": "nothing like it", "label": "games"}
    write_table([known, new], tmp_path / "test.jsonl", "")
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}
    flags = {"train_file": files["train"], "test_file": files["test"], "folds": 2}
    args = parse_values(TINY | flags | {"output_dir": str(tmp_path / "cv")}, {})
    prepare(args)
    assert "1 rows of test (50.0%) share their text with a row of train" in caplog.text


def test_duplicates_share_a_fold(cv):
    """And labels are spread."""
    folds = {row["id"]: row["fold"] for row in read_csv(cv.folder / "folds.csv")}
    of_text: dict[str, set] = {}
    for row in cv.rows:
        of_text.setdefault(row["text"], set()).add(folds[row["id"]])
    assert all(len(found) == 1 for found in of_text.values()) and len(of_text) < len(cv.rows)


def test_the_folder_answers_as_the_mean_of_its_folds(cv, tmp_path):
    """Also in the submission, which has the id column and the label column; labelled rows are scored too."""
    rows = topic_rows(7, seed=2)
    texts = [row["text"] for row in rows]
    single = [load_predictor(cv.folder / f"fold-{k}").predict(texts) for k in range(2)]
    answers = load_predictor(cv.run.output_dir).predict(texts)
    for answer, a, b in zip(answers, *single, strict=True):
        mean = {name: (a["probabilities"][name] + b["probabilities"][name]) / 2 for name in CLASSES}
        assert answer["probabilities"] == pytest.approx(mean, abs=2e-6)
    write_table(
        [{"id": row["id"], "text": row["text"]} for row in rows], tmp_path / "test.jsonl", ""
    )
    write_table(rows, tmp_path / "labelled.jsonl", "")
    flags = ["--test_file", str(tmp_path / "test.jsonl")]
    submit(parse([str(cv.folder / "resolved_config.yaml"), *flags]), cv.folder, tmp_path)
    assert read_csv(tmp_path / "submission.csv") == [
        {"id": row["id"], "label": answer["label"]}
        for row, answer in zip(rows, answers, strict=True)
    ]
    assert not (tmp_path / "test_metrics.json").exists()
    flags = ["--test_file", str(tmp_path / "labelled.jsonl")]
    submit(parse([str(cv.folder / "resolved_config.yaml"), *flags]), cv.folder, tmp_path)
    right = [answer["label"] == row["label"] for row, answer in zip(rows, answers, strict=True)]
    assert json.loads((tmp_path / "test_metrics.json").read_text())["accuracy"] == pytest.approx(
        np.mean(right)
    )


def test_each_fold_sees_its_training_part_only(cv):
    """Its card counts rows; its vocabulary and weights are not the other's, and its seed is its own."""
    folds = [row["fold"] for row in read_csv(cv.folder / "folds.csv")]
    card = (cv.folder / "fold-0/README.md").read_text()
    assert f" on {folds.count('1')} rows" in card and f"{folds.count('0')} validation rows" in card
    assert (cv.folder / "fold-0/tokenizer.json").read_bytes() != (
        cv.folder / "fold-1/tokenizer.json"
    ).read_bytes()
    assert [fold_seed(42, k) for k in range(3)] == [42, 1000045, 2000048]
    recipe = yaml.safe_load((cv.folder / "fold-1/resolved_config.yaml").read_text())
    assert recipe["fold"] == 1 and recipe["seed"] == 42 and recipe["output_dir"] == str(cv.folder)


def test_a_fold_of_intents_and_slots_counts_neighbours_in_its_training_rows(tmp_path):
    """The tags are those of all rows."""
    rows = [{"tokens": ["a", f"w{k}"], "slots": [("O", "B-x")[k % 3 == 0], "O"]} for k in range(12)]
    rows = [row | {"intent": "ab"[k % 2]} for k, row in enumerate(rows)]
    flags = {
        name: value
        for name, value in TINY.items()
        if name not in ("task", "id_column", "metric_for_best_model")
    }
    flags |= {
        "max_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
    }
    fit(flags, task="joint", train_file=rows, folds=3, fold=1, output_dir=tmp_path)
    folds = [record["fold"] for record in read_csv(tmp_path / "folds.csv")]
    expected = neighbours(
        row["slots"] for row, fold in zip(rows, folds, strict=True) if fold != "1"
    )
    space = json.loads((tmp_path / "fold-1" / "config.json").read_text())["pipeline"]["label_space"]
    assert {(one, other): count for one, other, count in space["neighbours"]} == expected
    assert space["tags"] == ["O", "B-x"]


def test_started_again_it_trains_nothing(cv, capsys):
    """Finished folds are kept; a fold by itself too. Its result is there again."""
    before = {k: (cv.folder / f"fold-{k}/model.safetensors").stat().st_mtime_ns for k in range(2)}
    again = fit(cv.flags, num_fold_workers=1)
    assert again.metrics == cv.run.metrics
    assert "fold-0: finished before, kept" in capsys.readouterr().err
    one = fit(cv.flags, fold=1)
    assert one.metrics == json.loads((cv.folder / "fold-1/metrics.json").read_text())
    assert before == {
        k: (cv.folder / f"fold-{k}/model.safetensors").stat().st_mtime_ns for k in range(2)
    }


def test_other_data_and_other_flags_are_refused(cv):
    """Before anything is trained, with the first difference."""
    train = cv.folder / "data/train.jsonl"
    kept = train.read_text()
    with pytest.raises(UserError, match="holds a run on other rows"):
        fit(cv.flags, train_file=[*cv.rows[:-1], cv.rows[-1] | {"text": "something else"}])
    assert train.read_text() == kept
    try:
        train.write_text(kept.replace(cv.rows[-1]["text"], "something else"))
        with pytest.raises(
            UserError, match="folds.csv was made for other data, and the rows changed"
        ):
            fit(cv.flags, train_file=str(train))
    finally:
        train.write_text(kept)
    with pytest.raises(
        UserError, match="holds another run: its learning_rate is 0.005, now it is 0.001"
    ):
        fit(cv.flags, learning_rate=1e-3)
    with pytest.raises(UserError, match="its folds is 2, now it is 3"):
        fit(cv.flags, folds=3)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"folds": 2, "seeds": [1, 2]}, "folds 2 and seeds .1, 2. are both given"),
        ({"folds": 1}, "folds 1 is out of range: it must be at least 2"),
        ({"fold": 1, "validation_file": "v"}, "fold 1 has no effect: folds is 0"),
        ({"folds": 2, "fold": 2}, "fold 2 is out of range: it must be at least 0 and at most 1"),
        (
            {"folds": 2, "fold_repeats": 2, "fold": 4},
            "fold 4 is out of range: it must be at least 0 and at most 3",
        ),
        ({"folds": 2, "fold_strategy": "group"}, "fold_strategy group and group_column None"),
        ({"folds": 2, "fold_strategy": "random"}, "invalid choice: 'random'"),
        ({"folds": 2, "soup": True}, "soup true needs rows that no fold was trained"),
        ({"folds": 2, "max_eval_samples": 5}, "max_eval_samples 5 and folds 2"),
        ({"folds": 2, "do_train": False}, "do_train false evaluates one checkpoint"),
        ({"seeds": [1, 1], "validation_file": "v"}, "must differ"),
        (
            {"seeds": [1, 2], "eval_strategy": "no", "load_best_model_at_end": False},
            "seeds .1, 2. are compared on validation rows",
        ),
        (
            {"folds": 2, "resume_from_checkpoint": "x"},
            "resume_from_checkpoint x names one checkpoint",
        ),
        ({"folds": 40}, "folds 40 needs at least 40 different texts or groups, but there are"),
    ],
)
def test_contradictions(tmp_path, flags, message):
    """One line, nothing written."""
    with pytest.raises(UserError, match=message):
        fit(TINY, train_file=topic_rows(36), output_dir=tmp_path / "x", **flags)
    assert not (tmp_path / "x" / "fold-0").exists() and not (tmp_path / "x" / "folds.csv").exists()


def test_stratified_needs_one_label(tmp_path):
    """Targets, aspects and flags go with multilabel_stratified."""
    with pytest.raises(
        UserError, match="stratified is for one label a row, but the task is multi_label"
    ):
        fit(
            TINY,
            task="multi_label",
            train_file=[],
            output_dir=tmp_path,
            folds=2,
            fold_strategy="stratified",
        )


def test_a_token_reaches_the_folds_by_the_environment_alone(tmp_path, monkeypatch):
    """Neither on their command line, which every user of the machine can list, nor in the recipe they read."""
    started = {}

    class Process:
        def __init__(self, command, env, **files):
            started.update(command=command, env=env)

        def wait(self):
            return 1

    monkeypatch.setattr("trainer_ext.cross_validation.launchers.process.subprocess.Popen", Process)
    write_table(topic_rows(12), tmp_path / "train.jsonl", "")
    flags = {
        "train_file": str(tmp_path / "train.jsonl"),
        "output_dir": str(tmp_path / "cv"),
        "folds": 2,
    }
    args = parse_values({}, TINY | flags | {"hub_token": "hf_SECRETsecret123"})
    write_resolved(args, tmp_path / "cv")
    launcher = ProcessLauncher(1, use_cpu=True)
    SideBySide(launcher, str).train_one("fold-0", job_of(args, "fold-0"))
    assert (
        started["env"]["HF_TOKEN"] == "hf_SECRETsecret123"
        and "hf_SECRETsecret123" not in started["command"]
    )
    assert "hf_SECRET" not in (tmp_path / "cv/resolved_config.yaml").read_text()
