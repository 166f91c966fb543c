"""Several models behind the interface of one: folders of folds or seeds, or any models with the same labels."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference.combine import WAYS, combine, joint_task
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.predictor import WINDOW, Predictor
from trainer_ext.inference.weights import ensemble_weights

ROWS_AT_A_TIME = (
    4096  # that each model answers before it makes room for the next, when they do not fit together
)
MEMBER = re.compile(r"(fold|seed)-\d+")
MOST_MODELS = 10_000  # in one folder
LISTS = (
    "folds.json",
    "seeds.json",
)  # which models a folder has to have; train.py and export.py write it first
LAST_WRITTEN = (
    "metrics.json",
    "export_report.json",
)  # of a model that is trained, or exported, to its end


class EnsemblePredictor(Predictor):
    """Answers with several models; the interface of a `Predictor`.

    Args:
        names: of the models, for messages.
        loaders: `load()` of each model. With `together` false each window of rows loads them one after another.
        how: mean, logits, vote or weighted.
        weights: of each model, for weighted.
        together: whether all models are kept in memory.
    """

    def __init__(
        self, names: Sequence[str], loaders: Sequence, how: str, weights, together: bool = True
    ):
        self.members: list[Predictor] = []
        self.tasks, self.how, self.weights, self._loaders = [], how, weights, loaders
        files = {}
        for load in loaders:
            member = load()
            self.tasks.append(member.task)
            files[member.session.file_name] = None
            if together:
                self.members.append(member)
        self.task = joint_task(names, self.tasks, how)
        self.pipeline, self._batch_size = member.pipeline, member.batch_size
        self.session = _Provider(member.session.provider, ", ".join(files))

    @property
    def batch_size(self) -> int:
        """Rows in one run of each model."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int) -> None:
        self._batch_size = rows
        for member in self.members:
            member.batch_size = rows

    def outputs(self, items: list) -> list:
        """The ensemble's output for each prepared item, in order."""
        of_members = []
        for k, load in enumerate(self._loaders):
            member = self.members[k] if self.members else load()
            of_members.append(member.outputs(items))
            del member
        return [
            combine(self.tasks, row, self.how, self.weights)
            for row in zip(*of_members, strict=True)
        ]

    def _windows(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        size = self.batch_size * WINDOW if self.members else ROWS_AT_A_TIME
        while window := list(islice(items, size)):
            yield from zip(window, self.outputs(window), strict=True)


class _Provider:
    """Stands for the sessions of several models, which share a provider."""

    def __init__(self, provider: str, file_name: str):
        self.provider, self.file_name = provider, file_name


def load_predictor(
    path: str | os.PathLike | Sequence[str | os.PathLike],
    num_threads: int | None = None,
    provider: str = "auto",
    batch_size: int = 8,
    file_name: str | None = None,
    ensemble: str | None = None,
    memory: int | None = None,
    trust_remote_code: bool = False,
) -> Predictor:
    """A predictor from a checkpoint, an ONNX folder, a folder of folds or seeds, or a list of any of these.

    Args:
        path: folders written by `train.py` or `export.py`, artifact:NAME:ALIAS of the local store, or
            wandb:ENTITY/PROJECT/NAME:ALIAS; `name-{0..4}` stands for name-0 to name-4.
        num_threads: None: the cores this process may use.
        provider: auto, cpu or cuda.
        batch_size: rows in one run.
        file_name: which ONNX file; None: the one the export report chose.
        ensemble: how several models answer together: mean (of probabilities, or scores; the default), logits, vote or
            weighted (weights fitted on the out-of-fold predictions: of one folder those in its cv.json, of several by
            their oof.csv).
        memory: bytes that the models may take together; more than that are loaded one after another. None: half of
            what is free.
        trust_remote_code: whether code that a checkpoint brings may be run.

    Raises:
        UserError: when a folder is not there, not a model, or broken, or when models do not fit together.
    """
    if ensemble is not None and ensemble not in WAYS:
        raise UserError(f"ensemble {ensemble!r} is none of {', '.join(WAYS)}")
    given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    names = [
        name
        for item in given
        for model in expand_braces(str(item))
        for name in members_of(located(model))
    ]
    if not names:
        raise UserError("no model: give at least one")

    def loader(name: str):
        return lambda: load_single(
            name, num_threads, provider, batch_size, file_name, trust_remote_code
        )

    if len(names) == 1 and ensemble is not None:
        raise UserError(f"ensemble {ensemble} is for several models, but there is only {names[0]}")
    if len(names) == 1:
        return loader(names[0])()
    weights = ensemble_weights(names) if ensemble == "weighted" else None
    size = sum(size_of(Path(name), file_name) for name in names)
    together = size <= (free_memory() / 2 if memory is None else memory)
    predictor = EnsemblePredictor(
        names, list(map(loader, names)), ensemble or "mean", weights, together
    )
    if ensemble == "vote" and not predictor.task.has_classes:
        raise UserError(
            f"ensemble vote is for classes, but the models are for {predictor.task.name}; use mean"
        )
    return predictor


def located(name: str) -> str:
    """The folder of a model that is named by a reference; any other name as it is."""
    if not name.startswith(("artifact:", "wandb:")):
        return name
    from trainer_ext.tracking.artifacts.resolve import resolve_model  # a folder needs no store

    return str(resolve_model(name))


def expand_braces(name: str) -> list[str]:
    """`a-{0..2}` as a-0, a-1, a-2 and `a-{x,y}` as a-x, a-y, as a shell would; anything else as it is."""
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", name)
    if not found:
        return [name]
    low, high, listed = found.groups()
    inner = listed.split(",") if listed else map(str, range(int(low), int(high) + 1))
    return [
        rest
        for item in inner
        for rest in expand_braces(name[: found.start()] + item + name[found.end() :])
    ]


def members_of(name: str) -> list[str]:
    """The fold-k (or seed-s) models that a folder filled by train.py or export.py should have; any other name as it is.

    Without a list of them in the folder, those that are there.

    Raises:
        UserError: when one is missing, or was cut off while it was trained or exported.
    """
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return [name]
    names = listed_members(folder)
    missing = [member for member in names if not is_complete(folder / member)]
    if missing:
        raise UserError(
            f"model {name} is not complete: {', '.join(missing)} not trained or exported to the end; run the command "
            "that made it again"
        )
    if not names:
        found = [
            p.name
            for p in folder.iterdir()
            if MEMBER.fullmatch(p.name) and (p / "config.json").is_file()
        ]
        names = sorted(found, key=lambda member: int(member[5:]))
    return [str(folder / member) for member in names] or [name]


def is_complete(folder: Path) -> bool:
    """Whether a model was trained, or exported, to its end: a folder in the making has no config.json."""
    return (folder / "config.json").is_file() and any(
        (folder / name).is_file() for name in LAST_WRITTEN
    )


def listed_members(folder: Path) -> list[str]:
    """The names in the folder's list; none when it has no list.

    Raises:
        UserError: for a list that is damaged.
    """
    about = {}
    for path in (folder / name for name in LISTS):
        content = read_json(path) if path.is_file() else {}
        if not isinstance(content, dict):
            raise UserError(f"{path} is no list of models: expected an object")
        about |= content
    folds, repeats, seeds = (
        about.get("folds", 0),
        about.get("fold_repeats", 1),
        about.get("seeds", []),
    )
    numbers = [folds, repeats, *(seeds if isinstance(seeds, list) else [None])]
    if (
        any(type(number) is not int or number < 0 for number in numbers)
        or folds * repeats > MOST_MODELS
    ):
        raise UserError(
            f"{folder}: {' or '.join(LISTS)} is damaged: folds, fold_repeats and seeds are no numbers"
        )
    return [*(f"fold-{k}" for k in range(folds * repeats)), *(f"seed-{seed}" for seed in seeds)]


def size_of(folder: Path, file_name: str | None) -> int:
    """Bytes of a model's largest file, which is what it takes in memory."""
    names = (
        [file_name]
        if file_name
        else [path.name for path in folder.glob("model*")]
        if folder.is_dir()
        else []
    )
    return max(
        ((folder / name).stat().st_size for name in names if (folder / name).is_file()), default=0
    )


def free_memory() -> float:
    """Bytes this process may still take: what the system calls available, within the container's limit."""
    free = float("inf")
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(
            next(line for line in lines if line.startswith("MemAvailable")).split()[1]
        )
    with suppress(OSError, ValueError):
        limit, used = (
            int(Path("/sys/fs/cgroup", name).read_text())
            for name in ("memory.max", "memory.current")
        )
        free = min(free, limit - used)
    return free
