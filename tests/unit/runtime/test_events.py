"""Events come in order; a reader that comes back gets what it missed, or is told that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from runtime import events as module
from runtime.events import Event, Events
from runtime.ids import ActorId

ONE, TWO = ActorId("1" * 32), ActorId("2" * 32)


async def take(source: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(source) for _ in range(count)]


async def test_a_reader_hears_what_happens_from_its_start_on_in_order() -> None:
    events = Events(keep=10)
    events.publish(ONE, "before", 0)
    async with aclosing(events.listen(ONE)) as reader:
        first = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        for number in range(3):
            events.publish(ONE, "n", number)
        events.publish(TWO, "other", 0)
        assert [e.data for e in [await first, *await take(reader, 2)]] == [0, 1, 2]


async def test_a_reader_that_comes_back_gets_what_it_missed_once() -> None:
    events = Events(keep=10)
    sent = [events.publish(ONE, "n", number) for number in range(5)]
    async with aclosing(events.listen(ONE, sent[1].id)) as reader:
        assert await take(reader, 3) == sent[2:]
        events.publish(ONE, "n", 5)
        assert (await anext(reader)).data == 5


async def test_a_reader_that_was_away_too_long_is_told_to_look_again() -> None:
    events = Events(keep=3)
    sent = [events.publish(ONE, "n", number) for number in range(9)]
    for stale in (
        sent[4].id,
        "other-3",
        f"{sent[0].id}9999",
        sent[0].id.split("-")[0] + "-" + "9" * 5000,
        "",
        "-",
        "x",
    ):
        async with aclosing(events.listen(ONE, stale)) as reader:
            reset = await anext(reader)
            assert reset.type == "reset"
            events.publish(ONE, "n", "next")
            assert (await anext(reader)).data == "next"
            assert reset.id != stale


async def test_the_id_of_a_reset_can_be_resumed_from() -> None:
    events = Events(keep=3)
    events.publish(ONE, "n", 0)
    async with aclosing(events.listen(ONE, "gone-1")) as reader:
        reset = await anext(reader)
    after = events.publish(ONE, "n", 1)
    async with aclosing(events.listen(ONE, reset.id)) as reader:
        assert await anext(reader) == after


async def test_a_reader_that_does_not_read_is_dropped_and_holds_nobody_up() -> None:
    events = Events(keep=10_000)
    async with aclosing(events.listen(ONE)) as slow, aclosing(events.listen(ONE)) as quick:
        starts = [asyncio.ensure_future(anext(slow)), asyncio.ensure_future(anext(quick))]
        await asyncio.sleep(0)
        events.publish(ONE, "n", 0)
        await asyncio.gather(*starts)
        heard = []
        for number in range(1, module._QUEUE + 10):
            events.publish(ONE, "n", number)
            heard.append((await anext(quick)).data)
        assert heard == list(range(1, module._QUEUE + 10))
        got = [event async for event in slow]
        assert [e.data for e in got] == list(range(1, module._QUEUE + 1)), "no gap before the end"
    async with aclosing(events.listen(ONE, got[-1].id)) as again:
        assert (await anext(again)).data == got[-1].data + 1


async def test_the_memory_for_actors_nobody_listens_to_is_bounded_and_ids_never_come_twice() -> None:
    events = Events(keep=2)
    old = [events.publish(ONE, "n", number) for number in range(4)]
    for number in range(module._ACTORS_REMEMBERED + 10):
        events.publish(ActorId(f"{number:032x}"), "n", 0)
    assert len(events._channels) <= module._ACTORS_REMEMBERED + 1
    new = [events.publish(ONE, "n", number) for number in range(6)]
    assert not {e.id for e in new} & {e.id for e in old}
    async with aclosing(events.listen(ONE, old[3].id)) as reader:
        assert (await anext(reader)).type == "reset"
