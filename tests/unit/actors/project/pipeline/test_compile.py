"""A pipeline is checked whole before anything runs, and can be read as SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from actors.project.pipeline import (
    Field,
    StepError,
    Table,
    check_order,
    compile_pipeline,
    named_tables,
    parse_steps,
    resolver,
)
from runtime.errors import InputError

TABLE = Table(
    "d1",
    (
        Field("name"),
        Field("amount", "number", 2),
        Field("born", "date"),
        Field("paid", "boolean"),
        Field("Name "),
    ),
    "live",
)


def plan(*steps: dict[str, Any], **tables: Table) -> Any:
    return compile_pipeline(parse_steps(list(steps)), TABLE, resolver(tables))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"operation": "trim", "columns": ["nmae"]}, 'no column "nmae". The nearest name is "name"'),
        ({"operation": "filter", "column": "amount", "operator": ">", "value": "ten"}, "'ten' is none"),
        ({"operation": "filter", "column": "born", "operator": ">", "value": "01.02.2024"}, "of type date"),
        ({"operation": "filter", "column": "name", "operator": "=", "value": None}, "null is never true"),
        ({"operation": "filter", "column": "name", "operator": "in", "value": "x"}, '"in" needs a list'),
        ({"operation": "filter", "column": "name", "operator": "matches", "value": "("}, "no regular expression|not a regular"),
        ({"operation": "cast_column", "column": "born", "targetType": "number"}, "none of them is a number"),
        ({"operation": "rename_column", "oldName": "name", "newName": "paid"}, 'two columns would have the name "paid"'),
        ({"operation": "remove_column", "columns": ["name", "amount", "born", "paid", "Name "]}, "no column would be left"),
        ({"operation": "row_number", "newColumn": "paid"}, 'there is a column "paid" already'),
        ({"operation": "group", "aggregates": [{"function": "sum", "column": "name"}]}, "have no sum"),
        ({"operation": "parse_date", "columns": ["amount"], "format": "DD"}, "not text"),
        ({"operation": "parse_date", "columns": ["name"], "format": "QQ"}, '"Q" in the date format'),
        ({"operation": "compute", "newColumn": "x", "formula": "amonut * 2"}, 'nearest name is "amount"'),
        ({"operation": "compute", "newColumn": "x", "formula": "name + 1"}, "adds numbers"),
        ({"operation": "unpivot", "idColumns": ["name"], "valueColumns": ["name"]}, "stands in both"),
        ({"operation": "extract", "column": "name", "pattern": "a", "group": 2}, "has 0 groups"),
        ({"operation": "replace_values", "columns": ["name"], "find": "a", "replace": "\\2", "match": "regex"},
         "does not fit the pattern"),
        ({"operation": "join", "table": "citys", "on": "name"}, 'no table "citys". The nearest name is "cities"'),
        ({"operation": "group", "columns": ["name"], "aggregates": [{"function": "sum", "column": ""}]}, 'no column ""'),
        ({"operation": "join", "table": "cities", "on": {"name": "twn"}}, '"cities" has no column "twn"'),
    ],
    ids=lambda v: str(v)[:50],
)  # fmt: skip
def test_a_step_that_cannot_work_says_which_and_why(step: dict[str, Any], said: str) -> None:
    """The number of the step, the operation, and the reason with the nearest name."""
    cities = Table("d2", (Field("town"), Field("country")), "live")
    with pytest.raises(StepError, match=said) as e:
        plan({"operation": "trim"}, step, cities=cities)
    assert e.value.message.startswith(f"Step 2 ({step['operation']}): ")
    assert e.value.extra["step"] == 2


def test_columns_flow_through_with_their_types() -> None:
    made = plan(
        {"operation": "rename_column", "oldName": "amount", "newName": "x"},
        {"operation": "compute", "newColumn": "big", "formula": "x > 10"},
        {"operation": "date_part", "column": "born", "part": "year"},
        {"operation": "select_columns", "columns": ["big", "born_year", "x"]},
    )
    assert made.result == (Field("big", "boolean"), Field("born_year", "integer"), Field("x", "number", 2))
    assert [len(c) for c in made.columns] == [5, 6, 7, 3]
    assert made.open_from is None


def test_after_a_pivot_columns_are_not_known_and_the_rest_is_checked_when_it_runs() -> None:
    pivot = {"operation": "pivot", "indexColumns": ["name"], "columnSource": "born", "valueSource": "amount"}
    made = plan({"operation": "trim"}, pivot, {"operation": "uppercase", "columns": ["2024-01-01"]})
    assert made.open_from == 2
    known = plan(pivot | {"values": ["2024-01-01"]})
    assert known.open_from is None and [f.name for f in known.result] == ["name", "2024-01-01"]


def test_a_step_that_is_off_is_left_out_and_stays_in_the_list() -> None:
    made = plan({"operation": "remove_column", "columns": ["nothing"], "enabled": False})
    assert made.result == TABLE.columns and len(made.steps) == 1


def test_steps_that_stream_are_one_statement_and_a_display_name_is_never_in_it() -> None:
    table = Table("d1", (Field('x"; DROP TABLE t; --'),), "live")
    name = table.columns[0].name
    made = compile_pipeline(
        parse_steps(
            [{"operation": "trim"}, {"operation": "uppercase", "columns": [name]},
             {"operation": "fill_down", "columns": [name]},
             {"operation": "filter", "column": name, "operator": "=", "value": "'; DROP TABLE t; --"}]
        ),
        table,
    )  # fmt: skip
    assert len(made.statements) == 1
    sql = made.statements[0].sql("sqlite")
    assert "DROP" not in sql
    assert "'; DROP TABLE t; --" in made.values.bound.values()
    assert "'''; DROP TABLE t; --'" in made.sql()[0]


def test_the_sql_that_is_shown_can_be_read_by_sqlite() -> None:
    from actors.project.pipeline.functions import Functions

    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("ATTACH ':memory:' AS live")
        db.execute("CREATE TABLE live.d1 (row_id INTEGER PRIMARY KEY, c0, c1, c2, c3, c4)")
        Functions(db)
        made = plan({"operation": "trim"}, {"operation": "sort", "columns": ["amount"]})
        (sql,) = made.sql()
        assert db.execute(sql).fetchall() == []


def test_steps_can_be_put_in_another_order_and_are_checked_again() -> None:
    steps = parse_steps(
        [
            {"operation": "rename_column", "oldName": "name", "newName": "who"},
            {"operation": "trim", "columns": ["who"]},
        ]
    )
    turned = check_order(steps, [2, 1])
    assert [s.name for s in turned] == ["trim", "rename_column"]
    with pytest.raises(StepError, match="Step 1"):
        compile_pipeline(turned, TABLE)
    for order in ([1], [1, 1], [0, 1], [1, 2, 3]):
        with pytest.raises(InputError, match="once"):
            check_order(steps, order)


def test_the_other_tables_of_a_pipeline_are_told() -> None:
    steps = parse_steps(
        [{"operation": "union", "table": "b"}, {"operation": "lookup", "table": "a", "on": "name"},
         {"operation": "union", "table": "b"}]
    )  # fmt: skip
    assert named_tables(steps) == ["b", "a"]


def test_conditions_that_are_nested_too_deep_are_refused() -> None:
    condition: dict[str, Any] = {"column": "name", "operator": "=", "value": "x"}
    for _ in range(60):
        condition = {"conditions": [condition]}
    with pytest.raises(InputError):
        plan({"operation": "filter", "conditions": [condition]})


def test_a_pipeline_that_would_take_long_to_plan_is_refused() -> None:
    """Steps times columns are bounded, so that a plan costs little before anything runs."""
    wide = Table("d", tuple(Field(f"c {i}") for i in range(1_500)))
    steps = parse_steps([{"operation": "compute", "newColumn": "c 1", "formula": "[c 1] & 'x'"}] * 100)
    with pytest.raises(StepError, match="too much for one pipeline"):
        compile_pipeline(steps, wide)
