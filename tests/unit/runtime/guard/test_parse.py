"""The parser reads and rewrites; it decides nothing it cannot read."""

from __future__ import annotations

import pytest

from runtime.guard.parse import read, rewrites


def test_tables_and_columns_are_read_past_aliases_and_expressions() -> None:
    found = read(
        "WITH x AS (SELECT u.id FROM Users u) SELECT x.id, o.total FROM x JOIN main.orders AS o ON o.uid = x.id"
    )
    assert found is not None
    assert found.tables == {"users", "orders"}
    assert ("orders", "total") in found.columns
    assert ("users", "id") in found.columns


@pytest.mark.parametrize("sql", ["REPLACE INTO t VALUES(1)", "SELECT (", "(" * 3_000, "", "SELECT '\ud800'", "EXPLAIN SELECT 1"])  # fmt: skip
def test_what_it_cannot_read_is_nothing(sql: str) -> None:
    read(sql)
    list(rewrites(sql))


def test_a_long_text_is_not_rewritten() -> None:
    assert list(rewrites("SELECT a::int, " + "b, " * 5_000 + "c")) == []
