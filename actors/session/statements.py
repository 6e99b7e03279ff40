"""Statements of the session: SQL from its user, and what helps to write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from runtime.clock import iso
from runtime.errors import InputError, LimitExceeded
from runtime.method import method
from runtime.storage.plan import Plan, explain
from runtime.storage.rows import RowFormat, Rows
from runtime.storage.schema import TableInfo, describe_table, list_tables
from runtime.storage.transaction import Executed, Transaction, quote

__all__ = ("StatementMethods",)

Sql = Annotated[str, Field(description="One SQL statement, in SQLite's dialect.")]
SqlParams = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "array"}, {"type": "object"}, {"type": "null"}],
            "description": 'Values for ? placeholders as a list, or for :name placeholders as an object. Bytes: {"$bytes": base64}.',
        }
    ),
]
Records = Annotated[
    list[Any],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "object"},
            "description": "Objects of one row each. Columns are the union of all keys; a missing key is NULL.",
        }
    ),
]
OnConflict = Literal["replace", "ignore", "upsert"]

_SELECT = re.compile(r"\bselect\b", re.IGNORECASE)
_PLAIN_INSERT = re.compile(r"\s*(?:insert|replace)\b", re.IGNORECASE)


@dataclass(slots=True)
class Inserted:
    """What batch_insert did: rows inserted, and slices of 500 it took."""

    inserted: int
    chunks: int
    duration_ms: float


def _is_quick(arguments: Mapping[str, Any]) -> bool:
    """Tell whether a statement is a plain insert of values, which can share a commit."""
    sql = arguments["sql"]
    return len(sql) < 4_000 and _PLAIN_INSERT.match(sql) is not None and _SELECT.search(sql) is None


class StatementMethods:
    """exec, query, batch_insert, create_table, tables, describe, explain, execution_logs, slow_queries."""

    @method(read_only=True, helper="rows")
    def query(
        self,
        tx: Transaction,
        sql: Sql,
        params: SqlParams = None,
        limit: Annotated[int | None, Field(ge=0, description="Return at most this many rows.")] = None,
        row_format: Annotated[
            RowFormat, Field(description="Rows as objects by column name, or as arrays.")
        ] = "objects",
    ) -> Rows:
        """Run one read statement (SELECT, WITH, VALUES, EXPLAIN) and return its rows.

        At most 10,000 rows and 16 MiB come back; `truncated` tells that there were more.
        """
        return tx.query(sql, params, limit=limit, row_format=row_format)

    @method(group=_is_quick, helper="rows_affected")
    def exec(self, tx: Transaction, sql: Sql, params: SqlParams = None) -> Executed:
        """Run one statement that writes: INSERT, UPDATE, DELETE, CREATE, DROP or ALTER.

        It is one transaction. Rows of a RETURNING clause come back in `rows`.
        """
        return tx.exec(sql, params)

    @method(helper="inserted")
    def batch_insert(
        self,
        tx: Transaction,
        table: Annotated[str, Field(description="An existing table.")],
        records: Records,
        on_conflict: Annotated[
            OnConflict | None,
            Field(
                description="For rows that break a uniqueness rule: replace them, ignore the new one, or upsert."
            ),
        ] = None,
    ) -> Inserted:
        """Insert many records in one transaction: all of them, or none.

        They go in slices of 500. Columns are the union of all keys; a missing key is NULL.
        """
        if not records:
            return Inserted(0, 0, 0.0)
        if len(records) > tx.limits.max_batch_records:
            raise LimitExceeded(
                f"{len(records):,} records are more than the {tx.limits.max_batch_records:,} of one batch_insert.",
                hint="Send them in several calls.",
                limit="max_batch_records",
            )
        columns = _columns(records)
        before = tx.stats.busy_ms
        inserted, chunks = tx.insert_many(table, columns, records, on_conflict)
        return Inserted(inserted, chunks, round(tx.stats.busy_ms - before, 3))

    @method(helper="created")
    def create_table(
        self,
        tx: Transaction,
        name: Annotated[str, Field(description="The new table's name.")],
        schema: Annotated[
            str | dict[str, str],
            Field(description='SQL column list ("id INTEGER PRIMARY KEY, name TEXT") or {"column": "type"}.'),
        ],
    ) -> dict[str, bool]:
        """Create a table unless it exists. `created` is false if it was there already."""
        there = tx.one(
            "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (name,)
        )
        tx.exec(f"CREATE TABLE IF NOT EXISTS {quote(name, 'table')} ({_column_list(schema)})")
        return {"created": there is None}

    @method(read_only=True, helper="whole")
    def tables(self, tx: Transaction) -> list[TableInfo]:
        """Return all tables and views with their columns, indexes, foreign keys and numbers of rows."""
        return list_tables(tx)

    @method(read_only=True, helper="whole")
    def describe(
        self, tx: Transaction, table: Annotated[str, Field(description="A table or view.")]
    ) -> TableInfo:
        """Return one table or view: columns, indexes, foreign keys, number of rows, CREATE statement."""
        return describe_table(tx, table)

    @method(read_only=True, helper="whole")
    def explain(self, tx: Transaction, sql: Sql, params: SqlParams = None) -> Plan:
        """Return how SQLite would run a statement, which tables it scans, and indexes that would help."""
        return explain(tx, sql, params)

    @method(read_only=True, helper="whole")
    def execution_logs(
        self,
        tx: Transaction,
        limit: Annotated[int, Field(ge=1, le=1000, description="The newest so many.")] = 100,
    ) -> list[dict[str, Any]]:
        """Return the log of statements, the newest first: method, sql, duration in ms, rows, error."""
        tx.flush_now()
        rows = tx.all(
            "SELECT id, at, method, sql, duration_ms, rows, error FROM main.execution_logs ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        names = ("id", "at", "method", "sql", "duration_ms", "rows", "error")
        return [dict(zip(names, row, strict=True)) for row in rows]

    @method(read_only=True, helper="whole")
    def slow_queries(
        self, tx: Transaction, limit: Annotated[int, Field(ge=1, le=100, description="At most so many.")] = 20
    ) -> list[dict[str, Any]]:
        """Return statements slower than `slow_query_ms` since the file was opened, the slowest first."""
        slow = sorted(tx.log.slow if tx.log else (), key=lambda entry: -entry[3])[:limit]
        return [
            {
                "at": iso(at),
                "method": method_name,
                "sql": sql,
                "duration_ms": round(ms, 3),
                "rows": rows,
                "error": error,
            }
            for at, method_name, sql, ms, rows, error in slow
        ]


def _columns(records: list[Any]) -> list[str]:
    """Return the union of the records' keys, in the order they first appear."""
    if set(map(type, records)) != {dict}:
        number, odd = next((n, r) for n, r in enumerate(records, 1) if not isinstance(r, dict))
        raise InputError(
            f"Record {number} is {type(odd).__name__}, and every record must be an object.",
            hint='Send records as [{"column": value, …}, …].',
        )
    first = records[0].keys()
    # Most batches have the same keys in every record; comparing key views runs in C.
    alike = all(map(first.__eq__, map(dict.keys, records)))
    columns = list(first) if alike else list(dict.fromkeys(chain.from_iterable(records)))
    if len({_folded(column) for column in columns}) < len(columns):
        seen: dict[bytes, str] = {}
        for column in map(str, columns):
            if (other := seen.setdefault(_folded(column), column)) is not column:
                raise InputError(
                    f"The keys {other!r:.80} and {column!r:.80} name the same column.",
                    hint="Write each column in one way: SQLite does not tell upper case from lower case.",
                )
    if not columns:
        raise InputError(
            "The records have no keys, so there is nothing to insert.", hint="Give each record its columns."
        )
    return columns


def _column_list(schema: str | dict[str, str]) -> str:
    if isinstance(schema, str) and schema.strip():
        return schema
    if isinstance(schema, str) or not schema:
        raise InputError(
            "The schema names no columns.", hint='Use {"id": "INTEGER PRIMARY KEY", "name": "TEXT"}.'
        )
    # The declared type is SQL text that the guard checks with the whole statement.
    return ", ".join(f"{quote(column, 'column')} {kind}" for column, kind in schema.items())


def _folded(name: object) -> bytes:
    """Return a name as SQLite compares it: without regard to the case of ASCII letters."""
    return str(name).encode("utf-8", "surrogatepass").lower()
