"""A tool's result becomes a table: whatever its form, without loss, all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DuraliteError, GuardRefused, InputError, LimitExceeded
from sandbox.tools.staging import stage, table_of
from tests.unit.sandbox.tools.conftest import Kit, kit, script

BIG = 2**63


@pytest.mark.parametrize(
    ("value", "names", "columns"),
    [
        ([{"a": 1, "b": "x"}, {"a": 2}], ["a", "b"], [[1, 2], ["x", None]]),
        ({"items": [{"a": 1}], "total": 5}, ["a"], [[1]]),
        ({"items": ["x", "y"]}, ["value"], [["x", "y"]]),
        ({"id": 1, "tags": ["x", "y"]}, ["id", "tags"], [[1], [["x", "y"]]]),
        ([1, "x", None], ["value"], [[1, "x", None]]),
        ([[1, 2], [3]], ["c1", "c2"], [[1, 3], [2, None]]),
        ({"a": [1, 2], "b": ["x", None]}, ["a", "b"], [[1, 2], ["x", None]]),
        ({"columns": ["a", "b"], "rows": [[1, 2]]}, ["a", "b"], [[1], [2]]),
        ({"columns": ["a"], "data": []}, ["a"], [[]]),
        ("a,b\n1,x\n2,y\n", ["a", "b"], [[1, 2], ["x", "y"]]),
        ('\ufeffid;name\r\n007;"x;\r\ny"\r\n', ["id", "name"], [["007"], ["x;\r\ny"]]),
        ({"content": "a,b\n1,x\n"}, ["a", "b"], [[1], ["x"]]),
        ({"content": '[{"a": 1}]'}, ["a"], [[1]]),
        ({"content": "a text"}, ["content"], [["a text"]]),
        ("just a text, with a comma", ["value"], [["just a text, with a comma"]]),
        ("a,b\n1,2,3\n", ["value"], [["a,b\n1,2,3\n"]]),
        ({"a": 1, "deep": {"x": [1]}}, ["a", "deep"], [[1], [{"x": [1]}]]),
        ({"a": [1], "deep": {"x": 1}}, ["a", "deep"], [[[1]], [{"x": 1}]]),
        (42, ["value"], [[42]]),
        (None, ["value"], [[None]]),
        ([], ["value"], [[]]),
        ({}, ["value"], [[{}]]),
        ([{}, {}], ["value"], [[{}, {}]]),
        ([{"a": 1}, 5], ["value"], [[{"a": 1}, 5]]),
    ],
)
def test_a_value_is_read_as_columns_and_rows(value: Any, names: list[str], columns: list[Any]) -> None:
    assert table_of(value)[:2] == (names, columns)


@pytest.mark.parametrize(
    ("cells", "kind", "stored"),
    [
        ([1, None, 2], "INTEGER", [1, None, 2]),
        ([1, 2.5], "REAL", [1, 2.5]),
        ([2**60, 2.5], "", [2**60, 2.5]),
        (["1", "007"], "TEXT", ["1", "007"]),
        (["x", 1], "", ["x", 1]),
        ([True, False], "INTEGER", [1, 0]),
        ([BIG, 1], "", [str(BIG), 1]),
        ([{"a": "é"}, [1]], "TEXT", ['{"a": "é"}', "[1]"]),
        ([None], "", [None]),
    ],
)
async def test_a_column_loses_nothing(tmp_path: Path, cells: list[Any], kind: str, stored: list[Any]) -> None:
    staged = stage([{"x": cell} for cell in cells], table="t", origin="tools.a.b")
    assert [column.kind for column in staged.columns] == [kind]
    async with kit(tmp_path) as shop:
        await write(shop, [{"x": cell} for cell in cells], "t")
        rows = (await shop.stub.query("SELECT x, typeof(x) FROM t ORDER BY rowid", row_format="arrays")).rows
        assert [row[0] for row in rows] == stored
        exact = {int: "integer", float: "real", str: "text", type(None): "null"}
        if kind != "REAL":
            assert [row[1] for row in rows] == [exact[type(value)] for value in stored]


async def write(shop: Kit, value: Any, table: str | None) -> dict[str, Any]:
    """Write a value as a run does: in one unit of the actor."""
    instance = await shop.host.acquire(shop.address)
    assert instance is not None
    staged = stage(value, table=table, origin="tools.my_shop.list-items")
    found: dict[str, Any] = await instance.run_unit(staged.write).future
    return found


async def test_the_handle_says_where_the_rows_are(tmp_path: Path) -> None:
    async with kit(tmp_path) as shop:
        rows = [{"id": n, "text": "x" * 900} for n in range(10)]
        handle = await write(shop, {"items": rows, "next": "page 2"}, None)
        assert (handle["table"], handle["rows"], handle["columns"]) == (
            "my_shop_list_items",
            10,
            ["id", "text"],
        )
        assert len(handle["sample"]) == 3 and len(json.dumps(handle)) < 2_000
        assert "my_shop_list_items LIMIT 10" in handle["note"] and '{"next": "page 2"}' in handle["note"]
        again = await write(shop, rows, None)
        assert again["table"] == "my_shop_list_items_2"
        added = await write(shop, rows, "my_shop_list_items_2")
        assert "10 rows added" in added["note"]
        count = await shop.stub.query("SELECT count(*) AS n FROM my_shop_list_items_2")
        assert count.rows == [{"n": 20}]


async def test_rows_that_do_not_fit_are_refused_with_the_difference_and_nothing_stays(tmp_path: Path) -> None:
    async with kit(tmp_path) as shop:
        await write(shop, [{"a": 1, "b": "x"}], "t")
        cases: list[tuple[Any, type[DuraliteError], str]] = [
            ([{"a": 1}], InputError, "the table has 'b' besides"),
            ([{"a": 1, "b": "x", "c": 1}], InputError, "the result has 'c' besides"),
            ([{"a": "007", "b": "x"}], InputError, "'a' of 't' is declared INTEGER"),
            ([{"a": 1, "b": 2}], InputError, "'b' of 't' is declared TEXT"),
        ]
        for value, error, said in cases:
            with pytest.raises(error, match=said):
                await write(shop, value, "t")
        for name in ("_duralite_meta", "sqlite_x", "execution_logs"):
            with pytest.raises((GuardRefused, DuraliteError)):
                await write(shop, [{"a": 1}], name)
        with pytest.raises(LimitExceeded, match="5,000 columns"):
            await write(shop, [{f"c{n}": n for n in range(5_000)}], "wide")
        found = await shop.stub.query("SELECT count(*) AS n FROM t")
        assert found.rows == [{"n": 1}]
        await write(shop, [{"B": None, "A": 2.5}, {"B": "y", "A": "many"}], "t")
        rows = (await shop.stub.query("SELECT a, b FROM t", row_format="arrays")).rows
        assert [list(row) for row in rows] == [[1, "x"], [2.5, None], ["many", "y"]]
        assert [table.name for table in await shop.stub.tables()] == ["t"]


async def test_pages_of_a_result_meet_in_one_table_also_when_the_first_is_empty(tmp_path: Path) -> None:
    async with kit(tmp_path) as shop:
        assert (await write(shop, {"items": []}, "t"))["rows"] == 0
        assert (await write(shop, {"items": []}, "t"))["columns"] == ["value"]
        await write(shop, {"items": [{"a": 1}]}, "t")
        last = await write(shop, {"items": []}, "t")
        assert (last["rows"], last["columns"]) == (0, ["a"])
        assert (await shop.stub.query("SELECT a FROM t")).rows == [{"a": 1}]


async def test_names_of_columns_are_taken_as_they_come(tmp_path: Path) -> None:
    async with kit(tmp_path) as shop:
        handle = await write(
            shop, [{"a": 1, "A": 2, "": 3, 'q"; DROP TABLE t; --': 4, "x\0y": 5}], "odd name"
        )
        assert handle["columns"] == ["a", "A_2", "c3", 'q"; DROP TABLE t; --', "x y"]
        rows = (await shop.stub.query('SELECT * FROM "odd name"', row_format="arrays")).rows
        assert [list(row) for row in rows] == [[1, 2, 3, 4, 5]]


async def test_a_large_result_goes_into_a_table_by_itself(tmp_path: Path) -> None:
    async with kit(tmp_path, {"shop": script("shop")}, limits={"tool_result_bytes": 2_000}) as shop:
        assert (await shop.answer("shop.list_items", 3)).staged is None
        answer = await shop.answer("shop.list_items", 500)
        assert answer.value is None and answer.staged is not None and answer.staged.rows == 500
        asked = await shop.answer("shop.list_items", 3, into="mine")
        assert asked.staged is not None and asked.staged.table == "mine" and asked.read_only
