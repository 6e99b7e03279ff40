"""Events of an actor leave as Server-Sent Events, and go on where a reader was by `Last-Event-ID`."""

from __future__ import annotations

import asyncio

from runtime.events import Event
from runtime.gateway.calls import missing_scope, not_allowed
from runtime.gateway.exchange import NOSNIFF, Exchange
from runtime.host import Host
from runtime.ids import ActorAddress, check_name
from runtime.values import dumps

__all__ = ("EventStreams",)

_KEEP_ALIVE_S = 15.0
_SEND_S = 30.0
_RETRY_MS = 2_000


class EventStreams:
    """Serves `GET /v1/{type}/{name}/events`."""

    def __init__(self, host: Host, stop: asyncio.Event, *, keep_alive_s: float = _KEEP_ALIVE_S) -> None:
        self._host = host
        self._stop = stop
        self._keep_alive_s = keep_alive_s

    async def serve(self, x: Exchange, type_name: str, name: str) -> None:
        """Answer with the actor's events until the reader or the service goes away.

        Raises:
            ActorNotFound: there is no such actor of the account.
        """
        actor_type = self._host.registry.get(type_name)
        if x.method not in ("GET", "HEAD"):
            raise not_allowed(x.method, ("GET", "HEAD"))
        assert x.grant is not None
        if "read" not in x.grant.scopes:
            raise missing_scope("read")
        address = ActorAddress(actor_type.type_name, x.grant.account, check_name(name))
        record = await self._host.facts(address)
        x.body_done = True
        last = x.headers.get(b"last-event-id")
        await x.begin(
            200,
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            NOSNIFF,
        )
        if x.method == "HEAD":
            await x.send({"type": "http.response.body", "body": b""})
            return
        await self._pump(x, self._host.events.listen(record.id, last.decode("latin-1") if last else None))

    async def _pump(self, x: Exchange, events: object) -> None:
        stopped = asyncio.ensure_future(self._stop.wait())
        following: asyncio.Future[Event] | None = None
        try:
            # The first bytes go out at once, so that a reader knows that it listens.
            await _send(x, b"retry: %d\n\n" % _RETRY_MS)
            while not self._stop.is_set():
                if following is None:
                    following = asyncio.ensure_future(anext(events))  # type: ignore[call-overload]
                await asyncio.wait(
                    (following, stopped), timeout=self._keep_alive_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not following.done():
                    await _send(x, b": keep-alive\n\n")
                    continue
                try:
                    event = following.result()
                except StopAsyncIteration:
                    break  # the reader fell behind and was dropped; it comes back with the id it has
                finally:
                    following = None
                await _send(x, event_text(event))
            await x.send({"type": "http.response.body", "body": b""})
        finally:
            stopped.cancel()
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await events.aclose()  # type: ignore[attr-defined]


async def _send(x: Exchange, data: bytes) -> None:
    # A reader that takes nothing for so long has gone, whatever its connection says.
    async with asyncio.timeout(_SEND_S):
        await x.send({"type": "http.response.body", "body": data, "more_body": True})


def event_text(event: Event) -> bytes:
    """Return an event as the HTML standard writes it."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), dumps(event.data))
