"""A run goes on from its journal: the same results in the same order, and an error where it does something else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import until
from tests.acceptance.ledger import ledger, open_gate
from tests.unit.sandbox.runs.conftest import Ground

QUICK = Limits(drain_s=0.01)


ON_MONTY = """
import asyncio
db.exec("CREATE TABLE t (n)")
made = await asyncio.gather(tools.shop.order(1), tools.shop.look(2), tools.shop.order(3))
db.exec("INSERT INTO t VALUES (5)")
last = await tools.shop.put(4, "g")
[[each["n"] for each in made], last["n"], len(db.query("SELECT * FROM t"))]
"""


async def ended(session: Stub, run: str) -> Any:
    """Return a run's record when it has ended."""
    async with asyncio.timeout(30):
        while (record := await session.get_run(run)).state in ("running", "paused"):
            await asyncio.sleep(0.005)
    return record


async def cut_off(ground: Ground, code: str, calls: int, *, limits: Limits = QUICK, **arguments: Any) -> str:
    """Run a program on a host that is stopped under it when the ledger has so many lines; return the run's id."""
    async with ground.host(limits=limits) as host:
        session = host.namespace("session").get("a")
        await session.run(code, background=True, **arguments)
        await until(lambda: len(ledger(ground.folder)) >= calls)
        run = (await session.list_runs(limit=1)).items[0]
        assert run.state == "running"
        return str(run.id)


async def edit(host: Host, sql: str, *params: Any) -> None:
    """Change what is kept of runs, as no caller can."""
    await host.directory.flush()
    (instance,) = [each for each in host.live() if each.address.name == "a"]
    await instance.connection.run(lambda tx: tx.execute(sql, params) and None)


REPEATED = """
import random, time, uuid, datetime
chance = [random.random(), str(uuid.uuid4()), time.time(), str(datetime.datetime.now()), list({"a", "b", "c", "d"})]
db.save_state("chance", chance)
await tools.shop.order(1, inputs["gate"])
[chance == db.get_state("chance"), list({"a", "b", "c", "d"}) == chance[4]]
"""


async def test_chance_and_time_are_what_they_were(ground: Ground) -> None:
    run = await cut_off(ground, REPEATED.replace("order", "put"), 1, inputs={"gate": "g"})
    open_gate(ground.folder, "g")
    async with ground.host() as host:
        record = await ended(host.namespace("session").get("a"), run)
        assert (record.state, record.value) == ("ok", [True, True]), record.error
    assert ledger(ground.folder) == ["put 1", "put 1"]


ORDER = """
import asyncio
came = []
async def one(n):
    answer = await tools.shop.order(n, f"gate{n}")
    came.append(n)
    db.exec("INSERT INTO came VALUES (?)", [n])
db.exec("CREATE TABLE came (n)")
await asyncio.gather(*(one(n) for n in range(6)))
await tools.shop.put(9, "end")
came
"""


async def test_results_come_back_in_the_order_in_which_they_came(ground: Ground) -> None:
    order = [3, 0, 5, 1, 4, 2]
    async with ground.host(limits=QUICK) as host:
        session = host.namespace("session").get("a")
        await session.run(ORDER, background=True)
        await until(lambda: len(ledger(ground.folder)) == 6)
        for done, n in enumerate(order, 1):
            open_gate(ground.folder, f"gate{n}")
            while len((await session.query("SELECT n FROM came")).rows) < done:
                await asyncio.sleep(0.002)
        await until(lambda: len(ledger(ground.folder)) == 7)
        run = (await session.list_runs()).items[0].id
    open_gate(ground.folder, "end")
    async with ground.host() as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert (record.state, record.value) == ("ok", order), record.error
        assert len((await session.query("SELECT n FROM came")).rows) == 6
    assert ledger(ground.folder)[7:] == ["put 9"]


SAME = """
import asyncio
await asyncio.gather(*(tools.shop.order(7) for _ in range(5)))
for _ in range(3):
    db.exec("INSERT INTO t VALUES (7)")
await tools.shop.put(1, "g")
try:
    await tools.shop.fail(5)
except Exception as error:
    said = [type(error).__name__, error.code, str(error)]
[said, db.query("SELECT count(*) AS c FROM t")[0]["c"]]
"""


async def test_calls_that_ask_the_same_are_told_apart(ground: Ground) -> None:
    run = await cut_off(ground, 'db.exec("CREATE TABLE t (n)")\n' + SAME, 6)
    open_gate(ground.folder, "g")
    async with ground.host() as host:
        record = await ended(host.namespace("session").get("a"), run)
        assert record.value == [["ToolError", "tool_error", "no 5 here"], 3], record.error
    assert ledger(ground.folder) == ["order 7"] * 5 + ["put 1"] * 2 + ["fail 5"]


GIVEN_UP = """
import asyncio
db.exec("CREATE TABLE t (n)")
try:
    await asyncio.wait_for(tools.shop.order(1, "never"), 0.05)
except asyncio.TimeoutError:
    db.exec("INSERT INTO t VALUES (1)")
await tools.shop.put(2, "g")
len(db.query("SELECT n FROM t"))
"""


async def test_a_call_that_the_program_gave_up_is_given_up_again(ground: Ground) -> None:
    run = await cut_off(ground, GIVEN_UP, 2)
    open_gate(ground.folder, "g")
    async with ground.host() as host:
        record = await ended(host.namespace("session").get("a"), run)
        assert (record.state, record.value) == ("ok", 1), record.error
    assert ledger(ground.folder) == ["order 1", "put 2", "put 2"]


STEPS = """
db.exec("CREATE TABLE t (n)")
for n in range(3):
    db.exec("INSERT INTO t VALUES (?)", [n])
await tools.shop.order(1, "g")
"""


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("range(3)", "range(2)", "tools.shop.order"),
        ("INSERT INTO t VALUES (?)", "INSERT INTO t VALUES (? + 1)", "calls db.exec with"),
        ('await tools.shop.order(1, "g")', "1", "ends without calling tools.shop.order"),
        ("tools.shop.order(1", "tools.shop.order(2", "calls tools.shop.order with [[2"),
    ],
)
async def test_a_program_that_does_something_else_is_stopped(
    ground: Ground, was: str, becomes: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.runs.journal.CATCH_UP_S", 0.3)
    run = await cut_off(ground, STEPS, 1)
    # As if the program depended on something that is not the same any more.
    async with ground.host(limits=QUICK) as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert record.error.code == "interrupted"
        await edit(
            host, "UPDATE _duralite_runs SET state = 'running', code = replace(code, ?, ?)", was, becomes
        )
        await edit(
            host, "UPDATE _duralite_run_calls SET state = 'started', done = NULL WHERE name LIKE 'tools%'"
        )
    async with ground.host() as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert (record.state, record.error.type) == ("error", "Divergence"), record
        assert said in record.error.message
        assert [row["n"] for row in (await session.query("SELECT n FROM t")).rows] == [0, 1, 2]
    assert ledger(ground.folder) == ["order 1"]


async def test_a_run_that_ends_the_service_each_time_is_not_taken_up_for_ever(ground: Ground) -> None:
    limits = Limits(drain_s=0.01, run_resumes=2)
    run = await cut_off(ground, "await tools.shop.put(1, 'never')", 1, limits=limits)
    for times in (2, 3):
        async with ground.host(limits=limits):
            await until(lambda times=times: len(ledger(ground.folder)) == times)
    async with ground.host(limits=limits) as host:
        record = await ended(host.namespace("session").get("a"), run)
        assert (record.state, record.error.type) == ("error", "Interrupted")
        assert "2 times" in record.error.message
    assert len(ledger(ground.folder)) == 3


async def test_many_runs_go_on_though_the_sandbox_takes_one_at_a_time(ground: Ground) -> None:
    full = Limits(drain_s=0.01, run_concurrency=1, run_waiting=1, run_resumes=1)
    async with ground.host(limits=QUICK) as host:
        session = host.namespace("session").get("a")
        for n in range(4):
            await session.run("await tools.shop.put(inputs['n'], 'g')", inputs={"n": n}, background=True)
        await until(lambda: len(ledger(ground.folder)) == 4)
        runs = [each.id for each in (await session.list_runs()).items]
    open_gate(ground.folder, "g")
    async with ground.host(limits=full) as host:
        session = host.namespace("session").get("a")
        records = [await ended(session, run) for run in runs]
        assert [record.state for record in records] == ["ok"] * 4, records
        assert {record.attempts for record in records} == {2}


async def test_a_journal_that_grows_over_its_bound_ends_the_promise_and_not_the_run(ground: Ground) -> None:
    limits = Limits(drain_s=0.01, run_journal_bytes=64 * 1024)
    code = (
        "db.exec('CREATE TABLE t (n)')\nfor n in range(40):\n    len(db.query('SELECT hex(zeroblob(2000)) AS h')[0]['h'])\n"
        "    db.exec('INSERT INTO t VALUES (?)', [n])\nawait tools.shop.order(1, inputs['gate'])\n"
        "len(db.query('SELECT n FROM t'))"
    )
    open_gate(ground.folder, "open")
    async with ground.host(limits=limits) as host:
        result = await host.namespace("session").get("a").run(code, inputs={"gate": "open"})
        assert (result.status, result.value) == ("ok", 40)
        await host.namespace("session").get("a").exec("DROP TABLE t")
    run = await cut_off(ground, code, 2, limits=limits, inputs={"gate": "never"})
    async with ground.host(limits=limits) as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert record.error.code == "interrupted"
        assert "run_journal_bytes" in record.error.message
        assert len((await session.query("SELECT n FROM t")).rows) == 40
    assert ledger(ground.folder) == ["order 1"] * 2


async def test_a_caller_that_waits_is_driven_on_by_a_job_after_a_stop(ground: Ground) -> None:
    async with ground.host(limits=QUICK) as host:
        session = host.namespace("session").get("a")
        call = asyncio.ensure_future(session.run("print('hi')\nawait tools.shop.put(1, 'g')"))
        await until(lambda: len(ledger(ground.folder)) == 1)
        run = (await session.list_runs()).items[0].id
    with pytest.raises(Exception, match="shut down"):
        await call
    open_gate(ground.folder, "g")
    async with ground.host() as host:
        # Nobody calls the session: the directory knows that it must be opened.
        await until(lambda: bool(host.live()))
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert (record.state, record.logs, record.attempts) == ("ok", ["hi"], 2)
        assert [job.kind for job in await session.list_jobs()] == ["run"]


async def test_a_caller_that_goes_away_cancels_its_run(ground: Ground, host: Host, session: Stub) -> None:
    call = asyncio.ensure_future(session.run("db.save_state('k', 1)\nawait tools.shop.order(1, 'never')"))
    await until(lambda: len(ledger(ground.folder)) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    record = await ended(session, (await session.list_runs()).items[0].id)
    assert record.state == "cancelled"
    assert [(each.name, each.state) for each in record.calls] == [
        ("db.save_state", "ok"),
        ("tools.shop.order", "started"),
    ]
    assert record.effects == {"written": True, "write_calls": 2, "retry_safe": False}


async def test_a_replay_does_nothing_and_gives_the_same(ground: Ground, session: Stub) -> None:
    code = (
        "import random\ndb.exec('CREATE TABLE t (n)')\na = await tools.shop.order(3)\n"
        "db.exec('INSERT INTO t VALUES (?)', [a['n']])\n[random.random(), db.query('SELECT count(*) AS c FROM t')[0]['c']]"
    )
    first = await session.run(code)
    await session.exec("DROP TABLE t")
    again = await session.replay_run(first.id)
    assert (again.status, again.value) == ("ok", first.value)
    assert "nothing was done" in again.note
    assert await session.tables() == []
    assert ledger(ground.folder) == ["order 3"]
    assert len((await session.list_runs()).items) == 1


async def test_a_staged_result_is_written_once(ground: Ground) -> None:
    code = "h = await tools.shop.items(5, into='things')\nawait tools.shop.put(1, 'g')\n[h['table'], len(db.query('SELECT * FROM things'))]"
    run = await cut_off(ground, code, 2)
    open_gate(ground.folder, "g")
    async with ground.host() as host:
        record = await ended(host.namespace("session").get("a"), run)
        assert (record.state, record.value) == ("ok", ["things", 5]), record.error
        assert record.effects["write_calls"] == 2
    assert ledger(ground.folder) == ["items 5", "put 1", "put 1"]


async def test_the_other_engine_goes_on_and_pauses_in_the_same_way(ground: Ground) -> None:
    async with ground.host(limits=QUICK, engine="monty") as host:
        session = host.namespace("session").get("a")
        await session.run(ON_MONTY, background=True)
        await until(lambda: len(ledger(ground.folder)) == 4)
        run = (await session.list_runs()).items[0].id
    open_gate(ground.folder, "g")
    async with ground.host(engine="monty") as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        assert (record.state, record.value) == ("ok", [[1, 2, 3], 4, 1]), record.error
        paused = await session.run("(await tools.shop.order(5))['n']", ask=["tools.*"])
        await session.approve(paused.id)
        assert (await ended(session, paused.id)).value == 5
    done = ledger(ground.folder)
    assert sorted(done) == ["look 2", "order 1", "order 3", "order 5", "put 4", "put 4"]
