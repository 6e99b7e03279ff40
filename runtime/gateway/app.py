"""The gateway is the outermost ASGI callable: it knows the hot path by its shape and everything else by its first segment.

Here is the HTTP edge, one of the three places where any exception ends: what is foreseen becomes its problem, and
what is not becomes `internal_error` with a request id, its trace in the log and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import structlog
from starlette.exceptions import HTTPException

from runtime.accounts import Accounts
from runtime.clock import Clock
from runtime.errors import (
    DuraliteError,
    GuardRefused,
    InternalError,
    NotFound,
    RequestTimeout,
    Unavailable,
)
from runtime.gateway.access import Access
from runtime.gateway.aliases import Aliases
from runtime.gateway.calls import Calls, not_allowed
from runtime.gateway.cors import Cors
from runtime.gateway.events import EventStreams
from runtime.gateway.exchange import Exchange, Receive, Scope, Send
from runtime.gateway.inflight import Inflight
from runtime.gateway.mcp.edge import McpEdge
from runtime.gateway.metrics import Metrics
from runtime.gateway.pages import Pages
from runtime.gateway.rates import Rates
from runtime.gateway.routes import Routes, Target, decode_segment
from runtime.gateway.site import OPEN_PATHS, build_site
from runtime.gateway.sockets import Sockets
from runtime.gateway.transfers import clean_tmp
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings

__all__ = ("DEFAULT_SESSION", "Gateway", "Parts", "create_app")

DEFAULT_SESSION = "default-session"
"""The name of the actor that `POST /v1/run` uses when the call names none; each account has its own."""

_SLOW_S = 1.0
_KEY_NOTES_S = 5.0
_log = structlog.get_logger("duralite.http")


class Parts:
    """What serves requests once a host runs."""

    def __init__(self, host: Host) -> None:
        limits = host.settings.limits
        self.host = host
        self.inflight = Inflight(limits.body_s)
        self.metrics = Metrics(host, self.inflight)
        self.accounts = Accounts(host.directory, host.clock)
        self.access = Access(host.settings, self.accounts)
        self.rates = Rates(limits, host.clock)
        self.routes = Routes(host, self.metrics)
        self.aliases = Aliases((host.registry.get(route.type_name), route) for route in self.routes)
        self.calls = Calls(host, self.access, self.rates, self.metrics)
        self.pages = Pages(host, self.accounts)
        self.draining = False
        self.stop_streams = asyncio.Event()
        self.events = EventStreams(host, self.stop_streams)
        self.sockets = Sockets(host, self.access, self.rates, self.routes, self.stop_streams)
        self.mcp = McpEdge(host, self.metrics, self.stop_streams)
        self.cors = Cors(self.access)
        self.site = build_site(self)
        self.other = self.metrics.route("none", "other")
        self.log_all = logging.getLogger("duralite").isEnabledFor(logging.DEBUG)


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    registry: Registry | None = None,
    host: Host | None = None,
) -> Gateway:
    """Return the ASGI application.

    Its lifespan starts and stops a host of its own (`app.state.host`); with `host`, one that runs already is
    served and left alone. That needs a running event loop.
    """
    return Gateway(settings, clock, registry, host)


class Gateway:
    """The ASGI application."""

    def __init__(
        self, settings: Settings, clock: Clock | None, registry: Registry | None, host: Host | None
    ) -> None:
        self.settings = settings
        self.state = SimpleNamespace(host=host)
        self._clock = clock
        self._registry = registry
        self._parts = None if host is None else Parts(host)
        self._notes: asyncio.Task[None] | None = None

    @property
    def parts(self) -> Parts:
        """What serves requests; only between start and stop."""
        if self._parts is None:
            raise Unavailable("The service has not started yet.", hint="Retry in a second.", retry_after=1)
        return self._parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self.parts.sockets.serve(scope, receive, send)
        else:
            await self._lifespan(receive, send)

    # Life

    async def start(self) -> None:
        """Start a host (unless one was given) and what goes with it."""
        if self._parts is None:
            await asyncio.get_running_loop().run_in_executor(None, clean_tmp, self.settings.data)
            host = Host(self.settings, clock=self._clock, registry=self._registry)
            await host.start()
            self.state.host = host
            self._parts = Parts(host)
        self._notes = asyncio.get_running_loop().create_task(self._write_notes())

    async def drain(self, seconds: float) -> None:
        """Take no more requests, let those under way end within some seconds, then stop them with a 503."""
        parts = self.parts
        parts.draining = True
        parts.mcp.drain()
        parts.stop_streams.set()
        try:
            async with asyncio.timeout(seconds):
                await parts.inflight.empty()
        except TimeoutError:
            parts.inflight.stop_all()

    async def stop(self) -> None:
        """Stop the host. Idempotent."""
        if self._notes is not None:
            self._notes.cancel()
            await asyncio.gather(self._notes, return_exceptions=True)
            self._notes = None
        if self._parts is not None:
            await self._parts.mcp.stop()
            await self._parts.accounts.flush()
            await self._parts.host.stop()
            self._parts = None

    async def _write_notes(self) -> None:
        while True:
            await asyncio.sleep(_KEY_NOTES_S)
            if self.parts.accounts.notes_wait:
                await self.parts.accounts.flush()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    _log.error("service.start_failed", error=str(error))
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._parts is not None:
                    await self.drain(self.settings.limits.drain_s)
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        x = Exchange(scope, receive, send)
        parts = self._parts
        if parts is None:
            await x.refuse(Unavailable("The service has not started yet.", hint="Retry.", retry_after=1))
            return
        inflight = parts.inflight
        inflight.add(x)
        try:
            target = parts.routes.known(scope["raw_path"])
            if target is not None and not parts.draining and b"origin" not in x.headers:
                await parts.calls.serve(x, target)
            else:
                await self._dispatch(parts, x)
        except DuraliteError as error:
            await self._refuse(parts, x, error)
        except HTTPException as error:
            await self._refuse(parts, x, _from_starlette(x, error))
        except asyncio.CancelledError:
            if not await self._stopped(parts, x):
                raise
        except Exception as error:  # the HTTP edge: nothing unforeseen may leave as it is
            _log.error(
                "http.failed", request_id=x.request_id, trace_id=x.trace, path=x.path[:200], exc_info=error
            )
            internal = InternalError(
                "The service failed in a way that was not foreseen.",
                hint="Report it with the request_id; the service's log has the details.",
            )
            await self._refuse(parts, x, internal)
        finally:
            inflight.remove(x)
            seconds = time.perf_counter() - x.started
            (x.label or parts.other).observe(x.status, seconds)
            if seconds >= _SLOW_S or parts.log_all:
                _log_request(x, seconds)

    async def _dispatch(self, parts: Parts, x: Exchange) -> None:
        path = x.scope["path"]
        if path in OPEN_PATHS:
            await self._visit_site(parts, x)
            return
        parts.access.check_host(x.headers)
        if b"origin" in x.headers and await parts.cors.answer(x):
            return
        if parts.draining:
            raise Unavailable("The service is shutting down.", hint="Retry in a few seconds.", retry_after=2)
        segments = x.scope["raw_path"].split(b"/")
        is_alias = len(segments) > 1 and segments[1] in parts.aliases
        is_mcp = segments[1:] == [b"mcp"]
        if not is_alias and not is_mcp and (len(segments) < 2 or segments[1] != b"v1"):
            await self._visit_site(parts, x)
            return
        x.grant = await parts.access.ask(x.headers, x.scope)
        if parts.rates.active:
            parts.rates.take(x.grant, x)
        if is_mcp:
            x.label = parts.metrics.route("none", "mcp")
            await parts.mcp.serve(x)
            return
        if is_alias:
            await self._follow_alias(parts, x, segments[1:])
            return
        match segments[2:]:
            case [b"run"]:
                await self._run(parts, x)
            case [type_name, name, b"events"]:
                x.label = parts.metrics.route("none", "events")
                await parts.events.serve(x, decode_segment(type_name), decode_segment(name))
            case [_, _, _]:
                await parts.calls.serve(x, parts.routes.find(x.scope["raw_path"], segments))
            case _:
                x.label = parts.metrics.route("none", "pages")
                if not await parts.pages.serve(x, segments):
                    raise _no_page(x)

    async def _follow_alias(self, parts: Parts, x: Exchange, segments: list[bytes]) -> None:
        """Serve a path that a method declares beside its own."""
        target = parts.aliases.find(x.method, segments)
        if isinstance(target, Target):
            await parts.calls.serve(x, target)
            return
        if target:
            raise not_allowed(x.method, target)
        raise _no_page(x)

    async def _run(self, parts: Parts, x: Exchange) -> None:
        """Serve `POST /v1/run`: run code in the session that the body names, or in the account's default one."""
        if x.method != "POST":
            raise not_allowed(x.method, ("POST",))
        for actor_type in parts.host.registry:
            if "run" in actor_type.methods:
                await parts.calls.serve_run(x, parts.routes, actor_type.type_name, DEFAULT_SESSION)
                return
        raise _no_page(x)

    async def _visit_site(self, parts: Parts, x: Exchange) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                await x.begin(message["status"], *message.get("headers", ()))
            else:
                await x.send(message)

        x.label = parts.metrics.route("none", "site")
        x.scope["duralite.exchange"] = x
        x.scope["app"] = self
        await parts.site(x.scope, x.receive, send)

    # Endings

    async def _refuse(self, parts: Parts, x: Exchange, error: DuraliteError) -> None:
        if isinstance(error, GuardRefused):
            parts.metrics.refused(error.rule)
        if x.status:
            # The head is out: all that is left is to break the connection off, which a client notices.
            _log.warning("http.cut_off", request_id=x.request_id, error=error.message[:500])
            return
        if error.status >= 500 and not isinstance(error, InternalError):
            _log.warning("http.refused", request_id=x.request_id, code=error.code, error=error.message[:500])
        if x.body_done or x.body_is_small():
            await x.refuse(error)
        else:
            await x.refuse_unread(error)

    async def _stopped(self, parts: Parts, x: Exchange) -> bool:
        """End a request that the ticker stopped; return False if it was somebody else who cancelled it."""
        if x.stopped is None or x.task is None:
            return False
        x.task.uncancel()
        if x.stopped == "late":
            late = RequestTimeout(
                "The request's body did not arrive in time.",
                hint="Send the body at once, or in smaller parts.",
                limit="body_s",
            )
            if x.status == 0:
                # What is missing of the body would be taken for the next request.
                await x.refuse(late, (b"connection", b"close"))
        elif x.stopped == "drain":
            gone = Unavailable(
                "The service shut down before the call ended.", hint="Retry when it is back.", retry_after=2
            )
            await self._refuse(parts, x, gone)
        return True


def _no_page(x: Exchange) -> NotFound:
    return NotFound(
        f"There is nothing at {x.path[:200]}.",
        hint="Calls are POST /v1/{type}/{name}/{method}; GET /v1 lists types and methods.",
    )


def _from_starlette(x: Exchange, error: HTTPException) -> DuraliteError:
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "GET")
        return not_allowed(x.method, tuple(sorted(part.strip() for part in allow.split(","))))
    return _no_page(x)


def _log_request(x: Exchange, seconds: float) -> None:
    log = _log.warning if seconds >= _SLOW_S else _log.debug
    log(
        "http.slow" if seconds >= _SLOW_S else "http.request",
        request_id=x.request_id,
        trace_id=x.trace,
        method=x.method,
        path=x.path[:200],
        status=x.status,
        account=x.grant.account if x.grant else None,
        ms=round(seconds * 1e3, 2),
    )
