"""Several stages of `--compression`: a model after each, their report, and a chain that was killed."""

import json
import os
import signal
import subprocess
import time

import pytest
import transformers

from tests.compression.test_stages import SCRATCH, command, train
from tests.conftest import ROOT, run_ok, run_script
from trainer_ext.arguments.parser import parse
from trainer_ext.compression.chain import stages_of
from trainer_ext.compression.chain_report import ChainReport, StageRow, markdown
from trainer_ext.files import file_sha256, read_json
from trainer_ext.inference import load_predictor

STAGES = [
    *("--compression", "layers", "width", "qat", "--keep_layers", "1", "--width", "0.5"),
    *("--stage_epochs", "0", "1", "2", "--distill", "soft"),
]
FOLDERS = ["0-start", "1-layers", "2-width", "3-qat"]


@pytest.fixture(scope="module")
def chain(rows):
    """Run a whole chain; returns its folder and what it printed."""
    done = train(rows, "chain", *SCRATCH, *STAGES, *validated(rows))
    assert done.returncode == 0, done.stderr
    return rows / "chain", done.stdout


def validated(rows):
    """Return the flags of validation on the training rows."""
    return ["--validation_file", str(rows / "rows.txt")]


def test_every_stage_is_a_model(chain):
    """Each smaller than the one before it where it cuts, and loaded as any other model."""
    folder, _ = chain
    models = [folder / "stages" / name for name in FOLDERS]
    sizes = [(model / "model.safetensors").stat().st_size for model in models]
    assert sizes[0] > sizes[1] > sizes[2]
    for model in [*models, folder, folder / "onnx"]:
        assert len(load_predictor(model).predict(["good day"])) == 1
    assert transformers.AutoConfig.from_pretrained(models[3]).quantisation_aware
    # The end of the chain is its folder.
    assert file_sha256(folder / "model.safetensors") == file_sha256(models[3] / "model.safetensors")
    assert read_json(folder / "metrics.json") == read_json(models[3] / "metrics.json")


def test_epochs_and_teacher_of_each_stage(chain):
    """The start as the recipe says, without a teacher, which it is itself."""
    folder, _ = chain
    steps = [
        read_json(folder / "stages" / name / "metrics.json")["global_step"] for name in FOLDERS
    ]
    assert steps == [5, 0, 5, 10]
    recipes = [(folder / "stages" / name / "resolved_config.yaml").read_text() for name in FOLDERS]
    assert "distill" not in recipes[0] and "distill" not in recipes[1]
    for recipe in recipes[2:]:
        assert f"teacher:\n- {folder / 'stages' / '0-start'}" in recipe


def test_the_report_has_every_stage(chain):
    folder, printed = chain
    report = read_json(folder / "compression_report.json")
    names = [stage["name"] for stage in report["stages"]]
    assert names[:4] == ["start", "layers", "width", "qat"]
    assert names[4] in ("int8 export", "onnx export")
    for stage, name in zip(report["stages"], FOLDERS, strict=False):
        model = folder / "stages" / name
        assert stage["bytes"] == (model / "model.safetensors").stat().st_size
        assert stage["metric"] == read_json(model / "metrics.json")["eval_f1_macro"]
        assert stage["latency_ms_p50"] > 0 and stage["peak_memory_bytes"] > 0
    assert report["stages"][4]["bytes"] < report["stages"][3]["bytes"]
    assert report["notes"] == []
    assert (folder / "compression_report.png").read_bytes()[1:4] == b"PNG"
    assert (
        "times as fast" in printed and "| qat |" in (folder / "compression_report.md").read_text()
    )


@pytest.mark.slow
def test_a_killed_chain_ends_as_one_that_was_not(chain, rows):
    """Killed in its third training; the same command keeps what is finished, and the end is the same to the bit."""
    folder, _ = chain
    words = command(rows, "killed", *SCRATCH, *STAGES, *validated(rows))
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = rows / "killed" / "stages" / "3-qat"
    while not list(last.glob("checkpoint-5/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = (rows / "killed" / "stages" / "2-width" / "metrics.json").stat().st_mtime_ns
    run_ok("train.py", *words[2:])
    assert (rows / "killed" / "stages" / "2-width" / "metrics.json").stat().st_mtime_ns == kept
    assert file_sha256(rows / "killed" / "model.safetensors") == file_sha256(
        folder / "model.safetensors"
    )


def test_a_trained_start_is_taken_as_it_is(chain, rows, tmp_path):
    """Its fine-tuning is done: it is measured, not trained."""
    folder, _ = chain
    start = folder / "stages" / "0-start"
    flags = ["--from_scratch", "none", "--model_name_or_path", str(start), *STAGES]
    args = parse(command(rows, "again", *flags, *validated(rows))[2:])
    first, *others = stages_of(args)
    assert first.args.training.num_train_epochs == 0
    assert [stage.args.training.num_train_epochs for stage in others] == [0, 1, 2]
    assert [stage.args.model.model_name_or_path for stage in others] == [
        str(rows / "again" / "stages" / name) for name in FOLDERS[:3]
    ]


def test_hidden_states_are_learned_from_a_model_with_the_same_tokens(chain, rows):
    """The one after `vocab`; that stage itself learns answers only."""
    start = chain[0] / "stages" / "0-start"
    flags = ["--from_scratch", "none", "--model_name_or_path", str(start), "--distill", "soft"]
    flags += ["--compression", "vocab", "layers", "qat", "--keep_layers", "1"]
    flags += ["--distill_hidden_weight", "0.5"]
    args = parse(command(rows, "hidden", *flags, *validated(rows))[2:])
    first, vocab, layers, qat = stages_of(args)
    teachers = [stage.args.objective.teacher for stage in (first, vocab, layers, qat)]
    assert teachers == [None, [str(first.folder)], [str(vocab.folder)], [str(vocab.folder)]]
    weights = [stage.args.objective.distill_hidden_weight for stage in (first, vocab, layers, qat)]
    assert weights == [0, 0, 0.5, 0.5]


@pytest.mark.slow
def test_a_chain_of_intents_and_slots(tmp_path):
    """Its rows are words, also where their length is measured."""
    lines = []
    for number in range(30):
        word = ["play", "stop", "find"][number % 3]
        row = {"tokens": [word, "song", str(number)], "slots": ["O", "B-what", "O"], "intent": word}
        lines.append(json.dumps(row))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = ["--train_file", str(tmp_path / "rows.jsonl")]
    rows += ["--validation_file", str(tmp_path / "rows.jsonl")]
    flags = ["--task", "joint", "--max_length", "8", "--pooling", "mean", "--report_to", "none"]
    flags += ["--compression", "vocab", "qat", "--stage_epochs", "0", "1", "--distill", "soft"]
    flags += ["--num_train_epochs", "1", "--learning_rate", "1e-2", "--disable_tqdm", "true"]
    run_ok("train.py", *SCRATCH, *rows, *flags, "--output_dir", tmp_path / "chain")
    report = read_json(tmp_path / "chain" / "compression_report.json")
    assert report["metric_name"] == "sentence_accuracy" and report["length"] == 8
    assert len(report["stages"]) == 4


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--stage_epochs", "0"], "leaves the stage qat no training"),
        (["--stage_epochs", "1", "2"], "has 2 numbers for the 3 stages"),
        (["--stage_epochs", "-1"], "stage_epochs"),
        (["--folds", "3"], "makes one model, but folds or seeds"),
    ],
)
def test_what_a_chain_cannot_be(rows, flags, message):
    done = train(rows, "refused", *SCRATCH, *STAGES, *validated(rows), *flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (rows / "refused").exists()


def test_stages_are_compared_on_validation_rows(rows):
    done = train(rows, "refused", *SCRATCH, *STAGES)
    assert done.returncode == 2 and "give --validation_file" in done.stderr


def test_one_stage_is_no_chain(rows):
    done = train(rows, "refused", *SCRATCH, "--compression", "qat", "--stage_epochs", "2")
    assert done.returncode == 2 and "is for several stages" in done.stderr


def test_another_chain_in_the_folder_is_refused(chain, rows):
    done = train(rows, "chain", *SCRATCH, *STAGES, *validated(rows), "--width", "0.25")
    assert done.returncode == 2 and "its width is [0.5], now it is [0.25]" in done.stderr


def test_one_command_draws_chains_and_exports(chain, tmp_path):
    folder, _ = chain
    words = ["-m", "trainer_ext", "frontier", folder, folder / "onnx"]
    picture = tmp_path / "all.png"
    done = run_ok(*words, "--output_file", picture)
    assert picture.read_bytes()[1:4] == b"PNG"
    assert "qat" in done.stdout and "pytorch" in done.stdout
    done = run_script(*words[:-1], tmp_path)
    assert done.returncode == 2 and "has neither compression_report.json nor" in done.stderr


def test_the_table_counts_from_the_start():
    rows = [
        StageRow("start", "a", 69_000_000, 0.8234, 17_000_000, 9.9, 115_700_000),
        StageRow("int8 export", "b", 5_400_000, 0.8221, 9_000_000, 4.64, None),
    ]
    report = ChainReport("sentence_accuracy", 16, "avx2", {}, rows, ["a note"])
    lines = markdown(report).splitlines()
    assert lines[4] == "| start | 0.8234 | 0.00 | 69.00 | 17,000,000 | 9.90 | 1.00 | 116 |"
    assert lines[5] == "| int8 export | 0.8221 | 0.13 | 5.40 | 9,000,000 | 4.64 | 2.13 |  |"
    assert "a note" in lines
