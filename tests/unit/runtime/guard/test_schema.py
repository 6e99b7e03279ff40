"""What a schema statement leaves behind is checked before it commits."""

from __future__ import annotations

import pytest

from .conftest import Desk


@pytest.mark.parametrize("name", ["session_state", '"Session_State2"', "_duralite_x", "[_DURALITE_y]"])
def test_a_rename_takes_no_reserved_name(desk: Desk, name: str) -> None:
    desk.own("DROP TABLE session_state")
    desk.run("CREATE TABLE t(a)")
    if "state2" in name.lower():
        desk.run(f"ALTER TABLE t RENAME TO {name}")
        return
    assert desk.refused(f"ALTER TABLE t RENAME TO {name}") == "object.reserved"
    assert desk.run("SELECT * FROM t") == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE z(a REFERENCES session_state(key))",
        "CREATE TABLE z(a, FOREIGN KEY(a) REFERENCES 'EXECUTION_LOGS'(id) ON DELETE RESTRICT)",
        "CREATE TABLE z(a REFERENCES _duralite_later)",
        "ALTER TABLE t ADD COLUMN k REFERENCES [session_state](key)",
    ],
)
def test_a_foreign_key_refers_to_tables_of_ones_own(desk: Desk, sql: str) -> None:
    desk.run("CREATE TABLE t(a)")
    assert desk.refused(sql) == "object.foreign_key"


def test_foreign_keys_between_ones_own_tables_are_fine(desk: Desk) -> None:
    desk.run("CREATE TABLE p(id INTEGER PRIMARY KEY)")
    desk.run("CREATE TABLE c(p REFERENCES p ON DELETE CASCADE)")
    desk.run("INSERT INTO p VALUES(1)")
    desk.run("INSERT INTO c VALUES(1)")
    desk.run("DELETE FROM p")
    assert desk.run("SELECT * FROM c") == []


@pytest.mark.parametrize(
    "option", ["content='session_state'", "content=session_state", 'cont="SESSION_STATE"']
)
def test_full_text_tables_take_no_content_from_the_runtime(desk: Desk, option: str) -> None:
    assert desk.refused(f"CREATE VIRTUAL TABLE f USING fts5(value, {option})") == "object.reserved"
    assert desk.own("SELECT count(*) FROM sqlite_master WHERE name LIKE 'f%'") == [(0,)]


def test_views_that_double_are_refused_when_the_last_piece_comes(desk: Desk) -> None:
    views = [f"CREATE VIEW w{n} AS SELECT p.x FROM w{n - 1} p, w{n - 1} q" for n in range(1, 21)]
    # From the far end on, each view names one that does not exist yet, and weighs nothing.
    *early, last = [view for view in reversed(views) if view != views[9]] + [views[9]]
    for sql in early:
        desk.run(sql)
    assert desk.refused(last) == "limit.expansion"


def test_a_trigger_is_measured_with_the_views_it_reads(desk: Desk) -> None:
    desk.run("CREATE TABLE t(a)")
    desk.run("CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT count(*) FROM w7, w7 a, w7 b, w7 c; END")
    for n in range(7, 1, -1):
        desk.run(f"CREATE VIEW w{n} AS SELECT p.x FROM w{n - 1} p, w{n - 1} q, w{n - 1} r")
    assert desk.refused("CREATE VIEW w1 AS SELECT p.x FROM t p, t q") == "limit.expansion"


def test_shadow_tables_are_known_as_soon_as_their_table_is(desk: Desk) -> None:
    desk.run("CREATE VIRTUAL TABLE f USING fts5(body)")
    desk.run("INSERT INTO f VALUES('f_data is only a word here')")
    assert desk.refused("UPDATE f_data SET block = x'00'") == "object.shadow"
    desk.run("ALTER TABLE f RENAME TO g")
    assert desk.refused("DELETE FROM g_content") == "object.shadow"
    desk.run("DROP TABLE g")
    desk.run("CREATE TABLE g_content(a)")
    desk.run("INSERT INTO g_content VALUES(1)")


def test_a_rolled_back_schema_is_forgotten(desk: Desk) -> None:
    desk.own("BEGIN")
    verdict = desk.guard.check("CREATE VIRTUAL TABLE f USING fts5(body)")
    desk.guard.enter()
    desk.connection.execute(verdict.sql)
    desk.guard.leave()
    desk.guard.verify_schema()
    desk.own("ROLLBACK")
    desk.run("CREATE TABLE f_data(a)")
    desk.run("INSERT INTO f_data VALUES(1)")
    assert desk.run("SELECT * FROM f_data") == [(1,)]


def test_stored_calls_shorten_what_a_statement_may_handle(desk: Desk) -> None:
    calls = "+".join(["instr(x, y)"] * 100)
    desk.run(f"CREATE VIEW v AS SELECT {calls} AS z FROM (SELECT hex(zeroblob(200000)) x, '1' y)")
    assert desk.fails("SELECT * FROM v").code == "limit_exceeded"
    desk.run("CREATE TABLE t(a)")
    desk.run("INSERT INTO t VALUES(hex(zeroblob(400000)))")
    assert desk.run("SELECT length(a) FROM t") == [(800_000,)]
