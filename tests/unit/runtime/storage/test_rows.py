"""Results are bounded by rows and bytes, say which limit cut, and are the same on the wire."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest

from runtime.errors import DuraliteError, SqlError
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import harness
from tests.scratch import Scratch

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) SELECT {} FROM n"


async def both(host: Host, stub: Stub, sql: str, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """Return an answer as Python sees it and as the wire does."""
    spec = host.spec("scratch", "query")
    plain = await stub.query(sql, **kwargs)
    wire = orjson.loads(await host.call(stub.address, spec, {"sql": sql, **kwargs}, wire=True))
    assert (plain.columns, plain.row_count, plain.truncated, plain.limit) == tuple(
        wire[k] for k in ("columns", "row_count", "truncated", "limit")
    )
    assert plain.row_count == len(plain.rows) == len(wire["rows"])
    return plain, wire


@pytest.mark.parametrize(
    ("there", "limit", "come", "cut"),
    [
        (9_999, None, 9_999, None),
        (10_000, None, 10_000, None),
        (10_001, None, 10_000, "max_rows"),
        (50_000, None, 10_000, "max_rows"),
        (50_000, 20_000, 10_000, "max_rows"),
        (5, 5, 5, None),
        (6, 5, 5, "limit"),
        (501, 500, 500, "limit"),
        (1, 0, 0, "limit"),
    ],
)
async def test_the_row_limit_cuts_and_says_which_limit_it_was(
    host: Host, scratch: Stub, there: int, limit: int | None, come: int, cut: str | None
) -> None:
    plain, wire = await both(host, scratch, NUMBERS.format(there, "i"), limit=limit)
    assert (plain.row_count, plain.truncated, plain.limit) == (come, cut is not None, cut)
    assert wire["rows"] == plain.rows


@pytest.mark.parametrize("row_format", ["objects", "arrays"])
async def test_the_byte_limit_cuts_between_rows(tmp_path: Path, row_format: str) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_result_bytes=10_000)) as host:
        stub = host.namespace("scratch").get("one")
        plain, wire = await both(
            host, stub, NUMBERS.format(100, "i, printf('%0500d', i) AS s"), row_format=row_format
        )
        assert 0 < plain.row_count < 20
        assert plain.limit == "max_result_bytes"
        assert len(orjson.dumps(wire["rows"])) <= 10_000
        alone, _ = await both(host, stub, "SELECT printf('%020000d', 1) AS s", row_format=row_format)
        assert (alone.row_count, alone.truncated, alone.limit) == (0, True, "max_result_bytes")


async def test_columns_of_one_name_are_all_there_in_arrays(host: Host, scratch: Stub) -> None:
    plain, wire = await both(host, scratch, "SELECT 1 AS a, 2 AS a, 3 AS b", row_format="arrays")
    assert plain.columns == ["a", "a", "b"]
    assert plain.rows == wire["rows"] == [[1, 2, 3]]
    plain, wire = await both(host, scratch, "SELECT 1 AS a, 2 AS a, 3 AS b")
    assert plain.rows == wire["rows"] == [{"a": 2, "b": 3}]


async def test_an_empty_result_still_has_its_columns(host: Host, scratch: Stub) -> None:
    for row_format in ("objects", "arrays"):
        plain, wire = await both(host, scratch, "SELECT 1 AS a, 2 AS b WHERE 0", row_format=row_format)
        assert (plain.columns, plain.rows, plain.truncated) == (["a", "b"], [], False)
        assert wire["rows"] == []


async def test_the_widest_rows_that_the_policy_allows_come_whole(host: Host, scratch: Stub) -> None:
    sql = "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(500))
    plain, _ = await both(host, scratch, sql, row_format="arrays")
    assert plain.rows == [list(range(500))]


async def test_odd_column_names_and_texts_survive_the_wire(host: Host, scratch: Stub) -> None:
    sql = """SELECT 'q"\\u' AS "a ""b"" \\", 'null' AS "null", char(9, 10, 1) AS "é💥" """
    plain, wire = await both(host, scratch, sql)
    assert wire["rows"] == plain.rows == [{'a "b" \\': 'q"\\u', "null": "null", "é💥": "\t\n\x01"}]


async def test_text_that_is_not_unicode_is_an_error_with_a_way_out(scratch: Stub) -> None:
    with pytest.raises(DuraliteError) as refused:
        await scratch.query("SELECT CAST(x'ff80' AS TEXT) AS t")
    assert refused.value.status == 422
    assert (await scratch.query("SELECT hex(CAST(x'ff80' AS TEXT)) AS t")).rows == [{"t": "FF80"}]


async def test_memory_is_bounded_before_the_rows_are_seen(host: Host, scratch: Stub) -> None:
    """10,000 rows of 20 cells of 50 kB are 10 GB; what is fetched at once stays under the slice's bound."""
    await scratch.list_state()
    cells = ", ".join(f"zeroblob(50000) AS c{i}" for i in range(20))
    tracemalloc.start()
    try:
        answer = await scratch.query(NUMBERS.format(10_000, cells))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.limit == "max_result_bytes"
    assert peak < 200 * 1024 * 1024


async def test_an_error_in_the_middle_of_the_rows_is_the_statements_error(scratch: Stub) -> None:
    with pytest.raises(SqlError, match="integer overflow"):
        await scratch.query(
            NUMBERS.format(2_000, "abs(CASE WHEN i = 1500 THEN -9223372036854775808 ELSE i END)")
        )


async def test_returning_rows_are_cut_and_every_change_counts(scratch: Stub) -> None:
    await scratch.create_table("t", "i INTEGER PRIMARY KEY")
    answer = await scratch.exec(
        NUMBERS.replace("WITH", "INSERT INTO t WITH", 1).format(12_000, "i") + " RETURNING i"
    )
    assert (len(answer.rows), answer.truncated, answer.limit) == (10_000, True, "max_rows")
    assert answer.rows_affected == 12_000
    assert (await scratch.query("SELECT count(*) AS n FROM t")).rows == [{"n": 12_000}]
