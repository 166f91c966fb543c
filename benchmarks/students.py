"""A teacher and its small students on one data set: plain, and with the teacher's labels or probabilities.

    python benchmarks/students.py --train_file ../shared/data/thucnews10/train_45k.txt.gz \
        --test_file ../shared/data/thucnews10/dev.txt --model_name_or_path intfloat/multilingual-e5-small --every 5

The teacher is the encoder without the pieces that the rows do not use, fine-tuned. A tenth of the training rows is
kept back to choose the epoch; the test file is only reported. Every model is exported, and all of them answer the test
texts in turns on one thread. TF-IDF of character n-grams with logistic regression stands beside them. Finished models
in --output_dir are not trained again.
"""

import argparse
import statistics
import time
from pathlib import Path

import yaml
from runs import run_script, spread
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from trainer_ext.arguments.recipe import read_recipe
from trainer_ext.compression.measure import parameters_of
from trainer_ext.data.io.open import open_text
from trainer_ext.files import read_json
from trainer_ext.inference import load_predictor
from trainer_ext.tables import table

STUDENTS = ("bilstm", "static")
WAYS = ("plain", "hard", "soft")
TIMED = 2000  # texts of the test file
ROUNDS = 5
HEADERS = ("model", "test accuracy", "parameters", "INT8 MB", "ms a text", "texts a second")
RECIPES = {
    "bilstm": "configs/news_bilstm_distill_soft.yaml",
    "static": "configs/news_static_distill.yaml",
}
TEACHER = {
    "from_scratch": "none",
    "compression": ["vocab"],
    "learning_rate": 1.0e-4,
    "layer_wise_lr_decay": 0.95,
    "head_lr_factor": 5,
    "head_dropout": 0.1,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "precision": "auto",
}
NOT_OF_THE_TEACHER = ("config_overrides", "rdrop_alpha")


def sample(source: str, every: int, target: Path) -> Path:
    """Write every so many lines of a file; returns the new one."""
    with open_text(source, None) as file:
        lines = [line for line in file if line.strip()]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(lines[::every]), encoding="utf-8")
    return target


def train(folder: Path, words: list[str], files: list[object]) -> None:
    """Train and export a model unless it is there."""
    if not (folder / "metrics.json").is_file():
        run_script(
            *("train.py", *words, *files, "--output_dir", folder, "--report_to", "none"),
            *("--validation_split", "0.1", "--resume_from_checkpoint", "true"),
        )
    if not (folder / "onnx" / "export_report.json").is_file():
        run_script("export.py", folder, "--output_dir", folder / "onnx")


def teacher_recipe(folder: Path) -> str:
    """Write the teacher's recipe: that of the titles, for a pretrained encoder; returns the file."""
    values = read_recipe("configs/news_scratch.yaml")
    for name in NOT_OF_THE_TEACHER:
        del values[name]
    path = folder / "teacher.yaml"
    path.write_text(yaml.safe_dump({**values, **TEACHER}, allow_unicode=True), encoding="utf-8")
    return str(path)


def recipe_of(student: str, way: str, folder: Path) -> str:
    """Write the student's recipe as it learns in one way; returns the file."""
    values = read_recipe(RECIPES[student])
    if way == "plain":
        values["distill_alpha"] = 0
    if way == "hard":
        del values["distill_temperature"]
        values["distill"] = "hard"
    path = folder / f"{student}-{way}.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return str(path)


def train_all(options: argparse.Namespace, folder: Path) -> dict[str, list[Path]]:
    """Train the teacher, and each student in each way with every seed; returns the folders by name."""
    train_file = sample(options.train_file, options.every, folder / "train.txt")
    files: list[object] = ["--train_file", train_file, "--test_file", options.test_file]
    start = ["--model_name_or_path", options.model_name_or_path]
    teacher = folder / "teacher"
    train(teacher, [teacher_recipe(folder), *start], files)
    found = {"teacher": [teacher]}
    for student in STUDENTS:
        for way in WAYS:
            folders = []
            for seed in options.seeds:
                own = folder / f"{student}-{way}-{seed}"
                recipe = recipe_of(student, way, folder)
                train(own, [recipe, "--seed", str(seed), "--teacher", str(teacher)], files)
                folders.append(own)
            found[f"{student}, {way}"] = folders
    return found


def read_labelled(path: Path) -> tuple[list[str], list[str]]:
    """Return texts and labels of `text<TAB>label` lines."""
    with open_text(str(path), None) as file:
        pairs = [line.rstrip("\n").rsplit("\t", 1) for line in file if line.strip()]
    return [text for text, _ in pairs], [label for _, label in pairs]


def n_grams(train_file: Path, test_file: Path, texts: list[str]) -> list[object]:
    """Return the row of TF-IDF of 1 to 3 characters with logistic regression."""
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2),
        LogisticRegression(C=10, max_iter=1000),
    )
    model.fit(*read_labelled(train_file))
    accuracy = model.score(*read_labelled(test_file))
    start = time.perf_counter()
    model.predict(texts)
    seconds = time.perf_counter() - start
    weights = model[-1].coef_.size
    row: list[object] = ["n-grams, TF-IDF", f"{accuracy:.4f}", f"{weights:,}", weights * 4 / 1e6]
    return [*row, None, round(len(texts) / seconds)]


def speeds(folders: dict[str, Path], texts: list[str]) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of one text, and texts a second, of each export; all in turns, on one thread."""
    predictors = {name: load_predictor(folder, num_threads=1) for name, folder in folders.items()}
    alone: dict[str, list[float]] = {name: [] for name in predictors}
    together: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(ROUNDS):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor.logits(texts)
            together[name].append(len(texts) / (time.perf_counter() - start))
        for text in texts[:100]:
            for name, predictor in predictors.items():
                start = time.perf_counter()
                predictor.logits([text])
                alone[name].append(1000 * (time.perf_counter() - start))
    return {
        name: (statistics.median(alone[name]), statistics.median(together[name]))
        for name in predictors
    }


def main() -> None:
    """Train what is missing, then measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--model_name_or_path", required=True, help="the teacher's encoder")
    parser.add_argument("--every", type=int, default=1, help="take every so many training rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/students"))
    options = parser.parse_args()
    models = train_all(options, options.output_dir)
    texts = read_labelled(options.test_file)[0][:TIMED]
    measured = speeds({name: folders[0] / "onnx" for name, folders in models.items()}, texts)
    rows = []
    for name, folders in models.items():
        accuracies = [read_json(folder / "metrics.json")["test_accuracy"] for folder in folders]
        report = read_json(folders[0] / "onnx" / "export_report.json")
        size = next(v["bytes"] for v in report["variants"] if v["name"] == report["chosen"])
        milliseconds, a_second = measured[name]
        row = [name, spread(accuracies), f"{parameters_of(folders[0]):,}", size / 1e6]
        rows.append([*row, milliseconds, round(a_second)])
    train_file = options.output_dir / "train.txt"
    rows.append(n_grams(train_file, Path(options.test_file), texts))
    print(f"\n{table(rows, HEADERS, decimals=3)}")


if __name__ == "__main__":
    main()
