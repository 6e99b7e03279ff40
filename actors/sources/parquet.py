"""Rows of SQLite become a Parquet file, in a worker process, in bounded memory and without loss.

The rows go through lines of JSON, whose numbers and texts are exact, to DuckDB's writer. Which type a column gets is
decided from every value in it: one that holds whole numbers only is BIGINT, numbers DOUBLE, bytes BLOB; a mixture
is text, written as it would be read. A column that is declared (by an import) as a date or truth value is one.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from actors.sources.duck import load_duckdb, quoted
from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.ids import new_token
from runtime.storage.transaction import quote
from runtime.workers.task import Report

__all__ = ("ParquetColumn", "column_types", "write_parquet")

_SLICE_CELLS = 20_000
_EXACT = 2**53
_GROUP_ROWS = 122_880
_OBJECT = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column on its way: the name it gets, the expression that reads it, and its type in DuckDB's words."""

    name: str
    source: str
    type: str


def column_types(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], wrap: Any = str
) -> dict[str, str]:
    """Return a type for each column that loses none of its values, by a look at all of them.

    `wrap` is put around the statement (`runtime.guard.internal` on a guarded connection).
    """
    found: dict[str, str] = {}
    for start in range(0, len(columns), 100):
        names = columns[start : start + 100]
        parts = ", ".join(
            f"sum(typeof({c})='integer'), sum(typeof({c})='real'), sum(typeof({c})='text'), sum(typeof({c})='blob'),"
            f" max(CASE WHEN typeof({c})='integer' THEN ({c} > {_EXACT}) + ({c} < -{_EXACT}) ELSE 0 END)"
            for c in map(quote, names)
        )
        row = connection.execute(wrap(f"SELECT {parts} FROM {table}")).fetchone()
        for index, name in enumerate(names):
            found[name] = _type_of(*(int(n or 0) for n in row[index * 5 : index * 5 + 5]))
    return found


def _type_of(integers: int, reals: int, texts: int, blobs: int, beyond: int) -> str:
    kinds = sum(map(bool, (integers + reals, texts, blobs)))
    if kinds != 1 or (integers and reals and beyond):
        return "VARCHAR"
    if texts:
        return "VARCHAR"
    if blobs:
        return "BLOB"
    return "DOUBLE" if reals else "BIGINT"


def write_parquet(
    rows: sqlite3.Cursor, columns: Sequence[ParquetColumn], target: Path, report: Report, *, memory_bytes: int
) -> int:
    """Write what a cursor gives to `target` and return the number of rows. A file there is replaced.

    Reports are `{"phase": "converting" | "writing", "rows": …}`.
    """
    # Names of its own: two queries may write the same table at once.
    lines = target.with_suffix(f".{new_token(4)}.ndjson")
    try:
        count = _write_lines(rows, columns, lines, report)
        report({"phase": "writing", "rows": count})
        _copy(lines, columns, target, count, memory_bytes)
    finally:
        lines.unlink(missing_ok=True)
    return count


def _write_lines(rows: sqlite3.Cursor, columns: Sequence[ParquetColumn], lines: Path, report: Report) -> int:
    keys = [f"c{n}" for n in range(len(columns))]
    odd = [(i, c.type) for i, c in enumerate(columns) if c.type in ("VARCHAR", "BLOB", "DOUBLE", "BOOLEAN")]
    step = max(1, _SLICE_CELLS // max(1, len(columns)))
    count = 0
    with lines.open("wb") as file:
        for slice_ in _slices(rows, step):
            cooked = [_cooked(row, odd) for row in slice_] if odd else slice_
            file.write(b"\n".join(orjson.dumps(dict(zip(keys, row, strict=True))) for row in cooked) + b"\n")
            count += len(slice_)
            report({"phase": "converting", "rows": count})
    return count


def _slices(rows: sqlite3.Cursor, step: int) -> Iterator[list[tuple[Any, ...]]]:
    with closing(rows):
        while slice_ := rows.fetchmany(step):
            yield slice_


def _cooked(row: tuple[Any, ...], odd: Sequence[tuple[int, str]]) -> Sequence[Any]:
    cells: list[Any] | None = None
    for index, kind in odd:
        value = row[index]
        changed = value
        if value is None:
            continue
        if kind == "VARCHAR":
            if type(value) is not str:
                changed = value.hex() if isinstance(value, bytes) else repr(value)
        elif kind == "BLOB":
            changed = value.hex()
        elif kind == "DOUBLE":
            if type(value) is float and math.isinf(value):
                changed = "inf" if value > 0 else "-inf"
        elif kind == "BOOLEAN" and type(value) is int:
            changed = bool(value)
        if changed is not value:
            if cells is None:
                cells = list(row)
            cells[index] = changed
    return row if cells is None else cells


def _copy(lines: Path, columns: Sequence[ParquetColumn], target: Path, count: int, memory_bytes: int) -> None:
    module = load_duckdb()
    partial = lines.with_suffix(".partial")
    shape: Mapping[str, str] = {
        f"c{n}": "VARCHAR" if c.type == "BLOB" else c.type for n, c in enumerate(columns)
    }
    fields = ", ".join(
        f"{f'unhex(c{n})' if c.type == 'BLOB' else f'c{n}'} AS {quoted(c.name)}"
        for n, c in enumerate(columns)
    )
    with closing(
        module.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{memory_bytes // 2**20}MiB",
                "preserve_insertion_order": True,
            },
        )
    ) as connection:
        source = f"read_json(?, format='newline_delimited', columns={_struct(shape)}, maximum_object_size={_OBJECT})"
        if count == 0:
            source = (
                "(SELECT "
                + ", ".join(f"NULL::{kind} AS {name}" for name, kind in shape.items())
                + " LIMIT 0)"
            )
        try:
            connection.execute(
                f"COPY (SELECT {fields} FROM {source}) TO '{str(partial).replace(chr(39), chr(39) * 2)}'"
                f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_GROUP_ROWS})",
                [str(lines)] if count else [],
            )
            partial.replace(target)  # the name appears only with the whole content
        except module.Error as error:
            raise _not_written(error) from None
        finally:
            partial.unlink(missing_ok=True)


def _not_written(error: Exception) -> DuraliteError:
    module = load_duckdb()
    if isinstance(error, module.OutOfMemoryException) or "maximum_object_size" in str(error):
        return LimitExceeded(
            "A row is too long, or the table too wide, to be written as Parquet.",
            hint="Leave out columns with very long values, or raise source_memory_bytes.",
            limit="source_memory_bytes",
        )
    return InputError(
        f"The table cannot be written as Parquet: {str(error).splitlines()[0][:200]}.",
        hint="Import it into a project or session instead.",
    )


def _struct(shape: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in shape.items()) + "}"
