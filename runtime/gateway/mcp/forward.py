"""A forwarder is an MCP server that passes each request on to the `/mcp` of a running service.

Each request is a connection of its own in the revision that needs no handshake, over one pool of sockets. So there is
nothing to lose when the service restarts: the request under way fails and says so, the next one is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription, SubscriptionLost
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types.version import LATEST_MODERN_VERSION

from runtime.errors import InputError
from runtime.gateway.mcp.server import INSTRUCTIONS
from runtime.gateway.mcp.stdio import serve_stdio
from runtime.gateway.version import version_facts
from runtime.values import loads

__all__ = ("forward_stdio", "forwarding_server")

# Pings come every 15 seconds; a service that says nothing for four of them is gone.
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_LONGEST_EVENT = 64 * 1024 * 1024
_FORWARDED: dict[str, tuple[Any, Any]] = {
    "tools/list": (types.ListToolsRequest, types.ListToolsResult),
    "tools/call": (types.CallToolRequest, types.CallToolResult),
    "resources/list": (types.ListResourcesRequest, types.ListResourcesResult),
    "resources/templates/list": (types.ListResourceTemplatesRequest, types.ListResourceTemplatesResult),
    "resources/read": (types.ReadResourceRequest, types.ReadResourceResult),
    "prompts/list": (types.ListPromptsRequest, types.ListPromptsResult),
    "prompts/get": (types.GetPromptRequest, types.GetPromptResult),
}


class _RefusedError(Exception):
    """Raised inside this module where the service answers with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", ""))
        self.problem = problem


async def forward_stdio(
    url: str, key: str | None, shown: tuple[str, ...] | None = None, name: str | None = None
) -> bool:
    """Serve stdin and stdout from the service at a URL; arguments as `forwarding_server`, answer as `serve_stdio`."""
    async with forwarding_server(url, key, shown, name) as server:
        return await serve_stdio(server)


@asynccontextmanager
async def forwarding_server(
    url: str, key: str | None, shown: tuple[str, ...] | None = None, name: str | None = None
) -> AsyncIterator[Server[Any]]:
    """Give a server that forwards to the service at a URL, with its key.

    `shown` are the tools that it lists, `name` the host that it asks for in place of that of the URL.
    """
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if name is not None:
        headers["host"] = name
    hooks = {"response": [_look_for_problem]}
    # Asked of this machine or of the named host, and of no proxy in between.
    async with httpx2.AsyncClient(
        headers=headers, timeout=_TIMEOUT, event_hooks=hooks, trust_env=False
    ) as http:
        yield _Forwarder(url, http, shown).server()


class _Forwarder:
    """Passes requests on."""

    def __init__(self, url: str, http: httpx2.AsyncClient, shown: tuple[str, ...] | None) -> None:
        self._url = url
        self._http = http
        params = {"tools": ",".join(shown)} if shown else {}
        self._target = str(httpx2.URL(url.rstrip("/") + "/mcp", params=params))

    def server(self) -> Server[Any]:
        """Return the server that a client speaks to."""
        server: Server[Any] = Server(
            "duralite",
            version=version_facts()["version"],
            title="duralite",
            instructions=INSTRUCTIONS,
            on_subscriptions_listen=self._listen,
        )
        for method, (request_type, _) in _FORWARDED.items():
            params_type = request_type.model_fields["params"].annotation
            server.add_request_handler(method, _model(params_type), self._forward)
        return server

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Client]:
        """Give a client of the service for one request, and explain what goes wrong with it."""
        transport = streamable_http_client(
            self._target, http_client=self._http, max_sse_event_size=_LONGEST_EVENT
        )
        try:
            async with Client(transport, mode=LATEST_MODERN_VERSION, cache=None) as client:
                yield client
        except (MCPError, httpx2.HTTPError, _RefusedError, BaseExceptionGroup) as error:
            raise _explained(error, self._url) from None

    async def _forward(self, ctx: ServerRequestContext[Any, Any], asked: Any) -> Any:
        request_type, result_type = _FORWARDED[ctx.method]
        wanted = ctx.meta is not None and "progress_token" in ctx.meta
        # What the client's message says of itself (its token, its revision) is not for the next hop.
        request = request_type(params=None if asked is None else asked.model_copy(update={"meta": None}))
        async with self._asking() as client:
            return await client.session.send_request(
                request, result_type, progress_callback=ctx.session.report_progress if wanted else None
            )

    async def _listen(
        self, ctx: ServerRequestContext[Any, Any], asked: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        uris = asked.notifications.resource_subscriptions or ()
        async with self._asking() as client, client.listen(resource_subscriptions=uris) as events:
            return await _relay(events, ctx, asked)


async def _relay(
    events: Subscription,
    ctx: ServerRequestContext[Any, Any],
    asked: types.SubscriptionsListenRequestParams,
) -> types.SubscriptionsListenResult:
    """Tell a client what the service tells, until either of them ends it."""
    bus = InMemorySubscriptionBus()
    handler = ListenHandler(bus, max_subscriptions=1)

    async def pass_on() -> None:
        try:
            async for event in events:
                await bus.publish(event)
        except SubscriptionLost:
            pass
        finally:
            handler.close()

    passing = asyncio.ensure_future(pass_on())
    try:
        return await handler(ctx, asked)
    finally:
        passing.cancel()


def _model(annotation: Any) -> Any:
    """Return the model of a request's parameters, without the None that some may be."""
    return next(
        (option for option in getattr(annotation, "__args__", ()) if option is not type(None)), annotation
    )


async def _look_for_problem(response: httpx2.Response) -> None:
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = loads(await response.aread())
        except InputError:
            problem = None
        if isinstance(problem, dict):
            raise _RefusedError(problem)


def _explained(error: BaseException, url: str) -> BaseException:
    """Return the error that a client can act on, out of what the layers below made of it."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, _RefusedError):
            problem = cause.problem
            text = " ".join(str(problem[key]) for key in ("detail", "hint") if problem.get(key))
            return MCPError(types.INVALID_REQUEST, text, problem)
    for cause in causes:
        if isinstance(cause, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
            return cause
    for cause in causes:
        if isinstance(cause, httpx2.HTTPError):
            return MCPError(
                types.INTERNAL_ERROR,
                f"The service at {url} did not answer: {cause or type(cause).__name__}."
                " See that it runs (duralite serve), then call again.",
            )
    for cause in causes:
        if isinstance(cause, MCPError):
            return cause
    return error


def _causes(error: BaseException) -> Any:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error
        if error.__context__ is not None:
            yield from _causes(error.__context__)
