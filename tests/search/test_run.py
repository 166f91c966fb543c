"""A search from its first trial to the best recipe; trials are scored by a formula, but for one real search."""

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import run_ok
from tests.search.conftest import SPACE, Formula, score, trials_of
from trainer_ext.errors import UserError


def test_a_search(recipe, search, capsys):
    """The recipe is the first trial; the best one is written down, and has its model left."""
    formula = Formula()
    metrics = search(recipe, formula, draws=True)
    folder = Path(recipe["output_dir"])
    trials = trials_of(folder)
    assert [row["state"] for row in trials] == ["complete"] * 6 and trials[0]["is_recipe"]
    assert trials[0]["params"] == {"learning_rate": 2e-3, "focal_gamma": "0"}
    values = [row["eval_f1_macro"] for row in trials]
    assert values == pytest.approx([score(**flags) for flags in formula.seen])
    best = values.index(max(values))
    assert metrics["eval_f1_macro"] == max(values) >= values[0]
    kept = yaml.safe_load((folder / "best_recipe.yaml").read_text())
    assert kept["learning_rate"] == trials[best]["params"]["learning_rate"]
    assert "search" not in kept and "search_trials" not in kept
    models = [path.parent.name for path in folder.glob("trial-*/model.safetensors")]
    assert models == [f"trial-{best}"]
    names = sorted(path.name for path in (folder / "plots").iterdir())
    assert names == ["search_history.png", "search_importance.png", "search_parallel.png"]
    assert "6 trials: 6 completed, 0 pruned, 0 failed" in capsys.readouterr().out


def test_killed_and_started_again(recipe, search, tmp_path):
    """It proposes what it would have proposed; the trial that was cut off is the first to go on."""
    whole = Formula()
    search(recipe, whole)
    cut = {**recipe, "output_dir": str(tmp_path / "cut")}
    first, second = Formula(dies_at=3), Formula()
    with pytest.raises(KeyboardInterrupt):
        search(cut, first)
    search(cut, second)
    assert first.seen + second.seen == whole.seen and len(second.seen) == 3
    # With more trials it goes on, without a new one nothing is trained.
    search(cut, again := Formula())
    assert again.seen == []
    search({**cut, "search_trials": 7}, again)
    assert len(again.seen) == 1 and len(trials_of(tmp_path / "cut")) == 7


def test_another_search_in_the_folder(recipe, search):
    """Refused, whatever is different; --overwrite_output_dir starts over."""
    one = {**recipe, "search_trials": 1}
    search(one, Formula())
    with pytest.raises(UserError, match="its max_length is 16, now it is 8"):
        search({**one, "max_length": 8}, Formula())
    Path(recipe["search"]).write_text("focal_gamma: [0, 1]\n")
    with pytest.raises(UserError, match="the space of the search was another one"):
        search(one, Formula())
    Path(recipe["search"]).write_text(SPACE)
    with open(recipe["train_file"], "a") as file:
        file.write("a new goal\tsports\n")
    with pytest.raises(UserError, match="the content of a file of rows was another one"):
        search(one, Formula())
    search({**one, "overwrite_output_dir": True}, formula := Formula())
    assert len(formula.seen) == 1


def test_combinations_that_cannot_be_trained(recipe, search):
    """They count as trials that failed, and the search goes on."""
    Path(recipe["search"]).write_text(
        "adversarial: [none, fgm]\nfreeze_embeddings: [false, true]\n"
    )
    search({**recipe, "search_trials": 8}, formula := Formula())
    states = {(row["params"]["adversarial"], row["params"]["freeze_embeddings"]): row["state"]
              for row in trials_of(Path(recipe["output_dir"]))}  # fmt: skip
    assert states[("fgm", "true")] == "fail" and len(formula.seen) < 8
    assert {state for pair, state in states.items() if pair != ("fgm", "true")} == {"complete"}


def test_bad_rows(recipe, search):
    """One line after the first trial, and not twenty failures."""
    with pytest.raises(UserError, match="^trial-0: train.txt, row 3: no label$"):
        search(recipe, formula := Formula(refuses=True))
    assert len(formula.seen) == 1
    search({**recipe, "search_trials": 1}, Formula())
    assert trials_of(Path(recipe["output_dir"]))[0]["state"] == "complete"


@pytest.mark.slow
def test_real_trials(recipe, tmp_path):
    """Processes that train, are pruned by what they write, and score out of fold; the best recipe runs as it is."""
    folder = tmp_path / "real"
    path = tmp_path / "recipe.yaml"
    flags = {
        **recipe,
        "eval_strategy": "steps",
        "eval_steps": 4,
        "max_steps": 16,
        "search_trials": 9,
    }
    path.write_text(yaml.safe_dump({**flags, "output_dir": str(folder)}))
    run_ok("train.py", path, timeout=3600)
    states = [row["state"] for row in trials_of(folder)]
    assert len(states) == 9 and set(states) <= {"complete", "pruned"}
    best = json.loads((folder / "search.json").read_text())["best"]
    run_ok("train.py", folder / "best_recipe.yaml")
    models = [folder / name / "model.safetensors" for name in ("best", f"trial-{best}")]
    assert models[0].read_bytes() == models[1].read_bytes()
    folds = {**flags, "folds": 2, "validation_file": None, "search_trials": 2, "max_steps": 2}
    path.write_text(yaml.safe_dump({**folds, "output_dir": str(tmp_path / "folds")}))
    run_ok("train.py", path)
    for row in trials_of(tmp_path / "folds"):
        summary = json.loads((tmp_path / f"folds/trial-{row['trial']}/cv.json").read_text())
        assert row["eval_f1_macro"] == summary["oof"]["f1_macro"]
