"""Results that a program awaits come in one order, and what it does follows from that order alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.engine import HelperSpec, Job, Limits, ParamSpec
from sandbox.engines.process import ProcessEngine
from sandbox.runs.keys import key_of, shown
from sandbox.runs.order import Order

pytestmark = pytest.mark.asyncio(loop_scope="module")
SPECS = (
    HelperSpec("tools.get", (ParamSpec("n"),), awaitable=True),
    HelperSpec("db.get", (ParamSpec("n"),)),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(warm=1)
    await engine.start()
    yield engine
    await engine.aclose()


class Together:
    """Answers awaited calls in the order of `order`, all in one breath, when all are there."""

    def __init__(self, *order: int) -> None:
        self._order = order
        self._here: dict[int, asyncio.Future[int]] = {}

    async def call(self, index: int, name: str, args: list[int], kwargs: dict[str, int]) -> int:
        if name == "db.get":
            return args[0]
        future = self._here[args[0]] = asyncio.get_running_loop().create_future()
        if len(self._here) == len(self._order):
            asyncio.get_running_loop().call_soon(self._answer)
        return await future

    def _answer(self) -> None:
        for n in self._order:
            self._here[n].set_result(n)

    def output(self, stream: str, text: str) -> None:
        """Drop it."""


DEEP = """
import asyncio
seen = []
async def near(n):
    seen.append(await tools.get(n))
    db.get(n)
async def inner(n):
    return await asyncio.gather(asyncio.wait_for(tools.get(n), 60))
async def far(n):
    await asyncio.gather(asyncio.ensure_future(inner(n)))
    seen.append(n)
    db.get(n)
await asyncio.gather(far(0), near(1), far(2), near(3))
seen
"""


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
async def test_results_that_come_together_are_seen_one_after_the_other(
    engine: ProcessEngine, order: tuple[int, ...]
) -> None:
    outcome = await engine.run(Job(DEEP, SPECS), Together(*order))
    # However many steps it takes inside the program until a result is where it belongs.
    assert outcome.value == list(order), outcome.error


async def test_a_program_that_never_rests_has_its_results_all_the_same(engine: ProcessEngine) -> None:
    code = "import asyncio\ntask = asyncio.ensure_future(tools.get(7))\nwhile not task.done():\n    await asyncio.sleep(0)\ntask.result()"
    outcome = await engine.run(Job(code, SPECS), Together(7))
    assert outcome.value == 7, outcome.error


TWICE = """
import asyncio
async def first():
    done, _ = await asyncio.wait([asyncio.ensure_future(tools.get(n)) for n in range(4)], return_when="FIRST_COMPLETED")
    return len(done)
async def second():
    return await asyncio.gather(*(tools.get(n) for n in range(4, 8)))
[asyncio.run(first()), asyncio.run(second())]
"""


async def test_one_event_loop_after_the_other(engine: ProcessEngine) -> None:
    class InTurn(Together):
        async def call(self, index: int, name: str, args: list[int], kwargs: dict[str, int]) -> int:
            return args[0]

    outcome = await engine.run(Job(TWICE, SPECS, limits=Limits(wall_s=20)), InTurn())
    assert outcome.value == [1, [4, 5, 6, 7]], outcome.error


async def test_a_result_waits_for_those_before_it_unless_they_are_given_up() -> None:
    order = Order(recorded=1)
    first, second, third = order.take(), order.take(), order.take()
    left: list[str] = []

    async def leave(place: int, name: str) -> None:
        await order.turn(place)
        left.append(name)

    tasks = [asyncio.ensure_future(leave(third, "third")), asyncio.ensure_future(leave(first, "first"))]
    await asyncio.sleep(0)
    assert (left, order.caught_up) == ([], False)
    order.leave(0)
    await asyncio.sleep(0)
    await tasks[1]
    assert (left, order.caught_up) == (["first"], True)
    order.leave(second)
    await tasks[0]
    assert left == ["first", "third"]
    with pytest.raises(TimeoutError):
        await order.turn(order.take() + 1, 0.01)


async def test_a_key_tells_calls_apart() -> None:
    calls = [
        ("db.exec", [1], {}),
        ("db.exec", ["1"], {}),
        ("db.exec", [1.5], {}),
        ("db.exec", [], {"a": 1}),
        ("db.query", [1], {}),
        ("db.exec", [[1]], {}),
        ("db.exec", [b"1"], {}),
        ("db.exec", [{"a", "b"}], {}),
        ("db.exec", [1 << 80], {}),
    ]
    assert len({key_of(name, args, kwargs)[0] for name, args, kwargs in calls}) == len(calls)
    assert key_of("db.exec", [{"b", "a"}], {}) == key_of("db.exec", [{"a", "b"}], {})
    assert shown(b"x" * 10, 4) == "xxxx …"
    assert shown("ä".encode() * 3, 3) == "ä …"
