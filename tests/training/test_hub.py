"""`--push_to_hub` against a server on loopback that speaks the Hub's HTTP: what arrives, and what must not."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.conftest import run_script
from tests.hub_server import TOKEN, HubServer
from trainer_ext import load_predictor
from trainer_ext.arguments.parser import parse_values
from trainer_ext.errors import RunError
from trainer_ext.redaction import public
from trainer_ext.reports.cards import ModelFacts
from trainer_ext.reports.eval_results import result_file, write_result
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.training.hub import push_run, stage_checkpoint, without_places

ROWS = {"train": 2, "validation": 1, "test": 0}
TEXTS = ["goal match team", "stock bank price", "level player quest"]


@pytest.mark.slow
def test_a_run_arrives_whole_and_nothing_of_the_machine_with_it(topic_flags, tmp_path):
    """Checkpoints while it trains, then model, card and recipe; downloaded, it answers as the folder does."""
    out = tmp_path / "secret-place" / "topics"
    flags = [
        *topic_flags,
        "--max_steps",
        "12",
        "--push_to_hub",
        "true",
        "--hub_always_push",
        "true",
    ]
    flags += ["--hub_model_id", "me/topics", "--hub_token", TOKEN, "--output_dir", out]
    with HubServer() as server:
        done = run_script("train.py", *flags, env=server.environment(tmp_path / "home"))
        assert done.returncode == 0, done.stderr[-2000:]
        messages = [message for _, message, _ in server.commits]
        assert messages == [
            "Training in progress, step 6",
            "Training in progress, step 12",
            "End of training",
        ]
        files = server.files("me/topics")
    folder = tmp_path / "downloaded"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert load_predictor(folder).predict(TEXTS) == load_predictor(out).predict(TEXTS)
    assert {"model.safetensors", "tokenizer.json", "metrics.json", "README.md"} <= set(files)
    assert {"resolved_config.yaml", "plots/learning_curves.png"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".npz", ".log", ".pt"))]
    for name, content in files.items():
        for secret in (TOKEN, str(tmp_path), "secret-place"):
            assert secret.encode() not in content, (name, secret)
    card = ModelCard(files["README.md"].decode())
    assert card.data.eval_results and card.data.model_name == "topics"
    assert "trainer-ext predict --model topics" in card.text
    recipe = yaml.safe_load(files["resolved_config.yaml"])
    assert recipe["train_file"] == "train.txt" and recipe["max_steps"] == 12
    assert json.loads(files["metrics.json"])["best_step"] in (6, 12)


def test_what_a_checkpoint_says_becomes_public(tmp_path):
    """Paths to their last part, in the Trainer's state, in the flags and in the config."""
    (tmp_path / "config.json").write_text(
        json.dumps({"_name_or_path": str(tmp_path), "encoder": {"_name_or_path": "bert-base"}})
    )
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"best_model_checkpoint": f"{tmp_path}/checkpoint-3", "log_history": []})
    )
    (tmp_path / "optimizer.pt").write_bytes(b"0")
    stage = stage_checkpoint(tmp_path)
    assert json.loads((stage / "config.json").read_text()) == {
        "encoder": {"_name_or_path": "bert-base"}
    }
    state = json.loads((stage / "trainer_state.json").read_text())
    assert state == {"best_model_checkpoint": "checkpoint-3", "log_history": []}
    assert (stage / "optimizer.pt").is_file()


def test_public_flags(tmp_path, monkeypatch):
    """Places lose their folders, secrets are left out, names on the Hub and classes stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    values = {
        "train_file": "../data/train.csv",
        "output_dir": "outputs/x",
        "model_name_or_path": "someone/encoder",
        "teacher": ["runs/teacher", "someone/teacher"],
        "label_names": ["/", "runs/teacher"],
        "hub_token": "hf_x",
        "run_name": "with very-secret-value",
        "max_length": 64,
    }
    assert public(values) == {
        "train_file": "train.csv",
        "output_dir": "x",
        "model_name_or_path": "someone/encoder",
        "teacher": ["teacher", "someone/teacher"],
        "label_names": ["/", "runs/teacher"],
        "run_name": "with ***",
        "max_length": 64,
    }
    assert without_places({"name_or_path": "someone/encoder"}) == {
        "name_or_path": "someone/encoder"
    }


def test_a_hub_that_does_not_answer(facts, monkeypatch):
    """One line that says where the model is; nothing is left behind."""
    (facts.folder / "config.json").write_text("{}")
    staged = facts.folder / "staged"
    monkeypatch.setattr("trainer_ext.training.hub.mkdtemp", lambda prefix: made(staged))
    flags = SimpleNamespace(hub_token=None, hub_revision=None)
    trainer = SimpleNamespace(hub_model_id="me/x", args=flags, _finish_current_push=lambda: None)
    with pytest.raises(RunError, match="^push_to_hub: .*complete in .*resume_from") as error:
        push_run(trainer, facts)
    assert "\n" not in str(error.value) and not staged.exists()


def made(folder):
    folder.mkdir()
    return str(folder)


@pytest.fixture
def facts(tmp_path) -> ModelFacts:
    """Of a model of a data set of the Hub."""
    flags = {"dataset_name": "someone/reviews", "from_scratch": "tiny", "save_strategy": "no"}
    args = parse_values(flags | {"output_dir": str(tmp_path)}, {})
    task = TASKS["single_label"](LabelSpace(("label",), ("a", "b"), ("a", "b")))
    return ModelFacts(tmp_path, args, task, {"eval_f1_macro": 0.25, "best_step": 3}, ROWS, True)


@pytest.mark.parametrize(
    "metrics, value, split", [({"test_f1_macro": 0.5}, 0.5, "test"), ({}, 0.25, "validation")]
)
def test_a_score_for_the_hubs_leaderboards(metrics, value, split, facts):
    """As docs/hub/eval-results.md of the Hub's documentation has it; of a file there is none."""
    facts = replace(facts, metrics=facts.metrics | metrics)
    write_result(facts, "2026-01-02")
    written = (facts.folder / ".eval_results" / "someone_reviews.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written) == [
        {
            "dataset": {"id": "someone/reviews", "task_id": "default"},
            "value": value,
            "date": "2026-01-02",
            "notes": f"f1_macro, split {split}",
        }
    ]
    facts.args.data.dataset_name = None
    assert result_file(facts) is None
