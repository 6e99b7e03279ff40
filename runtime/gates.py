"""A gate keeps an actor from being opened while its file is deleted, made or moved; whoever calls it waits.

One at a time passes through `shut`, so that two deletions of one actor follow each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.ids import ActorAddress

__all__ = ("Gates",)


class Gates:
    """The gates of one host."""

    def __init__(self) -> None:
        self._shut: dict[ActorAddress, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._shut)

    def closed(self, address: ActorAddress) -> asyncio.Event | None:
        """Return what to wait for before an actor may be opened, or None."""
        return self._shut.get(address)

    @asynccontextmanager
    async def shut(self, address: ActorAddress) -> AsyncIterator[None]:
        """Let nobody open an actor until the block ends."""
        while (event := self._shut.get(address)) is not None:
            await event.wait()
        self._shut[address] = done = asyncio.Event()
        try:
            yield
        finally:
            del self._shut[address]
            done.set()
