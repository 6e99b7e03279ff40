"""Over stdio a client starts the server as a child, and owns it: the end of stdin is the end of the server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from runtime.gateway.access import LOCAL_GRANT
from runtime.gateway.mcp.server import McpServer
from runtime.host import Host
from runtime.settings import Settings

__all__ = ("run", "serve_local", "serve_stdio")


async def serve_local(settings: Settings, shown: tuple[str, ...] | None = None) -> bool:
    """Serve a data folder of its own, as its owner, until the client goes away.

    Args:
        settings: Those of the folder.
        shown: The tools that are listed; None: the setting `mcp_tools`.

    Returns:
        As `serve_stdio`.
    """
    async with Host(settings) as host:
        server = McpServer(host, owner=LOCAL_GRANT, shown=shown)
        whole = await serve_stdio(server.lowlevel)
        server.calls.follower.closing = True
    return whole


def run(serving: Coroutine[Any, Any, bool]) -> None:
    """Run one of the `serve_` functions to its end, and after a signal end the process."""

    async def to_the_end() -> None:
        if not await serving:
            # A thread still waits for a line of stdin, and nothing can make it stop waiting.
            os._exit(0)

    asyncio.run(to_the_end())


async def serve_stdio(server: Server[Any]) -> bool:
    """Serve stdin and stdout until the client closes them; return False if SIGTERM or Ctrl-C came first."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    serving = asyncio.ensure_future(_serve(server))
    stopping = asyncio.ensure_future(signalled.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        return serving.done()
    finally:
        stopping.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
