"""Copies of a file, made by the connection that owns it (SQLite's online backup), and files from strangers.

A copy leaves out what belongs to this installation (identity, alarms, jobs, idempotency records). A file that
a stranger uploads is opened as what it is, hostile input: read only, with `trusted_schema` off and no function of
ours, checked by SQLite, and only then read table by table.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.storage.rows import slice_rows
from runtime.storage.transaction import Transaction, quote

__all__ = ("backup_to", "foreign_error", "foreign_tables", "import_table", "open_foreign")

_PAGES = 2_000
_STEPS = 10_000
_MAGIC = b"SQLite format 3\0"


def backup_to(tx: Transaction, target: Path, *, internal: bool = False) -> int:
    """Copy the actor's file to `target` and return its size in bytes. Without `internal`, only what the user made."""
    with closing(sqlite3.connect(target)) as copy:
        # SQLite's backup answers no interrupt; an exception in its report ends it.
        tx.connection.backup(copy, pages=_PAGES, progress=lambda *_: tx.check())
        copy.execute("PRAGMA journal_mode=DELETE")
        if not internal:
            copy.execute("PRAGMA foreign_keys=OFF")
            names = copy.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '\\_duralite\\_%' ESCAPE '\\'"
            ).fetchall()
            for (name,) in names:
                copy.execute(f"DROP TABLE {quote(name)}")
            copy.commit()
            copy.execute("VACUUM")
    return target.stat().st_size


def open_foreign(path: Path, *, max_cell: int, seconds: float) -> sqlite3.Connection:
    """Open a file from outside, read only, with no value longer than `max_cell` and nothing run after `seconds`.

    Raises:
        InputError: it is not an SQLite file, or SQLite finds it damaged: the file is the caller's.
        LimitExceeded: checking it takes too long, or a value is too long.
    """
    with path.open("rb") as file:
        if file.read(16) != _MAGIC:
            raise InputError(
                "The file is not an SQLite database.",
                hint="Send the file itself, not an SQL dump or an archive.",
            )
    raw = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro&immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # Its CHECK constraints run while it is checked: bounded like any stranger's SQL.
        raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_cell)
        deadline = time.monotonic() + seconds
        raw.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
        raw.execute("PRAGMA trusted_schema=OFF")
        raw.execute("PRAGMA cell_size_check=ON")
        raw.execute("PRAGMA query_only=ON")
        # One step of a CHECK can take long, so the steps alone keep no deadline.
        alarm = threading.Timer(seconds, raw.interrupt)
        alarm.start()
        try:
            (verdict,) = raw.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            alarm.cancel()
    except sqlite3.DatabaseError as error:
        raw.close()
        raise foreign_error(error) from None
    if verdict != "ok":
        raw.close()
        raise InputError(
            f"The file is damaged: {str(verdict)[:300]}.",
            hint="Repair it with `.recover` of the sqlite3 shell.",
        )
    return raw


def foreign_error(error: sqlite3.Error) -> DuraliteError:
    """Return why a file from outside cannot be read."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_INTERRUPT:
        return LimitExceeded(
            "Reading the file took too long.", hint="Send fewer rows at once.", limit="call_s"
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return LimitExceeded(
            "The file holds a value or a row that is too long.",
            hint="Split long values before the import.",
            limit="max_value_bytes",
        )
    return InputError(f"SQLite cannot read the file: {error}.", hint="Check it with PRAGMA integrity_check.")


def foreign_tables(raw: sqlite3.Connection) -> list[tuple[str, str, list[str]]]:
    """Return (name, CREATE statement, statements of its indexes) of the plain tables of a file from outside.

    Names that belong to the runtime are left out.
    """
    rows = raw.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND name NOT LIKE '\\_%' ESCAPE '\\' AND lower(name) NOT IN ('session_state', 'execution_logs')"
        " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY rowid"
    ).fetchall()
    found = []
    for name, sql in rows:
        indexes = raw.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (name,)
        ).fetchall()
        found.append((str(name), str(sql), [str(i) for (i,) in indexes]))
    return found


def import_table(
    raw: sqlite3.Connection, name: str, max_cell: int
) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    """Yield slices of a table: its stored columns, and rows in their order.

    Raises:
        DuraliteError: the file cannot be read further.
    """
    try:
        columns = [
            c for (c,) in raw.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,))
        ]
        listed = ", ".join(map(quote, columns))
        step = slice_rows(len(columns), max_cell)
        with closing(raw.execute(f"SELECT {listed} FROM main.{quote(name)}")) as cursor:
            while rows := cursor.fetchmany(step):
                yield columns, rows
    except sqlite3.Error as error:
        raise foreign_error(error) from None
