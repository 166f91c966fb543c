"""The space of a search: what is read, and what is refused in one line before anything is written."""

import pytest

from tests.conftest import ROOT
from trainer_ext.arguments.parser import parse_values
from trainer_ext.errors import UserError
from trainer_ext.search.space import (
    check_values,
    default_proposal,
    distributions,
    flag_values,
    read_space,
)

RECIPE = {"from_scratch": "tiny", "train_file": __file__, "validation_file": __file__}
RECIPE |= {"output_dir": "out", "text_column": "a", "label_columns": ["b"], "file_format": "csv"}


def read(tmp_path, text: str):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read_space(str(path), has_shuffled_rows=False)


def test_what_a_space_holds(tmp_path):
    """A logarithmic range, a range of integers, words, and lists as choices."""
    space = read(
        tmp_path,
        "learning_rate: {low: 1e-5, high: 0.01, log: true}\n"
        "max_length: {low: 8, high: 64}\nnum_train_epochs: {low: 2, high: 5}\n"
        "pooling: [cls, mean]\nclass_weights: [balanced, [1, 2]]\n",
    )
    found = distributions(space)
    rate, length, epochs = (found[n] for n in ("learning_rate", "max_length", "num_train_epochs"))
    assert (rate.low, rate.high, rate.log) == (1e-5, 0.01, True)
    assert type(length).__name__ == "IntDistribution" and (length.low, length.high) == (8, 64)
    assert type(epochs).__name__ == "FloatDistribution", "the flag takes 2.5 epochs"
    assert found["pooling"].choices == ("cls", "mean")
    proposed = {"pooling": "mean", "class_weights": found["class_weights"].choices[1]}
    assert flag_values(space, proposed) == {"pooling": "mean", "class_weights": [1, 2]}


@pytest.mark.parametrize(
    "text, words",
    [
        ("{}", "is empty"),
        ("lerning_rate: [1, 2]", "did you mean 'learning_rate'"),
        ("learning_rate: 1e-3", "neither a list of choices"),
        ("learning_rate: {low: 1e-3}", "must have numbers for low and high"),
        ("learning_rate: {low: 2, high: 1}", "low 2 must be below high 1"),
        ("learning_rate: {low: 0, high: 1, log: true}", "must be above 0"),
        ("learning_rate: {low: 1, high: 2, lgo: true}", "unknown key lgo"),
        ("learning_rate: {low: 1, high: 2, log: maybe}", "neither true nor false"),
        ("max_length: {low: 1.5, high: 8}", "takes integers"),
        ("pooling: {low: 1, high: 2}", "list its choices"),
        ("fp16: {low: 0, high: 1}", "list its choices"),
        ("pooling: [cls]", "nothing to choose from"),
        ("pooling: [cls, cls]", "listed twice"),
        ("validation_file: [a.csv, b.csv]", "scored on other rows"),
        ("learning_rate: [1, 2]\nlearning_rate: [3, 4]", "more than once"),
    ],
)
def test_bad_spaces_are_refused(tmp_path, text, words):
    """In one line that names the file and the flag."""
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, text)
    assert "space.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("learning_rate: [1e-3, high]", "learning_rate high: .*invalid float value"),
        ("head_dropout: {low: 0, high: 2}", "head_dropout 2.*out of range"),
        ("pooling: [mean, maen]", "did you mean 'mean'"),
        ("adversarial: [none, fgm]\nfreeze_embeddings: [true, yes]", "freeze_embeddings"),
    ],
)
def test_values_that_nothing_can_be_trained_with(tmp_path, text, words):
    """The last one is possible: only both together are not, and `none` is beside them."""
    space = read(tmp_path, text)
    if "freeze" in text:
        check_values("space.yaml", space, RECIPE)
        return
    with pytest.raises(UserError, match=words):
        check_values("space.yaml", space, RECIPE)


def test_the_recipe_itself(tmp_path):
    """As Optuna would propose it; None if the space leaves it out."""
    space = read(tmp_path, "learning_rate: {low: 1e-5, high: 1e-3}\nfocal_gamma: [0, 2]\n")
    recipe = {**RECIPE, "learning_rate": 5e-4}
    assert default_proposal(space, recipe) == {"learning_rate": 5e-4, "focal_gamma": "0"}
    assert default_proposal(space, {**recipe, "focal_gamma": 2.0})["focal_gamma"] == "2"
    assert default_proposal(space, {**recipe, "learning_rate": 1.0}) is None


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"search_trials": 3}, "search_trials 3 has no effect"),
        ({"search": "no.yaml"}, "no.yaml does not exist"),
        ({"search": __file__, "metric_for_best_model": "loss"}, "losses of different objectives"),
        ({"search": __file__, "validation_file": None}, "validation rows"),
        ({"search": __file__, "folds": 3, "fold": 0}, "drop one"),
        ({"launcher": "ray"}, "launcher ray has no effect"),
        ({"ray_address": "local"}, "launcher is process"),
        ({"launcher": "ray", "folds": 3, "num_fold_workers": 2}, "drop one"),
        ({"launcher": "ray", "folds": 3, "num_cpus_per_run": 0}, "num_cpus_per_run 0"),
    ],
)
def test_contradictions(flags, words):
    """Found when the flags are parsed."""
    with pytest.raises(UserError, match=words):
        parse_values(
            RECIPE,
            {name: value for name, value in flags.items() if value is not None}
            | {name: None for name, value in flags.items() if value is None},
        )


SPACES = sorted((ROOT / "configs" / "search").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_spaces_of_the_repository(path):
    """Each can be trained with, and opens with its command."""
    space = read_space(str(path), has_shuffled_rows=True)
    check_values(path.name, space, RECIPE)
    assert path.read_text().count("\n#") > 2 and "train.py" in path.read_text()


def test_there_are_spaces():
    """The test above looks at something."""
    assert SPACES
