"""Requests under way are watched by one ticker, so that a request pays for watching only when it is slow.

The ticker stops a request for one of three reasons: its client went away (`gone`), its body does not arrive
(`late`), or the service shuts down and its time is up (`drain`). To stop means to cancel its task; a cancelled
call interrupts its SQL (Host.call).
"""

from __future__ import annotations

import asyncio
import time

from runtime.gateway.exchange import Exchange, Stop

__all__ = ("Inflight",)

_TICK_S = 0.05
_LEAST_RATE = 16 * 1024
"""Bytes a second that a sender of a long body must keep up."""


class Inflight:
    """All requests that have no answer yet."""

    def __init__(self, body_s: float) -> None:
        self._body_s = body_s
        self._exchanges: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    def add(self, exchange: Exchange) -> None:
        """Watch a request from now on."""
        self._exchanges.add(exchange)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def remove(self, exchange: Exchange) -> None:
        """Stop watching; the request has its answer."""
        self._exchanges.discard(exchange)
        if self._emptied is not None and not self._exchanges:
            self._emptied.set()
        if exchange.watcher is not None:
            exchange.watcher.cancel()

    def __len__(self) -> int:
        return len(self._exchanges)

    async def empty(self) -> None:
        """Return when no request is under way."""
        while self._exchanges:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def stop_all(self) -> None:
        """Stop every request, because the drain's time is up."""
        for exchange in list(self._exchanges):
            _stop(exchange, "drain")

    def _tick(self) -> None:
        self._timer = None
        if not self._exchanges:
            return
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        now = time.perf_counter()
        for exchange in self._exchanges:
            if exchange.reading_since is not None:
                allowed = self._body_s + exchange.received / _LEAST_RATE
                if now - exchange.reading_since > allowed:
                    _stop(exchange, "late")
            # Two may not receive at once: the watcher starts only where nobody reads the body (any more).
            elif exchange.unwatched:
                continue
            elif exchange.body_done and exchange.watcher is None and now - exchange.started > _TICK_S:
                exchange.watcher = asyncio.get_running_loop().create_task(_watch(exchange))


async def _watch(exchange: Exchange) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    _stop(exchange, "gone")


def _stop(exchange: Exchange, why: Stop) -> None:
    if exchange.stopped is None and exchange.task is not None:
        exchange.stopped = why
        exchange.task.cancel()
