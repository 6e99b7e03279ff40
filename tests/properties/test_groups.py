"""Calls that share a commit answer, and leave the file, as if each had run alone (runtime/storage/connection.py)."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.host import Host
from runtime.testing import harness, settle
from tests.scratch import Durable, Probe, Scratch

SCHEMA = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT UNIQUE, n INTEGER CHECK (n < 9), p INTEGER REFERENCES parent)",
    "CREATE TRIGGER no_seven BEFORE INSERT ON t WHEN new.n = 7 BEGIN SELECT RAISE(ROLLBACK, 'seven'); END",
    "CREATE TRIGGER no_six BEFORE INSERT ON t WHEN new.n = 6 BEGIN SELECT RAISE(FAIL, 'six'); END",
)
DEFERRED = (
    "CREATE TABLE late (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
)

keys = st.integers(0, 5)
statements = st.one_of(
    st.tuples(
        st.sampled_from(
            ["INSERT", "INSERT OR ROLLBACK", "INSERT OR FAIL", "INSERT OR IGNORE", "INSERT OR REPLACE"]
        ),
        keys,
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(3, 10),
        st.one_of(st.none(), keys),
    ).map(lambda v: (f"{v[0]} INTO t VALUES (?, ?, ?, ?)", list(v[1:]))),
    keys.map(lambda k: ("INSERT OR IGNORE INTO parent VALUES (?)", [k])),
    st.just(("INSERT INTO t (k, v) VALUES (NULL, zeroblob(2000000))", [])),
    st.just(("INSERT INTO nowhere VALUES (1)", [])),
    st.just(("INSERT INTO t (k) VALUES (1), (1)", [])),
    keys.map(lambda k: ("DELETE FROM t WHERE k = ?", [k])),
)
deferred = st.one_of(
    st.tuples(keys, st.one_of(st.none(), keys)).map(lambda v: ("INSERT INTO late VALUES (?, ?)", list(v))),
    keys.map(lambda k: ("INSERT OR IGNORE INTO parent VALUES (?)", [k])),
)


async def run(
    host: Host, name: str, script: list[tuple[str, list[Any]]], *, together: bool, late: bool
) -> Any:
    """Run a script and return its answers and what is in the file; `together` has all of it wait for the thread."""
    actor = host.namespace("scratch").get(name)
    for sql in (*SCHEMA, *([DEFERRED] if late else [])):
        await actor.exec(sql)
    if together:
        held, go = threading.Event(), threading.Event()
        blocker = host.live()[-1].connection.unit(
            lambda _: (held.set(), go.wait(10)), deadline=float("inf"), quick=True
        )
        host.live()[-1].connection.submit(blocker)
        calls = [asyncio.ensure_future(actor.exec(sql, params)) for sql, params in script]
        await settle()
        go.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    else:
        answers = [
            (await asyncio.gather(actor.exec(sql, params), return_exceptions=True))[0]
            for sql, params in script
        ]
    logs = [(entry["sql"], entry["rows"], entry["error"]) for entry in await actor.execution_logs(1000)]
    tables = ("t", "parent", *(["late"] if late else []))
    content = [
        (await actor.query(f"SELECT * FROM {table} ORDER BY 1", row_format="arrays")).rows for table in tables
    ]
    return [facts(answer) for answer in answers], content, logs


def facts(answer: Any) -> Any:
    if isinstance(answer, Exception):
        return type(answer).__name__, str(answer)
    return answer.rows_affected, answer.last_insert_rowid


def compare(script: list[tuple[str, list[Any]]], *, late: bool) -> None:
    async def both() -> None:
        with TemporaryDirectory() as folder:
            async with harness(Path(folder), Scratch) as host:
                alone = await run(host, "alone", script, together=False, late=late)
                assert await run(host, "together", script, together=True, late=late) == alone

    asyncio.run(both())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(statements, min_size=2, max_size=12))
def test_sharing_a_commit_changes_no_answer_and_no_row(script: list[tuple[str, list[Any]]]) -> None:
    compare(script, late=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(statements, deferred, deferred), min_size=2, max_size=10))
def test_a_deferred_foreign_key_is_not_mended_by_a_neighbour(script: list[tuple[str, list[Any]]]) -> None:
    compare(script, late=True)


async def test_a_group_shares_its_commit_and_the_guilty_one_fails_alone(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe) as host:
        probe = host.namespace("probe").get("one")
        await probe.note("taken")
        host.services["stop"] = threading.Event()
        holding = asyncio.ensure_future(probe.hold("stop"))
        calls = [asyncio.ensure_future(probe.jot(text)) for text in ("a", "taken", "b", "c")]
        await settle()
        before = host.live()[0].connection.version
        host.services["stop"].set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(a, Exception) for a in answers] == [False, True, False, False]
        assert host.live()[0].connection.version == before + 2  # the holder's, and one for all four
        await holding
        assert await probe.notes() == ["taken", "stop", "a", "b", "c"]


async def test_durable_inserts_that_wait_together_share_their_fsync(tmp_path: Path) -> None:
    """In WAL mode with synchronous=FULL every commit is one fsync, so commits are what is counted."""
    async with harness(tmp_path, Durable) as host:
        stub = host.namespace("durable").get("one")
        await stub.create_table("t", "k INTEGER PRIMARY KEY")
        connection = host.live()[0].connection
        assert await connection.run(lambda tx: tx.one("PRAGMA synchronous"), read_only=True) == (2,)
        before = connection.version
        await asyncio.gather(*(stub.exec("INSERT INTO t VALUES (?)", [i]) for i in range(500)))
        assert connection.version - before < 100
        assert (await stub.query("SELECT count(*) AS n FROM t")).rows == [{"n": 500}]
