"""A tool server over Streamable HTTP: the SDK's transport, on connections that keep to the operator's rules.

Each request goes to an address that was checked, under the name that the certificate must have; nothing of the
environment (proxies, netrc) takes part. Redirects are followed by the SDK within the same origin alone. An
answer is bounded while it arrives.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST

from runtime.errors import Forbidden, Unavailable
from runtime.limits import Limits
from runtime.outbound import AllowedHosts
from sandbox.tools.config import Endpoint

__all__ = ("NOT_SENT", "http_streams")

NOT_SENT = -32_098
"""The error code by which this transport says that a request never left."""

_AFTER_DEADLINE_S = 5.0
# Answers of what stands in front of a server: they say why in their status, and no more in JSON-RPC.
_REFUSALS = frozenset({401, 403, 407, 429, 502, 503, 504})


@asynccontextmanager
async def http_streams(endpoint: Endpoint, limits: Limits) -> AsyncIterator[tuple[Any, Any]]:
    """Give the streams of a server; a request is sent when the session writes one."""
    timeout = httpx2.Timeout(limits.tool_connect_s, read=None)
    tls = await asyncio.to_thread(_tls)
    async with (
        httpx2.AsyncClient(
            headers={**endpoint.headers, "accept-encoding": "identity"},
            transport=_Careful(endpoint.hosts, limits, tls),
            timeout=timeout,
            trust_env=False,
            max_redirects=3,
        ) as client,
        streamable_http_client(
            endpoint.url, http_client=client, max_sse_event_size=limits.tool_message_bytes
        ) as streams,
    ):
        yield streams


@cache
def _tls() -> ssl.SSLContext:
    """Return what certificates are checked with: read once, for it takes tens of milliseconds."""
    return httpx2.create_ssl_context()


class _Careful(httpx2.AsyncBaseTransport):
    """Sends each request to an allowed address, and bounds what comes back.

    A connection that fails becomes an answer that says so: the call that it served fails, and no other.
    """

    def __init__(self, hosts: AllowedHosts | None, limits: Limits, tls: ssl.SSLContext) -> None:
        self._hosts = hosts
        self._most = limits.tool_message_bytes
        self._read_s = limits.tool_call_s + _AFTER_DEADLINE_S
        self._inner = httpx2.AsyncHTTPTransport(verify=tls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST" and request.headers.get("mcp-method") != "subscriptions/listen":
            # Nobody waits for it any longer. Streams of notices are silent for as long as they like.
            timeouts = {**request.extensions.get("timeout", {}), "read": self._read_s}
            request.extensions = {**request.extensions, "timeout": timeouts}
        try:
            response = await self._send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _failure(request, NOT_SENT, f"The server cannot be reached ({type(error).__name__}).")
        except (Forbidden, Unavailable) as error:
            return _failure(request, NOT_SENT, error.message)
        except httpx2.TransportError as error:
            return _failure(request, CONNECTION_CLOSED, f"The connection broke ({type(error).__name__}).")
        if request.method == "POST" and response.status_code in _REFUSALS:
            await response.aclose()
            said = f"The server answers {response.status_code} ({response.reason_phrase})."
            return _failure(request, INVALID_REQUEST, said, response.status_code)
        # What was asked for uncompressed is taken as it is: no few bytes become many.
        response.headers.pop("content-encoding", None)
        streams = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        # Of a stream of events the SDK bounds each.
        response.stream = _Bounded(response.stream, None if streams else self._most)
        return response

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        if self._hosts is None:
            return await self._inner.handle_async_request(request)
        # Again at each request, redirected ones too: a name may have got another address.
        self._hosts.check(str(request.url))
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = await self._hosts.addresses(request.url.host, port)
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_towards(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_towards(request, addresses[-1]))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _failure(request: httpx2.Request, code: int, message: str, status: int = 503) -> httpx2.Response:
    error = {"code": code, "message": message}
    return httpx2.Response(status, json={"jsonrpc": "2.0", "id": None, "error": error}, request=request)


def _towards(request: httpx2.Request, address: str) -> httpx2.Request:
    """Return the request for one address; Host header and certificate stay those of the name."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to a size (None: any)."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int | None) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for piece in self._stream:
                size += len(piece)
                if self._most is not None and size > self._most:
                    raise httpx2.StreamError(
                        f"The answer has more than {self._most:,} bytes (tool_message_bytes)."
                    )
                yield piece
        except httpx2.TransportError as error:
            raise httpx2.StreamError(f"The answer broke off: {type(error).__name__}.") from None

    async def aclose(self) -> None:
        await self._stream.aclose()
