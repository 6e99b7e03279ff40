"""Whatever is set, moved, deleted and restarted: an alarm fires when it is due, in order, and never otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.host import Host
from runtime.testing import ManualClock, harness, until
from tests.scratch import Probe

Key = tuple[str, str]
Step = tuple[str, Key, float]
Fired = tuple[str, str, int, float]

keys = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "z"]))
steps = st.one_of(
    st.tuples(st.just("set"), keys, st.sampled_from([-5.0, 0.0, 0.5, 10.0, 70.0, 400.0, 5000.0])),
    st.tuples(st.just("delete"), keys, st.just(0.0)),
    st.tuples(st.just("advance"), keys, st.sampled_from([0.5, 9.5, 61.0, 400.0, 4000.0])),
    st.tuples(st.just("restart"), keys, st.sampled_from([0.0, 3.0, 600.0])),
    st.tuples(st.just("remove actor"), keys, st.just(0.0)),
)


class Model:
    """What should happen: the alarms that stand, and those that fired."""

    def __init__(self) -> None:
        self.standing: dict[Key, float] = {}
        self.fired: list[Key] = []

    def step(self, what: str, key: Key, number: float, now: float) -> None:
        match what:
            case "set":
                self.standing[key] = now + number
            case "delete":
                self.standing.pop(key, None)
            case "remove actor":
                self.standing = {k: due for k, due in self.standing.items() if k[0] != key[0]}

    def fire(self, now: float) -> None:
        for key in sorted(
            (k for k, due in self.standing.items() if due <= now), key=self.standing.__getitem__
        ):
            self.fired.append(key)
            del self.standing[key]


async def act(host: Host, clock: ManualClock, what: str, key: Key, number: float) -> None:
    probe = host.namespace("probe").get(key[0])
    match what:
        case "set":
            await probe.set_alarm(key[1], clock.now() + number)
        case "delete":
            await probe.delete_alarm(key[1])
        case "remove actor":
            await host.delete(probe.address)
        case "advance":
            await clock.advance(number)


async def play(folder: Path, script: list[Step]) -> None:
    clock, model = ManualClock(), Model()
    fired: list[Fired] = []
    rest = [*script, ("advance", ("a", "x"), 10_000.0)]
    while rest:
        async with harness(folder, Probe, clock=clock) as host:
            host.services["fired"] = fired
            while True:
                await until(lambda: host.alarms.at_rest and not any(i.busy for i in host.live()))
                model.fire(clock.now())
                assert sorted(key for *key, _, _ in fired) == sorted(map(list, model.fired))
                if not rest:
                    break
                what, key, number = rest.pop(0)
                if what == "set":
                    number += "xyz".index(key[1]) / 1000  # two of one moment would have no order
                model.step(what, key, number, clock.now())
                if what == "restart":
                    break
                await act(host, clock, what, key, number)
        if rest and what == "restart":
            await clock.advance(number)
    for actor in "ab":
        assert [name for a, name, *_ in fired if a == actor] == [
            name for a, name in model.fired if a == actor
        ]
    assert all(retry == 0 for _, _, retry, _ in fired)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=1, max_size=12))
def test_every_alarm_that_stands_fires_once_when_it_is_due(script: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), script))
