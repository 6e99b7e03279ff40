"""The edge of MCP: `/mcp` of the gateway, behind the same checks of host, origin, key, rate and body as /v1/.

The SDK costs a third of a second and its memory, so the first client loads it, in a thread. From there on one task
holds the SDK's sessions; clients of the 2026 revision have none, those before it have one each, bounded in number
and idle time. Neither carries rights: each request is asked who sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from runtime.accounts import Grant
from runtime.gateway.bodies import Bodies
from runtime.gateway.exchange import EXCHANGE, Exchange, Receive, Send
from runtime.gateway.mcp.sessions import Sessions
from runtime.host import Host
from runtime.limits import Limits

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from runtime.gateway.mcp.calls import Counts
    from runtime.gateway.mcp.server import McpServer

__all__ = ("McpEdge",)

_THREAD_FROM = 256 * 1024
_SEND_S = 30.0
_SESSION = b"mcp-session-id"
_LISTEN = "subscriptions/listen"
_log = structlog.get_logger("duralite.mcp")


class McpEdge:
    """Serves `/mcp`; `stop_streams` is set when streams without an end must end."""

    def __init__(self, host: Host, counts: Counts, stop_streams: asyncio.Event) -> None:
        self._host = host
        self._counts = counts
        self._stop_streams = stop_streams
        self._bodies = Bodies(host.settings.limits, "mcp_body_bytes")
        self._starting: asyncio.Task[_Running] | None = None

    async def serve(self, x: Exchange) -> None:
        """Answer one request of an MCP client, whose grant is known."""
        assert x.grant is not None
        endless = x.method == "GET"
        body = b""
        # To a client of 2026 going away means to cancel, to those before it means nothing: the SDK knows which.
        x.unwatched = True
        if x.method == "POST":
            body = await self._bodies.read(x)
            endless = await self._checked(body) == _LISTEN
        else:
            x.body_done = True
        running = await self._running()
        x.scope[EXCHANGE] = x
        x.scope["user"] = running.user(x.grant)
        work = running.manager.handle_request(x.scope, _replay(x, body), self._sender(running, x))
        if endless:
            await self._until_stopped(x, work)
        else:
            await work

    def _sender(self, running: _Running, x: Exchange) -> Send:
        """Return a `send` that sends through the exchange, and notes which sessions begin and end."""
        assert x.grant is not None
        grant = x.grant
        session = x.headers.get(_SESSION)
        if session is not None:
            running.sessions.used(session, grant)

        async def send(message: MutableMapping[str, Any]) -> None:
            # A client that takes nothing for so long has gone, whatever its connection says.
            async with asyncio.timeout(_SEND_S):
                if message["type"] != "http.response.start":
                    await x.send(message)
                    return
                headers = message.get("headers", ())
                await x.begin(message["status"], *headers)
            if session is not None and (x.method == "DELETE" or message["status"] == 404):
                running.sessions.ended(session, grant)
            elif session is None and message["status"] == 200:
                for name, value in headers:
                    if name == _SESSION and (oldest := running.sessions.opened(value, grant)) is not None:
                        running.close(*oldest)

        return send

    async def _checked(self, body: bytes) -> str | None:
        """Refuse what other edges refuse of JSON, and return the message's method; the SDK reads the body itself."""
        if len(body) > _THREAD_FROM:
            message = await asyncio.get_running_loop().run_in_executor(None, self._bodies.parse, body)
        else:
            message = self._bodies.parse(body)
        method = message.get("method") if isinstance(message, dict) else None
        return method if isinstance(method, str) else None

    async def _until_stopped(self, x: Exchange, work: Any) -> None:
        """Serve a stream without an end; a drain does not wait for it, so it ends when the drain begins."""
        serving = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop_streams.wait())
        try:
            await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            is_cut = not serving.done()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if is_cut and x.status:
            await x.send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not serving.cancelled():
            serving.result()

    async def _running(self) -> _Running:
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        try:
            return await asyncio.shield(self._starting)
        except Exception:
            self._starting = None
            raise

    async def _start(self) -> _Running:
        running = await asyncio.get_running_loop().run_in_executor(None, _Running, self._host, self._counts)
        await running.begin()
        return running

    def drain(self) -> None:
        """Know that the service ends: what is cut off from now on was not given up by its client."""
        if self._starting is not None and self._starting.done() and self._starting.exception() is None:
            self._starting.result().server.calls.follower.closing = True

    async def stop(self) -> None:
        """End all sessions. Idempotent."""
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.gather(starting, return_exceptions=True)
            if not starting.cancelled() and starting.exception() is None:
                await starting.result().end()


class _Running:
    """The SDK's part, once it is loaded. Made in a thread, because loading takes long."""

    server: McpServer
    manager: StreamableHTTPSessionManager

    def __init__(self, host: Host, counts: Counts) -> None:
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from sse_starlette.sse import AppStatus

        from runtime.gateway.mcp.server import McpServer

        # Our drain lets calls end; the library's would cut every stream off at the first signal.
        AppStatus.enable_automatic_graceful_drain = False
        limits: Limits = host.settings.limits
        self._token, self._user = AccessToken, AuthenticatedUser
        self.server = McpServer(host, counts=counts)
        self.manager = StreamableHTTPSessionManager(
            self.server.lowlevel,
            max_request_body_size=limits.max_body_bytes,
            max_sessions=limits.mcp_sessions,
            session_idle_timeout=limits.mcp_idle_s,
        )
        self.sessions = Sessions(limits.mcp_account_sessions)
        self._closing: set[asyncio.Task[None]] = set()
        self._end = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Open the sessions' task group, in a task of its own: it must be closed by the task that opened it."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._holder = asyncio.get_running_loop().create_task(self._hold(begun))
        await begun

    async def _hold(self, begun: asyncio.Future[None]) -> None:
        async with self.manager.run():
            begun.set_result(None)
            await self._end.wait()

    async def end(self) -> None:
        """End all sessions."""
        self.server.calls.follower.closing = True
        self._end.set()
        if self._holder is not None:
            await asyncio.gather(self._holder, return_exceptions=True)

    def close(self, session: bytes, grant: Grant) -> None:
        """End a session as its own client would."""
        task = asyncio.get_running_loop().create_task(self._close(session, grant))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, session: bytes, grant: Grant) -> None:
        scope = {
            "type": "http",
            "method": "DELETE",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "headers": [(_SESSION, session)],
            "user": self.user(grant),
        }

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            """Nobody waits for the answer."""

        await self.manager.handle_request(scope, receive, send)

    def user(self, grant: Grant) -> Any:
        """Return what the SDK binds a session to: the key that opened it, or the account where there is no key."""
        token = self._token(
            token="",
            client_id=grant.key or "",
            subject=grant.account,
            scopes=sorted(grant.scopes),
        )
        return self._user(token)


def _replay(x: Exchange, body: bytes) -> Receive:
    """Return a `receive` that gives the body again, and then what else comes: that the client went away."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await x.receive()

    return receive
