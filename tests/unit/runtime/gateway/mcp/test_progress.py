"""Progress of calls that start a job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from runtime.gateway.testing import live_server
from runtime.host import Host
from runtime.testing import until
from tests.unit.runtime.gateway.mcp.desk import BOTH, Desk, Shelf, connected, desk, gate, over_http

Told = list[tuple[float, float | None, str | None]]


def listener() -> tuple[Told, asyncio.Event, Any]:
    """Return what was told, an event for each telling, and the callback that does it."""
    told: Told = []
    heard = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))
        heard.set()

    return told, heard, hear


async def step_by_step(host: Host, told: Told, heard: asyncio.Event, call: asyncio.Future[Any]) -> Any:
    """Open the gate once for each telling, until the call ends."""
    steps = 0
    while not call.done():
        hearing = asyncio.ensure_future(heard.wait())
        await asyncio.wait((hearing, call), return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        heard.clear()
        while steps < sum(1 for _, total, _ in told if total is not None):
            steps += 1
            gate(host).put_nowait(None)
    return call.result()


@pytest.mark.parametrize("mode", BOTH)
async def test_a_call_with_a_token_hears_of_its_job_in_growing_numbers_and_gets_its_end(
    tmp_path: Path, mode: str
) -> None:
    async with (
        live_server(tmp_path / "data", Desk, Shelf) as server,
        over_http(server.url, mode=mode) as client,
    ):
        await client.list_tools()
        told, heard, hear = listener()
        call = asyncio.ensure_future(client.call_tool("desk_count", {"to": 4}, progress_callback=hear))
        result = await step_by_step(server.host, told, heard, call)
    job = result.structured_content
    assert job["state"] == "done" and job["result"] == 4
    numbers = [progress for progress, _, _ in told]
    assert numbers == sorted(set(numbers))
    assert {int(number) for number in numbers} >= {0, 1, 2, 3}
    assert any(message and message.startswith("step") for _, _, message in told)


async def test_a_call_without_a_token_gets_the_running_job_at_once(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", "legacy") as client:
        job = (await client.call_tool("desk_count", {"to": 1})).structured_content
        assert job["state"] == "running"


async def test_a_job_that_outlives_the_wait_is_answered_as_it_stands(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", "legacy", limits={"mcp_job_s": 0.05}) as client:
        _, _, hear = listener()
        job = (await client.call_tool("desk_count", {"to": 1}, progress_callback=hear)).structured_content
        assert job["state"] == "running"


async def test_a_cancelled_call_takes_its_job_with_it(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, server), Client(server.lowlevel, mode="legacy") as client:
        _, heard, hear = listener()
        call = asyncio.ensure_future(client.call_tool("desk_count", {"to": 2}, progress_callback=hear))
        await heard.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        (instance,) = host.live()
        await until(lambda: not instance.busy)
        assert [job.state for job in await instance.jobs.list()] == ["cancelled"]


async def test_a_deleted_actor_ends_the_wait(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, server), Client(server.lowlevel, mode="legacy") as client:
        _, heard, hear = listener()
        call = asyncio.ensure_future(client.call_tool("desk_count", {"to": 2}, progress_callback=hear))
        await heard.wait()
        (instance,) = host.live()
        assert await host.delete(instance.address)
        assert (await call).structured_content["state"] != "running"
