"""A marked call waits for somebody: it is listed, and approved or rejected from outside, never from within."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.errors import Conflict, InputError, NotFound
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import ManualClock, until
from sandbox.runs.approvals import check_marks, verbs_of, why_ask
from tests.acceptance.ledger import ledger, open_gate
from tests.unit.sandbox.runs.conftest import Ground
from tests.unit.sandbox.runs.test_resume import ended


@pytest.mark.parametrize(
    ("sql", "verbs"),
    [
        ("SELECT 1", {"SELECT"}),
        ("drop/**/table t", {"DROP"}),
        ("-- DROP\nSELECT 'DROP', \"delete\", [update]", {"SELECT"}),
        ("WITH a AS (SELECT 1) DELETE FROM t WHERE n IN (SELECT * FROM a)", {"DELETE"}),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET n = 2", {"INSERT", "UPDATE"}),
        ("INSERT OR REPLACE INTO t VALUES (1)", {"INSERT", "REPLACE"}),
        ("UPDATE t SET n = replace(n, 'a', 'b')", {"UPDATE"}),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; END", {"CREATE", "INSERT", "DELETE"}),
        ("ALTER TABLE t DROP COLUMN n", {"ALTER", "DROP"}),
        ("EXPLAIN DELETE FROM t", {"DELETE"}),
        ("REPLACE INTO t VALUES (1)", {"REPLACE"}),
        ("", set()),
        (")) DELETE FROM t", {"DELETE"}),
    ],
)
def test_the_verbs_of_a_statement_are_all_seen(sql: str, verbs: set[str]) -> None:
    assert verbs_of(sql) == verbs


@pytest.mark.parametrize(
    ("mark", "path", "arguments", "asks"),
    [
        ("tools.shop.order", "tools.shop.order", {}, True),
        ("tools.shop.*", "tools.shop.order", {}, True),
        ("tools.*", "tools.shop.order", {}, True),
        ("tools.shop.*", "tools.shopping.order", {}, False),
        ("*", "db.query", {"sql": "SELECT 1"}, True),
        ("db.exec:DROP", "db.exec", {"sql": "DROP TABLE t"}, True),
        ("db.exec:drop", "db.exec", {"sql": "DROP TABLE t"}, True),
        ("db.exec:DROP", "db.exec", {"sql": "DELETE FROM t"}, False),
        ("db.*:DELETE", "db.query", {"sql": "SELECT 1"}, False),
        ("db.*:DELETE", "db.batch_insert", {"table": "t"}, True),  # what has no statement may be any
        ("tools.*:DROP", "tools.x.sql", {"sql": "DROP TABLE t"}, True),
    ],
)
def test_a_mark_meets_what_it_says(mark: str, path: str, arguments: dict[str, Any], asks: bool) -> None:
    assert (why_ask([mark], path, arguments) == mark) is asks


@pytest.mark.parametrize("marks", [[""], [":DROP"], ["db.exec:VACUUMING"], ["x" * 201], ["a"] * 101])
def test_what_can_mark_nothing_is_refused(marks: list[str]) -> None:
    with pytest.raises(InputError):
        check_marks(marks)


async def test_a_caller_can_add_marks_and_take_none_away(ground: Ground) -> None:
    async with ground.host(approvals=("tools.shop.order",)) as host:
        session = host.namespace("session").get("a")
        for ask in (None, [], ["db.exec:DROP"]):
            paused = await session.run("await tools.shop.order(1)", ask=ask)
            assert paused.status == "paused"
        dropped = await session.run("db.exec('DROP TABLE IF EXISTS t')", ask=["db.exec:DROP"])
        assert dropped.status == "paused"
        assert (await session.run("db.exec('DROP TABLE IF EXISTS t')")).status == "ok"
        assert len(await session.list_approvals()) == 4
    assert ledger(ground.folder) == []


async def test_a_run_that_waits_tells_what_for(ground: Ground, session: Stub) -> None:
    result = await session.run(
        "print('before')\ndb.save_state('k', 1)\nawait tools.shop.order(1, gate='x')", ask=["tools.shop.*"]
    )
    assert (result.status, result.logs, result.value) == ("paused", ["before"], None)
    assert result.effects["write_calls"] == 1
    (waiting,) = result.waiting
    assert (waiting["call"], waiting["why"]) == ("tools.shop.order", "tools.shop.*")
    assert (waiting["run"], waiting["arguments"]) == (result.id, [[1], {"gate": "x"}])
    assert await session.list_approvals() == [waiting]
    record = await session.get_run(result.id)
    assert (record.state, record.waiting) == ("paused", [waiting])
    assert ledger(ground.folder) == []


async def test_an_approved_run_goes_on_and_a_rejected_call_can_be_caught(
    ground: Ground, session: Stub
) -> None:
    code = (
        "said = []\nfor n in range(2):\n    try:\n        said.append((await tools.shop.order(n))['n'])\n"
        "    except Exception as error:\n        said.append([type(error).__name__, error.code, str(error)])\nsaid"
    )
    run = await session.run(code, ask=["tools.shop.order"])
    await session.approve(run.waiting[0]["id"])
    await until_paused(session, run.id)
    await session.reject(run.id, reason="one is enough")
    record = await ended(session, run.id)
    assert record.value == [0, ["Rejected", "rejected", "tools.shop.order was not approved: one is enough"]]
    assert ledger(ground.folder) == ["order 0"]
    with pytest.raises(Conflict, match="ok"):
        await session.approve(run.id)
    for unknown in ("nothing", f"{run.id}:99", ""):
        with pytest.raises((NotFound, Conflict)):
            await session.reject(unknown)


async def until_paused(session: Stub, run: str) -> None:
    async with asyncio.timeout(30):
        while (await session.get_run(run)).state != "paused":
            await asyncio.sleep(0.005)


async def test_calls_made_together_are_asked_together_and_others_come_to_their_end(
    ground: Ground, session: Stub
) -> None:
    code = (
        "import asyncio\n"
        "found = await asyncio.gather(tools.shop.put(1, 'g'), *(tools.shop.order(n) for n in range(3)), tools.shop.look(9),\n    return_exceptions=True)\n"
        "[each['n'] if isinstance(each, dict) else each.code for each in found]"
    )
    call = asyncio.ensure_future(session.run(code, ask=["tools.shop.order"]))
    await until(lambda: sorted(ledger(ground.folder)) == ["look 9", "put 1"])
    assert not call.done()
    open_gate(ground.folder, "g")
    paused = await call
    assert [each["arguments"][0] for each in paused.waiting] == [[0], [1], [2]]
    await session.approve(paused.waiting[1]["id"])
    await session.reject(paused.waiting[0]["id"])
    assert (await session.get_run(paused.id)).state == "paused"
    await session.approve(paused.id)
    record = await ended(session, paused.id)
    assert record.value == [1, "rejected", 1, 2, 9], record.error
    assert sorted(ledger(ground.folder)) == ["look 9", "order 1", "order 2", "put 1"]


async def test_a_run_that_waits_holds_no_place_and_outlives_its_limits(ground: Ground) -> None:
    async with ground.host(limits=Limits(run_concurrency=1, run_waiting=1)) as host:
        session = host.namespace("session").get("a")
        waiting = [await session.run("await tools.shop.order(1)", ask=["tools.*"]) for _ in range(3)]
        assert (await session.run("2 + 2", limits={"wall_s": 5})).value == 4
        for each in waiting:
            await session.approve(each.id)
        for each in waiting:
            assert (await ended(session, each.id)).state == "ok"
    assert ledger(ground.folder) == ["order 1"] * 3


async def test_nobody_decides_for_a_day_and_the_run_is_cancelled(
    ground: Ground, host: Host, session: Stub
) -> None:
    assert isinstance(host.clock, ManualClock)
    await session.pin()
    late = await session.run("await tools.shop.order(1)", ask=["tools.*"])
    await host.clock.advance(3600 * 12)
    later = await session.run("await tools.shop.order(2)", ask=["tools.*"])
    await host.clock.advance(3600 * 12)
    await ended(session, late.id)
    assert [each["run"] for each in await session.list_approvals()] == [later.id]
    record = await session.get_run(late.id)
    assert (record.state, record.error.type) == ("cancelled", "Expired")
    await host.clock.advance(3600 * 12)
    assert (await ended(session, later.id)).state == "cancelled"
    with pytest.raises(Conflict):
        await session.approve(late.id)
    assert ledger(ground.folder) == []


async def test_a_program_cannot_approve_itself(session: Stub) -> None:
    result = await session.run("[n for n in dir(db) if 'appro' in n or 'reject' in n or n == 'run']")
    assert result.value == []


async def test_listeners_hear_of_pauses_and_ends(host: Host, session: Stub) -> None:
    await session.touch()
    (instance,) = host.live()
    heard: list[Any] = []

    async def listen() -> None:
        async for event in host.events.listen(instance.id):
            if event.type == "run":
                heard.append((event.data["state"], len(event.data["waiting"])))

    listener = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    run = await session.run("await tools.shop.order(1)", ask=["tools.*"])
    await session.approve(run.id)
    await ended(session, run.id)
    await until(lambda: len(heard) == 3)
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert heard == [("paused", 1), ("running", 0), ("ok", 0)]
