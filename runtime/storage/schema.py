"""What a file looks like, told so that a model can write SQL for it.

Facts about columns come from SQLite's own tables. Anything that would run a user's expression (counting the
rows of a view, say) goes through the guard like the user's own SQL.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import DuraliteError, NotFound
from runtime.storage.transaction import Transaction, quote

__all__ = ("ColumnInfo", "ForeignKey", "IndexInfo", "TableInfo", "describe_table", "list_tables")

TableKind = Literal["table", "view", "virtual"]


@dataclass(slots=True)
class ColumnInfo:
    """A column: declared type ("" for none), default as SQL text, place in the primary key (0: not in it)."""

    name: str
    type: str
    not_null: bool
    default: str | None
    primary_key: int
    generated: bool


@dataclass(slots=True)
class IndexInfo:
    """An index; a column that is an expression is None."""

    name: str
    unique: bool
    columns: list[str | None]


@dataclass(slots=True)
class ForeignKey:
    """A foreign key of one or more columns."""

    columns: list[str]
    table: str
    references: list[str | None]


@dataclass(slots=True)
class TableInfo:
    """A table or view. `rows` is None for views, and where counting was refused."""

    name: str
    kind: TableKind
    rows: int | None
    columns: list[ColumnInfo]
    indexes: list[IndexInfo]
    foreign_keys: list[ForeignKey]
    sql: str | None


_VISIBLE = (
    "SELECT name, type, sql FROM main.sqlite_master WHERE type IN ('table', 'view')"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_duralite\\_%' ESCAPE '\\'"
    " AND name NOT IN ('session_state', 'execution_logs')"
)
_SHADOWS = ("_data", "_idx", "_content", "_docsize", "_config", "_node", "_rowid", "_parent")


def list_tables(tx: Transaction, *, counts: bool = True) -> list[TableInfo]:
    """Return the user's tables and views in the order of their names, without the parts of virtual tables."""
    rows = tx.all(f"{_VISIBLE} ORDER BY name")
    virtual = {name for name, _, sql in rows if _is_virtual(sql)}
    shadows = {f"{name}{suffix}" for name in virtual for suffix in _SHADOWS}
    return [_table(tx, name, kind, sql, counts) for name, kind, sql in rows if name not in shadows]


def describe_table(tx: Transaction, name: str) -> TableInfo:
    """Return one table or view; names compare as SQLite compares them, without regard to case.

    Raises:
        NotFound: no such table; the hint lists those there are.
    """
    row = tx.one(f"{_VISIBLE} AND name = ? COLLATE NOCASE", (name,))
    if row is None:
        names = [r[0] for r in tx.all(f"{_VISIBLE} ORDER BY name LIMIT 20")]
        hint = (
            "Tables: " + ", ".join(names) + "."
            if names
            else "There are no tables yet; make one with create_table."
        )
        raise NotFound(f"There is no table {name!r:.80}.", hint=hint)
    found, kind, sql = row
    return _table(tx, found, kind, sql, True)


def _is_virtual(sql: str | None) -> bool:
    return sql is not None and sql[:14].upper() == "CREATE VIRTUAL"


def _table(tx: Transaction, name: str, kind: str, sql: str | None, counts: bool) -> TableInfo:
    columns = _columns(tx, name, kind)
    indexes = [
        IndexInfo(
            index, bool(unique), [c for (c,) in tx.all("SELECT name FROM pragma_index_info(?)", (index,))]
        )
        for index, unique in tx.all('SELECT name, "unique" FROM pragma_index_list(?) ORDER BY name', (name,))
    ]
    keys: dict[int, ForeignKey] = {}
    for key, table, source, target in tx.all(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
    ):
        found = keys.setdefault(key, ForeignKey([], table, []))
        found.columns.append(source)
        found.references.append(target)
    shape: TableKind = "view" if kind == "view" else "virtual" if _is_virtual(sql) else "table"
    return TableInfo(
        name,
        shape,
        _count(tx, name) if counts and shape != "view" else None,
        columns,
        indexes,
        list(keys.values()),
        sql,
    )


def _columns(tx: Transaction, name: str, kind: str) -> list[ColumnInfo]:
    try:
        rows = tx.all(
            'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1',
            (name,),
        )
    except sqlite3.OperationalError as error:
        if kind == "view" and error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            return []  # it reads a table, or calls a function, that is not there: the others are told all the same
        raise
    return [
        ColumnInfo(column, type_name, bool(not_null), default, key, hidden > 1)
        for column, type_name, not_null, default, key, hidden in rows
    ]


def _count(tx: Transaction, name: str) -> int | None:
    wire, tx.wire = tx.wire, False
    try:
        rows: Any = tx.query(f"SELECT count(*) FROM main.{quote(name)}", row_format="arrays").rows
        return int(rows[0][0])
    except DuraliteError:
        return None
    finally:
        tx.wire = wire
