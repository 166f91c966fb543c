"""The probe on the frozen encoder: against plain transformers and scikit-learn, and without a trace in the training."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from tests.conftest import CLASSES, FILLER
from trainer_ext.api import fit
from trainer_ext.data.io.readers import read_rows
from trainer_ext.evaluation.baselines import ALPHAS, PROBE, PROBE_CS, best_c, probe_outputs
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tasks import TASKS
from trainer_ext.training import linear_probe
from trainer_ext.training.linear_probe import FREE_ROWS, MOST_VALIDATION, rows_to_read, why_no_probe


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A small BERT as transformers saves it, with dropout, whose random numbers training must draw."""
    folder = tmp_path_factory.mktemp("probe") / "bert"
    words = [word for name in CLASSES.values() for word in name] + FILLER
    tokenizer = train_tokenizer([" ".join(words * 2)], 200, 32)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(encoder, topic_files, folder, **flags):
    values = {
        "task": "single_label",
        "train_file": topic_files["train"],
        "validation_file": topic_files["validation"],
        "model_name_or_path": encoder,
        "pooling": "attention",
        "max_length": 16,
        "max_steps": 4,
        "save_steps": 2,
        "save_strategy": "steps",
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",  # a run that was cut off had fewer steps before it
        "report_to": "none",
        "suspects": "false",
        "output_dir": folder,
    }
    return fit(**{**values, **flags})


def compared(folder) -> dict[str, dict[str, float]]:
    with open(folder / "report" / "baselines.csv", encoding="utf-8", newline="") as file:
        return {record.pop("metric"): record for record in csv.DictReader(file)}


def plain_vectors(encoder, texts) -> np.ndarray:
    """The mean of the tokens, one text at a time, with nothing of this project."""
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)
    vectors = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.no_grad():
            vectors.append(model.eval()(**inputs).last_hidden_state[0].mean(0).numpy())
    return np.stack(vectors)


def texts_and_labels(path) -> tuple[list[str], np.ndarray]:
    rows = [row.values for row in read_rows(str(path))]
    names = sorted(CLASSES)
    return [row["text"] for row in rows], np.array([names.index(row["label"]) for row in rows])


@pytest.fixture(scope="module")
def probed(encoder, topic_files, tmp_path_factory):
    """A training with the probe, and what the probe was fitted on."""
    folder, seen = tmp_path_factory.mktemp("probed") / "run", {}

    def outputs(task, vectors, labels, unseen):
        seen.update(vectors=vectors, unseen=unseen)
        return probe_outputs(task, vectors, labels, unseen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, "probe_outputs", outputs)
        train(encoder, topic_files, folder)
    return folder, seen


def test_it_is_logistic_regression_on_the_means_of_tokens(encoder, topic_files, probed):
    folder, seen = probed
    texts, labels = texts_and_labels(topic_files["train"])
    unseen, expected = texts_and_labels(topic_files["validation"])
    vectors, others = plain_vectors(encoder, texts), plain_vectors(encoder, unseen)
    np.testing.assert_allclose(seen["vectors"], vectors, atol=1e-5)
    np.testing.assert_allclose(seen["unseen"], others, atol=1e-5)
    mean, std = vectors.mean(0), vectors.std(0)
    own = (vectors - mean) / std
    held_out = np.arange(len(own)) % 5 == 4
    scores = []
    for c in PROBE_CS:
        model = LogisticRegression(C=c).fit(own[~held_out], labels[~held_out])
        scores.append(f1_of(model.predict(own[held_out]), labels[held_out]))
    model = LogisticRegression(C=PROBE_CS[int(np.argmax(scores))]).fit(own, labels)
    found = f1_of(model.predict((others - mean) / std), expected)
    assert float(compared(folder)["f1_macro"][PROBE]) == pytest.approx(found)


def f1_of(predicted, labels) -> float:
    scores = []
    for name in np.unique([*predicted, *labels]):
        both = ((predicted == name) & (labels == name)).sum()
        scores.append(2 * both / ((predicted == name).sum() + (labels == name).sum()))
    return float(np.mean(scores))


def test_training_is_the_same_to_the_bit_without_it(encoder, topic_files, probed, tmp_path):
    """Dropout draws the same numbers, and the report lacks one column."""
    folder, _ = probed
    train(encoder, topic_files, tmp_path / "run", baseline="ngrams")
    other = tmp_path / "run"
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert PROBE not in compared(other)["accuracy"]
    assert PROBE not in (other / "report.html").read_text(encoding="utf-8")


def test_a_resumed_run_probes_the_start(encoder, topic_files, probed, tmp_path):
    """Cut off after step 2: the encoder of the checkpoint is another one by then."""
    folder, _ = probed
    other = tmp_path / "run"
    train(encoder, topic_files, other, max_steps=2, write_report=False)
    train(encoder, topic_files, other, resume_from_checkpoint=str(other / "checkpoint-2"))
    assert compared(other) == compared(folder)
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert json.loads((other / "metrics.json").read_text())["global_step"] == 4


def test_the_report_says_what_it_is(probed):
    """A model of four steps is behind, and its first line says behind what."""
    folder, _ = probed
    text = (folder / "report.html").read_text(encoding="utf-8")
    scores = {name: float(value) for name, value in compared(folder)["f1_macro"].items()}
    best = max(("majority", "n-grams", PROBE), key=scores.__getitem__)
    assert scores["model"] < scores[best]
    assert f"The model does not beat the {best} baseline" in text
    assert "linear model was trained on 96 of 96 training rows." in text


def test_no_probe_where_it_would_say_little(topic_files, probed, tmp_path):
    """Of a model that was fine-tuned already, whose report says so, and of random weights."""
    checkpoint, _ = probed
    again = {"pooling": None, "max_steps": 1, "save_strategy": "no"}
    train(checkpoint, topic_files, tmp_path / "again", **again)
    text = (tmp_path / "again/report.html").read_text(encoding="utf-8")
    assert "No probe on the frozen encoder: training begins with a model that was" in text
    assert PROBE not in compared(tmp_path / "again")["accuracy"]
    task = task_of("single_label", [["a"], ["b"]], ("label",))
    flags = SimpleNamespace(model=SimpleNamespace(from_scratch="static"))
    assert why_no_probe(flags, task) == "its weights are random before training"


@pytest.mark.parametrize(
    "trained, validation, rows",
    [
        (0, 500, FREE_ROWS - 500),
        (3000, FREE_ROWS // 2, FREE_ROWS // 2),
        (3000, FREE_ROWS // 2 + 1, 0),
        (30_000, 1000, 17_000),
        (30_000, 9001, 0),
        (10**7, MOST_VALIDATION, 6 * 10**6 - MOST_VALIDATION),
        (10**7, MOST_VALIDATION + 1, 0),
    ],
)
def test_it_is_fitted_where_it_is_cheap(trained, validation, rows):
    """A fifth of the work of training, three readings a row, or 2,000 rows; at most half of it for validation rows."""
    assert rows_to_read(trained, validation) == rows


def made_up(rows=120):
    generator = np.random.default_rng(0)
    vectors = generator.normal(3, [1.0, 20.0, 0.1, 5.0], (rows, 4)).astype(np.float32)
    direction = (vectors - vectors.mean(0)) / vectors.std(0) @ generator.normal(size=(4, 3))
    return vectors, direction + generator.normal(scale=0.3, size=(rows, 3))


def task_of(name, values, columns):
    kind = TASKS[name]
    return kind(kind.make_space(columns, None, values))


def test_flags_aspects_and_scores_are_fitted_one_by_one():
    """Each against scikit-learn on standardised vectors; a class that no row has comes last."""
    vectors, signal = made_up()
    own = (vectors - vectors.mean(0)) / vectors.std(0)
    flags = (signal > 0.5).astype(int)
    task = task_of("multi_label", [["a,b,c"]], ("label",))
    got = probe_outputs(task, vectors, flags, vectors)
    c = best_c(task, own, flags)
    for k, column in enumerate(flags.T):
        reference = LogisticRegression(C=c).fit(own, column).decision_function(own)
        np.testing.assert_allclose(got[:, k], reference, rtol=0.02, atol=0.05)

    aspects = np.stack([signal.argmax(axis=1), 2 * flags[:, 0]], axis=1)
    task = task_of("multi_aspect", [["a", "b"], ["c", "d"]], ("food", "staff"))
    got = probe_outputs(task, vectors, aspects, vectors)
    assert got.shape == (120, 2, 4)
    c = best_c(task, own, aspects)
    reference = LogisticRegression(C=c).fit(own, aspects[:, 0]).decision_function(own)
    np.testing.assert_allclose(got[:, 0, :3], reference, rtol=0.02, atol=0.05)
    assert (got[:, 0, 3] < got[:, 0, :3].min(axis=1)).all()
    np.testing.assert_array_equal(np.unique(got[:, 1].argmax(axis=1)), [0, 2])

    task = task_of("regression", [["1", "2", "3"]], ("x", "y", "z"))
    got = probe_outputs(task, vectors, signal, vectors)
    reference = RidgeCV(alphas=ALPHAS).fit(own, signal).predict(own)
    np.testing.assert_allclose(got, reference, atol=1e-3)
