"""The three scripts as a user calls them: train -> export -> predict, bad input, interruption."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import f1_score

from tests.conftest import ASPECTS, ROOT, run_ok, run_script
from tests.export.test_benchmark import ALL, check_complete
from tests.versions import needs_optimum
from trainer_ext.arguments.precision import choose, look
from trainer_ext.inference import load_predictor


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def topic_export(topic_checkpoint, topic_files, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "topics"
    # thirty rows: one flipped label is three points
    done = run_ok(
        "export.py",
        topic_checkpoint,
        "--output_dir",
        folder,
        "--max_metric_drop",
        "10",
        "--benchmark",
        real=True,
    )
    assert "topics, one text at a time, 1 thread (" in done.stdout
    assert "plain_int8 (padded to 32)" in done.stdout and "benchmark: 100%" in done.stderr
    return folder


@pytest.fixture(scope="module")
def aspect_export(aspect_checkpoint, aspect_files, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "aspects"
    file = aspect_files["validation"]
    run_ok(
        "export.py",
        aspect_checkpoint,
        "--output_dir",
        folder,
        "--eval_file",
        file,
        "--max_metric_drop",
        "10",
    )
    return folder


def test_training_leaves_a_complete_folder(topic_checkpoint):
    names = {path.name for path in topic_checkpoint.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "metrics.json",
        "resolved_config.yaml",
    } <= names
    assert {"README.md", "plots"} <= names
    assert not [p for p in topic_checkpoint.rglob("*") if p.suffix in (".bin", ".pkl", ".tmp")]
    metrics = read_json(topic_checkpoint / "metrics.json")
    assert {
        "eval_accuracy",
        "eval_f1_macro",
        "test_accuracy",
        "train_runtime",
        "train_samples_per_second",
        "best_step",
    } <= set(metrics)
    assert metrics["eval_accuracy"] > 0.6, "the words give the class away"
    for plot in ("learning_curves.png", "confusion_matrix.png"):
        assert (topic_checkpoint / "plots" / plot).read_bytes()[:4] == b"\x89PNG"
    card = (topic_checkpoint / "README.md").read_text()
    assert "eval_f1_macro" in card and "96 rows" in card
    assert metrics["precision"] == "float32" and "Trained in float32" in card


def test_best_and_last_checkpoints_are_both_there(topic_checkpoint):
    steps = sorted(int(path.name.split("-")[1]) for path in topic_checkpoint.glob("checkpoint-*"))
    best = read_json(topic_checkpoint / "metrics.json")["best_step"]
    assert steps == sorted({best, 18})
    best_weights = load_file(topic_checkpoint / f"checkpoint-{best}" / "model.safetensors")
    weights = load_file(topic_checkpoint / "model.safetensors")
    assert all(np.array_equal(weights[key], best_weights[key]) for key in weights), (
        "the best model, not the last"
    )


def test_aspect_metrics(aspect_checkpoint):
    metrics = read_json(aspect_checkpoint / "metrics.json")
    used = choose("bf16", look(use_cpu=True))
    assert (
        metrics["precision"] == used
        and f"Trained in {used}" in (aspect_checkpoint / "README.md").read_text()
    )
    by_aspect = [metrics[f"eval_f1_macro_{name}"] for name in ASPECTS]
    assert metrics["eval_f1_macro"] == pytest.approx(np.mean(by_aspect))
    assert {"eval_accuracy", "eval_exact_match"} <= set(metrics)


def test_the_export_is_proven(topic_export, topic_checkpoint):
    report = read_json(topic_export / "export_report.json")
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert list(variants) == ["pytorch", "onnx", "int8"]
    assert report["passed"] and report["chosen"] == "int8" and report["metric_name"] == "f1_macro"
    metrics = read_json(topic_checkpoint / "metrics.json")
    assert variants["pytorch"]["metric"] == pytest.approx(metrics["eval_f1_macro"])
    assert variants["onnx"]["max_logit_diff"] < 1e-4 and variants["onnx"]["label_agreement"] == 1
    assert variants["int8"]["max_logit_diff"] > 0, "INT8 that differs in nothing was not quantised"
    assert variants["int8"]["exact_without_vnni"] and variants["int8"]["dynamic_int8"]
    for variant in variants.values():
        folder = topic_checkpoint if variant["name"] == "pytorch" else topic_export
        assert (folder / variant["file"]).stat().st_size == variant["bytes"]
        assert variant["latency_ms_p50"] > 0
    assert "x86_64" in report["instruction_set"] or report["instruction_set"]
    assert {"onnxruntime", "torch", "transformers"} <= set(report["versions"])
    assert not list(topic_export.parent.glob(".*")), "the staging folder is gone"
    probe = read_json(topic_export / "probe.json")
    assert len(probe["rows"]) == 6 and list(probe["tolerance"]) == ["onnx", "int8"]
    assert [len(row["logits"]["int8"]) for row in probe["rows"]] == [3] * 6


def test_the_export_is_measured_beside_the_plain_ways(topic_export):
    found = check_complete(topic_export, ALL, [16, 32])
    assert found["notes"] == []
    by_name = {variant["name"]: variant for variant in found["variants"]}
    assert by_name["plain_int8"]["padded_to"] == 32 and by_name["int8"]["padded_to"] is None
    assert by_name["int8"]["bytes"] < by_name["plain_onnx"]["bytes"]
    assert by_name["pytorch"]["peak_memory_bytes"] > 2 * by_name["int8"]["peak_memory_bytes"]
    report = read_json(topic_export / "export_report.json")
    assert report["latency"] == [row for row in found["rows"] if row["threads"] == 1]
    assert "benchmark" not in report


def test_batch_and_length_are_dynamic_also_for_aspects(aspect_export, aspect_checkpoint):
    texts = ["food great", "staff bad " * 12, "", "food fine, staff great today"]
    torch_logits = load_predictor(aspect_checkpoint, batch_size=3).logits(texts)
    onnx_logits = load_predictor(aspect_export, batch_size=3, file_name="model.onnx").logits(texts)
    assert onnx_logits.shape == (4, 2, 4)
    np.testing.assert_allclose(onnx_logits, torch_logits, atol=1e-4)


@needs_optimum
def test_optimum_and_transformers_load_the_export(topic_export, aspect_export):
    code = f"""
from optimum.onnxruntime import ORTModelForSequenceClassification as M
from transformers import AutoTokenizer
for folder, shape in (({str(topic_export)!r}, (1, 3)), ({str(aspect_export)!r}, (1, 2, 4))):
    inputs = AutoTokenizer.from_pretrained(folder)("team match", return_tensors="pt")
    for name in ("model.onnx", "model_quantized.onnx"):
        assert M.from_pretrained(folder, file_name=name)(**inputs).logits.shape == shape
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_drop_past_the_limit_fails_and_is_marked(topic_checkpoint, tmp_path):
    out = tmp_path / "export"
    done = run_script(
        "export.py", topic_checkpoint, "--output_dir", out, "--max_metric_drop", "-200"
    )
    assert done.returncode == 1
    assert "NOT passed" in done.stdout and "more than -200" in done.stdout
    report = read_json(out / "export_report.json")
    int8 = report["variants"][-1]
    assert (
        not report["passed"]
        and report["chosen"] == "onnx"
        and not int8["good"]
        and "drops" in int8["why"]
    )
    frontier = report["frontier"]
    kept = [len(tried["fp32_nodes"]) for tried in frontier]
    assert len(kept) > 2 and kept == sorted(set(kept)), "more and more was kept in FP32"
    assert int8["setting"] in [tried["setting"] for tried in frontier]
    assert not any(tried["chosen"] for tried in frontier)
    assert "how sure: with 30 rows" in done.stdout
    assert load_predictor(out).session.input_names  # loads model.onnx, the chosen one


def test_predictions_agree_with_metrics_json(topic_checkpoint, topic_files, topic_export, tmp_path):
    rows = [line.rsplit("\t", 1) for line in topic_files["validation"].read_text().splitlines()]
    source = tmp_path / "in.jsonl"
    source.write_text(
        "".join(json.dumps({"id": k, "text": text}) + "\n" for k, (text, _) in enumerate(rows))
    )
    run_ok(
        "predict.py",
        "--model",
        topic_checkpoint,
        "--input",
        source,
        "--output",
        tmp_path / "out.jsonl",
        real=True,
    )
    answers = read_jsonl(tmp_path / "out.jsonl")
    assert [answer["id"] for answer in answers] == list(range(30))
    gold, predicted = [label for _, label in rows], [answer["label"] for answer in answers]
    expected = read_json(topic_checkpoint / "metrics.json")["eval_f1_macro"]
    assert f1_score(gold, predicted, average="macro") == pytest.approx(expected)
    run_ok(
        "predict.py", "--model", topic_export, "--input", source, "--output", tmp_path / "int8.csv"
    )
    with open(tmp_path / "int8.csv", encoding="utf-8", newline="") as file:
        header, *rest = csv.reader(file)
    assert header == [
        "id",
        "text",
        "label",
        "score",
        "probability_games",
        "probability_money",
        "probability_sports",
    ]
    assert len(rest) == 30


def test_evaluate_a_checkpoint_three_ways(
    topic_checkpoint, topic_files, topic_export, topic_flags, tmp_path
):
    expected = read_json(topic_checkpoint / "metrics.json")["eval_f1_macro"]
    for model in (topic_checkpoint, topic_export):
        out = tmp_path / f"{model.parent.name}.jsonl"
        done = run_ok(
            "predict.py",
            "--model",
            model,
            "--input",
            topic_files["validation"],
            "--evaluate",
            "--output",
            out,
        )
        assert "f1_macro" in done.stdout
        assert Path(topic_files["validation"]).name in done.stdout
        assert len(read_jsonl(out)) == 30
        assert read_json(out.with_suffix(".metrics.json"))["eval_f1_macro"] == pytest.approx(
            expected, abs=0.1
        )
    flags = ["--do_train", "false", "--do_eval", "true", "--output_dir", tmp_path / "eval"]
    run_ok(
        "train.py",
        *topic_flags,
        *flags,
        "--model_name_or_path",
        topic_checkpoint,
        "--from_scratch",
        "none",
        "--config_overrides=",
    )
    assert read_json(tmp_path / "eval/eval_results.json")["eval_f1_macro"] == pytest.approx(
        expected
    )


def test_texts_on_the_command_line_and_stdin(topic_export, aspect_export):
    done = run_ok("predict.py", "--model", aspect_export, "--text", "food great, staff bad")
    assert "food" in done.stdout and "staff" in done.stdout and "score" in done.stdout
    done = run_ok(
        "predict.py", "--model", topic_export, "--input", "-", stdin="team match\n\nstock bank\n"
    )
    assert len(done.stdout.strip().splitlines()) == 2 + 3, "a blank line is a row too"


def test_a_single_text_imports_nothing_that_it_does_not_need(topic_export):
    done = run_ok("-X", "importtime", "predict.py", "--model", topic_export, "--text", "team")
    modules = {
        line.rsplit("|", 1)[-1].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "onnxruntime" in modules
    assert not modules & {
        *("torch", "transformers", "datasets", "optimum", "evaluate", "accelerate", "onnx"),
        *("pandas", "pyarrow", "sklearn", "scipy", "matplotlib", "PIL", "sympy"),
        *("huggingface_hub", "requests", "jinja2", "yaml", "tqdm", "wandb"),
    }
    # Ours, for files of rows and for several models.
    assert not modules & {
        "trainer_ext.data.io.partial",
        "trainer_ext.data.io.slot_files",
        "trainer_ext.data.labelled",
        "trainer_ext.inference.ensemble",
        "trainer_ext.inference.identity",
        "trainer_ext.inference.weights",
        "trainer_ext.tasks.joint",
    }


def test_the_resolved_config_runs_again_and_gives_the_same_model(topic_checkpoint, tmp_path):
    run_ok(
        "train.py", topic_checkpoint / "resolved_config.yaml", "--output_dir", tmp_path / "again"
    )
    first, again = (
        load_file(folder / "model.safetensors") for folder in (topic_checkpoint, tmp_path / "again")
    )
    assert all(np.array_equal(first[key], again[key]) for key in first), (
        "same seed, same machine: same bits"
    )


def test_a_finished_folder_is_refused(topic_flags, topic_checkpoint):
    before = (topic_checkpoint / "model.safetensors").stat().st_mtime_ns
    done = run_script("train.py", *topic_flags, "--output_dir", topic_checkpoint)
    assert (
        done.returncode == 2
        and "already holds another run" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert (topic_checkpoint / "model.safetensors").stat().st_mtime_ns == before


BAD = {
    "missing file": (["--train_file", "nowhere.txt"], ["nowhere.txt", "does not exist"]),
    "unknown label": (
        ["--label_names", "games", "money", "chess"],
        ["row", "'sports'", "expected one of games, money"],
    ),
    "missing column": (["--text_column", "body"], ["'body'", "columns are text, label"]),
    "unknown flag": (["--lerning_rate", "1"], ["lerning_rate", "learning_rate"]),
    "unknown metric": (["--metric_for_best_model", "f1_marco"], ["f1_marco", "f1_macro"]),
    "no such encoder": (
        ["--from_scratch", "none", "--model_name_or_path", "no/such"],
        ["no/such", "cannot be loaded"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(case, topic_flags, tmp_path):
    flags, words = BAD[case]
    if "--model_name_or_path" in flags:
        topic_flags = [
            flag
            for flag in topic_flags
            if flag not in ("--config_overrides",) and "hidden_size" not in str(flag)
        ]
    done = run_script("train.py", *topic_flags, *flags, "--output_dir", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and all(word in done.stderr for word in words), (
        done.stderr
    )
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["predict.py", "export.py"])
def test_broken_models_are_refused(script, topic_checkpoint, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (broken / name).write_bytes((topic_checkpoint / name).read_bytes())
    (broken / "model.safetensors").write_bytes(b"\0" * 64)
    for model, word in ((broken, "cannot be loaded"), (tmp_path / "none", "does not exist")):
        rest = (
            ["--model", model, "--text", "x"]
            if script == "predict.py"
            else [model, "--output_dir", tmp_path / "x"]
        )
        done = run_script(script, *rest)
        assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr, (
            done.stderr
        )
    assert not (tmp_path / "x").exists()


def test_kill_and_resume_gives_the_same_model(topic_flags, topic_checkpoint, tmp_path):
    """kill -9 after a checkpoint; the resumed run ends with the bits of the run that was never interrupted."""
    out = tmp_path / "killed"
    command = [sys.executable, "train.py", *map(str, topic_flags), "--output_dir", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.time() + 600  # imports alone took minutes on a busy machine
    while (
        process.poll() is None
        and not (out / "checkpoint-6/trainer_state.json").exists()
        and time.time() < deadline
    ):
        time.sleep(0.002)
    assert process.poll() is None, "it must be killed while it runs"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "metrics.json").exists(), "a killed run does not look finished"
    resumed = ("--output_dir", out, "--resume_from_checkpoint", "true")
    run_ok("train.py", *topic_flags, *resumed, real=True)
    metrics, reference = (
        read_json(out / "metrics.json"),
        read_json(topic_checkpoint / "metrics.json"),
    )
    assert metrics["global_step"] == 18 and metrics["best_step"] == reference["best_step"]
    first, again = (
        load_file(folder / "checkpoint-18/model.safetensors") for folder in (topic_checkpoint, out)
    )
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_patience_survives_a_resume(topic_flags, tmp_path):
    """Stops after two evaluations without a gain, in one go or resumed one evaluation before the end."""
    flags = [
        *topic_flags,
        "--learning_rate",
        "1e-9",
        "--early_stopping_patience",
        "2",
        "--save_total_limit",
        "9",
    ]
    run_ok("train.py", *flags, "--max_steps", "60", "--output_dir", tmp_path / "whole")
    assert read_json(tmp_path / "whole/metrics.json")["global_step"] == 18
    for step in (12, 18):  # one evaluation before its end, and at its end
        run_ok("train.py", *flags, "--max_steps", "60", "--output_dir", tmp_path / f"from-{step}",
               "--resume_from_checkpoint", tmp_path / f"whole/checkpoint-{step}")  # fmt: skip
        assert read_json(tmp_path / f"from-{step}/metrics.json")["global_step"] == 18
