"""Access decides who asks: the owner of a key, or, on a loopback service, the local owner without one.

A browser on the same machine can be made to send requests to a loopback port by any page it shows. So the
local owner is granted only if everything agrees: the service is bound to loopback, the peer is on loopback, the
Host header is a name of this service (a rebound DNS name is not), no foreign Origin or fetch metadata came with the
request, and no proxy stands in between. Each check would hold alone; none trusts the others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from runtime.accounts import SCOPES, Accounts, Grant
from runtime.context import LOCAL_ACCOUNT
from runtime.errors import BadRequest, Forbidden, Misdirected, Unauthorized
from runtime.gateway.exchange import Scope
from runtime.settings import Settings

__all__ = ("LOCAL_GRANT", "Access", "is_loopback")

LOCAL_GRANT = Grant(LOCAL_ACCOUNT, frozenset(SCOPES))

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_TELLING = frozenset({b"origin", b"sec-fetch-site", b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"})  # fmt: skip
"""Headers that a request of the local owner's own program does not have; any of them needs a closer look."""
_PROXY = _TELLING - {b"origin", b"sec-fetch-site"}
_HOSTS_REMEMBERED = 64
_Headers = Mapping[bytes, bytes]


def is_loopback(address: str) -> bool:
    """Tell whether an address or name is this machine's loopback."""
    if address.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """Answers who asks, and refuses whom it does not know."""

    def __init__(self, settings: Settings, accounts: Accounts) -> None:
        self._accounts = accounts
        self._local = settings.auth == "auto" and is_loopback(settings.bind)
        self._origins = frozenset(origin.rstrip("/").encode() for origin in settings.cors_origins)
        self._names = _host_names(settings)
        self._hosts: set[bytes] = set()

    def quick(self, headers: _Headers, scope: Scope) -> Grant | None:
        """Return the grant of an ordinary request, or None where `ask` must look closer."""
        if headers.get(b"host") not in self._hosts:
            return None
        bearer = headers.get(b"authorization")
        if bearer is not None:
            return self._accounts.known(bearer[7:]) if bearer.startswith(b"Bearer ") else None
        key = headers.get(b"x-api-key")
        if key is not None:
            return self._accounts.known(key)
        if self._local and headers.keys().isdisjoint(_TELLING) and _from_loopback(scope):
            return LOCAL_GRANT
        return None

    async def ask(self, headers: _Headers, scope: Scope) -> Grant:
        """Return the grant of any request.

        Raises:
            Misdirected: the Host header names another service.
            Unauthorized: no key, or none that is good.
            Forbidden: a web page of another origin asks without a key.
        """
        self.check_host(headers)
        key = _presented(headers)
        if key is not None:
            grant = self._accounts.known(key) or await self._accounts.authenticate(key)
            if grant is None:
                raise Unauthorized(
                    "The key is not valid: unknown, expired or revoked.",
                    hint="Send a valid key as `Authorization: Bearer dl_…`, or make one with `duralite keys create`.",
                )
            return grant
        if not self._local or not _from_loopback(scope) or not headers.keys().isdisjoint(_PROXY):
            raise Unauthorized(
                "This request needs a key.",
                hint="Send it as `Authorization: Bearer dl_…`; make one with `duralite keys create`.",
            )
        self._check_browser(headers)
        return LOCAL_GRANT

    def check_host(self, headers: _Headers) -> None:
        """Refuse a request whose Host header names no name of this service.

        Raises:
            BadRequest: there is no Host header.
            Misdirected: it names another host.
        """
        host = headers.get(b"host")
        if host in self._hosts:
            return
        if host is None:
            raise BadRequest("The request has no Host header.", hint="Send Host, as HTTP/1.1 requires.")
        if self._names is not None and _host_name(host) not in self._names:
            raise Misdirected(
                f"This service does not answer for the host {host[:100].decode('latin-1')!r}.",
                hint="Use one of: "
                + ", ".join(sorted(self._names))
                + "; or add the name to the setting allowed_hosts.",
            )
        if len(self._hosts) < _HOSTS_REMEMBERED and len(host) < 256:
            self._hosts.add(host)

    def origin_allowed(self, origin: bytes) -> bool:
        """Tell whether the operator lets pages of an origin call (setting cors_origins)."""
        return origin in self._origins

    def _check_browser(self, headers: _Headers) -> None:
        origin = headers.get(b"origin")
        if origin is not None:
            if origin in self._origins:
                return
            own = headers.get(b"host", b"")
            if origin not in (b"http://" + own, b"https://" + own):
                raise Forbidden(
                    "A web page of another origin may not call this service without a key.",
                    hint="Add the origin to the setting cors_origins, or send a key.",
                )
        elif headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            raise Forbidden(
                "A web page of another site may not call this service without a key.",
                hint="Send a key as `Authorization: Bearer dl_…`.",
            )


def _presented(headers: _Headers) -> bytes | None:
    """Return the key that came with a request, None without one."""
    bearer = headers.get(b"authorization")
    if bearer is None:
        return headers.get(b"x-api-key")
    scheme, _, key = bearer.strip().partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthorized(
            "The Authorization header is not of the kind Bearer.", hint="Send `Authorization: Bearer dl_…`."
        )
    return key.strip()


def _from_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and (client[0] == "127.0.0.1" or is_loopback(client[0]))


def _host_names(settings: Settings) -> frozenset[str] | None:
    """Return the names that the service answers for; None: any, because keys are needed in any case."""
    if settings.allowed_hosts:
        return frozenset(name.lower() for name in settings.allowed_hosts)
    if is_loopback(settings.bind):
        return _LOOPBACK_NAMES | {settings.bind.lower()}
    return None if settings.bind in ("0.0.0.0", "::", "") else frozenset({settings.bind.lower()})


def _host_name(host: bytes) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text
