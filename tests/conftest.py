"""Shared fixtures: small files with learnable labels, and checkpoints made through the real entry points."""

import gc
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="datasets-"))
os.environ["TRAINER_EXT_ARTIFACTS"] = tempfile.mkdtemp(prefix="artifacts-")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_WAIT_POLICY="PASSIVE")

import pytest

from tests.fork_server import ForkServer
from trainer_ext import log
from trainer_ext.arguments.precision import cpu_hardware

ROOT = Path(__file__).resolve().parent.parent
CLASSES = {
    "sports": ["goal", "match", "team"],
    "money": ["stock", "bank", "price"],
    "games": ["level", "player", "quest"],
}
FILLER = ["the", "a", "new", "old", "big", "news", "today", "city", "people", "says"]
ASPECTS = ["food", "staff"]
FORK_SERVER = ForkServer()
# Those that take longest: begun first, so that no worker is left alone with one of them at the end.
LONG_FILES = (
    "test_settings_table.py",
    "training/test_two_processes.py",
    "cli/test_entry_points.py",
    "export/test_exporters.py",
    "export/test_optimum_registration.py",
    "tracking/artifacts/test_faults.py",
    "tracking/test_wandb.py",
    "tracking/test_run.py",
    "cross_validation/test_run.py",
    "export/test_heads_of_tasks.py",
)
TINY_ENCODER = (
    "hidden_size=32,num_hidden_layers=2,num_attention_heads=2,"
    "intermediate_size=64,max_position_embeddings=64"
)


def pytest_collection_modifyitems(items):
    """Order the files; workers take them in this order (`--no-loadscope-reorder`)."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG_FILES)}
    assert all(path.is_file() for path in places), "LONG_FILES names a file that is not there"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    """Leave what the imports made to no garbage collection: every training ends with one, 0.3 s without this."""
    gc.collect()
    gc.freeze()


def run_script(
    *args,
    env: dict | None = None,
    stdin: str | None = None,
    timeout: int = 900,
    cwd: Path = ROOT,
    real: bool = False,
):
    """Run one of the project's scripts as a user would; returns the CompletedProcess.

    With nothing but arguments its process is forked from one that has imported everything, which saves five seconds;
    `real`: a fresh interpreter. Every command has a test with one.
    """
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", **(env or {})}
    plain = env is None and stdin is None
    if plain and not real and (str(args[0]).endswith(".py") or args[0] == "-m"):
        return FORK_SERVER.run([str(argument) for argument in args], environment, timeout, cwd)
    command = [sys.executable, *map(str, args)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=timeout,
    )


def run_ok(*args, **kwargs):
    """`run_script` that must succeed."""
    done = run_script(*args, **kwargs)
    assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stderr[-3000:]}"
    return done


def sentence(words: list[str], generator: random.Random) -> str:
    """Some filler and two of `words`, shuffled; lengths differ."""
    chosen = generator.choices(words, k=2) + generator.choices(FILLER, k=generator.randint(1, 12))
    generator.shuffle(chosen)
    return " ".join(chosen)


def labelled_lines(rows: int, seed: int) -> list[tuple[str, str]]:
    """(text, class) pairs; every class occurs."""
    generator = random.Random(seed)
    names = list(CLASSES)
    return [
        (sentence(CLASSES[name], generator), name)
        for name in (names[k % len(names)] for k in range(rows))
    ]


@pytest.fixture(autouse=True)
def notes_on_stderr():
    """Log as the commands do, so that a test reads notes in `capsys.readouterr().err`."""
    log.configure()
    # For `caplog`, whose handler is the root logger's.
    logging.getLogger(log.PACKAGE).propagate = True


@pytest.fixture(autouse=True)
def environment():
    """Leave the environment as it was: TrainingArguments sets variables that later trainers of the process read."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def topic_files(tmp_path_factory) -> dict[str, Path]:
    """`text<TAB>label` files: train (96 rows), validation (30), test (30)."""
    folder = tmp_path_factory.mktemp("topics")
    files = {}
    for split, rows, seed in (("train", 96, 1), ("validation", 30, 2), ("test", 30, 3)):
        files[split] = folder / f"{split}.txt"
        lines = [f"{text}\t{label}\n" for text, label in labelled_lines(rows, seed)]
        files[split].write_text("".join(lines), encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def topic_flags(topic_files) -> list[str]:
    """Flags that train a very small model on the topic files, quickly."""
    return [
        *(
            "--task",
            "single_label",
            "--train_file",
            topic_files["train"],
            "--validation_file",
            topic_files["validation"],
        ),
        *(
            "--from_scratch",
            "tiny",
            "--config_overrides",
            TINY_ENCODER,
            "--max_length",
            "32",
            "--pooling",
            "mean",
        ),
        *(
            "--learning_rate",
            "5e-3",
            "--per_device_train_batch_size",
            "16",
            "--eval_strategy",
            "steps",
        ),
        *(
            "--eval_steps",
            "6",
            "--save_strategy",
            "steps",
            "--save_steps",
            "6",
            "--max_steps",
            "18",
        ),
        *(
            "--load_best_model_at_end",
            "true",
            "--metric_for_best_model",
            "f1_macro",
            "--logging_steps",
            "3",
        ),
        *("--group_by_length", "true", "--save_total_limit", "1", "--report_to", "none"),
        # The report has tests of its own; the others save its seconds.
        *("--write_report", "false"),
    ]


@pytest.fixture(scope="session")
def topic_checkpoint(topic_files, topic_flags, tmp_path_factory) -> Path:
    """A trained single-label checkpoint with validation and test metrics."""
    folder = tmp_path_factory.mktemp("models") / "topics"
    run_ok(
        "train.py",
        *topic_flags,
        "--test_file",
        topic_files["test"],
        "--output_dir",
        folder,
    )
    return folder


@pytest.fixture(scope="session")
def aspect_files(tmp_path_factory) -> dict[str, Path]:
    """csv files with two aspects, values -2..1, texts with line breaks, commas and quotes."""
    folder, files = tmp_path_factory.mktemp("aspects"), {}
    words = {-2: "", -1: "bad", 0: "fine", 1: "great"}
    for split, rows, seed in (("train", 96, 4), ("validation", 30, 5)):
        generator = random.Random(seed)
        lines = ["id,content,food,staff\r\n"]
        for k in range(rows):
            food, staff = generator.choice([-2, -1, 0, 1]), generator.choice([-2, -1, 0, 1])
            parts = [f"food {words[food]}"] * (food != -2) + [f"staff {words[staff]}"] * (
                staff != -2
            )
            text = ",\n".join([*parts, " ".join(generator.choices(FILLER, k=4))]).replace(
                "new", '""new""'
            )
            lines.append(f'{seed}-{k},"{text}",{food},{staff}\r\n')
        files[split] = folder / f"{split}.csv"
        files[split].write_text("\ufeff" + "".join(lines), encoding="utf-8", newline="")
    return files


@pytest.fixture(scope="session")
def emotion_file(tmp_path_factory) -> Path:
    """jsonl with lists of labels, some empty."""
    path, generator = tmp_path_factory.mktemp("emotions") / "rows.jsonl", random.Random(6)
    lines = []
    for k in range(96):
        labels = [name for name in CLASSES if generator.random() < 0.4]
        words = [generator.choice(CLASSES[name]) for name in labels] + generator.choices(
            FILLER, k=4
        )
        lines.append(json.dumps({"id": k, "text": " ".join(words), "labels": labels}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def score_file(tmp_path_factory) -> Path:
    """csv with two scores on different scales: 1 to 4, and hundreds."""
    path, generator = tmp_path_factory.mktemp("scores") / "rows.csv", random.Random(7)
    lines = ["id,text,quality,price\n"]
    for k in range(96):
        good, dear = generator.randint(0, 3), generator.randint(0, 3)
        words = ["good"] * good + ["dear"] * dear + generator.choices(FILLER, k=4)
        lines.append(f"{k},{' '.join(words)},{1 + good},{500 + 100 * dear}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def aspect_checkpoint(aspect_files, topic_flags, tmp_path_factory) -> Path:
    """A trained aspect checkpoint: Focal Loss, R-Drop, layer-wise rates, gradient accumulation, bf16."""
    folder = tmp_path_factory.mktemp("models") / "aspects"
    flags = [
        "--task",
        "multi_aspect",
        "--text_column",
        "content",
        "--id_column",
        "id",
        "--label_columns",
        *ASPECTS,
    ]
    flags += ["--label_names", "none=-2", "negative=-1", "neutral=0", "positive=1"]
    flags += [
        "--train_file",
        aspect_files["train"],
        "--validation_file",
        aspect_files["validation"],
    ]
    flags += [
        "--focal_gamma",
        "2",
        "--focal_alpha",
        "0.5",
        "1",
        "1",
        "1",
        "--rdrop_alpha",
        "1",
        "--bf16",
        "true",
    ]
    flags += [
        "--layer_wise_lr_decay",
        "0.9",
        "--head_lr_factor",
        "2",
        "--gradient_accumulation_steps",
        "2",
    ]
    run_ok("train.py", *topic_flags, *flags, "--output_dir", folder)
    return folder


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A CPU that has bf16, whatever this one has; here it may be emulated, which is slow for large models only."""
    monkeypatch.setattr(
        "trainer_ext.arguments.precision.look", lambda use_cpu: cpu_hardware({"avx512_bf16"})
    )


@pytest.fixture(autouse=True)
def precision_stays_inside():
    """transformers leaves `bf16` of one `TrainingArguments` in the environment, where the next one takes it up."""
    before = os.environ.get("ACCELERATE_MIXED_PRECISION")
    yield
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    if before is not None:
        os.environ["ACCELERATE_MIXED_PRECISION"] = before
