"""The statement log remembers what strangers' SQL did, without making every read a write.

Entries collect in memory (a ring as long as the table may be) and go into `execution_logs` together: when
somebody reads the log, and when the actor closes, at the latest after `idle_s` without a call. A kill -9 loses
those of the time since the file was opened; they are diagnostics, never acknowledged data.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass, field

from runtime.clock import iso
from runtime.guard import internal

__all__ = ("LogEntry", "StatementLog", "StatementStats")

_TEXT = 2_000


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
