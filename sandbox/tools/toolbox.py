"""The toolbox is what a service has of tool servers: the operator's, which all share, and those of single sessions.

It answers two questions of a run: which helpers there are (`helpers`), and what a call of one gives (`call`). It
lives under `host.services["tools"]`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import orjson

from helpers.spec import HelperSpec
from runtime.errors import Conflict, DuraliteError, LimitExceeded, NotFound, Unavailable
from runtime.ids import ActorAddress
from runtime.outbound import AllowedHosts
from sandbox.tools.config import ServerConfig, read_servers, session_server
from sandbox.tools.names import identifier

if TYPE_CHECKING:
    from runtime.host import Host
    from sandbox.tools.connection import Connection
    from sandbox.tools.info import ServerInfo
    from sandbox.tools.specs import BoundTool
    from sandbox.tools.staging import Staged

__all__ = ("ToolAnswer", "ToolBox", "start_tools", "stop_tools")

_SECRET = "server/"
# A run does not wait longer for a server that is slow to start, nor a caller for one that does not answer.
_FIRST_S, _CONNECT_S = 10.0, 20.0
# They write URLs, session ids and pieces of messages into the log.
_TALKATIVE = ("mcp.client", "mcp.shared", "client", "httpx2", "httpcore2")


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool call gave.

    `staged` is set where the result belongs into a table: write it with `staged.write(tx)` inside a unit of the
    session, and hand its handle to the program in place of the value, which is None here. The flags are what the
    tool says of itself.
    """

    value: Any
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    staged: Staged | None = None


class _Own:
    """The servers of one session, and its helpers as they were last put together."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.loaded = asyncio.Lock()
        self.ready = False


class ToolBox:
    """All tool servers of a service. Made and ended by `start_tools` and `stop_tools`."""

    def __init__(self, host: Host) -> None:
        settings = host.settings
        self._host = host
        self._limits = settings.limits
        self._hosts = AllowedHosts(settings.tool_hosts, "tool_hosts")
        self._shared: list[Connection] = []
        self._own: dict[ActorAddress, _Own] = {}
        self._joined: dict[
            ActorAddress, tuple[tuple[tuple[HelperSpec, ...], ...], tuple[HelperSpec, ...]]
        ] = {}

    async def start(self) -> None:
        """Begin to connect the operator's servers; nobody waits for them here."""
        path = self._host.settings.mcp_servers
        if path is not None:
            await _load_client()
            self._shared = [
                self._connection(config, shared=True) for config in read_servers(path, os.environ)
            ]
            for connection in self._shared:
                connection.start()

    async def close(self) -> None:
        """End all connections. Idempotent."""
        each = [*self._shared, *(c for own in self._own.values() for c in own.connections.values())]
        self._shared, self._own, self._joined = [], {}, {}
        await asyncio.gather(*(connection.close() for connection in each))

    # What a run asks

    async def helpers(self, address: ActorAddress) -> tuple[HelperSpec, ...]:
        """Return the helpers of all tools that an actor has; the same objects until something changes.

        Servers that are connected for the first time are waited for, ten seconds at most. One that failed has the
        tools that it had last.
        """
        each = await self._connections(address)
        if new := [connection for connection in each if not connection.known]:
            await asyncio.gather(*(c.tried(_FIRST_S) for c in new))
        parts = tuple(connection.tools.specs for connection in each)
        if len(parts) == 1:
            return parts[0]
        key = address if address in self._own and self._own[address].connections else _EVERYBODY
        held = self._joined.get(key)
        if (
            held is None
            or len(held[0]) != len(parts)
            or any(a is not b for a, b in zip(held[0], parts, strict=True))
        ):
            held = self._joined[key] = (parts, tuple(spec for part in parts for spec in part))
        return held[1]

    async def call(
        self,
        address: ActorAddress,
        path: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        timeout_s: float,
    ) -> ToolAnswer:
        """Call the tool `path` (`tools.shop.get_item`) for an actor.

        Raises:
            NotFound: the actor has no such tool.
            InputError: the arguments do not fit; nothing was sent.
            ToolError, DeadlineExceeded, Unavailable, LimitExceeded: as `Connection.call`.
        """
        from sandbox.tools.results import unwrap
        from sandbox.tools.staging import stage

        connection, tool = await self._find(address, path)
        arguments, into = tool.bind(args, kwargs)
        result = await connection.call(tool, arguments, timeout_s)
        redactor = connection.config.redactor
        value, size = unwrap(path, result, redactor, wraps_result=tool.wraps_result)
        spec = tool.spec
        flags = (spec.read_only, spec.idempotent, spec.destructive)
        if into is None and size <= self._limits.tool_result_bytes:
            return ToolAnswer(value, *flags)
        return ToolAnswer(None, *flags, staged=stage(value, table=into, origin=path))

    async def _find(self, address: ActorAddress, path: str) -> tuple[Connection, BoundTool]:
        server = path.split(".")[1] if path.count(".") == 2 else ""
        for connection in await self._connections(address):
            if connection.name == server:
                await connection.tried(_FIRST_S)
                if (tool := connection.tools.tools.get(path)) is not None:
                    return connection, tool
                if not connection.tools.specs:
                    raise Unavailable(
                        f"The tool server {connection.name} is not there: {connection.error or 'it has no tools'}",
                        hint="list_servers tells how it is.",
                    )
        raise NotFound(
            f"There is no tool {path!r:.200}.", hint='Find one with helpers.search("…"), or see list_servers.'
        )

    # The servers of a session

    async def connect(
        self, address: ActorAddress, title: str, url: str, headers: Mapping[str, str]
    ) -> ServerInfo:
        """Connect a session to a server, and remember it for as long as the session lives.

        Raises:
            InputError, Forbidden: what it is to be connected to cannot be, or is not allowed.
            Conflict: a server of that name is there already.
            LimitExceeded: the session has as many as it may have.
            Unavailable: the server did not answer; nothing is remembered.
        """
        config = session_server(title, url, headers, self._hosts)
        await _load_client()
        own = await self._loaded(address)
        async with own.loaded:
            self._refuse_taken(own, config)
            connection = self._connection(config, shared=False)
            connection.start()
            try:
                await connection.tried(_CONNECT_S)
                if connection.state != "ready":
                    raise Unavailable(
                        f"The server {title!r:.80} cannot be connected: {connection.error or 'it does not answer'}",
                        hint="See whether the URL and the headers are right, and whether it speaks Streamable HTTP.",
                    )
                kept = orjson.dumps({"title": title, "url": url, "headers": dict(headers)})
                await self._host.directory.set_secret(
                    self._host.id_of(address), f"{_SECRET}{connection.name}", kept
                )
            except BaseException:
                await connection.close()
                raise
            own.connections[connection.name] = connection
            return connection.info()

    def _refuse_taken(self, own: _Own, config: ServerConfig) -> None:
        for other in (*self._shared, *own.connections.values()):
            if other.name == config.name:
                raise Conflict(
                    f"The names {other.config.title!r:.80} and {config.title!r:.80} would both be {config.name!r:.80}.",
                    hint="Use another name, or disconnect the server that has it.",
                )
        if len(own.connections) >= self._limits.session_servers:
            raise LimitExceeded(
                f"A session may connect to {self._limits.session_servers} servers.",
                hint="Disconnect one first.",
                limit="session_servers",
            )

    async def disconnect(self, address: ActorAddress, name: str) -> bool:
        """End a session's connection and forget it; return whether there was one."""
        own = await self._loaded(address)
        async with own.loaded:
            connection = own.connections.pop(name, None) or own.connections.pop(identifier(name), None)
            if connection is None:
                return False
            self._joined.pop(address, None)
            await self._host.directory.set_secret(
                self._host.id_of(address), f"{_SECRET}{connection.name}", None
            )
            await connection.close()
            return True

    async def servers(self, address: ActorAddress) -> list[ServerInfo]:
        """Return the servers that a session has, the service's first."""
        return [connection.info() for connection in await self._connections(address)]

    async def release(self, address: ActorAddress) -> None:
        """Close the connections of a session that closes; they come back when it is used again."""
        self._joined.pop(address, None)
        if (own := self._own.pop(address, None)) is not None:
            await asyncio.gather(*(connection.close() for connection in own.connections.values()))

    async def _connections(self, address: ActorAddress) -> list[Connection]:
        own = await self._loaded(address)
        return [*self._shared, *own.connections.values()]

    async def _loaded(self, address: ActorAddress) -> _Own:
        own = self._own.get(address)
        if own is None:
            own = self._own[address] = _Own()
        if own.ready:
            return own
        async with own.loaded:
            if not own.ready:
                kept = await self._host.directory.secrets(self._host.id_of(address))
                if servers := [value for name, value in kept.items() if name.startswith(_SECRET)]:
                    await _load_client()
                    for value in servers:
                        self._remember(own, orjson.loads(value))
                own.ready = True
        return own

    def _remember(self, own: _Own, kept: Mapping[str, Any]) -> None:
        try:
            config = session_server(kept["title"], kept["url"], kept["headers"], self._hosts)
        except DuraliteError as error:  # the operator allows its host no longer
            config = ServerConfig(kept["title"], None, problem=error.message)
        connection = self._connection(config, shared=False)
        own.connections[connection.name] = connection
        connection.start()

    def _connection(self, config: ServerConfig, *, shared: bool) -> Connection:
        from sandbox.tools.connection import Connection

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return Connection(config, self._limits, shared=shared)


_EVERYBODY = ActorAddress("", "", "")


async def _load_client() -> None:
    """Import what speaks to servers: with the first of them, not with the service, and not on its event loop.

    mcp takes most of a second to load.
    """
    await asyncio.to_thread(import_module, "sandbox.tools.connection")


async def start_tools(host: Host) -> None:
    """Put a toolbox under `host.services["tools"]` and begin to connect the operator's servers. Once a host.

    Raises:
        InputError: the file of servers or the list of hosts cannot be read.
    """
    if "tools" not in host.services:
        box = host.services["tools"] = ToolBox(host)
        await box.start()


async def stop_tools(host: Host) -> None:
    """End all connections. Idempotent."""
    box: ToolBox | None = host.services.pop("tools", None)
    if box is not None:
        await box.close()
