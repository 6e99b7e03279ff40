"""A forwarder passes on what its client asks, and says what went wrong on the way."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from runtime.gateway.mcp.forward import forwarding_server
from runtime.gateway.testing import live_server
from runtime.testing import until
from tests.unit.runtime.gateway.mcp.desk import ENDLESS, Desk, Shelf


async def test_pages_prompts_and_errors_pass_through(tmp_path: Path) -> None:
    async with (
        live_server(tmp_path / "data", Desk, Shelf, limits={"page_size": 4}) as live,
        forwarding_server(live.url, None, ("all",)) as server,
        Client(server, mode="legacy") as client,
    ):
        first = await client.list_tools()
        second = await client.list_tools(cursor=first.next_cursor)
        assert len(first.tools) == len(second.tools) == 4 and first.tools != second.tools
        assert (await client.list_prompts()).prompts[0].name == "analyse_session"
        assert (await client.call_tool("desk_query", {"sql": 5})).is_error
        for call in (
            client.call_tool("nope", {}),
            client.list_tools(cursor="zz"),
            client.read_resource("x:y"),
        ):
            with pytest.raises(MCPError) as caught:
                await call
            assert caught.value.code == -32602


async def test_a_key_that_is_not_good_is_told_in_the_services_words(tmp_path: Path) -> None:
    async with (
        live_server(tmp_path / "data", Desk, Shelf, auth="required") as live,
        forwarding_server(live.url, "dl_00_nope") as server,
        Client(server, mode="legacy") as client,
    ):
        with pytest.raises(MCPError, match="The key is not valid") as caught:
            await client.list_tools()
        assert caught.value.data["code"] == "unauthorized"


async def test_a_service_that_is_not_there_is_told_with_what_to_do() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with forwarding_server(url, None) as server, Client(server, mode="legacy") as client:
            for call in (client.list_tools(), client.call_tool("run_code", {"code": "1"})):
                with pytest.raises(MCPError, match=r"did not answer.*duralite serve"):
                    await call


async def test_a_cancelled_request_is_cancelled_at_the_service(tmp_path: Path) -> None:
    async with (
        live_server(tmp_path / "data", Desk, Shelf) as live,
        forwarding_server(live.url, None) as server,
        Client(server, mode="legacy") as client,
    ):
        spinning = asyncio.ensure_future(client.call_tool("desk_query", {"sql": ENDLESS}))
        await until(lambda: any(i.stats().running for i in live.host.live()))
        spinning.cancel()
        await asyncio.gather(spinning, return_exceptions=True)
        await until(lambda: not any(i.busy for i in live.host.live()))
        assert not (await client.call_tool("desk_query", {"sql": "SELECT 1"})).is_error
