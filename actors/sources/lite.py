"""SQLite files of others, read in a worker process: read only, under the guard, and never in the service itself.

A file that somebody sends may be damaged on purpose, and its views may hold anything. It is opened with
`trusted_schema` off and no function of ours, every statement passes gate, authorizer and budget (runtime/guard),
and what SQLite itself does not survive ends a worker process and nothing else.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from stat import S_ISREG
from types import NoneType
from typing import Any

from orjson import Fragment

from runtime.errors import DuraliteError, InputError, SqlError
from runtime.guard import READ_ONLY, Guard, Policy, SqlLimits, narrowed
from runtime.limits import Limits
from runtime.storage.rows import Rows, encode
from runtime.storage.schema import TableInfo, list_tables
from runtime.storage.transaction import Transaction
from runtime.values import dumps
from runtime.workers.task import Report, task

__all__ = ("POLICY", "answer", "inspect", "open_file", "query")

MAGIC = b"SQLite format 3\0"

# What these answer depends on the moment, or on chance.
_VOLATILE = re.compile(
    r"\b(?:random|randomblob|current_date|current_time|current_timestamp|date|time|datetime|julianday|strftime"
    r"|unixepoch|timediff|changes|total_changes|last_insert_rowid)\b",
    re.IGNORECASE,
)
_LENGTH = 16 * 1024 * 1024
_REPEAT_S = 0.05

POLICY: Policy = replace(
    READ_ONLY,
    name="source",
    # The file is its owner's, who may have named a table as the runtime names its own.
    internal=frozenset(),
    reserved_prefix="_duralite_",
    limits=SqlLimits(length=_LENGTH),
)
"""What a query of an SQLite source may do: read. Long values may pass, because a worker can be killed."""


@contextmanager
def open_file(path: str, *, private: bool, limits: Limits, seconds: float) -> Iterator[Transaction]:
    """Open a file read only for one task; whatever runs is interrupted after `seconds`.

    `private` says that nobody else writes the file, so that its locks and its log need no look.

    Raises:
        InputError: it is not an SQLite file, or SQLite finds it damaged.
    """
    file = Path(path)
    _check_magic(file)
    raw = sqlite3.connect(
        f"{file.as_uri()}?mode=ro{'&immutable=1' if private else ''}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=min(5.0, seconds),
    )
    done = threading.Event()
    try:
        guard = _prepare(raw, limits, time.monotonic() + seconds)
        threading.Thread(target=_interrupt_late, args=(raw, done, seconds), daemon=True).start()
        yield Transaction(raw, guard, limits, None)
    except sqlite3.Error as error:
        raise _unreadable(error) from None
    except UnicodeDecodeError:
        # Python cannot even show what SQLite says: it quotes a schema, or a cell, that is not text.
        raise InputError(
            "SQLite cannot read the file: it holds text that is not UTF-8.",
            hint="Repair it with `.recover` of the sqlite3 shell.",
        ) from None
    finally:
        done.set()
        raw.close()


def _check_magic(file: Path) -> None:
    # A pipe or a device would hold the reader for ever.
    if not S_ISREG(file.stat().st_mode):
        raise InputError("The source is not a regular file.", hint="Register an SQLite file.")
    with file.open("rb") as opened:
        if opened.read(16) != MAGIC:
            raise InputError(
                "The file is not an SQLite database.",
                hint="Import other files (CSV, XLSX, Parquet) instead of registering them.",
            )


def _prepare(raw: sqlite3.Connection, limits: Limits, deadline: float) -> Guard:
    for pragma in (
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "mmap_size=0",
        "query_only=ON",
        "cache_size=-8000",
    ):
        raw.execute(f"PRAGMA {pragma}")
    policy = narrowed(POLICY, limits)
    assert policy is not None
    guard = Guard(policy)
    guard.deadline = deadline
    guard.install(raw)
    return guard


def _interrupt_late(raw: sqlite3.Connection, done: threading.Event, seconds: float) -> None:
    """Interrupt what runs at the deadline, again and again: one interrupt ends one statement."""
    late = done.wait(seconds) is False
    while late and not done.is_set():
        try:
            raw.interrupt()
        except sqlite3.Error:
            return
        done.wait(_REPEAT_S)


def _unreadable(error: sqlite3.Error) -> DuraliteError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return SqlError(
            "Another program holds the file locked.", hint="Query again when it has finished writing."
        )
    return InputError(
        f"SQLite cannot read the file: {error}.",
        hint="Check it with PRAGMA integrity_check; a file that a program left in the middle of a write must be opened by that program first.",
    )


@task
def inspect(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Look at a file: check it, and return its tables with columns, and rows where counting them was quick.

    Args: path, private, limits, seconds, check (whether SQLite checks every page first), counts (whether rows are).
    """
    limits = Limits.model_validate(args["limits"])
    with open_file(args["path"], private=args["private"], limits=limits, seconds=args["seconds"]) as tx:
        if args.get("check"):
            (verdict,) = tx.one("PRAGMA quick_check(1)") or ("",)
            if verdict != "ok":
                raise InputError(
                    f"The file is damaged: {str(verdict)[:300]}.",
                    hint="Repair it with `.recover` of the sqlite3 shell.",
                )
        return {"tables": [_shown(table) for table in list_tables(tx, counts=args["counts"])]}


def _shown(table: TableInfo) -> dict[str, Any]:
    return {
        "name": table.name,
        "kind": table.kind,
        "rows": table.rows,
        "columns": [{"name": c.name, "type": c.type or "ANY"} for c in table.columns],
    }


@task
def query(args: dict[str, Any], report: Report) -> bytes:
    """Run one read statement on a file and return the answer as JSON.

    Args: path, private, limits, seconds, sql, params, limit, row_format, name (what the source is called).
    """
    limits = Limits.model_validate(args["limits"])
    with open_file(args["path"], private=args["private"], limits=limits, seconds=args["seconds"]) as tx:
        rows = tx.query(args["sql"], args["params"], limit=args["limit"], row_format="arrays")
        fields = _fields(rows)
        if args["row_format"] == "objects":
            rows.rows = [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
        rows.rows = Fragment(encode(rows.rows))
        return answer(rows, fields=fields, lasting=_VOLATILE.search(args["sql"]) is None)


_KINDS = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB", NoneType: "NULL"}


def _fields(rows: Rows) -> list[dict[str, str]]:
    """Return the columns with types as their values show them: a column of SQLite promises none."""
    fields = []
    for name, column in zip(
        rows.columns, zip(*rows.rows, strict=True) if rows.rows else repeat(()), strict=False
    ):
        kinds = sorted({_KINDS[type(value)] for value in column} - {"NULL"})
        fields.append({"name": name, "type": kinds[0] if len(kinds) == 1 else "ANY" if kinds else "NULL"})
    return fields


def answer(rows: Rows, *, fields: list[dict[str, str]], lasting: bool) -> bytes:
    """Return rows as the JSON that callers get, without what the service adds to it.

    `lasting` comes first (whether the same statement gives the same answer until a file changes), then the count.
    """
    return dumps(
        {
            "lasting": lasting,
            "row_count": rows.row_count,
            "truncated": rows.truncated,
            "limit": rows.limit,
            "columns": rows.columns,
            "fields": fields,
            "rows": rows.rows,
        }
    )
