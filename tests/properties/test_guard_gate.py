"""The gate and SQLite read the same statement, whatever the text looks like.

SQLite is the judge: its authorizer tells what a text really is. No text that the gate lets pass may reach a
blocked verb, and no text that SQLite accepts as an allowed verb may be refused.
"""

from __future__ import annotations

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import DuraliteError, GuardRefused
from runtime.guard import SESSION
from runtime.guard.expansion import outline
from runtime.guard.gate import gate_for
from runtime.guard.tokens import tokenize

GATE = gate_for(SESSION)
SPACES = ["", " ", "\t", "\n", "\r", "\f", "\v", " \v", "\ufeff", "\u00a0", "\u2003", "--x\n", "/**/", "/*/*/", "/*;*/", ";", ";;", "/*", "--", "\\"]  # fmt: skip
VERBS = ["SELECT 1", "VALUES(1)", "DELETE FROM t", "INSERT INTO t VALUES(1)", "UPDATE t SET a=1", "REPLACE INTO t VALUES(2)", "DROP TABLE t", "CREATE TABLE u(a)", "ALTER TABLE t RENAME TO v", "WITH c AS (SELECT 1) SELECT * FROM c", "WITH c AS (SELECT 1) DELETE FROM t", "PRAGMA query_only", "pragma user_version=7", "ATTACH ':memory:' AS m", "DETACH m", "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "VACUUM", "ANALYZE", "REINDEX", "EXPLAIN", "EXPLAIN QUERY PLAN"]  # fmt: skip
PIECES = [*VERBS, "'", '"', "`", "[", "]", "(", ")", ",", "x", "1", "AS", "';'", '";"', "[;]", "x''", "$a::b(c)", "?1", ":p", "1e", "0x", "->>", "END"]  # fmt: skip

BLOCKED = {sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ANALYZE}  # fmt: skip
WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_ALTER_TABLE}  # fmt: skip

spaced = st.lists(st.sampled_from(SPACES), max_size=3).map("".join)
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(SPACES)), max_size=8).map("".join)
dressed = st.tuples(spaced, st.sampled_from(VERBS), spaced, spaced).map("".join)
prefixed = st.tuples(spaced, st.sampled_from(["EXPLAIN", "EXPLAIN QUERY PLAN", ""]), spaced, st.sampled_from(VERBS), spaced).map("".join)  # fmt: skip


def compiled(sql: str) -> tuple[bool, set[int]]:
    """Return whether SQLite accepts a text as one statement, and the actions that it asked about."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute("CREATE TABLE t(a)")
        actions: set[int] = set()

        def ask(action: int, *_: str | None) -> int:
            actions.add(action)
            return sqlite3.SQLITE_OK

        connection.set_authorizer(ask)
        try:
            connection.execute(sql, {"p": 1}).close()
        except sqlite3.ProgrammingError as error:
            return "binding" in str(error), actions
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False, actions
        return True, actions
    finally:
        connection.close()


@settings(max_examples=400, deadline=None)
@given(st.one_of(texts, dressed, prefixed))
def test_no_blocked_verb_passes_and_nothing_that_reads_writes(sql: str) -> None:
    try:
        verdict = GATE.inspect(sql).verdict
    except DuraliteError:
        return
    _, actions = compiled(verdict.sql)
    assert not actions & BLOCKED
    if not verdict.writes and not verdict.explain:
        assert not actions & WRITES
    text = verdict.sql.upper()
    assert not text.startswith(("VACUUM", "REINDEX", "ANALYZE"))


@settings(max_examples=400, deadline=None)
@given(dressed)
def test_nothing_that_sqlite_accepts_from_the_allowed_verbs_is_refused(sql: str) -> None:
    accepted, actions = compiled(sql)
    harmless = accepted and actions and not actions & BLOCKED
    if not harmless or sqlite3.SQLITE_REINDEX in actions:
        return
    if set(sql.split()) & {"VACUUM", "EXPLAIN"}:
        return
    GATE.inspect(sql)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), texts)
def test_any_text_gets_a_verdict_or_a_refusal(noise: str, sql: str) -> None:
    for text in (noise, noise + sql, sql + noise):
        try:
            GATE.inspect(text)
        except DuraliteError as error:
            assert error.message and error.hint


@settings(max_examples=300, deadline=None)
@given(texts)
def test_tokens_lie_side_by_side_and_rebuild_nothing_else(sql: str) -> None:
    end = 0
    for token in tokenize(sql):
        assert token[2] >= end
        assert token[3] > token[2]
        end = token[3]
    assert outline(tokenize(sql)).weight >= 1


@settings(max_examples=200, deadline=None)
@given(dressed)
def test_the_statement_that_runs_passes_the_gate_again(sql: str) -> None:
    try:
        verdict = GATE.inspect(sql).verdict
    except GuardRefused:
        return
    again = GATE.inspect(verdict.sql).verdict
    assert again == verdict
