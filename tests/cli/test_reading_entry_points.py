"""Reading flags and streaming through training, export and prediction."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.conftest import CLASSES, ROOT, TINY_ENCODER, run_ok, run_script, sentence
from trainer_ext import fit
from trainer_ext.api import parse_values
from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.dataset import load_rows
from trainer_ext.data.labelled import labelled_rows
from trainer_ext.data.report.summary import log_summary
from trainer_ext.errors import UserError
from trainer_ext.export.eval_rows import evaluation_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import load_predictor
from trainer_ext.tasks.single_label import SingleLabel

TINY = {
    "from_scratch": "tiny", "config_overrides": TINY_ENCODER, "max_length": 32, "pooling": "mean", "report_to": "none",
    "write_report": False,
    "per_device_train_batch_size": 16, "learning_rate": 5e-3, "save_strategy": "no", "disable_tqdm": True,
}  # fmt: skip
TABLE = {"column_names": ["text", "labels", "id"], "quoting": "none"}


@pytest.fixture(scope="module")
def emotions(tmp_path_factory) -> Path:
    """A tsv as GoEmotions has it: no header, quotes that are text, label ids between commas; and the names."""
    folder, generator = tmp_path_factory.mktemp("emotions"), random.Random(3)
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")
    with open(folder / "rows.tsv", "w") as file:
        for k in range(96):
            labels = sorted({k % 3, generator.randrange(3)})
            words = " ".join(sentence(list(CLASSES.values())[label], generator) for label in labels)
            file.write(f'"{words}\t{",".join(map(str, labels))}\te{k}\n')
    return folder


@pytest.fixture(scope="module")
def emotion_run(emotions) -> Path:
    """A streamed training on it."""
    folder = emotions / "run"
    fit(
        {**TINY, **TABLE}, task="multi_label", train_file=emotions / "rows.tsv", validation_file=emotions / "rows.tsv",
        label_columns="labels", label_names=emotions / "names.txt", id_column="id", streaming=True, max_steps=12,
        output_dir=folder,
    )  # fmt: skip
    return folder


def test_streamed_training_on_a_table_without_header(emotion_run):
    """Names of the classes from the file, and metrics over all rows."""
    assert load_predictor(emotion_run).task.label_space.classes == tuple(CLASSES)
    metrics = json.loads((emotion_run / "metrics.json").read_text())
    assert metrics["global_step"] == 12 and "eval_f1_macro" in metrics


def test_predict_takes_the_same_flags(emotion_run, emotions):
    """--evaluate gives the training's own metrics, and each row its answer with its text and id."""
    flags = ["--column_names", "text", "labels", "id", "--quoting", "none"]
    output = emotions / "answers.jsonl"
    argv = [
        "--model",
        emotion_run,
        "--input",
        emotions / "rows.tsv",
        "--output",
        output,
        "--evaluate",
    ]
    run_ok("predict.py", *argv, *flags)
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["id"] for answer in answers] == [f"e{k}" for k in range(96)]
    assert all(answer["text"].startswith('"') for answer in answers)
    metrics = json.loads((emotion_run / "metrics.json").read_text())
    again = json.loads(output.with_suffix(".metrics.json").read_text())
    assert again["eval_f1_macro"] == pytest.approx(metrics["eval_f1_macro"], abs=1e-6)


def test_export_reads_the_training_file_as_the_training_did(emotion_run, emotions, tmp_path):
    """And another file as its own flags say."""
    predictor = load_predictor(emotion_run)
    options = {
        "max_metric_drop": 0.5,
        "max_eval_samples": 5,
        "benchmark": False,
        "output_dir": tmp_path,
    }
    texts, labels = evaluation_rows(
        ExportOptions(model=emotion_run, eval_file=None, **options), predictor
    )
    assert len(texts) == 5 and texts[0].startswith('"') and sum(labels[0]) >= 1
    limited = shutil.copytree(emotion_run, tmp_path / "limited")
    with open(limited / "resolved_config.yaml", "a") as file:
        file.write("max_eval_samples: 20\n")
    recorded = ExportOptions(model=limited, eval_file=None, **options | {"max_eval_samples": None})
    assert len(evaluation_rows(recorded, predictor)[0]) == 20, (
        "as many as the checkpoint was chosen on"
    )
    (tmp_path / "a.jsonl").write_text('{"text": "goal", "labels": ["sports"]}\n')
    given = ExportOptions(model=emotion_run, eval_file=str(tmp_path / "a.jsonl"), **options)
    assert evaluation_rows(given, predictor)[0] == ["goal"]
    (tmp_path / "a.rows").write_text("goal|0\n")
    files = FileOptions("txt", "|", column_names=["text", "labels"])
    given = ExportOptions(
        model=emotion_run, eval_file=str(tmp_path / "a.rows"), files=files, **options
    )
    assert evaluation_rows(given, predictor) == (["goal"], [[1, 0, 0]])


def test_flags_that_do_not_fit_the_input(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    base = ["predict.py", "--model", "x", "--input", tmp_path / "a.jsonl"]
    for flags, words in (
        (
            ["--column_names", "text"],
            "column_names ['text'] is for csv, tsv, txt, but the files are jsonl",
        ),
        (["--drop_missing"], "--drop_missing is for --evaluate"),
    ):
        done = run_script(*base, *flags)
        assert done.returncode == 2 and words in done.stderr


def test_a_resumed_stream_goes_on_where_it_stopped(topic_files, tmp_path):
    """In the second epoch (6 steps each): the same weights to the bit."""
    flags = {**TINY, "train_file": topic_files["train"], "streaming": True, "max_steps": 11}
    flags |= {"save_strategy": "steps", "save_steps": 8}
    fit(flags, output_dir=tmp_path / "whole")
    fit(
        flags,
        output_dir=tmp_path / "resumed",
        resume_from_checkpoint=str(tmp_path / "whole/checkpoint-8"),
    )
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


# --- what the flags say before any row is read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (
            {"task": "joint", "column_names": ["a", "b"]},
            "column_names .* is not for the files of the task joint",
        ),
        ({"task": "joint", "file_format": "csv"}, "file_format csv is not for the task joint"),
        (
            {"file_format": "jsonl", "quoting": "none"},
            "quoting none is for csv, tsv, but the files are jsonl",
        ),
        ({"delimiter": "ab"}, "'ab' is not one character"),
        ({"label_names": "no.txt"}, "label_names: no.txt does not exist"),
        (
            {"train_file": None, "dataset_name": "x", "quoting": "none"},
            "quoting none is for files, not dataset_name x",
        ),
    ],
)
def test_contradictions_at_parse_time(topic_files, flags, words):
    base = {"train_file": topic_files["train"], "from_scratch": "tiny", "output_dir": "x"}
    with pytest.raises(UserError, match=words):
        parse_values(base, flags)


def test_rows_without_text_or_label(tmp_path, capsys):
    """Refused, or left out and named."""
    path = str(tmp_path / "a.csv")
    Path(path).write_text("label,review\n1,good\n0,\n,fine\n0,bad\n")
    rows = labelled_rows(path, SingleLabel, "review", ["label"], FileOptions(drop_missing=True))
    assert [row.values["review"] for row in rows] == ["good", "bad"]
    assert capsys.readouterr().err == (
        f"{path}: left out 2 without text or label: row 2 (line 3), row 3 (line 4)\n"
    )
    assert len(list(labelled_rows(path, SingleLabel, "review", ["label"]))) == 4
    data = parse_values(
        {}, {"train_file": path, "text_column": "review", "from_scratch": "tiny", "output_dir": "x"}
    ).data
    assert len(load_rows(data, "train")) == 4


def test_summary_before_training(emotion_run, caplog):
    """Repeats, contradictions, leakage, and what max_length cuts."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    train = Dataset.from_dict(
        {"text": ["goal team", "GOAL  team", "bank", "goal " * 9], "labels": [0, 1, 1, 0]}
    )
    test = Dataset.from_dict({"text": ["Bank", "match"], "labels": [1, 0]})
    tokenizer = AutoTokenizer.from_pretrained(emotion_run)
    with caplog.at_level("INFO", logger="trainer_ext"):
        log_summary({"train": train, "validation": None, "test": test}, tokenizer, 8)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "rows: train 4, test 2"),
        ("INFO", "1 rows of train repeat the text of another row, 1 texts with different labels"),
        ("WARNING", "1 rows of test (50.0%) share their text with a row of train"),
        ("INFO", "max_length 8 cuts 25.0% of the training texts (of 4 looked at)"),
    ]


PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "predict.py", *sys.argv[1:]], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_prediction_from_a_large_file_takes_no_more_memory(topic_checkpoint, tmp_path):
    """40 MB of long rows, of which a list alone would take 40 MB and more."""
    peaks = []
    for rows in (100, 20_000):
        path = tmp_path / f"{rows}.jsonl"
        with open(path, "w") as file:
            for k in range(rows):
                file.write(json.dumps({"id": k, "text": "goal " + "x" * 2000}) + "\n")
        argv = ["--model", topic_checkpoint, "--input", path, "--output", tmp_path / "out.csv"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *map(str, argv)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 25, f"{peaks[0]} MB for 100 rows, {peaks[1]} MB for 20,000"
