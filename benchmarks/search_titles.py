"""Search for the flags of a small model on real titles, and report what the best is worth on rows kept aside.

    python benchmarks/search_titles.py --data ../shared/data/thucnews10/train_45k.txt.gz

1. The file is cut once (seed 0): 2,000 titles to train on, 2,000 to choose by, and 10,000 that no trial sees.
2. A search of 20 trials, killed (SIGKILL) in its eighth, and gone on with.
3. The recipe as it is and the best recipe, trained by their YAML, on the 10,000 titles: the paired test of `compare`.
4. Both with other seeds than the search had. Finished runs are not repeated.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runs import run_script

from trainer_ext.comparison.paired import judge
from trainer_ext.comparison.runs import Run, answers_of_model, joined, read_run
from trainer_ext.comparison.table import compare_flags, headers, rows
from trainer_ext.evaluation.outputs import SavedRows, row_hashes
from trainer_ext.evaluation.scoring import score
from trainer_ext.export.eval_rows import evaluation_rows
from trainer_ext.export.options import ExportOptions
from trainer_ext.inference import load_predictor
from trainer_ext.tables import table

RECIPE = "configs/news_static.yaml"
SPACE = "configs/search/static_titles.yaml"
PARTS = ("train=2000", "validation=2000", "test=10000")
TRIALS = 20
KILLED_IN = 8
# Of the trainings only the models are wanted.
QUIET = ("--report_to", "none", "--write_report", "false")
SEEDS = (1, 2, 3)


def files(data: Path, *names: str) -> list[str]:
    """Return the flags of some parts."""
    return [f"--{name}_file={data / name}.jsonl" for name in names]


def search(data: Path, folder: Path) -> None:
    """Search; the first time, kill the command and its trial in the middle."""
    # Without the test rows: nothing can be chosen by what nothing has read.
    words = ["train.py", RECIPE, *files(data, "train", "validation"), *QUIET]
    words += ["--search", SPACE, "--search_trials", TRIALS, "--output_dir", folder]
    command = [sys.executable, *map(str, words)]
    if not (folder / f"trial-{KILLED_IN}").exists():
        process = subprocess.Popen(command, start_new_session=True)
        while not list((folder / f"trial-{KILLED_IN}").glob("checkpoint-*")):
            if process.poll() is not None:
                raise SystemExit(f"the search ended too early, with {process.returncode}")
            time.sleep(0.1)
        # The trial is a process of the same group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"--- killed in trial {KILLED_IN}", flush=True)
    run_script(*words)


def train(recipe: object, data: Path, folder: Path, *flags: object) -> None:
    """Train a recipe, unless that is done."""
    parts = files(data, "train", "validation", "test")
    place = ["--output_dir", folder, *QUIET]
    if not any((folder / name).is_file() for name in ("metrics.json", "cv.json")):
        run_script("train.py", recipe, *parts, *place, *flags)


def on_test_rows(model: Path, data: Path) -> Run:
    """Return a run as it answers the test rows, in place of the validation rows that `compare` reads."""
    predictor = load_predictor(model, batch_size=256)
    options = ExportOptions(model, model, eval_file=f"{data}/test.jsonl")
    labelled = evaluation_rows(options, predictor)
    scored = score(predictor, *labelled)
    saved = SavedRows(scored["logits"], scored["labels"], row_hashes(*labelled))
    # Sorted by their hashes, as `judge` expects them.
    answers = joined([answers_of_model(predictor.task, saved)])
    return replace(read_run(model), answers=[answers], mean=scored["metrics"])


def compare_on_test_rows(names: Sequence[str], data: Path, folder: Path) -> None:
    """Print the table of `compare` for the test rows."""
    runs = [on_test_rows(folder / name, data) for name in names]
    print(f"\nOn {len(runs[0].answers[0].hashes)} test rows:")
    compared = compare_flags(list(names), runs, judge(runs))
    print(table(rows(compared), headers(compared)))


def main() -> None:
    """Search, train both, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/bench/search_titles"))
    args = parser.parse_args()
    folder = args.output_dir
    data = folder / "data"
    if not (data / "test.jsonl").is_file():
        run_script("benchmarks/split.py", args.data, data, *PARTS)
    search(data, folder / "search")
    # Both by their YAML: the best recipe should run as it is.
    recipes = {"recipe": RECIPE, "best": folder / "search/best_recipe.yaml"}
    for name, recipe in recipes.items():
        train(recipe, data, folder / name)
        train(recipe, data, folder / f"{name}-seeds", "--seeds", *SEEDS)
    compare_on_test_rows(list(recipes), data, folder)
    print(f"\nWith seeds {SEEDS}, on the validation rows and (test_) on the test rows:", flush=True)
    run_script("-m", "trainer_ext.reports.compare", *(folder / f"{name}-seeds" for name in recipes))


if __name__ == "__main__":
    main()
