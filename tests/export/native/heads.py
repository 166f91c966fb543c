"""Small checkpoints of other heads and poolings around BERT, and rows for them."""

import json
from pathlib import Path

from tests.families import family_config, save_rows, some_texts, spread_out, word_tokenizer
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.joint_space import JointLabelSpace

CLASSES = ("bad", "good")
TAGS = ("O", "B-thing", "I-thing")


def save_head(folder: Path, task: str, pooling: str) -> tuple[Path, Path]:
    """Write a checkpoint and labelled rows; return both paths."""
    rows = folder / "rows.jsonl"
    shape = [len(CLASSES)]
    options = {}
    space: LabelSpace = LabelSpace(("label",), CLASSES, CLASSES)
    if task == "single_label":
        save_rows(rows)
    if task == "multi_aspect":
        space = LabelSpace(("food", "staff"), CLASSES, CLASSES)
        shape = [2, len(CLASSES)]
        save_lines(rows, aspect_rows())
    if task == "joint":
        texts = [text.split() for text in some_texts()]
        space = JointLabelSpace.from_rows(CLASSES, [list(TAGS)], texts)
        options = {"token_classes": len(space.tags)}
        save_lines(rows, joint_rows())
    pipeline = Pipeline(
        TASKS[task](space),
        max_length=64,
        pad_token_id=0,
        input_names=["input_ids", "attention_mask"],
    )
    config = EncoderWithHeadConfig(
        family_config("bert"), shape, pooling=pooling, pipeline=pipeline.to_dict(), **options
    )
    checkpoint = folder / "checkpoint"
    spread_out(EncoderWithHead(config)).save_pretrained(checkpoint)
    word_tokenizer().save_pretrained(checkpoint)
    return checkpoint, rows


def aspect_rows() -> list[dict]:
    """A class for each of two aspects."""
    rows = []
    for number, text in enumerate(some_texts()):
        food, staff = CLASSES[number % 2], CLASSES[number % 3 % 2]
        rows.append({"text": text, "food": food, "staff": staff})
    return rows


def joint_rows() -> list[dict]:
    """An intent, and a tag for each word."""
    rows = []
    for number, text in enumerate(some_texts()):
        words = text.split()
        slots = [*TAGS[1:], *TAGS[:1] * len(words)][: len(words)]
        rows.append({"tokens": words, "slots": slots, "intent": CLASSES[number % 2]})
    return rows


def save_lines(path: Path, rows: list[dict]) -> None:
    """Write rows as lines of JSON."""
    lines = [json.dumps(row) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
