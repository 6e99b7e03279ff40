"""Ten thousand alarms: none lost, in order of time, none late for the number of the others."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.alarms import _AT_ONCE
from runtime.clock import SystemClock
from runtime.limits import Limits
from runtime.testing import ManualClock, harness, until
from tests.scratch import Probe

ACTORS = 10_000 if os.environ.get("DURALITE_SOAK") else 500
ALARMS = 10_000


async def set_many(host: object, dues: dict[str, float]) -> None:
    probe = host.namespace("probe").get("one")  # type: ignore[attr-defined]
    await probe.set_alarms(dues)


@pytest.mark.slow
async def test_ten_thousand_alarms_of_one_actor_due_in_one_second_all_fire_in_order(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock) as host:
        start = clock.now() + 100
        await set_many(host, {f"{i:05}": start + (i * 7919 % ALARMS) / ALARMS for i in range(ALARMS)})
        await clock.advance(101)
        fired = host.services.setdefault("fired", [])
        await until(lambda: len(fired) >= ALARMS, 100)
        dues = [int(name) * 7919 % ALARMS for _, name, _, _ in fired]
        assert dues == list(range(ALARMS))
        await until(lambda: host.alarms.at_rest)
        assert await host.namespace("probe").get("one").list_alarms() == []
        assert (await host.facts(host.namespace("probe").get("one").address)).next_alarm is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_alarms_of_many_actors_due_in_one_second_all_fire_in_order(tmp_path: Path) -> None:
    """Actors work side by side, so an alarm may overtake as many others as may fire at once, and no more."""
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock, limits=Limits(max_open=100, call_s=600)) as host:
        start = clock.now() + 10_000
        places = asyncio.Semaphore(100)

        async def arm(number: int) -> None:
            async with places:
                probe = host.namespace("probe").get(str(number))
                await probe.set_alarm("a", start + (number * 7919 % ACTORS) / ACTORS)

        await asyncio.gather(*(arm(number) for number in range(ACTORS)))
        await clock.advance(10_001)
        fired = host.services.setdefault("fired", [])
        await until(lambda: len(fired) >= ACTORS, 600)
        order = [int(name) * 7919 % ACTORS for name, *_ in fired]
        assert sorted(order) == list(range(ACTORS))
        assert all(abs(place - due) <= 2 * _AT_ONCE for place, due in enumerate(order))


@pytest.mark.slow
async def test_ten_thousand_pending_alarms_make_none_late(tmp_path: Path) -> None:
    """On the clock of the test lateness is what the scheduler itself adds: nothing."""
    clock = ManualClock()
    async with harness(tmp_path, Probe, clock=clock) as host:
        start = clock.now()
        await set_many(host, {f"far {i}": start + 3600 + i for i in range(ALARMS)})
        await set_many(host, {f"near {i}": start + 1 + i / 10 for i in range(20)})
        fired = host.services.setdefault("fired", [])
        for _ in range(40):
            await clock.advance(0.1)
            await until(lambda: host.alarms.at_rest)
        lateness = [moment - (start + 1 + int(name.split()[1]) / 10) for _, name, _, moment in fired]
        assert len(lateness) == 20
        assert max(lateness) <= 0.1


async def test_alarms_fire_in_real_time(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, clock=SystemClock()) as host:
        start = time.time()
        await set_many(host, {f"far {i}": start + 3600 + i for i in range(1_000)})
        start = time.time()
        await set_many(host, {f"{i}": start + 0.2 + i / 100 for i in range(20)})
        fired = host.services.setdefault("fired", [])
        await until(lambda: len(fired) == 20)
        moments = [moment for *_, moment in fired]
        assert all(before <= after for before, after in pairwise(moments))
        for _, name, _, moment in fired:
            assert 0 <= moment - (start + 0.2 + int(name) / 100) < 5, (
                "a hang guard; lateness is in the benchmarks"
            )
