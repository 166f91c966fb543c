"""Turn a file of rows into one of `target_size` rows: the originals, then rows made from them."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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

# Tries for a text that is new. Every tenth raises alpha by its own size: short texts have few variants with one edit.
ATTEMPTS = 40
ATTEMPTS_PER_STRENGTH = 10
BATCH = 32  # rows that a masked language model sees at a time
EXTRA_COLUMNS = (SOURCE_ID, OPERATION)

Values = dict[str, Any]


class Method(Protocol):
    """Proposes an edited sentence and the operation's name for each sentence."""

    def propose(
        self,
        sentences: Sequence[Sentence],
        generators: Sequence[random.Random],
        strength: float,
    ) -> list[tuple[Sentence, str]]:
        """Return the proposals; `strength` scales how much is edited."""


@dataclass
class Job:
    """One augmentation.

    Every source gets as many new rows as any other (the last round draws who gets one more). A text is taken once: new
    texts differ from all originals and from each other. What is remembered of a text is a hash of 8 bytes.

    Every choice draws from a generator of its own, seeded by the round, the row and the attempt, so that the same seed
    gives the same file however rows are batched.
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
    made: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)

    def run(self, writer: RowWriter, bar: tqdm) -> int:
        """Write everything, and count it on `bar`; return the number of originals.

        Raises:
            UserError: if the file has more rows than asked for, none, or too few different texts can be made of it.
        """
        sources, originals = self.copy_originals(writer, bar)
        if originals > self.target_size:
            raise UserError(
                f"target_size {self.target_size} is less than the {originals} rows of {self.path}, "
                "and originals are kept"
            )
        missing = self.target_size - originals
        number = 0
        while missing and sources:
            exhausted = set()
            chosen = self.choose(sources, missing, number)
            for source, values in self.make_round(chosen, number):
                if values is None:
                    exhausted.add(source)
                else:
                    writer.write(values)
                    missing -= 1
                    bar.update()
            sources = [source for source in sources if source not in exhausted]
            number += 1
        if missing:
            raise UserError(
                f"target_size {self.target_size} cannot be reached: {self.path} gives only "
                f"{self.target_size - missing} different rows, {originals} of them originals; lower it, raise --alpha, "
                "or give a larger thesaurus"
            )
        return originals

    def copy_originals(self, writer: RowWriter, bar: tqdm) -> tuple[list[int], int]:
        """Write every row with its id.

        Returns:
            The numbers of the rows that may be sources, and the number of all rows.
        """
        sources = []
        number = 0
        for number, row in self.read():
            if is_new(row.values):
                # Rows of an earlier augmentation are kept, and the numbers in new ids go on after theirs.
                self.made[str(row.values[SOURCE_ID])] += 1
            else:
                sources.append(number)
            self.seen.add(text_key(self.rows.text(row)))
            # With more rows the job will fail, once they are counted.
            if number <= self.target_size:
                writer.write(row.values)
                bar.update()
        if not number:
            raise UserError(f"{self.path} is empty: it has no rows")
        return sources, number

    def read(self) -> Iterator[tuple[int, Row]]:
        """Return the rows, each with an id, and their numbers from 1."""
        rows = read_labelled(self.path, self.task, self.files)
        return enumerate(named_rows(rows, self.id_column), 1)

    def choose(self, sources: Sequence[int], missing: int, number: int) -> set[int]:
        """Return the sources that get a new row in a round: all of them, unless fewer rows are missing."""
        if missing >= len(sources):
            return set(sources)
        generator = random.Random(f"{self.seed}/{number}")
        return set(generator.sample(sources, missing))

    def make_round(self, chosen: set[int], number: int) -> Iterator[tuple[int, Values | None]]:
        """Yield a new row for each chosen source, in the order of the file; None if none can be made."""
        # The file is read in each round: keeping its rows would let memory grow with it.
        batch: list[tuple[int, Row]] = []
        for source, row in self.read():
            if source in chosen:
                batch.append((source, row))
            if len(batch) == BATCH:
                yield from self.make_batch(batch, number)
                batch = []
        yield from self.make_batch(batch, number)

    def make_batch(
        self,
        batch: Sequence[tuple[int, Row]],
        number: int,
    ) -> Iterator[tuple[int, Values | None]]:
        """Yield a new row for each numbered row; None if none was found in all attempts."""
        sentences = [self.rows.sentence(row) for _, row in batch]
        found: list[Values | None] = [None] * len(batch)
        for attempt in range(ATTEMPTS):
            # Those that still need a row; a sentence without free words will never get one.
            todo = []
            generators = []
            for place, (source, _) in enumerate(batch):
                if found[place] is None and sentences[place].free:
                    todo.append(place)
                    seed = f"{self.seed}/{number}/{source}/{attempt}"
                    generators.append(random.Random(seed))
            if not todo:
                break
            strength = 1 + attempt // ATTEMPTS_PER_STRENGTH
            unchanged = [sentences[place] for place in todo]
            proposals = self.method.propose(unchanged, generators, strength)
            for place, (sentence, operation) in zip(todo, proposals, strict=True):
                _, row = batch[place]
                found[place] = self.accept(row, sentence, operation)
        for (source, _), values in zip(batch, found, strict=True):
            yield source, values

    def accept(self, row: Row, sentence: Sentence, operation: str) -> Values | None:
        """Return the row with a new text and an id of its own, or None if the text is not new."""
        values = self.rows.values(row, sentence)
        if values is None:
            return None
        key = text_key(self.rows.text(Row(values, row.where)))
        if key in self.seen:
            return None
        self.seen.add(key)
        id_column = self.id_column or DEFAULT_ID
        source = source_of(row, id_column)
        self.made[str(source)] += 1
        self.operations[operation] += 1
        new_id = f"{source}-{self.name}{self.made[str(source)]}"
        return new_row(values, source, operation, id_column, new_id)


def summary(job: Job, originals: int) -> list[tuple[str, int]]:
    """Return what was written, for the table at the end."""
    return [
        ("originals", originals),
        *sorted(job.operations.items()),
        ("rows", job.target_size),
    ]
