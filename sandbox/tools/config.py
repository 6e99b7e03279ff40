"""Which tool servers there are: the operator's file, in the `mcpServers` form that desktop clients use, and sessions.

    {"mcpServers": {"git": {"command": "mcp-server-git", "args": ["--repository", "/srv/repo"], "env": {…}, "cwd": "/srv"},
                    "shop": {"url": "https://shop.example.com/mcp", "headers": {"Authorization": "Bearer ${SHOP_KEY}"}}}}

`${VAR}` and `${VAR:-default}` are taken from the service's environment. An entry that cannot be used is kept with
its problem, so that the others serve and a listing tells of it. Commands come from the operator alone; a session
names URLs, and only of hosts that the operator allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.outbound import AllowedHosts
from runtime.values import loads
from sandbox.tools.names import distinct, identifier
from sandbox.tools.redact import Redactor, env_secrets, header_secrets, url_secrets

__all__ = ("Command", "Endpoint", "ServerConfig", "read_servers", "session_server")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_MOST_BYTES = 1024 * 1024
_MOST_HEADERS, _MOST_HEADER_BYTES = 32, 16 * 1024
# What the transport says itself.
_OWN_HEADERS = re.compile(
    r"accept(-encoding)?|content-.*|transfer-encoding|connection|host|upgrade|te|trailer|keep-alive"
    r"|proxy-.*|mcp-.*|last-event-id",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Command:
    """A server that is started as a process and speaks over its standard input and output."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is reached by Streamable HTTP. `hosts` None: the operator named the URL itself."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: AllowedHosts | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server: its name as written, how to reach it (None: `problem` says why not), and what must stay unsaid."""

    title: str
    reach: Command | Endpoint | None
    redactor: Redactor = field(default_factory=Redactor, repr=False)
    problem: str | None = None

    @property
    def name(self) -> str:
        """The name in user code: `tools.<name>`."""
        return identifier(self.title)


def read_servers(path: Path, environment: Mapping[str, str]) -> list[ServerConfig]:
    """Return the servers of an operator's file.

    Raises:
        InputError: the file cannot be read, or is not of that form. One bad entry does not raise.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        content = loads(data) if len(data) <= _MOST_BYTES else None
    except OSError as error:
        raise InputError(
            f"The file of tool servers {path} cannot be read: {error.strerror}.",
            hint="See the setting mcp_servers.",
        ) from None
    except InputError:
        # Not what is wrong with it, which could be a piece of a secret.
        content = None
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise InputError(
            f'The file of tool servers {path} is not JSON of the form {{"mcpServers": {{…}}}}.',
            hint="It is the file that desktop clients use.",
        )
    active = {name: entry for name, entry in servers.items() if not _disabled(entry)}
    _, refused = distinct(active)
    return [
        ServerConfig(name, None, problem=refused[name])
        if name in refused
        else _entry(name, entry, environment)
        for name, entry in active.items()
    ]


def session_server(title: str, url: str, headers: Mapping[str, str], hosts: AllowedHosts) -> ServerConfig:
    """Return a server that a session names.

    Raises:
        InputError: the name, URL or a header cannot be.
        Forbidden: the operator does not allow the host.
    """
    if not title.strip() or len(title) > 64 or not title.isprintable():
        raise InputError(
            "The server's name is not valid.", hint="Use 1 to 64 printable characters, such as shop."
        )
    hosts.check(url)
    if problem := _header_problem(headers):
        raise InputError(problem, hint='Use headers such as {"Authorization": "Bearer …"}.')
    secrets = [*header_secrets(headers), *url_secrets(url)]
    return ServerConfig(title, Endpoint(url, dict(headers), hosts), Redactor(secrets))


def _disabled(entry: Any) -> bool:
    return isinstance(entry, dict) and (entry.get("disabled") is True or entry.get("enabled") is False)


def _entry(title: str, entry: Any, environment: Mapping[str, str]) -> ServerConfig:
    expand = _Expansion(environment)
    reach: Command | Endpoint | None = None
    problem: str | None = None
    secrets: list[str] = []
    if not isinstance(entry, dict):
        problem = "The entry is not an object."
    elif entry.get("type") == "sse":
        problem = "The transport sse is superseded: use the server's Streamable HTTP URL."
    elif isinstance(entry.get("command"), str) and entry["command"]:
        reach, problem = _command(entry, expand)
        if reach is not None:
            # What an argument took from the environment may be a secret too.
            secrets = [*env_secrets(reach.env), *env_secrets(expand.taken)]
    elif isinstance(entry.get("url"), str):
        reach, problem = _endpoint(entry, expand)
        if reach is not None:
            secrets = [*header_secrets(reach.headers), *url_secrets(reach.url)]
    else:
        problem = "The entry has neither a command nor a url."
    if expand.missing:
        names = ", ".join(sorted(expand.missing))
        reach, problem = None, f"The environment of the service lacks {names}."
    return ServerConfig(title, reach if problem is None else None, Redactor(secrets), problem)


class _Expansion:
    """Puts values of the service's environment in the place of `${VAR}`; knows what it took and what was not there."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.taken: dict[str, str] = {}
        self.missing: set[str] = set()

    def __call__(self, text: str) -> str:
        return _VARIABLE.sub(self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        name: str = found[1]
        default: str | None = found[2]
        value = self._environment.get(name, default)
        if value is None:
            self.missing.add(name)
            return ""
        self.taken[name] = value
        return value


def _texts(entry: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """Return an object of texts; numbers and booleans as people write them in such files count as texts."""
    found = entry.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(v, str | int | float) for v in found.values()):
        return None
    return {
        str(k): v if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else str(v)
        for k, v in found.items()
    }


def _command(entry: Mapping[str, Any], expand: _Expansion) -> tuple[Command | None, str | None]:
    args, env, cwd = entry.get("args") or [], _texts(entry, "env"), entry.get("cwd")
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        return None, "args is not a list of texts."
    if env is None or (cwd is not None and not isinstance(cwd, str)):
        return None, "env is not an object of texts, or cwd no text."
    made = Command(
        expand(entry["command"]),
        tuple(map(expand, args)),
        {name: expand(value) for name, value in env.items()},
        expand(cwd) if cwd else None,
    )
    if any(
        "\0" in text for text in (made.command, *made.args, *made.env, *made.env.values(), made.cwd or "")
    ):
        return None, "A text of the entry holds a NUL character."
    return made, None


def _endpoint(entry: Mapping[str, Any], expand: _Expansion) -> tuple[Endpoint | None, str | None]:
    headers = _texts(entry, "headers")
    if headers is None:
        return None, "headers is not an object of texts."
    headers = {name: expand(value) for name, value in headers.items()}
    url = expand(entry["url"])
    if not url.startswith(("http://", "https://")):
        return None, "url is not an http or https URL."
    if problem := _header_problem(headers):
        return None, problem
    return Endpoint(url, headers), None


def _header_problem(headers: Mapping[str, str]) -> str | None:
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) > _MOST_HEADERS or size > _MOST_HEADER_BYTES:
        return f"More than {_MOST_HEADERS} headers, or {_MOST_HEADER_BYTES:,} bytes of them."
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or _OWN_HEADERS.fullmatch(name):
            return f"The header {name!r:.60} cannot be set."
        if not value.isascii() or not value.isprintable():
            return f"The header {name!r:.60} has a value with other than printable ASCII characters."
    return None
