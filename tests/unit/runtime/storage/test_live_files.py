"""A worker process reads the live file of an actor that is opened shared, and neither disturbs the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.errors import SqlError
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.testing import ManualClock, harness, until
from runtime.workers.pool import Workers
from tests.scratch import Scratch

TASKS = "tests.unit.runtime.storage.live_tasks:"
ROOT = Path(__file__).resolve().parents[4]


class Shared(Scratch, type_name="shared"):
    """A scratch whose file workers may read."""

    shared_file = True


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with harness(tmp_path / "data", Scratch, Shared) as host:
        yield host


def address(kind: str = "shared") -> ActorAddress:
    return ActorAddress(kind, "local", "one")


async def filled(host: Host, kind: str = "shared") -> tuple[Workers, str]:
    stub = host.namespace(kind).get("one")
    await stub.create_table("t", "x INTEGER")
    await stub.batch_insert("t", [{"x": n} for n in range(100)])
    workers = host.services["workers"]
    assert isinstance(workers, Workers)
    return workers, str(host.path_of(address(kind)).absolute())


async def counting(workers: Workers, file: str, gate: Path) -> asyncio.Future[object]:
    """Start a reader that counts the rows, waits for the gate inside its transaction, and counts again."""
    heard: list[int] = []
    args = {"file": file, "gate": str(gate)}
    reading = asyncio.ensure_future(
        workers.run(f"{TASKS}count_twice", args, on_progress=lambda r: heard.append(r["counted"]))
    )
    await until(lambda: bool(heard))
    return reading


async def test_a_worker_sees_what_is_committed_and_one_state_of_it(host: Host, tmp_path: Path) -> None:
    workers, file = await filled(host)
    stub = host.namespace("shared").get("one")
    reading = await counting(workers, file, tmp_path / "gate")
    # The actor goes on beside the open reader: it writes, and its log may be copied back.
    for _ in range(50):
        await stub.batch_insert("t", [{"x": n} for n in range(100)])
    assert (await stub.query("SELECT count(*) AS n FROM t")).rows == [{"n": 5_100}]
    (tmp_path / "gate").touch()
    assert await reading == [100, 100, 5_100]


async def test_a_worker_cannot_write_a_live_file(host: Host) -> None:
    workers, file = await filled(host)
    with pytest.raises(SqlError, match="readonly"):
        await workers.run(f"{TASKS}write_anyway", {"file": file})


async def test_the_file_of_another_type_is_closed_to_workers(host: Host, tmp_path: Path) -> None:
    workers, file = await filled(host, "scratch")
    with pytest.raises(SqlError, match=r"locked|unable to open"):
        args = {"file": file, "gate": str(tmp_path / "gate"), "wait_s": 0.1}
        await workers.run(f"{TASKS}count_twice", args)


async def test_an_actor_may_close_and_open_while_a_worker_reads(host: Host, tmp_path: Path) -> None:
    workers, file = await filled(host)
    stub = host.namespace("shared").get("one")
    reading = await counting(workers, file, tmp_path / "gate")
    assert isinstance(host.clock, ManualClock)
    await host.clock.advance(host.settings.limits.idle_s + 2)
    await until(lambda: not host.is_live(address()))
    await stub.exec("INSERT INTO t VALUES (1)")
    (tmp_path / "gate").touch()
    assert await reading == [100, 100, 101]
    assert (await stub.query("SELECT count(*) AS n FROM t")).rows == [{"n": 101}]


async def test_a_reader_that_is_killed_leaves_the_file_as_it_is(host: Host, tmp_path: Path) -> None:
    workers, file = await filled(host)
    stub = host.namespace("shared").get("one")
    reading = await counting(workers, file, tmp_path / "gate")
    await stub.exec("INSERT INTO t VALUES (1)")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await stub.exec("INSERT INTO t VALUES (2)")
    assert (await stub.query("SELECT count(*) AS n FROM t")).rows == [{"n": 102}]


CHILD = """
import asyncio, sys
from pathlib import Path
from runtime.testing import harness
from tests.unit.runtime.storage.test_live_files import Shared, TASKS, address, filled

async def main():
    folder = Path(sys.argv[1])
    async with harness(folder / "data", Shared) as host:
        workers, file = await filled(host)
        stub = host.namespace("shared").get("one")
        heard = asyncio.Event()
        reading = asyncio.ensure_future(workers.run(
            TASKS + "count_twice", {"file": file, "gate": str(folder / "never")}, on_progress=lambda r: heard.set()))
        await heard.wait()
        for n in range(1_000_000):
            await stub.exec("INSERT INTO t VALUES (?)", [n])
            print(n, flush=True)

asyncio.run(main())
"""


async def test_kill_9_while_a_worker_reads_loses_no_acknowledged_row(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [int(await asyncio.to_thread(child.stdout.readline)) for _ in range(300)]
        os.kill(child.pid, signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    async with harness(tmp_path / "data", Shared) as host:
        rows = await host.namespace("shared").get("one").query("SELECT x FROM t ORDER BY rowid", limit=10_000)
        there = [row["x"] for row in rows.rows]
        assert there[:100] == list(range(100))
        assert set(said) <= set(there[100:])
        path = host.path_of(address())
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
