"""One actor does one thing at a time, in order of arrival, until a deadline, and lets nothing hang or leak."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path

import pytest

from runtime.context import CallContext
from runtime.errors import (
    ActorClosed,
    ActorDeadlock,
    ActorOverloaded,
    Cancelled,
    DeadlineExceeded,
    DuraliteError,
    Unavailable,
)
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import harness, settle, until
from tests.scratch import Probe, gate


def within(seconds: float) -> CallContext:
    return CallContext(deadline=time.monotonic() + seconds)


async def call(host: Host, stub: Stub, method: str, seconds: float, **kwargs: object) -> object:
    spec = host.spec(stub.address.type, method)
    return await host.call(stub.address, spec, kwargs, within(seconds))


async def test_turns_run_one_at_a_time_in_order_of_arrival(host: Host, probe: Stub) -> None:
    names = [f"{i:02}" for i in range(20)]
    answers = await asyncio.gather(*(probe.turn(name) for name in names))
    assert answers == names
    assert await probe.notes() == [f"{word} {name}" for name in names for word in ("begin", "end")]


async def test_units_keep_their_place_around_a_turn(host: Host, probe: Stub) -> None:
    await probe.note("first")
    tasks = [
        asyncio.ensure_future(c)
        for c in (probe.note("before"), probe.turn("turn", "g"), probe.note("after"), probe.turn("last"))
    ]
    await until(lambda: tasks[0].done())
    await settle()
    assert not tasks[2].done()
    gate(host, "g").set()
    await asyncio.gather(*tasks)
    assert await probe.notes() == [
        "first",
        "before",
        "begin turn",
        "end turn",
        "after",
        "begin last",
        "end last",
    ]


async def test_concurrent_methods_run_beside_a_turn_and_units_do_not(host: Host, probe: Stub) -> None:
    turn = asyncio.ensure_future(probe.turn("long", "turn"))
    beside = asyncio.ensure_future(probe.beside("beside"))
    unit = asyncio.ensure_future(probe.note("unit"))
    gate(host, "beside").set()
    assert await beside == "beside"
    assert not turn.done()
    assert not unit.done()
    gate(host, "turn").set()
    await asyncio.gather(turn, unit)


async def test_a_full_mailbox_refuses_with_the_limit_and_a_time_to_retry(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(mailbox=5)) as host:
        probe = host.namespace("probe").get("one")
        turn = asyncio.ensure_future(probe.turn("long", "g"))
        await settle()
        waiting = [asyncio.ensure_future(probe.note(str(i))) for i in range(5)]
        await settle()
        with pytest.raises(ActorOverloaded) as refused:
            await probe.note("too many")
        assert refused.value.limit == "mailbox"
        assert refused.value.retry_after
        gate(host, "g").set()
        await asyncio.gather(turn, *waiting)
        assert await probe.note("now") > 0


async def test_too_many_concurrent_calls_are_refused(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(concurrent_calls=2)) as host:
        probe = host.namespace("probe").get("one")
        await probe.notes()
        running = [asyncio.ensure_future(probe.beside("g")) for _ in range(2)]
        await settle()
        with pytest.raises(ActorOverloaded) as refused:
            await probe.beside("g")
        assert refused.value.limit == "concurrent_calls"
        gate(host, "g").set()
        await asyncio.gather(*running)


async def test_a_running_unit_ends_at_its_deadline_and_is_rolled_back(host: Host, probe: Stub) -> None:
    await probe.notes()
    with pytest.raises(DeadlineExceeded):
        await call(host, probe, "forever", 0.1)
    assert await probe.notes() == []


async def test_a_unit_that_waits_for_the_thread_is_answered_at_its_deadline(host: Host, probe: Stub) -> None:
    host.services["stop"] = threading.Event()
    await probe.notes()
    holding = asyncio.ensure_future(probe.hold("stop"))
    await settle()
    with pytest.raises(DeadlineExceeded):
        await call(host, probe, "note", 0.05, text="never")
    assert not holding.done()
    host.services["stop"].set()
    assert await holding == "stop"
    assert await probe.notes() == ["stop"]


async def test_calls_that_wait_behind_a_turn_are_answered_at_their_deadline(host: Host, probe: Stub) -> None:
    turn = asyncio.ensure_future(probe.turn("long", "g"))
    await settle()
    late = [
        asyncio.ensure_future(call(host, probe, "note", 0.05, text="never")),
        asyncio.ensure_future(call(host, probe, "turn", 0.05, text="never")),
    ]
    for waiting in late:
        with pytest.raises(DeadlineExceeded):
            await waiting
    assert not turn.done()
    gate(host, "g").set()
    await turn
    assert await probe.notes() == ["begin long", "end long"]


async def test_a_turn_ends_at_its_deadline_and_the_next_one_starts(host: Host, probe: Stub) -> None:
    with pytest.raises(DeadlineExceeded):
        await call(host, probe, "turn", 0.05, text="stuck", gate_name="never")
    assert await probe.turn("next") == "next"


async def test_a_unit_that_cannot_be_interrupted_is_answered_at_its_deadline_and_not_committed(
    host: Host, probe: Stub
) -> None:
    host.services["stop"] = threading.Event()
    await probe.notes()
    with pytest.raises(DeadlineExceeded):
        await call(host, probe, "hold", 0.05, name="stop")
    host.services["stop"].set()
    assert await probe.notes() == []


async def test_a_caller_that_goes_away_interrupts_its_statement(host: Host, probe: Stub) -> None:
    await probe.notes()
    caller = asyncio.ensure_future(probe.forever())
    instance = host.live()[0]
    await until(lambda: instance.connection._running is not None)
    caller.cancel()
    assert await probe.note("after") > 0
    assert await probe.notes() == ["after"]
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_callers_that_go_away_before_the_first_step_leave_the_actor_free(
    host: Host, probe: Stub
) -> None:
    await probe.notes()
    for method in ("turn", "beside"):
        caller = asyncio.ensure_future(getattr(probe, method)("g"))
        await asyncio.sleep(0)  # the call is made, its task has not begun
        caller.cancel()
        await settle()
        assert caller.cancelled()
    assert not host.live()[0].busy
    assert await probe.turn("next") == "next"


async def test_a_caller_that_goes_away_while_its_actor_opens_hurts_nobody_else(
    host: Host, probe: Stub
) -> None:
    callers = [asyncio.ensure_future(probe.note(str(i))) for i in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    assert [await c for c in callers[1:]] == [1, 2]
    assert callers[0].cancelled()
    assert host.opened == 1


async def test_a_cancelled_unit_in_the_middle_of_a_group_takes_only_itself_away(
    host: Host, probe: Stub
) -> None:
    host.services["stop"] = threading.Event()
    await probe.notes()
    holding = asyncio.ensure_future(probe.hold("stop"))
    callers = [asyncio.ensure_future(probe.jot(str(i))) for i in range(9)]
    await settle()
    callers[4].cancel()
    host.services["stop"].set()
    await asyncio.gather(holding, *callers, return_exceptions=True)
    assert await probe.notes() == ["stop", *(str(i) for i in range(9) if i != 4)]


async def test_a_call_chain_that_comes_back_fails_at_once_and_names_the_chain(host: Host) -> None:
    a = host.namespace("probe").get("a")
    assert await a.relay(["b", "c"]) == ["a", "b", "c"]
    with pytest.raises(ActorDeadlock) as deadlock:
        await a.relay(["b", "c", "a"])
    assert [label.split("/")[1] for label in deadlock.value.extra["chain"]] == [
        "a.relay",
        "b.relay",
        "c.relay",
        "a.relay",
    ]
    assert " → " in deadlock.value.message
    assert await a.relay(["b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "seen"), [("timeout", TimeoutError), ("cancel", Cancelled), ("value", ValueError)]
)
async def test_what_a_turn_raises_is_what_its_caller_sees(
    host: Host, probe: Stub, kind: str, seen: type[Exception]
) -> None:
    with pytest.raises(seen):
        await probe.fail(kind)
    assert await probe.turn("next") == "next"


async def test_deletion_answers_running_and_waiting_calls(host: Host, probe: Stub) -> None:
    await probe.notes()
    calls = [
        asyncio.ensure_future(c)
        for c in (
            probe.beside("never"),
            probe.turn("long", "never"),
            probe.note("waits"),
            probe.turn("waits"),
        )
    ]
    await settle()
    assert await host.delete(probe.address)
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, ActorClosed)
    assert await probe.notes() == []


async def test_deletion_interrupts_a_runaway_statement(host: Host, probe: Stub) -> None:
    await probe.notes()
    runaway = asyncio.ensure_future(probe.forever())
    instance = host.live()[0]
    await until(lambda: instance.connection._running is not None)
    assert await host.delete(probe.address)
    with pytest.raises(ActorClosed):
        await runaway


async def test_a_drain_lets_calls_end_and_refuses_new_ones(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe) as host:
        probe = host.namespace("probe").get("one")
        turn = asyncio.ensure_future(probe.turn("long", "g"))
        await settle()
        unit = asyncio.ensure_future(probe.note("waiting"))
        await settle()
        stopping = asyncio.ensure_future(host.stop())
        await settle()
        with pytest.raises(Unavailable):
            await probe.note("new")
        gate(host, "g").set()
        await stopping
        assert await turn == "long"
        assert await unit == 3
    async with harness(tmp_path, Probe) as host:
        assert await host.namespace("probe").get("one").notes() == ["begin long", "end long", "waiting"]


async def test_a_drain_that_takes_too_long_fails_what_is_left_clearly(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(drain_s=0.05)) as host:
        probe = host.namespace("probe").get("one")
        stuck = [
            asyncio.ensure_future(c)
            for c in (probe.turn("long", "never"), probe.note("behind"), probe.beside("never"))
        ]
        runaway = asyncio.ensure_future(host.namespace("probe").get("two").forever())
        await settle()
        await host.stop()
        for result in await asyncio.gather(*stuck, runaway, return_exceptions=True):
            assert isinstance(result, (Unavailable, ActorClosed)), repr(result)


async def test_ordinary_use_never_holds_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No callback takes 100 ms of the loop's own CPU time; what the machine does beside it does not count."""
    longest = 0.0
    plain = asyncio.Handle._run  # type: ignore[attr-defined]

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        started = time.thread_time()
        plain(handle)
        longest = max(longest, time.thread_time() - started)

    # Nor does what thousands of tests before this one left for the garbage collector to look through.
    gc.collect()
    gc.freeze()
    try:
        monkeypatch.setattr(asyncio.Handle, "_run", timed)
        async with harness(tmp_path, Probe) as host:
            probes = [host.namespace("probe").get(str(i)) for i in range(10)]
            await asyncio.gather(*(p.note(str(i)) for p in probes for i in range(20)))
            await asyncio.gather(*(p.turn("turn") for p in probes))
    finally:
        gc.unfreeze()
    assert 0 < longest < 0.1


async def test_errors_of_the_runtime_are_plain_data(host: Host, probe: Stub) -> None:
    with pytest.raises(DuraliteError) as missing:
        await probe.no_such_method()
    problem = missing.value.to_problem()
    assert problem["code"] == "method_not_found"
    assert "note" in problem["hint"]
