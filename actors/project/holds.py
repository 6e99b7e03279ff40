"""Holds keep a data table alive while worker processes read it, though another has taken its place.

A worker reads the project's live file beside the actor. A table that an import or a pipeline has replaced is
dropped when nobody holds it any more, and not before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from actors.project.catalogue import Dataset, drop
from runtime.errors import Conflict, DuraliteError
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
        self._drops: set[asyncio.Task[None]] = set()

    async def take(self, find: Callable[[Transaction], Dataset]) -> tuple[Dataset, Callable[[], None]]:
        """Return the data table that `find` finds, and what lets it go; it stays until that is called.

        Raises:
            NotFound: what `find` raises.
        """
        for _ in range(_TRIES):
            number = (await self._connection.run(find, read_only=True)).id
            self._counts[number] += 1
            try:
                # Between the look and the hold it may have been replaced, and dropped.
                dataset = await self._connection.run(find, read_only=True)
            except BaseException:
                self._let_go(number)
                raise
            if dataset.id == number:
                return dataset, partial(self._let_go, number)
            self._let_go(number)
        raise Conflict("The data is replaced again and again.", hint="Try again when the imports have ended.")

    @asynccontextmanager
    async def on(self, find: Callable[[Transaction], Dataset]) -> AsyncIterator[Dataset]:
        """Give the data table that `find` finds, which stays for the length of the block."""
        dataset, let_go = await self.take(find)
        try:
            yield dataset
        finally:
            let_go()

    async def replaced(self, numbers: list[int]) -> None:
        """Drop tables that no row of the catalogue leads to, now or when they are let go."""
        for number in numbers:
            if self._counts[number]:
                self._old.add(number)
            else:
                await self._drop(number)

    def _let_go(self, number: int) -> None:
        self._counts[number] -= 1
        if not self._counts[number] and number in self._old:
            self._old.discard(number)
            task = asyncio.get_running_loop().create_task(self._drop(number))
            self._drops.add(task)
            task.add_done_callback(self._drops.discard)

    async def _drop(self, number: int) -> None:
        with suppress(DuraliteError):  # where the file closes already, the next opening tidies up
            await self._connection.run(partial(drop, number=number))
