"""A migration is a numbered step from one shape of the file to the next; its note commits with it.

`PRAGMA user_version` holds the number of the last step. The runtime's own tables have a version of their own
(`INTERNAL_VERSION`, in `_duralite_meta`), so that a new release can change them without touching a type's.
New files do not run migrations: they are copied from a template that did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import CorruptDatabase
from runtime.guard import internal

__all__ = ("INTERNAL_SCHEMA", "INTERNAL_VERSION", "Migration", "migrate")

INTERNAL_VERSION = 1

INTERNAL_SCHEMA = """
CREATE TABLE _duralite_meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE _duralite_alarms (
    name TEXT PRIMARY KEY, due REAL NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, payload TEXT,
    set_for REAL NOT NULL, error TEXT, dead INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE _duralite_jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, phase TEXT, done INTEGER NOT NULL DEFAULT 0,
    total INTEGER, message TEXT, arguments TEXT, result TEXT, error TEXT, created REAL NOT NULL,
    started REAL, ended REAL) STRICT, WITHOUT ROWID;
CREATE TABLE _duralite_idempotency (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, answer BLOB, created REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX _duralite_idempotency_by_created ON _duralite_idempotency (created);
CREATE TABLE session_state (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE execution_logs (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, method TEXT NOT NULL, sql TEXT, duration_ms REAL NOT NULL,
    rows INTEGER, error TEXT) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number (1, 2, 3, …), its SQL script, and what it is for."""

    version: int
    script: str
    description: str


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Bring a file to the newest shape, all steps in one transaction, and return the number of steps run.

    Raises:
        CorruptDatabase: the file was written by a newer release.
    """
    steps = 0
    (present,) = connection.execute(internal("PRAGMA user_version")).fetchone()
    newest = migrations[-1].version if migrations else 0
    fresh = not connection.execute(
        internal("SELECT 1 FROM main.sqlite_master WHERE name = '_duralite_meta'")
    ).fetchone()
    if not fresh and present == newest:
        return 0
    if present > newest:
        raise CorruptDatabase(
            f"The file has schema version {present}, and this release knows {newest}.",
            hint="Start the newer release that wrote the file.",
        )
    connection.execute(internal("BEGIN IMMEDIATE"))
    try:
        if fresh:
            _script(connection, INTERNAL_SCHEMA)
            connection.execute(
                internal("INSERT INTO main._duralite_meta VALUES ('internal_version', ?)"),
                (INTERNAL_VERSION,),
            )
        for step in migrations:
            if step.version > present:
                _script(connection, step.script)
                steps += 1
        connection.execute(internal(f"PRAGMA user_version={newest:d}"))
        connection.execute(internal("COMMIT"))
    except BaseException:
        if connection.in_transaction:
            connection.execute(internal("ROLLBACK"))
        raise
    return steps


def _script(connection: sqlite3.Connection, script: str) -> None:
    # Not executescript(): that would commit the open transaction first.
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n\t;"):
                connection.execute(internal(statement.strip()))
            statement = ""
