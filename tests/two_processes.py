"""What two processes of one launch train: `torchrun --nproc_per_node 2 -m tests.two_processes FOLDER`.

Starting processes costs more than what they train here, so one launch trains every case, one after the other, and each
process writes what it saw to FOLDER/rank0.json or rank1.json. `tests/training/test_two_processes.py` prepares the
folder, starts the launch and compares; `benchmarks/two_processes.py` trains the table of settings in the same way.
"""

import gc
import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import trainer_ext.cross_validation.dispatch
import trainer_ext.training.job
from tests.conftest import ASPECTS, CLASSES
from tests.settings import FGM
from trainer_ext import fit
from trainer_ext.api import KeptTrainer
from trainer_ext.arguments.parser import parse_values
from trainer_ext.errors import explain

ROOT = Path(__file__).resolve().parent.parent

Flags = dict[str, Any]
TINY = "hidden_size=16,num_hidden_layers=2,num_attention_heads=2,intermediate_size=32,max_position_embeddings=32"
NO_DROPOUT = f"{TINY},hidden_dropout_prob=0,attention_probs_dropout_prob=0"
RECIPE: Flags = {
    "task": "single_label",
    "from_scratch": "tiny",
    "config_overrides": NO_DROPOUT,
    "vocab_size": 120,
    "max_length": 16,
    "pooling": "mean",
    "head_dropout": 0.0,
    "optim": "sgd",  # Adam makes steps of the noise in gradients that are zero
    "learning_rate": 0.5,
    "per_device_train_batch_size": 4,
    "max_steps": 4,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "no",
    "report_to": "none",
    "write_report": False,
    "disable_tqdm": True,
    "use_cpu": True,
}
SCORES: Flags = {"task": "regression", "label_columns": ["quality", "price"]}
ASPECT_FLAGS: Flags = {
    "task": "multi_aspect",
    "label_columns": ASPECTS,
    "label_names": ["none", "bad", "great"],
}
LABELS: Flags = {"task": "multi_label", "label_columns": ["labels"], "label_names": list(CLASSES)}
STOPPING: Flags = {
    "early_stopping_patience": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "f1_macro",
    "save_strategy": "best",
    "learning_rate": 1e-9,
    "max_steps": 12,
}
# One process with twice the batch takes the same steps as two.
SAME_STEPS: dict[str, Flags] = {
    "cross entropy": {"gradient_accumulation_steps": 2, "class_weights": "balanced"},
    "focal and R-Drop": {"focal_gamma": 2.0, "focal_alpha": "balanced", "rdrop_alpha": 1.0},
    "RMSE": {**SCORES, "gradient_accumulation_steps": 2},
    "average": {"ema_decay": 0.6},
    "FGM": FGM,
    "RMSE and FGM": {**SCORES, **FGM},
    "joint": {"task": "joint", "rdrop_alpha": 1.0},
    "streaming": {"streaming": True},
    "ridge": {**SCORES, "head_init": "ridge", "max_steps": 1, "learning_rate": 1e-6},
    "length groups": {"group_by_length": True, "gradient_accumulation_steps": 2},
    "oversampling": {"balance": "oversample"},
    "aspects": {**ASPECT_FLAGS, "focal_gamma": 2.0, "focal_alpha": "balanced"},
    "label smoothing": {"label_smoothing_factor": 0.1, "class_weights": "effective"},
    "labels": {**LABELS, "class_weights": "balanced", "gradient_accumulation_steps": 2},
    "labels, focal": {**LABELS, "focal_gamma": 2.0, "focal_alpha": "balanced", "rdrop_alpha": 1.0},
    "MSE and average": {**SCORES, "regression_loss": "mse", "ema_decay": 0.6},
    "smooth L1": {**SCORES, "regression_loss": "smooth_l1", "rdrop_alpha": 1.0},
    "early stopping": STOPPING,
}
DROPOUT: Flags = {
    "config_overrides": TINY,
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
}


def files(folder: Path, task: str) -> Flags:
    """The rows of a task, as `test_two_processes.py` writes them."""
    return {
        f"{split}_file": str(folder / "rows" / f"{task}-{split}.jsonl")
        for split in ("train", "validation")
    }


def alone(name: str) -> Flags:
    """The flags of one process for a case: each batch is perturbed by its own gradient, all others may be joined."""
    flags = SAME_STEPS[name]
    if "adversarial" in flags:
        return {**flags, "gradient_accumulation_steps": 2}
    return {**flags, "per_device_train_batch_size": 8}


def cases(folder: Path) -> dict[str, Flags]:
    """What the launch trains, in this order."""
    two = folder / "two"
    return {
        **SAME_STEPS,
        "whole": DROPOUT,
        "resumed": {**DROPOUT, "resume_from_checkpoint": str(two / "whole" / "checkpoint-2")},
        "gone on with": {
            **(DROPOUT | {"config_overrides": NO_DROPOUT}),
            "resume_from_checkpoint": str(folder / "one" / "begun by one" / "checkpoint-2"),
        },
        "first": {"max_steps": 1},
        "refused": {"output_dir": str(two / "first")},
        "overwritten": {
            "output_dir": str(two / "first"),
            "overwrite_output_dir": True,
            "max_steps": 2,
        },
        "bad row": {"train_file": str(folder / "rows" / "bad.jsonl")},
        "diverged": {"learning_rate": 1e30, "max_grad_norm": 0.0, "optim": "sgd"},
        "workers": {"folds": 2, "validation_file": None, "num_fold_workers": 2},
    }


def train(flags: Flags) -> dict[str, Any]:
    """Train with these flags; what this process saw of it."""
    before, start, trainers = dict(os.environ), time.perf_counter(), []
    seen: dict[str, Any] = {}
    try:
        args = parse_values(flags, {})
        kept = KeptTrainer(args.model, trainers)
        seen["metrics"] = trainer_ext.cross_validation.dispatch.run(args, kept)
    except Exception as error:
        message, status = explain(error)
        seen |= {"error": message, "status": status, "type": type(error).__name__}
    os.environ.clear()
    os.environ.update(before)
    if trainers:
        state = trainers[0].state
        seen |= {
            "history": state.log_history,
            "steps": state.global_step,
            "processes": trainers[0].args.world_size,
        }
    return seen | {"seconds": round(time.perf_counter() - start, 2)}


def status_of_script(flags: Flags) -> int:
    """The exit status of train.py in this process."""
    sys.argv = [
        "train.py",
        *(str(word) for name, value in flags.items() for word in (f"--{name}", value)),
    ]
    try:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


def main(folder: Path) -> None:
    """Train every case; then twice with `fit`, and train.py itself with a folder that holds a run."""
    trainer_ext.training.finished.write_plots = lambda *args: (
        None
    )  # they take most of the time, and have tests of their own
    gc.freeze()  # the collection with which each training ends would go through all that was imported
    seen: dict[str, Any] = {}
    for name, flags in cases(folder).items():
        recipe = {**RECIPE, **flags}
        seen[name] = train(
            {"output_dir": str(folder / "two" / name), **files(folder, recipe["task"]), **recipe}
        )
    short = {"max_steps": 1, "eval_strategy": "no", "output_dir": str(folder / "two" / "fit")}
    tables = {
        "train_file": [("a goal", "sports"), ("a bank", "money")] * 8,
        "overwrite_output_dir": True,
    }
    seen["fit"] = [fit(RECIPE, **short, **tables).metrics for _ in range(2)]
    flags = {**RECIPE, **files(folder, "single_label"), "output_dir": folder / "two" / "joint"}
    seen["script"] = {"status": status_of_script(flags)}
    rank = os.environ["RANK"]
    (folder / f"rank{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
