"""Rows of SQLite become a Parquet file that is there whole or not at all; runtime/tabular writes it, without loss.

Where nothing was declared, a column's kind is found by a look at all its values: whole numbers, numbers, bytes; a
mixture, or numbers that a double would round, is text, written as it would be read.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.sources.statement import load_duckdb, without_paths
from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.ids import new_token
from runtime.storage.transaction import quote
from runtime.tabular.columns import Column, Kind
from runtime.tabular.parquet import locked_duckdb
from runtime.tabular.parquet import write_parquet as write_rows
from runtime.workers.task import Report

__all__ = ("Written", "column_kinds", "describe_parquet", "write_parquet")

_CELLS = 20_000
_EXACT = 2**53
_AT_ONCE = 100
_REPORT_S = 0.2


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: rows, (name, DuckDB's type) of each column, and the file's size in bytes."""

    rows: int
    columns: list[tuple[str, str]]
    size: int

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"rows": self.rows, "columns": [list(column) for column in self.columns], "size": self.size}


def column_kinds(
    connection: sqlite3.Connection, table: str, names: Sequence[str], wrap: Callable[[str], str] = str
) -> list[Column]:
    """Return columns with a kind that loses none of their values, by a look at all of them.

    `table` is an SQL expression; `wrap` is put around the statement (`runtime.guard.internal` where a guard is on).
    """
    found: list[Column] = []
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        counts = ", ".join(
            f"sum(typeof({c})='integer'), sum(typeof({c})='real'), sum(typeof({c})='text'), sum(typeof({c})='blob'),"
            f" max(typeof({c})='integer' AND ({c} > {_EXACT} OR {c} < -{_EXACT}))"
            for c in map(quote, part)
        )
        row = connection.execute(wrap(f"SELECT {counts} FROM {table}")).fetchone()
        for index, name in enumerate(part):
            kind = _kind(*(int(n or 0) for n in row[index * 5 : index * 5 + 5]))
            found.append(Column(name, quote(name), "string", kind))
    return found


def _kind(integers: int, reals: int, texts: int, blobs: int, beyond: int) -> Kind:
    if sum(map(bool, (integers + reals, texts, blobs))) > 1 or (integers and reals and beyond):
        return "text"
    if blobs:
        return "blob"
    if texts or not (integers or reals):
        return "text"
    return "real" if reals else "integer"


def write_parquet(
    rows: sqlite3.Cursor, columns: Sequence[Column], target: Path, report: Report, *, memory_bytes: int
) -> Written:
    """Write what a cursor gives to `target`, in place of a file there. Reports are {phase, rows}.

    Raises:
        LimitExceeded: it needs more memory than it may have.
        InputError: DuckDB cannot write it.
    """
    module = load_duckdb()
    # A name of its own: two queries may write the same table at once.
    partial = target.with_name(f"{target.stem}.{new_token(4)}.parquet")
    told = 0.0

    def progress(count: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_S:
            told = now
            report({"phase": "converting", "rows": count})

    try:
        count = write_rows(
            _slices(rows, len(columns)), columns, partial, progress, memory=f"{memory_bytes // 2**20}MiB"
        )
        report({"phase": "writing", "rows": count})
        described = describe_parquet(partial)
        size = partial.stat().st_size
        partial.replace(target)
    except module.Error as error:
        raise _not_written(error) from None
    finally:
        partial.unlink(missing_ok=True)
    return Written(count, described, size)


def _slices(rows: sqlite3.Cursor, width: int) -> Iterator[list[tuple[Any, ...]]]:
    with closing(rows):
        while slice_ := rows.fetchmany(max(1, _CELLS // max(1, width))):
            yield slice_


def describe_parquet(path: Path) -> list[tuple[str, str]]:
    """Return (name, type) of the columns of a Parquet file."""
    with closing(locked_duckdb(path)) as raw:
        found = raw.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    return [(str(row[0]), str(row[1])) for row in found]


def _not_written(error: Exception) -> DuraliteError:
    module = load_duckdb()
    if isinstance(error, module.OutOfMemoryException) or "maximum_object_size" in str(error):
        return LimitExceeded(
            "A row is too long, or the table too wide, to be written as Parquet.",
            hint="Leave out columns with very long values, or raise source_memory_bytes.",
            limit="source_memory_bytes",
        )
    return InputError(
        f"The table cannot be written as Parquet: {without_paths(error)}.",
        hint="Import it into a project or session instead.",
    )
