"""One W&B run around a training: online with a key, offline without, off with `--report_to none`."""

import json
import logging
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

logger = logging.getLogger(__name__)

RUN_FILE = "wandb_run.json"
"""In the output folder: the run that a resumed training continues."""
GAVE_UP = re.compile("filestream: fatal error: |file transfer: upload: failed to upload: ")
SWEEP = "WANDB_SWEEP_ID"  # set by `wandb agent`, whose runs have ids and values of their own
RUN_ID = re.compile(r"[\w-]{1,128}")


def is_tracked(args: Arguments) -> bool:
    """Return whether this process reports to W&B; of several processes the first does."""
    training = args.training
    if "wandb" not in training.report_to or os.environ.get("WANDB_MODE") == "disabled":
        return False
    return training.process_index == 0


@contextmanager
def tracked_run(
    args: Arguments,
    job_type: str = "train",
    name: str | None = None,
    goes_on: bool = False,
) -> Iterator[Any]:
    """Open a run with the resolved config, yield it (None if tracking is off), finish it whatever happens.

    The Trainer's own `WandbCallback` then logs into this run. `WANDB_*` variables keep their meaning. A server that
    does not answer turns the run offline instead of ending the training; what does not arrive stays on disk.

    Args:
        args: say who the run is and whether it is tracked.
        job_type: `train`, or `evaluate` for what follows the folds.
        name: of the run; None: as `identify` says.
        goes_on: whether this continues what the output folder holds; then its run is resumed instead of a new one.
    """
    run_file = Path(args.training.output_dir) / RUN_FILE
    if not goes_on and args.training.process_index == 0:
        # It is of another training, whether this one is tracked or not.
        run_file.unlink(missing_ok=True)
    if not is_tracked(args):
        yield None
        return
    set_environment()
    run = start_run(options_of(args, job_type, name, run_to_resume(run_file)))
    place = {"id": run.id, "project": run.settings.project, "entity": run.settings.entity}
    with suppress(OSError):  # it only means that a resumed training is another run
        write_json(run_file, place)
    failed = True
    try:
        yield run
        failed = False
    finally:
        finish_run(run, failed)


def set_environment() -> None:
    """Set what W&B's client and the Trainer's callback read from the environment."""
    set_limits()
    os.environ.setdefault("WANDB_PROJECT", "trainer-ext")
    # Copies of tables that wait to be uploaded; by default they pile up in the home directory.
    waiting = Path(os.environ.get("WANDB_DIR", "."), "wandb").absolute()
    os.environ.setdefault("WANDB_DATA_DIR", str(waiting))
    # The callback would upload the last model, not the best.
    os.environ["WANDB_LOG_MODEL"] = "false"


def run_to_resume(run_file: Path) -> str | None:
    """Return the id of the run to resume; None if the file names none, or one in another project."""
    try:
        before = json.loads(run_file.read_text(encoding="utf-8"))
        run_id, project = before["id"], before["project"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        return None
    return run_id if project == os.environ["WANDB_PROJECT"] else None


def options_of(
    args: Arguments,
    job_type: str,
    name: str | None,
    resumed: str | None,
) -> dict[str, Any]:
    """Return the keywords of `wandb.init`."""
    identity = identify(args)
    shown_job_type = job_type
    if job_type == "train":
        # Only what W&B shows: by `job_type` itself runs of one id differ (see below).
        shown_job_type = os.environ.get("WANDB_JOB_TYPE") or job_type
    config = resolved(args)
    config["precision"] = args.training.precision  # the one in use, not `auto`
    options = {
        "name": name or identity.run,
        "group": identity.group,
        "tags": tags(args),
        "job_type": shown_job_type,
        "config": config,
    }
    given_id = os.environ.get("WANDB_RUN_ID")
    is_part = bool(identity.member)
    if is_part:
        leave_sweep()
    if given_id and identity.group and not (SWEEP in os.environ and not is_part):
        # Else all folds would write into one run.
        options["id"] = f"{given_id}-{identity.member or job_type}"
    elif resumed and not given_id:
        options["id"] = resumed
    if resumed and not os.environ.get("WANDB_RESUME"):
        options["resume"] = "allow"
    return options


def leave_sweep() -> None:
    """Keep a fold from being taken for the run of a W&B sweep, which is that of all folds together."""
    for variable in (SWEEP, "WANDB_SWEEP_PARAM_PATH"):
        os.environ.pop(variable, None)


def start_run(options: dict[str, Any]) -> Any:
    """Call `wandb.init`, offline if there is no key or the server does not answer."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
    if mode == "online":
        try:
            check_reachable(wandb.setup().settings.base_url)
            run = init(options, "online")
            logger.info("W&B run %s: %s", run.name, run.url)
            return run
        except (wandb.errors.Error, OSError) as error:
            logger.warning(
                "W&B does not answer (%s); going on offline, `wandb sync` uploads it",
                describe_error(error),
            )
            mode = "offline"
    # For the callback and for the processes of the folds.
    os.environ["WANDB_MODE"] = mode
    return init(options, mode)


def init(options: dict[str, Any], mode: str) -> Any:
    """Call `wandb.init` with a command line that shows no secrets: W&B puts it on the run's page."""
    import wandb

    with shown_command_line():
        return wandb.init(**(options | {"mode": mode}))


def finish_run(run: Any, failed: bool) -> None:
    """Close the run; tell how to upload what did not arrive."""
    is_offline = run.settings.mode == "offline"
    with warn_if_it_fails(run, "everything"):
        run.finish(exit_code=int(failed))
        if is_offline:
            logger.info("W&B run kept offline: `%s` uploads it", sync_command(run))
            return
        why = why_it_stopped(Path(run.settings.sync_dir))
        if why is not None:
            raise ValueError(why)


def why_it_stopped(folder: Path) -> str | None:
    """Return why W&B's client stopped sending a run's history or files; None if it did not.

    A refusal (404 of a proxy or an old server, 403, ...) is not repeated and not raised: `finish` ends as if all had
    arrived. Only the client's own log tells.
    """
    path = folder / "logs" / "debug-internal.log"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if GAVE_UP.search(line):
            with suppress(ValueError, KeyError, TypeError):
                return GAVE_UP.sub("", json.loads(line)["msg"]).strip()
    return None


@contextmanager
def warn_if_it_fails(run: Any, what: str) -> Iterator[None]:
    """Turn any error of W&B into a warning that says how to sync: a training that went well must not end badly."""
    try:
        yield
    except Exception as error:  # it raises many types
        logger.warning(
            "W&B did not take %s (%s): `%s` uploads it",
            what,
            describe_error(error),
            sync_command(run),
        )


def sync_command(run: Any) -> str:
    """Return the command that uploads a run from its folders on disk.

    A training that was resumed offline has a folder for each of its parts; what is synced already is passed over.
    """
    folder = Path(run.settings.sync_dir)
    if run.settings.mode != "offline":
        # `wandb sync` takes only runs that began offline, unless these flags say otherwise.
        return f"wandb sync --include-online --include-synced {shlex.quote(str(folder))}"
    parts = sorted({*folder.parent.glob(f"offline-run-*-{run.id}"), folder})
    return f"wandb sync {shlex.join(map(str, parts))}"
