"""The session itself, with the sandbox behind it: what happens to a run when its session goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.errors import ActorClosed, Unavailable
from runtime.host import Host
from runtime.limits import Limits
from runtime.testing import ManualClock, harness, until

LOOP = "import time\nn = 0\nwhile True:\n    n += len(db.query('SELECT 1'))"


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Host]:
    async with harness(tmp_path, clock=ManualClock(), limits=Limits(max_open=2, drain_s=0.2)) as host:
        yield host


async def test_a_run_and_its_own_calls_share_the_session_with_others(sessions: Host) -> None:
    session = sessions.namespace("session").get("one")
    code = "db.create_table('t', 'a')\ndb.batch_insert('t', [{'a': i} for i in range(50)])\nlen(db.query('SELECT * FROM t'))"
    answer = await session.run(code)
    assert (answer.status, answer.value) == ("ok", 50), answer
    assert (await session.query("SELECT count(*) AS n FROM t")).rows == [{"n": 50}]


async def test_a_deleted_session_ends_its_run(sessions: Host) -> None:
    session = sessions.namespace("session").get("one")
    running = asyncio.ensure_future(session.run(LOOP))
    await until(
        lambda: any(i.connection.version or i.connection.pending for i in sessions.live()) or running.done()
    )
    await sessions.delete(session.address)
    result = (await asyncio.gather(running, return_exceptions=True))[0]
    assert isinstance(result, ActorClosed), result
    assert (await session.tables()) == []


async def test_a_session_with_a_run_is_not_evicted(sessions: Host) -> None:
    session = sessions.namespace("session").get("busy")
    running = asyncio.ensure_future(
        session.run("db.query('SELECT 1')\nwhile True: pass", limits={"wall_s": 0.7})
    )
    await until(lambda: any(i.busy for i in sessions.live()))
    for number in range(6):
        await sessions.namespace("session").get(str(number)).tables()
        assert "busy" in {i.address.name for i in sessions.live()} or running.done()
    answer = await running
    assert answer.status == "limit", answer


async def test_a_shutdown_ends_a_run_clearly(tmp_path: Path) -> None:
    async with harness(tmp_path / "own", limits=Limits(drain_s=0.1)) as host:
        running = asyncio.ensure_future(host.namespace("session").get("one").run(LOOP))
        await until(lambda: any(i.busy for i in host.live()))
        await host.stop()
        result = (await asyncio.gather(running, return_exceptions=True))[0]
        assert isinstance(result, Unavailable) or result.status in ("error", "cancelled")


async def test_touching_and_pinning_keep_a_session(sessions: Host) -> None:
    clock = sessions.clock
    assert isinstance(clock, ManualClock)
    names = ("touched", "pinned", "left")
    stubs = {name: sessions.namespace("session").get(name) for name in names}
    paths = {name: sessions.path_of(stub.address) for name, stub in stubs.items()}
    for stub in stubs.values():
        await stub.save_state("k", 1)
    assert (await stubs["pinned"].pin())["pinned"] is True
    await clock.advance(80_000)
    await until(lambda: sessions.alarms.at_rest)
    assert (await stubs["touched"].touch())["touched"] is True
    await clock.advance(10_000)
    await until(lambda: not paths["left"].exists())
    assert paths["touched"].exists()
    await clock.advance(200_000)
    await until(lambda: not paths["touched"].exists())
    assert paths["pinned"].exists()
    assert (await stubs["pinned"].get_state("k"))["found"]
