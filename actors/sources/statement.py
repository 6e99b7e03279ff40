"""What a statement of DuckDB's SQL is, as DuckDB's own parser reads it, and whether a stranger may run it.

The parser gives its tree as JSON for statements that read, and for no other: that is the gate. Every function in the
tree must be on a list (`functions`), and every table is told to the caller, who knows which there are. What is wrong
with a statement is said with how DuckDB would write it, if it reads as another database's SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from actors.sources.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS
from runtime.errors import GuardRefused, InputError, LimitExceeded, SqlError, Unavailable
from runtime.guard.rules import refusal

if TYPE_CHECKING:
    import duckdb

__all__ = ("Parsed", "is_explain", "load_duckdb", "parse", "syntax_error", "without_paths")

_EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+)?", re.IGNORECASE)
_PATH = re.compile(r"""['"]?/[^'"\s]*['"]?""")
_MAX_NODES = 200_000
_SYSTEM = ("duckdb_", "pg_", "pragma_", "sqlite_")
_REFUSED = {
    "ATTACH": "statement.attach",
    "DETACH": "statement.attach",
    "PRAGMA": "statement.pragma",
    "TRANSACTION": "statement.transaction",
    "VACUUM": "statement.vacuum",
}
_READ_ONLY_HINT = "Sources are read only: use SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN."


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
        raise Unavailable.lacks("duckdb", "data") from None
    return duckdb


def parse(connection: duckdb.DuckDBPyConnection, sql: str, most: int) -> Parsed:
    """Return what a statement reads and calls.

    Raises:
        GuardRefused: it is not one statement that reads, or calls what is not on the list.
        SqlError: it cannot be parsed.
        LimitExceeded: it is longer than `most` bytes, or has too many parts.
    """
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


def is_explain(sql: str) -> bool:
    """Tell whether the answer of a statement that `parse` let pass is a plan, as text."""
    return _EXPLAIN.match(sql) is not None


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
        own.update(_own_names(node))
        todo.extend(node.values())
    return Parsed(frozenset(t for t in tables if t[0] or t[1] not in own), frozenset(functions))


def _own_names(node: Mapping[str, Any]) -> list[str]:
    """Return the names that a node gives to table expressions of the statement itself."""
    entries = node.get("cte_map")
    found = [str(e["key"]).casefold() for e in entries.get("map", ())] if isinstance(entries, dict) else []
    if node.get("type") in ("CTE_NODE", "RECURSIVE_CTE_NODE"):
        found.append(str(node.get("cte_name", "")).casefold())
    for name in found:
        # Outside of its WITH such a name would be DuckDB's own view of settings, files and other tables.
        if name.startswith(_SYSTEM):
            raise refusal("object.reserved", name, hint="Give the table expression another name.")
    return found


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


_DIALECTS = ("sqlite", "postgres", "mysql", "tsql")


def without_paths(error: Exception) -> str:
    """Return the first line of an error of DuckDB, with no path of the machine in it."""
    return _PATH.sub("the file", str(error).splitlines()[0])[:300].rstrip(".")


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
