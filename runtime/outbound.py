"""Allowed hosts are where the service may connect to on a caller's word: what is not named is refused.

An entry is a host name (`api.example.com`), all names below one (`*.example.com`), an address (`10.0.0.5`) or a
network (`10.0.0.0/8`); with `:port` it counts for that port only. A name that is allowed may still resolve to
an address inside the operator's own network, by accident or by malice: such addresses are refused unless an
entry names them (`localhost` names the loopback). The check is made on the addresses that are then connected to,
so that a name cannot change its mind in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from runtime.errors import DuraliteError, Forbidden, InputError, Unavailable

__all__ = ("AllowedHosts", "check_url", "is_public")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOOPBACK: tuple[_Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_LONGEST_URL = 2_048


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: int | None
    network: _Network | None

    def fits(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


class AllowedHosts:
    """The hosts that an operator allows. `setting` is named by refusals, so that the operator finds it."""

    def __init__(self, entries: Iterable[str], setting: str) -> None:
        self._entries = tuple(_entry(text, setting) for text in entries)
        self._setting = setting

    def check(self, url: str) -> SplitResult:
        """Return the parts of an allowed http or https URL.

        Raises:
            InputError: it is no such URL, or carries a user name or password.
            Forbidden: no entry allows its host and port.
        """
        parts = check_url(url)
        host, port = _host_and_port(parts)
        if not any(entry.fits(host, port) for entry in self._entries):
            raise Forbidden(
                f"The host {host!r:.100} with port {port} is not allowed.",
                hint=f"The operator allows hosts with the setting {self._setting}.",
            )
        return parts

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve an allowed host and return the addresses that may be connected to, in order of preference.

        Raises:
            Unavailable: the name does not resolve.
            Forbidden: it resolves to nothing but addresses that are not public, and that no entry names.
        """
        found = await _resolve(host, port)
        allowed = [text for text, address in found if is_public(address) or self._names(address, port)]
        if not allowed:
            raise Forbidden(
                f"The host {host!r:.100} has no public address.",
                hint=f"The operator may name its address or network in the setting {self._setting}.",
            )
        return allowed

    def _names(self, address: _Address, port: int) -> bool:
        for entry in self._entries:
            if entry.port is not None and entry.port != port:
                continue
            networks = _LOOPBACK if entry.host == "localhost" else (entry.network,)
            if any(network is not None and _unwrapped(address) in network for network in networks):
                return True
        return False


def check_url(url: str) -> SplitResult:
    """Return the parts of an absolute http or https URL without user name and password.

    Raises:
        InputError: it is something else.
    """
    problem = ""
    try:
        parts = urlsplit(url)
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            problem = "has characters or a length that no URL has"
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "is not an http or https URL with a host"
        elif parts.username is not None or parts.password is not None:
            problem = "carries a user name or password"
        elif parts.port == 0:
            problem = "has the port 0"
    except ValueError:
        problem = "cannot be read"
    if problem:
        # The URL itself is not shown: what is wrong with it may be a password in it.
        raise InputError(
            f"The URL {problem}.",
            hint='Use a URL such as "https://tools.example.com/mcp"; secrets go into headers.',
        )
    return parts


def is_public(address: _Address) -> bool:
    """Tell whether an address is one of the public internet, also when it is wrapped in another."""
    inner = _unwrapped(address)
    return inner.is_global and not inner.is_multicast


def _unwrapped(address: _Address) -> _Address:
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := address.ipv4_mapped or address.sixtofour) is not None:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".").lower()
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _entry(text: str, setting: str) -> _Entry:
    host, port = text.strip().lower(), None
    bare = host.strip("[]")
    # An IPv6 address has colons of its own: with a port it stands in brackets.
    if _network(bare) is None and ":" in host:
        host, _, digits = host.rpartition(":")
        if not digits.isdecimal() or not 0 < int(digits) < 65_536:
            raise _bad_entry(text, setting)
        port, bare = int(digits), host.strip("[]")
    network = _network(bare)
    if network is None and (not bare or "/" in bare or "*" in bare.removeprefix("*.") or " " in bare):
        raise _bad_entry(text, setting)
    return _Entry(bare.rstrip("."), port, network)


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _bad_entry(text: str, setting: str) -> DuraliteError:
    return InputError(
        f"{setting}: {text!r:.100} is not a host.",
        hint="Use a name, *.name, an address or a network, each with :port if only one is meant.",
    )


async def _resolve(host: str, port: int) -> list[tuple[str, _Address]]:
    if (address := _address(host)) is not None:
        return [(host, address)]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(
            f"The host {host!r:.100} is not known.", hint="See whether its name is written as meant."
        ) from None
    texts = dict.fromkeys(str(info[4][0]) for info in found)
    return [(text, address) for text in texts if (address := _address(text)) is not None]
