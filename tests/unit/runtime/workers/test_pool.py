"""The pool of worker processes: bounds, fairness, and what happens to a task that goes wrong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import (
    DeadlineExceeded,
    DuraliteError,
    GuardRefused,
    InternalError,
    LimitExceeded,
    Unavailable,
)
from runtime.limits import Limits
from runtime.testing import until
from runtime.workers.pool import Workers
from runtime.workers.worker import Worker

TASKS = "tests.unit.runtime.workers.tasks:"
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(Limits(worker_processes=1, worker_waiting=4))
    yield pool
    await pool.close()
    assert not pool.pids()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists()


async def test_a_task_takes_and_gives_plain_data_and_the_process_stays_warm(workers: Workers) -> None:
    assert await workers.run(f"{TASKS}echo", {"a": [1, "é", None, 1.5]}) == {"a": [1, "é", None, 1.5]}
    first = await workers.run(f"{TASKS}facts", {})
    second = await workers.run(f"{TASKS}facts", {})
    assert first["pid"] == second["pid"] != os.getpid()
    assert await workers.run(f"{TASKS}raw", {"times": 100_000}) == b"\x00\xff" * 100_000


async def test_a_worker_has_nothing_of_the_environment_and_makes_way_for_the_service(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURALITE_SECRET", "canary")
    facts = await workers.run(f"{TASKS}facts", {})
    assert not any("canary" in value or "DURALITE" in key for key, value in facts["environment"].items())
    assert facts["nice"] > (await workers.run(f"{TASKS}facts", {}, lane="read"))["nice"]
    # Linux weighs `nice` within a session only; a group of its own keeps a Ctrl-C at the terminal away.
    assert os.getsid(facts["pid"]) == os.getsid(0)
    assert os.getpgid(facts["pid"]) != os.getpgid(0)


async def test_reports_come_in_order_and_before_the_answer(workers: Workers) -> None:
    seen: list[int] = []
    assert (
        await workers.run(f"{TASKS}count", {"to": 500}, on_progress=lambda r: seen.append(r["rows"])) == 500
    )
    assert seen == list(range(500))


async def test_an_error_keeps_its_class_code_and_hint_and_the_worker_goes_on(workers: Workers) -> None:
    pid = (await workers.run(f"{TASKS}facts", {}))["pid"]
    with pytest.raises(GuardRefused, match="Not this") as refused:
        await workers.run(f"{TASKS}refuse", {})
    assert (refused.value.rule, refused.value.hint) == ("some.rule", "Write that.")
    with pytest.raises(InternalError, match="ZeroDivisionError") as failed:
        await workers.run(f"{TASKS}fail", {})
    assert "trace" not in failed.value.extra
    assert "by hand" not in str(failed.value), "an unforeseen exception is for the log"
    assert (await workers.run(f"{TASKS}facts", {}))["pid"] == pid


async def test_only_marked_functions_run(workers: Workers) -> None:
    for name in (f"{TASKS}unmarked", "os:getpid", "os:system"):
        with pytest.raises(InternalError):
            await workers.run(name, {})


async def test_memory_is_bounded_and_the_error_names_the_setting(workers: Workers) -> None:
    with pytest.raises(LimitExceeded) as grown:
        await workers.run(f"{TASKS}grow", {"bytes": 400 << 20}, memory_bytes=128 << 20)
    assert grown.value.limit == "worker_memory_bytes"
    assert await workers.run(f"{TASKS}grow", {"bytes": 1 << 20}, memory_bytes=128 << 20) == 1 << 20


async def test_a_crash_fails_its_own_task_only(workers: Workers) -> None:
    with pytest.raises(InternalError, match="ended in the middle"):
        await workers.run(f"{TASKS}die", {})
    assert await workers.run(f"{TASKS}echo", {"still": "here"}) == {"still": "here"}


async def test_a_library_that_aborts_for_want_of_memory_names_the_setting(workers: Workers) -> None:
    with pytest.raises(LimitExceeded, match="1,024 MiB") as given_up:
        await workers.run(f"{TASKS}give_up", {})
    assert given_up.value.limit == "worker_memory_bytes"
    assert await workers.run(f"{TASKS}echo", {"still": "here"}) == {"still": "here"}


async def test_a_task_that_is_late_or_cancelled_is_ended_with_its_process(workers: Workers) -> None:
    pids: list[int] = []
    with pytest.raises(DeadlineExceeded) as late:
        await workers.run(f"{TASKS}hang", {}, on_progress=lambda r: pids.append(r["pid"]), deadline_s=1.0)
    assert late.value.limit == "worker_s"
    call = asyncio.ensure_future(workers.run(f"{TASKS}hang", {}, on_progress=lambda r: pids.append(r["pid"])))
    await until(lambda: len(pids) == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not any(map(alive, pids)))
    assert await workers.run(f"{TASKS}echo", {"a": 1}) == {"a": 1}


async def test_accounts_take_turns_and_the_queue_is_bounded(workers: Workers, tmp_path: Path) -> None:
    order: list[str] = []

    async def run(account: str, name: str) -> None:
        args = {"gate": str(tmp_path / "gate"), "name": name}
        order.append(await workers.run(f"{TASKS}gated", args, account=account))

    calls = [asyncio.ensure_future(run("busy", "busy 1"))]
    await until(lambda: workers.stats()[0].running == 1)
    # The place that a second account gets beside a busy one is taken, so that all others wait.
    beside = {"gate": str(tmp_path / "beside"), "name": "beside"}
    other = asyncio.ensure_future(workers.run(f"{TASKS}gated", beside, account="other"))
    await until(lambda: workers.stats()[0].running == 2)
    calls += [asyncio.ensure_future(run("busy", f"busy {n}")) for n in (2, 3, 4)]
    await until(lambda: workers.stats()[0].waiting == 3)
    calls.append(asyncio.ensure_future(run("quiet", "quiet 1")))
    await until(lambda: workers.stats()[0].waiting == 4)
    with pytest.raises(LimitExceeded) as full:
        await run("busy", "one too many")
    assert full.value.limit == "worker_waiting"
    (tmp_path / "gate").touch()
    await asyncio.gather(*calls)
    assert order == ["busy 1", "busy 2", "quiet 1", "busy 3", "busy 4"]
    (tmp_path / "beside").touch()
    assert await other == "beside"


async def test_an_account_that_has_all_places_does_not_keep_another_waiting(
    workers: Workers, tmp_path: Path
) -> None:
    args = {"gate": str(tmp_path / "gate"), "name": "busy"}
    busy = [asyncio.ensure_future(workers.run(f"{TASKS}gated", args, account="busy")) for _ in range(3)]
    await until(lambda: workers.stats()[0].running == 1)
    assert await workers.run(f"{TASKS}echo", {"a": 1}, account="quiet") == {"a": 1}
    assert (workers.stats()[0].running, workers.stats()[0].waiting) == (1, 2), (
        "the busy one gets no more for it"
    )
    (tmp_path / "gate").touch()
    assert await asyncio.gather(*busy) == ["busy"] * 3
    assert (workers.stats()[0].running, workers.stats()[0].waiting) == (0, 0)


async def test_one_that_gives_up_its_place_in_the_queue_holds_nobody_up(
    workers: Workers, tmp_path: Path
) -> None:
    args = {"gate": str(tmp_path / "gate"), "name": "first"}
    first = asyncio.ensure_future(workers.run(f"{TASKS}gated", args))
    await until(lambda: workers.stats()[0].running == 1)
    second = asyncio.ensure_future(workers.run(f"{TASKS}echo", {}))
    await until(lambda: workers.stats()[0].waiting == 1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    (tmp_path / "gate").touch()
    assert await first == "first"
    assert await workers.run(f"{TASKS}echo", {"a": 1}) == {"a": 1}
    assert workers.stats()[0].running == workers.stats()[0].waiting == 0


async def test_a_process_that_nobody_needs_ends(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.workers.pool._IDLE_S", 0.0)
    await workers.run(f"{TASKS}echo", {})
    await until(lambda: not workers.pids())
    monkeypatch.undo()
    assert await workers.run(f"{TASKS}echo", {"again": 1}) == {"again": 1}


async def test_closing_ends_what_runs_and_what_waits_and_takes_nothing_new(tmp_path: Path) -> None:
    pool = Workers(Limits(worker_processes=1))
    pids: list[int] = []
    running = asyncio.ensure_future(pool.run(f"{TASKS}hang", {}, on_progress=lambda r: pids.append(r["pid"])))
    await until(lambda: bool(pids))
    waiting = asyncio.ensure_future(pool.run(f"{TASKS}echo", {}))
    await until(lambda: pool.stats()[0].waiting == 1)
    await pool.close()
    ended: list[Any] = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(error, DuraliteError) for error in ended)
    assert not alive(pids[0])
    with pytest.raises(Unavailable):
        await pool.run(f"{TASKS}echo", {})
    await pool.close()


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel ends children with their parent on Linux only"
)
async def test_no_worker_outlives_a_service_that_is_killed() -> None:
    program = (
        "import asyncio\n"
        "from runtime.limits import Limits\n"
        "from runtime.workers.pool import Workers\n"
        "async def main():\n"
        f"    await Workers(Limits()).run({TASKS + 'hang'!r}, {{}}, on_progress=lambda r: print(r['pid'], flush=True))\n"
        "asyncio.run(main())\n"
    )
    service = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert service.stdout is not None
    with service.stdout:
        pid = int(await asyncio.to_thread(service.stdout.readline))
        assert alive(pid)
        service.kill()
        service.wait()
    await until(lambda: not alive(pid))


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
async def test_a_start_that_is_given_up_leaves_no_process(steps: int) -> None:
    def processes() -> set[str]:
        return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())

    before = processes()
    starting = asyncio.ensure_future(Worker.start(0))
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert processes() == before
