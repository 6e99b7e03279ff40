"""The site is what is not an actor: health, version, metrics, the OpenAPI document and pages for people.

It is a Starlette router, so that other applications (a console, MCP) can be mounted beside these routes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router

from runtime.accounts import SCOPES
from runtime.errors import NotFound, Unavailable
from runtime.gateway.access import is_loopback
from runtime.gateway.calls import missing_scope
from runtime.gateway.docs import docs_page, errors_page
from runtime.gateway.exchange import Exchange
from runtime.gateway.openapi import openapi_document
from runtime.gateway.version import version_facts
from runtime.values import dumps

if TYPE_CHECKING:
    from runtime.gateway.app import Parts

__all__ = ("OPEN_PATHS", "build_site")

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Paths for probes: any Host header will do, because a probe asks by address."""

_RESOURCE = "/.well-known/oauth-protected-resource"
_DISK_FLOOR = 64 * 1024 * 1024
_HTML = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def build_site(parts: Parts) -> Router:
    """Return the router of everything outside /v1/."""
    host, settings = parts.host, parts.host.settings
    cached: dict[str, Any] = {}

    async def healthz(request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if not host.accepting or parts.draining:
            raise Unavailable(
                "The service does not take calls now.", hint="Retry in a few seconds.", retry_after=2
            )
        stat = os.statvfs(settings.data)
        if stat.f_bavail * stat.f_frsize < _DISK_FLOOR:
            raise Unavailable(
                "The disk is nearly full.", hint="Free space in the data folder.", retry_after=60
            )
        await host.directory.counts()
        return _json({"status": "ready"})

    async def version(request: Request) -> Response:
        return _json(version_facts())

    async def metrics(request: Request) -> Response:
        if settings.metrics == "off" or (settings.metrics == "auto" and not is_loopback(settings.bind)):
            raise NotFound("There are no metrics here.", hint="Set metrics = on.")
        x: Exchange = request.scope["duralite.exchange"]
        grant = await parts.access.ask(x.headers, x.scope)
        if "admin" not in grant.scopes:
            raise missing_scope("admin")
        return Response(parts.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(request: Request) -> Response:
        if "openapi" not in cached:
            cached["openapi"] = dumps(openapi_document(host))
        return Response(cached["openapi"], media_type="application/json")

    async def docs(request: Request) -> Response:
        if "docs" not in cached:
            cached["docs"] = docs_page(openapi_document(host))
        return HTMLResponse(cached["docs"], headers=_HTML)

    async def errors(request: Request) -> Response:
        return HTMLResponse(errors_page(), headers=_HTML)

    async def resource(request: Request) -> Response:
        """Say how the service is asked with a key (RFC 9728). There is no authorization server: operators make keys."""
        return _json(
            {
                "resource": str(request.base_url).rstrip("/") + request.url.path.removeprefix(_RESOURCE),
                "resource_name": "duralite",
                "resource_documentation": f"{request.base_url}docs",
                "bearer_methods_supported": ["header"],
                "scopes_supported": list(SCOPES),
            }
        )

    async def root(request: Request) -> Response:
        return _json(
            {**version_facts(), "docs": "/docs", "openapi": "/openapi.json", "calls": "/v1", "mcp": "/mcp"}
        )

    routes = (
        ("/", root),
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/version", version),
        ("/metrics", metrics),
        ("/openapi.json", openapi),
        ("/docs", docs),
        ("/docs/errors", errors),
        (_RESOURCE, resource),
        (f"{_RESOURCE}/mcp", resource),
    )
    return Router([Route(path, endpoint) for path, endpoint in routes], redirect_slashes=False)


def _json(value: Any) -> Response:
    return Response(dumps(value), media_type="application/json", headers={"cache-control": "no-store"})
