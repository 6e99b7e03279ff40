"""A transaction is what a unit of work sees: the actor's file, for as long as one hop lasts.

Two doors lead to SQLite, and they differ in rights. `execute` is for SQL that the runtime or an actor type
wrote; it may touch internal tables. `query`, `exec` and `insert_many` are for SQL, names and data of strangers:
text goes through the guard, and the authorizer watches while it runs. Never pass a stranger's text to the first.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal, Protocol, TypeVar

from runtime.errors import Cancelled, DuraliteError, GuardRefused, InputError, SqlError
from runtime.guard import Guard, Verdict, internal
from runtime.guard.tokens import VARIABLE, tokenize
from runtime.limits import Limits
from runtime.storage.rows import RowFormat, Rows, fetch, slice_rows
from runtime.storage.statement_log import StatementLog, StatementStats
from runtime.values import SqlValue, bind_params, bind_records

__all__ = ("Executed", "Transaction", "quote")

T = TypeVar("T")
_NUMBERED = re.compile(r"\?\d+")
Conflict = Literal["replace", "ignore", "upsert"]
# From so many records on several rows go into one statement: that is a third faster, once it is compiled.
_MANY = 1_000
_PARAMS_AT_ONCE = 300
_VERBS = {None: "INSERT", "replace": "INSERT OR REPLACE", "ignore": "INSERT OR IGNORE", "upsert": "INSERT"}


@dataclass(slots=True)
class Executed:
    """What a write did. `rows` and `columns` are None unless the statement returned rows (RETURNING)."""

    rows_affected: int
    last_insert_rowid: int | None
    duration_ms: float
    rows: Any = None
    columns: list[str] | None = None
    truncated: bool = False
    limit: str | None = None


def quote(name: object, what: str = "name") -> str:
    """Return an identifier in double quotes.

    Raises:
        InputError: not text, empty, or with a NUL.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(
            f"The {what} {name!r:.80} is not an identifier.",
            hint=f"Use a text of 1 or more characters as {what}.",
        )
    return '"' + name.replace('"', '""') + '"'


class _Running(Protocol):
    """What a transaction knows of the unit that it is open for."""

    cancelled: bool
    deadline: float


class Transaction:
    """The open unit of work. One object serves all units of a connection, one after the other."""

    __slots__ = (
        "_after_commit",
        "connection",
        "guard",
        "limits",
        "log",
        "method",
        "now",
        "running",
        "stats",
        "wire",
    )

    def __init__(
        self, connection: sqlite3.Connection, guard: Guard | None, limits: Limits, log: StatementLog | None
    ) -> None:
        self.connection = connection
        self.guard = guard
        self.limits = limits
        self.log = log
        self.stats = StatementStats()
        self.method = ""
        self.now = 0.0
        self.wire = False
        self.running: _Running | None = None
        self._after_commit: list[Callable[[], Awaitable[Any]]] = []

    # The runtime's own SQL

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement of the runtime or of an actor type's own code."""
        return self.connection.execute(internal(sql), params)

    def executemany(self, sql: str, params: Any) -> sqlite3.Cursor:
        """Run one statement of the runtime for many parameter rows."""
        return self.connection.executemany(internal(sql), params)

    def one(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        return self.connection.execute(internal(sql), params).fetchone()  # type: ignore[no-any-return]

    def all(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(internal(sql), params).fetchall()

    def after_commit(self, callback: Callable[[], Awaitable[Any]]) -> None:
        """Await `callback()` on the event loop after this unit's commit, before its caller has the answer."""
        self._after_commit.append(callback)

    def mark(self) -> tuple[StatementStats, int]:
        """Return where statistics and log stand, for `forget`."""
        return replace(self.stats), self.log.added if self.log is not None else 0

    def forget(self, mark: tuple[StatementStats, int]) -> None:
        """Take back what was counted and logged since a mark, because it will run again."""
        self.stats, added = mark
        if self.log is not None:
            self.log.forget(added)

    def check(self) -> None:
        """End a unit that was given up; for loops between statements, where no interrupt can reach.

        Raises:
            Cancelled: the caller went away, or was answered at its deadline.
        """
        unit = self.running
        if unit is not None and (unit.cancelled or time.monotonic() >= unit.deadline):
            raise Cancelled("The call was given up and rolled back.")

    @property
    def last_hook(self) -> Callable[[], Awaitable[Any]] | None:
        """The callback that this unit gave to `after_commit` last."""
        return self._after_commit[-1] if self._after_commit else None

    # Strangers' SQL

    def query(
        self,
        sql: object,
        params: Any = None,
        *,
        limit: int | None = None,
        row_format: RowFormat = "objects",
    ) -> Rows:
        """Run one read statement within the budgets.

        Raises:
            GuardRefused: the policy does not allow it, or it would write.
            SqlError: SQLite refused it.
        """
        guard = self._guard()
        started = time.perf_counter()
        rows: Rows | None = None
        try:
            verdict = _reading(guard.check(sql))
            bound = _bind(verdict.sql, params)
            guard.enter()
            try:
                cursor = self.connection.execute(verdict.sql, bound)
                try:
                    rows = self._fetch(cursor, guard, limit, row_format)
                finally:
                    cursor.close()
            finally:
                guard.leave()
        except BaseException as error:
            raise self._failed(sql, started, error) from None
        rows.duration_ms = self._done(verdict.sql, started, rows.row_count)
        self.stats.queries += 1
        self.stats.rows_read += rows.row_count
        return rows

    def exec(self, sql: object, params: Any = None, *, row_format: RowFormat = "objects") -> Executed:
        """Run one statement that may write; rows of RETURNING (or of a SELECT) come back within the budgets.

        Raises:
            GuardRefused: the policy does not allow it.
            SqlError: SQLite refused it.
        """
        guard = self._guard()
        started = time.perf_counter()
        try:
            verdict = guard.check(sql)
            bound = _bind(verdict.sql, params)
            guard.enter()
            try:
                with closing(self.connection.execute(verdict.sql, bound)) as cursor:
                    rows = self._fetch(cursor, guard, None, row_format) if cursor.description else None
                    # sqlite3 counts the rows of a RETURNING statement only when the last of them was fetched.
                    cut = rows is not None and rows.truncated
                    count, rowid = -1 if cut else cursor.rowcount, cursor.lastrowid
            finally:
                guard.leave()
            affected = self._affected(verdict, count)
            self._settle(verdict, guard)
        except BaseException as error:
            raise self._failed(sql, started, error) from None
        self.stats.writes += 1
        self.stats.rows_written += affected
        inserted = rowid if affected and verdict.keyword in ("INSERT", "REPLACE", "WITH") else None
        ms = self._done(verdict.sql, started, affected or (rows.row_count if rows else 0))
        if rows is None:
            return Executed(affected, inserted, ms)
        return Executed(affected, inserted, ms, rows.rows, rows.columns, rows.truncated, rows.limit)

    def insert_many(
        self,
        table: str,
        columns: Sequence[str],
        records: Sequence[Mapping[str, Any]],
        on_conflict: Conflict | None,
    ) -> tuple[int, int]:
        """Insert records in slices of `batch_chunk` and return (rows inserted, slices).

        A user's triggers and defaults run under the user's rights. `upsert` updates every given column of the
        row that is in the way.

        Raises:
            SqlError: SQLite refused a record; nothing of the batch stays.
        """
        guard = self._guard()
        started = time.perf_counter()
        inserted = slices = 0
        together = _PARAMS_AT_ONCE // max(1, len(columns)) if len(records) >= _MANY else 1
        sql = _insert_sql(table, columns, on_conflict, 1)
        try:
            verdict = guard.check(sql)
            several = (
                guard.check(_insert_sql(table, columns, on_conflict, together)) if together > 1 else None
            )
            for chunk in _slices(records, self.limits.batch_chunk):
                self.check()
                first = slices * self.limits.batch_chunk + 1
                bound = bind_records(chunk, columns, first)
                guard.enter()
                try:
                    inserted += self._insert(verdict, several, together, bound)
                finally:
                    guard.leave()
                slices += 1
            self._settle(verdict, guard)
        except BaseException as error:
            raise self._failed(sql, started, error) from None
        self.stats.writes += 1
        self.stats.rows_written += inserted
        self._done(sql, started, inserted)
        return inserted, slices

    def _insert(
        self, one: Verdict, several: Verdict | None, together: int, rows: list[tuple[SqlValue, ...]]
    ) -> int:
        """Insert rows, `together` at a time where there is a statement for that, and return how many went in."""
        inserted = start = 0
        if several is not None:
            for start in range(together, len(rows) + 1, together):
                values = tuple(chain.from_iterable(rows[start - together : start]))
                inserted += max(0, self.connection.execute(several.sql, values).rowcount)
        if start < len(rows):
            inserted += max(0, self.connection.executemany(one.sql, rows[start:]).rowcount)
        return inserted

    def stream(
        self,
        sql: str,
        write: Callable[[Sequence[str], Sequence[Sequence[Any]], bool], bytes],
        params: Any = None,
    ) -> Iterator[bytes]:
        """Run one read statement and yield its rows as text, in slices, without a row limit.

        Raises:
            GuardRefused: the policy does not allow it, or it would write.
            SqlError: SQLite refused it.
        """
        guard = self._guard()
        started = time.perf_counter()
        count = 0
        try:
            verdict = _reading(guard.check(sql))
            bound = _bind(verdict.sql, params)
            guard.enter()
            try:
                with closing(self.connection.execute(verdict.sql, bound)) as cursor:
                    columns = [d[0] for d in cursor.description or ()]
                    step = slice_rows(len(columns), guard.policy.limits.length)
                    yield write(columns, (), True)
                    while rows := cursor.fetchmany(step):
                        self.check()
                        count += len(rows)
                        yield write(columns, rows, False)
            finally:
                guard.leave()
        except Exception as error:
            raise self._failed(sql, started, error) from None
        self.stats.queries += 1
        self.stats.rows_read += count
        self._done(verdict.sql, started, count)

    def flush_log(self) -> None:
        """Write the statement log's pending entries into the file."""
        if self.log is not None:
            self.log.flush(self.connection)

    def flush_now(self) -> None:
        """Write the statement log's pending entries at once, in a transaction of their own if none is open."""
        if self.log is None or not self.log.pending:
            return
        if self.connection.in_transaction:
            self.flush_log()
            return
        self.connection.execute(internal("BEGIN IMMEDIATE"))
        try:
            self.flush_log()
        except BaseException:
            self.connection.execute(internal("ROLLBACK"))
            raise
        self.connection.execute(internal("COMMIT"))

    # Parts

    def _guard(self) -> Guard:
        if self.guard is None:
            raise GuardRefused(
                "This actor type runs no SQL of callers.", rule="no_policy", hint="Use its other methods."
            )
        return self.guard

    def _fetch(self, cursor: sqlite3.Cursor, guard: Guard, limit: int | None, row_format: RowFormat) -> Rows:
        most = min(self.limits.max_rows, guard.policy.max_rows)
        own = limit is not None and limit < most
        return fetch(
            cursor,
            max_rows=limit if own and limit is not None else most,
            row_limit_name="limit" if own else "max_rows",
            max_bytes=min(self.limits.max_result_bytes, guard.policy.max_result_bytes),
            max_cell=guard.policy.limits.length,
            row_format=row_format,
            wire=self.wire,
        )

    def _affected(self, verdict: Verdict, rowcount: int) -> int:
        if verdict.kind != "write":
            return 0
        if rowcount >= 0:
            return rowcount
        # sqlite3 counts only for texts that begin with INSERT, UPDATE, DELETE or REPLACE, not after WITH.
        row = self.connection.execute(internal("SELECT changes()")).fetchone()
        return int(row[0])

    def _settle(self, verdict: Verdict, guard: Guard) -> None:
        """Check what the authorizer cannot see, while it can still be rolled back."""
        if verdict.kind == "schema":
            guard.verify_schema()
        if verdict.writes and not self.connection.in_transaction:
            raise SqlError(
                "The statement rolled the whole transaction back.",
                hint="Use OR ABORT or OR IGNORE in place of OR ROLLBACK.",
                sqlite_name="SQLITE_ABORT_ROLLBACK",
            )

    def _done(self, sql: str, started: float, rows: int) -> float:
        ms = (time.perf_counter() - started) * 1e3
        self.stats.busy_ms += ms
        if self.log is not None:
            self.log.add(self.now, self.method, sql, ms, rows, None)
        return round(ms, 3)

    def _failed(self, sql: object, started: float, error: BaseException) -> BaseException:
        text = sql if isinstance(sql, str) else None
        if not isinstance(error, DuraliteError) and self.guard is not None:
            error = self.guard.translate(error, text)
        ms = (time.perf_counter() - started) * 1e3
        self.stats.errors += 1
        self.stats.busy_ms += ms
        if self.log is not None:
            # A text that SQLite could not even take (a lone surrogate) must not break the log.
            safe = None if text is None else text.encode("utf-8", "replace").decode()
            self.log.add(self.now, self.method, safe, ms, None, str(error)[:500])
        return error


def _insert_sql(table: str, columns: Sequence[str], on_conflict: Conflict | None, rows: int) -> str:
    names = ", ".join(quote(c, "column") for c in columns)
    row = f"({', '.join('?' * len(columns))})"
    sql = f"{_VERBS[on_conflict]} INTO {quote(table, 'table')} ({names}) VALUES {', '.join([row] * rows)}"
    if on_conflict == "upsert":
        sql += " ON CONFLICT DO UPDATE SET " + ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns)
    return sql


def _reading(verdict: Verdict) -> Verdict:
    if verdict.writes:
        raise GuardRefused(
            f"query() only reads, and this statement is {verdict.keyword}.",
            rule="query_reads_only",
            hint="Use exec() for statements that write; it returns RETURNING rows too.",
        )
    return verdict


def _bind(sql: str, params: Any) -> Sequence[Any] | dict[str, Any]:
    bound = bind_params(params)
    if isinstance(bound, dict) or _NUMBERED.search(sql) is None:
        return bound
    # For sqlite3 `?1` has a name, "1", and since Python 3.12 names want a dict.
    placeholders = [text for kind, text, *_ in tokenize(sql) if kind == VARIABLE]
    numbers = {int(text[1:]) for text in placeholders if _NUMBERED.fullmatch(text)}
    # A dict must name every place: with a gap (`?1, ?3`) or another count of values the list says what is wrong.
    if len(numbers) == len(set(placeholders)) and numbers == set(range(1, len(bound) + 1)):
        return {str(number): value for number, value in enumerate(bound, 1)}
    return bound


def _slices(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
