"""What is known of the engine and of temporary files."""

from __future__ import annotations

import sqlite3

from runtime.guard import engine_findings, temp_bytes


def test_the_engine_in_use_is_judged() -> None:
    (finding,) = engine_findings()
    assert finding.level in {"ok", "warning"}
    assert sqlite3.sqlite_version in finding.title


def test_temporary_files_are_seen_although_they_have_no_name() -> None:
    connection = sqlite3.connect("")
    before = temp_bytes()
    connection.execute("PRAGMA cache_size=10")
    connection.execute("CREATE TABLE t(a)")
    connection.execute(
        "INSERT INTO t SELECT zeroblob(100000) FROM (VALUES(1),(2),(3),(4),(5),(6),(7),(8),(9),(10))"
    )
    assert temp_bytes() > before
    connection.close()
    assert temp_bytes() == before
