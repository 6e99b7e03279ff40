"""A migration and the note that it ran commit together; a file of a newer release is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runtime.actor import Actor
from runtime.errors import CorruptDatabase
from runtime.method import method
from runtime.storage.migrations import Migration, migrate
from runtime.storage.opening import open_raw
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from runtime.testing import harness

ONE = Migration(
    1,
    "CREATE TABLE a (v); INSERT INTO a VALUES ('x;y'); CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END",
    "a",
)
TWO = Migration(2, "ALTER TABLE a ADD COLUMN w; CREATE TABLE b (v)", "b")
BROKEN = Migration(2, "CREATE TABLE b (v); INSERT INTO nowhere VALUES (1)", "broken")


def state(raw: sqlite3.Connection) -> tuple[int, set[str]]:
    names = {n for (n,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return raw.execute("PRAGMA user_version").fetchone()[0], {n for n in names if len(n) == 1}


def test_steps_run_once_each_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite"
    with closing(open_raw(path, Durability.NORMAL)) as raw:
        assert migrate(raw, [ONE]) == 1
        assert migrate(raw, [ONE]) == 0
    with closing(open_raw(path, Durability.NORMAL)) as raw:
        assert migrate(raw, [ONE, TWO]) == 1
        assert state(raw) == (2, {"a", "b"})
        assert raw.execute("SELECT v, w FROM a").fetchall() == [("x;y", None)]


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with closing(open_raw(tmp_path / "f.sqlite", Durability.NORMAL)) as raw:
        migrate(raw, [ONE])
        with pytest.raises(sqlite3.Error):
            migrate(raw, [ONE, BROKEN])
        assert not raw.in_transaction
        assert state(raw) == (1, {"a"})
        migrate(raw, [ONE, TWO])
        assert state(raw) == (2, {"a", "b"})


def test_a_file_of_a_newer_release_is_refused_and_not_changed(tmp_path: Path) -> None:
    with closing(open_raw(tmp_path / "f.sqlite", Durability.NORMAL)) as raw:
        migrate(raw, [ONE, TWO])
        with pytest.raises(CorruptDatabase) as refused:
            migrate(raw, [ONE])
        assert refused.value.hint
        assert state(raw) == (2, {"a", "b"})


class Old(Actor, type_name="thing"):
    migrations = (ONE,)

    @method(read_only=True)
    def columns(self, tx: Transaction) -> list[str]:
        """Return the columns."""
        return [name for (name,) in tx.all("SELECT name FROM pragma_table_info('a')")]


class New(Old, type_name="thing"):
    migrations = (ONE, TWO)


class Bad(Old, type_name="thing"):
    migrations = (ONE, BROKEN)


async def test_actors_grow_with_their_type_and_old_releases_leave_new_files_alone(tmp_path: Path) -> None:
    async with harness(tmp_path, Old) as host:
        assert await host.namespace("thing").get("one").columns() == ["v"]
    async with harness(tmp_path, New) as host:
        assert await host.namespace("thing").get("one").columns() == ["v", "w"]
        assert await host.namespace("thing").get("two").columns() == ["v", "w"]
    async with harness(tmp_path, Old) as host:
        with pytest.raises(CorruptDatabase):
            await host.namespace("thing").get("one").columns()
    async with harness(tmp_path, New) as host:
        assert await host.namespace("thing").get("one").columns() == ["v", "w"]


async def test_a_type_whose_migrations_are_wrong_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        async with harness(tmp_path, Bad):
            pass
    async with harness(tmp_path, Old) as host:
        assert await host.namespace("thing").get("one").columns() == ["v"]
