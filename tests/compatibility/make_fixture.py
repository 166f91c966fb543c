"""Write the folders that `test_compatibility.py` loads: what a checkout of the project leaves, and what it answers.

    git worktree add ../old 865a461
    python tests/compatibility/make_fixture.py --project ../old --output_dir tests/compatibility

It calls the scripts of that checkout as a user does and imports nothing of the project, so that it works with any
version. Every run starts inside its folder with relative paths: the folders may be copied anywhere.

    runs_of_0_1/NAME/      a checkpoint, an export, or a folder of folds or seeds
    runs_of_0_1/NAME.txt   texts, one a line; a blank line is an empty text
    runs_of_0_1/NAME.jsonl what `predict.py --model NAME --input NAME.txt` answered
    work_of_0_1/artifacts/ the local store, with two versions of one name
    work_of_0_1/unfinished/ a training that was killed; `unfinished.yaml` is its recipe
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NOT_LOADED = ("README.md", "plots", "wandb", "train.log", ".lock", "checkouts")
TOPICS = {
    "harbour": ["ferry", "anchor", "tide", "gulls", "渡轮", "码头"],
    "kitchen": ["kettle", "onion", "oven", "spoon", "铁锅", "洋葱"],
    "garden": ["beans", "spade", "hedge", "worms", "篱笆", "铲子"],
}
FILLER = ["we", "saw", "an", "old", "quiet", "morning", "again", "昨天", "一个", "还有"]
DISHES = {"好": "面条很香", "一般": "面条还行", "差": "面条太咸"}
SERVICE = {"好": "店员热情", "一般": "店员普通", "差": "店员冷淡"}
STATIONS = ["Alder Bridge", "Moss Lane", "北门", "Fen Road"]
HOURS = ["seven", "noon", "midnight"]

ENCODER = "hidden_size=16,num_hidden_layers=1,intermediate_size=32,num_attention_heads=2"
TINY = {
    "from_scratch": "tiny",
    "vocab_size": "200",
    "config_overrides": f"{ENCODER},max_position_embeddings=24",
    "max_length": "16",
    "max_steps": "90",  # enough to be sure of its answers: near a tie, the last bit decides
    "learning_rate": "2e-2",
    "save_strategy": "no",
    "report_to": "none",
}
SPLIT = {"validation_split": "0.25"}
TOPIC = {"task": "single_label", "train_file": "topics.csv", "label_columns": "topic"}
TAGS = {"task": "multi_label", "train_file": "tags.csv", "label_separator": ";"}
MEALS = {
    "task": "multi_aspect",
    "train_file": "meals.csv",
    "text_column": "review",
    "id_column": "id",
    "label_columns": "dish service",
    "label_names": "none=-2 bad=-1 fair=0 good=1",
}
GRADES = {"task": "regression", "train_file": "grades.csv", "label_columns": "warmth price"}
TRIPS = {"task": "joint", "train_file": "trips_rows.jsonl"}
SHAPED = {"clean": "nfkc repeated", "truncation": "head_tail", "pooling": "mean"}
TRAININGS = {
    "single_label": TOPIC | SPLIT | SHAPED,
    "multi_label": TAGS | SPLIT,
    "multi_aspect": MEALS | SPLIT,
    "regression": GRADES | SPLIT,
    "joint": TRIPS | SPLIT,
    "calibrated": TOPIC | SPLIT | {"calibrate": "both", "focal_gamma": "2"},
    "calibrated_labels": TAGS | SPLIT | {"calibrate": "both"},
    "label_attention": MEALS | SPLIT | {"pooling": "label_attention"},
    "seeds": TOPIC | SPLIT | {"seeds": "1 2"},
    "folds": TOPIC | {"folds": "2"},
}
UNFINISHED = {
    "max_steps": "60",
    "eval_strategy": "steps",
    "eval_steps": "20",
    "save_strategy": "steps",
    "save_steps": "20",
    "load_best_model_at_end": "true",
    "metric_for_best_model": "f1_macro",
    "early_stopping_patience": "5",
    "output_dir": "unfinished",
}
EXPORTS = {"onnx": "single_label", "onnx_joint": "joint"}


def filled(words: list[str], generator: random.Random) -> str:
    """Some of the filler with `words` in it."""
    chosen = words + generator.choices(FILLER, k=generator.randint(1, 6))
    generator.shuffle(chosen)
    return " ".join(chosen)


def as_flags(values: dict[str, str]) -> list[str]:
    """`--name value ...` for a command line."""
    return [word for name, value in values.items() for word in (f"--{name}", *value.split())]


def topic_rows(generator: random.Random) -> Iterator[dict]:
    """One label for each text."""
    for k in range(60):
        name = list(TOPICS)[k % len(TOPICS)]
        yield {"text": filled(generator.choices(TOPICS[name], k=2), generator), "topic": name}


def tag_rows(generator: random.Random) -> Iterator[dict]:
    """Any number of labels for each text."""
    for _ in range(60):
        names = [name for name in TOPICS if generator.random() < 0.5]
        yield {
            "text": filled([generator.choice(TOPICS[name]) for name in names], generator),
            "label": ";".join(names),
        }


def meal_rows(generator: random.Random) -> Iterator[dict]:
    """Two aspects, each with a polarity or not mentioned (-2)."""
    values = {"好": 1, "一般": 0, "差": -1, "": -2}
    for k in range(60):
        dish, service = generator.choices(list(values), k=2)
        parts = [
            DISHES.get(dish),
            SERVICE.get(service),
            generator.choice(["下次再说", "周末去的", "离家不远"]),
        ]
        review = "，".join(part for part in parts if part)
        yield {"id": k, "review": review, "dish": values[dish], "service": values[service]}


def grade_rows(generator: random.Random) -> Iterator[dict]:
    """Two scores of different scales."""
    for _ in range(60):
        warm, dear = generator.randint(0, 3), generator.randint(0, 3)
        text = filled(["sunny"] * warm + ["costly"] * dear, generator)
        yield {"text": text, "warmth": 1 + warm, "price": 100 + 50 * dear}


def trip_rows(generator: random.Random) -> Iterator[dict]:
    """Tokens, a BIO tag for each, and an intent."""
    for k in range(60):
        station, hour = generator.choice(STATIONS).split(), generator.choice(HOURS)
        if k % 2:
            tokens, slots = ["wake", "me", "at", hour], ["O", "O", "O", "B-hour"]
        else:
            tokens = ["stop", "at", *station, "by", hour]
            slots = ["O", "O", "B-place", *["I-place"] * (len(station) - 1), "O", "B-hour"]
        yield {"tokens": tokens, "slots": slots, "intent": "alarm" if k % 2 else "travel"}


TEXTS = {
    "topics": [
        *(
            "the ferry and the tide",
            "an onion in the oven",
            "a spade behind the hedge",
            "渡轮 还有 码头",
        ),
        *(
            "铁锅 还有 洋葱",
            "ｆｅｒｒｙ　ａｎｃｈｏｒ！！！！！！",
            "",
            "beans " + "quiet morning " * 20 + "worms",
        ),
    ],
    "meals": [
        "面条很香，店员热情",
        "面条太咸",
        "店员冷淡，周末去的",
        "离家不远",
        "面条还行，店员普通，下次再说",
        "",
    ],
    "grades": [
        "sunny sunny sunny",
        "costly costly again",
        "we saw an old quiet morning",
        "昨天 sunny costly",
        "",
    ],
    "trips": [
        "stop at Alder Bridge by noon",
        "wake me at midnight",
        "stop at 北门 by seven",
        "Fen Road, noon",
        "wake",
    ],
}
TEXTS_OF = {"multi_aspect": "meals", "label_attention": "meals"}
TEXTS_OF |= {"regression": "grades", "joint": "trips", "onnx_joint": "trips"}


class Project:
    """The scripts of a checkout, run as a user does."""

    def __init__(self, root: Path, store: str | None):
        """`store`: the folder of the artifacts, from where a script runs; None: they are thrown away."""
        self.root = root.resolve()
        self.scratch = tempfile.mkdtemp(prefix="fixture-")
        self.environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": self.scratch,
            "TRAINER_EXT_ARTIFACTS": store or f"{self.scratch}/artifacts",
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "WANDB_DIR": self.scratch,
            "WANDB_CACHE_DIR": self.scratch,
            "WANDB_DATA_DIR": self.scratch,
        }

    def start(self, folder: Path, script: str, *flags: str) -> subprocess.Popen:
        """Start a script inside `folder`."""
        command = [sys.executable, str(self.root / script), *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=folder, env=self.environment, **pipes)

    def run(self, folder: Path, script: str, *flags: str) -> None:
        """Run a script inside `folder` to its end.

        Raises:
            SystemExit: when it fails, with the end of what it printed.
        """
        print(script, *flags, flush=True)
        process = self.start(folder, script, *flags)
        printed, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{script} ended with {process.returncode}: {printed[-3000:]}")

    def train(self, folder: Path, values: dict[str, str]) -> None:
        """Train inside `folder` with these flags."""
        self.run(folder, "train.py", *as_flags(values))

    def answer(self, folder: Path, model: str, name: str, texts: str = "topics") -> None:
        """Write `name`.txt and what `model` answers to it, `name`.jsonl."""
        lines = [f"{text}\n" for text in TEXTS[texts]]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        values = {"model": model, "input": f"{name}.txt", "output": f"{name}.jsonl"}
        self.run(folder, "predict.py", *as_flags(values))


def write_rows(path: Path, rows: Iterator[dict]) -> None:
    """Write csv or jsonl, by the ending; no value here needs quotes."""
    rows = list(rows)
    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_runs(project: Project, folder: Path) -> None:
    """Write everything that answers: checkpoints, folds, seeds, exports."""
    write_rows(folder / "topics.csv", topic_rows(random.Random(1)))
    write_rows(folder / "tags.csv", tag_rows(random.Random(2)))
    write_rows(folder / "meals.csv", meal_rows(random.Random(3)))
    write_rows(folder / "grades.csv", grade_rows(random.Random(4)))
    write_rows(folder / "trips_rows.jsonl", trip_rows(random.Random(5)))
    for name, values in TRAININGS.items():
        project.train(folder, TINY | values | {"output_dir": name})
    for name, checkpoint in EXPORTS.items():
        eval_file = TRAININGS[checkpoint]["train_file"]
        values = {"output_dir": name, "eval_file": eval_file, "max_metric_drop": "20"}
        project.run(folder, "export.py", checkpoint, *as_flags(values))
    for name in (*TRAININGS, *EXPORTS):
        project.answer(folder, name, name, texts=TEXTS_OF.get(name, "topics"))


def make_work(project: Project, folder: Path) -> None:
    """Write a store of artifacts, and a training that was killed."""
    write_rows(folder / "topics.csv", topic_rows(random.Random(1)))
    tracked = TINY | TOPIC | SPLIT | {"report_to": "wandb", "run_name": "topics"}
    tracked |= {"output_dir": "tracked"}
    project.train(folder, tracked)
    worse = {"max_steps": "2", "overwrite_output_dir": "true"}
    project.train(folder, tracked | worse)  # so that `best` and `latest` are two versions
    shutil.rmtree(folder / "tracked")
    project.answer(folder, "artifact:topics:best", "artifact_best")
    project.answer(folder, "artifact:topics:latest", "artifact_latest")
    make_unfinished(project, folder)


def make_unfinished(project: Project, folder: Path) -> None:
    """Kill a training after its first checkpoint; the answers are those of a copy that was resumed.

    Raises:
        SystemExit: when it was too fast to be killed.
    """
    recipe = TINY | TOPIC | SPLIT | UNFINISHED
    lines = [f"{name}: {value}\n" for name, value in recipe.items()]
    (folder / "unfinished.yaml").write_text("".join(lines), encoding="utf-8")
    process = project.start(folder, "train.py", "unfinished.yaml")
    while process.poll() is None and not (folder / "unfinished" / "checkpoint-40").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL or (folder / "unfinished" / "config.json").exists():
        raise SystemExit("the training was finished before it could be killed: try again")
    shutil.rmtree(folder / "unfinished" / "checkpoint-40", ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "work"
        shutil.copytree(folder, copy)
        project.run(copy, "train.py", "unfinished.yaml", "--resume_from_checkpoint", "true")
        project.answer(copy, "unfinished", "unfinished")
        for ending in ("txt", "jsonl"):
            shutil.copy(copy / f"unfinished.{ending}", folder)


def prune(folder: Path) -> None:
    """Remove what nothing loads."""
    for path in sorted(folder.rglob("*")):
        if path.name in NOT_LOADED and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> None:
    """Make both folders."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--project", type=Path, required=True, help="the checkout that is run")
    parser.add_argument("--output_dir", type=Path, required=True, help="where both folders go")
    args = parser.parse_args()
    stores = {"runs_of_0_1": None, "work_of_0_1": "artifacts"}
    for name, make in (("runs_of_0_1", make_runs), ("work_of_0_1", make_work)):
        folder = args.output_dir / name
        folder.mkdir(parents=True)
        project = Project(args.project, stores[name])
        make(project, folder)
        prune(folder)
        shutil.rmtree(project.scratch)


if __name__ == "__main__":
    main()
