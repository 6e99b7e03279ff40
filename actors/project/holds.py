"""Holds keep a data table alive while worker processes read it, though another has taken its place.

A worker reads the project's live file beside the actor. A table that an import or a pipeline has replaced is
dropped when nobody holds it any more, and not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from actors.project.catalogue import Dataset, drop
from runtime.errors import Conflict
from runtime.storage.connection import Connection
from runtime.storage.transaction import Transaction

__all__ = ("Holds",)

_TRIES = 5


class Holds:
    """The holds on the data tables of one project. Used on the event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counts: Counter[int] = Counter()
        self._old: set[int] = set()

    @asynccontextmanager
    async def on(self, find: Callable[[Transaction], Dataset]) -> AsyncIterator[Dataset]:
        """Give the data table that `find` finds, which stays for the length of the block.

        Raises:
            NotFound: what `find` raises.
        """
        for _ in range(_TRIES):
            dataset = await self._connection.run(find, read_only=True)
            self._counts[dataset.id] += 1
            try:
                # Between the look and the hold it may have been replaced, and dropped.
                again = await self._connection.run(find, read_only=True)
                if again.id == dataset.id:
                    yield again
                    return
            finally:
                self._counts[dataset.id] -= 1
                if not self._counts[dataset.id]:
                    del self._counts[dataset.id]
                    if dataset.id in self._old:
                        self._old.discard(dataset.id)
                        await self._drop(dataset.id)
        raise Conflict("The data is replaced again and again.", hint="Try again when the imports have ended.")

    async def replaced(self, numbers: list[int]) -> None:
        """Drop tables that no row of the catalogue leads to, now or when they are let go."""
        for number in numbers:
            if self._counts[number]:
                self._old.add(number)
            else:
                await self._drop(number)

    async def _drop(self, number: int) -> None:
        await self._connection.run(partial(drop, number=number))
