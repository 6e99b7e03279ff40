"""The process engine holds its limits, outlives what happens to its processes, and leaves none behind."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Unavailable
from runtime.testing import until
from sandbox.engine import CEILING, Encoded, Job, Limits
from sandbox.engines import _witness
from sandbox.engines.process import ProcessEngine
from tests.unit.sandbox.conftest import SPECS, Bench, TableHost

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def engine_of(**options: Any) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(**options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


def zygote_pid(engine: ProcessEngine) -> int:
    assert engine._zygote is not None
    return engine._zygote.pid


async def gone(*pids: int) -> None:
    await until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Calls in flight


async def test_many_large_calls_in_flight_do_not_lock_both_sides(bench: Bench) -> None:
    """Blocking on both sides deadlocked at 71 outstanding calls once: both socket buffers were full."""
    code = (
        "import asyncio\nbig = 'x' * 20000\n"
        "r = await asyncio.gather(*[tools.echo(big + str(i)) for i in range(1000)])\n"
        "[len(r), all(v == big + str(i) for i, v in enumerate(r))]"
    )
    assert await bench.value(code) == [1000, True]


async def test_blocking_calls_go_on_between_awaited_ones(bench: Bench) -> None:
    code = (
        "import asyncio\n"
        "async def one(i):\n    a = db.echo(i)\n    b = await tools.echo(i)\n    return a + b + db.echo(i)\n"
        "sum(await asyncio.gather(*[one(i) for i in range(300)]))"
    )
    assert await bench.value(code) == 3 * sum(range(300))


async def test_awaited_calls_overlap_up_to_the_limit_and_all_finish(bench: Bench) -> None:
    under_way = most = 0
    full = asyncio.Event()

    async def slow(value: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 15:
            full.set()
        await full.wait()
        under_way -= 1
        return value

    code = "import asyncio\nsum(await asyncio.gather(*[tools.echo(i) for i in range(100)]))"
    outcome = await bench.run(code, TableHost(echo=slow), limits={"in_flight": 16})
    assert (outcome.status, outcome.value) == ("ok", 4950)
    assert most == 15  # one of the sixteen is kept for a call that blocks


async def test_ten_thousand_calls_in_one_gather_finish(bench: Bench) -> None:
    code = "import asyncio\nsum(await asyncio.gather(*[tools.echo(i) for i in range(10_000)]))"
    await bench.run(code)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await bench.run(code)
    assert (outcome.status, outcome.value) == ("ok", sum(range(10_000))), outcome
    assert outcome.usage.calls == 10_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


async def test_a_cancelled_wait_cancels_the_call_on_the_host(bench: Bench) -> None:
    cancelled = asyncio.Event()

    async def forever(value: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    # The second answer shows that the first call is under way: one that is given up sooner is not begun.
    code = (
        "import asyncio\nwaiting = asyncio.ensure_future(tools.echo(1))\nawait tools.echo(3)\n"
        "try:\n    await asyncio.wait_for(waiting, 0.01)\n"
        "except TimeoutError:\n    r = 'late'\n[r, db.echo(2)]"
    )
    host = TableHost(echo=lambda value: forever(value) if value == 1 else value)
    assert await bench.value(code, host) == ["late", 2]
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_calls_are_numbered_and_run_in_the_context_of_the_caller(bench: Bench) -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("of the caller")
    host = TableHost(echo=lambda value: variable.get())
    assert await bench.value("[db.echo(1), db.echo(2)]", host) == ["of the caller"] * 2
    assert [index for index, *_ in host.calls] == [0, 1]


# Limits


@pytest.mark.parametrize(
    ("code", "limits", "limit"),
    [
        ("while True: pass", {"cpu_s": 0.1}, "cpu_s"),
        ("import time\ntime.sleep(100)", {"wall_s": 0.1}, "wall_s"),
        ("x = 'y' * (1 << 30)", {}, "memory_bytes"),
        ("'y' * 2_000_000", {}, "result_bytes"),
        ("while True: print('x' * 100)", {"output_bytes": 1000}, "output_bytes"),
        ("while True: db.echo(1)", {"calls": 10}, "calls"),
    ],
)
async def test_each_limit_ends_a_run_and_is_named(
    bench: Bench, code: str, limits: dict[str, Any], limit: str
) -> None:
    outcome = await bench.run(code, limits=limits)
    assert (outcome.status, outcome.limit) == ("limit", limit)
    assert outcome.error is not None
    assert outcome.error.message
    assert outcome.error.hint


async def test_the_deadline_passes_while_a_helper_call_waits(bench: Bench) -> None:
    """A deadline that was looked at between frames only let a run last while its calls slept."""
    host = TableHost(echo=lambda value: asyncio.Event().wait())
    outcome = await bench.run("while True: db.echo(1)", host, limits={"wall_s": 0.1})
    assert outcome.limit == "wall_s"


async def test_exactly_as_many_calls_as_allowed_are_served(bench: Bench) -> None:
    code = "for i in range(10): db.echo(i)\n'done'"
    assert await bench.value(code, limits={"calls": 10}) == "done"


async def test_arguments_over_the_frame_limit_fail_in_the_program(bench: Bench) -> None:
    outcome = await bench.run("db.echo('x' * 200_000)", limits={"frame_bytes": 100_000})
    assert outcome.error is not None
    assert "smaller batches" in outcome.error.message
    assert await bench.value("db.echo(1)") == 1


async def test_answers_over_the_frame_limit_fail_in_the_program(bench: Bench) -> None:
    host = TableHost(echo=lambda: Encoded(b'"' + b"x" * 200_000 + b'"'))
    outcome = await bench.run("db.echo()", host, limits={"frame_bytes": 100_000})
    assert outcome.error is not None
    assert outcome.error.type == "LimitExceeded"


async def test_output_is_cut_at_its_bound_and_said_so(bench: Bench) -> None:
    outcome = await bench.run("print('x' * 5000)\n'done'", limits={"output_bytes": 1000})
    assert (outcome.status, outcome.value, outcome.truncated) == ("ok", "done", True)
    assert outcome.output == "x" * 1000 + "\n[output cut at 1,000 bytes]\n"


async def test_what_was_printed_before_a_kill_is_kept(bench: Bench) -> None:
    outcome = await bench.run("print('before')\nwhile True: pass", limits={"cpu_s": 0.1})
    assert outcome.output == "before\n"


async def test_limits_are_finite_and_clamped() -> None:
    for wrong in (0, -1, float("inf"), float("nan"), None, True, "5"):
        with pytest.raises(ValueError, match="wall_s"):
            Limits(wall_s=wrong)  # type: ignore[arg-type]
    assert Limits(wall_s=1e9, memory_bytes=1 << 50).clamp(CEILING) == Limits(
        wall_s=CEILING.wall_s, memory_bytes=CEILING.memory_bytes
    )


async def test_usage_is_told(bench: Bench) -> None:
    outcome = await bench.run("for i in range(300_000): pass\ndb.echo(1)")
    usage = outcome.usage
    assert usage.calls == 1
    assert usage.wall_ms > 0
    assert usage.cpu_ms > 1
    assert usage.peak_memory_bytes > 1 << 20
    assert usage.bytes_in > 0
    assert usage.bytes_out > 0


# Ends


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("import os\nos._exit(3)", "exit code 3"),
        ("import os\nos.abort()", "abort"),
        ("import signal\nsignal.raise_signal(signal.SIGSEGV)", "memory fault"),
    ],
)
async def test_a_process_that_dies_is_a_crash_with_its_cause(bench: Bench, code: str, part: str) -> None:
    outcome = await bench.run(code)
    assert outcome.status == "crash"
    assert outcome.error is not None
    assert part in outcome.error.message
    assert await bench.value("1") == 1


async def test_a_cancelled_run_is_killed_and_its_calls_are_cancelled(bench: Bench) -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def forever(value: Any) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(bench.run("db.echo(1)", TableHost(echo=forever)))
    await reached.wait()
    (busy,) = [run._child.pid for run in bench.engine._runs]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    await gone(busy)
    assert await bench.value("1") == 1


async def test_closing_ends_runs_as_cancelled_and_every_process() -> None:
    reached = asyncio.Event()
    async with engine_of() as engine:
        pid = zygote_pid(engine)

        async def forever(value: Any) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(engine.run(Job("db.echo(1)", SPECS), TableHost(echo=forever)))
        await reached.wait()
        pids = [pid, *children(pid)]
        await engine.aclose()
        await engine.aclose()
        assert (await task).status == "cancelled"
        await gone(*pids)
        with pytest.raises(Unavailable):
            await engine.run(Job("1"), TableHost())


async def test_a_killed_zygote_is_replaced_and_its_runs_crash() -> None:
    reached = asyncio.Event()
    async with engine_of(warm=1) as engine:

        async def forever(value: Any) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(engine.run(Job("db.echo(1)", SPECS), TableHost(echo=forever)))
        await reached.wait()
        old = zygote_pid(engine)
        pids = children(old)
        os.kill(old, signal.SIGKILL)
        assert (await task).status == "crash"
        assert (await engine.run(Job("2"), TableHost())).value == 2
        assert zygote_pid(engine) != old
        await gone(old, *pids)


async def test_signals_to_the_whole_group_leave_runs_alone(bench: Bench) -> None:
    """A Ctrl-C, or a service manager that signals every process, must not break a draining host's runs."""
    pid = zygote_pid(bench.engine)
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert await bench.value("2") == 2
    assert zygote_pid(bench.engine) == pid


async def test_the_sandbox_is_scheduled_together_with_its_host(bench: Bench) -> None:
    """Linux weighs `nice` within a session, and sessions against each other: there a busy host starved its own runs."""
    pid = zygote_pid(bench.engine)
    assert os.getsid(pid) == os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


async def test_an_idle_child_that_died_is_passed_over() -> None:
    async with engine_of(warm=2) as engine:
        await engine.run(Job("1"), TableHost())
        await until(lambda: len(engine._idle) == 2)
        for child in list(engine._idle):
            child.kill()
            await child.exited
        assert (await engine.run(Job("2"), TableHost())).value == 2


async def test_zygotes_are_recycled_without_a_run_noticing() -> None:
    async with engine_of(recycle_after=5) as engine:
        seen = set()
        async with asyncio.timeout(60):
            while len(seen) < 3:
                outcomes = await asyncio.gather(*[engine.run(Job("5"), TableHost()) for _ in range(4)])
                assert [each.value for each in outcomes] == [5] * 4
                seen.add(zygote_pid(engine))
        await gone(*(seen - {zygote_pid(engine)}))


async def test_waiting_runs_are_bounded_in_number_and_time() -> None:
    async with engine_of(concurrency=1, waiting=1, queue_s=0.2) as engine:
        reached = asyncio.Event()
        go_on = asyncio.Event()

        async def wait(value: Any) -> None:
            reached.set()
            await go_on.wait()

        first = asyncio.create_task(engine.run(Job("db.echo(1)", SPECS), TableHost(echo=wait)))
        await reached.wait()
        second = asyncio.create_task(engine.run(Job("2"), TableHost()))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="wait for the sandbox already"):
            await engine.run(Job("3"), TableHost())
        with pytest.raises(Unavailable, match="waited"):
            await second
        go_on.set()
        assert (await first).status == "ok"
        assert (await engine.run(Job("4"), TableHost())).value == 4


async def test_many_runs_at_once_all_answer() -> None:
    async with engine_of(concurrency=4) as engine:
        outcomes = await asyncio.gather(*[engine.run(Job(f"{i} * 2"), TableHost()) for i in range(60)])
        assert [each.value for each in outcomes] == [i * 2 for i in range(60)]


async def test_no_process_survives_a_killed_host(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, pathlib, sys
            from sandbox.engine import Job
            from sandbox.engines.process import ProcessEngine
            class Host:
                async def call(self, *a): await asyncio.Event().wait()
                def output(self, stream, text): print(stream, flush=True)
            async def main():
                engine = ProcessEngine(warm=2)
                await engine.start()
                pid = engine._zygote.pid
                def show(_stream, _text):
                    kids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
                    print(pid, kids, flush=True)
                Host.output = lambda self, *a: show(*a)
                hang = "import signal\\nsignal.pthread_sigmask(0, range(1, 65))\\nprint(1)\\nwhile True: pass"
                await engine.run(Job(hang), Host())
            asyncio.run(main())
            """
        )
    )
    host = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert host.stdout is not None
    pids = [int(each) for each in host.stdout.readline().split()]
    assert len(pids) >= 2
    host.kill()
    host.wait()
    host.stdout.close()
    await gone(*pids)


# Witness


async def test_the_witness_names_layers_and_refusals(bench: Bench) -> None:
    witness = (await bench.engine.start()).to_dict()
    assert witness["layers"]["seccomp"] is True
    assert witness["layers"]["no_new_privs"] is True
    assert int(witness["layers"]["capabilities"] or "0", 16) == 0
    assert {"open a file", "fork", "run a program", "map executable memory", "signal the parent"} <= set(
        witness["refused"]
    )
    assert "seccomp" in bench.engine.capabilities.layers
    assert bench.engine.capabilities.full_python


async def test_a_hole_in_the_filter_keeps_the_engine_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _witness._probe

    async def unsealed(zygote: Any, sealed: bool) -> Any:
        return await real(zygote, sealed=False)

    monkeypatch.setattr(_witness, "_probe", unsealed)
    engine = ProcessEngine(landlock=False)
    with pytest.raises(Unavailable, match=r"not tight.*allowed to") as caught:
        await engine.start()
    assert "fork" in caught.value.message
    with pytest.raises(Unavailable):
        await engine.run(Job("1"), TableHost())
    await engine.aclose()


async def test_a_lying_kernel_account_keeps_the_engine_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_witness, "_status", lambda child: {"Seccomp": "0"})
    engine = ProcessEngine()
    with pytest.raises(Unavailable, match="Seccomp 0"):
        await engine.start()
    await engine.aclose()


async def test_without_landlock_and_namespaces_it_runs_and_says_so() -> None:
    async with engine_of(landlock=False, namespaces=False) as engine:
        witness = await engine.start()
        assert witness.layers["landlock"] == 0
        assert witness.layers["namespaces"] == []
        assert len(witness.warnings) == 2
        outcome = await engine.run(Job("open('/etc/passwd')"), TableHost())
        assert outcome.error is not None
        assert outcome.error.type == "PermissionError"


async def test_elsewhere_than_on_linux_it_names_the_other_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match="Linux") as caught:
        await ProcessEngine().start()
    assert "monty" in (caught.value.hint or "")


async def test_a_library_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("import nothing_of_this_name")
    engine = ProcessEngine(libraries={"sql": tmp_path})
    with pytest.raises(Unavailable, match="nothing_of_this_name"):
        await engine.start()
    await engine.aclose()


@pytest.mark.parametrize("namespaces", [True, False])
async def test_an_ordinary_user_has_the_same_walls(namespaces: bool) -> None:
    """Run by an ordinary user, where user namespaces can be had and where they cannot."""
    python = _python_for_everyone()
    if python is None:
        return  # no interpreter here that another user could run
    nobody = pwd.getpwnam("nobody")
    script = f"""
import asyncio, concurrent.futures.thread, json, os  # while this interpreter's files can still be read
from sandbox.engine import Job
from sandbox.engines.process import ProcessEngine
if os.getuid() == 0:
    os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
class Host:
    async def call(self, *a): return 1
    def output(self, *a): pass
async def main():
    engine = ProcessEngine(namespaces={namespaces}, python={python!r})
    witness = await engine.start()
    outcome = await engine.run(Job("open('/etc/passwd')"), Host())
    print(json.dumps([witness.to_dict(), outcome.error.type]))
    await engine.aclose()
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    witness, kind = json.loads(done.stdout)
    assert kind == "PermissionError"
    assert witness["layers"]["seccomp"] is True
    assert witness["layers"]["uid"] != "0"


def _python_for_everyone() -> str | None:
    for path in ("/usr/bin/python3", sys.executable):
        real = Path(path).resolve()
        open_to_all = real.exists() and all(
            each.stat().st_mode & 0o005 == 0o005 for each in (real, *real.parents)
        )
        if open_to_all and _is_recent(path):
            return path
    return None


def _is_recent(python: str) -> bool:
    code = "import sys; print(sys.version_info >= (3, 11))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip() == "True"
