"""The real W&B client in this process, against a server on loopback; tiny trainings that report to it."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import TINY_ENCODER
from tests.wandb_server import WandbServer
from trainer_ext.api import environment_kept
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.dispatch import run

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


def train_one(files: dict[str, Path], folder: Path, **flags) -> dict[str, float]:
    """A training of seconds in this process that reports to W&B; with `folds` and `fold` of one fold."""
    recipe = {
        **{
            "from_scratch": "tiny",
            "config_overrides": TINY_ENCODER,
            "vocab_size": 200,
            "max_length": 32,
        },
        **{
            "train_file": files["train"],
            "learning_rate": 5e-3,
            "per_device_train_batch_size": 16,
            "max_steps": 6,
        },
        **{
            "eval_strategy": "steps",
            "eval_steps": 3,
            "save_steps": 3,
            "logging_steps": 2,
            "report_to": "wandb",
        },
        **{"load_best_model_at_end": True, "metric_for_best_model": "f1_macro", "pooling": "mean"},
        **{"suspects": "false", "disable_tqdm": True, "use_cpu": True, "output_dir": folder},
    }
    if "folds" not in flags:
        recipe["validation_file"] = files["validation"]
    with environment_kept():
        return run(parse_values(recipe, flags))
