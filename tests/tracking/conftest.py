"""The real W&B client in this process, against a server on loopback; tiny trainings that report to it."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer_ext.arguments import Arguments
from trainer_ext.notebook import environment_kept
from trainer_ext.parsing import parse_values
from trainer_ext.run import train

from ..conftest import TINY_ENCODER
from ..wandb_server import WandbServer

PATIENCE = {
    "WANDB_FINISH_TIMEOUT": "2",
    "WANDB_INIT_TIMEOUT": "5",
    "WANDB_HTTP_TIMEOUT": "2",
    "WANDB__GRAPHQL_RETRY_MAX": "1",
    "WANDB__GRAPHQL_RETRY_WAIT_MIN_SECONDS": "0.1",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "0.1",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "1",
    "WANDB__FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "0.1",
    "WANDB__FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "0.1",
    "WANDB__DISABLE_STATS": "true",
}


@contextmanager
def client(server: WandbServer, home: Path, **more: str):
    """The client of this process pointed at `server`, all its files under `home`; afterwards as before."""
    import wandb

    before = dict(os.environ)
    os.environ.update({**server.environment(home), **PATIENCE, **more})
    wandb.teardown()  # it reads the environment once
    try:
        yield home
    finally:
        wandb.teardown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def server():
    with WandbServer() as running:
        yield running


def arguments(files: dict[str, Path], folder: Path, **flags) -> Arguments:
    """Of a training of seconds that reports to W&B."""
    recipe = {
        **{"from_scratch": "tiny", "config_overrides": TINY_ENCODER, "vocab_size": 200, "max_length": 32},
        **{"train_file": files["train"], "validation_file": files["validation"], "learning_rate": 5e-3},
        **{"per_device_train_batch_size": 16, "max_steps": 6, "eval_strategy": "steps", "eval_steps": 3},
        **{"save_steps": 3, "logging_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "f1_macro"},
        **{"report_to": "wandb", "disable_tqdm": True, "pooling": "mean", "use_cpu": True, "output_dir": folder},
    }
    return parse_values(recipe, flags)


def train_one(files: dict[str, Path], folder: Path, fold: int | None = None, **flags) -> dict[str, float]:
    """Train a model, or one of three folds, in this process."""
    with environment_kept():
        args = arguments(files, folder, **flags)
        if fold is not None:
            args.folds.folds, args.folds.fold = 3, fold
        return train(args)
