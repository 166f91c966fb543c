"""`predict --engine ray`: a pattern of files in, a folder of answers out."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import file_options
from trainer_ext.arguments.launch import CLUSTER_HELP, DEFAULT_ADDRESS, check_ray_installed
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import check_folder
from trainer_ext.storage import is_url

if TYPE_CHECKING:
    from trainer_ext.cli.predict import PredictOptions
    from trainer_ext.inference.shards import ShardSettings

ENGINES = ("local", "ray")
# Flags of one file, or of a table on the screen.
OF_ONE_FILE = ("text", "evaluate", "label_columns", "submission_format", "resume")

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class EngineOptions:
    """Who answers: this process, or a cluster."""

    _argument_group_name = "many files"

    engine: str = option(
        "local",
        "ray: --input is a folder or a pattern ('rows/*.parquet'), --output a folder with a file for each.",
        choices=ENGINES,
    )
    ray_address: str = option(DEFAULT_ADDRESS, f"{CLUSTER_HELP}.")


def check_shards(options: "PredictOptions") -> None:
    """Refuse what an engine for many files takes no account of."""
    for name in OF_ONE_FILE:
        value = getattr(options, name)
        if value:
            why = "; finished shards are kept in any case" if name == "resume" else ""
            raise UserError(f"--{name} is for one file or text, not --engine ray{why}")
    for name in ("input", "output"):
        value = getattr(options, name)
        if value in (None, "-"):
            raise UserError(
                "--engine ray answers files into a folder: give --input 'rows/*.parquet' and --output FOLDER"
            )
        if is_url(value):
            raise UserError(
                f"--{name} {value}: --engine ray reads and writes folders that all nodes share, not URLs"
            )
    check_address(options.ray_address)
    folder = Path(options.output or "")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file: --engine ray writes a folder")
    check_folder("--output", folder)
    check_ray_installed("--engine ray")


def check_address(address: str) -> None:
    """Refuse Ray's client, through which Ray Data fails (ray 2.60)."""
    if address == DEFAULT_ADDRESS:
        address = os.environ.get("RAY_ADDRESS", address)
    if address.startswith("ray://"):
        raise UserError(
            f"ray_address {address}: Ray Data does not work through Ray's client; run the command on a node of the "
            "cluster, with --ray_address auto"
        )


def predict_shards(options: "PredictOptions") -> None:
    """Answer every shard that is not finished.

    Raises:
        UserError: for a bad model, no shards, or a folder with answers of another model.
        RunError: at the end, if some shards could not be read.
    """
    from tqdm import tqdm

    from trainer_ext.inference.loading import load_predictor
    from trainer_ext.inference.ray_engine import answer_on_ray
    from trainer_ext.inference.shards import find_shards, take_output, unfinished

    assert options.input is not None and options.output is not None
    settings = settings_of(options)
    shards = find_shards(options.input, settings.files)
    folder = Path(options.output)
    # Here first: what is wrong with a model is said before a cluster is asked.
    predictor = load_predictor(**settings.model)
    take_output(folder, predictor, settings)
    logger.info("%s: %s, %s", ", ".join(options.model), predictor.task.name, predictor.description)
    del predictor
    waiting = unfinished(shards, folder)
    if len(waiting) < len(shards):
        logger.info(
            "%d of %d shards are finished, and kept", len(shards) - len(waiting), len(shards)
        )
    rows = rejected = 0
    unread = []
    if waiting:
        bar = tqdm(desc="predicting", unit="row", mininterval=0.5)
        gpus = 1.0 if options.provider in ("cuda", "tensorrt") else 0.0
        with bar:
            for name, answered in answer_on_ray(
                waiting, settings, folder, options.ray_address, gpus
            ):
                rows += answered.rows
                rejected += answered.rejected
                bar.update(answered.rows)
                if answered.error:
                    unread.append(name)
                    logger.error("%s has no answers: %s", name, answered.error)
    logger.info("%d rows of %d shards -> %s", rows, len(waiting), folder)
    if rejected:
        logger.warning(
            "%d rows have no answer: %s says which, and why", rejected, folder / "_rejected"
        )
    if unread:
        raise RunError(
            f"{len(unread)} of {len(shards)} shards could not be read to their end: {', '.join(unread[:3])}; mend them "
            "and run the same command again"
        )


def settings_of(options: "PredictOptions") -> "ShardSettings":
    """Return how shards are answered; the processes have other working directories."""
    from trainer_ext.inference.job import Form
    from trainer_ext.inference.shards import ShardSettings

    model: dict[str, Any] = {
        "path": [absolute(name) for name in options.model],
        # An actor a core: more of them share the rows better than threads share a text.
        "num_threads": options.num_threads or 1,
        "provider": options.provider,
        "batch_size": options.batch_size,
        "file_name": options.file_name,
        "ensemble": options.ensemble,
        "trust_remote_code": options.trust_remote_code,
        "task": options.task,
        "runtime": options.runtime,
        "on_mismatch": options.on_mismatch,
    }
    form = Form(not options.no_text, tuple(options.keep_columns), options.labels_only)
    return ShardSettings(model, file_options(options), options.text_column, options.id_column, form)


def absolute(name: str) -> str:
    """Return the path of a folder; a reference to an artifact stays as it is."""
    path = Path(name)
    return str(path.absolute()) if path.exists() else name
