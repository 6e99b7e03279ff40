"""In process, an HTTP request is a call of the ASGI application: the same path as over a socket, without one.

Bodies stream both ways with a bounded number of pieces in between, so that an export of any size goes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx

__all__ = ("InProcess",)

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
_PIECES = 8


class InProcess(httpx.AsyncBaseTransport):
    """Sends requests to an application in this process, as its local owner."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Call the application; return as soon as the head of its answer is there."""
        exchange = _Exchange(request)
        task = asyncio.ensure_future(self._app(_scope(request), exchange.receive, exchange.send))
        task.add_done_callback(exchange.ended)
        await exchange.begun.wait()
        if not exchange.status:
            await task  # it ended without an answer: raise what it died of
            raise httpx.RemoteProtocolError("The application gave no answer.", request=request)
        return httpx.Response(
            exchange.status, headers=exchange.headers, stream=_Body(exchange, task), request=request
        )


class _Exchange:
    """One request under way."""

    def __init__(self, request: httpx.Request) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._body: AsyncIterator[bytes] | None = aiter(request.stream)
        self._gone = asyncio.Event()
        self.begun = asyncio.Event()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)

    async def receive(self) -> Message:
        if self._body is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        piece = await anext(self._body, None)
        if piece is None:
            self._body = None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            self.begun.set()
        elif message["type"] == "http.response.body":
            if piece := message.get("body", b""):
                await self.pieces.put(bytes(piece))
            if not message.get("more_body", False):
                await self.pieces.put(None)

    def ended(self, task: asyncio.Future[None]) -> None:
        self.begun.set()

    def leave(self) -> None:
        self._gone.set()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, piece by piece."""

    def __init__(self, exchange: _Exchange, task: asyncio.Future[None]) -> None:
        self._exchange = exchange
        self._task = task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._exchange.pieces
        while True:
            getting = asyncio.ensure_future(pieces.get())
            either: tuple[asyncio.Future[Any], ...] = (getting, self._task)
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                # Once the application has ended nothing is added: what is not there by now never comes.
                if not getting.done() and pieces.empty():
                    raise httpx.RemoteProtocolError("The answer was cut off.")
                piece = await getting
            finally:
                getting.cancel()
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        self._exchange.leave()
        if not self._task.done():
            # What comes after the last piece is the application's own tidying; a reader that left ends it.
            _, late = await asyncio.wait([self._task], timeout=5)
            for task in late:
                task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _scope(request: httpx.Request) -> Message:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": (url.host, url.port),
    }
