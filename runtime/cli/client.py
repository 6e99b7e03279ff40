"""A client is the way from a command to a service, and always HTTP.

Three places are tried, in this order: `--url`; the service that runs on the data folder (`server.json`); and
this process itself, which then opens the folder and speaks to the same application without a socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import orjson

from runtime.cli.failure import ServiceError
from runtime.cli.inprocess import InProcess
from runtime.errors import InputError
from runtime.gateway.app import create_app
from runtime.host import Host
from runtime.logs import set_up_logs
from runtime.settings import Settings
from runtime.values import dumps

__all__ = (
    "Client",
    "Place",
    "actor_path",
    "connect",
    "own_name",
    "own_settings",
    "running_service",
    "session_path",
)

SERVER_FILE = "server.json"
# Calls carry their own deadline on the server; this only ends a wait for a server that is gone.
_TIMEOUT = httpx.Timeout(None, connect=10.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service is: a URL with its key, or a data folder."""

    url: str | None = None
    key: str | None = None
    data: Path | None = None

    def settings(self) -> Settings:
        """Return the settings that hold for the data folder."""
        return Settings() if self.data is None else Settings(data=self.data)


class Client:
    """One service, as a command sees it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(
        self, verb: str, path: str, body: Any = None, *, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send a request and return its JSON answer (None where there is none).

        Raises:
            ServiceError: the service answered with a problem, or did not answer.
            InputError: the body holds text that is not Unicode.
        """
        content = None if body is None else _encoded(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            answer = await self.http.request(
                verb, path, content=content, headers=headers, params=_query(query)
            )
        except httpx.HTTPError as error:
            raise _unreachable(error, self.http.base_url) from None
        check(answer)
        return orjson.loads(answer.content) if answer.content else None

    async def pages(
        self, path: str, *, limit: int | None = None, query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page after page, at most `limit` of them."""
        asked: dict[str, Any] = dict(query or {})
        left = limit
        while left is None or left > 0:
            asked["limit"] = min(1_000, left) if left is not None else 1_000
            page = await self.call("GET", path, query=asked)
            for item in page["items"]:
                yield item
            if left is not None:
                left -= len(page["items"])
            if page.get("next") is None:
                return
            asked["cursor"] = page["next"]

    @asynccontextmanager
    async def download(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """Give a streamed answer.

        Raises:
            ServiceError: the service answered with a problem, or did not answer.
        """
        try:
            async with self.http.stream("GET", path, params=_query(query)) as answer:
                if answer.is_error:
                    await answer.aread()
                check(answer)
                yield answer
        except httpx.HTTPError as error:
            raise _unreachable(error, self.http.base_url) from None

    async def upload(
        self, path: str, chunks: AsyncIterator[bytes], size: int, query: Mapping[str, Any]
    ) -> Any:
        """Send a streamed body and return the JSON answer.

        Raises:
            ServiceError: the service answered with a problem, or did not answer.
        """
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        try:
            answer = await self.http.post(path, content=chunks, headers=headers, params=_query(query))
        except httpx.HTTPError as error:
            raise _unreachable(error, self.http.base_url) from None
        check(answer)
        return orjson.loads(answer.content)


def actor_path(type_name: str, name: str, method: str = "") -> str:
    """Return the path of an actor or of a method of it; the name may be any text."""
    # Dots are escaped too: as `..` a name would be taken for a way up.
    escaped = quote(name, safe="", errors="surrogatepass").replace(".", "%2E")
    return f"/v1/{type_name}/{escaped}/{method}" if method else f"/v1/{type_name}/{escaped}"


def session_path(name: str, method: str = "") -> str:
    """Return the path of a session or of a method of it."""
    return actor_path("session", name, method)


@asynccontextmanager
async def connect(place: Place, tell: Callable[[str], None]) -> AsyncIterator[Client]:
    """Give a client to the service at a place, which is run in this process if nothing else serves it.

    `tell` gets a remark where that makes a new data folder: a command that was given in the wrong place would
    look as if everything was gone.
    """
    headers = {"user-agent": "duralite-cli"}
    if place.key:
        headers["authorization"] = f"Bearer {place.key}"
    url = place.url
    if url is None:
        settings = place.settings()
        url = running_service(settings.data)
        if url is not None and (name := own_name(settings.data)) is not None:
            headers["host"] = name
    if url is not None:
        # A service on this machine is asked directly, whatever proxy the environment names.
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=place.url is not None
        ) as http:
            yield Client(http)
        return
    new = not settings.data.exists()
    settings = own_settings(settings)
    set_up_logs(settings)
    async with Host(settings) as host:
        if new:
            tell(f"New data folder {settings.data.absolute()}; --data names another, --url a service.")
        transport = InProcess(create_app(settings, host=host))
        base = f"http://127.0.0.1:{settings.port}"
        async with httpx.AsyncClient(
            transport=transport, base_url=base, headers=headers, timeout=_TIMEOUT
        ) as http:
            yield Client(http)


def own_settings(settings: Settings) -> Settings:
    """Return the settings with which a command opens the data folder itself."""
    # Who can read the folder owns it: no key is asked for, whatever the service would ask on its port.
    return settings.model_copy(
        update={"bind": "127.0.0.1", "auth": "auto", "allowed_hosts": (), "log_level": _quieter(settings)}
    )


def _quieter(settings: Settings) -> str:
    # A command's stderr is for remarks to a person: what a service would tell of its life is not one.
    return "warning" if settings.log_level == "info" else settings.log_level


def running_service(data: Path) -> str | None:
    """Return the URL of the service that runs on a data folder, or None."""
    try:
        said = _said(data)
        url, pid = str(said["url"]), int(said["pid"])
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or 0)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return url if pid > 0 and _lives(pid) and _listens(address) else None


def own_name(data: Path) -> str | None:
    """Return a name that the service on a data folder answers for; None where the one of its URL will do.

    An operator may have it answer for its public names alone (setting `allowed_hosts`).
    """
    try:
        name = _said(data)["host"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return name if isinstance(name, str) else None


def _said(data: Path) -> Any:
    return orjson.loads((data / SERVER_FILE).read_bytes())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it lives, and belongs to another user
    return True


def _listens(address: tuple[str, int]) -> bool:
    # After a power cut the marker is still there, and its number may be another process's by now.
    try:
        with socket.create_connection(address, timeout=2):
            return True
    except OSError:
        return False


def check(answer: httpx.Response) -> None:
    """Raise the problem that an answer carries, if it does.

    Raises:
        ServiceError: it does.
    """
    if not answer.is_error:
        return
    try:
        problem = orjson.loads(answer.content)
        if not isinstance(problem, dict):
            raise ValueError("a problem is an object")
    except ValueError:
        problem = {"detail": f"The service answered {answer.status_code} {answer.reason_phrase}."}
    problem.setdefault("status", answer.status_code)
    if answer.status_code == 401:
        problem["hint"] = (
            "Give a key with --key or DURALITE_KEY. One with the scope admin makes others (`duralite keys create`); "
            "the first is made on the data folder while no service runs on it."
        )
    raise ServiceError(problem)


def _unreachable(error: httpx.HTTPError, url: httpx.URL) -> ServiceError:
    return ServiceError(
        {
            "code": "unreachable",
            "title": "No answer",
            "detail": f"The service at {url} did not answer: {str(error).rstrip('.') or type(error).__name__}.",
            "hint": "See that it runs (`duralite serve`) and that --url or DURALITE_URL is right.",
        }
    )


def _encoded(body: Any) -> bytes:
    try:
        return dumps(body)
    except TypeError as error:
        # Words of a command line that are not UTF-8 arrive as lone surrogates.
        raise InputError(f"The request cannot be sent: {error}.", hint="Write it in UTF-8.") from None


def _query(query: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not query:
        return None
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
