"""The log of a durable file has room ahead, which costs nothing but a little disk."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runtime.clock import SystemClock
from runtime.limits import Limits
from runtime.storage.connection import Connection
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from runtime.storage.watchdog import Watchdog


def insert(key: int, tx: Transaction) -> None:
    tx.execute("INSERT INTO t VALUES (?, 'x')", (key,))


@asynccontextmanager
async def commits(path: Path, profile: Durability, count: int) -> AsyncIterator[tuple[Connection, list[int]]]:
    """Commit single rows; give the open connection, and how long the log was after each."""
    watchdog = Watchdog()
    connection = Connection(path, clock=SystemClock(), limits=Limits(), watchdog=watchdog, profile=profile)
    await connection.open(lambda tx: tx.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)"))
    log = Path(f"{path}-wal")
    lengths = []
    for number in range(count):
        await connection.run(partial(insert, number))
        lengths.append(log.stat().st_size)
    yield connection, lengths
    await connection.close()
    watchdog.close()


async def test_most_durable_commits_do_not_make_the_log_longer(tmp_path: Path) -> None:
    async with commits(tmp_path / "full.sqlite", Durability.FULL, 300) as (_, lengths):
        assert len(set(lengths)) < 20
        assert lengths[-1] < 4 * 1024 * 1024
    async with commits(tmp_path / "normal.sqlite", Durability.NORMAL, 300) as (_, lengths):
        assert len(set(lengths)) == 300, "where no commit waits for the disk, no room is taken"


async def test_a_file_that_is_written_once_takes_no_more_than_it_needs(tmp_path: Path) -> None:
    async with commits(tmp_path / "a.sqlite", Durability.FULL, 1) as (_, lengths):
        assert lengths[0] < 64 * 1024


@pytest.mark.parametrize("count", [3, 40, 300])
async def test_after_a_power_cut_every_commit_is_found_in_front_of_the_room(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "a.sqlite"
    async with commits(path, Durability.FULL, count):
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"b.sqlite{suffix}")
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as found:
        assert found.execute("SELECT count(*), max(k) FROM t").fetchone() == (count, count - 1)
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_disk_without_room_ahead_takes_the_commits_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("runtime.storage.log_space.os.pwrite", full)
    async with commits(tmp_path / "a.sqlite", Durability.FULL, 20) as (connection, lengths):
        rows = await connection.run(lambda tx: tx.one("SELECT count(*) FROM t"), read_only=True)
    assert rows == (20,)
    assert lengths == sorted(lengths)
