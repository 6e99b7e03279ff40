"""Copies into sessions and projects, and back, keep every value and type, and are whole or not there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.landing import PREFIX
from runtime.errors import DuraliteError, InputError, NotFound
from runtime.host import Host
from runtime.namespace import Stub

from .conftest import SALES, Add, Ended

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPED = (
    b"id,zip,price,ok,day,at,note\n"
    b"1,007,9.50,true,2024-01-01,2024-01-01T10:00:00,\n"
    b'2,08,3,false,2024-02-29,2024-01-01 10:00:01,"a,""b""\nc"\n'
    b"3,9,,,,,\xc3\xa9\n"
)


@pytest.fixture
def session(host: Host, account: str) -> Stub:
    """A session of the account."""
    return host.namespace("session", account).get("chat")


@pytest.fixture
def project(host: Host, account: str) -> Stub:
    """A project of the account."""
    return host.namespace("project", account).get("lasting")


async def done(ended: Ended, job: Any) -> Any:
    record = await ended(job["importId"] if isinstance(job, dict) else job.id)
    assert record.state == "done", record.error
    return record.result


async def test_a_round_trip_keeps_values_and_types(
    sources: Stub, session: Stub, add: Add, ended: Ended
) -> None:
    await add(TYPED, "typed.csv")
    result = await done(ended, await sources.copy_to("typed", "chat"))
    assert result == {"type": "session", "name": "chat", "tables": {"typed": 3}}
    described = await session.describe("typed")
    declared = {column.name: column.type for column in described.columns}
    assert declared == {
        "id": "INTEGER",
        "zip": "TEXT",
        "price": "REAL",
        "ok": "BOOLEAN",
        "day": "DATE",
        "at": "TIMESTAMP",
        "note": "TEXT",
    }
    rows = (await session.query("SELECT zip, ok, day, note FROM typed", row_format="arrays")).rows
    assert rows[1] == ["08", 0, "2024-02-29", 'a,"b"\nc']
    await done(ended, await sources.copy_from("chat", table="typed", source_name="again"))

    def types(schema: Any) -> list[Any]:
        return [(c["name"], c["type"]) for c in schema["tables"][0]["columns"]]

    assert types(await sources.schema("again")) == types(await sources.schema("typed"))
    for one, other in (("typed", "again"), ("again", "typed")):
        answer = await sources.query(
            f"SELECT count(*) AS n FROM (FROM {one} EXCEPT ALL FROM {other})", source=one
        )
        assert answer["rows"] == [{"n": 0}]


async def test_the_rows_of_a_join_become_a_table(
    files: Path, sources: Stub, session: Stub, add: Add, ended: Ended
) -> None:
    await add(SALES, "sales.csv")
    with closing(sqlite3.connect(files / "shop.db")) as raw:
        raw.executescript("CREATE TABLE c (id, name); INSERT INTO c VALUES (1, 'Ann'), (2, 'Bob')")
    await sources.register(str(files / "shop.db"))
    sql = "SELECT name, sum(amount) AS total, list(code) AS codes FROM sales JOIN c ON c.id = customer GROUP BY 1 ORDER BY 1"
    await done(ended, await sources.copy_to("shop", "chat", sql=sql, table="totals"))
    rows = (await session.query("SELECT * FROM totals", row_format="arrays")).rows
    assert rows == [["Ann", 11.0, '["007","009"]'], ["Bob", 3.0, '["008"]']]


async def test_all_tables_of_an_sqlite_source_are_copied_as_they_are(
    files: Path, sources: Stub, session: Stub, ended: Ended
) -> None:
    with closing(sqlite3.connect(files / "odd.db")) as raw:
        raw.executescript(
            "CREATE TABLE a (x, y); INSERT INTO a VALUES (1, x'00ff'), ('007', 1e300), (NULL, 9223372036854775807);"
            'CREATE TABLE "b c" ("d ""e" TEXT); INSERT INTO "b c" VALUES (\'z\'); CREATE VIEW v AS SELECT 1;'
        )
    await sources.register(str(files / "odd.db"))
    result = await done(ended, await sources.copy_to("odd", "chat"))
    assert result["tables"] == {"a": 3, "b c": 1}
    rows = (await session.query("SELECT x, y, typeof(x), typeof(y) FROM a", row_format="arrays")).rows
    assert rows == [
        [1, b"\x00\xff", "integer", "blob"],
        ["007", 1e300, "text", "real"],
        [None, 9223372036854775807, "null", "integer"],
    ]
    assert (await session.query('SELECT "d ""e" AS v FROM "b c"')).rows == [{"v": "z"}]


async def test_a_table_that_is_there_stays_unless_it_is_to_be_replaced(
    sources: Stub, session: Stub, add: Add, ended: Ended
) -> None:
    await add(SALES, "sales.csv")
    await session.create_table("sales", "mine")
    record = await ended((await sources.copy_to("sales", "chat")).id)
    assert (record.state, record.error["code"]) == ("failed", "conflict")
    assert [column.name for column in (await session.describe("sales")).columns] == ["mine"]
    await done(ended, await sources.copy_to("sales", "chat", replace=True))
    assert (await session.query("SELECT count(*) AS n FROM sales")).rows == [{"n": 3}]
    for name in ("session_state", "_hidden", "sqlite_x"):
        record = await ended((await sources.copy_to("sales", "chat", table=name, sql="FROM sales")).id)
        assert record.state == "failed", name


async def test_a_copy_goes_into_a_project_as_its_data_or_as_a_table(
    sources: Stub, project: Stub, add: Add, ended: Ended
) -> None:
    await add(TYPED, "typed.csv")
    await done(ended, await sources.copy_to("typed", "lasting", type="project"))
    columns = {c["name"]: c["type"] for c in (await project.columns())["columns"]}
    assert columns == {
        "id": "number",
        "zip": "string",
        "price": "number",
        "ok": "boolean",
        "day": "date",
        "at": "date",
        "note": "string",
    }
    await done(ended, await sources.copy_to("typed", "lasting", type="project", table="beside"))
    assert (await project.query("SELECT zip FROM beside WHERE id = 1")).rows == [{"zip": "007"}]
    await done(
        ended,
        await sources.copy_from("lasting", type="project", sql="SELECT id, zip FROM beside", source_name="b"),
    )
    assert (await sources.query("SELECT zip FROM b WHERE id = 1", source="b"))["rows"] == [{"zip": "007"}]


async def test_what_cannot_be_copied_is_said_and_leaves_nothing(
    host: Host, sources: Stub, session: Stub, add: Add, ended: Ended
) -> None:
    await add(SALES, "sales.csv")
    await session.create_table("t", "a")
    with pytest.raises(InputError):
        await sources.copy_from("chat")
    with pytest.raises(NotFound):
        await sources.copy_to("nosuch", "chat")
    for given in ({"sql": "SELECT * FROM nosuch"}, {"sql": "DELETE FROM t"}, {"table": "nosuch"}):
        source = await sources.copy_from("chat", source_name="bad", **given)
        record = await ended(source["importId"])
        assert record.state == "failed", given
        assert (await sources.get("bad"))["status"] == "error"
        await sources.delete("bad")
    for sql in ("SELECT * FROM nosuch", "DROP VIEW sales", "SELECT * FROM read_csv('/etc/passwd')"):
        record = await ended((await sources.copy_to("sales", "chat", sql=sql, table="x")).id)
        assert record.state == "failed", sql
    assert [table.name for table in await session.tables()] == ["t"]
    absent = await sources.copy_from("never_made", table="t", source_name="gone")
    assert (await ended(absent["importId"])).error["code"] == "actor_not_found"
    assert not host.path_of(session.address._replace(name="never_made")).exists()


async def test_what_a_crash_left_of_a_copy_is_dropped_when_the_session_opens(
    host: Host, session: Stub
) -> None:
    await session.create_table("t", "a")
    instance = await host.acquire(session.address)
    assert instance is not None
    await instance.connection.run(lambda tx: tx.execute(f"CREATE TABLE {PREFIX}17 (a)") and None)
    with pytest.raises(DuraliteError):
        await session.query(f"SELECT * FROM {PREFIX}17")
    await host.close_actor(instance)
    assert [table.name for table in await session.tables()] == ["t"]
    names = await host.acquire(session.address)
    assert names is not None
    left = await names.connection.run(
        lambda tx: tx.all("SELECT name FROM main.sqlite_master WHERE name LIKE '%landing%'"), read_only=True
    )
    assert left == []
