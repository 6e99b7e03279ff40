"""MCP clients outlive the service: after kill -9 the next call is served, and what was answered is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from tests.acceptance.service import service
from tests.conformance.test_mcp_client import command
from tests.unit.runtime.gateway.mcp.desk import ENDLESS, over_http

COUNT = {"sql": "SELECT count(*) AS n FROM t"}


async def fill(client: Client) -> None:
    await client.call_tool("session_exec", {"sql": "CREATE TABLE t (a)"})
    for number in range(5):
        added = await client.call_tool(
            "session_exec", {"sql": "INSERT INTO t VALUES (?)", "params": [number]}
        )
        assert not added.is_error


async def counted(client: Client) -> int:
    answer = await client.call_tool("session_query", COUNT)
    return int(answer.structured_content["rows"][0]["n"])


async def test_a_client_without_a_handshake_goes_on_after_kill_9(tmp_path: Path) -> None:
    with service(tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        async with over_http(first.url) as client:
            await fill(client)
            first.kill()
            with service(tmp_path, port):
                assert await counted(client) == 5


async def test_a_client_with_a_session_is_told_to_begin_anew_and_finds_its_data(tmp_path: Path) -> None:
    with service(tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        async with over_http(first.url, mode="legacy") as client:
            await fill(client)
            first.kill()
            with service(tmp_path, port) as second:
                with pytest.raises(MCPError):
                    await counted(client)
                async with over_http(second.url, mode="legacy") as anew:
                    assert await counted(anew) == 5


async def test_a_forwarder_outlives_the_service_it_forwards_to(tmp_path: Path) -> None:
    with service(tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        transport = stdio_client(command("--data", str(tmp_path)))
        async with Client(transport, mode="legacy") as client:
            await client.list_tools()
            await fill(client)
            under_way = asyncio.ensure_future(client.call_tool("session_query", {"sql": ENDLESS}))
            assert await counted(client) == 5
            first.kill()
            with pytest.raises(MCPError, match="did not answer"):
                await under_way
            with pytest.raises(MCPError, match="See that it runs"):
                await counted(client)
            with service(tmp_path, port):
                assert await counted(client) == 5
