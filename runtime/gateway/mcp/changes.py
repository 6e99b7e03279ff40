"""Change notices: a client that listens to resources hears when what they show has changed.

Only a live actor changes, and it counts its commits. So a look at that counter twice a second, for the actors that
somebody listens to and no others, finds every change; a schema is looked at only after a commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from runtime.errors import DuraliteError
from runtime.host import Host
from runtime.ids import ActorAddress

__all__ = ("Changes",)

_LOOK_S = 0.5
_MOST_URIS = 100
_MOST_EVENTS = 256
_SCHEMA_VIEW = "/schema"


class Changes:
    """Serves `subscriptions/listen` of one service."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listening = 0

    async def listen(
        self,
        ctx: ServerRequestContext[Any, Any],
        params: SubscriptionsListenRequestParams,
        watched: Sequence[tuple[str, ActorAddress]],
    ) -> SubscriptionsListenResult:
        """Tell of changes until the client goes away; `watched` are the URIs with the actors they speak of.

        Raises:
            MCPError: too many URIs, or too many who listen.
        """
        if len(watched) > _MOST_URIS:
            raise MCPError(INVALID_PARAMS, f"One request may listen to {_MOST_URIS} resources.")
        if self._listening >= self._host.settings.limits.mcp_sessions:
            raise MCPError(INTERNAL_ERROR, "Too many clients listen already (limit mcp_sessions).")
        # Taken before the client is told that it listens, so that nothing falls in between.
        seen = {uri: await self._mark(uri, address) for uri, address in watched}
        # A bus for each listener: nobody can hear of another account's actor, whatever its URI looks like.
        bus = InMemorySubscriptionBus()
        handler = ListenHandler(bus, max_subscriptions=1, max_buffered_events=_MOST_EVENTS)
        watching = asyncio.ensure_future(self._watch(bus, watched, seen))
        self._listening += 1
        try:
            return await handler(ctx, params)
        finally:
            self._listening -= 1
            watching.cancel()

    async def _watch(
        self, bus: InMemorySubscriptionBus, watched: Sequence[tuple[str, ActorAddress]], seen: dict[str, Any]
    ) -> None:
        versions: dict[ActorAddress, str | None] = {address: "" for _, address in watched}
        while True:
            now = {address: self._version(address) for address in versions}
            for uri, address in watched:
                # One that was closed holds what it held, and is not opened for a look.
                rests = now[address] is None and self._host.path_of(address).exists()
                if now[address] != versions[address] and not rests:
                    mark = await self._mark(uri, address)
                    if mark != seen[uri]:
                        seen[uri] = mark
                        await bus.publish(ResourceUpdated(uri))
            versions = now
            await asyncio.sleep(_LOOK_S)

    def _version(self, address: ActorAddress) -> str | None:
        """Return what changes with each commit of a live actor; None while it is closed, and so cannot change."""
        instance = self._host.instance(address)
        return None if instance is None else instance.version

    async def _mark(self, uri: str, address: ActorAddress) -> Any:
        """Return what is new when the resource is new: for a schema SQLite's own counter, else that of commits.

        None is for an actor that does not exist.
        """
        with suppress(DuraliteError, sqlite3.Error):
            instance = await self._host.acquire(address, create=False)
            if instance is None:
                return None
            if not uri.endswith(_SCHEMA_VIEW):
                return instance.version
            return await instance.connection.run(
                lambda tx: tx.one("PRAGMA main.schema_version"), read_only=True
            )
        return None
