"""What a process shares with one that it started: variables, the way to this package, and its end. Imports little."""

import os
import signal
import threading
import time
from pathlib import Path

import trainer_ext

PARENT = "TRAINER_EXT_PARENT"  # process id of the run that trains this fold or seed
PROGRESS = "TRAINER_EXT_PROGRESS"  # file to which a training tells how far it is
COPY = "TRAINER_EXT_COPY"  # folder that stands for an output_dir at a URL
LOOK_AGAIN = 1.0  # seconds between two looks at the parent


def environment_with_package() -> dict[str, str]:
    """Return this process's environment for a child, in which this package can be imported."""
    paths = [str(Path(trainer_ext.__file__).resolve().parent.parent)]
    if os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def end_with_parent() -> None:
    """End this process when the parent that `PARENT` names has ended; a parent that is killed cannot tell it."""
    # Processes that this one starts have another parent.
    parent = os.environ.pop(PARENT, None)
    if not parent:
        return
    watched = int(parent)

    def watch() -> None:
        while os.getppid() == watched:
            time.sleep(LOOK_AGAIN)
        os.kill(os.getpid(), signal.SIGTERM)

    # A daemon, so that it does not keep a process that is done.
    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
