"""From a file of rows to a file of `target_size` rows: the originals, then rows made from them."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from tqdm import tqdm

from trainer_ext.arguments.files import FileOptions
from trainer_ext.data.augment.rows import JointRows, TextRows
from trainer_ext.data.augment.sentence import Sentence
from trainer_ext.data.duplicates import text_key
from trainer_ext.data.io.readers import Row
from trainer_ext.data.io.row_writer import RowWriter
from trainer_ext.data.labelled import read_labelled
from trainer_ext.data.provenance import (
    DEFAULT_ID,
    OPERATION,
    SOURCE_ID,
    is_new,
    named_rows,
    new_row,
    source_of,
)
from trainer_ext.errors import UserError

ATTEMPTS = 40  # for a text that is new; every tenth of them raises alpha by its own size
BATCH = 32


class Method(Protocol):
    """Proposes an edited sentence and the operation's name for each sentence."""

    def propose(
        self, sentences: Sequence[Sentence], generators: Sequence[random.Random], strength: float
    ) -> list[tuple[Sentence, str]]:
        """`strength` scales how much is edited."""


@dataclass
class Job:
    """One augmentation.

    Every source gets as many new rows as any other (the last round draws who gets one more). A text is taken once: new
    texts differ from all originals and from each other. What is remembered of a text is a hash of 8 bytes.
    """

    path: str
    method: Method
    rows: TextRows | JointRows
    target_size: int
    seed: int
    task: str = "single_label"
    id_column: str | None = None
    files: FileOptions = field(default_factory=FileOptions)
    name: str = "eda"
    seen: set[bytes] = field(default_factory=set)
    made: Counter = field(default_factory=Counter)
    operations: Counter = field(default_factory=Counter)

    def run(self, writer: RowWriter, bar: tqdm) -> int:
        """Write everything, and count it on `bar`; returns the number of originals.

        Raises:
            UserError: when the file has more rows than asked for, none, or too few different texts can be made of it.
        """
        sources, count = self.copy_originals(writer, bar)
        if count > self.target_size:
            raise UserError(
                f"target_size {self.target_size} is less than the {count} rows of {self.path}, and originals are kept"
            )
        missing, number = self.target_size - count, 0
        while missing and sources:
            chance = random.Random(f"{self.seed}/{number}")
            turn = sources if missing >= len(sources) else sorted(chance.sample(sources, missing))
            exhausted = set()
            for source, values in self.round(set(turn), number):
                if values is None:
                    exhausted.add(source)
                else:
                    writer.write(values)
                    missing -= 1
                    bar.update()
            sources, number = [source for source in sources if source not in exhausted], number + 1
        if missing:
            raise UserError(
                f"target_size {self.target_size} cannot be reached: {self.path} gives only "
                f"{self.target_size - missing} different rows, {count} of them originals; lower it, raise --alpha, "
                "or give a larger thesaurus"
            )
        return count

    def copy_originals(self, writer: RowWriter, bar: tqdm) -> tuple[list[int], int]:
        """Write every row with its id; returns the numbers of those that may be sources, and the number of rows."""
        sources, number = [], 0
        for number, row in self.read():
            if is_new(row.values):
                self.made[str(row.values[SOURCE_ID])] += 1
            else:
                sources.append(number)
            self.seen.add(text_key(self.rows.text(row)))
            if number <= self.target_size:
                writer.write(row.values)
                bar.update()
        if not number:
            raise UserError(f"{self.path} is empty: it has no rows")
        return sources, number

    def read(self) -> Iterator[tuple[int, Row]]:
        """Rows, each with an id, and their numbers from 1."""
        return enumerate(
            named_rows(read_labelled(self.path, self.task, self.files), self.id_column), 1
        )

    def round(self, turn: set[int], number: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """A new row (None where none can be made) for each row in `turn`, in the order of the file."""
        chosen = ((k, row) for k, row in self.read() if k in turn)
        while batch := list(islice(chosen, BATCH)):
            yield from zip((k for k, _ in batch), self.new_rows(batch, number), strict=True)

    def new_rows(self, batch: list[tuple[int, Row]], number: int) -> list[dict[str, Any] | None]:
        """One new row for each numbered row, where one was found."""
        sentences = [self.rows.sentence(row) for _, row in batch]
        found: list[dict[str, Any] | None] = [None] * len(batch)
        for attempt in range(ATTEMPTS):
            open_ = [k for k, values in enumerate(found) if values is None and sentences[k].free]
            if not open_:
                break
            generators = [
                random.Random(f"{self.seed}/{number}/{batch[k][0]}/{attempt}") for k in open_
            ]
            proposals = self.method.propose(
                [sentences[k] for k in open_], generators, 1 + attempt // 10
            )
            for k, (sentence, operation) in zip(open_, proposals, strict=True):
                found[k] = self.accept(batch[k][1], sentence, operation)
        return found

    def accept(self, row: Row, sentence: Sentence, operation: str) -> dict[str, Any] | None:
        """The row with a new text, or None when it has been seen."""
        values = self.rows.values(row, sentence)
        if values is None:
            return None
        key = text_key(self.rows.text(Row(values, row.where)))
        if key in self.seen:
            return None
        self.seen.add(key)
        named_by = self.id_column or DEFAULT_ID
        source = source_of(row, named_by)
        self.made[str(source)] += 1
        self.operations[operation] += 1
        new_id = f"{source}-{self.name}{self.made[str(source)]}"
        return new_row(values, source, operation, named_by, new_id)


EXTRA_COLUMNS = (SOURCE_ID, OPERATION)


def summary(job: Job, originals: int) -> Iterable[tuple[str, int]]:
    """What was written, for the table at the end."""
    return [("originals", originals), *sorted(job.operations.items()), ("rows", job.target_size)]
