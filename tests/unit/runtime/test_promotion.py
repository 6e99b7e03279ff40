"""A promoted actor is one file under two names: nothing is lost, nothing is doubled, and it lasts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.actor import Actor
from runtime.alarms import AlarmEvent
from runtime.errors import ActorNotFound, Conflict, InputError
from runtime.host import Host
from runtime.method import method
from runtime.namespace import Stub
from runtime.storage.transaction import Transaction
from runtime.testing import ManualClock, harness, settle, until

TYPES = ("actors.session:SessionActor", "actors.project:ProjectActor")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with harness(tmp_path / "data", *TYPES) as host:
        yield host


@pytest.fixture
async def session(host: Host) -> Stub:
    """A session with a table, an index, a view, a trigger and state."""
    stub = host.namespace("session").get("chat")
    await stub.create_table("t", "id INTEGER PRIMARY KEY, v TEXT")
    await stub.exec("CREATE INDEX by_v ON t (v)")
    await stub.exec("CREATE VIEW w AS SELECT count(*) AS n FROM t")
    await stub.exec(
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET v = upper(v) WHERE id = new.id; END"
    )
    await stub.batch_insert("t", [{"v": c} for c in "abc"])
    await stub.save_state("k", {"x": [1]})
    return stub


def the_files(host: Host) -> list[str]:
    return sorted(p.parent.parent.name for p in (host.settings.data / "actors").rglob("*.sqlite"))


async def count(stub: Stub) -> int:
    return int((await stub.query("SELECT count(*) AS n FROM t")).rows[0]["n"])


async def test_tables_indexes_and_state_are_there_under_both_names(host: Host, session: Stub) -> None:
    answer = await session.promote("lasting")
    assert answer == {"type": "project", "name": "lasting", "promoted_from": "chat"}
    project = host.namespace("project").get("lasting")
    for stub in (session, project):
        assert (await stub.query("SELECT v FROM t ORDER BY id", row_format="arrays")).rows == [
            ["A"],
            ["B"],
            ["C"],
        ]
        assert (await stub.get_state("k"))["value"] == {"x": [1]}
        assert [index.name for index in (await stub.describe("t")).indexes] == ["by_v"]
        assert (await stub.query("SELECT n FROM w")).rows == [{"n": 3}]
    assert the_files(host) == ["project"]


async def test_both_names_write_the_same_database(host: Host, session: Stub) -> None:
    await session.promote("lasting")
    project = host.namespace("project").get("lasting")
    await session.exec("INSERT INTO t (v) VALUES ('d')")
    await project.exec("INSERT INTO t (v) VALUES ('e')")
    assert (await count(session), await count(project)) == (5, 5)
    assert session.id == project.id


async def test_every_method_of_the_session_goes_on_working(host: Host, session: Stub, tmp_path: Path) -> None:
    await session.promote()
    assert (await session.run("db.query('SELECT count(*) AS n FROM t')[0]['n']")).value == 3
    assert (await session.touch()) == {"touched": True, "ttl_s": None}
    assert (await session.pin())["pinned"]
    assert (await session.clone("copy"))["name"] == "copy"
    assert await count(host.namespace("project").get("copy")) == 3, "a copy of a project is one"
    download = await session.export("csv", "SELECT v FROM t")
    assert b"A" in b"".join([piece async for piece in download.chunks])
    assert await session.list_jobs() == []
    assert set(host.registry.get("session").methods) <= set(
        type((await host.acquire(session.address)).actor).methods  # type: ignore[union-attr]
    )


async def test_a_copy_of_it_is_a_project_and_says_so(host: Host, session: Stub) -> None:
    await session.promote("lasting")
    assert await session.clone("copy") == {"type": "project", "name": "copy", "cloned_from": "lasting"}
    assert await count(host.namespace("project").get("copy")) == 3


async def test_it_lives_on_over_restarts_and_has_no_ttl(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, *TYPES, clock=clock) as host:
        stub = host.namespace("session").get("chat")
        await stub.create_table("t", "v")
        await stub.promote("lasting")
        await clock.advance(90_000)
        await until(lambda: host.alarms.at_rest)
        assert await count(stub) == 0
    async with harness(tmp_path, *TYPES, clock=ManualClock(clock.now() + 10**7)) as host:
        await until(lambda: host.alarms.at_rest)
        stub = host.namespace("session").get("chat")
        assert await count(stub) == 0
        assert (await host.facts(stub.address)).address.type == "project"
        assert the_files(host) == ["project"]


async def test_once_promoted_is_promoted(host: Host, session: Stub) -> None:
    first = await session.promote("lasting")
    assert await session.promote() == first
    assert await session.promote("lasting") == first
    with pytest.raises(Conflict, match="already"):
        await session.promote("other")


async def test_a_taken_name_is_refused_and_changes_nothing(host: Host, session: Stub) -> None:
    other = host.namespace("project").get("taken")
    await other.create_table("x", "a")
    with pytest.raises(Conflict, match="already"):
        await session.promote("taken")
    assert await count(session) == 3
    assert the_files(host) == ["project", "session"]


async def test_a_table_that_a_project_needs_is_refused_with_its_name(host: Host, session: Stub) -> None:
    wanted = host.registry.get("project").migrations[0].script
    assert "_duralite_" in wanted, "what a project makes at once carries the reserved prefix"
    instance = await host.acquire(session.address)
    assert instance is not None
    # As an older project may have left it, or a later one need it.
    await instance.connection.run(lambda tx: tx.execute("CREATE TABLE _duralite_pipelines (a)") and None)
    with pytest.raises(Conflict, match="_duralite_pipelines"):
        await session.promote()
    assert await count(session) == 3


async def test_what_was_never_made_cannot_be_promoted(host: Host, session: Stub) -> None:
    address = session.address._replace(name="nobody")
    with pytest.raises(ActorNotFound):
        await host.promotions.promote(address)
    with pytest.raises(InputError):
        await host.promotions.promote(address._replace(type="project"))
    assert the_files(host) == ["session"]


async def test_calls_that_come_meanwhile_wait_and_find_the_new_one(host: Host, session: Stub) -> None:
    writes = [session.exec("INSERT INTO t (v) VALUES (?)", [str(n)]) for n in range(20)]
    first = asyncio.gather(*writes)
    await settle(2)
    promotion = asyncio.ensure_future(host.promotions.promote(session.address, "lasting"))
    later = asyncio.gather(*(session.exec("INSERT INTO t (v) VALUES (?)", [str(n)]) for n in range(20)))
    await asyncio.gather(first, promotion, later)
    assert await count(session) == 43
    assert the_files(host) == ["project"]


async def test_two_promotions_at_once_are_one(host: Host, session: Stub) -> None:
    targets = await asyncio.gather(*(host.promotions.promote(session.address, "p") for _ in range(4)))
    assert len(set(targets)) == 1
    outcomes = await asyncio.gather(
        *(host.promotions.promote(session.address, name) for name in ("q", "r")), return_exceptions=True
    )
    assert all(isinstance(outcome, Conflict) for outcome in outcomes)


async def test_a_caller_that_goes_away_leaves_one_whole_actor(host: Host, session: Stub) -> None:
    for rounds in (0, 1, 3, 8, 20, 60):
        task = asyncio.ensure_future(host.promotions.promote(session.address, "p"))
        await settle(rounds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await count(session) == 3
        assert len(the_files(host)) == 1


async def test_the_project_deleted_both_names_are_free(host: Host, session: Stub) -> None:
    await session.promote("lasting")
    assert await host.delete(session.address)
    assert the_files(host) == []
    assert await session.tables() == []
    assert the_files(host) == ["session"]
    await session.create_table("t", "v")
    assert (await session.promote("lasting"))["name"] == "lasting"


async def test_a_deletion_that_meets_a_promotion_takes_all_or_finds_the_project(
    host: Host, session: Stub
) -> None:
    for rounds in (0, 2, 5, 10, 30):
        await session.create_table("t", "v")
        promotion = asyncio.ensure_future(host.promotions.promote(session.address, "p"))
        await settle(rounds)
        deleted = await host.delete(session.address)
        await asyncio.gather(promotion, return_exceptions=True)
        records = [r for t in ("session", "project") for r in await host.directory.find(t, None)]
        assert deleted
        assert len(records) == len(the_files(host)), "the directory and the files agree"
        assert await session.tables() == []
        await host.delete(session.address)


async def test_a_ttl_that_runs_out_during_a_promotion_does_not_take_the_project(
    host: Host, session: Stub
) -> None:
    promotion = asyncio.ensure_future(host.promotions.promote(session.address, "p"))
    await settle(3)
    await host.delete(session.address, follow=False)
    await asyncio.gather(promotion, return_exceptions=True)
    if promotion.exception() is None:
        assert await count(session) == 3
    assert not await host.delete(session.address, follow=False)


async def test_owners_stay_apart(host: Host, session: Stub) -> None:
    other = host.namespace("session", "other").get("chat")
    await other.create_table("t", "v")
    await session.promote("lasting")
    assert await count(other) == 0
    assert (await other.promote("lasting"))["name"] == "lasting"
    assert (await count(session), await count(other)) == (3, 0)


async def test_listeners_hear_of_it(host: Host, session: Stub) -> None:
    events = host.events.listen(session.id, None)
    following = asyncio.ensure_future(anext(events))
    await settle()
    await session.promote("lasting")
    event = await following
    assert (event.type, event.data) == ("promoted", {"type": "project", "name": "lasting"})
    await events.aclose()


class Ringing(Actor, type_name="ringing"):
    """An actor with an alarm, that can be promoted."""

    promotes_to = "rung"

    @method()
    def ring(self, tx: Transaction, due: float) -> None:
        """Set the alarm."""
        self.alarms.set(tx, "bell", due)

    def alarm(self, tx: Transaction, event: AlarmEvent) -> None:
        """Remember it."""
        self.host.services.setdefault("rang", []).append((self.address.type, event.name))

    @method(concurrent=True)
    async def rise(self) -> Any:
        """Be promoted."""
        return await self.host.promotions.promote(self.address)


class Rung(Actor, type_name="rung"):
    """What it becomes."""

    alarm = Ringing.alarm


async def test_alarms_and_secrets_go_along(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Ringing, Rung, clock=clock) as host:
        stub = host.namespace("ringing").get("a")
        await stub.ring(clock.now() + 100)
        await host.directory.set_secret(stub.id, "key", b"s3")
        old = stub.id
        await stub.rise()
        assert await host.directory.secrets(stub.id) == {"key": b"s3"}
        assert await host.directory.secrets(old) == {}
        await clock.advance(101)
        await until(lambda: bool(host.services.get("rang")))
        assert host.services["rang"] == [("rung", "bell")]


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({"promote_uses": 5}, True),
        ({"promote_uses": 500}, False),
        ({"promote_size_bytes": 1_000}, True),
        ({"promote_age_s": 50.0}, True),
        ({}, False),
    ],
)
async def test_the_rule_promotes_what_lasts(tmp_path: Path, rule: dict[str, Any], met: bool) -> None:
    clock = ManualClock()
    async with harness(tmp_path, *TYPES, clock=clock, **rule) as host:
        stub = host.namespace("session").get("chat")
        await stub.create_table("t", "v")
        for number in range(6):
            await stub.exec("INSERT INTO t VALUES (?)", [number])
        await clock.advance(60)
        await stub.exec("INSERT INTO t VALUES (7)")
        await clock.advance(2)
        if met:
            await until(lambda: the_files(host) == ["project"])
            await until(lambda: bool(host.promotions.promoted_from(stub.address._replace(type="project"))))
        assert await count(stub) == 7
        assert (await host.facts(stub.address)).address.type == ("project" if met else "session")


async def test_the_rule_finds_another_name_where_its_own_is_taken(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, *TYPES, clock=clock, promote_uses=1) as host:
        await host.namespace("project").get("chat").tables()
        stub = host.namespace("session").get("chat")
        await stub.create_table("t", "v")
        await clock.advance(2)
        await until(lambda: host.promotions.resolve(stub.address) != stub.address)
        assert host.promotions.resolve(stub.address).name.startswith("chat-")
        assert await count(stub) == 0


async def test_the_file_is_whole_and_named_anew(host: Host, session: Stub) -> None:
    await session.promote("lasting")
    path = host.path_of(session.address)
    await host.stop()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        meta = dict(raw.execute("SELECT key, value FROM _duralite_meta"))
    assert (meta["type"], meta["name"], meta["owner"]) == ("project", "lasting", "local")
