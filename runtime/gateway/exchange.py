"""An exchange is one HTTP request on its way to its one answer.

It carries what every part of the edge needs (headers, request id, who asks) and knows how to answer. Whatever
goes wrong on the way becomes one `application/problem+json` answer (RFC 9457), made here and nowhere else.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any, Literal

from runtime.accounts import Grant
from runtime.errors import DuraliteError
from runtime.gateway.problem import problem_json
from runtime.gateway.protocol import SHORT_CUT, answer
from runtime.ids import new_token
from runtime.values import dumps

__all__ = ("EXCHANGE", "JSON", "NOSNIFF", "PROBLEM", "Exchange", "Receive", "Scope", "Send")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

EXCHANGE = "duralite.exchange"
"""Where the scope of a request that leaves the gateway's own code carries its exchange."""

JSON: Header = (b"content-type", b"application/json")
PROBLEM: Header = (b"content-type", b"application/problem+json")
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
_ONLY_JSON = (JSON,)
_JSON_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
_ONE_WRITE = 256 * 1024
_CHALLENGE = b'Bearer realm="duralite"'
_PLAIN_HOST = re.compile(rb"[A-Za-z0-9.:\[\]-]{1,255}")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_boot = new_token(4)
_serial = count(1)

_SMALL = 256 * 1024
_LINGER_S = 2.0

Stop = Literal["gone", "late", "drain"]


class Exchange:
    """One request and its answer."""

    __slots__ = ("body_done", "cycle", "extra", "grant", "headers", "label", "method", "reading_since", "receive", "received", "request_id", "scope", "send", "started", "status", "stopped", "task", "unwatched", "watcher")  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        # uvicorn's request, where it serves us; None under any other server. Taken off the scope that it holds: a
        # circle would leave what each request made to the garbage collector.
        self.cycle: Any = scope.pop(SHORT_CUT, None)
        given = self.headers.get(b"x-request-id")
        self.request_id: str = (
            f"{_boot}-{next(_serial):x}"
            if given is None or not _REQUEST_ID.fullmatch(given)
            else given.decode("ascii")
        )
        self.started = time.perf_counter()
        self.status = 0
        self.grant: Grant | None = None
        self.label: Any = None
        self.extra: list[Header] | None = None
        self.task = asyncio.current_task()
        self.stopped: Stop | None = None
        self.watcher: asyncio.Task[None] | None = None
        # Whoever answers notices by itself that the client went away, and decides what that means.
        self.unwatched = False
        # When reading of the body began; None while nobody reads.
        self.reading_since: float | None = None
        self.received = 0
        self.body_done = False

    @property
    def path(self) -> str:
        """The request's path as it was sent, cut to a bearable length."""
        raw: bytes = self.scope["raw_path"]
        return raw[:2048].decode("ascii", "replace")

    @property
    def trace(self) -> str | None:
        """The trace id of a W3C `traceparent` header."""
        given = self.headers.get(b"traceparent")
        found = None if given is None else _TRACEPARENT.fullmatch(given)
        return None if found is None else found[1].decode()

    def add_header(self, name: bytes, value: bytes) -> None:
        """Put a header on the answer, whichever it will be."""
        if self.extra is None:
            self.extra = []
        self.extra.append((name, value))

    async def begin(self, status: int, *headers: Header) -> None:
        """Send status and headers; pieces of the body follow through `send`."""
        self.status = status
        lines = [*headers, (b"x-request-id", self.request_id.encode())]
        if self.extra is not None:
            lines += self.extra
        await self.send({"type": "http.response.start", "status": status, "headers": lines})

    async def reply(self, status: int, body: bytes, *headers: Header) -> None:
        """Send the whole answer."""
        self.status = status
        if status == 200 and self.cycle is not None and self.extra is None and headers == _ONLY_JSON:
            head = _JSON_HEAD % (len(body), self.request_id.encode())
            if self.method != "HEAD" and len(body) < _ONE_WRITE and answer(self.cycle, head, body):
                return
        lines = [
            *headers,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
        ]
        if self.extra is not None:
            lines += self.extra
        await self.send({"type": "http.response.start", "status": status, "headers": lines})
        await self.send({"type": "http.response.body", "body": body})

    async def reply_json(self, value: Any, status: int = 200, *headers: Header) -> None:
        """Send a value as JSON."""
        await self.reply(status, dumps(value), JSON, NOSNIFF, *headers)

    def body_is_small(self) -> bool:
        """Tell whether what may still come of the body is too little to matter."""
        length = self.headers.get(b"content-length")
        if length is None:
            return b"transfer-encoding" not in self.headers
        return length.isdigit() and int(length) <= _SMALL

    async def refuse_unread(self, error: DuraliteError) -> None:
        """Send an error to a client that still sends a long body, and break its body off.

        The whole answer is out before the rest of the body is dropped unread: a connection that is closed with
        bytes unread is reset, and the client would lose the answer.
        """
        whole = self.send

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                message["more_body"] = True
            await whole(message)

        self.send = send
        await self.refuse(error, (b"connection", b"close"))
        try:
            async with asyncio.timeout(_LINGER_S):
                while (message := await self.receive())["type"] == "http.request":
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        await whole({"type": "http.response.body", "body": b""})

    def _challenge(self) -> bytes:
        """Return how to ask with a key, and where the service says more about it (RFC 9728, section 5.1)."""
        host = self.headers.get(b"host", b"")
        if not _PLAIN_HOST.fullmatch(host):
            return _CHALLENGE
        where = b"%s://%s" % (self.scope.get("scheme", "http").encode(), host)
        return _CHALLENGE + b', resource_metadata="%s/.well-known/oauth-protected-resource"' % where

    async def refuse(self, error: DuraliteError, *headers: Header) -> None:
        """Send an error as problem+json."""
        body = problem_json(error, self.path, self.request_id)
        lines = [PROBLEM, NOSNIFF, *headers]
        if error.retry_after is not None:
            lines.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
        if error.status == 401:
            lines.append((b"www-authenticate", self._challenge()))
        if error.status == 405:
            lines.append((b"allow", ", ".join(error.extra.get("allow", ())).encode()))
        await self.reply(error.status, body, *lines)
