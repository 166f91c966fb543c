"""A training whose folder is at a URL: it trains in a scratch folder of its node, and what it leaves goes to the URL.

Checkpoints too, as they are saved: another node goes on from them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer_ext.children import COPY
from trainer_ext.cross_validation.launchers.base import Job
from trainer_ext.storage import Storage


def is_of_checkpoint(name: str) -> bool:
    """Return whether a file in the folder of all trainings is of a checkpoint, which only nodes go on from."""
    # Not `runs.checkpoints.PREFIX`: a worker of Ray would import torch for it.
    return "/checkpoint-" in name


@contextmanager
def fetched(job: Job) -> Iterator[tuple[Job, Callable[[], None]]]:
    """Bring the training to this node.

    Yields:
        The training in a scratch folder, and what sends its files to the URL.

    Raises:
        StorageError: if the URL does not answer, or refuses.
    """
    assert job.storage is not None
    whole = job.folder.parent
    with TemporaryDirectory(prefix="trainer-ext-") as scratch:
        here = Path(scratch, whole.name)
        here.mkdir()
        storage = Storage(job.storage, here)
        own = f"{job.folder.name}/"
        # Its own files, and those of all trainings: the recipe, the division of the rows. Not those of the others.
        storage.pull(lambda name: name.startswith(own) or "/" not in name)
        words = [word.replace(str(whole), str(here)) for word in job.words]
        environment = {**job.environment, COPY: str(here)}
        yield (
            replace(
                job, words=tuple(words), folder=here / job.folder.name, environment=environment
            ),
            storage.push,
        )


def bring(job: Job) -> None:
    """Bring here what a training has left at the URL, without its checkpoints; nothing if the folder is shared.

    Raises:
        StorageError: if the URL does not answer, or refuses.
    """
    if job.storage is None:
        return
    own = f"{job.folder.name}/"
    storage = Storage(job.storage, job.folder.parent)
    storage.pull(lambda name: name.startswith(own) and not is_of_checkpoint(name))
