"""The tables whose rows are added up to a token's embedding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from trainer_ext.export.graph.onnx_graph import Graph
from trainer_ext.export.native.functions import NotRecognised, part_of, run

# Lengths of the rows with which it is found out what picks a table's rows.
LENGTHS = (4, 9)


@dataclass(frozen=True)
class Table:
    """Rows of an embedding.

    Attributes:
        rows: int8 or float (rows, hidden), name of the constant.
        scales: float (rows, 1), name of the constant, for rows in 8 bits; else empty.
        row_of: what picks a row: `token` (its id), `position`, `type` (the token's), `constant` (always the first).
        offset: that is added to a position (RoBERTa counts from 2).
        skipped: id of tokens that do not count as positions (RoBERTa's padding, which a text may hold, too); they get
            the row of that number. None: every token counts.
    """

    rows: str
    scales: str
    row_of: str
    offset: int = 0
    skipped: int | None = None


def tables_of(graph: Graph, name: str) -> list[Table]:
    """Return the tables whose rows add up to a tensor (B, L, hidden).

    Raises:
        NotRecognised: if anything else is added.
    """
    tables = []
    for term in terms_of(graph, name):
        if graph.array(term) is not None:
            tables.append(constant_table(graph, term))
        else:
            tables.append(table_of(graph, term))
    has_types = any(table.row_of == "type" for table in tables)
    if has_types and any(table.skipped is not None for table in tables):
        raise NotRecognised("positions leave out padding, and there are types of tokens")
    return tables


def terms_of(graph: Graph, name: str) -> list[str]:
    """Return the tensors that are added up to one."""
    add = graph.made_by(name, "Add")
    if add is None:
        return [name]
    terms = []
    for part in add.input:
        terms += terms_of(graph, part)
    return terms


def constant_table(graph: Graph, name: str) -> Table:
    """Return a vector that is added to every token as a table of one row."""
    array = graph.array(name)
    if array is None or array.dtype != np.float32 or array.size != array.shape[-1]:
        raise NotRecognised(f"{name}, which is added to the embeddings, is not a vector")
    return Table(name, "", "constant")


def table_of(graph: Graph, name: str) -> Table:
    """Return the table that a tensor's rows are taken from, in floats or in 8 bits with a scale for each row."""
    plain = graph.made_by(name, "Gather")
    if plain is not None:
        return Table(str(plain.input[0]), "", *index_of(graph, plain))
    scaled = graph.made_by(name, "Mul")
    if scaled is None:
        raise NotRecognised(f"{name} is not a row of an embedding")
    cast = graph.made_by(scaled.input[0], "Cast")
    scales = graph.made_by(scaled.input[1], "Gather")
    rows = None if cast is None else graph.made_by(cast.input[0], "Gather")
    if rows is None or scales is None or rows.input[1] != scales.input[1]:
        raise NotRecognised(f"{name} is not a row of an embedding in 8 bits")
    return Table(str(rows.input[0]), str(scales.input[0]), *index_of(graph, rows))


def index_of(graph: Graph, gather: NodeProto) -> tuple[str, int, int | None]:
    """Return what picks the rows of a table, what is added to a position, and which tokens do not count as one.

    It is found out by running that part of the graph: exporters write positions in many ways.
    """
    array = graph.array(gather.input[0])
    if array is None or array.ndim != 2:
        raise NotRecognised(f"{gather.name} does not read a constant table")
    found = {index_for(graph, str(gather.input[1]), length) for length in LENGTHS}
    if len(found) != 1:
        raise NotRecognised(f"{gather.input[1]}: it is not known what picks these rows")
    row_of, offset = found.pop()
    skipped = None
    if row_of == "position":
        skipped = skipped_id(graph, str(gather.input[1]), offset)
    return row_of, offset, skipped


def skipped_id(graph: Graph, name: str, offset: int) -> int | None:
    """Return the id of tokens that do not count as positions, or None if every token does.

    RoBERTa counts from the id of its padding plus one, and gives padding itself the row of its id.
    """
    padding = offset - 1
    ids = np.array([[12, padding, 11, 13]], dtype=np.int64)
    picked = rows_picked(graph, name, ids, np.zeros_like(ids))
    if np.array_equal(picked, np.arange(4) + offset):
        return None
    if np.array_equal(picked, [offset, padding, offset + 1, offset + 2]):
        return padding
    raise NotRecognised(f"{name} counts positions in an unknown way")


def index_for(graph: Graph, name: str, length: int) -> tuple[str, int]:
    """Return the same for one row of `length` tokens."""
    # Above any id that stands for padding, below any vocabulary, and no two alike.
    ids = np.arange(10 + length, 10, -1, dtype=np.int64)[None]
    types = (np.arange(length, dtype=np.int64) % 2)[None]
    picked = rows_picked(graph, name, ids, types)
    return name_index(name, picked, ids[0], types[0])


def rows_picked(graph: Graph, name: str, ids: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows (L) that a tensor picks for one text."""
    feed = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": types,
    }
    part = part_of(graph, dict.fromkeys(feed, TensorProto.INT64), [name])
    if part is None:
        raise NotRecognised(f"{name} depends on more than the model's inputs")
    picked = run(part, feed)[0].reshape(-1)
    if picked.size == 1:
        picked = np.repeat(picked, ids.size)
    return picked


def name_index(
    name: str, picked: np.ndarray, ids: np.ndarray, types: np.ndarray
) -> tuple[str, int]:
    """Return what numbers of rows are: those of tokens, positions, or types; or always 0."""
    choices: Sequence[tuple[str, int, np.ndarray]] = (
        ("token", 0, ids),
        ("type", 0, types),
        ("constant", 0, np.zeros_like(ids)),
        ("position", int(picked[0]), np.arange(len(ids)) + picked[0]),
    )
    for row_of, offset, expected in choices:
        if np.array_equal(picked, expected):
            return row_of, offset
    raise NotRecognised(f"{name} picks rows {picked[:4].tolist()} of its table")
