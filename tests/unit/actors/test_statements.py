"""What a session does with statements: atomic, bounded, and told so that a model can mend its own call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DuraliteError, GuardRefused, InputError, LimitExceeded, NotFound, SqlError
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import ManualClock, harness
from tests.scratch import Scratch

HOSTILE = [
    'a"b',
    "a'b",
    "a b",
    "select",
    "é💥",
    "a;b--",
    "[x]",
    "`x`",
    "%s",
    "?",
    ":a",
    "1",
    " ",
    "a\nb",
    "A" * 300,
]


async def rows(stub: Stub, sql: str = "SELECT * FROM t ORDER BY 1") -> list[list[Any]]:
    found: list[list[Any]] = (await stub.query(sql, row_format="arrays")).rows
    return found


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1001])
async def test_a_batch_goes_in_slices_of_500(scratch: Stub, count: int) -> None:
    await scratch.create_table("t", {"i": "INTEGER", "s": "TEXT"})
    answer = await scratch.batch_insert("t", [{"i": i, "s": str(i)} for i in range(count)])
    assert (answer.inserted, answer.chunks) == (count, (count + 499) // 500)
    assert await rows(scratch, "SELECT count(*), sum(i) FROM t") == [[count, count * (count - 1) // 2]]


async def test_a_hundred_thousand_records_go_in_one_batch_and_one_more_does_not(scratch: Stub) -> None:
    await scratch.create_table("t", "i INTEGER, s TEXT")
    assert (await scratch.batch_insert("t", [{"i": i, "s": "x"} for i in range(100_000)])).chunks == 200
    with pytest.raises(LimitExceeded) as refused:
        await scratch.batch_insert("t", [{"i": 0}] * 100_001)
    assert refused.value.limit == "max_batch_records"


async def test_columns_are_the_union_of_all_keys_and_missing_ones_are_null(scratch: Stub) -> None:
    await scratch.create_table("t", "a, b, c DEFAULT 7")
    await scratch.batch_insert("t", [{"a": 1}, {"b": 2, "a": None}, {}, {"c": 3}])
    assert await rows(scratch, "SELECT * FROM t ORDER BY rowid") == [
        [1, None, None],
        [None, 2, None],
        [None] * 3,
        [None, None, 3],
    ]
    await scratch.batch_insert("t", [{"a": 5}])
    assert await rows(scratch, "SELECT * FROM t WHERE a = 5") == [[5, None, 7]]


@pytest.mark.parametrize("bad", [{"i": 600}, {"i": 1}, {"i": None}, {"nope": 1}, {"i": [1]}, {"i": "text"}])
async def test_a_batch_is_all_or_nothing(scratch: Stub, bad: dict[str, Any]) -> None:
    await scratch.create_table(
        "t", "i INTEGER PRIMARY KEY NOT NULL CHECK (i < 1200) CHECK (typeof(i) = 'integer')"
    )
    records: list[dict[str, Any]] = [{"i": i} for i in range(1000)]
    records[900] = bad if bad != {"i": None} else {}
    if bad == {"i": None}:
        records[900] = {"i": "null"}
    with pytest.raises(DuraliteError):
        await scratch.batch_insert("t", records)
    assert await rows(scratch) == []


@pytest.mark.parametrize(
    ("on_conflict", "inserted", "left"),
    [
        ("replace", 3, [[1, "new", None], [2, "b", None], [3, "c", None]]),
        ("ignore", 2, [[1, "old", "kept"], [2, "b", None], [3, "c", None]]),
        ("upsert", 3, [[1, "new", "kept"], [2, "b", None], [3, "c", None]]),
    ],
)
async def test_conflicts_are_replaced_ignored_or_updated(
    scratch: Stub, on_conflict: str, inserted: int, left: list[list[Any]]
) -> None:
    await scratch.create_table("t", "id INTEGER PRIMARY KEY, v TEXT, w TEXT")
    await scratch.batch_insert("t", [{"id": 1, "v": "old", "w": "kept"}])
    records = [{"id": 1, "v": "new"}, {"id": 2, "v": "b"}, {"id": 3, "v": "c"}]
    assert (await scratch.batch_insert("t", records, on_conflict)).inserted == inserted
    assert await rows(scratch) == left
    with pytest.raises(SqlError) as refused:
        await scratch.batch_insert("t", records)
    assert refused.value.hint
    assert await rows(scratch) == left


@pytest.mark.parametrize("width", [1, 7, 400])
@pytest.mark.parametrize("on_conflict", [None, "replace", "ignore", "upsert"])
async def test_a_large_batch_does_what_many_small_ones_do(
    scratch: Stub, on_conflict: str | None, width: int
) -> None:
    columns = {"id": "INTEGER PRIMARY KEY", **{f"c{n}": "" for n in range(width)}}
    wide = range(width)
    # Numbers repeat where conflicts are settled, and records miss keys.
    ids = [n if on_conflict is None else n % 900 for n in range(1_733)]
    records = [
        {"id": each, **{f"c{c}": [n, n * 0.5, f"v{n}", None][(n + c) % 4] for c in wide if (n + c) % 5}}
        for n, each in enumerate(ids)
    ]
    await scratch.create_table("large", columns)
    await scratch.create_table("small", columns)
    whole = await scratch.batch_insert("large", records, on_conflict)
    pieces = 0
    for start in range(0, len(records), 500):
        part = [*records[start : start + 500], {"id": -1, **{f"c{c}": 0 for c in wide}}]
        pieces += (await scratch.batch_insert("small", part, on_conflict)).inserted
        await scratch.exec("DELETE FROM small WHERE id = -1")
    assert whole.inserted == pieces - 4
    assert await rows(scratch, "SELECT * FROM large ORDER BY 1") == await rows(
        scratch, "SELECT * FROM small ORDER BY 1"
    )


async def test_a_large_batch_with_one_bad_record_leaves_nothing(scratch: Stub) -> None:
    await scratch.create_table("t", "id INTEGER PRIMARY KEY, v TEXT NOT NULL")
    records: list[dict[str, Any]] = [{"id": n, "v": str(n)} for n in range(2_000)]
    for bad in (0, 49, 50, 999, 1_500, 1_999):
        broken = [dict(each) for each in records]
        broken[bad]["v"] = None
        with pytest.raises(SqlError):
            await scratch.batch_insert("t", broken)
        assert await rows(scratch) == []
    assert (await scratch.batch_insert("t", records)).inserted == 2_000


async def test_hostile_identifiers_are_only_names(scratch: Stub) -> None:
    for name in HOSTILE:
        assert (await scratch.create_table(name, dict.fromkeys(HOSTILE, "TEXT")))["created"] is True
        await scratch.batch_insert(name, [dict.fromkeys(HOSTILE, "x"), {name: "y"}])
        await scratch.batch_insert(name, [{name: "z"}], "upsert")
        assert (await scratch.describe(name)).rows == 3
    assert {t.name for t in await scratch.tables()} == set(HOSTILE)


@pytest.mark.parametrize(
    "table",
    ["", "a\0b", "session_state", "execution_logs", "_duralite_meta", "sqlite_master", "nope", "_mine"],
)
async def test_tables_that_are_not_the_users_take_no_rows(scratch: Stub, table: str) -> None:
    with pytest.raises(DuraliteError) as refused:
        await scratch.batch_insert(table, [{"key": "k", "value": "v", "updated_at": "x"}])
    assert refused.value.status in (403, 422)
    assert refused.value.hint


@pytest.mark.parametrize(
    "records", [[1], [None], [[1]], [{"a": 1}, "x"], [{}], [{"": 1}], [{"a\0": 1}], [{1: 2}]]
)
async def test_records_that_are_no_objects_are_refused_with_a_hint(scratch: Stub, records: list[Any]) -> None:
    await scratch.create_table("t", "a")
    with pytest.raises(InputError) as refused:
        await scratch.batch_insert("t", records)
    assert refused.value.hint


async def test_keys_that_differ_only_in_case_are_not_lost(scratch: Stub) -> None:
    await scratch.create_table("t", "a")
    with pytest.raises(DuraliteError):
        await scratch.batch_insert("t", [{"a": 1}, {"A": 2}])
    assert await rows(scratch) == []


async def test_no_records_change_nothing(scratch: Stub) -> None:
    assert (await scratch.batch_insert("nope", [])).inserted == 0


async def test_triggers_run_with_the_rights_of_their_user(scratch: Stub) -> None:
    await scratch.create_table("t", "a")
    await scratch.create_table("log", "a")
    await scratch.exec("CREATE TRIGGER note AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a * 2); END")
    await scratch.batch_insert("t", [{"a": i} for i in range(600)])
    assert await rows(scratch, "SELECT count(*), sum(a) FROM log") == [[600, 600 * 599]]
    await scratch.save_state("k", 1)
    with pytest.raises(GuardRefused):
        await scratch.exec("CREATE TRIGGER evil AFTER INSERT ON t BEGIN DELETE FROM session_state; END")
        await scratch.batch_insert("t", [{"a": 1}])
    assert (await scratch.get_state("k"))["found"] is True


async def test_a_trigger_that_rolls_back_takes_the_whole_batch_and_leaves_the_session_usable(
    scratch: Stub,
) -> None:
    await scratch.create_table("t", "a")
    await scratch.exec(
        "CREATE TRIGGER no BEFORE INSERT ON t WHEN new.a = 700 BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    )
    with pytest.raises(SqlError):
        await scratch.batch_insert("t", [{"a": i} for i in range(1000)])
    assert await rows(scratch) == []
    assert (await scratch.batch_insert("t", [{"a": 1}])).inserted == 1


async def test_insert_or_rollback_is_one_call_like_any_other(scratch: Stub) -> None:
    await scratch.create_table("t", "a PRIMARY KEY")
    await scratch.exec("INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError):
        await scratch.exec("INSERT OR ROLLBACK INTO t VALUES (2), (1)")
    assert await rows(scratch) == [[1]]


async def test_creating_a_table_twice_is_told(scratch: Stub) -> None:
    assert (await scratch.create_table("t", "a INTEGER"))["created"] is True
    assert (await scratch.create_table("T", {"b": "TEXT"}))["created"] is False
    assert [c.name for c in (await scratch.describe("t")).columns] == ["a"]


@pytest.mark.parametrize(
    "schema",
    [
        "a); DROP TABLE keep; --",
        "a) AS SELECT 1; DELETE FROM keep --",
        "",
        {},
        {"a": "TEXT); DROP TABLE keep; --"},
        {"a": "TEXT, b TEXT); DELETE FROM session_state --"},
        {"a": "TEXT REFERENCES _duralite_meta"},
        {"": "TEXT"},
    ],
)
async def test_a_schema_cannot_smuggle_a_second_statement(scratch: Stub, schema: Any) -> None:
    await scratch.create_table("keep", "a")
    await scratch.save_state("k", 1)
    with pytest.raises(DuraliteError):
        await scratch.create_table("t", schema)
    assert [t.name for t in await scratch.tables()] == ["keep"]
    assert (await scratch.get_state("k"))["value"] == 1


async def test_query_reads_and_exec_writes(scratch: Stub) -> None:
    await scratch.create_table("t", "a")
    for sql in ("INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE TABLE u (a)", "DROP TABLE t"):
        with pytest.raises(GuardRefused) as refused:
            await scratch.query(sql)
        assert "exec" in (refused.value.hint or "")
    assert (await scratch.exec("SELECT 1 AS a")).rows == [{"a": 1}]


async def test_exec_tells_what_changed(scratch: Stub) -> None:
    await scratch.create_table("t", "id INTEGER PRIMARY KEY, a")
    one = await scratch.exec("INSERT INTO t (a) VALUES (1)")
    assert (one.rows_affected, one.last_insert_rowid) == (1, 1)
    assert (await scratch.exec("INSERT INTO t (a) SELECT value FROM json_each('[2,3,4]')")).rows_affected == 3
    assert (await scratch.exec("WITH x AS (SELECT 9) INSERT INTO t (a) SELECT * FROM x")).rows_affected == 1
    assert (await scratch.exec("UPDATE t SET a = a + 1 WHERE a > 1")).rows_affected == 4
    assert (await scratch.exec("DELETE FROM t")).rows_affected == 5
    nothing = await scratch.exec("DELETE FROM t")
    assert (nothing.rows_affected, nothing.last_insert_rowid) == (0, None)
    assert (await scratch.exec("CREATE INDEX i ON t (a)")).rows_affected == 0


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM penguin", "penguins"),
        ("SELECT specie FROM penguins", "species"),
        ("SELEC 1", "SELEC"),
        ("", "statement"),
        ("SELECT 1; SELECT 2", "statement"),
        ("INSERT INTO penguins VALUES (1)", "column"),
    ],
)
async def test_an_error_says_what_to_write_instead(scratch: Stub, sql: str, words: str) -> None:
    await scratch.create_table("penguins", "species, island")
    with pytest.raises(DuraliteError) as refused:
        await scratch.exec(sql)
    assert words in f"{refused.value.message} {refused.value.hint}"


async def test_tables_are_described_as_a_model_needs_them(scratch: Stub) -> None:
    await scratch.exec(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'x', g AS (a || 'y'))"
    )
    await scratch.exec("CREATE TABLE c (p INTEGER REFERENCES p (id), v)")
    await scratch.exec("CREATE UNIQUE INDEX by_v ON c (v, lower(v))")
    await scratch.exec("CREATE VIEW w AS SELECT * FROM p")
    await scratch.exec("CREATE VIRTUAL TABLE f USING fts5(body)")
    await scratch.exec("INSERT INTO p (id) VALUES (1)")
    found = {t.name: t for t in await scratch.tables()}
    assert list(found) == ["c", "f", "p", "w"]
    assert [t.kind for t in found.values()] == ["table", "virtual", "table", "view"]
    assert found["p"].rows == 1
    assert [(c.name, c.not_null, c.default, c.primary_key, c.generated) for c in found["p"].columns] == [
        ("id", False, None, 1, False),
        ("a", True, "'x'", 0, False),
        ("g", False, None, 0, True),
    ]
    assert (found["c"].foreign_keys[0].table, found["c"].foreign_keys[0].references) == ("p", ["id"])
    assert (found["c"].indexes[0].unique, found["c"].indexes[0].columns) == (True, ["v", None])
    assert (await scratch.describe("P")).name == "p"
    with pytest.raises(NotFound) as missing:
        await scratch.describe("nope")
    assert "c, f" in (missing.value.hint or "")
    for hidden in ("session_state", "_duralite_meta", "sqlite_master", "f_data"):
        if hidden != "f_data":
            with pytest.raises(NotFound):
                await scratch.describe(hidden)


async def test_explain_proposes_an_index_until_it_is_there(scratch: Stub) -> None:
    await scratch.create_table("t", "a, b, c")
    sql = "SELECT * FROM t AS x WHERE x.b = ? AND x.c > 5"
    plan = await scratch.explain(sql, [1])
    assert plan.scans == ["x"]
    (advice,) = plan.advice
    await scratch.exec(advice["sql"])
    after = await scratch.explain(sql, [1])
    assert (after.scans, after.advice) == ([], [])
    with pytest.raises(DuraliteError):
        await scratch.explain("DROP DATABASE")
    assert await rows(scratch) == []


async def test_the_log_of_statements_is_complete_and_bounded(tmp_path: Path) -> None:
    clock = ManualClock()
    async with harness(tmp_path, Scratch, clock=clock, limits=Limits(log_rows=10)) as host:
        stub = host.namespace("scratch").get("one")
        with pytest.raises(DuraliteError):
            await stub.query("SELECT nope")
        logs = await stub.execution_logs()
        assert (logs[0]["method"], logs[0]["sql"], logs[0]["rows"]) == ("query", "SELECT nope", None)
        assert "nope" in logs[0]["error"]
        for number in range(40):
            await stub.query(f"SELECT {number} AS n")
        assert [entry["sql"] for entry in await stub.execution_logs()] == [
            f"SELECT {n} AS n" for n in range(39, 29, -1)
        ]
        await stub.query("SELECT 'x' AS \"" + "y" * 5_000 + '"')
        assert len((await stub.execution_logs(1))[0]["sql"]) < 2_100
    async with harness(tmp_path, Scratch, clock=clock) as host:
        stub = host.namespace("scratch").get("one")
        assert len(await stub.execution_logs()) == 10


async def test_slow_statements_are_remembered_slowest_first(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(slow_query_ms=0.0)) as host:
        stub = host.namespace("scratch").get("one")
        for number in range(120):
            await stub.query(f"SELECT {number}")
        slow = await stub.slow_queries(100)
        assert len(slow) == 100
        assert [s["duration_ms"] for s in slow] == sorted((s["duration_ms"] for s in slow), reverse=True)


async def test_metrics_count_what_happened(scratch: Stub) -> None:
    await scratch.create_table("t", "a")
    await scratch.batch_insert("t", [{"a": i} for i in range(10)])
    await scratch.query("SELECT * FROM t")
    await scratch.save_state("k", "v")
    with pytest.raises(DuraliteError):
        await scratch.query("SELECT nope")
    metrics = await scratch.get_metrics()
    assert metrics["tables"] == {"t": 10}
    assert (metrics["row_count"], metrics["state_keys"], metrics["errors"]) == (10, 1, 1)
    assert metrics["rows_read"] >= 10
    assert metrics["rows_written"] == 10
    assert metrics["size_bytes"] > 0
    assert 0 < metrics["limits"]["max_file_bytes"]["used"] < metrics["limits"]["max_file_bytes"]["limit"]


async def test_a_full_file_says_so_and_stays_usable(host: Host, scratch: Stub) -> None:
    instance = await host.acquire(scratch.address)
    assert instance is not None
    await instance.connection.run(lambda tx: tx.one("PRAGMA main.max_page_count=100"))
    await scratch.create_table("t", "a")
    with pytest.raises(DuraliteError) as full:
        for _ in range(100):
            await scratch.exec("INSERT INTO t VALUES (zeroblob(50000))")
    assert full.value.code == "storage_full"
    await scratch.exec("DELETE FROM t")
    assert (await scratch.exec("INSERT INTO t VALUES (1)")).rows_affected == 1


async def test_the_log_of_an_actor_that_only_read_outlives_its_closing(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_open=1)) as host:
        one, other = (host.namespace("scratch").get(name) for name in ("one", "other"))
        await one.create_table("t", "a")
        await other.list_state()
        await one.query("SELECT 1")
        await other.list_state()
        assert (await one.execution_logs())[0]["sql"] == "SELECT 1"
        await other.list_state()
        await one.query("SELECT 2")
        await other.list_state()
        assert len(host.live()) == 1
    async with harness(tmp_path, Scratch) as host:
        logs = await host.namespace("scratch").get("one").execution_logs()
        assert [entry["sql"] for entry in logs][:2] == ["SELECT 2", "SELECT 1"]


async def test_the_log_of_a_deleted_actor_is_gone(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_open=1)) as host:
        one, other = (host.namespace("scratch").get(name) for name in ("one", "other"))
        await one.list_state()
        await other.list_state()
        await one.query("SELECT 'secret'")
        await other.list_state()
        await host.delete(one.address)
        assert await one.execution_logs() == []
    assert not list((tmp_path / "actors").rglob("*.new"))


@pytest.mark.parametrize("schema", ["", "  ", {}])
async def test_a_table_without_columns_is_refused_in_words(scratch: Stub, schema: Any) -> None:
    with pytest.raises(InputError, match="names no columns") as refused:
        await scratch.create_table("t", schema)
    assert refused.value.hint
