"""One query over sources of any kind: joined by name, with typed answers that are kept and never stale."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import Conflict, DeadlineExceeded, GuardRefused, InputError, NotFound, SqlError
from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import harness, until

from .conftest import SALES, Add

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def shop(files: Path) -> Path:
    """An SQLite file of somebody else's."""
    path = files / "shop.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);"
            "INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob'), (3, 'Cy');"
            "CREATE VIEW loud AS SELECT id, upper(name) AS name FROM customers;"
            "CREATE TABLE odd (a, b); INSERT INTO odd VALUES (1, 9223372036854775807), ('x', 1.5), (x'00ff', NULL);"
        )
    return path


def insert(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO customers (name) VALUES (?)", (name,))
        raw.commit()


def old(path: Path) -> None:
    """Have a file look as if nobody wrote to it for long."""
    os.utime(path, (1_500_000_000, 1_500_000_000))


async def test_an_answer_has_rows_types_and_timing(sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    answer = await sources.query("SELECT code, amount FROM sales WHERE id = ?", source="sales", params=[1])
    assert answer["rows"] == [{"code": "007", "amount": 9.5}]
    assert answer["fields"] == [{"name": "code", "type": "VARCHAR"}, {"name": "amount", "type": "DOUBLE"}]
    assert answer["row_count"] == answer["rowCount"] == 1
    assert answer["executionTime"] == answer["duration_ms"] > 0
    assert (answer["source_type"], answer["cached"], answer["truncated"]) == ("parquet", False, False)
    assert "lasting" not in answer


async def test_sources_of_all_kinds_are_joined_by_name(
    files: Path, shop: Path, sources: Stub, add: Add
) -> None:
    await add(SALES, "sales.csv")
    await sources.register(str(shop), name="db")
    (files / "rates.csv").write_text("customer,rate\n1,0.5\n2,2\n")
    await sources.live_import(str(files / "rates.csv"))
    wanted = [["ANN", 5.5], ["BOB", 6.0]]
    sql = (
        "SELECT c.name, sum(amount * rate) AS total FROM {} AS s JOIN {} AS c ON c.id = s.customer"
        " JOIN {} AS r ON r.customer = c.id GROUP BY 1 ORDER BY 1"
    )
    for source, tables in {
        "sales": ("sales", "db.loud", "rates"),
        "db": ("sales.sales", "loud", "rates.rates"),
        "rates": ('"Sales"', '"DB"."LOUD"', "data"),
        None: ("sales", "db.loud", "rates.rates"),
    }.items():
        answer = await sources.query(sql.format(*tables), source=source, row_format="arrays")
        assert answer["rows"] == wanted, source


async def test_an_sqlite_source_speaks_sqlite(shop: Path, sources: Stub) -> None:
    await sources.register(str(shop), name="db")
    sql = "SELECT name, typeof(id) AS t, strftime('%Y', '2024-01-01') AS y FROM customers WHERE id = :id"
    answer = await sources.query(sql, source="db", params={"id": 2})
    assert answer["rows"] == [{"name": "Bob", "t": "integer", "y": "2024"}]
    assert answer["source_type"] == "sqlite"


async def test_values_of_sqlite_keep_their_content_in_a_join(shop: Path, sources: Stub, add: Add) -> None:
    await add(b"k\n1\n", "one.csv")
    await sources.register(str(shop), name="db")
    answer = await sources.query("SELECT a, b FROM db.odd, one", source="one", row_format="arrays")
    assert answer["rows"] == [["1", "9223372036854775807"], ["x", "1.5"], ["00ff", None]]


async def test_an_answer_is_kept_until_its_source_changes(sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    sql = "SELECT count(*) AS n FROM sales"
    assert [(await sources.query(sql, source="sales"))["cached"] for _ in range(3)] == [False, True, True]
    assert not (await sources.query(sql, source="sales", limit=0))["cached"]
    assert not (await sources.query(sql, source="sales", row_format="arrays"))["cached"]
    assert not (await sources.query(sql + " WHERE id = ?", source="sales", params=[1]))["cached"]
    assert not (await sources.query(sql + " WHERE id = ?", source="sales", params=[2]))["cached"]
    await sources.delete("sales")
    await add(SALES + b"4,1,1,010,2024-03-01\n", "sales.csv")
    answer = await sources.query(sql, source="sales")
    assert (answer["cached"], answer["rows"]) == (False, [{"n": 4}])
    moment = "SELECT now() AS n FROM sales"
    assert [(await sources.query(moment, source="sales"))["cached"] for _ in range(2)] == [False, False]


async def test_answers_of_a_file_of_others_are_kept_once_it_rests(shop: Path, sources: Stub) -> None:
    await sources.register(str(shop), name="db")
    sql = "SELECT count(*) AS n FROM customers"
    hits: list[Any] = []

    async def ask() -> dict[str, Any]:
        answer: dict[str, Any] = await sources.query(sql, source="db")
        hits.append(answer["cached"])
        assert answer["rows"] == [{"n": 3}]
        return answer

    while not (await ask())["cached"]:  # its last change must be two seconds old
        assert len(hits) < 10_000
    insert(shop, "Di")
    answer = await sources.query(sql, source="db")
    assert (answer["cached"], answer["rows"]) == (False, [{"n": 4}])
    schema = await sources.schema("db")
    assert {t["name"]: t["rows"] for t in schema["tables"]}["customers"] == 4


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(["rollback", "wal", "replace", "same", "query", "join"]), min_size=4, max_size=14
    )
)
async def test_no_answer_is_ever_stale(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Whatever is done to a file between two queries, in quick succession: the next answer is of what it holds."""
    folder = tmp_path_factory.mktemp("stale")
    files = folder / "files"
    files.mkdir()
    path = files / "x.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE t (a)")
        raw.commit()
    async with harness(folder / "data", "actors.sources:SourcesActor", source_folders=(files,)) as host:
        stub = host.namespace("sources").get("default")
        await stub.register(str(path), name="db")
        for number, step in enumerate([*steps, "query", "join"]):
            if step in ("query", "join"):
                sql = "SELECT max(a) AS m FROM t" if step == "query" else "SELECT max(a) AS m FROM db.t"
                answer = await stub.query(sql, source="db" if step == "query" else None)
                with closing(sqlite3.connect(path)) as raw:
                    (wanted,) = raw.execute("SELECT max(a) FROM t").fetchone()
                assert answer["rows"] == [{"m": wanted}]
                continue
            target = path if step != "replace" else files / "new.db"
            with closing(sqlite3.connect(target)) as raw:
                if step in ("rollback", "wal"):
                    raw.execute(f"PRAGMA journal_mode = {'WAL' if step == 'wal' else 'DELETE'}")
                raw.execute("CREATE TABLE IF NOT EXISTS t (a)")
                raw.execute("INSERT INTO t VALUES (?)", (number,))
                raw.commit()
            if step == "replace":
                for end in ("-wal", "-shm"):
                    Path(f"{path}{end}").unlink(missing_ok=True)
                target.replace(path)
            if step == "same":
                old(path)


async def test_a_source_without_data_says_so(tmp_path: Path, host: Host, sources: Stub) -> None:
    with pytest.raises(NotFound, match="no source 'nosuch'"):
        await sources.query("SELECT 1", source="nosuch")
    with pytest.raises(InputError):
        await sources.query("SELECT 1", params=3)
    assert (await sources.query("SELECT 1 AS one"))["rows"] == [{"one": 1}]


async def test_a_file_that_is_gone_is_told(shop: Path, sources: Stub) -> None:
    await sources.register(str(shop), name="db")
    shop.unlink()
    with pytest.raises(NotFound, match="gone"):
        await sources.query("SELECT 1 FROM customers", source="db")
    shop.write_text("no database any more")
    with pytest.raises(InputError):
        await sources.query("SELECT 1 FROM customers", source="db")


async def test_a_name_in_a_text_is_not_a_join(shop: Path, sources: Stub, add: Add) -> None:
    await add(SALES, "id.csv")
    await sources.register(str(shop), name="db")
    answer = await sources.query("SELECT id FROM customers WHERE name = 'id'", source="db")
    assert answer["source_type"] == "sqlite"
    with pytest.raises(SqlError, match="no such table: nosuch"):
        await sources.query("SELECT id FROM nosuch", source="db")


async def test_the_guards_hold_for_every_way_in(shop: Path, sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    await sources.register(str(shop), name="db")
    for source in ("db", "sales", None):
        for sql in ("DELETE FROM customers", "SELECT 1; SELECT 2", "ATTACH 'x' AS y", "PRAGMA table_info(t)"):
            with pytest.raises(GuardRefused):
                await sources.query(sql, source=source)
    insert(shop, "still writable by its owner")


async def test_a_call_that_nothing_interrupts_ends_its_worker_and_no_other_call(
    tmp_path: Path, sources: Stub, host: Host, add: Add
) -> None:
    await add(SALES, "sales.csv")
    from runtime.context import CallContext

    spec = host.spec("sources", "query")
    import time

    context = CallContext(sources.address.owner, time.monotonic() + 1.5, (), None)
    hard = spec.bind({"sql": "SELECT list_reduce(range(100000000), lambda a, b: a + b)"})
    with pytest.raises(DeadlineExceeded):
        await host.call(sources.address, spec, hard, context)
    assert (await sources.query("SELECT 1 AS one"))["rows"] == [{"one": 1}]
    temp = host.settings.data / "tmp"
    await until(lambda: not temp.exists() or not [p for p in temp.iterdir() if p.name.startswith("query-")])


async def test_an_import_under_way_can_be_waited_for(tmp_path: Path, sources: Stub) -> None:
    from runtime.streams import Upload

    content = b"a\n" + b"1\n" * 300_000
    path = tmp_path / "slow.csv"
    path.write_bytes(content)
    source = await sources.create(Upload(path, len(content), "text/csv", "slow.csv"))
    with pytest.raises(Conflict, match="still being imported"):
        await sources.query("FROM slow", source="slow")
    await sources.cancel_job(source["importId"])
