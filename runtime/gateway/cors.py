"""Pages of other origins may call only if the operator names their origin (setting cors_origins); none may by default."""

from __future__ import annotations

from runtime.gateway.access import Access
from runtime.gateway.exchange import Exchange

__all__ = ("Cors",)

_METHODS = b"GET, POST, DELETE"
_HEADERS = b"authorization, content-type, idempotency-key, if-none-match, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id, x-api-key, x-request-id, x-request-timeout"
_EXPOSED = b"etag, idempotent-replay, link, mcp-session-id, ratelimit, ratelimit-policy, retry-after, x-request-id, x-truncated"


class Cors:
    """Speaks the CORS protocol (Fetch standard) to the origins that are allowed."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def answer(self, x: Exchange) -> bool:
        """Add what an allowed origin needs to the answer; answer a preflight whole, and return True then."""
        origin = x.headers[b"origin"]
        x.add_header(b"vary", b"origin")
        if not self._access.origin_allowed(origin):
            return False
        x.add_header(b"access-control-allow-origin", origin)
        if x.method != "OPTIONS" or b"access-control-request-method" not in x.headers:
            x.add_header(b"access-control-expose-headers", _EXPOSED)
            return False
        await x.begin(
            204,
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", b"600"),
        )
        await x.send({"type": "http.response.body", "body": b""})
        return True
