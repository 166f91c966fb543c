"""`wandb sweep` and `wandb agent` as docs/search.md has them, the real programs against a server on loopback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.tracking.conftest import PATIENCE
from tests.wandb_server import ENTITY, PROJECT
from tests.wandb_sweeps import next_command
from trainer_ext.arguments.parser import parse_values, resolved
from trainer_ext.cross_validation.members import as_member
from trainer_ext.tracking.run import options_of

RATES = [0.001, 0.005]


def documented_sweep(recipe: Path, output: Path) -> dict:
    """The sweep in the documentation, with a recipe, a folder and a grid of a test."""
    text = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```yaml\n(method: .*?)```", text, re.DOTALL)
    found = found.replace("RECIPE.yaml", str(recipe)).replace("outputs/sweep", str(output))
    sweep = yaml.safe_load(found)
    return sweep | {"method": "grid", "parameters": {"learning_rate": {"values": RATES}}}


def wandb(*words, environment: dict[str, str]) -> str:
    """Run W&B's command line; returns all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_an_agent_trains_every_point(server, tmp_path, topic_flags):
    """A run of the sweep and a folder for each, with the proposed value in its config and its score."""
    flags = dict(zip(topic_flags[::2], topic_flags[1::2], strict=True))
    recipe = {name.removeprefix("--"): str(value) for name, value in flags.items()}
    path, output = tmp_path / "recipe.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(recipe | {"max_steps": 8, "report_to": "wandb"}))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(documented_sweep(path, output)))
    environment = {**os.environ, **server.environment(tmp_path / "home"), **PATIENCE}
    (tmp_path / "home").mkdir()
    # The agent takes the first python there is.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    before = set(server.runs)
    printed = wandb("sweep", str(tmp_path / "sweep.yaml"), environment=environment)
    (name,) = re.findall(r"wandb agent \S*?(sweep\d+)", printed)
    printed = wandb("agent", f"{ENTITY}/{PROJECT}/{name}", environment=environment)
    assert server.sweeps[name]["runs"] == [f"{name}run0", f"{name}run1"], printed
    assert set(server.runs) - before == {f"{name}run0", f"{name}run1"}
    for run_id, rate in zip(server.sweeps[name]["runs"], RATES, strict=True):
        run = server.runs[run_id]
        assert (run["sweep"], run["state"]) == (name, "finished")
        assert run["config"]["learning_rate"]["value"] == rate
        resolved = yaml.safe_load((output / run_id / "resolved_config.yaml").read_text())
        assert resolved["learning_rate"] == rate
        assert 0 <= run["summary"]["eval_f1_macro"] <= 1


def test_folds_leave_the_sweep(tmp_path, topic_files, monkeypatch):
    """Under an agent all folds would be one run: that of the sweep, which is the one of all folds together."""
    for name, value in {"SWEEP_ID": "sweep9", "SWEEP_PARAM_PATH": "x", "RUN_ID": "whole"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    flags = {"task": "single_label", "from_scratch": "tiny", "train_file": topic_files["train"]}
    args = parse_values(flags, {"folds": 2, "output_dir": tmp_path / "cv"})
    together = options_of(args, "evaluate", None, None)
    assert "id" not in together and os.environ["WANDB_SWEEP_ID"] == "sweep9"
    fold = as_member(parse_values(resolved(args), {"fold": 1}))
    assert options_of(fold, "train", None, None)["id"] == "whole-fold-1"
    assert not {"WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"} & set(os.environ)


def test_what_the_server_tells_an_agent():
    """A point after the other, then the end."""
    sweep = {"points": [{"seed": 1}], "runs": []}
    command = next_command("s", sweep)
    assert (command["run_id"], command["args"]) == ("srun0", {"seed": {"value": 1}})
    assert next_command("s", sweep) == {"type": "exit"}
