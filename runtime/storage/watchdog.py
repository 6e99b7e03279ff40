"""The watchdog looks every 20 ms at the connections that work, and only while some do.

SQLite's progress handler would do without it, but a Python handler called often makes a 40 ms query take
seconds beside one busy thread (docs/explanation/guard.md); a look from the event loop costs nothing per row.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from runtime.storage.bell import Bell

__all__ = ("TICK_S", "Watchdog", "Watched")

TICK_S = 0.02


class Watched(Protocol):
    """What can be watched."""

    def enforce(self, now: float) -> bool:
        """Act on passed deadlines; return False when nothing is left to watch."""
        ...


class Watchdog:
    """One for all connections of an event loop, with the bell that their threads ring."""

    def __init__(self) -> None:
        self.bell = Bell()
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def watch(self, target: Watched) -> None:
        """Look at `target` from now on."""
        self._watched.add(target)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def unwatch(self, target: Watched) -> None:
        """Stop looking at `target`."""
        self._watched.discard(target)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for target in list(self._watched):
            if not target.enforce(now):
                self._watched.discard(target)
        if self._watched:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def close(self) -> None:
        """Stop the timer and the bell. Idempotent."""
        self.bell.close()
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
