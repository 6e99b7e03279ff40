"""Each operation does what its line says, on cells that are not easy."""

from __future__ import annotations

from typing import Any

import pytest

from actors.project.pipeline import Field, StepError, Table, compile_pipeline, parse_steps
from actors.project.pipeline.operations import OPERATIONS
from tests.pipelines import Rows, run

S, W, N, B, D = "string", "integer", "number", "boolean", "date"


def one(kind: str, *cells: Any) -> Rows:
    return Rows([("a", kind)], [[c] for c in cells])


def column(name: str, table: Rows, **step: Any) -> list[Any]:
    return run(table, [step]).cells(name)


TEXT_CASES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"operation": "trim"}, [" a ", "\u00a0\u2003b\t", None, "", "c d"], ["a", "b", None, "", "c d"]),
    ({"operation": "uppercase"}, ["straße", "éa", None], ["STRASSE", "ÉA", None]),
    ({"operation": "lowercase"}, ["ÀB", "İ", "ΑΣ"], ["àb", "i̇", "ας"]),
    ({"operation": "title_case"}, ["o'neil von ÖTZI", "two-part NAME"], ["O'neil Von Ötzi", "Two-Part Name"]),
    ({"operation": "collapse_whitespace"}, ["  a \t b\n\nc ", "x\u00a0 y", ""], ["a b c", "x y", ""]),
    ({"operation": "strip_control"}, ["a\u200bb\x07c", "tab\tstays", "\ufeffx"], ["abc", "tab\tstays", "x"]),
    ({"operation": "affix", "prefix": "<", "suffix": ">"}, ["a", "", None], ["<a>", "", None]),
    ({"operation": "pad", "length": 5}, ["7", "123456", "", None, "é"], ["00007", "123456", "", None, "0000é"]),
    ({"operation": "pad", "length": 3, "side": "right", "fill": "."}, ["a"], ["a.."]),
    ({"operation": "replace_values", "find": ".", "replace": "-"}, ["a.b.c", None], ["a-b-c", None]),
    ({"operation": "replace_values", "find": "B", "replace": "\\1", "caseSensitive": False}, ["abBc"], ["a\\1\\1c"]),
    ({"operation": "replace_values", "find": "(\\d+)", "replace": "<\\1>", "match": "regex"}, ["a1b22"], ["a<1>b<22>"]),
    ({"operation": "replace_values", "find": "x", "replace": None, "match": "whole"}, ["x", "xx"], [None, "xx"]),
    ({"operation": "replace_values", "find": None, "replace": "?", "match": "whole"}, ["", None, " "], ["?", "?", " "]),
    ({"operation": "replace_values", "mapping": {"m": "male", "": "?"}}, ["m", "f", None], ["male", "f", "?"]),
    ({"operation": "extract", "column": "a", "after": "@"}, ["x@y.z", "none", None], ["y.z", None, None]),
    ({"operation": "extract", "column": "a", "before": "@"}, ["x@y", "@y", "n"], ["x", "", None]),
    ({"operation": "extract", "column": "a", "after": "(", "before": ")"}, ["a (b) (c)", "(x"], ["b", None]),
    ({"operation": "extract", "column": "a", "pattern": "(\\d+)-(\\d+)", "group": 2}, ["10-20", "x"], ["20", None]),
    ({"operation": "extract", "column": "a", "start": 2, "length": 2}, ["abcd", "é"], ["bc", ""]),
    ({"operation": "fill_value", "value": "none"}, ["", None, "x"], ["none", "none", "x"]),
    ({"operation": "fill_down", "treatWhitespaceAsEmpty": True}, [None, "a", " ", "b", ""], [None, "a", "a", "b", "b"]),
    ({"operation": "fill_up"}, ["", "a", None, "b", ""], ["a", "a", "b", "b", None]),
    ({"operation": "parse_number", "style": "de"}, ["1.234,50 €", "-7", "(3)", "1,5,0"], [1234.5, -7, -3, None]),
    ({"operation": "parse_number"}, ["$1,234", "12%", "1,23", ".5"], [1234, 0.12, None, 0.5]),
    ({"operation": "parse_date", "format": "DD.MM.YYYY"}, ["31.12.2023", "31.02.2023", "1.1.2023"],
     ["2023-12-31", None, None]),
    ({"operation": "parse_date", "format": "D MMM YYYY"}, ["3 Feb 2024", "3 february 2024"], ["2024-02-03"] * 2),
    ({"operation": "parse_date", "format": "%d/%m/%y %H:%M"}, ["01/02/70 09:05", "01/02/24 23:00"],
     ["1970-02-01T09:05:00", "2024-02-01T23:00:00"]),
    ({"operation": "split_to_rows", "column": "a", "delimiter": ";"}, ["x; y", "", None], ["x", "y", "", None]),
    ({"operation": "skip", "count": 1}, ["a", "b"], ["b"]),
    ({"operation": "limit", "count": 1, "offset": 1}, ["a", "b", "c"], ["b"]),
    ({"operation": "remove_empty_rows"}, ["a", " ", "", None], ["a"]),
    ({"operation": "deduplicate"}, ["b", None, "a", None, "b", ""], ["b", None, "a", ""]),
]  # fmt: skip


@pytest.mark.parametrize(("step", "cells", "expected"), TEXT_CASES, ids=lambda v: str(v)[:60])
def test_a_column_of_text(step: dict[str, Any], cells: list[Any], expected: list[Any]) -> None:
    """One step over one column: what is asked for, and nothing else."""
    needs = "columns" in OPERATIONS[step["operation"]].model_fields and step["operation"] not in (
        "remove_empty_rows", "deduplicate")  # fmt: skip
    assert column("a", one(S, *cells), **(step | ({"columns": ["a"]} if needs else {}))) == expected


def test_trimming_removes_all_white_space_that_unicode_knows() -> None:
    """At either end, around any character, and behind a NUL, at which SQLite's own functions stop."""
    inner = ["a", "!", "~", "é", "\x7f", "\0", "a\0b", "漢", "a b", "é\u3000é"]
    blanks = [chr(i) for i in range(0x3100) if chr(i).isspace()]
    cells = [f"{left}{text}{right}" for text in inner for left, right in
             [("", ""), *((b, "") for b in blanks), *(("", b) for b in blanks), (" \u2003", "\t\u00a0")]]  # fmt: skip
    assert column("a", one(S, *cells), operation="trim") == [c.strip() for c in cells]
    halves = run(
        one(S, *cells),
        [{"operation": "split_column", "column": "a", "delimiter": "|", "newColumns": ["x", "y"]}],
    )
    assert halves.cells("x") == [c.strip() for c in cells]


FILTERS: list[tuple[str, Any, list[Any]]] = [
    ("equals", "b", ["b"]),
    ("not_equals", "b", ["a%", "B", "12", "3.0"]),
    ("contains", "%", ["a%"]),
    ("contains", "_", []),
    ("not_contains", "a", ["b", "B", "12", "3.0"]),
    ("starts_with", "a", ["a%"]),
    ("ends_with", "%", ["a%"]),
    (">", 3, ["12"]),
    (">=", 3, ["12", "3.0"]),
    ("equals", 3, ["3.0"]),
    ("in", ["b", "zz", 12], ["b", "12"]),
    ("not_in", ["b", "B"], ["a%", "12", "3.0"]),
    ("between", ["a", "b"], ["a%", "b"]),
    ("matches", "^[a-z]", ["a%", "b"]),
    ("not_matches", "^[a-z]", ["B", "12", "3.0"]),
    ("is_empty", None, ["", None]),
    ("is_not_empty", None, ["a%", "b", "B", "12", "3.0"]),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "value", "expected"), FILTERS, ids=str)
def test_a_filter_keeps_what_meets_it_and_removing_keeps_the_rest(
    operator: str, value: Any, expected: list[Any]
) -> None:
    """NULL meets no comparison: keeping drops it, removing keeps it."""
    cells = ["a%", "b", "B", "12", "3.0", "", None]
    table = one(S, *(c for c in cells if c != "" or operator.startswith("is")))
    step = {"operation": "filter", "column": "a", "operator": operator, "value": value}
    kept = run(table, [step]).cells("a")
    assert kept == expected
    assert run(table, [step | {"mode": "remove"}]).cells("a") == [
        c for c in table.cells("a") if c not in expected
    ]


def test_conditions_join_in_any_depth() -> None:
    table = Rows([("a", W), ("b", S)], [[i, "xy"[i % 2]] for i in range(6)])
    step = {
        "operation": "filter",
        "or": [
            {"column": "a", "operator": ">", "value": 4},
            {
                "and": [
                    {"column": "b", "operator": "=", "value": "x"},
                    {"column": "a", "operator": "<", "value": 3},
                ]
            },
        ],
    }
    assert run(table, [step]).cells("a") == [0, 2, 5]


def test_dates_and_moments_compare_as_time() -> None:
    days = one(D, "2024-01-31", "2023-12-31", None)
    assert column("a", days, operation="filter", column="a", operator=">", value="2024-01-01") == [
        "2024-01-31"
    ]
    moments = one("datetime", "2024-01-31 10:00", "2024-01-31T10:00:01", "2024-01-31")
    found = column("a", moments, operation="filter", column="a", operator="<=", value="2024-01-31 10:00:00")
    assert found == ["2024-01-31 10:00", "2024-01-31"]


@pytest.mark.parametrize(
    ("kind", "cells", "target", "expected"),
    [
        (S, ["12", " 7 ", "-3", "5.0", "", None, "9223372036854775807"], W, [12, 7, -3, 5, None, None, 2**63 - 1]),
        (S, ["0.1", "1e3", "12abc", "٣", "1_0", "inf", "-.5"], N, [0.1, 1000.0, None, None, None, None, -0.5]),
        (S, ["true", "No", "1", "maybe", " t "], B, [1, 0, 1, None, 1]),
        (S, ["2024-02-29", "2023-02-29", "20240101", "2024-01-01T10:00"], D, ["2024-02-29", None, None, "2024-01-01"]),
        (N, [1.0, 0.5, 48.25, 1e16, 0.1, 3], S, ["1", "0.5", "48.25", "1e+16", "0.1", "3"]),
        (B, [1, 0, None], S, ["true", "false", None]),
        (N, [2.0, 2.5, None], W, [2, None, None]),
        ("datetime", ["2024-01-01T10:00:00"], D, ["2024-01-01"]),
    ],
)  # fmt: skip
def test_a_cast_converts_whole_cells_or_none(
    kind: str, cells: list[Any], target: str, expected: list[Any]
) -> None:
    table = one(kind, *cells)
    step = {"operation": "cast_column", "column": "a", "targetType": target, "onError": "null"}
    found = run(table, [step])
    assert found.cells("a") == expected
    assert [type(c) for c in found.cells("a")] == [type(c) for c in expected]


def test_a_cast_that_skips_drops_the_row_and_converts_the_others() -> None:
    found = run(
        one(S, "1", "x", "", "2"),
        [{"type": "cast_column", "column": "a", "targetType": "integer", "onError": "skip"}],
    )
    assert found.cells("a") == [1, None, 2]
    assert [(w["count"], w["effect"], w["samples"]) for w in found.warnings] == [
        (1, "row dropped", [{"row": 2, "value": "x"}])
    ]


def test_a_cast_that_fails_names_the_row_and_what_to_do() -> None:
    with pytest.raises(
        StepError, match=r"Step 2 \(cast_column\): 'x' in the column \"a\" is no whole number"
    ) as e:
        run(
            one(S, "1", "x"),
            [{"type": "trim"}, {"type": "cast_column", "column": "a", "targetType": "integer"}],
        )
    assert e.value.hint is not None and "onError" in e.value.hint


def test_what_a_cast_lost_is_counted_although_the_column_or_the_row_goes_later() -> None:
    cast = {"operation": "cast_column", "column": "a", "targetType": "number", "onError": "null"}
    table = Rows([("a", S), ("b", W)], [["x", 1], ["y", 2], ["3", 3]])
    after = [
        {"operation": "filter", "column": "b", "operator": ">", "value": 2},
        {"operation": "remove_column", "columns": ["a"]},
    ]
    assert run(table, [cast, *after]).lost == 2


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"newColumns": ["x", "y"]}, [["1", "2,3"], ["4", None], [None, None], ["", None]]),
        ({"newColumns": ["x", "y"], "extra": "drop"}, [["1", "2"], ["4", None], [None, None], ["", None]]),
        ({"newColumns": ["x", "y"], "method": "position", "positions": [1]},
         [["1", ", 2,3"], ["4", None], [None, None], ["", None]]),
        ({"newColumns": ["x", "y", "z"], "pattern": "[,;]"},
         [["1", "2", "3"], ["4", None, None], [None, None, None], ["", None, None]]),
    ],
)  # fmt: skip
def test_split_column_leaves_missing_parts_empty(step: dict[str, Any], expected: list[Any]) -> None:
    table = one(S, "1, 2,3", "4", None, "")
    assert run(table, [{"operation": "split_column", "column": "a"} | step]).rows == expected


def test_parts_that_are_left_out_are_told() -> None:
    step = {"operation": "split_column", "column": "a", "newColumns": ["x", "y"], "extra": "drop"}
    found = run(one(S, "1,2", "1,2,3", None), [step])
    assert [(w["count"], w["effect"], w["column"]) for w in found.warnings] == [(1, "parts left out", "a")]


def test_merge_columns_stands_where_the_first_was() -> None:
    table = Rows(
        [("x", W), ("a", S), ("b", N), ("y", W)], [[1, "p", 0.5, 2], [1, "", None, 2], [1, None, 2.0, 2]]
    )
    step = {"operation": "merge_columns", "sourceColumns": ["a", "b"], "targetColumn": "m", "separator": "-"}
    found = run(table, [step])
    assert found.names == ["x", "m", "y"] and found.cells("m") == ["p-0.5", None, "2"]
    assert run(table, [step | {"skipNulls": False, "keepOriginals": True}]).cells("m") == ["p-0.5", "-", "-2"]


def test_pivot_sorts_the_new_columns_and_keeps_rows_in_order() -> None:
    table = Rows(
        [("who", S), ("q", S), ("v", W)], [["b", "q2", 1], ["a", "q1", 2], ["b", "q1", 3], ["b", "q2", 4]]
    )
    step = {"operation": "pivot", "indexColumns": ["who"], "columnSource": "q", "valueSource": "v"}
    found = run(table, [step | {"aggregation": "sum"}])
    assert (found.names, found.rows) == (["who", "q1", "q2"], [["b", 3, 5], ["a", 2, None]])
    assert run(table, [step | {"aggregation": "last"}]).rows == [["b", 3, 4], ["a", 2, None]]
    chosen = run(table, [step | {"aggregation": "avg", "values": ["q2", "q9"]}])
    assert (chosen.names, chosen.rows) == (["who", "q2", "q9"], [["b", 2.5, None], ["a", None, None]])


def test_transpose_twice_is_the_same_text() -> None:
    table = Rows([("k", S), ("x", S), ("y", S)], [["p", "1", None], ["q", "2", "3"]])
    turn = {"operation": "transpose", "nameColumn": "k"}
    once = run(table, [turn])
    assert (once.names, once.rows) == (["k", "p", "q"], [["x", "1", "2"], ["y", None, "3"]])
    assert run(table, [turn, turn]).rows == table.rows


def test_window_functions_look_at_the_rows_of_a_group() -> None:
    table = Rows([("g", S), ("v", W)], [["a", 3], ["b", 1], ["a", 3], ["a", 1], ["b", None]])

    def made(**step: Any) -> list[Any]:
        return run(table, [{"operation": "window", "newColumn": "w", "partitionBy": ["g"], **step}]).cells(
            "w"
        )

    by_v = {"orderBy": [{"name": "v"}]}
    assert made(function="rank", **by_v) == [2, 1, 2, 1, 2]
    assert made(function="dense_rank", orderBy=[{"name": "v", "direction": "desc"}]) == [1, 1, 1, 2, 2]
    assert made(function="running_total", column="v") == [3, 1, 6, 7, 1]
    assert made(function="lead", column="v") == [3, None, 1, None, None]
    assert made(function="difference", column="v") == [None, None, 0, -2, None]
    assert made(function="share", column="v") == [3 / 7, 1.0, 3 / 7, 1 / 7, None]
    assert made(function="running_mean", column="v") == [3.0, 1.0, 3.0, 7 / 3, 1.0]


def test_groups_come_in_the_order_of_their_first_rows() -> None:
    table = Rows([("g", S), ("v", N)], [["b", 1.0], ["a", 2.0], ["b", 4.0], [None, 7.0]])
    functions = ["sum", "avg", "count", "min", "max", "first", "last", "median", "count_distinct", "join"]
    step = {"operation": "group_by", "by": ["g"], "aggregations": [
        {"function": f, "column": "v", "as": f} for f in functions]}  # fmt: skip
    assert run(table, [step]).rows == [
        ["b", 5.0, 2.5, 2, 1.0, 4.0, 1.0, 4.0, 2.5, 2, "1, 4"],
        ["a", 2.0, 2.0, 1, 2.0, 2.0, 2.0, 2.0, 2.0, 1, "2"],
        [None, 7.0, 7.0, 1, 7.0, 7.0, 7.0, 7.0, 7.0, 1, "7"],
    ]
    nothing = run(Rows(table.columns, []), [{"operation": "group", "aggregates": [{"function": "count"}]}])
    assert nothing.rows == [[0]]


def test_a_sum_beyond_64_bits_says_so() -> None:
    step = {"operation": "group", "aggregates": [{"function": "sum", "column": "a"}]}
    with pytest.raises(StepError, match="beyond 64 bits"):
        run(one(W, 2**62, 2**62), [step])


@pytest.mark.parametrize(
    ("part", "expected"),
    [("year", 2024), ("month", 12), ("day", 30), ("quarter", 4), ("week", 1), ("weekday", 1), ("day_of_year", 365),
     ("month_name", "December"), ("weekday_name", "Monday"), ("year_month", "2024-12"), ("hour", 0)],
)  # fmt: skip
def test_parts_of_dates(part: str, expected: Any) -> None:
    found = run(one(D, "2024-12-30", None), [{"operation": "date_part", "column": "a", "part": part}])
    assert found.cells(f"a_{part}") == [expected, None]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("DD.MM.YYYY", "05.03.2024"), ("D MMMM YYYY", "5 March 2024"), ("dddd [at] h A", "Tuesday at 2 PM"),
     ("%Y/%m/%d", "2024/03/05"), ("HH:mm:ss", "14:07:09")],
)  # fmt: skip
def test_dates_are_written_in_any_form(form: str, expected: str) -> None:
    table = one("datetime", "2024-03-05T14:07:09", None)
    assert column("a", table, operation="format_date", columns=["a"], format=form) == [expected, None]


def test_names_are_cleaned_and_stay_different() -> None:
    names = ["Unit Price ($)", "unitPrice", "Größe %", "  ", "a-b", "a b"]
    table = Rows([(n, S) for n in names], [["x"] * 6])
    assert run(table, [{"operation": "clean_names"}]).names == [
        "unit_price", "unit_price_2", "grosse_percent", "column_4", "a_b", "a_b_2"]  # fmt: skip


def test_the_first_row_becomes_the_header() -> None:
    table = Rows([("c1", S), ("c2", S)], [["id", "name "], ["1", "x"]])
    found = run(table, [{"operation": "promote_header"}, {"operation": "uppercase", "columns": ["name"]}])
    assert (found.names, found.rows) == (["id", "name"], [["1", "X"]])


def test_empty_columns_go() -> None:
    table = Rows([("a", S), ("b", S), ("c", W)], [["x", " ", None], [None, "", None]])
    assert run(table, [{"operation": "remove_empty_columns"}]).names == ["a"]
    assert run(table, [{"operation": "remove_empty_columns", "whitespace": False}]).names == ["a", "b"]


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order() -> None:
    table = one(W, *range(500))
    first, again, other = (column("a", table, operation="sample", count=20, seed=s) for s in (1, 1, 2))
    assert first == again == sorted(first) and len(set(first)) == 20 and other != first
    tenth = column("a", table, operation="sample", fraction=0.5, seed=3)
    assert 150 < len(tenth) < 350 and tenth == sorted(tenth)


def test_rounding_is_of_the_number_as_it_is_written() -> None:
    table = one(N, 2.675, -2.5, 3, None, 1e300)
    assert column("a", table, operation="round", columns=["a"], decimals=2) == [2.68, -2.5, 3, None, 1e300]
    assert column("a", table, operation="round", columns=["a"], direction="up") == [3.0, -2.0, 3, None, 1e300]


def test_ranges_by_limits_and_by_width() -> None:
    table = one(N, 5, 18, 64.9, 65, None)
    step = {"operation": "bin", "column": "a", "newColumn": "r"}
    assert column("r", table, **step, limits=[18, 65]) == ["< 18", "18 to < 65", "18 to < 65", ">= 65", None]
    assert column("r", table, **step, limits=[18], labels=["young", "old"]) == [
        "young",
        "old",
        "old",
        "old",
        None,
    ]
    assert column("r", table, **step, width=10) == [0.0, 10.0, 60.0, 60.0, None]


def test_a_join_of_unlike_types_compares_their_text() -> None:
    left = Rows([("id", W)], [[1], [2], [None]])
    right = Rows([("key", S), ("v", S)], [["1", "a"], ["1", "b"], ["x", "c"]])
    step = {"operation": "join", "table": "r", "on": {"id": "key"}}
    assert run(left, [step], {"r": right}).rows == [[1, "a"], [1, "b"]]
    assert run(left, [step | {"kind": "left"}], {"r": right}).rows == [
        [1, "a"],
        [1, "b"],
        [2, None],
        [None, None],
    ]
    found = run(right, [{"operation": "lookup", "table": "l", "on": [{"left": "key", "right": "id"}], "columns": ["id"]}],
                {"l": left})  # fmt: skip
    assert found.cells("id") == [1, 1, None]


def test_decimals_of_a_column_are_kept_where_cells_become_text() -> None:
    plan = compile_pipeline(
        parse_steps([{"operation": "cast_column", "column": "a", "targetType": "string"}]),
        Table("d", (Field("a", "number", 2),)),
    )
    assert "%.2f" in plan.sql()[0]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_works_on_no_rows(operation: str) -> None:
    """The examples of the reference, on a table that has their columns and no rows."""
    kinds = {
        "amount": N,
        "age": N,
        "price": N,
        "quantity": N,
        "date": D,
        "q1": N,
        "q2": N,
        "q3": N,
        "born": S,
    }
    names = ["name", "city", "email", "note", "code", "zip", "nm", "amount", "age", "price", "quantity", "date", "q1",
             "q2", "q3", "born", "first", "last", "mobile", "phone", "region", "tags", "quarter"]  # fmt: skip
    example = dict(OPERATIONS[operation].example)
    price = {"price": S} if operation == "parse_number" else {}
    made = {example.get("newColumn"), *example.get("newColumns", ())}
    table = Rows([(n, (kinds | price).get(n, S)) for n in names if n not in made], [])
    tables = {n: Rows([("name", S), ("city", S), ("country", S)], []) for n in ("cities", "archive")}
    if operation == "join":
        example["prefix"] = "c "
    if operation in ("promote_header", "remove_empty_columns"):
        with pytest.raises(StepError):
            run(table, [example])
    else:
        run(table, [example], tables)
