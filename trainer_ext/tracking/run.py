"""One W&B run around a training: online with a key, offline without, off with `--report_to none`."""

import netrc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from trainer_ext.arguments import Arguments
from trainer_ext.parsing import resolved


@contextmanager
def tracked_run(args: Arguments) -> Iterator[Any]:
    """Open a run with the resolved config, yield it (None when tracking is off), finish it whatever happens.

    The Trainer's own `WandbCallback` then logs into this run. `WANDB_*` variables keep their meaning. A server that
    does not answer turns the run offline instead of ending the training.
    """
    training = args.training
    if "wandb" not in training.report_to or os.environ.get("WANDB_MODE") == "disabled" or training.process_index:
        yield None
        return
    os.environ.setdefault("WANDB_PROJECT", "trainer-ext")
    os.environ["WANDB_LOG_MODEL"] = "false"  # the callback would upload the last model, not the best
    run = start_run(args)
    failed = True
    try:
        yield run
        failed = False
    finally:
        run.finish(exit_code=int(failed))
        if run.settings.mode == "offline":
            print(f"W&B run kept offline: `wandb sync {run.settings.sync_dir}` uploads it")


def start_run(args: Arguments):
    """`wandb.init`, falling back to offline when there is no key or no server."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
    os.environ["WANDB_MODE"] = mode
    options = {
        "name": args.training.run_name,
        "group": args.training.run_group,
        "tags": args.training.run_tags,
        "job_type": "train",
        "config": resolved(args),
    }
    try:
        return wandb.init(mode=mode, settings=wandb.Settings(init_timeout=20, silent=True), **options)
    except (wandb.errors.CommError, wandb.errors.UsageError, TimeoutError) as error:
        print(f"W&B does not answer ({' '.join(str(error).split())[:120]}); going on offline, `wandb sync` uploads it")
        os.environ["WANDB_MODE"] = "offline"
        return wandb.init(mode="offline", settings=wandb.Settings(silent=True), **options)


def has_api_key() -> bool:
    """Whether W&B would find a key for its server: in `WANDB_API_KEY`, or where `wandb login` puts it, in .netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
