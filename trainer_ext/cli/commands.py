"""The subcommands of `trainer-ext`, and of `python -m trainer_ext`, which is the same."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer_ext.arguments.subcommands import choose_command

PROG = "trainer-ext"
DESCRIPTION = (
    "Fine-tune text encoders, prove their export to ONNX and INT8, and answer with them. A recipe in place of a "
    "command trains it."
)
# Each is trainer_ext/cli/NAME.py, imported when it is called: predict must not load what train needs.
COMMANDS = {
    "train": "Fine-tune an encoder, or evaluate a checkpoint.",
    "export": "Export a checkpoint to ONNX and INT8, and verify the exported files.",
    "predict": "Predict for texts or for a file of rows, with one model or several.",
    "serve": "Answer over HTTP, with one model or several.",
    "compare": "Compare finished runs: scores, flags that differ, significance, a picture.",
    "sweep": "Train a list or a grid of runs, here or on a Ray cluster, and compare them.",
    "frontier": "Draw compressed and exported models: metric over size and latency.",
    "report": "Look at labelled files before training: classes, gaps, repeats, lengths.",
    "augment": "Make new training rows by editing words or with a language model.",
    "balance": "Write a balanced file of training rows.",
    "llm": "Augment, filter or label rows with an OpenAI-compatible endpoint.",
    "artifacts": "List, show, tag, push or remove versions of the local artifact store.",
    "soup": "Average the weights of folds or seeds into one model.",
    "submission": "Predict the test rows of a recipe with all its folds or seeds.",
    "smp": "Convert the JSON of SMP ECDT to rows for the task joint.",
}
RECIPE_ENDINGS = (".yaml", ".yml")


def main() -> int | None:
    """Run the subcommand that the command line names; returns its exit status."""
    words = sys.argv[1:]
    if is_training(words):
        words = ["train", *words]
    name, rest = choose_command(words, COMMANDS, PROG, DESCRIPTION)
    # Commands return nothing or a status, as `main` of a script does.
    command = importlib.import_module(f"trainer_ext.cli.{name}")
    status: int | None = command.main(rest, prog=f"{PROG} {name}")
    return status


def is_training(words: Sequence[str]) -> bool:
    """Tell whether a command line is one of train's without the word: a recipe, or only flags.

    Folds are started this way, as are runs by scripts written before there were subcommands.
    """
    if not words or words[0] in ("-h", "--help"):
        return False
    # A recipe needs no ending; but a file that is called like a command must not hide it.
    first = words[0]
    if first in COMMANDS:
        return False
    return first.startswith("-") or first.endswith(RECIPE_ENDINGS) or Path(first).is_file()
