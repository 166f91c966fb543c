"""Train under one version of transformers, answer and export under the other, in both directions.

    python benchmarks/two_versions.py .venv/bin/python .venv-v5/bin/python

Prints, for each pair of versions, the largest difference of probabilities; exit status 1 if one is not 0.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASSES = {"sports": "goal match team", "money": "stock bank price", "games": "level player quest"}
FLAGS = (
    "--task single_label --from_scratch tiny --max_length 32 --pooling mean --learning_rate 5e-3 "
    "--max_steps 12 --per_device_train_batch_size 16 --eval_strategy steps --eval_steps 6 "
    "--save_strategy steps --save_steps 6 --load_best_model_at_end true "
    "--metric_for_best_model f1_macro --warmup_ratio 0.1 --group_by_length true --report_to none"
)


def write_rows(path: Path) -> None:
    """Write 72 labelled texts."""
    lines = []
    for number in range(72):
        name = list(CLASSES)[number % 3]
        words = CLASSES[name].split()
        lines.append(f"the {words[number % 2]} {words[number % 3]} today\t{name}\n")
    path.write_text("".join(lines), encoding="utf-8")


def run(python: str, *arguments: object) -> None:
    """Run a script of the project, which must succeed."""
    command = [python, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")


def probabilities(python: str, model: Path, rows: Path, answers: Path) -> list[float]:
    """Return the probabilities of all rows, flat."""
    run(python, "predict.py", "--model", model, "--input", rows, "--output", answers)
    values = []
    for line in answers.read_text(encoding="utf-8").splitlines():
        values += json.loads(line)["probabilities"].values()
    return values


def main() -> int:
    """Train under each, predict under both; returns the exit status."""
    pythons = sys.argv[1:3]
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labelled, texts = folder / "rows.txt", folder / "texts.jsonl"
        write_rows(labelled)
        lines = labelled.read_text(encoding="utf-8").splitlines()
        rows = [json.dumps({"text": line.partition("\t")[0]}) for line in lines]
        texts.write_text("\n".join(rows) + "\n", encoding="utf-8")
        files = ("--train_file", labelled, "--validation_file", labelled)
        for number, (own, other) in enumerate([pythons, pythons[::-1]]):
            model, export = folder / f"model-{number}", folder / f"onnx-{number}"
            run(own, "train.py", *FLAGS.split(), *files, "--output_dir", model)
            # Proven by the version that did not train it.
            exporter = ("--exporter", "torch", "--max_metric_drop", 100)
            run(other, "export.py", model, "--output_dir", export, *exporter)
            for path in (model, export):
                answers = [
                    probabilities(python, path, texts, folder / f"{number}-{place}.jsonl")
                    for place, python in enumerate((own, other))
                ]
                pairs = zip(*answers, strict=True)
                difference = max(abs(one - another) for one, another in pairs)
                worst = max(worst, difference)
                print(f"{path.name}: trained by {own}: largest difference {difference:g}")
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main())
