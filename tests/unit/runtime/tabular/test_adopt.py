"""Rows of a staging file come into an actor's file in slices, and are seen all at once or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.errors import GuardRefused, InputError, SqlError, Unavailable
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.instance import Instance
from runtime.storage.transaction import Transaction
from runtime.tabular.adopt import adopt, drop_unfinished
from runtime.tabular.staging import Staging

ROWS = 100_000


@pytest.fixture
async def actor(host: Host) -> AsyncIterator[Instance]:
    instance = await host.acquire(ActorAddress("scratch", "local", "one"), held=True)
    assert instance is not None
    yield instance
    host.release(instance)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    path = tmp_path / "staging.sqlite"
    with Staging(path, 3) as file:
        file.add([range(ROWS), [f"00{n}" for n in range(ROWS)], [n / 4 for n in range(ROWS)]], ROWS)
        file.finish()
    return path


def count(tx: Transaction) -> int:
    row = tx.one("SELECT count(*) FROM main.d1")
    return int(row[0]) if row else 0


def tables(tx: Transaction) -> set[str]:
    return {name for (name,) in tx.all("SELECT name FROM main.sqlite_master WHERE name LIKE 'd_'")}


async def test_every_value_arrives_as_it_was(actor: Instance, staging: Path) -> None:
    def finish(tx: Transaction) -> list[tuple[object, ...]]:
        return tx.all("SELECT *, typeof(c0), typeof(c1), typeof(c2) FROM main.d1 WHERE row_id IN (1, 8)")

    assert await adopt(actor.connection, staging, "d1", finish=finish) == [
        (1, 0, "000", 0.0, "integer", "text", "real"),
        (8, 7, "007", 1.75, "integer", "text", "real"),
    ]
    assert await actor.connection.run(count) == ROWS
    assert staging.exists(), "the staging file is the caller's"


async def test_other_calls_get_in_between(actor: Instance, staging: Path) -> None:
    heard: list[int] = []
    seen: set[int] = set()
    adopting = asyncio.ensure_future(
        adopt(actor.connection, staging, "d1", finish=count, on_rows=heard.append)
    )
    while not adopting.done():
        seen.add(await actor.connection.run(lambda tx: len(tables(tx))))
    assert await adopting == ROWS
    assert heard == sorted(heard)
    assert heard[-1] == ROWS
    assert len(heard) > 2
    assert len(seen) >= 1


async def test_a_finish_that_fails_leaves_nothing(actor: Instance, staging: Path) -> None:
    def finish(tx: Transaction) -> None:
        tx.execute("CREATE TABLE main.catalogue (x)")
        raise InputError("No.")

    with pytest.raises(InputError):
        await adopt(actor.connection, staging, "d1", finish=finish)
    assert await actor.connection.run(tables) == set()
    assert (
        await actor.connection.run(lambda tx: tx.one("SELECT 1 FROM sqlite_master WHERE name = 'catalogue'"))
        is None
    )


async def test_a_cancel_in_the_middle_leaves_nothing(actor: Instance, staging: Path) -> None:
    reached = asyncio.Event()
    adopting = asyncio.ensure_future(
        adopt(actor.connection, staging, "d1", finish=count, on_rows=lambda _: reached.set())
    )
    await reached.wait()
    adopting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adopting
    assert await actor.connection.run(tables) == set()


async def test_strangers_never_see_the_staging_file_nor_attach_one(actor: Instance, staging: Path) -> None:
    adopting = asyncio.ensure_future(adopt(actor.connection, staging, "d1", finish=count))
    tried = 0
    while not adopting.done() or not tried:
        for sql in (
            "SELECT * FROM staging.d",
            "SELECT count(*) FROM d",
            "SELECT * FROM pragma_database_list",
        ):
            with pytest.raises((SqlError, GuardRefused)):
                await actor.connection.run(lambda tx, sql=sql: tx.query(sql))  # type: ignore[misc]
        with pytest.raises(GuardRefused):
            await actor.connection.run(lambda tx: tx.exec(f"ATTACH '{staging}' AS other"))
        tried += 1
    await adopting
    attached = await actor.connection.run(lambda tx: tx.all("PRAGMA database_list"))
    assert {name for _, name, _ in attached} <= {"main", "temp"}
    with pytest.raises(GuardRefused):
        await actor.connection.run(lambda tx: tx.execute("ATTACH ':memory:' AS other"))


async def test_a_staging_file_that_is_gone_or_none_is_an_error_and_makes_no_file(
    actor: Instance, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        await adopt(actor.connection, tmp_path / "gone", "d1", finish=count)
    assert not (tmp_path / "gone").exists()
    with closing(sqlite3.connect(tmp_path / "other")) as raw:
        raw.execute("CREATE TABLE e (x)")
    with pytest.raises(InputError):
        await adopt(actor.connection, tmp_path / "other", "d1", finish=count)
    with pytest.raises(InputError):
        await adopt(actor.connection, tmp_path / "other", 'd"; DROP', finish=count)


async def test_what_a_crash_left_is_dropped_and_the_catalogue_decides(actor: Instance) -> None:
    def make(tx: Transaction) -> None:
        for name in ("d1", "d2", "d3", "data", "d4x"):
            tx.execute(f"CREATE TABLE main.{name} (row_id INTEGER PRIMARY KEY)")

    await actor.connection.run(make)
    assert sorted(await actor.connection.run(lambda tx: drop_unfinished(tx, ["d2"]))) == ["d1", "d3"]
    left = await actor.connection.run(
        lambda tx: {n for (n,) in tx.all("SELECT name FROM sqlite_master WHERE name LIKE 'd%'")}
    )
    assert left == {"d2", "data", "d4x"}
