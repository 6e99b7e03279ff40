"""Alarms wake an actor at their moment, at least once, and are buried, not lost, after six retries."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runtime.actor import Actor
from runtime.alarms import MAX_RETRIES, AlarmEvent, retry_delay
from runtime.directory import Directory, IndexedAlarm
from runtime.errors import InputError, LimitExceeded
from runtime.host import Host
from runtime.limits import Limits
from runtime.method import method
from runtime.namespace import Stub
from runtime.storage.transaction import Transaction
from runtime.testing import ManualClock, harness, settle, until
from tests.scratch import Probe, gate


def fired(host: Host) -> list[tuple[str, str, int, float]]:
    """Return (actor, alarm, retry, moment) of every firing."""
    found: list[tuple[str, str, int, float]] = host.services.setdefault("fired", [])
    return found


async def quiet(host: Host) -> None:
    """Wait until no alarm is on its way."""
    await settle()
    await until(lambda: host.alarms.at_rest and not any(i.busy for i in host.live()))


class Careful(Actor, type_name="careful"):
    """An actor whose alarm handler is a turn."""

    @method()
    def remind(self, tx: Transaction, name: str, due: float, payload: Any = None) -> None:
        """Set an alarm."""
        self.alarms.set(tx, name, due, payload)

    @method(read_only=True)
    def left(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return all alarms."""
        return self.alarms.all(tx)

    async def alarm(self, event: AlarmEvent) -> None:  # type: ignore[override]
        """Note the alarm, after the gate if the payload names one."""
        payload = event.payload or {}
        fired(self.host).append((self.name, event.name, event.retry, self.host.clock.now()))
        if "gate" in payload:
            await gate(self.host, payload["gate"]).wait()
        if event.retry < payload.get("fail", 0):
            raise RuntimeError("on purpose")
        if again := payload.get("again"):
            now = self.host.clock.now()
            await self.storage.run(lambda tx: self.alarms.set(tx, event.name, now + again, None))


async def test_an_alarm_fires_at_its_moment_and_not_before(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    due = clock.now() + 10
    await probe.set_alarm("one", due)
    await clock.advance(9.999)
    await quiet(host)
    assert fired(host) == []
    await clock.advance(0.001)
    await quiet(host)
    assert fired(host) == [("one", "one", 0, due)]
    assert await probe.list_alarms() == []


async def test_an_alarm_in_the_past_fires_at_once(host: Host, clock: ManualClock, probe: Stub) -> None:
    await probe.set_alarm("late", clock.now() - 1000)
    await quiet(host)
    assert [name for _, name, _, _ in fired(host)] == ["late"]


async def test_alarms_of_one_actor_fire_in_order_of_time(host: Host, clock: ManualClock, probe: Stub) -> None:
    start = clock.now()
    await probe.set_alarms({f"{i:03}": start + 1 + (i * 7 % 100) / 100 for i in range(100)})
    await clock.advance(3)
    await quiet(host)
    dues = [1 + (int(name) * 7 % 100) / 100 for _, name, _, _ in fired(host)]
    assert dues == sorted(dues)
    assert len(dues) == 100


async def test_an_alarm_that_is_moved_fires_once_at_the_new_moment(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    await probe.set_alarm("a", clock.now() + 5)
    await probe.set_alarm("a", clock.now() + 50)
    await clock.advance(20)
    await quiet(host)
    assert fired(host) == []
    await probe.set_alarm("a", clock.now() + 1)
    await clock.advance(100)
    await quiet(host)
    assert len(fired(host)) == 1


async def test_a_deleted_alarm_does_not_fire(host: Host, clock: ManualClock, probe: Stub) -> None:
    await probe.set_alarm("a", clock.now() + 5)
    assert await probe.delete_alarm("a") is True
    assert await probe.delete_alarm("a") is False
    await clock.advance(10)
    await quiet(host)
    assert fired(host) == []


@pytest.mark.parametrize("kind", ["probe", "careful"])
async def test_failures_come_back_after_2_4_8_seconds_and_die_after_six_retries(
    tmp_path: Path, kind: str
) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, Careful, clock=clock) as host:
        actor = host.namespace(kind).get("one")
        set_alarm = actor.set_alarm if kind == "probe" else actor.remind
        heard = host.events.listen(actor.id)
        dead = asyncio.ensure_future(anext(heard))
        await settle()
        await set_alarm("bad", clock.now(), {"fail": 99})
        await quiet(host)
        while len(fired(host)) <= MAX_RETRIES:
            await clock.advance(1)
            await quiet(host)
        moments = [moment for *_, moment in fired(host)]
        for attempt, (before, after) in enumerate(pairwise(moments), 1):
            assert 2**attempt <= after - before <= 2**attempt * 1.25 + 1
        assert [retry for _, _, retry, _ in fired(host)] == list(range(MAX_RETRIES + 1))
        await clock.advance(10_000)
        await quiet(host)
        assert len(fired(host)) == MAX_RETRIES + 1
        (record,) = await (actor.list_alarms() if kind == "probe" else actor.left())
        assert record["dead"] is True
        assert "on purpose" in record["error"]
        assert (await dead).type == "alarm_dead"
        await heard.aclose()
        assert (await host.facts(actor.address)).next_alarm is None


def test_a_retry_waits_at_most_a_quarter_longer() -> None:
    for attempt in range(1, 7):
        assert retry_delay(attempt, lambda: 0.0) == 2**attempt
        assert retry_delay(attempt, lambda: 1.0) == 2**attempt * 1.25


async def test_the_counter_of_failures_survives_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock) as host:
        await host.namespace("probe").get("one").set_alarm("bad", clock.now(), {"fail": 2})
        await quiet(host)
        assert [retry for _, _, retry, _ in fired(host)] == [0]
    await clock.advance(5)
    async with harness(tmp_path, Probe, clock=clock) as host:
        await until(lambda: len(fired(host)) == 1)
        await quiet(host)
        assert [retry for _, _, retry, _ in fired(host)] == [1]
        await clock.advance(10)
        await quiet(host)
        assert [retry for _, _, retry, _ in fired(host)] == [1, 2]
        assert await host.namespace("probe").get("one").list_alarms() == []


async def test_an_overdue_alarm_fires_right_after_start(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock) as host:
        await host.namespace("probe").get("one").set_alarm("a", clock.now() + 60)
    await clock.advance(3600)
    async with harness(tmp_path, Probe, clock=clock) as host:
        await until(lambda: len(fired(host)) == 1)


@pytest.mark.parametrize("kind", ["probe", "careful"])
async def test_a_handler_may_set_its_alarm_anew(tmp_path: Path, kind: str) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, Careful, clock=clock) as host:
        actor = host.namespace(kind).get("one")
        set_alarm = actor.set_alarm if kind == "probe" else actor.remind
        start = clock.now()
        await set_alarm("tick", start + 1, {"again": 10})
        await clock.advance(1)
        await quiet(host)
        assert (await host.facts(actor.address)).next_alarm == start + 11
        await clock.advance(10)
        await quiet(host)
        assert [moment for _, _, _, moment in fired(host)] == [start + 1, start + 11]


async def test_a_failed_handler_leaves_nothing_of_what_it_wrote(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    await probe.set_alarm("bad", clock.now(), {"fail": 1})
    await quiet(host)
    assert await probe.notes() == []
    await clock.advance(3)
    await quiet(host)
    assert len(await probe.notes()) == 1


async def test_an_alarm_opens_its_actor_and_lets_it_go_again(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    await probe.set_alarm("a", clock.now() + 1000)
    for _ in range(3):
        await clock.advance(61)
        await until(lambda: not any(i.closing for i in host.live()))
    await until(lambda: not host.live())
    await clock.advance(1000)
    await until(lambda: len(fired(host)) == 1)
    assert len(await probe.notes()) == 1


async def test_an_async_handler_holds_up_no_other_actor(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Careful, clock=clock) as host:
        a, b = (host.namespace("careful").get(name) for name in "ab")
        await a.remind("slow", clock.now(), {"gate": "g"})
        await b.remind("quick", clock.now())
        await until(lambda: {name for name, *_ in fired(host)} == {"a", "b"})
        gate(host, "g").set()
        await quiet(host)
        assert await a.left() == []


async def test_alarms_of_a_deleted_actor_are_gone_and_those_of_its_successor_are_not(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    await probe.set_alarm("old", clock.now() + 10)
    await host.delete(probe.address)
    await probe.set_alarm("new", clock.now() + 20)
    await clock.advance(30)
    await quiet(host)
    assert [name for _, name, _, _ in fired(host)] == ["new"]


async def test_an_alarm_waits_for_a_host_that_knows_its_type(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock) as host:
        await host.namespace("probe").get("one").set_alarm("a", clock.now() + 1)
    await clock.advance(60)
    async with harness(tmp_path, Careful, clock=clock) as host:
        await clock.advance(600)
        await quiet(host)
        assert host.alarms.failed == host.alarms.fired == 0
    async with harness(tmp_path, Probe, clock=clock) as host:
        await until(lambda: len(fired(host)) == 1)


async def test_an_alarm_of_the_far_future_is_read_when_its_time_comes(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    due = clock.now() + 40_000
    await probe.set_alarm("far", due)
    await clock.advance(39_999)
    await quiet(host)
    assert fired(host) == []
    await clock.advance(1)
    await quiet(host)
    assert fired(host) == [("one", "far", 0, due)]


@pytest.mark.parametrize("name", ["", "_ttl", "x" * 201])
async def test_a_name_that_cannot_be_an_alarms_is_refused(probe: Stub, name: str) -> None:
    with pytest.raises(InputError):
        await probe.set_alarm(name, 0.0)


async def test_the_number_of_alarms_of_an_actor_is_bounded(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(max_alarms=3)) as host:
        probe = host.namespace("probe").get("one")
        far = host.clock.now() + 10_000
        await probe.set_alarms(dict.fromkeys("abc", far))
        await probe.set_alarm("b", far + 1)
        with pytest.raises(LimitExceeded) as refused:
            await probe.set_alarm("d", far)
        assert refused.value.limit == "max_alarms"
        await probe.delete_alarm("a")
        await probe.set_alarm("d", far)
        assert len(await probe.list_alarms()) == 3


async def test_an_alarm_set_by_a_unit_that_fails_is_not_set(
    host: Host, clock: ManualClock, probe: Stub
) -> None:
    with pytest.raises(InputError):
        await probe.set_alarms({"good": clock.now() + 1, "_bad": 0.0})
    await clock.advance(10)
    await quiet(host)
    assert fired(host) == []


@pytest.mark.parametrize("due", [float("nan"), float("inf"), 1e300])
async def test_a_moment_that_is_none_is_refused(probe: Stub, due: float) -> None:
    with pytest.raises(InputError):
        await probe.set_alarm("a", due)


async def test_an_alarm_set_while_the_index_is_read_fires_at_its_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    read, go_on = asyncio.Event(), asyncio.Event()
    unhurried = Directory.alarms_until

    async def slow(self: Directory, moment: float, limit: int) -> list[IndexedAlarm]:
        rows = await unhurried(self, moment, limit)
        read.set()
        await go_on.wait()
        return rows

    monkeypatch.setattr(Directory, "alarms_until", slow)
    async with harness(tmp_path, Careful, clock=clock) as host:
        await read.wait()
        await host.namespace("careful").get("a").remind("soon", clock.now() + 5)
        go_on.set()
        await quiet(host)
        await clock.advance(5)
        await until(lambda: fired(host) == [("a", "soon", 0, clock.now())], seconds=10)
