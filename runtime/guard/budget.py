"""Budgets bound what a statement may take when every other layer has let it pass.

SQLite's run-time limits, the page cap of file and temporary tables, the heap limit of the process, and the
size of temporary files. Sorters spill into files and not into memory (`temp_store=FILE`): a sort in memory
does not answer an interrupt for up to 2 s, one in files for 70 ms at most. No pragma bounds those files, so
`temp_bytes()` measures them, and the progress handler ends statements while there is too much.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from dataclasses import dataclass

from runtime.guard.authorizer import internal
from runtime.guard.gate import FAULTY_ENGINE
from runtime.guard.policy import Policy, SqlLimits

__all__ = ("INTERNAL_LENGTH", "PROGRESS_STEPS", "Finding", "apply_budget", "engine_findings", "temp_bytes")

PROGRESS_STEPS = 500_000
"""Steps between two calls of the progress handler. Fewer would slow every query beside a busy thread."""

INTERNAL_LENGTH = 64 * 1024 * 1024
"""The longest value in the runtime's own statements."""


def apply_budget(connection: sqlite3.Connection, policy: Policy) -> None:
    """Set the limits of a policy on a connection that no authorizer watches yet."""
    _set_limits(connection, policy.limits)
    page_size = int(connection.execute(internal("PRAGMA page_size")).fetchone()[0])
    pages = max(64, policy.max_file_bytes // page_size)
    script = (
        f"PRAGMA main.max_page_count={pages}",
        "PRAGMA temp_store=FILE",
        # Tiny while its first page comes in, so that it does not set 88 KiB aside (storage/profiles.py).
        "PRAGMA temp.cache_size=2",
        f"PRAGMA temp.max_page_count={pages}",
        "PRAGMA temp.cache_size=-2000",
        # Process-wide, and can only be lowered: the smallest that any policy asks for counts.
        f"PRAGMA hard_heap_limit={policy.heap_bytes}",
        "PRAGMA recursive_triggers=OFF",
        "PRAGMA cell_size_check=ON",
    )
    connection.executescript(";".join(map(internal, script)))
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, False)


def _set_limits(connection: sqlite3.Connection, limits: SqlLimits) -> None:
    for name, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, INTERNAL_LENGTH),
        # The runtime's comment comes on top of the stranger's share.
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.sql_length + 1_024),
        (sqlite3.SQLITE_LIMIT_COLUMN, limits.columns),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_select),
        (sqlite3.SQLITE_LIMIT_VDBE_OP, limits.vdbe_ops),
        (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, limits.function_args),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.like_pattern),
        (sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limits.variables),
        (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, limits.trigger_depth),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.setlimit(name, value)


def temp_bytes() -> int:
    """Return the bytes in SQLite's temporary files of this process (0 where that cannot be seen).

    SQLite unlinks them as soon as they are open, so that they are found by descriptor only.
    """
    total = 0
    try:
        descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208
    except OSError:
        return 0
    for descriptor in descriptors:
        path = f"/proc/self/fd/{descriptor}"
        try:
            if "/etilqs_" in os.readlink(path):  # noqa: PTH115
                total += os.stat(path).st_size  # noqa: PTH116
        except OSError:
            continue  # closed in the meantime
    return total


@dataclass(frozen=True, slots=True)
class Finding:
    """What `doctor` should say about the SQLite in use: `level` is "ok", "warning" or "error"."""

    level: str
    title: str
    detail: str


def engine_findings() -> list[Finding]:
    """Return what is known about the SQLite library of this process."""
    version = sqlite3.sqlite_version_info
    text = sqlite3.sqlite_version
    found: list[Finding] = []
    if version < (3, 40, 0):
        found.append(Finding("error", f"SQLite {text} is too old", "3.40.0 is the oldest that is supported."))
    elif FAULTY_ENGINE:
        found.append(
            Finding(
                "warning",
                f"SQLite {text} has known memory faults",
                "A hostile SELECT can crash the process: a window function in a correlated sub-select, DISTINCT "
                "with about 64 ORDER BY terms, an FTS5 trigram option without a value. The guard refuses the "
                "shapes it can tell by their text. Use a newer SQLite where strangers' SQL is hostile.",
            )
        )
    else:
        found.append(Finding("ok", f"SQLite {text}", "No memory fault is known that the guard lets through."))
    return found
