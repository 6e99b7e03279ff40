"""Doubles and fixtures for tests of actor types, part of the public interface.

`ManualClock` moves only when told to; `harness()` gives a host over a temporary folder with such a clock.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from runtime.actor import Actor
from runtime.clock import Clock
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings

__all__ = ("ManualClock", "harness", "settle", "until")


class ManualClock:
    """A clock that stands still until `advance()`."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._serial = count()

    def now(self) -> float:
        """Return the moment it shows, in seconds since 1970."""
        return self._now

    async def sleep_until(self, moment: float) -> None:
        """Return when the clock was moved to `moment` or past it."""
        if moment <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._serial), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move forward, waking sleepers in the order of their moments, and let them run."""
        target = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            moment, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, moment)
            if not future.done():
                future.set_result(None)
                await settle()
        self._now = target
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let everything run that can run without waiting for anything outside the event loop."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@asynccontextmanager
async def harness(
    data: Path, *types: type[Actor] | str, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Host]:
    """Give a started host over `data`, with the given actor types (none: the built-in ones)."""
    registry = Registry(types) if types else None
    async with Host(Settings(data=data, **settings), clock=clock or ManualClock(), registry=registry) as host:
        yield host


async def until(predicate: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when `predicate()` is true; for what other threads and processes do.

    Raises:
        TimeoutError: it was not within so many seconds.
    """
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110 - other threads and processes set no event
            await asyncio.sleep(0.001)
