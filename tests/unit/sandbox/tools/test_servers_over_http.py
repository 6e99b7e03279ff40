"""A session connects to tool servers by URL: only where the operator allows it, and with headers nobody sees again."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from runtime.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InputError,
    LimitExceeded,
    NotFound,
    ToolError,
    Unavailable,
)
from runtime.testing import until
from tests.unit.sandbox.tools.conftest import SERVERS, Kit, kit, script, served

TOKEN = "Bearer sesame-4711-open"
LOOPBACK = ("127.0.0.1", "localhost")


def shop_app(**options: Any) -> Any:
    """Return the shop as an ASGI app of its own, with a session manager that was never started."""
    spec = importlib.util.spec_from_file_location("shop", SERVERS / "shop.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__name__"] = "shop"
    spec.loader.exec_module(module)
    return module.server.streamable_http_app(**options)


@asynccontextmanager
async def connected(folder: Path, **settings: Any) -> AsyncIterator[tuple[Kit, str]]:
    """Give a kit whose shopper is connected to a shop, and the shop's URL."""
    async with served(shop_app()) as url, kit(folder, tool_hosts=LOOPBACK, **settings) as shop:
        await shop.stub.connect_server(name="shop", url=f"{url}/mcp", headers={"Authorization": TOKEN})
        yield shop, url


@pytest.mark.parametrize("options", [{}, {"json_response": True}, {"stateless_http": True}])
async def test_a_server_by_url_works_like_any_other(tmp_path: Path, options: dict[str, Any]) -> None:
    async with served(shop_app(**options)) as url, kit(tmp_path, tool_hosts=LOOPBACK) as shop:
        info = await shop.stub.connect_server(
            name="the shop", url=f"{url}/mcp", headers={"Authorization": TOKEN}
        )
        assert (info.name, info.title, info.scope, info.transport) == (
            "the_shop",
            "the shop",
            "session",
            "http",
        )
        assert info.state == "ready" and info.tools > 10
        assert await shop.value("the_shop.list_items", 1) == [{"id": 1, "name": "item 1", "price": 0.25}]
        with pytest.raises(ToolError, match="on purpose"):
            await shop.value("the_shop.fail", "on purpose")
        assert (await shop.value("the_shop.request_headers"))["authorization"] == "[secret]"
        late = str(tmp_path / "late")
        with pytest.raises(DeadlineExceeded):
            await shop.answer("the_shop.wait", late, timeout_s=0.3)
        if "json_response" not in options:  # there the SDK's server does not look whether anybody waits
            await until(Path(f"{late}.cancelled").exists)
        assert (await shop.stub.disconnect_server(name="the shop")) == {"disconnected": True}
        assert (await shop.stub.disconnect_server(name="the shop")) == {"disconnected": False}
        assert await shop.paths() == [] and await shop.stub.list_servers() == []
        with pytest.raises(NotFound):
            await shop.value("the_shop.total", [1])


async def test_only_what_the_operator_allows_can_be_connected_to(tmp_path: Path) -> None:
    async with served(shop_app()) as url, kit(tmp_path) as shop:
        with pytest.raises(Forbidden, match=r"host '127\.0\.0\.1' with port \d+ is not allowed") as caught:
            await shop.stub.connect_server(name="shop", url=f"{url}/mcp")
        assert "tool_hosts" in (caught.value.hint or "")
    port = int(url.rpartition(":")[2])
    async with (
        served(shop_app(), port) as url,
        kit(tmp_path, tool_hosts=("*.localhost", "127.0.0.1:1")) as shop,
    ):
        for host in ("127.0.0.1", "localhost", "evil.example", "0.0.0.0", "[::1]", "2130706433"):
            with pytest.raises((Forbidden, InputError)):
                await shop.stub.connect_server(name="shop", url=f"http://{host}:{port}/mcp")
        # The name is allowed, the address that it has is not named.
        with pytest.raises((Unavailable, Forbidden), match=r"no public address|not known"):
            await shop.stub.connect_server(name="shop", url=f"http://shop.localhost:{port}/mcp")
        assert await shop.stub.list_servers() == []


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://127.0.0.1/x", {}),
        ("http://", {}),
        ("http://user:sesame@127.0.0.1/mcp", {}),
        ("http://127.0.0.1:0/mcp", {}),
        ("http://127.0.0.1/\nmcp", {}),
        ("http://127.0.0.1/mcp", {"Host": "other"}),
        ("http://127.0.0.1/mcp", {"Mcp-Session-Id": "1"}),
        ("http://127.0.0.1/mcp", {"X-A": "two\r\nlines"}),
        ("http://127.0.0.1/mcp", {"bad name": "x"}),
        ("http://127.0.0.1/mcp", {"X-A": "x" * 20_000}),
        ("http://127.0.0.1/mcp", {f"X-{n}": "x" for n in range(40)}),
    ],
)
async def test_what_is_no_url_or_header_is_refused(tmp_path: Path, url: str, headers: dict[str, str]) -> None:
    async with kit(tmp_path, tool_hosts=LOOPBACK) as shop:
        with pytest.raises(InputError) as caught:
            await shop.stub.connect_server(name="shop", url=url, headers=headers)
        assert "sesame" not in str(caught.value)


async def test_names_are_taken_once_and_servers_are_counted(tmp_path: Path) -> None:
    servers = {"my-shop": script("hostile", "plain")}
    limits = {"session_servers": 1}
    async with (
        served(shop_app()) as url,
        kit(tmp_path, servers, tool_hosts=LOOPBACK, limits=limits) as shop,
    ):
        with pytest.raises(Conflict, match="'my-shop' and 'my shop' would both be 'my_shop'"):
            await shop.stub.connect_server(name="my shop", url=f"{url}/mcp")
        await shop.stub.connect_server(name="mine", url=f"{url}/mcp")
        with pytest.raises(LimitExceeded) as caught:
            await shop.stub.connect_server(name="more", url=f"{url}/mcp")
        assert caught.value.limit == "session_servers"
        other = shop.host.namespace("shopper").get("two")
        assert [info.name for info in await other.list_servers()] == ["my_shop"]
        assert (await shop.stub.disconnect_server(name="my_shop")) == {"disconnected": False}


async def test_a_connection_is_remembered_until_the_session_is_deleted(tmp_path: Path) -> None:
    async with served(shop_app()) as url:
        async with kit(tmp_path, tool_hosts=LOOPBACK, limits={"idle_s": 0.05}) as shop:
            await shop.stub.connect_server(name="shop", url=f"{url}/mcp", headers={"Authorization": TOKEN})
            await shop.host.clock.advance(5)  # type: ignore[attr-defined]
            while shop.host.is_live(shop.address):
                await shop.host.clock.advance(5)  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            assert await shop.value("shop.total", [1, 2]) == 3
        async with kit(tmp_path, tool_hosts=LOOPBACK) as shop:
            assert (await shop.value("shop.total", [1])) == 1
        async with kit(tmp_path, tool_hosts=("elsewhere.example",)) as shop:
            (info,) = await shop.stub.list_servers()
            assert info.state == "failed" and "is not allowed" in info.error
            await shop.host.delete(shop.address)
            assert await shop.stub.list_servers() == []


async def test_a_server_that_restarts_is_connected_to_again(tmp_path: Path) -> None:
    async with kit(tmp_path, tool_hosts=LOOPBACK) as shop:
        async with served(shop_app()) as url:
            await shop.stub.connect_server(name="shop", url=f"{url}/mcp")
            assert await shop.value("shop.total", [1]) == 1
        with pytest.raises(Unavailable, match=r"cannot be reached") as caught:
            await shop.value("shop.remove", 1)
        assert "Nothing was sent" in (caught.value.hint or "")
        async with served(shop_app(), int(url.rpartition(":")[2])):
            assert await shop.value("shop.remove", 1) is True


async def test_redirects_and_bombs_do_not_get_through(tmp_path: Path) -> None:
    seen: list[str] = []

    async def elsewhere(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return Response("{}")

    async with served(Starlette(routes=[Route("/mcp", elsewhere, methods=["POST", "GET"])])) as other:

        async def leads_away(request: Request) -> Response:
            return RedirectResponse(f"{other}/mcp", 307)

        async def endless(request: Request) -> Response:
            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(1_000):
                    yield b" " * 65_536
                    await asyncio.sleep(0.001)

            return StreamingResponse(pieces(), media_type=request.query_params["as"])

        async def closed(request: Request) -> Response:
            return Response("who are you?", 401)

        routes = [
            Route("/closed", closed, methods=["POST", "GET"]),
            Route("/away", leads_away, methods=["POST", "GET"]),
            Route("/endless", endless, methods=["POST", "GET"]),
        ]
        limits = {"tool_message_bytes": 1024 * 1024, "tool_connect_s": 5}
        async with (
            served(Starlette(routes=routes)) as url,
            kit(tmp_path, tool_hosts=LOOPBACK, limits=limits) as shop,
        ):
            for path in ("away", "endless?as=application/json", "endless?as=text/event-stream", "nothing"):
                with pytest.raises(Unavailable, match="cannot be connected"):
                    await shop.stub.connect_server(
                        name="x", url=f"{url}/{path}", headers={"Authorization": TOKEN}
                    )
            with pytest.raises(Unavailable, match=r"answers 401 \(Unauthorized\)"):
                await shop.stub.connect_server(name="x", url=f"{url}/closed")
            assert not seen, "the header went to the host that it was meant for"
