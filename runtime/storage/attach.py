"""Attaching a staging file beside an actor's own, for one unit of the runtime.

Strangers can never attach anything: the policy refuses the statement, the authorizer the action, and SQLite's own
limit stands at none. All three are lifted only for the moment in which the runtime does it, and the file is
detached before any other unit runs, so that nobody's statement ever sees it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import Unavailable
from runtime.guard import Guard, internal

__all__ = ("STAGING", "attached")

STAGING = "staging"
"""The name under which the attached file is known in SQL."""

_ATTACH, _DETACH = internal(f"ATTACH DATABASE ? AS {STAGING}"), internal(f"DETACH DATABASE {STAGING}")
_TRIES = 3


@contextmanager
def attached(raw: sqlite3.Connection, guard: Guard | None, path: Path) -> Iterator[None]:
    """Have a file attached as `staging` for the length of the block. No transaction may be open around it.

    Raises:
        Unavailable: there is no such file; SQLite would make an empty one.
    """
    if not path.is_file():
        raise Unavailable("The staging file is gone.", hint="Load the data again.")
    _change(raw, guard, _ATTACH, (str(path),))
    try:
        yield
    finally:
        _change(raw, guard, _DETACH, ())


def _change(raw: sqlite3.Connection, guard: Guard | None, sql: str, parameters: tuple[str, ...]) -> None:
    if guard is not None:
        guard.may_attach(True)
    try:
        for tries in range(1, _TRIES + 1):
            try:
                raw.execute(sql, parameters).close()
                return
            except sqlite3.OperationalError as error:
                # An interrupt that was meant for the statement before can hit this one.
                interrupted = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
                if not interrupted or tries == _TRIES:
                    raise
    finally:
        if guard is not None:
            guard.may_attach(False)
