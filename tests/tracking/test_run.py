"""The W&B run around a training, with the real client, in this process; names, tags, and what the environment says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerState
from transformers.integrations import WandbCallback

from tests.conftest import run_ok
from tests.tracking.conftest import client
from tests.wandb_server import WandbServer
from trainer_ext.api import environment_kept
from trainer_ext.arguments.parser import parse, parse_values, write_resolved
from trainer_ext.tracking.identity import identify, tags
from trainer_ext.tracking.run import run_to_resume, tracked_run
from trainer_ext.tracking.server import answers, check_reachable, has_api_key


@pytest.fixture
def args(topic_flags, tmp_path):
    flags = [
        "--rdrop_alpha",
        "2",
        "--report_to",
        "wandb",
        "--run_group",
        "g",
        "--run_name",
        "first",
    ]
    return parse([*map(str, topic_flags), *flags, "--output_dir", str(tmp_path / "o")])


@pytest.fixture
def no_key(tmp_path):
    """A client without a key, and nothing of this machine's settings."""
    with WandbServer() as server, client(server, tmp_path, NETRC=str(tmp_path / ".netrc")):
        del os.environ["WANDB_MODE"], os.environ["WANDB_API_KEY"]
        yield server


def test_offline_without_a_key_with_the_resolved_config(args, no_key, tmp_path, capsys):
    with tracked_run(args) as run:
        assert run.settings.mode == "offline"
        assert (run.config["rdrop_alpha"], run.config["learning_rate"]) == (2, 0.005)
        assert run.config["precision"] == "float32"
        assert (run.name, run.group, run.job_type, run.project) == (
            "first",
            "g",
            "train",
            "project",
        )
        assert run.tags == ("tiny-scratch", "single_label", "rdrop")
    command = capsys.readouterr().err.split("`")[1]
    assert Path(command.removeprefix("wandb sync ")).is_dir() and list(
        Path(command.split()[-1]).glob("run-*.wandb")
    )
    assert not no_key.requests


def test_it_is_finished_when_the_training_breaks(args, no_key, tmp_path):
    with pytest.raises(RuntimeError, match="training broke"), tracked_run(args):
        raise RuntimeError("training broke")
    log = "".join(path.read_text() for path in tmp_path.glob("wandb/offline-run-*/logs/debug.log"))
    assert "finishing run" in log


def test_off_on_request(args, no_key, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracked_run(args) as run:
        assert run is None
    monkeypatch.delenv("WANDB_MODE")
    args.training.report_to = []
    with tracked_run(args) as run:
        assert run is None
    assert not (tmp_path / "wandb").exists()


def test_variables_of_wandb_keep_their_meaning(args, tmp_path):
    """Flags win over them; one `WANDB_RUN_ID` for all folds does not put these into one run."""
    named = {
        "WANDB_NAME": "env-name",
        "WANDB_RUN_GROUP": "env-group",
        "WANDB_TAGS": "a,b",
        "WANDB_JOB_TYPE": "tuning",
    }
    args.training.run_group = None
    with WandbServer() as server, client(server, tmp_path, WANDB_RUN_ID="fixed", **named):
        with tracked_run(args) as run:
            assert (run.name, run.group, run.job_type) == ("first", "env-group", "tuning")
            assert run.tags[-2:] == ("a", "b") and run.id == "fixed-train"
        assert server.runs["fixed-train"]["state"] == "finished"


@pytest.mark.slow
def test_importing_the_trainer_prints_nothing():
    """transformers says on standard output, which answers may go to, that W&B is offline, tracked or not."""
    code = "import trainer_ext; from transformers.integrations.integration_utils import WandbCallback; print(True)"
    assert run_ok("-c", code, env={"WANDB_MODE": "offline"}).stdout == "True\n"


def named(monkeypatch, folder="outputs/essays", environment=(), **flags):
    """`identify` for flags and W&B variables."""
    for name in ("WANDB_NAME", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in dict(environment).items():
        monkeypatch.setenv(name, value)
    recipe = {
        "task": "regression",
        "label_columns": ["a"],
        "from_scratch": "tiny",
        "train_file": __file__,
    }
    with environment_kept():
        args = parse_values({**recipe, "output_dir": folder, "report_to": "none"}, flags)
    identity = identify(args)
    return identity.run, identity.group, identity.artifact, identity.fold


def test_names(monkeypatch, tmp_path):
    """A single run by its folder; folds by the group; seeds likewise; what W&B does not take leaves a hash."""
    assert named(monkeypatch) == ("essays", None, "essays", None)
    assert named(monkeypatch, run_name="my run") == ("my run", None, "my-run-d33e7609", None)
    assert named(monkeypatch, environment={"WANDB_NAME": "x"}) == ("x", None, "x", None)
    whole = {"folds": 3, "eval_strategy": "epoch"}
    assert named(monkeypatch, **whole) == ("essays", "essays", "essays", None)
    fold = {"folder": "outputs/essays/fold-2", **whole}
    assert named(monkeypatch, **fold) == ("essays-fold-2", "essays", "essays-fold-2", 2)
    assert named(monkeypatch, **fold, run_group="g") == ("g-fold-2", "g", "g-fold-2", 2)
    assert named(monkeypatch, **fold, run_group="g", run_name="n") == (
        "n-fold-2",
        "g",
        "g-fold-2",
        2,
    )
    assert named(monkeypatch, **fold, environment={"WANDB_RUN_GROUP": "e"}) == (
        "e-fold-2",
        "e",
        "e-fold-2",
        2,
    )
    both = [
        named(monkeypatch, folder=f"{folder}/fold-1", **whole)[2] for folder in ("酒店", "手机")
    ]
    assert len(set(both)) == 2 and all(name.endswith("-fold-1") for name in both)
    assert named(monkeypatch, "outputs/fold-2") == ("fold-2", None, "fold-2", None), (
        "only a folder that is called so"
    )


def test_tags(args):
    args.objective.focal_gamma, args.training.adversarial, args.training.run_tags = (
        2.0,
        "fgm",
        ["x" * 99, "rdrop"],
    )
    args.model.model_name_or_path = "hub/encoder-base"
    assert tags(args) == ["encoder-base", "single_label", "focal", "rdrop", "fgm", "x" * 64]


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


def test_whether_a_server_answers(monkeypatch):
    """A refusal is an answer; errors of its own, a cut connection and silence are none."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with WandbServer() as server:
        check_reachable(server.url)
        assert answers(server.url)
        for fault, expected in ((401, True), (500, False), ("cut", False)):
            server.fault = lambda path, fault=fault: fault
            assert answers(server.url) is expected
    with pytest.raises(OSError):
        check_reachable(server.url)
    assert not answers(server.url)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    check_reachable("http://wandb.example.org")  # only the proxy could tell


def test_a_resumed_training_goes_on_with_its_run(args, no_key, tmp_path, capsys):
    """Offline too: each part has a folder, all of one id. Another training, or another project, is another run."""
    kept = tmp_path / "o/wandb_run.json"
    with tracked_run(args) as first:
        assert json.loads(kept.read_text())["id"] == first.id
    with tracked_run(args, goes_on=True) as again:
        assert again.id == first.id
    printed = re.findall("`wandb sync (.*?)`", capsys.readouterr().err)
    assert [len(command.split()) for command in printed] == [1, 2] and printed[1].startswith(
        printed[0]
    )
    with tracked_run(args) as other:
        assert other.id != first.id and json.loads(kept.read_text())["id"] == other.id
    for text in (
        "",
        "[]",
        '{"id": "../../x", "project": "project"}',
        '{"id": 3, "project": "project"}',
        "[" * 9999,
    ):
        kept.write_text(text)
        assert run_to_resume(kept) is None
    kept.write_text(f'{{"id": "{other.id}", "project": "another"}}')
    assert run_to_resume(kept) is None
    args.training.report_to = []
    with tracked_run(args):
        assert not kept.exists(), "the next training to be resumed is not of that run"


def test_a_resumed_run_on_a_server(args, tmp_path):
    """What was logged before stays, what follows is added."""
    with WandbServer() as server, client(server, tmp_path):
        for goes_on in (False, True):
            with tracked_run(args, goes_on=goes_on) as run:
                run.log({"x": float(goes_on)})
        (stored,) = server.runs.values()
        assert [row["x"] for row in stored["history"]] == [0, 1] and stored["state"] == "finished"


@pytest.mark.parametrize(
    ("status", "refused"),
    [(404, "file_stream"), (403, "file_stream"), (410, "file_stream"), (404, "runfile/")],
)
def test_a_server_that_refuses_what_is_sent(args, tmp_path, capsys, status, refused):
    """The client gives up without a word, and the run stays empty: how to sync is said, and then it is whole."""
    with WandbServer() as server, client(server, tmp_path):
        server.fault = lambda path: status if refused in path else None
        with tracked_run(args) as run:
            run.log({"x": 1.0})
        printed = capsys.readouterr().err
        assert "W&B did not take everything (" in printed and str(status) in printed
        server.fault = lambda path: None
        command = re.findall("`wandb (sync .*?)`", printed)[-1].split()
        subprocess.run(
            [sys.executable, "-m", "wandb", *command], check=True, capture_output=True, timeout=120
        )
        (stored,) = server.runs.values()
        assert stored["history"][-1]["x"] == 1 and stored["state"] == "finished" and stored["files"]


SECRETS = ("hf_SECRETsecret123", "wandb-SECRET-456", "sk-SECRETsecret789")


def test_no_secret_of_the_command_line_or_the_environment_is_kept(
    args, no_key, tmp_path, monkeypatch
):
    """W&B shows the command line on a run's page; its log, settings and files hold no key either."""
    flag, variable, key = SECRETS
    command = [
        "train.py",
        "--hub_token",
        flag,
        f"--push-to-hub-token={flag}",
        "--run_name",
        f"x{variable}",
    ]
    monkeypatch.setattr(
        sys,
        "argv",
        [*command, "--train_file", f"https://me:{key}@example.org/a.csv", "--folds", "2"],
    )
    monkeypatch.setenv("MY_SERVICE_TOKEN", variable)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    args.training.hub_token = args.training.push_to_hub_token = flag
    args.given |= {"hub_token": flag, "push_to_hub_token": flag}
    with tracked_run(args) as run:
        trainer_callback = WandbCallback()
        trainer_callback.setup(args.training, TrainerState(), torch.nn.Linear(1, 1))
        run.log({"x": 1})
    assert sys.argv[2] == flag, "the program has them as before"
    write_resolved(args, tmp_path)
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"--run_name" in content for content in written.values()), (
        "the command line is kept without them"
    )
    leaks = [
        (path.name, secret)
        for path, content in written.items()
        for secret in SECRETS
        if secret.encode() in content
    ]
    assert not leaks
