"""Doubles for tests that speak HTTP: a real server on a free loopback port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from runtime.actor import Actor
from runtime.clock import Clock
from runtime.gateway.app import Gateway, create_app
from runtime.gateway.protocol import sweep
from runtime.gateway.server import uvicorn_config
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings

__all__ = ("LiveServer", "live_server")


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A server that runs: its URL, its gateway, its host."""

    url: str
    gateway: Gateway
    host: Host
    server: uvicorn.Server

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def sweep(self) -> None:
        """Look once for heads that do not arrive, as the server does every `body_s / 2`."""
        sweep(self.server.server_state, self.host.settings.limits)


@asynccontextmanager
async def live_server(
    data: Path, *types: type[Actor] | str, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[LiveServer]:
    """Run a service over `data` with the given actor types (none: the built-in ones) until the block ends."""
    wanted = Settings(data=data, port=0, **settings)
    gateway = create_app(wanted, clock=clock, registry=Registry(types) if types else None)
    await gateway.start()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        listener.setblocking(False)
        server = uvicorn.Server(uvicorn_config(gateway))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        with listener:
            await server.startup([listener])
            await server.on_tick(0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                yield LiveServer(url, gateway, gateway.parts.host, server)
            finally:
                gateway.parts.stop_streams.set()
                await _close(server)
    finally:
        await gateway.stop()


async def _close(server: uvicorn.Server) -> None:
    """Close listener and connections, and let every request end."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    if server.server_state.tasks:
        await asyncio.wait(set(server.server_state.tasks), timeout=10)
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.close()
    await asyncio.sleep(0)
