"""What is kept of runs: everything that happened, within bounds, and out of reach of strangers' SQL."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import DuraliteError, InputError, NotFound
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.storage.transaction import Transaction
from tests.acceptance.ledger import ledger
from tests.unit.sandbox.runs.conftest import Ground

PROGRAM = """
db.create_table("t", {"n": "INTEGER"})
db.batch_insert("t", [{"n": n} for n in range(inputs["count"])])
print("so many:", inputs["count"])
try:
    db.query("SELECT * FROM nowhere")
except Exception as error:
    print(error)
db.query("SELECT sum(n) AS s FROM t")[0]["s"]
"""


async def tables_of(host: Host, name: str) -> set[str]:
    """Return the runtime's own tables in a session's file."""

    def names(tx: Transaction) -> set[str]:
        return {
            row[0]
            for row in tx.all(
                "SELECT name FROM sqlite_master WHERE name LIKE '\\_duralite\\_run%' ESCAPE '\\'"
            )
        }

    instance = await host.acquire(ActorAddress("session", "local", name))
    assert instance is not None
    return await instance.connection.run(names, read_only=True)


async def test_a_run_is_kept_with_its_calls_and_how_it_ended(session: Stub) -> None:
    result = await session.run(PROGRAM, inputs={"count": 4})
    record = await session.get_run(result.id)
    assert (record.state, record.value, record.inputs) == ("ok", 6, {"count": 4})
    assert record.logs == ["so many: 4", "no such table: nowhere"]
    assert record.code == PROGRAM
    made, inserted, refused, read = record.calls
    assert (made.name, made.arguments) == ("db.create_table", [["t", {"n": "INTEGER"}], {}])
    assert inserted.result["inserted"] == 4
    assert (refused.state, refused.error["type"]) == ("error", "OperationalError")
    assert read.result["rows"] == [[6]]
    assert record.effects == {"written": True, "write_calls": 2, "retry_safe": False}
    assert record.cut == []


@pytest.mark.parametrize(
    ("code", "state", "kind"),
    [
        ("1 / 0", "error", "ZeroDivisionError"),
        ("while True: pass", "limit", "CpuLimit"),
        ("db.qurey(1)", "error", "CheckError"),
        ("x = (", "error", "SyntaxError"),
    ],
)
async def test_a_run_that_ends_badly_is_kept_too(session: Stub, code: str, state: str, kind: str) -> None:
    result = await session.run(code, limits={"cpu_s": 0.2})
    record = await session.get_run(result.id)
    assert (result.status, record.state) == (state, state)
    assert record.error == result.error
    if kind != "CpuLimit":
        assert record.error.type in (kind, "CheckError")


async def test_a_program_that_cannot_be_right_is_not_run(session: Stub) -> None:
    result = await session.run("db.create_table('t', {'n': 'INTEGER'})\ndb.qurey('SELECT 1')")
    assert (result.status, result.error.type, result.error.line) == ("error", "CheckError", 2)
    assert "db.query" in result.error.hint
    assert await session.tables() == []
    unchecked = await session.run(
        "try:\n    db.qurey('SELECT 1')\nexcept AttributeError:\n    x = 'no'\nx", check=False
    )
    assert unchecked.value == "no"
    assert (await session.check("db.qurey(1)")).errors


async def test_a_session_pays_for_runs_from_the_first_one_on(host: Host, session: Stub) -> None:
    await session.exec("CREATE TABLE t (n)")
    assert (await session.list_runs()).items == []
    assert await session.list_approvals() == []
    assert await session.list_snippets() == []
    assert await tables_of(host, "a") == set()
    await session.run("1")
    assert await tables_of(host, "a") == {"_duralite_runs", "_duralite_run_calls"}


async def test_the_oldest_ended_runs_are_forgotten(ground: Ground) -> None:
    async with ground.host(limits=Limits(runs_kept=5)) as host:
        session = host.namespace("session").get("a")
        paused = await session.run("db.exec('DELETE FROM session_state')", ask=["db.exec:DELETE"])
        ids = [(await session.run(str(n))).id for n in range(9)]
        page = await session.list_runs(limit=4)
        rest = await session.list_runs(limit=4, cursor=page.next)
        assert [each.id for each in (*page.items, *rest.items)] == [*ids[::-1][:6], paused.id]
        assert rest.next is None
        assert [each.id for each in (await session.list_runs(state="paused")).items] == [paused.id]
        with pytest.raises(NotFound):
            await session.get_run(ids[0])
        with pytest.raises(InputError):
            await session.list_runs(cursor="x")


async def test_what_is_large_is_cut_and_said_so(ground: Ground) -> None:
    async with ground.host(limits=Limits(run_record_bytes=8192, run_result_bytes=1024 * 1024)) as host:
        session = host.namespace("session").get("a")
        code = (
            "rows = db.query('SELECT hex(zeroblob(?)) AS h', [inputs['size']])\n"
            "db.save_state('k', 1)\n"
            "for n in range(200):\n    db.get_state(str(n))\n    print('line', n, '.' * 50)\n"
            "rows[0]['h']"
        )
        result = await session.run(code, inputs={"size": 5000, "more": "x" * 5000})
        assert len(result.value) == 10_000
        record = await session.get_run(result.id)
        assert record.cut == ["value", "logs", "inputs", "calls"]
        assert (record.value, record.inputs) == (None, None)
        assert 0 < len(record.logs) < 200
        assert 0 < len(record.calls) < 202
        assert record.calls[0].cut
        with pytest.raises(NotFound):
            await session.replay_run(result.id)  # without its inputs it is no program any more
        small = await session.run("len(db.query('SELECT hex(zeroblob(5000)) AS h')[0]['h'])")
        again = await session.replay_run(small.id)
        assert again.error.type == "Divergence"
        assert "too large" in again.error.message


async def test_a_full_file_can_be_mended_by_a_program(ground: Ground) -> None:
    async with ground.host(limits=Limits(max_file_bytes=256 * 1024)) as host:
        session = host.namespace("session").get("a")
        await session.exec("CREATE TABLE t (b)")
        with pytest.raises(DuraliteError):
            for _ in range(1000):
                await session.exec("INSERT INTO t VALUES (zeroblob(4000))")
        with pytest.raises(DuraliteError):
            for _ in range(10_000):
                await session.exec("INSERT INTO t VALUES (1)")
        result = await session.run("db.exec('DELETE FROM t')")
        assert result.status == "ok", result.error
        assert result.value > 50
        assert (await session.run("1")).id is not None


async def test_a_program_that_fills_the_file_ends_all_the_same(ground: Ground) -> None:
    async with ground.host(limits=Limits(max_file_bytes=256 * 1024)) as host:
        session = host.namespace("session").get("a")
        code = "db.exec('CREATE TABLE t (b)')\nwhile True:\n    db.exec('INSERT INTO t VALUES (zeroblob(?))', [inputs['size']])"
        for size in (4000, 1):
            result = await session.run(
                code.replace("CREATE TABLE t", "CREATE TABLE IF NOT EXISTS t"), inputs={"size": size}
            )
            assert result.status in ("error", "limit"), result
            assert result.error.code == "storage_full"
        assert (await session.list_runs(state="running")).items == []


async def test_records_are_out_of_reach_of_sql(session: Stub) -> None:
    await session.run("1")
    for sql in ("SELECT * FROM _duralite_runs", "SELECT * FROM _duralite_run_calls"):
        with pytest.raises(DuraliteError):
            await session.query(sql)
        result: Any = await session.run(f"db.query({sql!r})")
        assert result.status == "error"
    for sql in ("DELETE FROM _duralite_run_calls", "UPDATE _duralite_runs SET state = 'running'"):
        with pytest.raises(DuraliteError):
            await session.exec(sql)


async def test_a_copy_of_a_session_does_not_go_on_with_its_runs(
    ground: Ground, host: Host, session: Stub
) -> None:
    await session.run("await tools.shop.order(1)", ask=["tools.*"])
    await session.save_snippet("one", code="1")
    await session.clone("b")
    copy = host.namespace("session").get("b")
    assert (await copy.list_runs()).items == []
    assert await copy.list_approvals() == []
    assert [each.name for each in await copy.list_snippets()] == ["one"]
    assert ledger(ground.folder) == []


@pytest.mark.parametrize(
    ("limits", "path", "reason"),
    [
        ({"wall": 3}, "wall", "there is no such limit, the nearest is wall_s"),
        ({"wall_s": -1}, "wall_s", "greater than 0"),
        ({"calls": "many"}, "calls", "integer"),
    ],
)
async def test_limits_that_are_none_are_told_in_words(
    ground: Ground, limits: dict[str, Any], path: str, reason: str
) -> None:
    async with ground.host() as host:
        with pytest.raises(InputError) as refused:
            await host.namespace("session").get("a").run("1", limits=limits)
    (wrong,) = refused.value.extra["errors"]
    assert wrong["path"] == path
    assert reason in wrong["reason"]
    assert "pydantic" not in str(refused.value)
