"""The layers together: modes, limits, formats, the backstop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from runtime.errors import Cancelled, GuardRefused
from runtime.guard import SESSION, Guard, Policy, rules
from runtime.guard.budget import INTERNAL_LENGTH

from .conftest import Desk


def test_entering_needs_a_checked_statement() -> None:
    with pytest.raises(GuardRefused):
        Guard(SESSION).enter()


def test_the_longest_value_is_the_strangers_only_while_a_stranger_runs(desk: Desk) -> None:
    length = sqlite3.SQLITE_LIMIT_LENGTH
    assert desk.connection.getlimit(length) == INTERNAL_LENGTH
    desk.guard.check("SELECT 1")
    desk.guard.enter()
    assert desk.connection.getlimit(length) == 1_000_000
    desk.guard.leave()
    assert desk.connection.getlimit(length) == INTERNAL_LENGTH
    assert desk.fails("SELECT zeroblob(1000001)").limit == "max_value_bytes"


def test_the_file_has_a_largest_size(open_desk: Callable[[Policy], Desk]) -> None:
    desk = open_desk(replace(SESSION, max_file_bytes=1024 * 1024))
    desk.run("CREATE TABLE t(a)")
    error = desk.fails("INSERT INTO t SELECT zeroblob(900000) FROM json_each('[1,2,3]')")
    assert (error.code, error.limit) == ("storage_full", "max_file_bytes")
    error = desk.fails("CREATE TEMP TABLE z AS SELECT zeroblob(900000) FROM json_each('[1,2,3]')")
    assert error.code == "storage_full"
    assert desk.run("SELECT count(*) FROM t") == [(0,)]


def test_a_statement_past_its_deadline_is_ended_by_the_backstop(desk: Desk) -> None:
    desk.guard.deadline = 0.0
    error = desk.fails("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c")
    assert isinstance(error, Cancelled)
    desk.guard.deadline = None
    assert desk.run("SELECT 1") == [(1,)]


def test_too_much_temporary_space_ends_a_statement(open_desk: Callable[[Policy], Desk]) -> None:
    desk = open_desk(replace(SESSION, temp_bytes=4 * 1024 * 1024))
    error = desk.fails(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT hex(randomblob(400)) h FROM c ORDER BY h"
    )
    assert (error.code, error.limit) == ("limit_exceeded", "temp_bytes")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("printf('%05d|%-5s|%.2f|%,d', 42, 'ab', 3.14159, 1234567)", "00042|ab   |3.14|1,234,567"),
        ("format('%.*c', 3, '#')", "###"),
        ("printf('%.' || '3c', 'x')", "xxx"),
        ("printf('%*d|%.*f', 6, 7, 2, 1.5)", "     7|1.50"),
        ("printf(a, 5) FROM (SELECT '%03d' a)", "005"),
        ("printf(NULL) FROM (SELECT '%.*c' a)", None),
        (
            "printf('%s %q %Q %w', x'4142', 'it''s', 'it''s', 'a\"b') || printf('%.*c', 1, '!')",
            "AB it''s 'it''s' a\"\"b!",
        ),
    ],
)
def test_checked_formats_give_the_rows_of_stock_sqlite(desk: Desk, call: str, result: str | None) -> None:
    assert desk.run(f"SELECT {call}") == [(result,)]
    stock = sqlite3.connect(":memory:")
    assert stock.execute(f"SELECT {call}").fetchall() == [(result,)]
    stock.close()


@pytest.mark.parametrize(
    "call",
    [
        "printf('%.*c', 2147483647, 'x')",
        "printf('%.*c', -2147483647, 'x')",
        "printf('%.2147483647c', 'x')",
        "printf('%.*d', '2147483647', 1)",
        "printf(replace(hex(zeroblob(1000)), '00', '%.99999c'), 'x')",
        "printf('%d%.*c', 1, 1e300, 'x')",
    ],
)
def test_formats_that_run_for_seconds_are_refused(desk: Desk, call: str) -> None:
    assert desk.refused(f"SELECT length({call})") == "function.argument"


def test_formats_stored_in_the_schema_are_checked_as_well(desk: Desk) -> None:
    desk.run("CREATE TABLE t(a DEFAULT (printf('%.*c', 2147483647, 'x')))")
    assert desk.refused("INSERT INTO t DEFAULT VALUES") == "function.argument"


def test_trim_and_json_patch_are_those_of_sqlite(desk: Desk) -> None:
    sql = "SELECT trim('xxaxx','x'), ltrim(' a'), rtrim('ab','b'), json_object('p', json_patch('{\"a\":1}','{\"b\":2}'))"
    assert desk.run(sql) == [("a", "a", "a", '{"p":{"a":1,"b":2}}')]


def test_explain_of_any_allowed_statement_runs_nothing(desk: Desk) -> None:
    desk.run("CREATE TABLE t(a)")
    for sql in ("INSERT INTO t VALUES(1)", "DROP TABLE t", "CREATE TABLE u(a)", "SELECT * FROM t ORDER BY a"):
        assert desk.run(f"EXPLAIN {sql}")
        desk.run(f"EXPLAIN QUERY PLAN {sql}")
    assert desk.run("SELECT name FROM sqlite_master WHERE name IN ('t', 'u')") == [("t",)]
    assert desk.run("SELECT * FROM t") == []
    assert desk.refused("EXPLAIN SELECT * FROM session_state") == "object.reserved"


def test_every_rule_says_what_why_and_what_instead() -> None:
    found = rules()
    assert len({rule.id for rule in found}) == len(found)
    for rule in found:
        assert rule.title and rule.reason and rule.instead.endswith(".")
        assert rule.layer in {"text", "gate", "authorizer", "functions"}


def test_full_text_search_has_its_functions(desk: Desk) -> None:
    desk.run("CREATE VIRTUAL TABLE f USING fts5(title, body, tokenize='porter unicode61')")
    desk.run("INSERT INTO f VALUES('Cats', 'A cat sat on the mat'), ('Dogs', 'A dog ran')")
    rows = desk.run(
        "SELECT highlight(f, 1, '[', ']'), snippet(f, 1, '<', '>', '…', 3), bm25(f) < 0 FROM f('cat') ORDER BY rank"
    )
    assert rows == [("A [cat] sat on the mat", "A <cat> sat…", 1)]
    desk.run("INSERT INTO f(f) VALUES('optimize')")
    desk.run("INSERT INTO f(f, rank) VALUES('rank', 'bm25(10.0, 1.0)')")
    desk.run("DELETE FROM f WHERE f MATCH 'dog'")
    desk.run("INSERT INTO f(f) VALUES('rebuild')")
    assert desk.run("SELECT count(*) FROM f") == [(1,)]
