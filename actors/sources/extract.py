"""The rows of a query become a staging file, in a worker process, in bounded memory: the first half of a copy.

The staging file has one table `d(row_id, …)` whose columns have the names of the answer's and no declared type, so
that every value stays what it was; `types` says what to declare where the rows go. A way back is here too: rows that
an actor wrote into a staging file become Parquet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import orjson

from actors.sources.ask import granted
from actors.sources.convert import unique
from actors.sources.lite import open_file
from actors.sources.parquet import column_kinds, write_parquet
from runtime.errors import LimitExceeded
from runtime.limits import Limits
from runtime.storage.rows import slice_rows
from runtime.storage.transaction import quote
from runtime.tabular.columns import Column, Kind
from runtime.tabular.staging import MAX_COLUMNS, remove_staging
from runtime.workers.task import Report, task

__all__ = ("extract_joined", "extract_native", "make_staging", "to_parquet")

_SLICE = 2_000
_CELL = 64 * 1024
_DECLARED = {
    "BIGINT": "INTEGER",
    "INTEGER": "INTEGER",
    "SMALLINT": "INTEGER",
    "TINYINT": "INTEGER",
    "UINTEGER": "INTEGER",
    "USMALLINT": "INTEGER",
    "UTINYINT": "INTEGER",
    "DOUBLE": "REAL",
    "FLOAT": "REAL",
    "VARCHAR": "TEXT",
    "UUID": "TEXT",
    "JSON": "TEXT",
    "BLOB": "BLOB",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
}
Insert = Callable[[Sequence[Sequence[Any]]], None]


@contextmanager
def make_staging(path: Path, columns: Sequence[str]) -> Any:
    """Make a staging file with these columns and give a function that appends rows; with an error, no file stays."""
    if len(columns) > MAX_COLUMNS:
        raise LimitExceeded(
            f"The answer has {len(columns):,} columns; a table can have {MAX_COLUMNS:,}.",
            hint="Select fewer columns.",
            limit="columns",
        )
    remove_staging(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        raw.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-8000;"
        )
        raw.execute("BEGIN")
        names = ", ".join(map(quote, columns))
        raw.execute(f"CREATE TABLE d (row_id INTEGER PRIMARY KEY, {names})")
        statement = f"INSERT INTO d ({names}) VALUES ({', '.join('?' * len(columns))})"
        yield lambda rows: raw.executemany(statement, rows)
        raw.execute("COMMIT")
    except BaseException:
        raw.close()
        remove_staging(path)
        raise
    raw.close()


def _fill(cursor: Any, columns: Sequence[str], target: Path, report: Report, cook: Any = None) -> int:
    count = 0
    step = min(_SLICE, max(100, slice_rows(len(columns), _CELL)))
    with make_staging(target, columns) as insert:
        while rows := cursor.fetchmany(step):
            insert([cook(row) for row in rows] if cook is not None else rows)
            count += len(rows)
            report({"rows": count})
    return count


@task
def extract_native(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the rows of a statement on an SQLite file into a staging file.

    Args: as `lite.query`, and `staging`.
    """
    limits = Limits.model_validate(args["limits"])
    with open_file(args["path"], private=args["private"], limits=limits, seconds=args["seconds"]) as tx:
        guard = tx.guard
        assert guard is not None
        try:
            verdict = guard.check(args["sql"])
            guard.enter()
            try:
                with closing(tx.connection.execute(verdict.sql, args["params"] or ())) as cursor:
                    columns = unique([d[0] for d in cursor.description or ()])
                    rows = _fill(cursor, columns, Path(args["staging"]), report)
            finally:
                guard.leave()
        except sqlite3.Error as error:
            raise guard.translate(error, args["sql"]) from None
    return {"rows": rows, "columns": [[name, ""] for name in columns]}


@task
def extract_joined(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the rows of a statement in DuckDB's SQL into a staging file.

    Args: as `ask.ask`, and `staging`.
    """
    limits = Limits.model_validate(args["limits"])
    with granted(args, limits) as (engine, _):
        cursor = engine.run(args["sql"], args["params"])
        columns = unique([d[0] for d in cursor.description])
        plain = all(kind in ("BIGINT", "INTEGER", "DOUBLE", "VARCHAR", "BLOB") for kind in cursor.types)
        rows = _fill(cursor, columns, Path(args["staging"]), report, None if plain else _storable)
        types = cursor.types
    return {
        "rows": rows,
        "columns": [
            [
                name,
                _DECLARED.get(kind, "TEXT" if "[" in kind or ("(" in kind and "DECIMAL" not in kind) else ""),
            ]
            for name, kind in zip(columns, types, strict=True)
        ],
    }


def _storable(row: Sequence[Any]) -> list[Any]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, (datetime, date, clock_time)):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        return orjson.dumps(value, default=_text).decode()
    return str(value)


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@task
def to_parquet(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the table of a staging file as Parquet, with the types that hold all its values.

    Args: staging, target, memory_bytes, declared (column → declared type, where there is one).
    """
    target = Path(args["target"])
    with closing(sqlite3.connect(f"file:{args['staging']}?mode=ro&immutable=1", uri=True)) as raw:
        names = [str(row[1]) for row in raw.execute("PRAGMA table_info(d)")][1:]
        columns = column_kinds(raw, "d", names)
        declared = {name: str(kind).upper() for name, kind in dict(args["declared"]).items()}
        for column in columns:
            column.kind = _refined(raw, column, declared.get(column.name, ""))
        listed = ", ".join(column.physical for column in columns)
        cursor = raw.execute(f"SELECT {listed} FROM d ORDER BY row_id")
        written = write_parquet(cursor, columns, target, report, memory_bytes=args["memory_bytes"])
    return written.plain()


_DECLARED_KINDS: Mapping[str, tuple[Kind, Kind, str]] = {
    "BOOLEAN": ("integer", "boolean", "{} NOT IN (0, 1)"),
    "BOOL": ("integer", "boolean", "{} NOT IN (0, 1)"),
    "DATE": ("text", "date", "date({0}) IS NOT {0}"),
    "TIMESTAMP": ("text", "datetime", "datetime({}) IS NULL"),
    "DATETIME": ("text", "datetime", "datetime({}) IS NULL"),
}


def _refined(raw: sqlite3.Connection, column: Column, declared: str) -> Kind:
    """Return the declared kind of a column where all its values are of it: truth values, days, moments."""
    found = _DECLARED_KINDS.get(declared)
    if found is None or found[0] != column.kind:
        return column.kind
    c = column.physical
    test = found[2].format(c)
    odd = raw.execute(f"SELECT 1 FROM d WHERE {c} IS NOT NULL AND ({test}) LIMIT 1").fetchone()
    return column.kind if odd else found[1]
