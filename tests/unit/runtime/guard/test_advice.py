"""Errors keep SQLite's words and say what to write instead."""

from __future__ import annotations

import sqlite3

import pytest

from runtime.errors import GuardRefused, SqlError

from .conftest import Desk


@pytest.fixture
def stocked(desk: Desk) -> Desk:
    desk.run(
        "CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, born TEXT, CHECK(id < 100))"
    )
    desk.run("INSERT INTO customers VALUES(1, 'Ann', '2000-01-01')")
    desk.run("CREATE VIEW grown AS SELECT name FROM customers")
    return desk


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT * FROM missing_table", "no such table: missing_table", "customers"),
        ("SELECT * FROM customer", "no such table: customer", "'customers'"),
        ("SELECT nmae FROM customers", "no such column: nmae", "'name'"),
        ("SELECT c.nmae FROM customers c", "no such column: c.nmae", "'name'"),
        ("INSERT INTO customers(nam) VALUES(1)", "table customers has no column named nam", "'name'"),
        ("INSERT INTO customers VALUES(1,'Bob','')", "UNIQUE constraint failed: customers.id", "ON CONFLICT"),
        (
            "INSERT INTO customers(id) VALUES(2)",
            "NOT NULL constraint failed: customers.name",
            "customers.name",
        ),
        ("INSERT INTO customers VALUES(200,'Bob','')", "CHECK constraint failed: id < 100", "CHECK"),
        ("CREATE TABLE customers(a)", "table customers already exists", "IF NOT EXISTS"),
        ("SELECT now()", "no such function: now", "datetime('now')"),
        (
            "SELECT * FROM information_schema.tables",
            "no such table: information_schema.tables",
            "sqlite_master",
        ),
        ("SELECT * FROM order", 'near "order": syntax error', '"order"'),
        ("DELETE FROM grown", "cannot modify grown because it is a view", "CREATE TABLE t AS SELECT"),
        ("SELECT (1", "incomplete input", "too early"),
        ("SELECT 'it's'", 'unrecognized token: "\'"', "not closed"),
        (
            "SELECT 1, 2 UNION SELECT 1",
            "SELECTs to the left and right of UNION do not have the same number of result columns",
            "same number",
        ),
        (
            "SELECT row_number() OVER () AS n FROM customers WHERE n = 1",
            "misuse of aliased window function n",
            "sub-select",
        ),
        ("SELECT EXTRACT(YEAR FROM name) FROM customers", 'near "FROM": syntax error', "strftime"),
        ("SELECT LEFT(name, 2) FROM customers", 'near "(": syntax error', "substr"),
        ("UPDATE customers c JOIN customers d ON 1 SET name = 'x'", 'near "c": syntax error', "SET … FROM"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", 'near "OR": syntax error', "DROP"),
        ("SELECT abs(-9223372036854775808)", "integer overflow", "REAL"),
        ("SELECT sum(id) FROM customers WHERE sum(id) > 1", "misuse of aggregate: sum()", "HAVING"),
    ],
)
def test_messages_are_sqlites_own_and_hints_help(stocked: Desk, sql: str, message: str, hint: str) -> None:
    error = stocked.fails(sql)
    assert isinstance(error, SqlError)
    assert error.message == message
    assert hint in str(error.hint)


def test_the_class_of_the_error_is_told(stocked: Desk) -> None:
    error = stocked.fails("INSERT INTO customers VALUES(1,'Bob','')")
    assert isinstance(error, SqlError)
    assert (error.exception, error.sqlite_name) == ("IntegrityError", "SQLITE_CONSTRAINT_PRIMARYKEY")


@pytest.mark.parametrize(
    ("sql", "rewrite"),
    [
        ("SELECT id::int FROM customers", "SELECT CAST(id AS INTEGER) FROM customers"),
        (
            "SELECT * FROM customers WHERE name ILIKE ?",
            "SELECT * FROM customers WHERE LOWER(name) LIKE LOWER(?)",
        ),
        ("SELECT TOP 5 * FROM customers", "SELECT * FROM customers LIMIT 5"),
        ("SELECT STRING_AGG(name, ',') FROM customers", "SELECT GROUP_CONCAT(name, ',') FROM customers"),
        ("SELECT ISNULL(name, 0) FROM customers", "SELECT COALESCE(name, 0) FROM customers"),
    ],
)
def test_another_databases_sql_comes_back_rewritten(stocked: Desk, sql: str, rewrite: str) -> None:
    error = stocked.fails(sql)
    assert error.extra["rewrite"] == rewrite
    assert rewrite in str(error.hint)


def test_a_rewrite_that_leaves_a_clause_out_is_not_offered(stocked: Desk) -> None:
    for values in ("1, 2", "'a', 'b'"):
        refused = stocked.fails(f"SELECT * FROM customers PIVOT (sum(id) FOR name IN ({values}))")
        assert "rewrite" not in refused.extra


def test_a_rewrite_is_offered_only_if_it_compiles(stocked: Desk) -> None:
    assert "rewrite" not in stocked.fails("SELECT TOP 5 * FROM nowhere").extra
    assert "rewrite" not in stocked.fails("SELECT TOP 5 * FROM session_state").extra


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SHOW TABLES", "sqlite_master"),
        ("describe customers", "pragma_table_info"),
        ("TRUNCATE TABLE customers", "DELETE FROM"),
        ("MERGE INTO customers", "ON CONFLICT"),
        ("```sql\nSELECT 1\n```", "Markdown"),
        ("PRAGMA table_info(customers)", "pragma_table_info('t')"),
        ("SET x = 1", "parameters"),
    ],
)
def test_statements_that_sqlite_lacks_are_refused_with_what_to_write(
    stocked: Desk, sql: str, hint: str
) -> None:
    error = stocked.fails(sql)
    assert isinstance(error, GuardRefused)
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("params", "code"),
    [((2**70,), "invalid_input"), (("\ud800",), "invalid_input"), (({},), "sql_error"), ((), "sql_error")],
)
def test_bad_parameters_are_the_callers_to_mend(stocked: Desk, params: tuple[object, ...], code: str) -> None:
    error = stocked.fails("SELECT ?", *params)
    assert error.code == code
    assert error.hint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "limit_exceeded"),
        (sqlite3.Warning("You can only execute one statement at a time."), "guard_refused"),
        (sqlite3.ProgrammingError("You can only execute one statement at a time."), "guard_refused"),
        (KeyError("x"), "internal_error"),
        (SqlError("as it was"), "sql_error"),
    ],
)
def test_every_error_has_a_translation(desk: Desk, error: BaseException, code: str) -> None:
    assert desk.guard.translate(error).code == code


def test_reserved_tables_are_not_named_in_hints(desk: Desk) -> None:
    assert "session_state" not in str(desk.fails("SELECT * FROM session_stat").hint)


def test_a_statement_that_describes_all_tables_is_told_which_to_leave_out(stocked: Desk) -> None:
    """What the hint says to add makes the statement run."""
    sql = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
    stocked.own("CREATE TABLE IF NOT EXISTS _duralite_meta(key TEXT)")
    refused = stocked.fails(sql)
    assert refused.to_problem()["rule"] == "object.reserved"
    condition = (
        str(refused.hint)
        .partition(": ")[2]
        .rstrip(".")
        .replace("name NOT", "m.name NOT")
        .replace("type =", "m.type =")
    )
    found = {table for table, _ in stocked.run(f"{sql} {condition}")}
    assert found
    assert not found & {"_duralite_meta", "session_state", "execution_logs"}
