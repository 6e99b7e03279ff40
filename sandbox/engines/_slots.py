"""Slots bound how many runs go on at once, and how many wait for how long. Both bounds are always there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from runtime.errors import Unavailable

__all__ = ("RETRY_S", "Slots")

_T = TypeVar("_T")
RETRY_S = 1.0


class Slots:
    """A bounded semaphore with a bounded queue. `wait_s` covers the whole wait of a run, the process included."""

    def __init__(self, concurrency: int, waiting: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._limit = waiting
        self._wait_s = wait_s
        self._waiting = 0

    def deadline(self) -> float:
        """Return the loop time until which a run that comes now may wait."""
        return asyncio.get_running_loop().time() + self._wait_s

    async def enter(self, deadline: float) -> None:
        """Take a slot. Raises `Unavailable` when too many wait already, or the deadline passes."""
        if self._free.locked() and self._waiting >= self._limit:
            raise Unavailable(
                f"{self._waiting:,} runs wait for the sandbox already.",
                hint="Try again in a moment.",
                limit="run_waiting",
                retry_after=RETRY_S,
            )
        self._waiting += 1
        try:
            await self.in_time(self._free.acquire(), deadline)
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give the slot back."""
        self._free.release()

    async def in_time(self, waited: Coroutine[Any, Any, _T], deadline: float) -> _T:
        """Await within the deadline. Raises `Unavailable` past it."""
        try:
            async with asyncio.timeout_at(deadline):
                return await waited
        except TimeoutError:
            raise Unavailable(
                f"The run waited {self._wait_s:g} s for its turn in the sandbox.",
                hint="Try again in a moment.",
                limit="run_waiting",
                retry_after=RETRY_S,
            ) from None
