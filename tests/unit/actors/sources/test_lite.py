"""SQLite files of others are read, and nothing in them can do more than be read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.sources import lite
from runtime.errors import DeadlineExceeded, DuraliteError, GuardRefused, InputError, SqlError
from runtime.limits import Limits
from runtime.values import loads

LIMITS = Limits().model_dump()


def made(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as raw:
        for statement in statements:
            raw.execute(statement)
        raw.commit()
    return path


def asked(path: Path, sql: str, *, seconds: float = 20.0, **given: Any) -> dict[str, Any]:
    """Ask as a worker does, in this process."""
    args = {
        "path": str(path),
        "private": False,
        "limits": LIMITS,
        "seconds": seconds,
        "sql": sql,
        "params": None,
        "limit": None,
        "row_format": "objects",
    }
    answer: dict[str, Any] = loads(lite.query({**args, **given}, lambda _: None))
    return answer


def looked(path: Path, *, check: bool = True) -> Any:
    args = {
        "path": str(path),
        "private": True,
        "limits": LIMITS,
        "seconds": 20.0,
        "check": check,
        "counts": True,
    }
    return lite.inspect(args, lambda _: None)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return made(
        tmp_path / "shop.db",
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)",
        "INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob')",
        "CREATE TABLE _own (v)",
        "INSERT INTO _own VALUES (x'00ff'), (1.5), ('t'), (NULL)",
        "CREATE TABLE session_state (k)",
        "CREATE VIEW names AS SELECT name FROM customers",
    )


def test_a_file_is_queried_with_parameters_and_types_of_its_values(shop: Path) -> None:
    answer = asked(shop, "SELECT id, name FROM customers WHERE name LIKE ?", params=["A%"])
    assert answer["rows"] == [{"id": 1, "name": "Ann"}]
    assert answer["fields"] == [{"name": "id", "type": "INTEGER"}, {"name": "name", "type": "TEXT"}]
    mixed = asked(shop, "SELECT v FROM _own", row_format="arrays")
    assert mixed["rows"] == [[{"$bytes": "AP8="}], [1.5], ["t"], [None]]
    assert mixed["fields"] == [{"name": "v", "type": "ANY"}]


def test_names_that_the_runtime_uses_elsewhere_are_the_owners_here(shop: Path) -> None:
    assert asked(shop, "SELECT count(*) AS n FROM session_state")["rows"] == [{"n": 0}]
    names = [table["name"] for table in looked(shop)["tables"]]
    assert {"customers", "_own", "names"} <= set(names)


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DELETE FROM customers", "statement.read_only"),
        ("INSERT INTO customers VALUES (3, 'C')", "statement.read_only"),
        ("CREATE TABLE t (a)", "statement.read_only"),
        ("ATTACH 'x' AS y", "statement.attach"),
        ("PRAGMA journal_mode = DELETE", "statement.pragma"),
        ("VACUUM INTO 'x'", "statement.vacuum"),
        ("SELECT load_extension('x')", "function.unlisted"),
        ("SELECT 1; SELECT 2", "statement.several"),
    ],
)
def test_the_guard_stands_before_it(shop: Path, sql: str, rule: str) -> None:
    before = shop.read_bytes()
    with pytest.raises(GuardRefused) as refused:
        asked(shop, sql)
    assert refused.value.rule == rule
    assert shop.read_bytes() == before


def test_a_missing_table_is_said_in_sqlites_words(shop: Path) -> None:
    with pytest.raises(SqlError, match="no such table: custmers") as refused:
        asked(shop, "SELECT * FROM custmers")
    assert "customers" in str(refused.value.hint)


def test_what_does_not_end_is_ended(shop: Path) -> None:
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT sum(n) FROM r"
    with pytest.raises(DuraliteError) as ended:
        asked(shop, endless, seconds=0.2)
    assert isinstance(ended.value, DeadlineExceeded) or ended.value.code in ("cancelled", "deadline_exceeded")


def test_a_view_of_the_file_has_no_more_rights_than_its_reader(tmp_path: Path) -> None:
    path = made(
        tmp_path / "view.db",
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIEW evil AS SELECT load_extension('/tmp/x.so') FROM t",
        "CREATE VIEW fine AS SELECT a + 1 AS b FROM t",
    )
    assert asked(path, "SELECT * FROM fine")["rows"] == [{"b": 2}]
    with pytest.raises(DuraliteError):
        asked(path, "SELECT * FROM evil")


def test_views_that_multiply_are_refused(tmp_path: Path) -> None:
    views = ["CREATE TABLE v0 (a)"]
    views += [f"CREATE VIEW v{n} AS SELECT a.a FROM v{n - 1} a, v{n - 1} b" for n in range(1, 30)]
    path = made(tmp_path / "bomb.db", *views)
    with pytest.raises(GuardRefused) as refused:
        asked(path, "SELECT * FROM v29")
    assert refused.value.rule == "limit.expansion"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "page of noise": lambda data: data[:4096] + bytes(range(256)) * 16 + data[8192:],
    "noise in the first page": lambda data: data[:100] + b"\xff" * 900 + data[1000:],
    "a schema that is no SQL": lambda data: data.replace(
        b"CREATE TABLE customers", b"CREATE TABLE (((((((((("
    ),
    "header only": lambda data: data[:16],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_clear_error(shop: Path, damage: str) -> None:
    shop.write_bytes(DAMAGES[damage](shop.read_bytes()))
    with pytest.raises(DuraliteError) as refused:
        looked(shop)
        asked(shop, "SELECT * FROM customers, _own")
    assert refused.value.status < 500
    assert str(shop.parent) not in refused.value.message


def test_what_is_no_database_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello")
    (tmp_path / "empty.db").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.db")
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "empty.db", "pipe.db", "folder.db"):
        with pytest.raises(InputError):
            looked(tmp_path / name)


def test_a_file_that_a_writer_holds_is_read_as_it_was(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO customers VALUES (3, 'Cy')")
        assert asked(shop, "SELECT count(*) AS n FROM customers")["rows"] == [{"n": 2}]
        writer.execute("COMMIT")
        assert asked(shop, "SELECT count(*) AS n FROM customers")["rows"] == [{"n": 3}]


def test_an_exclusive_lock_is_told_and_not_waited_for_without_end(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DuraliteError) as refused:
            asked(shop, "SELECT * FROM customers", seconds=0.3)
        assert refused.value.status < 500 or isinstance(refused.value, DeadlineExceeded)


@pytest.mark.parametrize(
    ("sql", "lasting"),
    [
        ("SELECT count(*) FROM customers", True),
        ("SELECT random()", False),
        ("SELECT datetime('now')", False),
        ("SELECT CURRENT_TIMESTAMP", False),
        ("SELECT strftime('%s')", False),
    ],
)
def test_an_answer_that_depends_on_the_moment_does_not_last(shop: Path, sql: str, lasting: bool) -> None:
    assert asked(shop, sql)["lasting"] is lasting


def test_a_schema_that_is_not_text_is_one_clear_error(tmp_path: Path) -> None:
    path = made(tmp_path / "odd.db", "CREATE TABLE shop (a)", "CREATE VIEW seen AS SELECT a FROM shop")
    path.write_bytes(
        path.read_bytes().replace(
            b"CREATE VIEW seen AS SELECT a", b"CREATE VIEW seen AS \xd2\xd2\xd2\xd2\xd2\xd2 a"
        )
    )
    with pytest.raises(InputError, match="SQLite cannot read the file"):
        looked(path)


def test_views_that_do_not_work_hide_nothing_else(tmp_path: Path) -> None:
    path = made(
        tmp_path / "odd.db",
        "CREATE TABLE kept (a)",
        "CREATE VIEW gone AS SELECT * FROM nowhere",
        "CREATE VIEW mine AS SELECT my_function(a) AS b FROM kept",
    )
    found = {table["name"]: [c["name"] for c in table["columns"]] for table in looked(path)["tables"]}
    assert found == {"kept": ["a"], "gone": [], "mine": []}
    assert asked(path, "SELECT count(*) AS n FROM kept")["rows"] == [{"n": 0}]
