"""A durability profile says what a commit survives, and with which pragmas that is bought.

NORMAL: a commit survives the end of the process (kill -9); a power cut may take the last commits, never the
file's consistency. FULL: a commit is on the disk before it is acknowledged. IMPORT: for building a new file
fast; nothing is promised until `make_durable` ran (DESIGN section 4, Profiles).
"""

from __future__ import annotations

import random
from enum import Enum

__all__ = ("BUSY_TIMEOUT_MS", "Durability", "map_size", "pragmas")

BUSY_TIMEOUT_MS = 5_000
_JOURNAL_LIMIT = 16 * 1024 * 1024
_MMAP = 64 * 1024 * 1024
_MAPPED_FROM = 8 * 1024 * 1024
_CACHE_KIB = -2_000


class Durability(Enum):
    """What a commit survives."""

    NORMAL = "normal"
    FULL = "full"
    IMPORT = "import"


def map_size(file_bytes: int) -> str:
    """Return the statement that has a file of this size read through a map of it, or not: see `pragmas`."""
    return f"PRAGMA mmap_size={_MMAP if file_bytes >= _MAPPED_FROM else 0}"


def pragmas(profile: Durability, file_bytes: int = 0, *, shared: bool = False) -> tuple[str, ...]:
    """Return the statements that set a connection to a profile, in the order they must run.

    `file_bytes` is the file's size: a small one is read faster, and held in less memory, without a map of it.
    `shared` keeps the lock and the index of the log where a worker process that reads the live file finds them.
    """
    synchronous = {Durability.NORMAL: "NORMAL", Durability.FULL: "FULL", Durability.IMPORT: "OFF"}[profile]
    # The jitter keeps two processes that wait for one lock from asking in step.
    timeout = BUSY_TIMEOUT_MS + random.randrange(500)
    journal = "OFF" if profile is Durability.IMPORT else "WAL"
    return (
        f"PRAGMA busy_timeout={timeout}",
        # The actor's connection is the only one that writes, and of most types the only one: it takes its lock once, and keeps the index of the log in its own
        # memory. That halves the time of a small read and of opening, and keeps other programs out while it is live.
        f"PRAGMA locking_mode={'NORMAL' if shared else 'EXCLUSIVE'}",
        f"PRAGMA journal_mode={journal}",
        f"PRAGMA synchronous={synchronous}",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA journal_size_limit={_JOURNAL_LIMIT}",
        map_size(file_bytes),
        # A page cache sets 20 pages (88 KiB) aside when its first page comes in, unless it is tiny at that
        # moment. Emptied, filled with one page while tiny, and made large again, it takes what it needs.
        "PRAGMA cache_size=2",
        "PRAGMA shrink_memory",
        "SELECT count(*) FROM main.sqlite_master",
        f"PRAGMA cache_size={_CACHE_KIB}",
    )
