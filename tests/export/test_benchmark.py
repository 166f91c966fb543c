"""`export.py --benchmark`: what runs, what is measured, and what is said of it."""

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

from tests.cli.test_other_tasks import flags_for
from tests.conftest import run_ok, run_script
from tests.inference.conftest import TABLE, save_int8, save_model
from trainer_ext.cores import available_cores
from trainer_ext.errors import RunError
from trainer_ext.export.benchmark.contenders import Contender
from trainer_ext.export.benchmark.process import WorkerProcess
from trainer_ext.export.benchmark.results import (
    Benchmark,
    BenchmarkVariant,
    benchmark_table,
    latency_row,
)
from trainer_ext.export.benchmark.rows import draw_rows, lengths_within
from trainer_ext.export.benchmark.run import Race, is_enough
from trainer_ext.export.benchmark.worker import Job, plain_answer, predictor_answer
from trainer_ext.inference.folder import read_pipeline

ALL = ["pytorch", "plain_onnx", "plain_int8", "onnx", "int8"]
ROWS = {"4": [[2, 3, 4, 5], [2, 6, 7, 3], [2, 5, 5, 5]]}


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def job(tmp_path) -> Job:
    """The float file of a model that can be computed by hand, and its rows."""
    folder = save_model(tmp_path / "model")
    save_int8(folder / "model_quantized.onnx")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    return Job(str(folder), "model.onnx", 1, str(tmp_path / "rows.json"))


# --- what runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "max_length, lengths",
    [(512, [16, 32, 64, 128]), (64, [16, 32, 64]), (48, [16, 32, 48]), (11, [11])],
)
def test_lengths_end_where_the_model_does(max_length, lengths):
    assert lengths_within(max_length) == lengths


def test_rows_are_words_of_the_vocabulary_between_special_tokens(job):
    folder = Path(job.folder)
    pipeline = replace(read_pipeline(folder), max_length=20)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=18)
    rows = draw_rows(tokenizer, pipeline)
    assert {length: len(texts) for length, texts in rows.items()} == {16: 32, 20: 32}
    for length, texts in rows.items():
        assert {len(text) for text in texts} == {length}
        assert {text[0] for text in texts} == {2}, "[CLS]"
        inside = {token for text in texts for token in text[1:]}
        assert inside == {1, 3, 4, 5, 6, 7}, "neither [PAD] nor [CLS]"
    assert draw_rows(tokenizer, pipeline) == rows


def test_the_predictor_answers_in_the_runs_of_predict(job):
    """A float file takes up to 8 texts at once, dynamic INT8 in ONNX Runtime one."""
    rows = 4 * ROWS["4"]
    expected = TABLE[np.array(rows)].sum(axis=1)
    answer, runs_on = predictor_answer(job)
    first, second = answer(rows)
    assert runs_on == "model.onnx on cpu, by OnnxSession"
    assert (len(first["logits"]), len(second["logits"])) == (8, 4)
    assert np.array_equal(np.concatenate([first["logits"], second["logits"]]), expected)
    answer, _ = predictor_answer(replace(job, file="model_quantized.onnx"))
    assert [run["logits"].shape for run in answer(rows)] == [(1, 3)] * 12


def test_a_plain_file_is_padded_behind_the_mask(job):
    """[PAD] has large numbers in this model, which show if they are not masked."""
    rows = ROWS["4"]
    expected = TABLE[np.array(rows)].sum(axis=1)
    for padded_to in (None, 9):
        answer, _ = plain_answer(replace(job, plain=True, padded_to=padded_to, pad_token_id=0))
        (logits,) = answer(rows)
        assert np.array_equal(logits, expected), padded_to


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
def test_a_process_answers_until_it_is_ended(job, plain):
    worker = WorkerProcess(replace(job, plain=plain))
    try:
        assert worker.wait_until_loaded().startswith("model.onnx ")
        assert worker.seconds(4, 1) > 0 and worker.seconds(4, 3) > 0
        # Python, numpy and ONNX Runtime, and no torch.
        assert 20e6 < worker.peak_memory() < 300e6
    finally:
        worker.end()
    assert worker.process.returncode == -9


def test_a_file_that_cannot_be_loaded_is_named(job):
    (Path(job.folder) / "model.onnx").write_bytes(b"no model")
    worker = WorkerProcess(job)
    with pytest.raises(RunError, match=r"model\.onnx cannot be loaded"):
        worker.wait_until_loaded()
    worker.end()


def test_a_process_that_is_killed_leaves_the_others_in_the_race(job):
    variants = [BenchmarkVariant(name, "model.onnx", 1) for name in ("a", "b", "gone")]
    benchmark = Benchmark("", "", 1, {}, "a", variants)
    contenders = [Contender(variant, job) for variant in variants]
    contenders[2] = Contender(variants[2], replace(job, file="model_fp16.onnx"))
    with Race(benchmark, 1) as race:
        race.start(contenders)
        processes = [worker.process for worker in race.workers.values()]
        assert list(race.workers) == ["a", "b"]
        race.workers["a"].process.kill()
        race.run(4, 2)
        race.record_memory()
    assert [row.variant for row in benchmark.rows] == ["b"]
    assert [variant.peak_memory_bytes is None for variant in variants] == [True, False, True]
    first, second = benchmark.notes
    assert (
        first.startswith("gone is not measured with threads=1: ")
        and "has no model_fp16.onnx" in first
    )
    assert second == "a is not measured with threads=1: its process ended with signal 9"
    assert all(process.poll() is not None for process in processes)


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rounds, seconds, enough",
    [
        (50, 0.1, True),
        (49, 2.9, False),
        (5, 3.0, True),
        (4, 3.0, False),
        (2, 15.0, True),
        (1, 90.0, False),
    ],
)
def test_rounds_end_by_number_or_time(rounds, seconds, enough):
    """Of three variants, each of which has a second."""
    assert is_enough(rounds, seconds, 3) == enough


def test_percentiles_and_throughput():
    """Of 1 to 101 ms, percentiles lie on single values; 8 x 101 texts took 5.151 s."""
    seconds = [number / 1000 for number in range(101, 0, -1)]
    row = latency_row("int8", 2, 64, 8, seconds)
    assert (row.ms_p50, row.ms_p95, row.ms_p99) == (51.0, 96.0, 100.0)
    assert (row.runs, row.texts_per_second) == (101, 156.9)
    assert (row.variant, row.threads, row.length, row.batch_size) == ("int8", 2, 64, 8)


def test_the_table_is_of_single_texts_on_one_thread():
    variants = [
        BenchmarkVariant("onnx", "model.onnx", 2_500_000, peak_memory_bytes=100_400_000),
        BenchmarkVariant("plain_int8", "model_quantized.onnx", 640_000, padded_to=128),
    ]
    benchmark = Benchmark("", "", 2, {}, "onnx", variants)
    for threads, batch_size in product((1, 2), (1, 8)):
        benchmark.rows.append(latency_row("onnx", threads, 16, batch_size, [0.002, 0.002]))
    benchmark.rows.append(latency_row("plain_int8", 1, 16, 1, [0.004]))
    _, _, first, second = benchmark_table(benchmark).splitlines()
    assert first.split() == ["16", "onnx", "2.00", "2.00", "2.00", "500", "2.50", "100"]
    assert second.split()[:4] == ["16", "plain_int8", "(padded", "to"]
    assert second.split()[-5:] == ["4.00", "4.00", "4.00", "250", "0.64"]


# --- the command ------------------------------------------------------------------------------------------------------


def check_complete(folder: Path, names: list[str], lengths: list[int]) -> dict:
    """Check that benchmark.json has each variant at each length, batch and number of threads; returns it."""
    found = read_json(folder / "benchmark.json")
    assert [variant["name"] for variant in found["variants"]] == names
    threads = sorted({1, available_cores()})
    cells = {
        (row["variant"], row["threads"], row["length"], row["batch_size"]) for row in found["rows"]
    }
    assert cells == set(product(names, threads, lengths, (1, 8, 32)))
    assert len(found["rows"]) == len(cells)
    for row in found["rows"]:
        assert 0 < row["ms_p50"] <= row["ms_p95"] <= row["ms_p99"] and row["runs"] >= 2
        assert row["texts_per_second"] > 0
    assert all(variant["peak_memory_bytes"] > 20e6 for variant in found["variants"])
    assert {"onnxruntime", "torch"} <= set(found["versions"]) and found["instruction_set"]
    assert found["cores"] == available_cores()
    with Image.open(folder / "benchmark.png") as image:
        assert image.format == "PNG" and min(image.size) > 500
    assert not list(folder.glob(".*")), "plain files and rows are gone"
    return found


@pytest.mark.slow
def test_an_export_is_measured_where_it_serves(topic_checkpoint, tmp_path):
    """Without the checkpoint, of which the plain files would be made."""
    checkpoint = shutil.copytree(topic_checkpoint, tmp_path / "checkpoint")
    folder = tmp_path / "onnx"
    flags = ["--max_metric_drop", "100", "--layout", "hub", "--also", "ort"]
    run_ok("export.py", checkpoint, "--output_dir", folder, *flags)
    assert not (folder / "benchmark.json").exists()
    report = read_json(folder / "export_report.json")
    shutil.rmtree(checkpoint)
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\nbig goal,sports\nold bank,money\nnew quest,games\n")
    flags = ["--eval_file", rows, "--text_column", "text", "--label_columns", "label"]
    done = run_script("export.py", "--verify", folder, "--benchmark", *flags)
    found = check_complete(folder, ["onnx", "int8", "ort"], [16, 32])
    assert found["notes"] == [
        "the checkpoint is not here: PyTorch, plain ONNX and plain INT8, which are made of it, are not measured"
    ]
    assert f"note: {found['notes'][0]}" in done.stdout and "one text at a time" in done.stdout
    size = (folder / "onnx/model_quantized.onnx").stat().st_size
    assert found["variants"][1]["bytes"] == size
    assert "latency" not in read_json(folder / "export_report.json"), (
        "that of the exporting machine"
    )
    assert read_json(folder / "export_report.json")["variants"] == report["variants"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, columns", [("multi_label", ["labels"]), ("regression", ["quality", "price"])]
)
def test_other_tasks(task, columns, topic_flags, emotion_file, score_file, tmp_path):
    file = emotion_file if task == "multi_label" else score_file
    flags = [*flags_for(topic_flags, task, file), "--label_columns", *columns]
    short = ["--max_steps", "2", "--eval_steps", "2", "--save_steps", "2", "--max_length", "12"]
    run_ok("train.py", *flags, *short, "--output_dir", tmp_path / "model")
    flags = ["--output_dir", tmp_path / "onnx", "--max_metric_drop", "1000", "--benchmark"]
    run_script("export.py", tmp_path / "model", *flags)
    found = check_complete(tmp_path / "onnx", ALL, [12])
    assert found["notes"] == []


@pytest.mark.slow
def test_aspects_by_the_other_exporter(aspect_checkpoint, tmp_path):
    flags = ["--output_dir", tmp_path / "onnx", "--max_metric_drop", "1000", "--benchmark"]
    run_ok("export.py", aspect_checkpoint, *flags, "--exporter", "torch")
    found = check_complete(tmp_path / "onnx", ALL, [16, 32])
    assert found["notes"] == []
