"""A connection with a guard on it, run the way the storage runs strangers' SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.errors import DuraliteError
from runtime.guard import SESSION, Guard, Policy, internal


class Desk:
    """One database in memory, with the runtime's tables in it."""

    def __init__(self, policy: Policy) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys=ON")
        self.guard = Guard(policy)
        self.guard.install(self.connection)
        self.own("CREATE TABLE session_state(key TEXT PRIMARY KEY, value TEXT)")
        self.own("CREATE TABLE execution_logs(id INTEGER PRIMARY KEY, msg TEXT)")
        self.own("CREATE TABLE _duralite_meta(key TEXT PRIMARY KEY, value)")
        self.own("INSERT INTO session_state VALUES('k', 'secret')")

    def own(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the runtime's own."""
        return self.connection.execute(internal(sql), params).fetchall()

    def run(self, sql: Any, *params: Any) -> list[tuple[Any, ...]]:
        """Run a stranger's statement in a transaction of its own; errors come translated."""
        try:
            return self._run(sql, params)
        except Exception as error:
            if self.connection.in_transaction:
                self.own("ROLLBACK")
            raise self.guard.translate(error, sql if isinstance(sql, str) else None) from None

    def _run(self, sql: Any, params: Any) -> list[tuple[Any, ...]]:
        verdict = self.guard.check(sql)
        if verdict.writes:
            self.own("BEGIN IMMEDIATE")
        self.guard.enter()
        try:
            rows = self.connection.execute(verdict.sql, params).fetchall()
        finally:
            self.guard.leave()
        if verdict.kind == "schema":
            self.guard.verify_schema()
        if verdict.writes:
            self.own("COMMIT")
        return rows

    def fails(self, sql: Any, *params: Any) -> DuraliteError:
        """Run a stranger's statement that must fail, and return its error."""
        with pytest.raises(DuraliteError) as caught:
            self.run(sql, *params)
        return caught.value

    def refused(self, sql: Any, *params: Any) -> str:
        """Return the rule that refuses a statement."""
        rule: str = self.fails(sql, *params).to_problem()["rule"]
        return rule


@pytest.fixture
def open_desk() -> Iterator[Callable[[Policy], Desk]]:
    desks: list[Desk] = []

    def make(policy: Policy) -> Desk:
        desks.append(Desk(policy))
        return desks[-1]

    yield make
    for desk in desks:
        desk.connection.close()


@pytest.fixture
def desk(open_desk: Callable[[Policy], Desk]) -> Desk:
    return open_desk(SESSION)
