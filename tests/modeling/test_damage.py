"""Damaged checkpoints: refused in one line, or it does not matter."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import TINY_ENCODER
from tests.inference.test_damage import damaged, damaged_json, tried
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.dispatch import run
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A folder as a training leaves it, of a model that has learnt nothing."""
    place = tmp_path_factory.mktemp("damage")
    folder, data = place / "model", place / "rows.jsonl"
    rows = [
        {"text": text, "label": text.split()[0]}
        for text in ("good food", "bad food", "good place", "bad place")
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tiny = {
        "from_scratch": "tiny",
        "config_overrides": TINY_ENCODER,
        "vocab_size": 300,
        "max_length": 16,
    }
    flags = {"max_steps": 1, "report_to": "none", "save_strategy": "no", "eval_strategy": "no"}
    run(parse_values({}, tiny | flags | {"train_file": str(data), "output_dir": str(folder)}))
    return folder


@pytest.fixture
def folder(checkpoint, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def found(path: Path, ways) -> dict[str, str]:
    """What is raised for these contents of a file that is no single line."""
    raised = {}
    for way, content in ways:
        path.write_bytes(content)
        raised[way] = tried(path.parent)
    assert len(raised) > 5
    return {way: what for way, what in raised.items() if what}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files(folder, name):
    path = folder / name
    assert found(path, damaged(path.read_bytes())) == {}


def test_values_of_the_encoder(folder):
    """Also those that are read only when it runs, and more layers than memory holds."""
    path = folder / "config.json"
    ways = [way for way in damaged_json(path.read_bytes()) if way[0].startswith("encoder.")]
    kinds = ("None", "-1", "[]", "1000000000000", "gone")
    assert (
        found(
            path,
            [(way, bad) for way, bad in ways if way.endswith(tuple(f": {kind}" for kind in kinds))],
        )
        == {}
    )


def test_the_header_of_the_weights(folder):
    """A sample of its values."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    headers = list(damaged_json(content[8:end]))[::40]
    assert (
        found(
            path,
            [(way, len(bad).to_bytes(8, "little") + bad + content[end:]) for way, bad in headers],
        )
        == {}
    )


def test_more_layers_than_weights(folder):
    """Building them took all memory there is."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["encoder"]["num_hidden_layers"] = 10**12
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="1000000000000 layers, but its weights are"):
        load_predictor(folder)


def test_labels_of_words(folder):
    """A checkpoint of intents and tags: its tags, and how often they follow each other."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    space = {"columns": ["intent"], "classes": ["a", "b", "c", "d"], "values": ["a", "b", "c", "d"]}
    space |= {"tags": ["O", "B-x"], "by_character": False, "neighbours": [["O", "B-x", 2]]}
    head = len(config["pipeline"]["label_space"]["classes"])
    space |= {key: space[key][:head] for key in ("classes", "values")}
    config["pipeline"] |= {"task": "joint", "label_space": space}
    path.write_text(json.dumps(config | {"token_classes": 2}))
    weights = load_file(folder / "model.safetensors")
    width = weights["head.weight"].shape[1]
    extra = {
        "token_head.weight": np.zeros((2, width), np.float32),
        "token_head.bias": np.zeros(2, np.float32),
    }
    save_file(weights | extra, folder / "model.safetensors", {"format": "pt"})
    assert load_predictor(folder).predict(["good food"])[0]["intent"] in space["classes"]
    ways = [
        way for way in damaged_json(path.read_bytes()) if way[0].startswith("pipeline.label_space")
    ]
    assert found(path, ways) == {}
