"""Pipelines and DuckDB agree: the same steps, translated on their own into DuckDB's SQL, give the same rows.

Where the two differ by nature the translation pins what a step promises: white space of Unicode is trimmed, a
text converts as a whole or not at all, NULL sorts last, and rows have an order (`rid`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipelines import Rows, run

TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "date": "VARCHAR", "boolean": "BIGINT"}
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


def q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def lit(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def stripped(name: str) -> str:
    return f"regexp_replace({q(name)}, '^[\\s\\x{{a0}}\\x{{2003}}]+|[\\s\\x{{a0}}\\x{{2003}}]+$', '', 'g')"


class Duck:
    """Steps as views over views, each with the columns of the step before."""

    def __init__(self, table: Rows) -> None:
        self.db = duckdb.connect()
        self.kinds = dict(table.columns)
        self.views = 0
        listed = ", ".join(f"{q(n)} {TYPES[k]}" for n, k in table.columns)
        self.db.execute(f"CREATE TABLE v0 (rid BIGINT, {listed})")
        marks = ", ".join("?" * (len(table.columns) + 1))
        for i, row in enumerate(table.rows, 1):
            self.db.execute(f"INSERT INTO v0 VALUES ({marks})", [i, *row])

    def rows(self) -> list[list[Any]]:
        names = ", ".join(map(q, self.kinds))
        return [
            list(r) for r in self.db.execute(f"SELECT {names} FROM v{self.views} ORDER BY rid").fetchall()
        ]

    def apply(self, step: Mapping[str, Any]) -> None:
        sql = getattr(self, "_" + step["operation"])(step)
        self.views += 1
        self.db.execute(f"CREATE TABLE v{self.views} AS {sql}")

    @property
    def last(self) -> str:
        return f"v{self.views}"

    def _with(self, made: Mapping[str, str], where: str = "") -> str:
        cells = [f"{made.get(n, q(n))} AS {q(n)}" for n in self.kinds]
        cells += [f"{sql} AS {q(n)}" for n, sql in made.items() if n not in self.kinds]
        return f"SELECT rid, {', '.join(cells)} FROM {self.last} {where}"

    def _trim(self, step: Mapping[str, Any]) -> str:
        return self._with({n: stripped(n) for n in step["columns"]})

    def _uppercase(self, step: Mapping[str, Any]) -> str:
        return self._with({n: f"upper({q(n)})" for n in step["columns"]})

    def _lowercase(self, step: Mapping[str, Any]) -> str:
        return self._with({n: f"lower({q(n)})" for n in step["columns"]})

    def _filter(self, step: Mapping[str, Any]) -> str:
        signs = {"equals": "=", "not_equals": "<>", "greater_than": ">", "less_than": "<"}
        cell, operator, value = q(step["column"]), step["operator"], step.get("value")
        if operator == "is_empty":
            text = self.kinds[step["column"]] == "string"
            met = f"coalesce({cell}, '') = ''" if text else f"{cell} IS NULL"
        elif operator == "contains":
            met = f"contains({cell}, {lit(value)})"
        else:
            met = f"{cell} {signs[operator]} {lit(value)}"
        keep = step.get("mode", "keep") == "keep"
        return f"SELECT * FROM {self.last} WHERE coalesce({met}, false) = {str(keep).lower()}"

    def _cast_column(self, step: Mapping[str, Any]) -> str:
        name = step["column"]
        cell = stripped(name)
        cast = f"CASE WHEN regexp_full_match({cell}, {lit(NUMBER)}) THEN TRY_CAST({cell} AS DOUBLE) END"
        finite = f"CASE WHEN isfinite({cast}) THEN {cast} END"
        where = (
            f"WHERE {finite} IS NOT NULL OR coalesce({cell}, '') = ''" if step["onError"] == "skip" else ""
        )
        sql = self._with({name: finite}, where)
        self.kinds[name] = "number"
        return sql

    def _fill_down(self, step: Mapping[str, Any]) -> str:
        return self._with(
            {
                n: f"last_value({'nullif(' + q(n) + chr(44) + ' chr(0))' if self.kinds[n] != 'string' else 'nullif(' + q(n) + chr(44) + chr(39) * 2 + ')'}"
                " IGNORE NULLS) OVER (ORDER BY rid ROWS UNBOUNDED PRECEDING)"
                for n in step["columns"]
            }
        )

    def _split_column(self, step: Mapping[str, Any]) -> str:
        name, names, mark = step["column"], step["newColumns"], lit(step["delimiter"])
        made = {}
        for i, new in enumerate(names):
            part = f"list_slice(string_split({q(name)}, {mark}), {i + 1}, {i + 1 if i + 1 < len(names) else 9999})"
            joined = f"CASE WHEN len({part}) > 0 THEN array_to_string({part}, {mark}) END"
            made[new] = (
                f"regexp_replace({joined}, '^[\\s\\x{{a0}}\\x{{2003}}]+|[\\s\\x{{a0}}\\x{{2003}}]+$', '', 'g')"
            )
        kinds: dict[str, str] = {}
        for n, kind in self.kinds.items():
            kinds |= dict.fromkeys(names, "string") if n == name else {n: kind}
        cells = [f"{made.get(n, q(n))} AS {q(n)}" for n in kinds]
        self.kinds = kinds
        return f"SELECT rid, {', '.join(cells)} FROM {self.last}"

    def _merge_columns(self, step: Mapping[str, Any]) -> str:
        texts = ", ".join(f"nullif({q(n)}, '')" for n in step["columns"])
        merged = f"nullif(concat_ws({lit(step['separator'])}, {texts}), '')"
        sql = self._with({step["newColumn"]: merged})
        self.kinds[step["newColumn"]] = "string"
        return sql

    def _deduplicate(self, step: Mapping[str, Any]) -> str:
        keys = ", ".join(map(q, step.get("columns") or self.kinds))
        return f"SELECT * FROM {self.last} QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY rid) = 1"

    def _sort(self, step: Mapping[str, Any]) -> str:
        keys = ", ".join(f"{q(k['name'])} {k['direction']} NULLS LAST" for k in step["columns"])
        names = ", ".join(map(q, self.kinds))
        return f"SELECT row_number() OVER (ORDER BY {keys}, rid) AS rid, {names} FROM {self.last}"

    def _remove_column(self, step: Mapping[str, Any]) -> str:
        for name in step["columns"]:
            del self.kinds[name]
        return self._with({})

    def _limit(self, step: Mapping[str, Any]) -> str:
        return f"SELECT * FROM {self.last} ORDER BY rid LIMIT {step['count']}"

    def _unpivot(self, step: Mapping[str, Any]) -> str:
        ids, turned = step["idColumns"], step["valueColumns"]
        kept = "".join(f", {q(n)}" for n in ids)
        halves = [
            f"SELECT rid * {len(turned)} + {i} AS rid{kept}, {lit(n)} AS {q(step['variableColumnName'])}, "
            f"{q(n)} AS {q(step['valueColumnName'])} FROM {self.last}"
            for i, n in enumerate(turned)
        ]
        self.kinds = {n: self.kinds[n] for n in ids}
        self.kinds |= {step["variableColumnName"]: "string", step["valueColumnName"]: "string"}
        return " UNION ALL ".join(halves)

    def _group(self, step: Mapping[str, Any]) -> str:
        keys = ", ".join(map(q, step["columns"]))
        names = {"mean": "avg", "count": "count"}
        made, kinds = [], {n: self.kinds[n] for n in step["columns"]}
        for a in step["aggregates"]:
            cell = q(a["column"])
            if self.kinds[a["column"]] == "string":
                cell = f"nullif({cell}, '')"
            sql = f"{names.get(a['function'], a['function'])}({cell})"
            if a["function"] in ("first", "last"):
                sql = f"{a['function']}({cell} ORDER BY rid) FILTER ({cell} IS NOT NULL)"
            if a["function"] == "count_distinct":
                sql = f"count(DISTINCT {cell})"
            made.append(f"{sql} AS {q(a['newColumn'])}")
            kinds[a["newColumn"]] = "number"
        sql = f"SELECT min(rid) AS rid, {keys}, {', '.join(made)} FROM {self.last} GROUP BY {keys}"
        self.kinds = kinds
        return sql

    def _pivot(self, step: Mapping[str, Any]) -> str:
        index, by, value = step["indexColumns"][0], step["columnSource"], step["valueSource"]
        heads = [
            r[0]
            for r in self.db.execute(
                f"SELECT DISTINCT {q(by)} FROM {self.last} WHERE {q(by)} IS NOT NULL ORDER BY 1"
            ).fetchall()
        ]
        blank = iter(("(empty)", "(empty)_2"))
        names = [h if h.strip() else next(blank) for h in heads]
        made = ", ".join(
            f"{step['aggregation']}({q(value)}) FILTER ({q(by)} = {lit(h)}) AS {q(name)}"
            for h, name in zip(heads, names, strict=True)
        )
        kind = self.kinds[value]
        self.kinds = {index: self.kinds[index]} | dict.fromkeys(names, kind)
        listed = f", {made}" if made else ""
        return f"SELECT min(rid) AS rid, {q(index)}{listed} FROM {self.last} GROUP BY {q(index)}"


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return bool(a == b)


def agree(table: Rows, steps: list[Mapping[str, Any]]) -> None:
    duck = Duck(table)
    with closing(duck.db):
        for step in steps:
            duck.apply(step)
        expected = duck.rows()
        names = list(duck.kinds)
    found = run(table, steps)
    assert found.names == names
    assert len(found.rows) == len(expected)
    for n, (a, b) in enumerate(zip(found.rows, expected, strict=True)):
        assert all(map(alike, a, b)), f"row {n}: {a} and not {b}"


WORDS = st.sampled_from(
    ["", " ", "ann", " Bob ", "Zoë", "ЯНА", "a b", "a  b", "a b c d", "b a", "\u00a0x\u2003", "12", "0.5", " 7 ", "-3",
     "1e3", "12abc", "x,y", "%", "_"]
)  # fmt: skip
ROW = st.tuples(
    st.one_of(st.none(), WORDS),
    st.one_of(st.none(), WORDS),
    st.one_of(st.none(), st.integers(-5, 5)),
    st.one_of(st.none(), st.sampled_from([0.5, 1.0, -2.25, 1e6])),
).map(list)
COLUMNS = [("a", "string"), ("b", "string"), ("n", "integer"), ("x", "number")]
STEP = st.sampled_from(
    [
        {"operation": "trim", "columns": ["a", "b"]},
        {"operation": "uppercase", "columns": ["a"]},
        {"operation": "lowercase", "columns": ["b"]},
        {"operation": "filter", "column": "n", "operator": "greater_than", "value": 0},
        {"operation": "filter", "column": "x", "operator": "not_equals", "value": 1.0, "mode": "remove"},
        {"operation": "filter", "column": "a", "operator": "contains", "value": "%"},
        {"operation": "filter", "column": "b", "operator": "is_empty", "mode": "remove"},
        {"operation": "filter", "column": "b", "operator": "less_than", "value": "b"},
        {"operation": "cast_column", "column": "a", "targetType": "number", "onError": "null"},
        {"operation": "cast_column", "column": "b", "targetType": "number", "onError": "skip"},
        {"operation": "fill_down", "columns": ["b"]},
        {"operation": "split_column", "column": "b", "delimiter": " ", "newColumns": ["b", "rest"]},
        {"operation": "merge_columns", "columns": ["a", "b"], "newColumn": "ab", "separator": "-", "keepOriginal": True},
        {"operation": "deduplicate", "columns": ["a", "n"]},
        {"operation": "deduplicate"},
        {"operation": "sort", "columns": [{"name": "x", "direction": "desc"}, {"name": "n", "direction": "asc"}]},
        {"operation": "sort", "columns": [{"name": "b", "direction": "asc"}]},
        {"operation": "limit", "count": 7},
        {"operation": "unpivot", "idColumns": ["n"], "valueColumns": ["a", "b"], "variableColumnName": "k",
         "valueColumnName": "v"},
        {"operation": "group", "columns": ["b"], "aggregates": [
            {"function": "sum", "column": "n", "newColumn": "s"}, {"function": "mean", "column": "x", "newColumn": "m"},
            {"function": "first", "column": "a", "newColumn": "f"},
            {"function": "count_distinct", "column": "a", "newColumn": "d"}]},
        {"operation": "pivot", "indexColumns": ["n"], "columnSource": "b", "valueSource": "x", "aggregation": "sum"},
    ]
)  # fmt: skip


def fits(steps: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out the steps whose columns an earlier one took away or changed the type of."""
    names, kinds, kept = {"a", "b", "n", "x"}, dict(COLUMNS), []
    for step in steps:
        used = {*step.get("columns", ())} if step["operation"] not in ("sort", "group") else set()
        if step["operation"] == "sort":
            used = {k["name"] for k in step["columns"]}
        if step["operation"] == "deduplicate" and not used:
            used = set()
        if step["operation"] in ("unpivot", "group", "pivot"):
            used = {"a", "b", "n", "x"}
        used |= {step["column"]} if "column" in step else set()
        changes_text = step["operation"] not in ("sort", "deduplicate", "limit", "fill_down")
        texts = {n for n in used & {"a", "b"} if kinds.get(n) != "string"}
        made = {step["newColumn"]} if "newColumn" in step else {*step.get("newColumns", ())} - {"b"}
        if (
            used - names
            or (changes_text and texts)
            or (texts and step["operation"] == "fill_down")
            or made & names
        ):
            continue
        kept.append(step)
        names |= made
        if step["operation"] == "cast_column":
            kinds[step["column"]] = "number"
        if step["operation"] in ("unpivot", "group", "pivot"):
            break
    return kept


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=14), st.lists(STEP, min_size=1, max_size=7))
def test_a_pipeline_gives_what_duckdb_gives(rows: list[list[Any]], steps: list[Mapping[str, Any]]) -> None:
    """Random rows and steps, in DuckDB's SQL and in ours."""
    agree(Rows(COLUMNS, rows), fits(steps))


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_steps_over_many_rows_give_what_duckdb_gives(seed: int) -> None:
    """The ten steps of the benchmark, over rows enough for stages and sorters to matter."""
    chance = random.Random(seed)
    names = ["Ann Lee", " Bob  May ", "Zoë Kay", "solo", "", None]
    rows = [
        [chance.choice(names), chance.choice(["Rome", "", None, "Oslo", "Łódź"]), chance.choice([None, 1, 2, 3]),
         round(chance.random() * 100, 2), chance.choice(["12.50", "7", "x", "", "1e2", "-4"])]
        for _ in range(3_000)
    ]  # fmt: skip
    columns = [
        ("name", "string"),
        ("city", "string"),
        ("n", "integer"),
        ("x", "number"),
        ("amount", "string"),
    ]
    steps: list[Mapping[str, Any]] = [
        {"operation": "trim", "columns": ["name", "city"]},
        {"operation": "uppercase", "columns": ["city"]},
        {"operation": "lowercase", "columns": ["name"]},
        {"operation": "cast_column", "column": "amount", "targetType": "number", "onError": "null"},
        {"operation": "fill_down", "columns": ["city"]},
        {"operation": "filter", "column": "x", "operator": "greater_than", "value": 20},
        {"operation": "split_column", "column": "name", "delimiter": " ", "newColumns": ["first", "last"]},
        {"operation": "merge_columns", "columns": ["last", "first"], "newColumn": "full", "separator": ", ",
         "keepOriginal": True},
        {"operation": "deduplicate", "columns": ["full", "city", "n", "amount"]},
        {"operation": "sort", "columns": [{"name": "amount", "direction": "desc"}, {"name": "x", "direction": "asc"}]},
        {"operation": "remove_column", "columns": ["first", "last"]},
    ]  # fmt: skip
    agree(Rows(columns, rows), steps)
