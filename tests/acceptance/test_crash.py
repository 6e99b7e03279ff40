"""kill -9 loses nothing that was acknowledged, and nobody has to mend anything by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.errors import Unavailable
from runtime.testing import ManualClock, harness, until
from tests.acceptance.crash_child import TYPES
from tests.scratch import column, gate

ROOT = Path(__file__).resolve().parents[2]
ACTORS = frozenset("012")


def killed(
    folder: Path,
    task: str,
    kind: str = "scratch",
    *,
    lines: int | None = None,
    words: frozenset[str] = frozenset(),
) -> list[str]:
    """Run a child, kill it, and return all that it said.

    The kill comes after so many lines (None: after "done"), of which some began with each of the `words`.
    """
    command = [sys.executable, "-m", "tests.acceptance.crash_child", str(folder), task, kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = []
        try:
            for line in child.stdout:
                said.append(line.strip())
                words -= {said[-1].partition(" ")[0]}
                if said[-1] == "done" or (lines is not None and len(said) >= lines and not words):
                    break
        finally:
            os.kill(child.pid, signal.SIGKILL)
        # What was written before the kill was acknowledged too.
        said += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert lines is None or len(said) >= lines
    return [line for line in said if line != "done" and not line.startswith("20")]


@pytest.mark.parametrize("kind", ["scratch", "durable"])
@pytest.mark.parametrize("lines", [200, 1500])
async def test_no_acknowledged_row_is_lost(tmp_path: Path, kind: str, lines: int) -> None:
    said = [
        tuple(map(int, line.split())) for line in killed(tmp_path, "insert", kind, lines=lines, words=ACTORS)
    ]
    async with harness(tmp_path, *TYPES) as host:
        for actor in range(3):
            stub = host.namespace(kind).get(str(actor))
            there = set(await column(stub, "SELECT k FROM t LIMIT 10000"))
            acknowledged = {key for name, key in said if name == actor}
            assert acknowledged
            assert acknowledged <= there
            whole = [key for key in there if key // 1_000_000 % 4 == 0]
            assert {k // 10 * 10 + i for k in whole for i in range(10)} == set(whole), "batches are whole"
    for path in (tmp_path / "actors").rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_alarms_and_ttls_survive(tmp_path: Path) -> None:
    killed(tmp_path, "alarms")
    async with harness(tmp_path, *TYPES, clock=SystemClock()) as host:
        fired: list[tuple[str, str, int, float]] = host.services.setdefault("fired", [])

        def names(alarm: str) -> set[str]:
            return {actor for actor, name, _, _ in fired if name == alarm}

        everyone = {str(i) for i in range(20)}
        await until(lambda: names("soon") == everyone)
        record = (await host.directory.find("mortal", None))[0]
        assert record.next_alarm is not None
        ttl = record.next_alarm - record.last_used
        assert ttl == pytest.approx(3600, abs=5)
        retries = await host.namespace("probe").get("0").list_alarms()
        assert [a["name"] for a in retries] in ([], ["fails"])
    clock = ManualClock(record.next_alarm + 1)
    async with harness(tmp_path, *TYPES, clock=clock) as host:
        await until(lambda: not host.path_of(record.address).exists())


async def test_jobs_are_continued_or_marked_failed(tmp_path: Path) -> None:
    ids = dict(line.split() for line in killed(tmp_path, "jobs"))
    async with harness(tmp_path, *TYPES) as host:
        await until(lambda: bool(host.live()))  # nobody called it: it is opened for the job's sake
        probe = host.namespace("probe").get("one")
        assert (await probe.get_job(ids["wait"])).error["code"] == "interrupted"
        assert (await probe.get_job(ids["resume"])).state == "running"
        gate(host, "job").set()
        await until(lambda: not any(i.busy for i in host.live()))
        assert (await probe.get_job(ids["resume"])).state == "done"
    async with harness(tmp_path, *TYPES) as host:
        await until(lambda: host.alarms.at_rest)
        assert not host.live()


async def test_a_kill_between_making_and_deleting_leaves_the_directory_and_the_files_in_step(
    tmp_path: Path,
) -> None:
    said = [line.split() for line in killed(tmp_path, "delete", lines=300)]
    async with harness(tmp_path, *TYPES) as host:
        listed = await host.directory.find("scratch", None, limit=1000)
        files = {p.stem for p in (tmp_path / "actors").rglob("*.sqlite")}
        assert {r.id for r in listed} <= files
        last: dict[str, tuple[str, str]] = {}
        for what, name, number in said[:-1]:
            last[name] = (what, number)
        in_doubt = said[-1][1]
        for name, (what, number) in last.items():
            found = await host.namespace("scratch").get(name).get_state("n")
            if what == "made" and name not in (in_doubt, str((int(said[-1][2]) + 1) % 20)):
                assert found["value"] == int(number)


def test_the_folder_of_a_running_service_is_refused_and_that_of_a_killed_one_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.acceptance.crash_child", str(tmp_path), "hold", "scratch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        with pytest.raises(Unavailable) as refused:
            _start_and_stop(tmp_path)
        assert refused.value.extra["pid"] == child.pid
        child.kill()
        child.wait()
    _start_and_stop(tmp_path)


def _start_and_stop(folder: Path) -> None:
    async def both() -> None:
        async with harness(folder, *TYPES):
            pass

    asyncio.run(both())
