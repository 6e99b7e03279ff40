"""An actor that connects to servers, without a sandbox, and the ways to start servers for it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import sandbox.tools
from actors.session.statements import StatementMethods
from runtime.actor import Actor
from runtime.guard import SESSION
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import harness
from sandbox.tools.methods import ServerMethods
from sandbox.tools.toolbox import ToolAnswer, ToolBox

SERVERS = Path(__file__).with_name("servers")
SOURCE = Path(sandbox.tools.__file__).parent


class Shopper(StatementMethods, ServerMethods, Actor, type_name="shopper"):
    """A database that may connect to tool servers."""

    policy = SESSION


class Kit:
    """A host with tool servers, and the shortest way to call their tools as one shopper."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.box: ToolBox = host.services["tools"]
        self.address = ActorAddress("shopper", "local", "one")

    @property
    def stub(self) -> Stub:
        return self.host.namespace("shopper").get("one")

    async def paths(self) -> list[str]:
        return [helper.path for helper in await self.box.helpers(self.address)]

    async def answer(self, path: str, *args: Any, timeout_s: float = 20.0, **kwargs: Any) -> ToolAnswer:
        return await self.box.call(self.address, f"tools.{path}", args, kwargs, timeout_s=timeout_s)

    async def value(self, path: str, *args: Any, **kwargs: Any) -> Any:
        answer = await self.answer(path, *args, **kwargs)
        assert answer.staged is None
        return answer.value

    async def info(self, name: str) -> Any:
        return next(info for info in await self.stub.list_servers() if info.name == name)


def script(name: str, *args: str, **more: Any) -> dict[str, Any]:
    """Return the entry of a server that is one of the scripts beside."""
    return {"command": sys.executable, "args": [str(SERVERS / f"{name}.py"), *args], **more}


@asynccontextmanager
async def kit(
    folder: Path,
    servers: dict[str, Any] | None = None,
    *,
    limits: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Kit]:
    """Give a host with these servers in the operator's file."""
    if servers is not None:
        path = folder / "servers.json"
        path.write_text(json.dumps({"mcpServers": servers}))
        settings["mcp_servers"] = path
    async with harness(folder / "data", Shopper, limits=Limits(**(limits or {})), **settings) as host:
        yield Kit(host)
    files = [task.get_coro().cr_code.co_filename for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    assert not [file for file in files if file.startswith(str(SOURCE))]


@asynccontextmanager
async def served(app: Callable[..., Any], port: int = 0) -> AsyncIterator[str]:
    """Serve an ASGI app on a loopback port, with its lifespan; give its URL."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, lifespan="on")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
