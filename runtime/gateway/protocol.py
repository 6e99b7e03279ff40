"""The HTTP protocol of uvicorn, with every answer of its own in the one error shape, and with bounds on what has no request yet.

Before a request's head is complete no part of the gateway sees it. So the bounds on that part are here: how many
connections there may be, how long a head may be, and how long it may take.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from runtime.errors import BadRequest, DuraliteError, RequestTimeout, Unavailable
from runtime.gateway.problem import problem_json
from runtime.limits import Limits

__all__ = ("SHORT_CUT", "answer", "protocol_class", "sweep", "take_body")

SHORT_CUT = "duralite.cycle"
"""Where the scope carries uvicorn's request, so that the hot path need not take the message detour through ASGI."""


def take_body(cycle: RequestResponseCycle) -> bytes | None:
    """Return a request's whole body if it is here already, as `receive` would; None where it must be awaited."""
    if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected or cycle.response_complete:
        return None
    body = bytes(cycle.body)
    cycle.body = bytearray()
    cycle.message_event.clear()
    return body


def answer(cycle: RequestResponseCycle, head: bytes, body: bytes) -> bool:
    """Send a whole answer in one write, as two `send` calls would; return False where `send` must be used.

    `head` holds header lines of the gateway's own making, each ended by CRLF.
    """
    if cycle.response_started or cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    lines = [b"HTTP/1.1 200 OK\r\n"]
    for name, value in cycle.default_headers:
        lines += (name, b": ", value, b"\r\n")
    lines += (head, b"\r\n", body)
    cycle.waiting_for_100_continue = False
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    cycle.on_response()
    return True


_LINGER_S = 2.0
_MAX_HEADERS = 100


class _Protocol(HttpToolsProtocol):
    """One connection."""

    limits: Limits
    head_bytes = 0
    # The most that the head which is being read can have: what came of it before, and this piece.
    arrived = 0
    refused = False
    # How often a sweep found the same head still incomplete.
    waited = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self.refuse(
                Unavailable(
                    f"{self.limits.max_connections:,} connections are open already.",
                    hint="Retry later, and reuse connections.",
                    limit="max_connections",
                    retry_after=1,
                )
            )

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return  # read and dropped, so that closing does not reset the connection before the answer is read
        self.arrived = self.head_bytes + len(data)
        super().data_received(data)
        if self.between_requests():
            self.head_bytes += len(data)
            if self.head_bytes > self.limits.max_header_bytes:
                self.refuse(_too_long(self.limits))
        else:
            self.head_bytes = self.waited = 0

    def on_headers_complete(self) -> None:
        if len(self.headers) > _MAX_HEADERS or (
            self.arrived > self.limits.max_header_bytes
            and len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > self.limits.max_header_bytes
        ):
            raise ValueError("the request's head is too long")
        before = self.cycle
        super().on_headers_complete()
        # Only for a request that starts at once: a pipelined one waits for its turn to write.
        if before is None or before.response_complete:
            self.scope[SHORT_CUT] = self.cycle  # type: ignore[literal-required]

    def between_requests(self) -> bool:
        """Tell whether no request is under way: nothing came yet, or only a part of a head."""
        return self.cycle is None or self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self.refuse(
            BadRequest(
                "The request is not valid HTTP, or its head is too long.",
                hint="Send HTTP/1.1 with percent-encoded ASCII in the request target.",
                limit="max_header_bytes",
            )
        )

    def refuse(self, error: DuraliteError) -> None:
        """Answer with a problem, outside any request, and close."""
        body = problem_json(error, None, None)
        head = (
            f"HTTP/1.1 {error.status} {error.title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def _too_long(limits: Limits) -> BadRequest:
    return BadRequest(
        f"The request's head has more than {limits.max_header_bytes:,} bytes.",
        hint="Send long values in the body.",
        limit="max_header_bytes",
    )


def protocol_class(limits: Limits) -> type[Any]:
    """Return the protocol class for a service's limits."""
    return type("DuraliteProtocol", (_Protocol,), {"limits": limits})


def sweep(state: ServerState, limits: Limits) -> None:
    """Close connections whose head does not come to its end; called every `body_s / 2`."""
    for connection in list(state.connections):
        if not isinstance(connection, _Protocol) or connection.refused or not connection.between_requests():
            continue
        if connection.timeout_keep_alive_task is not None:
            continue  # idle after an answer: the keep-alive timeout closes it
        connection.waited += 1
        if connection.waited > 2:
            connection.refuse(
                RequestTimeout(
                    "The request's head did not arrive in time.",
                    hint="Send the head at once.",
                    limit="body_s",
                )
            )
