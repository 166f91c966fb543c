"""Three folds with the real W&B client: three runs, three artifacts, and predictions from the server alone."""

import csv
import json

import pytest

from tests.conftest import ROOT, run_ok
from tests.tracking.conftest import client, train_one
from tests.wandb_server import ENTITY, KEY, PROJECT
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.tracking.artifacts.store import Store

FILES = {
    *(
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
    *("metrics.json", "README.md", "resolved_config.yaml"),
}
if not TRANSFORMERS_5:  # which has it all in tokenizer_config.json
    FILES.add("special_tokens_map.json")
FLAGS = {"folds": 3, "rdrop_alpha": 1.0, "focal_gamma": 2.0, "run_tags": ["mine"]}


@pytest.fixture(scope="module")
def folds(server, topic_files, tmp_path_factory):
    """home, and the metrics of the three folds of `topics`."""
    home = tmp_path_factory.mktemp("folds")
    with client(server, home):
        return home, [train_one(topic_files, home / "topics", fold=k, **FLAGS) for k in range(3)]


def test_a_run_per_fold(server, folds):
    """Group, names, tags and config; every loss term by step; the best metric; matrix and examples."""
    home, metrics = folds
    runs = sorted(server.runs.values(), key=lambda run: run["displayName"])
    assert [run["displayName"] for run in runs] == [f"topics-fold-{k}" for k in range(3)]
    for run, fold in zip(runs, metrics, strict=True):
        assert (run["groupName"], run["jobType"], run["state"]) == ("topics", "train", "finished")
        assert run["tags"] == ["tiny-scratch", "single_label", "focal", "rdrop", "mine"]
        assert run["config"]["focal_gamma"]["value"] == 2
        names = {name for row in run["history"] for name in row}
        assert {"train/loss_rdrop", "train/loss_focal", "train/loss", "eval/f1_macro"} <= names
        assert run["summary"]["eval_f1_macro"] == fold["eval_f1_macro"]
        assert "confusion_matrix_table" in run["summary"] and "examples" in run["summary"]
        assert {"report", "plots/reliability", "report/hardest"} <= set(run["summary"])
        (table,) = [
            json.loads(data) for name, data in run["files"].items() if "table/examples" in name
        ]
        assert (
            table["columns"] == ["text", "label", "label (predicted)"] and len(table["data"]) == 32
        )


def test_an_artifact_per_fold(server, folds):
    """Names, aliases and metadata; what loads the model and nothing else."""
    home, metrics = folds
    names = [f"topics-fold-{k}" for k in range(3)]
    values = [fold["eval_f1_macro"] for fold in metrics]
    assert server.models() == names
    best = values.index(max(values))
    for k, name in enumerate(names):
        assert [server.alias(name, alias) for alias in ("latest", "best")] == [0, 0]
        assert (server.alias(name, "best-fold") == 0) == (k == best)
        metadata = json.loads(server.version(name, 0)["metadata"])
        assert (metadata["metric_name"], metadata["metric_value"]) == ("f1_macro", values[k])
        assert (metadata["fold"], metadata["task"], len(metadata["data_hash"])) == (
            k,
            "single_label",
            64,
        )
        assert set(server.contents(name, 0)) == FILES
        assert (
            server.contents(name, 0)["model.safetensors"]
            == (home / f"topics/fold-{k}/model.safetensors").read_bytes()
        )
    store = Store(home / "store")
    assert store.names() == names and "best-fold" in store.get(f"{names[best]}:best").aliases


def test_no_secret_is_sent_or_written(server, folds):
    """The key is nowhere: neither in configs, files and artifacts, nor on disk."""
    home, _ = folds
    sent = [
        *server.blobs.values(),
        *(data for run in server.runs.values() for data in run["files"].values()),
    ]
    assert len(sent) > 20 and not any(KEY.encode() in data for data in sent)
    assert KEY not in json.dumps([run["config"] for run in server.runs.values()])
    written = [path for path in home.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [path for path in written if KEY.encode() in path.read_bytes()]


def test_staging_is_left_clean(folds):
    """The models wait for no upload in W&B's staging folder: they are read from the store."""
    home, _ = folds
    staged = [path for path in home.rglob("staging/*") if path.is_file()]
    assert sum(path.stat().st_size for path in staged) < 50_000


@pytest.mark.slow
def test_another_process_predicts_from_the_server_alone(server, folds, topic_files, tmp_path):
    """An empty cache, no store, another folder: it reproduces the metric out of fold, and opens no run."""
    home, metrics = folds
    runs, elsewhere = len(server.runs), tmp_path / "elsewhere"
    elsewhere.mkdir()
    with open(home / "topics/folds.csv", newline="") as file:
        dealt = list(csv.DictReader(file))
    lines = topic_files["train"].read_text(encoding="utf-8").splitlines()
    held_out = [line for line, row in zip(lines, dealt, strict=True) if row["fold"] == "1"]
    (elsewhere / "rows.txt").write_text("\n".join(held_out) + "\n", encoding="utf-8")
    model = f"wandb:{ENTITY}/{PROJECT}/topics-fold-1:best"
    env = {**server.environment(tmp_path), "PYTHONPATH": str(ROOT)}
    command = (ROOT / "predict.py", "--model", model, "--input", "rows.txt", "--evaluate")
    run_ok(*command, env=env, cwd=elsewhere)
    again = json.loads((elsewhere / "rows.metrics.json").read_text())
    assert again["eval_f1_macro"] == pytest.approx(metrics[1]["eval_f1_macro"], abs=1e-9)
    assert (
        len(server.runs) == runs
        and not (elsewhere / "wandb").exists()
        and not (tmp_path / "store").exists()
    )


def test_the_same_training_again_is_no_new_version(server, folds, topic_files):
    home, _ = folds
    with client(server, home):
        train_one(topic_files, home / "topics", fold=2, overwrite_output_dir=True, **FLAGS)
    assert len(server.collections["topics-fold-2"]["versions"]) == 1
    assert len(Store(home / "store").versions("topics-fold-2")) == 1
    assert server.alias("topics-fold-2", "best") == 0


def test_the_run_after_the_folds(server, folds, topic_files):
    """`job_type=evaluate` in the same group: summary of cv.json and the table of oof.csv; finished folds are kept."""
    home, metrics = folds
    before = set(server.runs)
    with client(server, home):
        train_one(topic_files, home / "topics", **FLAGS)
    (identity,) = set(server.runs) - before
    run = server.runs[identity]
    assert (run["displayName"], run["groupName"], run["jobType"]) == (
        "topics-cv",
        "topics",
        "evaluate",
    )
    assert run["summary"]["folds/fold-1/f1_macro"] == metrics[1]["eval_f1_macro"]
    assert run["summary"]["mean/f1_macro"] == pytest.approx(
        sum(m["eval_f1_macro"] for m in metrics) / 3
    )
    (table,) = [
        json.loads(data) for name, data in run["files"].items() if "table/predictions" in name
    ]
    assert len(table["data"]) == 96 and table["columns"][:3] == ["row", "fold", "label"]
