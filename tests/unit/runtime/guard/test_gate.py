"""The gate reads the first keyword, one statement, and what cannot be stopped later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.errors import GuardRefused, InputError, LimitExceeded
from runtime.guard import READ_ONLY, SESSION, Verdict
from runtime.guard.gate import FAULTY_ENGINE, gate_for
from runtime.guard.shape import length_for


def verdict(sql: Any) -> Verdict:
    return gate_for(SESSION).inspect(sql).verdict


def rule(sql: Any, policy: Any = SESSION) -> str:
    with pytest.raises(GuardRefused) as caught:
        gate_for(policy).inspect(sql)
    return caught.value.rule


@pytest.mark.parametrize(
    ("sql", "keyword", "kind", "writes"),
    [
        ("SELECT 1", "SELECT", "read", False),
        ("values(1)", "VALUES", "read", False),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH", "read", False),
        ("WITH x(a) AS NOT MATERIALIZED (SELECT 1), y AS (SELECT 2) INSERT INTO t SELECT * FROM x", "WITH", "write", True),
        ("WITH x AS (VALUES(1)) VALUES((SELECT * FROM x))", "WITH", "read", False),
        ("WITH x AS (SELECT 1) DELETE FROM t", "WITH", "write", True),
        ("REPLACE INTO t VALUES(1)", "REPLACE", "write", True),
        ("INSERT INTO t VALUES(1) RETURNING *", "INSERT", "write", True),
        ("create table t(a)", "CREATE", "schema", True),
        ("DROP VIEW v", "DROP", "schema", True),
        ("ALTER TABLE t RENAME TO u", "ALTER", "schema", True),
        ("EXPLAIN DELETE FROM t", "EXPLAIN", "read", False),
        ("EXPLAIN QUERY PLAN CREATE TABLE t(a)", "EXPLAIN", "read", False),
    ],
)  # fmt: skip
def test_the_verdict_tells_what_a_statement_is(sql: str, keyword: str, kind: str, writes: bool) -> None:
    found = verdict(sql)
    assert (found.keyword, found.kind, found.writes) == (keyword, kind, writes)


def test_what_surrounds_a_statement_is_cut_off() -> None:
    assert verdict(" ;; /* a */ SELECT 1 ; ; -- end").sql == "SELECT 1"


def test_a_bare_statement_is_passed_on_as_the_same_object() -> None:
    sql = "SELECT 1 + 1"
    assert verdict(sql).sql is sql


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", "statement.empty"),
        (";;", "statement.empty"),
        ("-- nothing", "statement.empty"),
        ("SELECT 1; SELECT 2", "statement.several"),
        ("CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; END; COMMIT", "statement.several"),
        ("ATTACH 'x' AS y", "statement.attach"),
        ("/**/detach y", "statement.attach"),
        ("PRAGMA user_version", "statement.pragma"),
        ("BEGIN", "statement.transaction"),
        ("END", "statement.transaction"),
        ("release s", "statement.transaction"),
        ("VACUUM INTO 'x'", "statement.vacuum"),
        ("REINDEX", "statement.maintenance"),
        ("EXPLAIN VACUUM", "statement.vacuum"),
        ("EXPLAIN EXPLAIN SELECT 1", "statement.unknown"),
        ("EXPLAIN", "statement.unknown"),
        ("Here is the query: SELECT 1", "statement.unknown"),
        ("(SELECT 1)", "statement.unknown"),
        ('"SELECT" 1', "statement.unknown"),
        ("SELECT 1\0", "text.nul"),
    ],
)
def test_refusals_name_their_rule(sql: str, expected: str) -> None:
    assert rule(sql) == expected


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES(1)", "WITH x AS (SELECT 1) DELETE FROM t", "EXPLAIN DROP TABLE t", "CREATE TABLE t(a)"])  # fmt: skip
def test_a_read_only_policy_lets_no_write_in(sql: str) -> None:
    assert rule(sql, READ_ONLY) == "statement.read_only"


def test_a_trigger_keeps_the_semicolons_of_its_body() -> None:
    sql = "CREATE TEMP TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END;"
    assert verdict(sql).sql == sql[:-1]


def test_a_semicolon_in_quotes_is_no_end() -> None:
    assert verdict("SELECT ';', \";\", `;`, [;]").kind == "read"


def test_text_must_be_valid_and_short_enough() -> None:
    with pytest.raises(InputError):
        verdict(7)
    with pytest.raises(InputError, match="surrogate"):
        verdict("SELECT '\ud800'")
    with pytest.raises(LimitExceeded) as caught:
        verdict("SELECT '" + "x" * 256_000 + "'")
    assert caught.value.limit == "max_sql_bytes"
    with pytest.raises(LimitExceeded):
        verdict("SELECT '" + "é" * 130_000 + "'")


def test_order_by_has_a_longest_list() -> None:
    terms = ",".join(["1"] * 60)
    assert verdict(f"SELECT 1 ORDER BY {terms} LIMIT 1, 2").kind == "read"
    assert rule(f"SELECT * FROM (SELECT 1 ORDER BY {terms}, 1)") == "limit.order_terms"


@pytest.mark.parametrize("tokenizer", ["'trigram case_sensitive'", '"trigram case_sensitive"', "'porter trigram x'", "[trigram a 1 b]"])  # fmt: skip
def test_a_trigram_option_needs_its_value(tokenizer: str) -> None:
    assert rule(f"CREATE VIRTUAL TABLE z USING fts5(a, tokenize={tokenizer})") == "engine.fts5_trigram"


@pytest.mark.parametrize(
    "tokenizer", ["trigram", "'trigram'", "'trigram case_sensitive 1'", "'porter ascii'"]
)
def test_sound_tokenizers_pass(tokenizer: str) -> None:
    assert verdict(f"CREATE VIRTUAL TABLE z USING fts5(a, tokenize={tokenizer})").kind == "schema"


def test_an_ordinary_statement_may_handle_the_longest_values() -> None:
    assert (
        verdict("SELECT replace(a, 'x', 'y'), trim(b, ' ,'), upper(c) FROM t WHERE d LIKE 'x%'").length
        > 600_000
    )
    assert verdict("SELECT a, b FROM t").length == 1_000_000


def test_the_more_calls_a_row_makes_the_shorter_its_values() -> None:
    many = verdict("SELECT " + "+".join(["instr(a,b)"] * 100)).length
    assert many < 150_000
    assert verdict("SELECT json_patch(a, b)").length < 300_000
    assert verdict("SELECT trim(a, b)").length < 300_000
    assert verdict("SELECT " + ",".join(["a"] * 500)).length <= 512_000


def test_lengths_fall_steadily_and_never_to_nothing() -> None:
    lengths = [length_for(1_000_000, (n, n), n) for n in (0, 1, 10, 100, 1_000, 10_000)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] >= 4_096


@pytest.mark.parametrize(
    ("sql", "risky"),
    [
        ("SELECT printf('%05d', 1)", False),
        ("SELECT format('%.2f %s %-10s %,d %%', 1, 2, 3, 4)", False),
        ("SELECT printf('%c', 'x')", False),
        ("SELECT printf('%.*c', 3, 'x')", True),
        ("SELECT printf('%.9999c', 'x')", True),
        ("SELECT printf(a, 1) FROM t", True),
        ("SELECT \"printf\"('%' || '.9999c')", True),
        ("SELECT printf FROM t", False),
    ],
)
def test_formats_that_the_text_does_not_tell_are_marked(sql: str, risky: bool) -> None:
    assert gate_for(SESSION).inspect(sql).risky_format is risky


def test_lists_of_a_policy_are_refused_with_what_is_open() -> None:
    policy = replace(SESSION, tables_allow=frozenset({"orders"}), columns_block=frozenset({"orders.secret"}))
    gate = gate_for(policy)
    assert gate.inspect("WITH x AS (SELECT id FROM orders) SELECT * FROM x").verdict.kind == "read"
    with pytest.raises(GuardRefused, match="users") as caught:
        gate.inspect("SELECT * FROM users")
    assert "orders" in str(caught.value.hint)
    assert rule("SELECT o.secret FROM orders o", policy) == "object.column_list"


def test_a_window_in_a_sub_select_without_from_is_refused_where_it_faults() -> None:
    fine = (
        "SELECT sum(1) OVER ()",
        "SELECT (SELECT sum(b) OVER () FROM u LIMIT 1) FROM t",
        "SELECT * FROM (SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) FROM t) WHERE a IN (SELECT 1)",
        "WITH r AS (SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY a)) SELECT * FROM r",
    )
    for sql in fine:
        assert verdict(sql).kind == "read"
    if FAULTY_ENGINE:
        assert rule("SELECT c, (SELECT c + sum(1) OVER ()) FROM t GROUP BY c") == "engine.window"
        assert rule("SELECT (SELECT 1 UNION SELECT sum(1) OVER (ORDER BY c)) FROM t") == "engine.window"
