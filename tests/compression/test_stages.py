"""`--compression` in real trainings: what is saved, resumed and refused."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import f1_score

from tests.conftest import ROOT, run_ok, run_script
from trainer_ext.inference import load_predictor

FLAGS = {
    "task": "single_label",
    "label_names": ["a", "b"],
    "pooling": "mean",
    "max_length": 16,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 1,
    "save_strategy": "epoch",
    "report_to": "none",
    "write_report": False,
    "disable_tqdm": True,
}
SCRATCH = [
    *("--from_scratch", "tiny", "--vocab_size", "60"),
    "--config_overrides",
    "hidden_size=32,num_hidden_layers=2,num_attention_heads=4,intermediate_size=24",
]


def command(folder, output, *more):
    """Return the words of train.py with the flags above and more."""
    words = [sys.executable, str(ROOT / "train.py")]
    for name, value in FLAGS.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    words += ["--train_file", str(folder / "rows.txt"), "--output_dir", str(folder / output)]
    return [*words, *more]


def train(folder, output, *more):
    """Run train.py with the flags above and more; returns the finished process."""
    return run_script("train.py", *command(folder, output, *more)[2:])


@pytest.fixture(scope="module")
def start(rows):
    """Train the model that is cut; its folder lies beside the rows."""
    done = train(rows, "start", *SCRATCH)
    assert done.returncode == 0, done.stderr
    return rows


def weights_of(folder, words):
    """Return the weights in a folder whose names have `words`."""
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensor.flatten() for name, tensor in tensors.items() if words in name])


@pytest.mark.slow
def test_l1_leaves_zeros_under_accumulation_and_an_average(start):
    """30% of the query weights, and no other weight of the layers."""
    more = ["--compression", "l1", "--gradient_accumulation_steps", "2", "--ema_decay", "0.9"]
    done = train(start, "l1", "--model_name_or_path", str(start / "start"), *more)
    assert done.returncode == 0, done.stderr
    zeros = (weights_of(start / "l1", "query.weight") == 0).float().mean().item()
    assert zeros == pytest.approx(0.3, abs=0.001)
    assert (weights_of(start / "l1", "key.weight") != 0).all()


def test_l1_reports_what_it_did(start):
    """The metric before is the start's own, the one after that of metrics.json; the file is as large."""
    more = ["--compression", "l1", "--l1_sparsity", "0.5", "--l1_matrices", "attention"]
    more += ["--validation_file", str(start / "rows.txt")]
    done = train(start, "l1_report", "--model_name_or_path", str(start / "start"), *more)
    assert done.returncode == 0, done.stderr
    report = json.loads((start / "l1_report" / "l1_report.json").read_text(encoding="utf-8"))
    rows = [line.split("\t") for line in (start / "rows.txt").read_text("utf-8").splitlines()]
    answers = load_predictor(start / "start").predict([text for text, _ in rows])
    expected = [{"0": "a", "1": "b"}[label] for _, label in rows]
    f1 = f1_score(expected, [answer["label"] for answer in answers], average="macro")
    assert report["before"]["metric"] == pytest.approx(f1)
    metrics = json.loads((start / "l1_report" / "metrics.json").read_text(encoding="utf-8"))
    assert report["after"]["metric"] == metrics["eval_f1_macro"]
    size = (start / "start" / "model.safetensors").stat().st_size
    assert report["before"]["bytes"] == report["after"]["bytes"] == size
    assert report["after"]["compressed_bytes"] < report["before"]["compressed_bytes"]
    assert report["matrices"]["value"]["sparsity"] == 0.5
    assert "Gain in speed: none" in done.stdout


def test_a_rising_sparsity_arrives(start):
    """Over half of the training, of all feed-forward weights together."""
    more = [
        "--compression",
        "l1",
        "--l1_sparsity",
        "0.6",
        "--l1_ramp",
        "0.5",
        "--l1_scope",
        "global",
    ]
    more += ["--l1_matrices", "feed_forward"]
    done = train(start, "ramp", "--model_name_or_path", str(start / "start"), *more)
    assert done.returncode == 0, done.stderr
    names = (
        "intermediate.dense.weight",
        "layer.0.output.dense.weight",
        "layer.1.output.dense.weight",
    )
    joined = torch.cat([weights_of(start / "ramp", name) for name in names])
    assert (joined == 0).float().mean().item() == pytest.approx(0.6, abs=0.001)


@pytest.mark.slow
def test_width_resumes_and_predicts(start):
    """A run that stops after an epoch goes on with the same matrices."""
    more = ["--compression", "width", "--width", "0.5"]
    more += ["--model_name_or_path", str(start / "start"), "--seed", "7"]
    done = train(start, "cut", *more)
    assert done.returncode == 0, done.stderr
    weights = load_file(start / "cut" / "model.safetensors")
    assert weights["encoder.encoder.layer.0.attention.self.query.weight"].shape == (16, 32)
    assert weights["encoder.encoder.layer.0.intermediate.dense.weight"].shape == (12, 32)
    checkpoint = next((start / "cut").glob("checkpoint-*"))
    done = train(
        start, "on", *more, "--num_train_epochs", "2", "--resume_from_checkpoint", str(checkpoint)
    )
    assert done.returncode == 0, done.stderr
    done = run_ok("predict.py", "--model", start / "on", "--text", "good day 3")
    assert "good day 3  b " in done.stdout


@pytest.mark.slow
def test_a_speed_is_named_and_met_by_a_resumed_run_too(start):
    """The sizes of config.json are those that were measured, and a resumed run has them without measuring."""
    more = ["--compression", "width", "--target_speedup", "1.2", "--seed", "7"]
    # Large enough for its matrices to count.
    more += ["--from_scratch", "tiny", "--vocab_size", "60", "--config_overrides"]
    more += ["hidden_size=64,num_hidden_layers=2,num_attention_heads=4,intermediate_size=4096"]
    done = train(start, "fast", *more)
    assert done.returncode == 0, done.stderr
    assert "measuring texts of 6 tokens" in done.stderr
    table = json.loads((start / "fast" / "latency_table.json").read_text(encoding="utf-8"))
    config = json.loads((start / "fast" / "config.json").read_text(encoding="utf-8"))
    assert config["layer_sizes"] == table["layer_sizes"]
    assert table["layer_sizes"] != [{"heads": 4, "inner": 4096}] * 2
    checkpoint = next((start / "fast").glob("checkpoint-*"))
    more += ["--num_train_epochs", "2", "--resume_from_checkpoint", str(checkpoint)]
    done = train(start, "fast_on", *more)
    assert done.returncode == 0, done.stderr
    assert "measuring" not in done.stderr
    assert "target_speedup 1.2" in done.stderr
    config = json.loads((start / "fast_on" / "config.json").read_text(encoding="utf-8"))
    assert config["layer_sizes"] == table["layer_sizes"]


@pytest.mark.parametrize(
    "more, message",
    [
        (["--compression", "width", "--width", "0.3"], "width 0.3 of a layer's 4 heads is 1.2"),
        (["--compression", "width"], "compression width needs --width, --target_speedup or"),
        (
            ["--compression", "width", "--width", "0.5", "--target_speedup", "3"],
            "width 0.5 and target_speedup 3 are given, but one of them",
        ),
        (["--compression", "width", "--target_speedup", "1"], "target_speedup 1.0 is out of range"),
        (["--target_latency_ms", "2"], "target_latency_ms 2.0 has no effect: compression has"),
        (
            ["--compression", "width", "--target_speedup", "100"],
            "target_speedup 100 cannot be reached: with 1 heads and 2 neurons in each layer",
        ),
        (["--compression", "layers"], "compression layers needs --keep_layers"),
        (["--compression", "layers", "--keep_layers", "3"], "the encoder has 2 layers"),
        (["--width", "0.5"], "width 0.5 has no effect: compression has no stage width"),
        (["--compression", "l1", "width", "--width", "0.5"], "in the order vocab layers width l1"),
    ],
)
def test_wrong_flags_end_in_one_line(start, more, message):
    """Exit status 2."""
    done = train(start, "wrong", "--model_name_or_path", str(start / "start"), *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_student_has_no_heads_to_cut(start):
    """By the name of its kind."""
    done = train(
        start, "none", "--from_scratch", "static", "--compression", "width", "--width", "0.5",
        "--pooling", "mean_hidden",
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be cut" in done.stderr
