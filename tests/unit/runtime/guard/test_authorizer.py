"""The authorizer decides by what SQLite itself reads in a statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from runtime.guard import READ_ONLY, SESSION, Access, Policy, internal
from runtime.guard.authorizer import Scene, judge
from runtime.guard.policy import ACTIONS

from .conftest import Desk


def ask(
    kind: str, target: str = "", column: str = "", inner: str | None = None, **scene: object
) -> str | None:
    return judge(SESSION, replace(Scene(), **scene), Access(kind, target, column, "main", inner))  # type: ignore[arg-type]


def test_every_action_code_of_sqlite_has_a_name_and_the_others_are_refused() -> None:
    assert len(ACTIONS) == 33
    for kind in ("ATTACH", "DETACH", "TRANSACTION", "SAVEPOINT", "ANALYZE", "REINDEX", "SOMETHING_NEW"):
        assert ask(kind, "x", may_write=True) is not None


@pytest.mark.parametrize(
    "name", ["session_state", "SESSION_STATE", "_duralite_meta", "_Duralite_X", "_other"]
)
def test_reserved_names_are_out_of_reach_in_any_case(name: str) -> None:
    assert ask("READ", name, "value") == "object.reserved"
    assert ask("INSERT", name, may_write=True) == "object.internal_write"
    assert ask("CREATE_TABLE", name, may_write=True, schema=True) == "object.reserved"
    assert ask("CREATE_INDEX", "ix", name, may_write=True, schema=True) == "object.reserved"
    assert ask("ALTER_TABLE", "main", name, may_write=True, schema=True) == "object.reserved"


def test_tables_of_the_runtime_can_be_opened_for_reading_by_policy(
    open_desk: Callable[[Policy], Desk],
) -> None:
    desk = open_desk(replace(SESSION, readable_internal=frozenset({"session_state"})))
    assert desk.run("SELECT value FROM session_state") == [("secret",)]
    assert desk.refused("UPDATE session_state SET value = 1") == "object.internal_write"
    assert desk.refused("SELECT * FROM execution_logs") == "object.reserved"
    assert desk.refused("SELECT * FROM _duralite_meta") == "object.reserved"


def test_a_read_changes_nothing_even_if_the_gate_was_wrong() -> None:
    assert ask("INSERT", "t", may_write=False) == "action.write"
    assert ask("DROP_TABLE", "t", may_write=False) == "action.write"
    assert ask("CREATE_TABLE", "t", may_write=True, schema=False) == "action.write"


def test_shadow_tables_are_written_by_their_module_only() -> None:
    shadows = frozenset({"ft_data"})
    assert ask("INSERT", "ft_data", may_write=True, shadows=shadows) is None
    assert (
        ask("INSERT", "ft_data", may_write=True, shadows=shadows, names=frozenset({"ft_data"}))
        == "object.shadow"
    )
    assert ask("INSERT", "ft_data", inner="a_trigger", may_write=True, shadows=shadows) == "object.shadow"
    assert ask("READ", "ft_data", "block", shadows=shadows) is None


def test_modules_and_pragma_functions_are_on_lists() -> None:
    modules = frozenset({"dbstat", "json_each", "sqlite_stmt"})
    assert ask("READ", "json_each", "value", modules=modules) is None
    assert ask("READ", "DBSTAT", "name", modules=modules) == "object.module"
    assert ask("READ", "pragma_table_info", "name") is None
    assert ask("READ", "pragma_database_list", "file") == "object.pragma_function"
    assert ask("PRAGMA", "table_info", "t") is None
    assert ask("PRAGMA", "table_info", "Session_State") == "object.reserved"
    assert ask("PRAGMA", "index_info", "sqlite_autoindex_session_state_1") == "object.reserved"
    assert ask("PRAGMA", "data_version") is None
    assert ask("PRAGMA", "page_size", "512") == "object.pragma_function"


def test_a_planner_table_is_written_by_schema_statements_only() -> None:
    assert ask("DELETE", "sqlite_stat1", may_write=True) == "object.schema_table"
    assert ask("DELETE", "sqlite_stat1", may_write=True, schema=True) is None


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT load_extension('x')", "function.unlisted"),
        ("SELECT fts3_tokenizer('simple')", "function.unlisted"),
        ("CREATE TABLE z(a CHECK(sqlite_source_id() IS NULL))", "function.unlisted"),
        ("CREATE VIRTUAL TABLE z USING fts4(a)", "object.module"),
        ("SELECT * FROM sqlite_stmt", "object.module"),
        ("SELECT * FROM pragma_database_list", "object.pragma_function"),
        ("SELECT count(*) FROM session_state", "object.reserved"),
        ("DELETE FROM sqlite_sequence WHERE name = (SELECT key FROM session_state)", "object.reserved"),
        ("CREATE TEMP TRIGGER x AFTER INSERT ON session_state BEGIN SELECT 1; END", "object.reserved"),
    ],
)
def test_refusals_carry_the_rule(desk: Desk, sql: str, rule: str) -> None:
    desk.run("CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT)")
    assert desk.refused(sql) == rule


def test_views_and_triggers_run_under_the_rights_of_their_maker(desk: Desk) -> None:
    desk.run("CREATE TABLE t(a)")
    desk.run("CREATE VIEW v AS SELECT value FROM session_state")
    desk.run("CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM session_state; END")
    assert desk.refused("SELECT * FROM v") == "object.reserved"
    assert desk.refused("INSERT INTO t VALUES(1)") == "object.internal_write"
    # The runtime's own statements never run them at all.
    for sql in ("SELECT * FROM v", "INSERT INTO t VALUES(1)"):
        with pytest.raises(sqlite3.DatabaseError):
            desk.own(sql)
    assert desk.own("SELECT value FROM session_state") == [("secret",)]


def test_the_runtime_may_use_expressions_with_a_reserved_name_only(desk: Desk) -> None:
    assert desk.own("WITH _own AS (SELECT value FROM session_state) SELECT * FROM _own") == [("secret",)]
    with pytest.raises(sqlite3.DatabaseError):
        desk.own("WITH x AS (SELECT value FROM session_state) SELECT * FROM x")


def test_the_runtime_itself_attaches_nothing_and_loads_nothing(desk: Desk) -> None:
    for sql in ("ATTACH ':memory:' AS m", "SELECT load_extension('x')", "SELECT fts3_tokenizer('simple')"):
        with pytest.raises(sqlite3.DatabaseError):
            desk.own(sql)


def test_the_statement_cache_is_no_way_around(desk: Desk) -> None:
    sql = "SELECT value FROM session_state WHERE key = 'k'"
    for _ in range(3):
        assert desk.own(sql) == [("secret",)]
        assert desk.refused(sql) == "object.reserved"
        assert desk.refused(internal(sql)) == "object.reserved"
        assert desk.refused(f"  {internal(sql)} ;") == "object.reserved"


def test_a_read_only_policy_reads(open_desk: Callable[[Policy], Desk]) -> None:
    desk = open_desk(READ_ONLY)
    desk.own("CREATE TABLE t(a)")
    assert desk.run("SELECT count(*) FROM t") == [(0,)]
    assert desk.run("SELECT value FROM json_each('[1,2]')") == [(1,), (2,)]
    assert desk.refused("INSERT INTO t VALUES(1)") == "statement.read_only"


def test_lists_hold_behind_views_and_stars(open_desk: Callable[[Policy], Desk]) -> None:
    desk = open_desk(replace(SESSION, tables_block=frozenset({"hidden"}), columns_block=frozenset({"t.pin"})))
    for sql in ("CREATE TABLE hidden(a)", "CREATE TABLE t(a, pin)", "CREATE VIEW v AS SELECT * FROM hidden"):
        desk.own(sql)
    desk.own("CREATE VIEW w AS SELECT pin FROM t")
    assert desk.refused("SELECT * FROM v") == "object.table_list"
    assert desk.refused("SELECT * FROM t") == "object.column_list"
    assert desk.refused("SELECT * FROM w") == "object.column_list"
    assert desk.refused("UPDATE t SET pin = 1") == "object.column_list"
    assert desk.refused("DELETE FROM 'hidden'") == "object.table_list"
    assert desk.run("SELECT a FROM t") == []


def test_an_allow_list_closes_the_schema_table_too(open_desk: Callable[[Policy], Desk]) -> None:
    desk = open_desk(replace(SESSION, tables_allow=frozenset({"t"})))
    desk.run("CREATE TABLE t(a)")
    assert desk.run("INSERT INTO t VALUES(1) RETURNING a") == [(1,)]
    assert desk.refused("SELECT * FROM sqlite_master") == "object.table_list"
    assert desk.refused("CREATE TABLE u(a)") == "object.table_list"
