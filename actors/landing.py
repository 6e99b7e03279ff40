"""The rows of a staging file become a table of an actor, in slices, and visible all at once: the second half of a copy.

The table fills up under a name that nobody sees, each slice a short unit of its own, so that other calls get in
between. The last unit gives it its name. What a crash leaves is dropped when the actor opens next (`clear_unlanded`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.errors import Conflict, DuraliteError, InputError
from runtime.guard.policy import is_reserved
from runtime.instance import Instance
from runtime.storage.transaction import Transaction, quote
from runtime.tabular.adopt import drop_unfinished

__all__ = ("PREFIX", "clear_unlanded", "land")

PREFIX = "_duralite_landing_"

_SLICE_S = 0.05
_FIRST_ROWS = 2_000
_UNIT_S = 60.0


def clear_unlanded(tx: Transaction) -> None:
    """Drop what a crash left of copies; call it when the actor opens."""
    drop_unfinished(tx, (), prefix=PREFIX)


async def land(
    instance: Instance,
    staging: Path,
    table: str,
    columns: Sequence[tuple[str, str]],
    *,
    replace: bool,
    on_rows: Callable[[int], None],
) -> int:
    """Make a table (name → declared type; "" for none) out of `d` of a staging file, and return its rows.

    Raises:
        Conflict: there is such a table, and `replace` is false.
        InputError: the table or a column cannot be called so.
        StorageFull: the actor's file is full; nothing of the table stays.
    """
    run = instance.connection.run
    hidden = f"{PREFIX}{secrets.randbelow(10**12)}"
    try:
        last = await run(
            lambda tx: _begin(tx, hidden, table, columns, replace), beside=staging, seconds=_UNIT_S
        )
        copied, step = 0, _FIRST_ROWS
        while copied < last:
            upto = min(last, copied + step)
            spent = await run(_slice(hidden, copied, upto), beside=staging, seconds=_UNIT_S)
            copied = upto
            step = max(100, int(step * min(4.0, _SLICE_S / max(spent, 1e-4))))
            on_rows(copied)
        await run(lambda tx: _finish(tx, hidden, table, replace), seconds=_UNIT_S)
    except BaseException:
        await asyncio.shield(_undo(instance, hidden))
        raise
    return last


def _begin(
    tx: Transaction, hidden: str, table: str, columns: Sequence[tuple[str, str]], replace: bool
) -> int:
    _check(tx, table, replace)
    listed = ", ".join(f"{quote(name, 'column')} {kind}".rstrip() for name, kind in columns)
    tx.execute(f"CREATE TABLE main.{quote(hidden)} ({listed})")
    row = tx.one("SELECT max(row_id) FROM staging.d")
    return int(row[0] or 0) if row else 0


def _check(tx: Transaction, table: str, replace: bool) -> None:
    quote(table, "table")
    if tx.guard is not None and (is_reserved(tx.guard.policy, table) or table.lower().startswith("sqlite_")):
        raise InputError(f"The table name {table!r:.80} is reserved.", hint="Use another one.")
    found = tx.one("SELECT type FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (table,))
    if found is not None and not (replace and found[0] == "table"):
        raise Conflict(
            f"There is a {found[0]} {table!r:.80} already.",
            hint="Use another table name, or replace = true for a table.",
        )


def _slice(hidden: str, after: int, upto: int) -> Callable[[Transaction], float]:
    def copy(tx: Transaction) -> float:
        started = time.perf_counter()
        names = [n for (n,) in tx.all("SELECT name FROM pragma_table_info('d', 'staging') WHERE cid > 0")]
        listed = ", ".join(map(quote, names))
        tx.execute(
            f"INSERT INTO main.{quote(hidden)} SELECT {listed} FROM staging.d WHERE row_id > ? AND row_id <= ?",
            (after, upto),
        )
        return time.perf_counter() - started

    return copy


def _finish(tx: Transaction, hidden: str, table: str, replace: bool) -> None:
    _check(tx, table, replace)
    if replace:
        tx.execute(f"DROP TABLE IF EXISTS main.{quote(table)}")
    tx.execute(f"ALTER TABLE main.{quote(hidden)} RENAME TO {quote(table)}")
    if tx.guard is not None:
        tx.guard.refresh()


async def _undo(instance: Instance, hidden: str) -> None:
    try:
        await instance.connection.run(
            lambda tx: tx.execute(f"DROP TABLE IF EXISTS main.{quote(hidden)}") and None, seconds=_UNIT_S
        )
    except DuraliteError:
        return  # the file closes: the next opening drops it
