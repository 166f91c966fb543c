"""An export over an older one, killed between any two of its steps."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tests.inference.conftest import save_int8, save_model, save_onnx
from trainer_ext.errors import UserError
from trainer_ext.export.publish import check_not_foreign, publish
from trainer_ext.export.to_onnx import copy_tokenizer
from trainer_ext.inference import load_predictor
from trainer_ext.inference.members import members_of

TEXTS = ["good food", "bad staff"]


def export_of(folder: Path, new: bool) -> Path:
    """Two exports of the same task whose classes are in another order, as two label_names would make them."""
    classes = ["pos", "neutral", "neg"] if new else ["neg", "neutral", "pos"]
    save_model(folder, label_space={"columns": ["label"], "classes": classes, "values": classes})
    save_onnx(folder / "model.onnx", sign=-1 if new else 1)
    (folder / "special_tokens_map.json").write_text("{}")
    if not new:
        save_int8(folder / "model_quantized.onnx")
        (folder / "vocab.txt").write_text("old")
    return folder


def labels(folder: Path) -> list[str] | None:
    """What the folder answers; None when it is refused in one line."""
    try:
        answers = load_predictor(folder).predict(TEXTS)
    except UserError:
        return None
    return [(answer["label"], tuple(answer["probabilities"])) for answer in answers]


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def kill_before(monkeypatch):
    """`kill_before(n)` ends the process before the n-th change to the file system; returns how many there were."""
    changes, limit = [], [0]

    def counted(change):
        def run(*args, **kwargs):
            changes.append(args)
            if len(changes) == limit[0]:
                raise Killed
            return change(*args, **kwargs)

        return run

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))

    def at(number: int) -> list:
        changes.clear()
        limit[0] = number
        return changes

    return at


def test_old_or_new_but_never_a_mixture(tmp_path, kill_before):
    """Whenever the kill comes; and a refusal counts as neither."""
    old, new = labels(export_of(tmp_path / "a", False)), labels(export_of(tmp_path / "b", True))
    assert old != new and [label for label, _ in old] == ["pos", "neg"]
    answers: list = []
    while new not in answers:
        target = export_of(tmp_path / str(len(answers)), False)
        stage = export_of(tmp_path / f"{len(answers)}-stage", True)
        kill_before(len(answers) + 1)
        with suppress(Killed):
            publish(stage, target)
        answers.append(labels(target))
    assert len(answers) > 8 and all(answer in (old, new, None) for answer in answers)
    assert not (target / "vocab.txt").exists(), (
        "the older tokenizer's file is not read beside the new one"
    )


def test_folds_of_two_exports_never_answer_together(tmp_path, kill_before):
    """From before the first of the new models is there."""
    done, mixed = False, []
    for number in range(1, 40):
        root = tmp_path / str(number)
        for k in range(2):
            (export_of(root / f"fold-{k}", False) / "export_report.json").write_text("{}")
        (root / "folds.json").write_text('{"folds": 2, "fold_repeats": 1}')
        stage = export_of(tmp_path / f"{number}-stage", True)
        (stage / "export_report.json").write_text("{}")
        kill_before(number)
        with suppress(Killed):
            publish(stage, root / "fold-0", [root, root / "fold-1"])
            done = True
        try:
            names = members_of(str(root))
        except UserError:
            continue
        spaces = {(Path(name) / "config.json").read_text() for name in names}
        mixed.append(len(names) != 2 or len(spaces) != 1)
    assert done and mixed and not any(mixed)


@pytest.mark.parametrize(
    "files, message",
    [
        (["config.json"], "holds config.json, which no export has written"),
        (["config.json", "model.safetensors", "resolved_config.yaml"], "holds a training"),
        (["folds.json", "oof.csv", "resolved_config.yaml"], "holds a training"),
        (["README.md"], None),
        (["model.onnx", "export_report.json"], None),  # of an export that was cut off
        (["config.json", "export_report.json"], None),
    ],
)
def test_only_an_export_is_replaced_by_one(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("{}")
    if message is None:
        return check_not_foreign(tmp_path)
    with pytest.raises(UserError, match=message):
        check_not_foreign(tmp_path)


def test_the_folder_of_another_training_stays_as_it_is(topic_checkpoint, tmp_path):
    from trainer_ext.cli.export import main

    other = shutil.copytree(topic_checkpoint, tmp_path / "other")
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="other holds a training"):
        main([str(topic_checkpoint), "--output_dir", str(other)])
    after = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    assert after == before


def test_the_tokenizer_travels_byte_for_byte(tmp_path):
    """Also where loading and saving it would make another one; nothing else of the folder does."""
    checkpoint, target = save_model(tmp_path / "checkpoint"), tmp_path / "target"
    target.mkdir()
    content = (checkpoint / "tokenizer.json").read_bytes() + b"\n\n"
    (checkpoint / "tokenizer.json").write_bytes(content)
    (checkpoint / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": [null, "evil.T"]}}'
    )
    (checkpoint / "evil.py").write_text("raise SystemExit")
    copy_tokenizer(checkpoint, target)
    assert (target / "tokenizer.json").read_bytes() == content
    assert sorted(path.name for path in target.iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
