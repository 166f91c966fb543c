"""One W&B run around a training: online with a key, offline without, off with `--report_to none`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer_ext.arguments import Arguments
from trainer_ext.parsing import resolved
from trainer_ext.tracking.identity import identify, tags
from trainer_ext.tracking.server import check_reachable, has_api_key, in_one_line, set_limits


def is_tracked(args: Arguments) -> bool:
    """Whether this process reports to W&B."""
    training = args.training
    wanted = "wandb" in training.report_to and os.environ.get("WANDB_MODE") != "disabled"
    return wanted and not training.process_index


@contextmanager
def tracked_run(args: Arguments, job_type: str = "train", name: str | None = None) -> Iterator[Any]:
    """Open a run with the resolved config, yield it (None when tracking is off), finish it whatever happens.

    The Trainer's own `WandbCallback` then logs into this run. `WANDB_*` variables keep their meaning. A server that
    does not answer turns the run offline instead of ending the training; what does not arrive stays on disk.

    Args:
        args: say who the run is and whether it is tracked.
        job_type: `train`, or `evaluate` for what follows the folds.
        name: of the run; None: as `identify` says.
    """
    if not is_tracked(args):
        yield None
        return
    set_limits()
    os.environ.setdefault("WANDB_PROJECT", "trainer-ext")
    # Copies of tables that wait to be uploaded; by default they pile up in the home directory.
    os.environ.setdefault("WANDB_DATA_DIR", str(Path(os.environ.get("WANDB_DIR", "."), "wandb").absolute()))
    os.environ["WANDB_LOG_MODEL"] = "false"  # the callback would upload the last model, not the best
    run = start_run(args, job_type, name)
    failed = True
    try:
        yield run
        failed = False
    finally:
        finish_run(run, failed)


def start_run(args: Arguments, job_type: str, name: str | None):
    """`wandb.init`, falling back to offline when there is no key or no server."""
    import wandb

    identity = identify(args)
    mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
    options = {
        "name": name or identity.run,
        "group": identity.group,
        "tags": tags(args),
        "job_type": (os.environ.get("WANDB_JOB_TYPE") if job_type == "train" else None) or job_type,
        "config": {**resolved(args), "precision": args.training.precision},  # the one in use, not `auto`
    }
    if identity.group and os.environ.get("WANDB_RUN_ID"):  # else all folds would write into one run
        options["id"] = f"{os.environ['WANDB_RUN_ID']}-{identity.member or job_type}"
    if mode == "online":
        try:
            check_reachable(wandb.setup().settings.base_url)
            run = wandb.init(mode=mode, **options)
            print(f"W&B run {run.name}: {run.url}")
            return run
        except (wandb.errors.Error, OSError) as error:
            print(f"W&B does not answer ({in_one_line(error)}); going on offline, `wandb sync` uploads it")
            mode = "offline"
    os.environ["WANDB_MODE"] = mode
    return wandb.init(mode=mode, **options)


def finish_run(run, failed: bool) -> None:
    """Close the run; say how to bring up what did not arrive."""
    offline = run.settings.mode == "offline"
    with unharmed(run, "everything"):
        run.finish(exit_code=int(failed))
        if offline:
            print(f"W&B run kept offline: `{sync_command(run)}` uploads it")


@contextmanager
def unharmed(run, what: str) -> Iterator[None]:
    """Turn any error of W&B into a line that says how to sync: a training that went well must not end badly."""
    try:
        yield
    except Exception as error:  # it raises many types
        print(f"W&B did not take {what} ({in_one_line(error)}): `{sync_command(run)}` uploads it")


def sync_command(run) -> str:
    """What uploads a run from its folder on disk; of one that began online it needs to be told."""
    online = "" if run.settings.mode == "offline" else "--include-online --include-synced "
    return f"wandb sync {online}{run.settings.sync_dir}"
