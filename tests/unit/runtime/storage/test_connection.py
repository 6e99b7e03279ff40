"""The connection's own promises: nothing ends its thread's loop, and no interrupt hits an innocent."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.clock import SystemClock
from runtime.errors import ActorClosed, Cancelled, CorruptDatabase, DeadlineExceeded, InputError, Unavailable
from runtime.guard import SESSION, Guard
from runtime.limits import Limits
from runtime.storage.backup import backup_to
from runtime.storage.connection import Connection
from runtime.storage.statement_log import StatementLog
from runtime.storage.transaction import Transaction
from runtime.storage.watchdog import Watchdog
from runtime.testing import until

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def made(path: Path, watchdog: Watchdog, **kwargs: Any) -> Connection:
    return Connection(
        path,
        clock=SystemClock(),
        limits=Limits(),
        watchdog=watchdog,
        log=StatementLog(1_000, 100.0),
        **kwargs,
    )


@pytest.fixture
async def watchdog() -> AsyncIterator[Watchdog]:
    found = Watchdog()
    yield found
    assert not found._watched
    found.close()


@pytest.fixture
async def connection(tmp_path: Path, watchdog: Watchdog) -> AsyncIterator[Connection]:
    found = made(tmp_path / "one.sqlite", watchdog, guard=Guard(SESSION))
    await found.open()
    await found.run(lambda tx: tx.execute("CREATE TABLE t (v)"))
    yield found
    await found.close()


async def count(connection: Connection) -> int:
    row = await connection.run(lambda tx: tx.one("SELECT count(*) FROM t"), read_only=True)
    assert row is not None
    return int(row[0])


def insert(tx: Transaction) -> None:
    tx.execute("INSERT INTO t VALUES (1)")


@pytest.mark.parametrize(
    "error", [ValueError, MemoryError, RecursionError, sqlite3.ProgrammingError, KeyError]
)
async def test_whatever_a_unit_raises_is_rolled_back_and_the_next_one_runs(
    connection: Connection, error: type[Exception]
) -> None:
    def wrong(tx: Transaction) -> None:
        insert(tx)
        raise error("on purpose")

    for quick in (False, True):
        with pytest.raises(Exception, match=r"."):
            await connection.run(wrong, quick=quick)
    assert await count(connection) == 0


@pytest.mark.parametrize("sql", ["ROLLBACK", "BEGIN", "SAVEPOINT unit", "RELEASE unit", "ROLLBACK TO unit"])
async def test_a_unit_that_meddles_with_its_transaction_harms_only_itself(
    connection: Connection, sql: str
) -> None:
    def meddle(tx: Transaction) -> None:
        tx.execute(sql)

    units = [
        connection.run(insert, quick=True),
        connection.run(meddle, quick=True),
        connection.run(insert, quick=True),
    ]
    answers = await asyncio.gather(*units, return_exceptions=True)
    assert answers[0] is answers[2] is None
    assert await count(connection) == 2
    await connection.run(insert)
    assert await count(connection) == 3


async def test_a_reader_that_writes_by_mistake_leaves_no_transaction_open(connection: Connection) -> None:
    await connection.run(lambda tx: tx.execute("BEGIN"), read_only=True)
    await connection.run(insert)
    assert await count(connection) == 1


async def test_interrupts_never_hit_an_innocent(connection: Connection) -> None:
    """Units are given up in every moment of their life, among others that must not notice."""

    def busy(tx: Transaction) -> None:
        tx.one(
            "WITH RECURSIVE _n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM _n LIMIT 20000) SELECT max(i) FROM _n"
        )
        insert(tx)

    good, given_up = [], []
    for number in range(120):
        good.append(asyncio.ensure_future(connection.run(busy, quick=bool(number % 3), read_only=False)))
        given_up.append(asyncio.ensure_future(connection.run(busy, quick=bool(number % 2))))
    for number, task in enumerate(given_up):
        await asyncio.sleep(0 if number % 4 else 0.001)
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    await asyncio.gather(*good)
    assert len(good) <= await count(connection) <= len(good) + len(given_up)


async def test_the_deadline_holds_even_while_the_event_loop_is_blocked(connection: Connection) -> None:
    task = asyncio.ensure_future(connection.run(lambda tx: tx.query(ENDLESS), seconds=0.1, read_only=True))
    await asyncio.sleep(0)
    ended = threading.Event()
    thread = connection._thread
    assert thread is not None
    thread.post(ended.set)
    assert ended.wait(20), "the watchdog cannot run while this waits; SQLite stopped by itself"
    with pytest.raises(DeadlineExceeded):
        await task


async def test_closing_finishes_what_waits_and_is_idempotent(tmp_path: Path, watchdog: Watchdog) -> None:
    connection = made(tmp_path / "two.sqlite", watchdog)
    await connection.open()
    await connection.run(lambda tx: tx.execute("CREATE TABLE t (v)"))
    waiting = [asyncio.ensure_future(connection.run(insert)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(connection.close(), connection.close())
    await asyncio.gather(*waiting)
    with pytest.raises(ActorClosed):
        await connection.run(insert)
    assert not list(tmp_path.glob("*-wal"))
    await connection.close()


async def test_a_closer_that_goes_away_leaves_no_half_closed_file(tmp_path: Path, watchdog: Watchdog) -> None:
    connection = made(tmp_path / "two.sqlite", watchdog)
    await connection.open()
    closer = asyncio.ensure_future(connection.close())
    await asyncio.sleep(0)
    closer.cancel()
    await asyncio.gather(closer, return_exceptions=True)
    await connection.close()
    assert not list(tmp_path.glob("*-wal"))


async def test_a_runaway_unit_is_still_stopped_while_its_file_closes(
    tmp_path: Path, watchdog: Watchdog
) -> None:
    connection = made(tmp_path / "two.sqlite", watchdog)
    await connection.open()
    runaway = asyncio.ensure_future(connection.run(lambda tx: tx.one(ENDLESS), seconds=0.2))
    await until(lambda: connection._running is not None)
    await asyncio.wait_for(connection.close(), 20)
    with pytest.raises(DeadlineExceeded):
        await runaway


async def test_hooks_run_after_the_commit_and_before_the_answer(connection: Connection) -> None:
    order: list[Any] = []

    async def hook() -> None:
        order.append(await count(connection))

    def work(tx: Transaction) -> str:
        insert(tx)
        tx.after_commit(hook)
        return "answer"

    assert await connection.run(work) == "answer"
    assert order == [1]

    def fails(tx: Transaction) -> None:
        work(tx)
        raise InputError("on purpose")

    with pytest.raises(InputError):
        await connection.run(fails)
    await connection.run(insert)
    assert order == [1], "the hook of a unit that failed is forgotten, and not handed to the next one"


@pytest.mark.parametrize("content", [b"not a database at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("guarded", [True, False])
async def test_a_damaged_file_is_told_without_its_path(
    tmp_path: Path, watchdog: Watchdog, content: bytes, guarded: bool
) -> None:
    path = tmp_path / "bad.sqlite"
    path.write_bytes(content)
    connection = made(path, watchdog, guard=Guard(SESSION) if guarded else None)
    with pytest.raises(CorruptDatabase) as damaged:
        await connection.open()
    assert str(tmp_path) not in str(damaged.value.to_problem())
    await connection.close()


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path, watchdog: Watchdog) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    connection = made(tmp_path / "folder.sqlite", watchdog)
    with pytest.raises(Unavailable) as refused:
        await connection.open()
    assert str(tmp_path) not in str(refused.value.to_problem())


async def test_a_unit_given_up_before_it_starts_never_runs(connection: Connection) -> None:
    go = threading.Event()
    blocker = asyncio.ensure_future(connection.run(lambda _: go.wait(10)))
    waiting = asyncio.ensure_future(connection.run(insert))
    await asyncio.sleep(0)
    connection.abandon(Cancelled("Given up."))
    go.set()
    for task in (blocker, waiting):
        with pytest.raises(Cancelled):
            await task
    assert await count(connection) == 0


async def test_a_batch_or_a_copy_that_was_given_up_ends_between_its_slices(
    connection: Connection, tmp_path: Path
) -> None:
    """No interrupt reaches what runs between statements, or SQLite's backup."""
    begun = threading.Event()

    class Records(list[dict[str, int]]):
        def __iter__(self) -> Any:
            number = 0
            while True:  # a batch without an end
                yield {"v": number}
                number += 1
                if number == 2_000:
                    begun.set()

    task = asyncio.ensure_future(connection.run(lambda tx: tx.insert_many("t", ["v"], Records(), None)))
    await until(begun.is_set)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await count(connection) == 0

    def copy(tx: Transaction) -> None:
        connection._running.cancelled = True  # type: ignore[union-attr]
        backup_to(tx, tmp_path / "copy.sqlite")

    with pytest.raises(Cancelled):
        await connection.run(copy, read_only=True)
    assert await count(connection) == 0


async def test_a_file_that_grows_large_by_what_is_put_into_it_is_mapped_from_then_on(
    connection: Connection, tmp_path: Path
) -> None:
    async def mapped() -> int:
        row = await connection.run(lambda tx: tx.one("PRAGMA mmap_size"), read_only=True)
        assert row is not None
        return int(row[0])

    beside = tmp_path / "beside.sqlite"
    with closing(sqlite3.connect(beside)) as raw:
        raw.execute(
            "CREATE TABLE t AS SELECT zeroblob(1000000) AS v FROM json_each('[1,2,3,4,5,6,7,8,9,10]')"
        )
        raw.commit()
    assert await mapped() == 0
    await connection.run(
        lambda tx: tx.execute("INSERT INTO main.t SELECT v FROM staging.t") and None, beside=beside
    )
    assert await count(connection) == 10
    assert await mapped() > 0


async def test_a_unit_is_not_told_as_failed_by_what_comes_after_its_commit(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside.sqlite"
    with closing(sqlite3.connect(beside)) as raw:
        raw.execute("CREATE TABLE t AS SELECT 1 AS v")
        raw.commit()
    monkeypatch.setattr("runtime.storage.connection.map_size", lambda _: "SELECT interrupted")
    await connection.run(
        lambda tx: tx.execute("INSERT INTO main.t SELECT v FROM staging.t") and None, beside=beside
    )
    assert await count(connection) == 1
