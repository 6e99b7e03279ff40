"""A tool server that is a child process: its tools become helpers, it is called, it is looked after."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runtime.errors import DeadlineExceeded, InputError, NotFound, ToolError, Unavailable
from runtime.testing import until
from tests.unit.sandbox.tools.conftest import Kit, kit, script


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    """One shop for the tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("shop")
    async with kit(folder, {"my-shop": script("shop")}, limits={"tool_calls_at_once": 2}) as shop:
        yield shop


@pytest.mark.asyncio(loop_scope="module")
async def test_tools_become_helpers_and_answers_become_values(shop: Kit) -> None:
    helpers = {helper.path: helper for helper in await shop.box.helpers(shop.address)}
    found = helpers["tools.my_shop.list_items"]
    assert found.call() == "await tools.my_shop.list_items(count=3, first=1, *, into=None)"
    assert (found.read_only, found.idempotent, found.returns) == (True, True, "list[dict[str, Any]]")
    assert helpers["tools.my_shop.total"].parameters[0].annotation == "list[float]"
    assert helpers["tools.my_shop.remove"].destructive and not helpers["tools.my_shop.fail"].read_only
    assert await shop.value("my_shop.get_item", 7) == {"id": 7, "name": "item 7", "tags": ["a", "b"]}
    assert await shop.value("my_shop.list_items", 1) == [{"id": 1, "name": "item 1", "price": 0.25}]
    assert await shop.value("my_shop.total", amounts=[1, 2.5]) == 3.5
    texts = {
        "plain": "plain",
        '{"a": [1]}': {"a": [1]},
        "12": 12,
        "[1, 2": "[1, 2",
        "9" * 30: int("9" * 30),
    }
    for text, value in texts.items():
        assert await shop.value("my_shop.say", text) == value
    assert await shop.value("my_shop.mixed") == [
        {"type": "text", "text": "hello"},
        {"type": "image", "mime_type": "image/png", "data": "aGVsbG8="},
    ]
    # The same objects while nothing changes: engines know them again.
    assert await shop.box.helpers(shop.address) is await shop.box.helpers(shop.address)
    info = await shop.info("my_shop")
    assert (info.title, info.state, info.scope, info.version) == ("my-shop", "ready", "service", "1.2.3")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_mistake_comes_back_with_what_to_do_before_anything_is_sent(shop: Kit) -> None:
    for args, kwargs, said in (
        ((), {}, "'id' is missing"),
        (("x",), {}, "id: string was given, and integer is needed"),
        ((1, 2), {}, "takes at most 1 argument"),
        ((1,), {"id": 2}, "got 'id' twice"),
        ((1,), {"color": "red"}, "no parameter 'color'"),
        ((1,), {"into": ""}, "no name of a table"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            await shop.value("my_shop.get_item", *args, **kwargs)
        assert (
            "tools.my_shop.get_item(id, *, into=None)" in (caught.value.hint or "")
            or kwargs.get("into") == ""
        )
    with pytest.raises(NotFound, match=r"no tool 'tools\.my_shop\.nothing'"):
        await shop.value("my_shop.nothing")
    with pytest.raises(ToolError, match="on purpose") as failed:
        await shop.value("my_shop.fail", "on purpose")
    assert (failed.value.code, failed.value.status) == ("tool_error", 502)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_that_is_given_up_is_cancelled_at_the_server(shop: Kit, tmp_path: Path) -> None:
    late, gone = str(tmp_path / "late"), str(tmp_path / "gone")
    await shop.paths()
    with pytest.raises(DeadlineExceeded, match="did not answer within"):
        await shop.answer("my_shop.wait", late, timeout_s=0.5)
    call = asyncio.create_task(shop.answer("my_shop.wait", gone))
    await until(Path(f"{gone}.begun").exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: Path(f"{late}.cancelled").exists() and Path(f"{gone}.cancelled").exists())
    assert await shop.value("my_shop.total", [1]) == 1


async def test_a_server_that_is_killed_comes_back_with_the_next_call(tmp_path: Path) -> None:
    async with kit(tmp_path, {"shop": script("shop")}) as shop:
        before = await shop.value("shop.process")
        helpers = await shop.box.helpers(shop.address)
        os.kill(before["pid"], signal.SIGKILL)
        after = await shop.value("shop.total", [2])
        assert after == 2
        assert (await shop.value("shop.process"))["pid"] != before["pid"]
        assert await shop.box.helpers(shop.address) is helpers


async def test_a_change_of_the_tools_is_seen(tmp_path: Path) -> None:
    async with kit(tmp_path, {"shop": script("shop")}) as shop:
        assert "tools.shop.kite" not in await shop.paths()
        assert await shop.value("shop.grow", "kite") == "kite"

        async def grown() -> None:
            while "tools.shop.kite" not in await shop.paths():
                await asyncio.sleep(0.05)

        async with asyncio.timeout(20):
            await grown()
        assert await shop.value("shop.kite") == "kite"


@pytest.mark.asyncio(loop_scope="module")
async def test_calls_run_side_by_side_within_the_bound(shop: Kit, tmp_path: Path) -> None:
    markers = [str(tmp_path / f"m{n}") for n in range(4)]
    calls = [asyncio.create_task(shop.answer("my_shop.wait", marker)) for marker in markers]
    await until(lambda: sum(Path(f"{m}.begun").exists() for m in markers) == 2)
    # Both places are taken: a third begins when one is free.
    begun = [m for m in markers if Path(f"{m}.begun").exists()]
    calls[markers.index(begun[0])].cancel()
    await until(lambda: sum(Path(f"{m}.begun").exists() for m in markers) == 3)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_no_process_is_left_when_the_host_stops(tmp_path: Path) -> None:
    child = tmp_path / "child"
    servers: dict[str, Any] = {"stays": script("hostile", "stays", str(child)), "shop": script("shop")}
    async with kit(tmp_path, servers) as shop:
        await shop.paths()
        process = await shop.value("shop.process")
        await until(lambda: child.exists() and bool(child.read_text()))
    left = [process["pid"], process["parent"], int(child.read_text())]
    await until(lambda: not any(map(alive, left)))


async def test_a_server_that_cannot_start_is_listed_with_its_error_and_stops_nobody(tmp_path: Path) -> None:
    servers = {
        "nothing": {"command": "there-is-no-such-command"},
        "lacks": script("shop", env={"KEY": "${DURALITE_TEST_IS_NOT_SET}"}),
        "ends": script("hostile", "not-there"),
        "shop": script("shop"),
        "a-b": script("shop"),
        "a.b": script("shop"),
        "off": {**script("shop"), "disabled": True},
    }
    async with kit(tmp_path, servers) as shop:
        assert await shop.value("shop.total", [1]) == 1
        listed = {info.title: info for info in await shop.stub.list_servers()}
        assert "off" not in listed and listed["shop"].state == "ready"
        for title, said in (
            ("nothing", "no command 'there-is-no-such-command'"),
            ("lacks", "lacks DURALITE_TEST_IS_NOT_SET"),
            ("ends", "The server ended"),
            ("a-b", "'a-b' and 'a.b' would all be 'a_b'"),
            ("a.b", "none of them is offered"),
        ):
            assert listed[title].state in ("failed", "connecting") and said in listed[title].error, listed[
                title
            ]
        with pytest.raises(Unavailable, match="no command"):
            await shop.value("nothing.tool")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
