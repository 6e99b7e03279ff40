"""Room in the write-ahead log, written ahead: a durable commit then overwrites, where it else made the file longer.

A file that grows has its file system write its own journal before `fdatasync` comes back, which costs more than the
commit itself. PostgreSQL fills its log with zeros ahead for the same reason (`wal_init_zero`). SQLite reads a log up to
the first frame that does not carry the salt of its header, so that what lies behind is nothing to it
(sqlite.org/fileformat2.html, 4.4).
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ("LogSpace",)

_FIRST = 64 * 1024
_MOST = 1024 * 1024
_EVERY = 4
"""How many commits come between two looks; a session that writes but once or twice has no use for them."""


class LogSpace:
    """The log of one file. Used in the thread of its connection, between transactions."""

    __slots__ = ("_commits", "_log", "_size")

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._size = 0
        self._commits: int | None = 0

    def committed(self) -> None:
        """Make room if the log has grown; where there is none to be had, SQLite goes on as it would."""
        if self._commits is None:
            return
        self._commits += 1
        if self._commits % _EVERY == 0:
            try:
                self._look()
            except OSError:
                self._commits = None

    def _look(self) -> None:
        # SQLite holds its locks on the database, none on the log: this file may be opened and closed beside it. Its
        # length is not asked with stat(): a kernel with fine timestamps then has more to write at the next commit.
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if size != self._size:
                self._size = size + os.pwrite(descriptor, bytes(min(max(_FIRST, size), _MOST)), size)
        finally:
            os.close(descriptor)
