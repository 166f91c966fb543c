"""The W&B run around a training, with the real client, offline."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_ext.tracking.server import has_api_key

from ..conftest import ROOT, run_script

RUN = """
import sys
from trainer_ext.parsing import parse
from trainer_ext.tracking.run import tracked_run
args = parse(sys.argv[1:])
with tracked_run(args) as run:
    print("mode", None if run is None else run.settings.mode, flush=True)
    if run is not None:
        print("config", run.config["rdrop_alpha"], run.config["learning_rate"], run.name, run.group, flush=True)
    if "fail" in args.training.run_name:
        raise RuntimeError("training broke")
"""


@pytest.fixture
def flags(topic_flags, tmp_path):
    return [
        *topic_flags,
        "--rdrop_alpha",
        "2",
        "--report_to",
        "wandb",
        "--run_group",
        "g",
        "--output_dir",
        tmp_path / "o",
    ]


def open_run(flags, tmp_path, **env):
    """The code above in a process of its own, with no key and nothing of this machine's W&B settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    clean |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc"), "WANDB_DIR": str(tmp_path), **env}
    command = [sys.executable, "-c", RUN, *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=120)


def test_offline_without_a_key_with_the_resolved_config(flags, tmp_path):
    done = open_run([*flags, "--run_name", "first"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, sync = done.stdout.splitlines()
    assert lines == ["mode offline", "config 2 0.005 first g"]
    assert Path(sync.split("`")[1].removeprefix("wandb sync ")).is_dir()
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb")), "`wandb sync` has something to bring up"


def test_it_is_finished_when_the_training_breaks(flags, tmp_path):
    done = open_run([*flags, "--run_name", "fail"], tmp_path)
    assert done.returncode == 1 and "training broke" in done.stderr
    log = "".join(path.read_text() for path in tmp_path.glob("wandb/offline-run-*/logs/debug.log"))
    assert "finishing run" in log


def test_off_on_request(flags, tmp_path):
    assert open_run([*flags, "--run_name", "x", "--report_to", "none"], tmp_path).stdout == "mode None\n"
    assert open_run([*flags, "--run_name", "x"], tmp_path, WANDB_MODE="disabled").stdout == "mode None\n"
    assert not (tmp_path / "wandb").exists()


def test_a_server_that_is_not_there_does_not_end_the_training(flags, tmp_path):
    env = {"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    done = open_run([*flags, "--run_name", "x"], tmp_path, **env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on offline" in done.stdout and "mode offline" in done.stdout


def test_training_logs_every_term_into_the_run(topic_flags, tmp_path):
    env = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    flags = ["--report_to", "wandb", "--rdrop_alpha", "1", "--max_steps", "6", "--output_dir", tmp_path / "out"]
    done = run_script("train.py", *topic_flags, *flags, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("wandb/offline-run-*/*.wandb"))
    for name in (b"train/loss_rdrop", b"train/loss_cross_entropy", b"eval/f1_macro", b"layer_wise_lr_decay"):
        assert name in stored, name


def test_has_api_key(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_api_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_api_key()
