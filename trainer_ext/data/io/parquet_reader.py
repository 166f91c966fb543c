"""Rows of parquet files, through pyarrow."""

from collections.abc import Callable, Iterator
from typing import Any

from trainer_ext.data.io.json_reader import Record
from trainer_ext.data.io.open import check_file
from trainer_ext.data.io.rejects import Reject, rejecting
from trainer_ext.errors import UserError

PARQUET_BUFFER = 1 << 16  # bytes of each column that are read at a time
CheckHeader = Callable[[str, list[str]], None]


def read_parquet(
    path: str,
    check_header: CheckHeader,
    reject: Reject | None = None,
) -> Iterator[Record]:
    """Yield the rows of a parquet file, read in batches so that memory does not grow with the file.

    Args:
        path: the file.
        check_header: raises `UserError` for two columns of one name.
        reject: takes what is wrong with a batch, which is then left out.
    """
    # Not at the top: light inference reads csv, jsonl and txt without it.
    import pyarrow
    from pyarrow import parquet

    check_file(path)
    number = 0
    try:
        # Unless it is told otherwise, it holds a whole row group, which may be the whole file.
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=PARQUET_BUFFER)
        check_header(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1024):
            rows: list[dict[str, Any]] = []
            with rejecting(reject):
                rows = python_rows(path, batch, number)
            for place, values in enumerate(rows, number + 1):
                yield values, f"{path}, row {place}"
            number += batch.num_rows
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a parquet file: {error}") from error


def python_rows(path: str, batch: Any, rows_before: int) -> list[dict[str, Any]]:
    """Return a batch's rows as Python values.

    Raises:
        UserError: naming row and column, for a value that Python cannot hold: a date beyond the year 9999.
    """
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:
        # Arrow does not say which value it was, so they are tried one by one.
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for number, value in enumerate(column, rows_before + 1):
                try:
                    value.as_py()
                except (ValueError, OverflowError) as cause:
                    raise UserError(
                        f"{path}, row {number}: column {name!r} has a {value.type} that cannot be read: {cause}"
                    ) from error
        raise
