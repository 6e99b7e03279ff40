"""A host opens, evicts, expires and deletes actors; its directory agrees with the files after any crash."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from runtime.errors import (
    ActorClosed,
    ActorNotFound,
    ActorOverloaded,
    Conflict,
    CorruptDatabase,
    DeadlineExceeded,
    DuraliteError,
    Unavailable,
)
from runtime.host import Host
from runtime.instance import Instance
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import ManualClock, harness, settle, until
from tests.scratch import Few, Mortal, Probe, Scratch, column, gate
from tests.unit.runtime.test_mailbox import call


async def fill(host: Host, names: list[str], kind: str = "scratch") -> list[Stub]:
    stubs = [host.namespace(kind).get(name) for name in names]
    await asyncio.gather(*(stub.save_state("name", stub.address.name) for stub in stubs))
    return stubs


async def test_never_more_are_open_than_there_are_places(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_open=3)) as host:
        most = 0

        async def use(name: str) -> None:
            nonlocal most
            stub = host.namespace("scratch").get(name)
            for step in range(3):
                await stub.save_state("n", step)
                most = max(most, len(list(tmp_path.rglob("*.sqlite-wal"))) - 1, len(host.live()))

        await asyncio.gather(*(use(f"{i % 20}") for i in range(60)))
        assert most <= 3
        assert host._places.taken == len(host.live()) <= 3


async def test_one_place_is_enough_for_many(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_open=1)) as host:
        stubs = await fill(host, [str(i) for i in range(30)])
        assert [(await s.get_state("name"))["value"] for s in stubs] == [str(i) for i in range(30)]
        assert len(host.live()) == 1


async def test_the_least_recently_used_actor_is_closed_first(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Scratch, clock=clock, limits=Limits(max_open=3)) as host:
        for name in "abc":
            await clock.advance(1)
            await fill(host, [name])
        await clock.advance(1)
        await fill(host, ["a"])
        await clock.advance(1)
        await fill(host, ["d"])
        assert {i.address.name for i in host.live()} == {"a", "c", "d"}


async def test_a_type_may_ask_for_fewer_places(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, Few) as host:
        await fill(host, list("abcdef"), "few")
        await fill(host, list("abcdef"))
        assert sorted(i.address.type for i in host.live()) == ["few"] * 2 + ["scratch"] * 6


async def test_busy_actors_are_never_closed_for_room_and_the_caller_learns_it_by_its_deadline(
    tmp_path: Path,
) -> None:
    async with harness(tmp_path, Probe, limits=Limits(max_open=2)) as host:
        busy = [asyncio.ensure_future(host.namespace("probe").get(name).turn(name, "g")) for name in "ab"]
        await settle()
        with pytest.raises(ActorOverloaded) as refused:
            await call(host, host.namespace("probe").get("c"), "notes", 0.05)
        assert refused.value.limit == "max_open"
        waiting = asyncio.ensure_future(host.namespace("probe").get("d").notes())
        await settle()
        gate(host, "g").set()
        assert await waiting == []
        assert await asyncio.gather(*busy) == ["a", "b"]


async def test_a_caller_that_gives_up_in_line_takes_no_place(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(max_open=1)) as host:
        busy = asyncio.ensure_future(host.namespace("probe").get("a").turn("a", "g"))
        await settle()
        waiting = [asyncio.ensure_future(host.namespace("probe").get(name).notes()) for name in "bcd"]
        await settle()
        waiting[0].cancel()
        waiting[1].cancel()
        gate(host, "g").set()
        assert await waiting[2] == []
        await busy
        assert {i.address.name for i in host.live()} == {"d"}
        assert host._places.taken == 1


async def test_idle_actors_are_closed_and_open_again_with_what_they_held(
    host: Host, clock: ManualClock, scratch: Stub
) -> None:
    await scratch.save_state("k", "v")
    for _ in range(70):
        await clock.advance(1)
    await until(lambda: not host.live())
    assert not list(Path(host.settings.data).rglob("actors/**/*-wal"))
    assert (await scratch.get_state("k"))["value"] == "v"


async def test_a_deleted_actor_leaves_nothing_and_a_new_one_of_its_name_is_empty(
    host: Host, scratch: Stub
) -> None:
    await scratch.save_state("k", "v")
    path = host.path_of(scratch.address)
    assert await host.delete(scratch.address) is True
    assert not list(path.parent.glob(f"{path.stem}*"))
    with pytest.raises(ActorNotFound):
        await host.facts(scratch.address)
    assert await host.delete(scratch.address) is False
    assert (await scratch.get_state("k"))["found"] is False


async def test_the_log_of_a_deleted_file_is_not_replayed_into_its_successor(
    host: Host, scratch: Stub
) -> None:
    await scratch.create_table("old", "v")
    path = host.path_of(scratch.address)
    wal = Path(f"{path}-wal").read_bytes()
    assert wal
    await host.delete(scratch.address)
    Path(f"{path}-wal").write_bytes(wal)  # as if a crash had cut the deletion short
    assert await scratch.tables() == []


async def test_calls_openings_and_deletions_at_once_end_clearly(tmp_path: Path) -> None:
    dice = random.Random(7)
    async with harness(tmp_path, Scratch, limits=Limits(max_open=3)) as host:

        async def step(number: int) -> None:
            name = str(dice.randrange(6))
            namespace = host.namespace("scratch")
            for _ in range(dice.randrange(8)):
                await asyncio.sleep(0)
            match dice.randrange(6):
                case 0:
                    await namespace.delete(name)
                case 1:
                    task = asyncio.ensure_future(namespace.get(name).list_state())
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                case _:
                    try:
                        await namespace.get(name).save_state("n", number)
                    except ActorClosed as closed:
                        assert "deleted" in closed.message

        await asyncio.gather(*(step(number) for number in range(400)))
        assert host._places.taken == len(host.live()) <= 3
        assert not host._opening
        assert len(host.gates) == 0
        for name in "012345":
            assert len(await host.namespace("scratch").get(name).list_state()) <= 1
        await asyncio.gather(*(host.namespace("scratch").delete(name) for name in "012345"))
        assert not list((tmp_path / "actors").rglob("*.sqlite*"))


async def test_an_unused_actor_expires_and_a_used_one_does_not(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Mortal, clock=clock) as host:
        used, unused = await fill(host, ["used", "unused"], "mortal")
        for _ in range(4):
            await clock.advance(1200)
            await used.list_state()
            await until(lambda: host.alarms.at_rest)
        await until(lambda: not host.path_of(unused.address).exists())
        assert host.path_of(used.address).exists()
        assert (await host.facts(used.address)).address.name == "used"


async def test_a_short_ttl_is_kept_to_the_moment(tmp_path: Path) -> None:
    clock = ManualClock()

    class Brief(Scratch, type_name="brief"):
        @classmethod
        def ttl_seconds(cls, host: Host) -> float | None:
            return 5.0

    async with harness(tmp_path, Brief, clock=clock) as host:
        (stub,) = await fill(host, ["one"], "brief")
        path = host.path_of(stub.address)
        await clock.advance(4.9)
        await until(lambda: host.alarms.at_rest)
        assert path.exists()
        await clock.advance(0.2)
        await until(lambda: not path.exists())


async def test_a_pinned_actor_stays_and_expires_after_it_is_let_go(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Mortal, clock=clock) as host:
        (stub,) = await fill(host, ["one"], "mortal")
        path = host.path_of(stub.address)
        await host.pin(stub.address, True)
        await clock.advance(100_000)
        await until(lambda: host.alarms.at_rest)
        assert path.exists()
    async with harness(tmp_path, Mortal, clock=clock) as host:
        assert (await host.facts(stub.address)).pinned
        await host.pin(stub.address, False)
        await clock.advance(3599)
        await until(lambda: host.alarms.at_rest)
        assert path.exists()
        await clock.advance(2)
        await until(lambda: not path.exists())


async def test_a_ttl_that_ran_out_while_the_service_was_down_is_seen_at_start(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Mortal, clock=clock) as host:
        (stub,) = await fill(host, ["one"], "mortal")
        path = host.path_of(stub.address)
    await clock.advance(4000)
    async with harness(tmp_path, Mortal, clock=clock) as host:
        await until(lambda: not path.exists())


async def test_a_second_service_on_the_same_folder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch):
        with pytest.raises(Unavailable) as refused:
            async with harness(tmp_path, Scratch):
                pass
        assert str(refused.value.extra["pid"]) in refused.value.message
    async with harness(tmp_path, Scratch):
        pass


async def test_files_without_a_row_and_rows_without_a_file_are_set_right_at_start(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Mortal, Probe, clock=clock) as host:
        stubs = await fill(host, ["kept", "lost", "unknown"], "mortal")
        await host.namespace("probe").get("alarmed").set_alarm("a", clock.now() + 50)
        lost, unknown = (host.path_of(s.address) for s in stubs[1:])
        alarmed = host.path_of(host.namespace("probe").get("alarmed").address)
    lost.unlink()
    with sqlite3.connect(tmp_path / "directory.sqlite") as raw:
        raw.execute("DELETE FROM actors WHERE id IN (?, ?)", (unknown.stem, alarmed.stem))
        raw.execute("DELETE FROM alarms WHERE actor IN (?, ?)", (unknown.stem, alarmed.stem))
    raw.close()
    shutil.copy(
        alarmed, alarmed.with_name("0" * 32 + ".sqlite")
    )  # somebody's copy must not become a second actor
    async with harness(tmp_path, Mortal, Probe, clock=clock) as host:
        assert [r.address.name for r in await host.directory.find("mortal", None)] == ["kept", "unknown"]
        assert [r.address.name for r in await host.directory.find("probe", None)] == ["alarmed"]
        assert (await host.namespace("mortal").get("unknown").get_state("name"))["value"] == "unknown"
        await clock.advance(60)
        await until(lambda: len(host.services.get("fired", [])) == 1)
        await clock.advance(4000)
        await until(lambda: not unknown.exists())


async def test_a_damaged_file_fails_its_own_calls_clearly_and_no_others(host: Host, tmp_path: Path) -> None:
    _, bad = await fill(host, ["good", "bad"])
    path = host.path_of(bad.address)
    await host.stop()
    path.write_bytes(b"this is no database" * 1000)
    async with harness(host.settings.data, Scratch, Mortal, Few, Probe) as again:
        bad = again.namespace("scratch").get("bad")
        for _ in range(2):
            with pytest.raises(CorruptDatabase) as damaged:
                await bad.list_state()
            assert str(path) not in str(damaged.value.to_problem())
        assert (await again.namespace("scratch").get("good").get_state("name"))["value"] == "good"
        assert again._places.taken == 1
        await again.delete(bad.address)
        assert await bad.list_state() == []


async def test_an_actor_that_opens_too_slowly_fails_its_caller_by_the_deadline(tmp_path: Path) -> None:
    go = threading.Event()

    class Slow(Probe, type_name="slow"):
        def on_open(self, tx: object) -> None:
            go.wait(5)

    async with harness(tmp_path, Slow) as host:
        slow = host.namespace("slow").get("one")
        with pytest.raises(DeadlineExceeded):
            await call(host, slow, "notes", 0.05)
        go.set()
        assert await slow.notes() == []
        assert host.opened == 1


async def test_a_type_that_fails_to_open_gives_its_place_back(tmp_path: Path) -> None:
    class Broken(Probe, type_name="broken"):
        def on_open(self, tx: object) -> None:
            raise ValueError("on purpose")

    async with harness(tmp_path, Broken, Scratch, limits=Limits(max_open=1)) as host:
        for _ in range(3):
            with pytest.raises(ValueError, match="on purpose"):
                await host.namespace("broken").get("one").notes()
        await fill(host, ["works"])


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    class Unready(Scratch, type_name="unready"):
        @classmethod
        async def start_type(cls, host: Host) -> None:
            raise Unavailable("not today")

    with pytest.raises(Unavailable, match="not today"):
        async with harness(tmp_path, Unready):
            pass
    async with harness(tmp_path, Scratch) as host:
        await fill(host, ["works"])


async def test_stopping_twice_is_harmless(host: Host, scratch: Stub) -> None:
    await scratch.list_state()
    await asyncio.gather(host.stop(), host.stop())
    await host.stop()
    with pytest.raises(Unavailable):
        await scratch.list_state()


async def test_adopting_a_file_never_overwrites_an_actor(host: Host, tmp_path: Path, scratch: Stub) -> None:
    await scratch.create_table("t", "v")
    for number in range(2):
        await scratch.clone(f"copy {number}")
    results = await asyncio.gather(*(scratch.clone("target") for _ in range(4)), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["Conflict", "Conflict", "Conflict", "dict"]
    with pytest.raises(Conflict):
        await scratch.clone("one")
    assert await column(host.namespace("scratch").get("target"), "SELECT count(*) FROM t") == [0]


async def test_facts_tell_size_and_last_use(host: Host, clock: ManualClock, scratch: Stub) -> None:
    await scratch.save_state("k", "v")
    created = clock.now()
    await clock.advance(5)
    await scratch.list_state()
    await clock.advance(1.5)
    await settle()
    record = await host.facts(scratch.address)
    assert (record.created, record.last_used) == (created, created + 5)
    assert record.size > 0


async def test_a_deletion_waits_for_an_actor_that_is_opening(host: Host, scratch: Stub) -> None:
    opening = asyncio.ensure_future(scratch.list_state())
    await asyncio.sleep(0)
    await host.delete(scratch.address)
    result = (await asyncio.gather(opening, return_exceptions=True))[0]
    assert result == [] or isinstance(result, DuraliteError)
    assert not host._opening


async def test_a_few_places_are_kept_free_for_whoever_opens_next(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Scratch, clock=clock, limits=Limits(max_open=24)) as host:
        for n in range(40):
            await clock.advance(0.001)
            await fill(host, [str(n)])
        await until(lambda: len(host.live()) == host._places.taken == 22)
        assert {i.address.name for i in host.live()} == {str(n) for n in range(18, 40)}


async def test_as_many_actors_as_there_are_places_stay_open(tmp_path: Path) -> None:
    """Places kept free help those who open; where all are in use they would have actors push each other out."""
    clock = ManualClock()
    names = [str(n) for n in range(24)]

    async def use_all() -> list[Instance]:
        for name in names:
            await clock.advance(0.001)
            await fill(host, [name])
        return sorted(host.live(), key=lambda i: i.address.name)

    async with harness(tmp_path, Scratch, clock=clock, limits=Limits(max_open=24)) as host:
        first = await use_all()
        assert len(first) == 24
        assert await use_all() == first
        await fill(host, ["another"])
        for _ in range(4):
            await use_all()
        again = await use_all()
        assert sorted(i.address.name for i in again) == sorted(names)
        assert await use_all() == again
