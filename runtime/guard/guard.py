"""A guard stands in front of every statement that a stranger wrote, on one connection.

The storage asks `check` for a verdict, calls `enter` before and `leave` after the statement, and
`verify_schema` after one that changed the schema, still inside the transaction. Every layer behind that
(gate, authorizer, limits, schema check) assumes that the others failed.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from runtime.errors import DuraliteError, GuardRefused
from runtime.guard.advice import temp_full, translate
from runtime.guard.authorizer import Authorizer
from runtime.guard.budget import INTERNAL_LENGTH, PROGRESS_STEPS, apply_budget, temp_bytes
from runtime.guard.formats import checked_format
from runtime.guard.gate import Statement, check_expansion, gate_for
from runtime.guard.policy import Policy, Verdict
from runtime.guard.schema import Schema, read_schema, reserved_objects, verify
from runtime.guard.shape import length_for

__all__ = ("Guard",)

_LENGTH = sqlite3.SQLITE_LIMIT_LENGTH


class Guard:
    """The guard of one open connection; it lives in that connection's thread."""

    __slots__ = (
        "_authorizer",
        "_before",
        "_complaint",
        "_connection",
        "_current",
        "_format_checked",
        "_gate",
        "_length",
        "_schema",
        "_touched",
        "deadline",
        "policy",
    )

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.deadline: float | None = None
        self._gate = gate_for(policy)
        self._authorizer = Authorizer(policy)
        self._connection: sqlite3.Connection | None = None
        self._current: Statement | None = None
        self._schema = Schema()
        self._before: frozenset[tuple[Any, ...]] = frozenset()
        self._touched = False
        self._format_checked = False
        self._length = INTERNAL_LENGTH
        self._complaint: DuraliteError | None = None

    def install(self, connection: sqlite3.Connection) -> None:
        """Put limits, authorizer and progress handler on a connection, once, before any stranger's statement.

        From here on the connection is in the runtime's mode; `enter` and `leave` switch.
        """
        self._connection = connection
        apply_budget(connection, self.policy)
        self.refresh()
        connection.set_authorizer(self._authorizer.callback())
        connection.set_progress_handler(self._progress, PROGRESS_STEPS)

    def may_attach(self, allowed: bool) -> None:
        """Let the runtime attach or detach one file, or end that; strangers never may (storage/attach.py)."""
        self._live().setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, int(allowed))
        self._authorizer.attach = allowed

    def refresh(self) -> None:
        """Read the file's schema anew: after the runtime itself changed it, or a transaction was rolled back."""
        connection = self._live()
        self._schema = read_schema(connection)
        scene = self._authorizer.scene
        scene.modules = self._schema.modules
        scene.shadows = self._schema.shadows
        scene.internal_indexes = self._schema.internal_indexes(self.policy)
        # Inside a transaction this may be undone, by a rollback that nobody reports.
        self._touched = connection.in_transaction
        if self._schema.risky_format:
            self._check_formats()

    def check(self, sql: object) -> Verdict:
        """Return what a stranger's text is, or refuse it.

        Raises:
            GuardRefused: a rule refuses it; `rule`, `hint` and `layer` say which and what to write.
            InputError: it is not text, or not valid Unicode.
            LimitExceeded: it is too long.
        """
        statement = self._gate.inspect(sql)
        if self._touched:
            self.refresh()
        if statement.risky_format:
            self._check_formats()
        self._current = statement
        self._complaint = self._authorizer.denial = None
        schema = self._schema
        if schema.quiet or schema.weighty.isdisjoint(statement.names):
            self._length = statement.verdict.length
        else:
            check_expansion(statement.outline, schema.views, self.policy.limits.expansion)
            linear, quadratic = schema.calls(statement.names)
            calls = (linear + statement.calls[0], quadratic + statement.calls[1])
            self._length = length_for(self.policy.limits.length, calls, statement.width)
        return statement.verdict

    def enter(self) -> None:
        """Begin the stranger's mode, for the statement that was checked last."""
        statement, connection = self._current, self._connection
        if statement is None or connection is None:
            raise GuardRefused("No statement was checked.", rule="statement.empty")
        authorizer = self._authorizer
        scene = authorizer.scene
        scene.schema = statement.verb_kind == "schema"
        scene.may_write = statement.verdict.writes or statement.verdict.explain
        scene.names = statement.names
        authorizer.denial = None
        if statement.verdict.kind == "schema":
            self._before = reserved_objects(connection, self.policy)
        connection.setlimit(_LENGTH, self._length)
        authorizer.user = True

    def leave(self) -> None:
        """End the stranger's mode."""
        self._authorizer.user = False
        if self._connection is not None:
            self._connection.setlimit(_LENGTH, INTERNAL_LENGTH)

    def verify_schema(self) -> None:
        """Check, inside the transaction, what a schema statement left behind.

        Raises:
            GuardRefused: a reserved name, a foreign key into the runtime's tables, or views that expand too
                far. The caller rolls back.
        """
        self._touched = True
        connection = self._live()
        verify(connection, self.policy, self._before)
        self.refresh()
        schema = self._schema
        for name, root in schema.roots():
            check_expansion(root, schema.views, self.policy.limits.expansion, name)

    def translate(self, error: BaseException, sql: str | None = None) -> DuraliteError:
        """Return an error of SQLite or of sqlite3 as one that a caller can read and act on.

        The message of an ordinary error is SQLite's own, word for word; the advice is in `hint`.
        """
        self._authorizer.user = False
        complaint, self._complaint = self._complaint, None
        denial, self._authorizer.denial = self._authorizer.denial, None
        return translate(
            error,
            sql,
            policy=self.policy,
            connection=self._connection,
            denial=denial,
            complaint=complaint,
            compiles=self._compiles,
        )

    def _compiles(self, sql: str) -> bool:
        """Return whether a statement passes the guard and SQLite's parser, without running it."""
        try:
            verdict = self.check(sql)
            self.enter()
            try:
                self._live().execute(f"EXPLAIN {verdict.sql}").close()
            finally:
                self.leave()
        except sqlite3.ProgrammingError:
            return True  # it compiled, and then lacked its parameters
        except (sqlite3.Error, DuraliteError):
            return False
        return True

    def _live(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("The guard is not installed on a connection.")
        return self._connection

    def _progress(self) -> int:
        """Backstop of the watchdog: end a statement that is past its deadline, or that fills the disk."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            return 1
        if self._authorizer.user and temp_bytes() > self.policy.temp_bytes:
            self._complaint = temp_full(self.policy.temp_bytes)
            return 1
        return 0

    def _check_formats(self) -> None:
        """Put the checked printf in the place of SQLite's own, for the rest of the connection."""
        if self._format_checked:
            return
        self._format_checked = True
        connection = self._live()
        for name in ("printf", "format"):
            connection.create_function(name, -1, self._format, deterministic=True)

    def _format(self, *arguments: Any) -> Any:
        try:
            return checked_format(self.policy.limits.length, *arguments)
        except DuraliteError as error:
            self._complaint = error
            raise
