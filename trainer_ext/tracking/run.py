"""One W&B run around a training: online with a key, offline without, off with `--report_to none`."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved
from trainer_ext.errors import describe_error
from trainer_ext.files import write_json
from trainer_ext.redaction import shown_command_line
from trainer_ext.tracking.identity import identify, tags
from trainer_ext.tracking.server import check_reachable, has_api_key, set_limits

RUN_FILE = "wandb_run.json"  # in the output folder: the run that a resumed training goes on with
GAVE_UP = re.compile("filestream: fatal error: |file transfer: upload: failed to upload: ")
RUN_ID = re.compile(r"[\w-]{1,128}")


def is_tracked(args: Arguments) -> bool:
    """Whether this process reports to W&B."""
    training = args.training
    wanted = "wandb" in training.report_to and os.environ.get("WANDB_MODE") != "disabled"
    return wanted and not training.process_index


@contextmanager
def tracked_run(
    args: Arguments, job_type: str = "train", name: str | None = None, goes_on: bool = False
) -> Iterator[Any]:
    """Open a run with the resolved config, yield it (None when tracking is off), finish it whatever happens.

    The Trainer's own `WandbCallback` then logs into this run. `WANDB_*` variables keep their meaning. A server that
    does not answer turns the run offline instead of ending the training; what does not arrive stays on disk.

    Args:
        args: say who the run is and whether it is tracked.
        job_type: `train`, or `evaluate` for what follows the folds.
        name: of the run; None: as `identify` says.
        goes_on: whether this continues what the output folder holds; then its run is resumed instead of a new one.
    """
    kept = Path(args.training.output_dir) / RUN_FILE
    if not goes_on and args.training.process_index == 0:
        kept.unlink(
            missing_ok=True
        )  # it is of another training, whether this one is tracked or not
    if not is_tracked(args):
        yield None
        return
    set_limits()
    os.environ.setdefault("WANDB_PROJECT", "trainer-ext")
    # Copies of tables that wait to be uploaded; by default they pile up in the home directory.
    os.environ.setdefault(
        "WANDB_DATA_DIR", str(Path(os.environ.get("WANDB_DIR", "."), "wandb").absolute())
    )
    os.environ["WANDB_LOG_MODEL"] = (
        "false"  # the callback would upload the last model, not the best
    )
    run = start_run(args, options_of(args, job_type, name, run_to_resume(kept)))
    with suppress(OSError):  # it only means that a resumed training is another run
        write_json(
            kept, {"id": run.id, "project": run.settings.project, "entity": run.settings.entity}
        )
    failed = True
    try:
        yield run
        failed = False
    finally:
        finish_run(run, failed)


def run_to_resume(kept: Path) -> str | None:
    """The id of the run whose training goes on; None when there is none, or in another project."""
    try:
        before = json.loads(kept.read_text(encoding="utf-8"))
        identity, project = before["id"], before["project"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    known = (
        isinstance(identity, str)
        and RUN_ID.fullmatch(identity)
        and project == os.environ["WANDB_PROJECT"]
    )
    return identity if known else None


def options_of(
    args: Arguments, job_type: str, name: str | None, resumed: str | None
) -> dict[str, Any]:
    """What `wandb.init` is told."""
    identity = identify(args)
    options = {
        "name": name or identity.run,
        "group": identity.group,
        "tags": tags(args),
        "job_type": (os.environ.get("WANDB_JOB_TYPE") if job_type == "train" else None) or job_type,
        "config": {
            **resolved(args),
            "precision": args.training.precision,
        },  # the one in use, not `auto`
    }
    if identity.group and os.environ.get("WANDB_RUN_ID"):  # else all folds would write into one run
        options["id"] = f"{os.environ['WANDB_RUN_ID']}-{identity.member or job_type}"
    elif resumed and not os.environ.get("WANDB_RUN_ID"):
        options["id"] = resumed
    if resumed and not os.environ.get("WANDB_RESUME"):
        options["resume"] = "allow"
    return options


def start_run(args: Arguments, options: dict[str, Any]):
    """`wandb.init`, falling back to offline when there is no key or no server."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
    if mode == "online":
        try:
            check_reachable(wandb.setup().settings.base_url)
            with shown_command_line():
                run = wandb.init(mode=mode, **options)
            print(f"W&B run {run.name}: {run.url}")
            return run
        except (wandb.errors.Error, OSError) as error:
            print(
                f"W&B does not answer ({describe_error(error)}); going on offline, `wandb sync` uploads it"
            )
            mode = "offline"
    os.environ["WANDB_MODE"] = mode
    with shown_command_line():
        return wandb.init(mode=mode, **options)


def finish_run(run, failed: bool) -> None:
    """Close the run; say how to bring up what did not arrive."""
    offline = run.settings.mode == "offline"
    with unharmed(run, "everything"):
        run.finish(exit_code=int(failed))
        if offline:
            print(f"W&B run kept offline: `{sync_command(run)}` uploads it")
        elif (why := why_it_stopped(Path(run.settings.sync_dir))) is not None:
            raise ValueError(why)


def why_it_stopped(folder: Path) -> str | None:
    """Why W&B's client stopped sending a run's history or files; None when it did not.

    A refusal (404 of a proxy or an old server, 403, ...) is not repeated and not raised: `finish` ends as if all had
    arrived. Only the client's own log tells.
    """
    try:
        lines = (
            (folder / "logs" / "debug-internal.log")
            .read_text(encoding="utf-8", errors="replace")
            .splitlines()
        )
    except OSError:
        return None
    for line in lines:
        if GAVE_UP.search(line):
            with suppress(ValueError, KeyError, TypeError):
                return GAVE_UP.sub("", json.loads(line)["msg"]).strip()
    return None


@contextmanager
def unharmed(run, what: str) -> Iterator[None]:
    """Turn any error of W&B into a line that says how to sync: a training that went well must not end badly."""
    try:
        yield
    except Exception as error:  # it raises many types
        print(
            f"W&B did not take {what} ({describe_error(error)}): `{sync_command(run)}` uploads it"
        )


def sync_command(run) -> str:
    """What uploads a run from its folders on disk; of one that began online it needs to be told.

    A training that was resumed offline has a folder for each of its parts; what is synced already is passed over.
    """
    folder = Path(run.settings.sync_dir)
    if run.settings.mode != "offline":
        return f"wandb sync --include-online --include-synced {shlex.quote(str(folder))}"
    parts = sorted({*folder.parent.glob(f"offline-run-*-{run.id}"), folder})
    return f"wandb sync {shlex.join(map(str, parts))}"
