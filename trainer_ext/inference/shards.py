"""Answers for many files: each shard is read, answered and written by one process, as `predict.py` does one file.

OUTPUT holds a file of answers for each shard, under its name, `_done/` what is finished, `_rejected/` the rows without
an answer, and `_settings.json` what the answers depend on.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any, TextIO

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.io.answers import records_of, write_records
from trainer_ext.data.io.readers import file_format
from trainer_ext.data.io.rejects import rejected_record
from trainer_ext.errors import UserError
from trainer_ext.files import atomic_writer, json_text, read_object, write_json
from trainer_ext.inference.identity import files_sha256
from trainer_ext.inference.job import Form, answer_rows, rows_of
from trainer_ext.inference.loading import load_predictor
from trainer_ext.inference.predictor import Predictor

REJECTED = "_rejected"
DONE = "_done"
SETTINGS = "_settings.json"
# Endings by the format of a shard; others are answered as jsonl.
OUTPUT_ENDINGS = {"csv": ".csv", "tsv": ".csv"}


@dataclass(frozen=True)
class Shard:
    """A file of rows, and the name of its answers."""

    source: str
    name: str


@dataclass(frozen=True)
class ShardSettings:
    """How shards are answered; travels to the processes that do it.

    Attributes:
        model: keywords of `load_predictor`.
        files: how the shards are written.
        text_column: as `answer_rows` takes it.
        id_column: as `answer_rows` takes it.
        form: what is written of an answer.
    """

    model: Mapping[str, Any]
    files: FileOptions
    text_column: str | None
    id_column: str | None
    form: Form


@dataclass(frozen=True)
class Answered:
    """What became of a shard.

    Attributes:
        rows: that were answered.
        rejected: rows that were not.
        error: why the shard could not be read to its end; it then has no answers. Empty for any other.
    """

    rows: int
    rejected: int
    error: str = ""


def find_shards(pattern: str, options: FileOptions) -> list[Shard]:
    """Return the files that a pattern, a folder or a name stands for, by name.

    Raises:
        UserError: if there are none, if one has an unknown ending, or if two have answers of the same name.
    """
    place = Path(pattern)
    found = glob(str(place / "*") if place.is_dir() else pattern, recursive=True)
    # What begins with a dot or an underscore is a note of some program, and no rows.
    paths = [
        path for path in sorted(found) if os.path.isfile(path) and Path(path).name[0] not in "._"
    ]
    if not paths:
        raise UserError(f"--input {pattern}: there is no such file")
    shards: dict[str, Shard] = {}
    for path in paths:
        name = output_name(path, options)
        if name in shards:
            raise UserError(
                f"{shards[name].source} and {path} would both have their answers in {name}: rename one of them"
            )
        shards[name] = Shard(os.path.abspath(path), name)
    return list(shards.values())


def output_name(path: str, options: FileOptions) -> str:
    """Return the name of a shard's answers: its own, ending in csv for csv and tsv, else in jsonl."""
    name = Path(path).name.removesuffix(".gz")
    return Path(name).stem + OUTPUT_ENDINGS.get(file_format(path, options), ".jsonl")


def take_output(folder: Path, predictor: Predictor, settings: ShardSettings) -> None:
    """Take the folder of answers for a model and a form.

    Raises:
        UserError: if it holds answers of another model, or in another form.
    """
    now = {
        "model": files_sha256(predictor.files),
        "task": predictor.task.name,
        "weights": predictor.weights,
        "text_column": settings.text_column,
        "id_column": settings.id_column,
        "form": asdict(settings.form),
        "files": asdict(settings.files),
    }
    # As it is read from JSON, where a tuple is a list.
    before = read_object(folder / SETTINGS)
    write_now = json_text(now, default=str, sort_keys=True)
    if before and json_text(before, sort_keys=True) != write_now:
        changed = [name for name in now if json_text(before.get(name)) != json_text(now[name])]
        raise UserError(
            f"--output {folder} holds answers with another {', '.join(changed)}: give another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SETTINGS, now)


def stamp(source: str) -> dict[str, int]:
    """Return by what a shard is known to be the same as before: its size, and when it was changed."""
    found = os.stat(source)
    return {"bytes": found.st_size, "changed_ns": found.st_mtime_ns}


def is_done(shard: Shard, folder: Path) -> bool:
    """Return whether a shard was answered, and is the same since."""
    record = read_object(folder / DONE / f"{shard.name}.json")
    return record.get("source") == stamp(shard.source) and (folder / shard.name).is_file()


def unfinished(shards: Sequence[Shard], folder: Path) -> list[Shard]:
    """Return the shards that are still to be answered."""
    return [shard for shard in shards if not is_done(shard, folder)]


class ShardWorker:
    """Answers one shard after another with one model.

    Args:
        settings: how.
        folder: where the answers go.
    """

    def __init__(self, settings: ShardSettings, folder: str):
        self.settings = settings
        self.folder = Path(folder)
        self.predictor = load_predictor(**settings.model)

    def answer(self, shard: Shard) -> Answered:
        """Answer a shard; its files appear when they are complete, and what says so comes last."""
        before = stamp(shard.source)
        rejected = f"{shard.name.removesuffix('.jsonl')}.jsonl"
        rejects = Rejects(self.folder / REJECTED / rejected, shard.source)
        with rejects:
            try:
                rows = self.write(shard, rejects)
            except UserError as error:
                rejects.add(error)
                (self.folder / shard.name).unlink(missing_ok=True)
                return Answered(0, rejects.count, str(error))
        answered = Answered(rows, rejects.count)
        record = {"source": before, "rows": rows, "rejected": rejects.count}
        write_json(self.folder / DONE / f"{shard.name}.json", record)
        return answered

    def write(self, shard: Shard, rejects: "Rejects") -> int:
        """Write the answers; return their number."""
        settings, predictor = self.settings, self.predictor
        rows = rows_of(predictor, None, shard.source, options=settings.files, reject=rejects.add)
        answers = answer_rows(
            predictor,
            rows,
            settings.text_column,
            settings.id_column,
            settings.form,
            reject=rejects.add,
        )
        target = str(self.folder / shard.name)
        return write_records(target, records_of(target, answers, predictor.task.join))


class Rejects:
    """The rows of a shard that have no answer, in a file that is there if there are any.

    Args:
        path: of the file.
        source: the shard.
    """

    def __init__(self, path: Path, source: str):
        self.path = path
        self.source = source
        self.count = 0
        self.stack = ExitStack()
        self.file: TextIO | None = None

    def __enter__(self) -> "Rejects":
        # Of a try before: the shard may have been mended since.
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def add(self, error: UserError) -> None:
        """Write what is wrong with a row, or with the file."""
        if self.file is None:
            self.file = self.stack.enter_context(atomic_writer(self.path))
        self.file.write(json_text(rejected_record(self.source, error)) + "\n")
        self.count += 1
