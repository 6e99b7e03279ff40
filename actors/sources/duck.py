"""Parquet is queried by DuckDB in a worker process, in a database that holds nothing but the tables it was given.

A statement passes three layers, and each assumes that the others failed: DuckDB's own parser says what it is, and
every table and function in it must be on a list; the database can open no file but those of the tables, load
nothing and change no setting; the process has a bound on memory, and is killed after the deadline. Each statement
has a database of its own (10 ms), so that nothing goes from one caller to the next.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from actors.sources.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS
from runtime.errors import (
    DeadlineExceeded,
    GuardRefused,
    InputError,
    LimitExceeded,
    SqlError,
    Unavailable,
)
from runtime.guard.rules import refusal
from runtime.values import bind_params

if TYPE_CHECKING:
    import duckdb

__all__ = ("Engine", "Parsed", "Rowset", "Table", "load_duckdb", "open_engine", "plain", "quoted")

_EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+)?", re.IGNORECASE)
_MAX_NODES = 200_000
_REPEAT_S = 0.05
_REFUSED = {
    "ATTACH": "statement.attach",
    "DETACH": "statement.attach",
    "PRAGMA": "statement.pragma",
    "TRANSACTION": "statement.transaction",
    "VACUUM": "statement.vacuum",
}
_READ_ONLY_HINT = "Sources are read only: use SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN."


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a statement may read: what it is called, and the Parquet file that it lies in."""

    schema: str
    name: str
    file: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a statement is made of: tables as (schema or "", name), and functions, in lower case."""

    tables: frozenset[tuple[str, str]]
    functions: frozenset[str]


def load_duckdb() -> Any:
    """Return the module.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise Unavailable(
            "Parquet needs the package duckdb, which is not installed.",
            hint="Install it on the service: pip install duralite[data].",
        ) from None
    return duckdb


# Parsing


def _parse(connection: duckdb.DuckDBPyConnection, sql: str, most: int) -> Parsed:
    module = load_duckdb()
    if len(sql.encode("utf-8", "replace")) > most:
        raise LimitExceeded(
            f"The statement is longer than {most:,} bytes.",
            hint="Pass data as parameters.",
            limit="max_sql_bytes",
        )
    if "\0" in sql:
        raise refusal("text.nul")
    try:
        statements = module.extract_statements(sql)
    except module.Error as error:
        raise syntax_error(connection, sql, error) from None
    if not statements:
        raise refusal("statement.empty")
    if len(statements) > 1:
        raise refusal("statement.several", f"{len(statements)} statements in one call")
    kind = statements[0].type.name
    text = _EXPLAIN.sub("", sql, count=1) if kind == "EXPLAIN" else sql
    if kind not in ("SELECT", "EXPLAIN"):
        raise refusal(_REFUSED.get(kind, "statement.read_only"), kind, hint=_READ_ONLY_HINT)
    (answer,) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone() or ("",)
    tree = orjson.loads(answer)
    if tree.get("error"):
        raise refusal("statement.read_only", kind, hint=_READ_ONLY_HINT)
    return _walk(tree)


def _walk(tree: Any) -> Parsed:
    tables: set[tuple[str, str]] = set()
    own: set[str] = set()
    functions: set[str] = set()
    todo = [tree]
    seen = 0
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
            continue
        if not isinstance(node, dict):
            continue
        seen += 1
        if seen > _MAX_NODES:
            raise LimitExceeded("The statement has too many parts.", hint="Split it.", limit="max_sql_bytes")
        match node.get("type"):
            case "BASE_TABLE":
                tables.add(_table(node))
            case "TABLE_FUNCTION":
                functions.add(_table_function(node))
                # Its arguments are expressions like any; the call itself was judged by the stricter list.
                todo.extend(v for k, v in node.get("function", {}).items() if k in ("children", "arguments"))
                todo.extend(v for k, v in node.items() if k != "function")
                continue
            case "SHOW_REF":
                _check_show(node)
        if (name := node.get("function_name")) is not None:
            functions.add(_function(node, str(name)))
        cte_map = node.get("cte_map")
        if isinstance(cte_map, dict):
            own.update(str(entry["key"]).casefold() for entry in cte_map.get("map", ()))
        if node.get("type") in ("CTE_NODE", "RECURSIVE_CTE_NODE"):
            own.add(str(node.get("cte_name", "")).casefold())
        todo.extend(node.values())
    return Parsed(frozenset(t for t in tables if t[0] or t[1] not in own), frozenset(functions))


def _table(node: Mapping[str, Any]) -> tuple[str, str]:
    if node.get("catalog_name"):
        raise refusal(
            "object.table_list", str(node["catalog_name"]), hint="Name tables as table or source.table."
        )
    return str(node.get("schema_name", "")).casefold(), str(node.get("table_name", "")).casefold()


def _table_function(node: Mapping[str, Any]) -> str:
    name = str(node.get("function", {}).get("function_name", "")).casefold()
    if name not in TABLE_FUNCTIONS or node["function"].get("schema") not in ("", "main", None):
        raise refusal(
            "function.unlisted",
            f"{name}()",
            hint="Read the tables of sources by name; after FROM only "
            + ", ".join(sorted(TABLE_FUNCTIONS))
            + " may be called.",
        )
    return name


def _function(node: Mapping[str, Any], name: str) -> str:
    folded = name.casefold()
    listed = folded in FUNCTIONS or name in OPERATORS
    if not listed or node.get("schema") not in ("", "main", None) or node.get("catalog"):
        raise refusal(
            "function.unlisted",
            f"{name}()",
            hint="Use DuckDB's text, number, date, list, JSON, aggregate and window functions.",
        )
    return folded


def _check_show(node: Mapping[str, Any]) -> None:
    if node.get("show_type") not in ("DESCRIBE", "SUMMARY"):
        raise refusal("statement.read_only", "SHOW", hint=_READ_ONLY_HINT)


# Running


@dataclass(slots=True)
class Engine:
    """A DuckDB database for one statement: `parse` it, `grant` what it may read, which shuts the database in, `run` it."""

    connection: duckdb.DuckDBPyConnection

    def parse(self, sql: str, most: int) -> Parsed:
        """Return what a statement reads and calls, as DuckDB itself parses it.

        Raises:
            GuardRefused: it is not one statement that reads, or calls what is not on the list.
            SqlError: it cannot be parsed.
            LimitExceeded: it is longer than `most` bytes, or has too many parts.
        """
        return _parse(self.connection, sql, most)

    def grant(self, tables: Sequence[Table]) -> None:
        """Make these tables, and from here on nothing else of the machine, readable. Known as schema.name, or name."""
        connection = self.connection
        for schema in dict.fromkeys(table.schema for table in tables if table.schema):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        connection.execute(f"SET allowed_paths={_texts(sorted({table.file for table in tables}))}")
        connection.execute("SET enable_external_access=false")
        for table in tables:
            place = f"{quoted(table.schema)}." if table.schema else ""
            connection.execute(
                f"CREATE VIEW {place}{quoted(table.name)} AS SELECT * FROM read_parquet({_text(table.file)})"
            )
        connection.execute("SET lock_configuration=true")

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
    module = load_duckdb()
    connection = module.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{memory_bytes // 2**20}MiB",
            "temp_directory": temp,
            "max_temp_directory_size": f"{temp_bytes // 2**20}MiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )
    done = threading.Event()
    try:
        threading.Thread(target=_interrupt_late, args=(connection, done, seconds), daemon=True).start()
        yield Engine(connection)
    finally:
        done.set()
        connection.close()


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


# Advice

_DIALECTS = ("sqlite", "postgres", "mysql", "tsql")


def syntax_error(connection: duckdb.DuckDBPyConnection, sql: str, error: Exception) -> SqlError:
    """Return a statement's error with DuckDB's own words, and how DuckDB would write it if another database's SQL was meant."""
    text = str(error)
    message = text.split("\n\n")[0].split("\nLINE ")[0].strip()[:500] or type(error).__name__
    offered = rewritten(connection, sql)
    hint = f"DuckDB would write: {offered}" if offered else _hint_in(text)
    return SqlError(message, hint=hint, exception="OperationalError", dialect="duckdb")


def _hint_in(text: str) -> str:
    if "Did you mean" in text:
        return text[text.index("Did you mean") :].split("\n")[0].strip()[:300]
    return "Sources of Parquet speak DuckDB's SQL; the method schema lists tables and columns."


def rewritten(connection: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """Return the statement in DuckDB's SQL if it reads as another database's and DuckDB then takes it, else None."""
    if len(sql) > 4_000:
        return None
    import sqlglot
    from sqlglot.errors import SqlglotError

    module = load_duckdb()
    for dialect in _DIALECTS:
        try:
            text = sqlglot.transpile(sql, read=dialect, write="duckdb")[0]
        except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError):
            continue
        if text.split() == sql.strip().rstrip(";").split():
            continue
        try:
            parse_only(connection, text)
            connection.execute(f"EXPLAIN {text}")
        except (module.Error, GuardRefused, InputError, LimitExceeded):
            continue
        return text
    return None


def parse_only(connection: duckdb.DuckDBPyConnection, sql: str) -> Parsed:
    """Parse a statement that was made here, without advice on how to mend it."""
    (answer,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone() or ("",)
    tree = orjson.loads(answer)
    if tree.get("error"):
        raise InputError("The statement cannot be parsed.")
    return _walk(tree)
