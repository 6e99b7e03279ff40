"""A WebSocket at `/v1/{type}/{name}/events` carries an actor's events out, and calls of its methods in.

Every message is one JSON object with a `type`.
From the client: `call` {id, method, arguments}, `cancel` {id}, `ping`.
From the service: `answer` {id, value}, `error` {id, problem}, `event` {id, event, data}, `pong`.
Close codes: 1003 for a binary message, 1008 for too many bad messages, 1009 for one that is too long, 1012 when the
service stops, 1013 when the reader fell behind (come back with `?last_event_id=`). A connection that may not be is
answered with an ordinary problem+json before it opens.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from runtime.accounts import Grant
from runtime.context import CallContext
from runtime.errors import (
    ActorOverloaded,
    Cancelled,
    DuraliteError,
    InputError,
    InternalError,
    NotFound,
)
from runtime.events import Event
from runtime.gateway.access import Access
from runtime.gateway.bodies import Bodies, query_arguments
from runtime.gateway.calls import missing_scope
from runtime.gateway.exchange import NOSNIFF, PROBLEM, Receive, Scope, Send
from runtime.gateway.problem import problem_json
from runtime.gateway.rates import Rates
from runtime.gateway.routes import Routes, decode_segment
from runtime.gateway.transfers import close_download
from runtime.host import Host
from runtime.ids import ActorAddress, ActorId, check_name, new_token
from runtime.streams import Download
from runtime.values import dumps

__all__ = ("Sockets",)

_CALLS_AT_ONCE = 16
_BAD_MESSAGES = 20
_SEND_S = 30.0
_log = structlog.get_logger("duralite.http")


class Sockets:
    """Serves WebSockets."""

    def __init__(self, host: Host, access: Access, rates: Rates, routes: Routes, stop: asyncio.Event) -> None:
        self.host = host
        self.access = access
        self.rates = rates
        self.routes = routes
        self.stop = stop
        self.bodies = Bodies(host.settings.limits)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake to its end."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            grant = await self.access.ask(headers, scope)
            socket = await self._open(scope, grant, headers, receive, send)
        except DuraliteError as error:
            await _deny(scope, receive, send, error)
            return
        if (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
            await socket.run()

    async def _open(
        self, scope: Scope, grant: Grant, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> _Socket:
        raw = scope.get("raw_path") or scope["path"].encode()
        segments = raw.split(b"?", 1)[0].split(b"/")
        if len(segments) != 5 or segments[1] != b"v1" or segments[4] != b"events":
            raise NotFound(
                "There is no WebSocket here.", hint="Open one at /v1/{type}/{name}/events of an actor."
            )
        if "read" not in grant.scopes:
            raise missing_scope("read")
        actor_type = self.host.registry.get(decode_segment(segments[2]))
        address = ActorAddress(actor_type.type_name, grant.account, check_name(decode_segment(segments[3])))
        record = await self.host.facts(address)
        given = query_arguments(scope.get("query_string", b""), frozenset({"last_event_id"}))
        last = given.get("last_event_id")
        return _Socket(self, grant, address, record.id, str(last) if last else None, receive, send)


class _Socket:
    """One open WebSocket."""

    def __init__(
        self,
        parts: Sockets,
        grant: Grant,
        address: ActorAddress,
        actor: ActorId,
        last: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        self._parts = parts
        self._grant = grant
        self._address = address
        self._events = parts.host.events.listen(actor, last)
        self._receive = receive
        self._raw_send = send
        self._lock = asyncio.Lock()
        self._calls: dict[Any, asyncio.Task[None]] = {}
        self._bad = 0
        self._id = new_token(6)

    async def run(self) -> None:
        """Serve until the client, the service or the reader's slowness ends it."""
        reading = asyncio.ensure_future(self._read())
        writing = asyncio.ensure_future(self._write())
        stopping = asyncio.ensure_future(self._parts.stop.wait())
        tasks = (reading, writing, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            late = 1012 if stopping.done() else 1013
            code = reading.result() if reading.done() else late
            if code is not None:
                await self._raw_send({"type": "websocket.close", "code": code})
        except (OSError, RuntimeError, TimeoutError):
            pass  # it broke while it was closed: closed it is
        finally:
            for task in (*tasks, *self._calls.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._calls.values(), return_exceptions=True)

    async def _write(self) -> None:
        async for event in self._events:
            await self._send(_event_message(event))

    async def _read(self) -> int | None:
        """Take messages; return the close code, or None when the client closed."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            text = message.get("text")
            if text is None:
                return 1003
            try:
                await self._take(text)
            except DuraliteError as error:
                self._bad += 1
                await self._send_error(None, error)
                if self._bad >= _BAD_MESSAGES:
                    return 1008

    async def _take(self, text: str) -> None:
        data = self._parts.bodies.parse(text.encode("utf-8", "surrogatepass"))
        kind = data.get("type") if isinstance(data, dict) else None
        identity = data.get("id") if isinstance(data, dict) else None
        match kind:
            case "ping":
                await self._send({"type": "pong", "id": identity})
            case "call" if isinstance(identity, (str, int)) and isinstance(data.get("method"), str):
                self._start(identity, data["method"], data.get("arguments", {}))
            case "cancel" if isinstance(identity, (str, int)):
                if (call := self._calls.pop(identity, None)) is not None:
                    call.cancel()
                    await self._send_error(identity, Cancelled("The call was cancelled."))
            case _:
                raise InputError(
                    "The message is not one that is known here.",
                    hint='Send {"type": "call", "id": 1, "method": "query", "arguments": {…}}, '
                    '{"type": "cancel", "id": 1} or {"type": "ping"}.',
                )

    def _start(self, identity: str | int, method: str, arguments: Any) -> None:
        if identity in self._calls:
            raise InputError(f"A call with the id {identity!r:.60} is under way.", hint="Use a new id.")
        if len(self._calls) >= _CALLS_AT_ONCE:
            raise ActorOverloaded(
                f"{_CALLS_AT_ONCE} calls of this connection are under way.",
                hint="Wait for an answer.",
                retry_after=1,
            )
        task = asyncio.get_running_loop().create_task(self._call(identity, method, arguments))
        self._calls[identity] = task
        task.add_done_callback(lambda _: self._calls.pop(identity, None))

    async def _call(self, identity: str | int, method: str, arguments: Any) -> None:
        try:
            if self._parts.rates.active:
                self._parts.rates.charge(self._grant)
            target = self._parts.routes.target(self._address.type, self._address.name, method)
            spec = target.route.spec
            if spec.scope not in self._grant.scopes:
                raise missing_scope(spec.scope)
            if target.route.upload is not None:
                raise InputError("Files do not go through a WebSocket.", hint="Use HTTP for this method.")
            deadline = time.monotonic() + self._parts.host.settings.limits.call_s
            context = CallContext(
                self._grant.account, deadline, (), f"{self._id}-{identity}"[:128], self._grant.scopes
            )
            answer = await self._parts.host.call(
                self._address, spec, spec.bind(arguments), context, wire=True
            )
        except DuraliteError as error:
            await self._send_error(identity, error)
        except Exception as error:  # the edge: nothing unforeseen may leave as it is
            _log.error("socket.failed", request_id=self._id, method=method[:100], exc_info=error)
            await self._send_error(
                identity, InternalError("The service failed.", hint="Report it with the request_id.")
            )
        else:
            if isinstance(answer, Download):
                await close_download(answer)
                wrong = InputError(
                    "This method answers with a file, which does not go through a WebSocket.",
                    hint="Use HTTP for it.",
                )
                await self._send_error(identity, wrong)
            else:
                await self._send_text(b'{"type":"answer","id":%b,"value":%b}' % (dumps(identity), answer))

    async def _send_error(self, identity: Any, error: DuraliteError) -> None:
        problem = problem_json(error, None, self._id)
        await self._send_text(b'{"type":"error","id":%b,"problem":%b}' % (dumps(identity), problem))

    async def _send(self, value: dict[str, Any]) -> None:
        await self._send_text(dumps(value))

    async def _send_text(self, text: bytes) -> None:
        async with self._lock, asyncio.timeout(_SEND_S):
            await self._raw_send({"type": "websocket.send", "text": text.decode()})


def _event_message(event: Event) -> dict[str, Any]:
    return {"type": "event", "id": event.id, "event": event.type, "data": event.data}


async def _deny(scope: Scope, receive: Receive, send: Send, error: DuraliteError) -> None:
    """Answer a handshake with a problem, or close it where the server cannot."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = problem_json(error, scope["path"][:2048], None)
    headers = [PROBLEM, NOSNIFF, (b"content-length", b"%d" % len(body))]
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="duralite"'))
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
