"""An actor type for tests of MCP, and clients to it: in memory, and over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import Field

from actors.session.statements import StatementMethods
from runtime.accounts import SCOPES, Grant
from runtime.actor import Actor
from runtime.gateway.mcp.server import McpServer
from runtime.guard import SESSION, Policy
from runtime.host import Host
from runtime.jobs import Job, JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.streams import Download, Upload
from runtime.testing import harness

__all__ = ("BOTH", "ENDLESS", "Desk", "Shelf", "connected", "desk", "over_http", "text_of")

BOTH = ("2026-07-28", "legacy")
"""The revision without a handshake, and those before it."""

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
"""A query that ends only when somebody ends it."""


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 1000):
        yield b"x" * min(1000, size - start)


class Desk(StatementMethods, Actor, type_name="desk"):
    """A desk."""

    policy: ClassVar[Policy | None] = SESSION

    @method()
    async def count(self, to: Annotated[int, Field(ge=0)]) -> Job:
        """Count in the background, one step each time the gate opens."""
        return await self.jobs.start("count", {"to": to})

    @job("count")
    async def counting(self, progress: JobProgress, to: int) -> int:
        """Count."""
        for done in range(to):
            self.publish("step", done)
            await progress.report(done, to, phase=f"step {done}")
            await gate(self.host).get()
        return to

    @method(idempotent=True)
    async def open_gate(self) -> None:
        """Let the count go one step on."""
        gate(self.host).put_nowait(None)

    @method()
    async def take(self, upload: Upload, note: str | None = None) -> dict[str, Any]:
        """Take a file."""
        content = await asyncio.to_thread(upload.path.read_bytes)
        return {"bytes": upload.size, "kind": upload.media_type, "name": upload.filename, "text": content.decode("utf-8", "replace"), "note": note}  # fmt: skip

    @method(read_only=True, concurrent=True)
    async def give(self, size: int, media_type: str = "text/plain") -> Any:
        """Give a file."""
        return Download(_pieces(size), media_type, "given.txt")

    @method(read_only=True)
    def long(self, tx: Transaction, size: int) -> str:
        """Answer with a long text."""
        return "x" * size

    @method(destructive=True)
    def wipe(self, tx: Transaction, desk: str) -> str:
        """Say which desk, by an argument that is named as the type is."""
        return f"{desk} on {self.name}"

    @method(read_only=True)
    def broken(self, tx: Transaction) -> int:
        """Fail in a way that was not foreseen."""
        raise RuntimeError("secret detail of the inside")

    @method(concurrent=True, scope="run")
    async def run(self, code: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Pretend to run code."""
        return {"status": "ok", "value": code, "desk": self.name, "inputs": inputs}

    @method(public=False)
    def hidden(self, tx: Transaction) -> int:
        """Not for the outside."""
        return 1


class Shelf(Actor, type_name="shelf"):
    """A type with a default actor and nothing to query."""

    default_name: ClassVar[str | None] = "the-shelf"

    @method(read_only=True)
    def label(self, tx: Transaction) -> str:
        """Return the shelf's name."""
        return self.name


def gate(host: Host) -> asyncio.Queue[None]:
    """Return what the count waits for."""
    return host.services.setdefault("gate", asyncio.Queue())


@asynccontextmanager
async def desk(data: Path, **settings: Any) -> AsyncIterator[tuple[Host, McpServer]]:
    """Give a host with desks, and its server for the local owner. It does not wait for jobs that a test leaves."""
    limits = {"drain_s": 0.1, **settings.pop("limits", {})}
    async with harness(data, Desk, Shelf, limits=limits, **settings) as host:
        yield host, McpServer(host, owner=Grant("local", frozenset(SCOPES)), shown=("all",))


@asynccontextmanager
async def connected(data: Path, mode: str = BOTH[0], **settings: Any) -> AsyncIterator[Client]:
    """Give the official client, connected in memory to a host with desks."""
    async with desk(data, **settings) as (_, server), Client(server.lowlevel, mode=mode) as client:
        yield client


@asynccontextmanager
async def over_http(
    url: str, key: str | None = None, mode: str = BOTH[0], query: str = "?tools=all", **headers: str
) -> AsyncIterator[Client]:
    """Give the official client, connected to a service over a socket."""
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp{query}", http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result: Any) -> str:
    """Return the text of a tool's answer."""
    return str(result.content[0].text)
