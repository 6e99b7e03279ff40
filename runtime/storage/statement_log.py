"""The statement log remembers what strangers' SQL did, without making every read a write.

Entries collect in memory (a ring as long as the table may be) and go into `execution_logs` together: when
somebody reads the log, and when the actor closes. Where the log would be all that a closing writes, a short one
stays in memory (`KeptLogs`) until the actor opens again or the host stops. A kill -9 loses what is in memory; these
are diagnostics, never acknowledged data.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from runtime.clock import iso
from runtime.guard import internal

__all__ = ("KeptLogs", "LogEntry", "StatementLog", "StatementStats")

_TEXT = 2_000
_SHORT = 20
_MOST_KEPT = 1_000
_WRITE_ALL_S = 5.0


@dataclass(slots=True)
class StatementStats:
    """What an actor's connection did since its file was opened. Times in milliseconds."""

    queries: int = 0
    writes: int = 0
    errors: int = 0
    rows_read: int = 0
    rows_written: int = 0
    busy_ms: float = 0.0


LogEntry = tuple[float, str, str | None, float, int | None, str | None]
"""(moment, method, sql, duration_ms, rows, error)"""


@dataclass(slots=True)
class StatementLog:
    """The ring of entries that are not yet in the file, and the slowest statements since the file was opened."""

    keep: int
    slow_ms: float
    added: int = 0
    pending: deque[LogEntry] = field(init=False)
    slow: deque[LogEntry] = field(init=False)

    def __post_init__(self) -> None:
        self.pending = deque(maxlen=self.keep)
        self.slow = deque(maxlen=100)

    def add(
        self, at: float, method: str, sql: str | None, duration_ms: float, rows: int | None, error: str | None
    ) -> None:
        """Remember one statement."""
        entry = (
            at,
            method,
            sql if sql is None or len(sql) <= _TEXT else sql[:_TEXT] + "…",
            duration_ms,
            rows,
            error,
        )
        self.added += 1
        self.pending.append(entry)
        if duration_ms >= self.slow_ms:
            self.slow.append(entry)

    def forget(self, added: int) -> None:
        """Take back the entries since `added` stood there."""
        for _ in range(min(self.added - added, len(self.pending))):
            self.pending.pop()
        self.added = added

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write the pending entries and drop the oldest beyond the bound, inside the open transaction."""
        if not self.pending:
            return
        entries = list(self.pending)
        connection.executemany(
            internal(
                "INSERT INTO main.execution_logs (at, method, sql, duration_ms, rows, error) VALUES (?, ?, ?, ?, ?, ?)"
            ),
            [
                (iso(at), method, sql, round(ms, 3), rows, error)
                for at, method, sql, ms, rows, error in entries
            ],
        )
        connection.execute(
            internal(
                "DELETE FROM main.execution_logs WHERE id <= (SELECT max(id) FROM main.execution_logs) - ?"
            ),
            (self.keep,),
        )
        # Only after the statements worked: a failed flush keeps its entries for the next one.
        for _ in entries:
            self.pending.popleft()


class KeptLogs:
    """The logs of closed actors that only read since they were opened: short ones, and so many at most."""

    def __init__(self) -> None:
        self._logs: dict[Path, StatementLog] = {}

    def keep(self, path: Path, log: StatementLog) -> bool:
        """Take the log of the file at `path`, unless it is long or there are too many; return whether it was taken."""
        if len(log.pending) > _SHORT or len(self._logs) >= _MOST_KEPT:
            return False
        self._logs[path] = log
        return True

    def take(self, path: Path) -> StatementLog | None:
        """Return and forget the log of a file, None where there is none."""
        return self._logs.pop(path, None)

    def write_all(self) -> None:
        """Write every log into its file, as long as that takes a few seconds; no file may be open then."""
        until = time.monotonic() + _WRITE_ALL_S
        while self._logs and time.monotonic() < until:
            path, log = self._logs.popitem()
            try:
                with closing(
                    sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
                ) as raw:
                    raw.execute("PRAGMA synchronous=NORMAL")
                    raw.execute("BEGIN IMMEDIATE")
                    log.flush(raw)
                    raw.execute("COMMIT")
            except sqlite3.Error:
                pass  # the log is a courtesy
