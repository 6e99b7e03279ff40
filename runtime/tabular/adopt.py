"""Adopting a staging file: its rows move into an actor's file in slices, and become visible all at once.

Each slice is a short unit of its own, so that other calls get in between. The table that fills up is one nobody
knows of yet; the caller's `finish`, in the last transaction, puts it into the catalogue. What a crash or a
cancel leaves behind is such a table, which `drop_unfinished` clears away when the file is opened next.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from runtime.errors import InputError
from runtime.storage.connection import Connection
from runtime.storage.transaction import Transaction, quote

__all__ = ("adopt", "drop_unfinished")

R = TypeVar("R")

_SLICE_S = 0.05
_FIRST_ROWS = 5_000
_UNIT_S = 60.0
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,60}")


async def adopt(
    connection: Connection,
    staging: Path,
    table: str,
    *,
    finish: Callable[[Transaction], R],
    source: str = "d",
    on_rows: Callable[[int], None] | None = None,
) -> R:
    """Copy the table `source` of a staging file into the new table `table` of an actor's file.

    `finish(tx)` makes it visible, in a transaction of its own after the last rows; its answer is returned. If
    anything fails before, or the wait is cancelled, the table is dropped again. `on_rows` hears of the rows copied so far.
    The staging file itself is left to the caller.

    Raises:
        InputError: the staging file has no such table, or the table's name is not one for this.
        DuraliteError: the actor's file is full, or `finish` failed.
    """
    if _NAME.fullmatch(table) is None or _NAME.fullmatch(source) is None:
        raise InputError(f"{table!r:.80} is not a name for a data table.")
    try:
        last = await connection.run(
            lambda tx: _create(tx, table, source), beside=staging, seconds=_UNIT_S, method="adopt"
        )
        copied, step = 0, _FIRST_ROWS
        while copied < last:
            upto = min(last, copied + step)
            spent = await connection.run(
                _slice(table, source, copied, upto), beside=staging, seconds=_UNIT_S, method="adopt"
            )
            copied = upto
            step = max(100, int(step * min(4.0, _SLICE_S / max(spent, 1e-4))))
            if on_rows is not None:
                on_rows(copied)
        return await connection.run(finish, seconds=_UNIT_S, method="adopt")
    except BaseException:
        await asyncio.shield(_undo(connection, table))
        raise


def _create(tx: Transaction, table: str, source: str) -> int:
    columns = [name for (name,) in tx.all("SELECT name FROM pragma_table_info(?, 'staging')", (source,))]
    if columns[:1] != ["row_id"]:
        raise InputError("The staging file has no table of rows.", hint="Load the file again.")
    listed = ", ".join(["row_id INTEGER PRIMARY KEY", *map(quote, columns[1:])])
    tx.execute(f"CREATE TABLE main.{quote(table)} ({listed})")
    row = tx.one(f"SELECT max(row_id) FROM staging.{quote(source)}")
    return int(row[0] or 0) if row else 0


def _slice(table: str, source: str, after: int, upto: int) -> Callable[[Transaction], float]:
    def copy(tx: Transaction) -> float:
        started = time.perf_counter()
        tx.execute(
            f"INSERT INTO main.{quote(table)} SELECT * FROM staging.{quote(source)} WHERE row_id > ? AND row_id <= ?",
            (after, upto),
        )
        return time.perf_counter() - started

    return copy


async def _undo(connection: Connection, table: str) -> None:
    try:
        await connection.run(
            lambda tx: tx.execute(f"DROP TABLE IF EXISTS main.{quote(table)}") and None,
            seconds=_UNIT_S,
            method="adopt",
        )
    except Exception:  # the file closes, or is full: the next opening drops it
        return


def drop_unfinished(tx: Transaction, known: Iterable[str], prefix: str = "d") -> list[str]:
    """Drop data tables (`prefix` and a number) that the catalogue does not know, and return their names.

    Call it when the file is opened, before anything else can have begun to fill one.
    """
    keep = set(known)
    found = [
        name
        for (name,) in tx.all("SELECT name FROM main.sqlite_master WHERE type = 'table'")
        if re.fullmatch(re.escape(prefix) + r"[0-9]+", name) and name not in keep
    ]
    for name in found:
        tx.execute(f"DROP TABLE main.{quote(name)}")
    return found
