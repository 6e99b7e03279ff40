"""Figures of tool servers: a call through the toolbox beside the MCP library's own client, and a result staged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from mcp import Client, StdioServerParameters

from runtime.actor import Actor
from runtime.guard import SESSION
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.registry import Registry
from runtime.settings import Settings
from sandbox.tools.methods import ServerMethods
from sandbox.tools.staging import stage

from .bench import Bench
from .figures import Figure, Goal, Pairs
from .records import COLUMNS, record
from .servers import ROOT

__all__ = ("tool_servers",)

_SERVER = {
    "command": sys.executable,
    "args": ["-c", "from tests.benchmarks.bare_tool import server; server.run('stdio')"],
    "cwd": str(ROOT),
}
_ARGUMENTS: dict[str, Any] = {"sql": "SELECT 1", "params": [77]}
_ROWS = 10_000


class _Caller(ServerMethods, Actor, type_name="caller"):
    """An actor with tool servers."""

    policy = SESSION


def tool_servers(bench: Bench) -> Iterator[Figure]:
    """A call of a tool by stdio, and 10,000 rows of a result written into a table."""
    pairs = bench.in_turn(
        {"ours": _sampler(bench, _through_toolbox), "library": _sampler(bench, _through_library)}
    )
    yield pairs.figure(
        "tool server call p50", "stdio, one row", "ms", (Goal(1.5, "library", at_least=False),)
    )
    yield _staging(bench)


def _sampler(
    bench: Bench, body: Callable[[Path, int], Awaitable[float]]
) -> Callable[[], tuple[float, dict[str, Any]]]:
    calls = 100 if bench.quick else 400

    def sample() -> tuple[float, dict[str, Any]]:
        with (
            tempfile.TemporaryDirectory(dir=bench.folder) as folder,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(body(Path(folder), calls)), {}  # type: ignore[arg-type]

    return sample


async def _through_toolbox(folder: Path, calls: int) -> float:
    (folder / "servers.json").write_text(json.dumps({"mcpServers": {"bare": _SERVER}}))
    settings = Settings(data=folder / "data", mcp_servers=folder / "servers.json")
    async with Host(settings, registry=Registry((_Caller,))) as host:
        box, address = host.services["tools"], ActorAddress("caller", "local", "one")
        await box.helpers(address)

        async def call() -> None:
            await box.call(address, "tools.bare.session_query", [], _ARGUMENTS, timeout_s=10)

        return await _p50(call, calls)


async def _through_library(folder: Path, calls: int) -> float:
    async with Client(StdioServerParameters(**_SERVER)) as client:
        await client.list_tools()

        async def call() -> None:
            await client.call_tool("session_query", _ARGUMENTS)

        return await _p50(call, calls)


async def _p50(call: Callable[[], Awaitable[None]], calls: int) -> float:
    taken = []
    for number in range(calls + 20):
        began = time.perf_counter()
        await call()
        if number >= 20:
            taken.append(time.perf_counter() - began)
    return median(taken) * 1e3


def _staging(bench: Bench) -> Figure:
    rows = [record(number) for number in range(1, _ROWS + 1)]
    ours, bare = [], []
    for _ in range(bench.rounds):
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            ours.append(asyncio.run(_staged(Path(folder), rows)))
            bare.append(_inserted(Path(folder), rows))
    pairs = Pairs({"ours": ours, "executemany": bare}, 0.0, {})
    goals = (Goal(3, "executemany", at_least=False),)
    return pairs.figure("tool result into a table", f"{_ROWS:,} rows", "ms", goals)


async def _staged(folder: Path, rows: list[dict[str, Any]]) -> float:
    async with Host(Settings(data=folder / "data"), registry=Registry((_Caller,))) as host:
        instance = await host.acquire(ActorAddress("caller", "local", "one"))
        assert instance is not None
        began = time.perf_counter()
        staged = stage(rows, table="items", origin="tools.bare.session_query")
        await instance.run_unit(staged.write).future
        return (time.perf_counter() - began) * 1e3


def _inserted(folder: Path, rows: list[dict[str, Any]]) -> float:
    with closing(sqlite3.connect(folder / "bare.sqlite")) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute(f"CREATE TABLE items ({COLUMNS})")
        names = list(rows[0])
        sql = f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        began = time.perf_counter()
        with raw:
            raw.executemany(sql, [tuple(row.values()) for row in rows])
        return (time.perf_counter() - began) * 1e3
