"""Parquet is queried by DuckDB in a worker process, in a database that holds nothing but the tables it was given.

A statement passes three layers, and each assumes that the others failed: DuckDB's own parser says what it is, and
every table and function in it must be on a list; the database can open no file but those of the tables, load
nothing and change no setting; the process has a bound on memory, and is killed after the deadline. Each statement
has a database of its own (10 ms), so that nothing goes from one caller to the next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from actors.sources.statement import Parsed, is_explain, load_duckdb, parse, syntax_error
from runtime.errors import (
    DeadlineExceeded,
    LimitExceeded,
    SqlError,
)
from runtime.values import bind_params

if TYPE_CHECKING:
    import duckdb

__all__ = ("Engine", "Rowset", "Table", "late", "open_engine", "plain", "quoted")

_REPEAT_S = 0.05


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a statement may read: what it is called, and the Parquet file that it lies in."""

    schema: str
    name: str
    file: str


@dataclass(slots=True)
class Engine:
    """A DuckDB database for one statement: `parse` it, `grant` what it may read, which shuts the database in, `run` it."""

    connection: duckdb.DuckDBPyConnection
    tables: list[Table] = field(default_factory=list)

    def parse(self, sql: str, most: int) -> Parsed:
        """Return what a statement reads and calls, as DuckDB itself parses it.

        Raises:
            GuardRefused: it is not one statement that reads, or calls what is not on the list.
            SqlError: it cannot be parsed.
            LimitExceeded: it is longer than `most` bytes, or has too many parts.
        """
        return parse(self.connection, sql, most)

    def grant(self, tables: Sequence[Table]) -> None:
        """Make these tables, and from here on nothing else of the machine, readable. Known as schema.name, or name.

        Raises:
            SqlError: a file cannot be read.
        """
        connection = self.connection
        for schema in dict.fromkeys(table.schema for table in tables if table.schema):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        connection.execute(f"SET allowed_paths={_texts(sorted({table.file for table in tables}))}")
        connection.execute("SET enable_external_access=false")
        for table in tables:
            place = f"{quoted(table.schema)}." if table.schema else ""
            view = (
                f"CREATE VIEW {place}{quoted(table.name)} AS SELECT * FROM read_parquet({_text(table.file)})"
            )
            try:
                connection.execute(view)
            except load_duckdb().PermissionException as error:  # of a file that is gone DuckDB says so
                raise self.translated(error, view) from None
        connection.execute("SET lock_configuration=true")
        self.tables.extend(tables)

    def without_files(self, plan: str) -> str:
        """Return a plan as text, with the tables' names where the paths of their files stood."""
        for table in self.tables:
            name = f"{table.schema}.{table.name}" if table.schema else table.name
            plan = plan.replace(table.file, name.ljust(len(table.file)))
        return plan

    def run(self, sql: str, params: Any) -> Rowset:
        """Run a statement that `parse` let pass.

        Raises:
            SqlError: DuckDB refuses it.
            LimitExceeded: it needs too much memory.
        """
        module = load_duckdb()
        bound = bind_params(params)
        try:
            found = self.connection.execute(sql, bound)
            columns = [str(d[0]) for d in found.description or ()]
            types = [str(d[1]) for d in found.description or ()]
            if any("WITH TIME ZONE" in kind for kind in types):
                # The Python client needs a package for these; as text they need none.
                found = self.connection.execute(_as_text(sql, types), bound)
        except module.Error as error:
            raise self.translated(error, sql) from None
        return Rowset(self, found, columns, types, sql)

    def translated(self, error: Exception, sql: str) -> Exception:
        """Return an error of DuckDB as one that a caller can act on, without a path in it."""
        module = load_duckdb()
        if isinstance(error, module.OutOfMemoryException):
            return LimitExceeded(
                "The statement needs more memory than a query of sources may have.",
                hint="Filter or aggregate earlier, select fewer columns, or sort fewer rows.",
                limit="source_memory_bytes",
            )
        if isinstance(error, module.InterruptException):
            return late()
        if isinstance(error, (module.IOException, module.PermissionException)):
            return SqlError(
                "A file of the source cannot be read.",
                hint="Import the source again.",
                exception="OperationalError",
            )
        return syntax_error(self.connection, sql, error)


class Rowset:
    """Rows of a statement as a cursor gives them (`description`, `fetchmany`), with values that have a JSON form."""

    def __init__(
        self, engine: Engine, found: Any, columns: Sequence[str], types: Sequence[str], sql: str
    ) -> None:
        self._engine = engine
        self._found = found
        self._sql = sql
        self.types = list(types)
        self.description = [(name,) for name in columns]
        self._odd = [i for i, kind in enumerate(types) if kind not in _PLAIN]
        self._plan = is_explain(sql)

    def fetchmany(self, count: int) -> list[tuple[Any, ...]]:
        """Return the next rows, at most so many; none at the end.

        Raises:
            SqlError: DuckDB fails on the way.
        """
        module = load_duckdb()
        try:
            rows: list[tuple[Any, ...]] = self._found.fetchmany(count)
        except module.Error as error:
            raise self._engine.translated(error, self._sql) from None
        if self._plan:
            return [tuple(map(self._engine.without_files, row)) for row in rows]
        if not self._odd:
            return rows
        return [_converted(row, self._odd) for row in rows]


_PLAIN = frozenset({"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "TIME", "BLOB", "JSON", "UUID"})  # fmt: skip
_INT64 = 2**63


def _converted(row: tuple[Any, ...], odd: Sequence[int]) -> tuple[Any, ...]:
    cells = list(row)
    for index in odd:
        cells[index] = plain(cells[index])
    return tuple(cells)


def plain(value: Any) -> Any:
    """Return a value of DuckDB as JSON carries it: what a double or 64 bits cannot hold goes as text, NaN as null."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Decimal):
        # Fifteen digits come back from a double as they went in.
        return float(value) if len(value.as_tuple().digits) <= 15 else str(value)
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _as_text(sql: str, types: Sequence[str]) -> str:
    names = [f"c{number}" for number in range(len(types))]
    shown = ", ".join(
        f"{name}::VARCHAR" if "WITH TIME ZONE" in kind else name
        for name, kind in zip(names, types, strict=True)
    )
    return f"SELECT {shown} FROM (\n{sql.rstrip().rstrip(';')}\n) AS t({', '.join(names)})"


@contextmanager
def open_engine(
    *, memory_bytes: int, threads: int, temp: str, temp_bytes: int, seconds: float
) -> Iterator[Engine]:
    """Open an empty database for one statement; what runs in it is interrupted after `seconds`."""
    shape = (memory_bytes // 2**20, threads)
    connection = _take(*shape)
    done = threading.Event()
    try:
        connection.execute(f"SET temp_directory={_text(temp)}")
        connection.execute(f"SET max_temp_directory_size='{temp_bytes // 2**20}MiB'")
        threading.Thread(target=_interrupt_late, args=(connection, done, seconds), daemon=True).start()
        yield Engine(connection)
    finally:
        done.set()
        # The next statement finds a database made already. This one is never used again.
        threading.Thread(target=_turn_over, args=(connection, *shape), daemon=True).start()


_made: dict[tuple[int, int], Any] = {}
"""Empty databases made ahead, by megabytes of memory and threads: one of a shape, which serves one statement."""


def _take(megabytes: int, threads: int) -> Any:
    return _made.pop((megabytes, threads), None) or _connect(megabytes, threads)


def _turn_over(used: Any, megabytes: int, threads: int) -> None:
    used.close()
    if (megabytes, threads) in _made:
        return
    with suppress(MemoryError, load_duckdb().Error):
        _made[megabytes, threads] = _connect(megabytes, threads)


def _connect(megabytes: int, threads: int) -> Any:
    return load_duckdb().connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{megabytes}MiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )


def _interrupt_late(connection: Any, done: threading.Event, seconds: float) -> None:
    late_now = done.wait(seconds) is False
    while late_now and not done.is_set():
        connection.interrupt()
        done.wait(_REPEAT_S)


def quoted(name: str) -> str:
    """Return an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _texts(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def late() -> DeadlineExceeded:
    """Return the error of a statement that its deadline ended."""
    return DeadlineExceeded(
        "The statement did not end by its deadline.",
        hint="Add a WHERE or LIMIT, or split the work into smaller statements.",
        limit="statement_s",
    )
