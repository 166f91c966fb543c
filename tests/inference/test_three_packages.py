"""Where nothing but numpy, onnxruntime, tokenizers and what these bring is installed, an export answers."""

import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# As docs/predicting.md says.
INSTALLED = ("numpy", "onnxruntime", "tokenizers")
WITHOUT = """
import runpy, sys

missing = set(sys.argv.pop(1).split(","))

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def needed_by(names) -> set[str]:
    """These distributions and all that they require, extras aside."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def missing_modules(installed=INSTALLED) -> list[str]:
    """Modules of this environment that one with only these distributions does not have."""
    kept = needed_by(installed)
    missing = []
    for module, distributions in packages_distributions().items():
        names = set(map(canonicalize_name, distributions))
        if module != "trainer_ext" and module.isidentifier() and not names & kept:
            missing.append(module)
    return missing


def predict(*args) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT, ",".join(missing_modules()), "predict.py"]
    return subprocess.run([*command, *map(str, args)], cwd=ROOT, text=True, capture_output=True)


def test_what_is_missing_is_missing():
    missing = missing_modules()
    assert {"torch", "transformers", "pandas", "pyarrow", "scipy", "sklearn"} <= set(missing)
    assert not {"numpy", "onnxruntime", "tokenizers"} & set(missing)


def test_texts_and_files_are_answered(tiny_model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("review\ngood food\nbad staff\n", encoding="utf-8")
    for output in ("answers.csv", "answers.jsonl"):
        done = predict("--model", tiny_model, "--input", source, "--output", tmp_path / output)
        assert done.returncode == 0, done.stderr
        assert "good food" in (tmp_path / output).read_text(encoding="utf-8")
    done = predict("--model", tiny_model, "--model", tiny_model, "--text", "good food")
    assert done.returncode == 0, done.stderr
    assert "good food" in done.stdout


def test_what_needs_more_says_so_in_a_line(tiny_model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("review,label\ngood food,pos\n", encoding="utf-8")
    done = predict("--model", tiny_model, "--input", source, "--evaluate")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: datasets is not installed: pip install -e . brings what training, export and scoring need"
    )
