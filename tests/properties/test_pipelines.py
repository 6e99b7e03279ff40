"""Pipelines over random tables: the engine gives what plain rows in Python give, and what DuckDB gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipelines import Rows, by_rows, look, run

KINDS = ("string", "string", "integer", "number", "boolean", "date")
TEXTS = st.sampled_from(
    ["", " ", "a", "A", " a ", "ä", "Ä", "straße", "ǆ", "İstanbul", "\u00a0x\u2003", "x\ty", "a,b", "a, b ,c", ",",
     "007", "12", "-5", "+3", "1e5", "1_0", "٣", "0.1", ".5", "5.", " 3 ", "9223372036854775807",
     "9223372036854775808", "123456789012345678901234567890", "1.7976931348623157e309", "true", "No", "2024-02-29",
     "2023-02-30", "2024-2-1", "日本語", "🙂 ok", "it's", '"q"', "%", "_", "*", "[a]", "x" * 40, "NULL"]
)  # fmt: skip
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.one_of(TEXTS, TEXTS, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)),
    "integer": st.one_of(st.integers(-3, 3), st.sampled_from([2**53, -(2**53), 10**15])),
    "number": st.one_of(
        st.sampled_from([0.0, 0.1, 0.5, 1.0, -2.5, 48.3, 1e15, 1e16, 1e-7, 123456.789, 1e300]),
        st.integers(-3, 3),
    ),
    "boolean": st.integers(0, 1),
    "date": st.dates().map(lambda d: d.isoformat()),
}


@st.composite
def tables(draw: st.DrawFn, least: int = 2) -> Rows:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=least, max_size=5))
    columns = [(f"col {i}", kind) for i, kind in enumerate(kinds)]
    row = st.tuples(*(st.one_of(st.none(), CELLS[k], CELLS[k], CELLS[k]) for k in kinds)).map(list)
    rows = draw(st.lists(row, min_size=3, max_size=10))
    # Some rows come twice, so that there is something to group, join and make single.
    again = draw(st.lists(st.sampled_from(rows), max_size=4)) if rows else []
    return Rows(columns, rows + [list(r) for r in again])


class _Writer:
    """Writes steps that fit the columns of a table."""

    def __init__(self, draw: st.DrawFn, table: Rows, other: Rows) -> None:
        self.draw, self.table, self.other = draw, table, other
        self.made = 0

    def one(self) -> Mapping[str, Any] | None:
        writers = [self._shape] * 4 + [self._rows] * 4 + [self._across] * 3 + [self._cast] * 2
        if any(kind == "string" for _, kind in self.table.columns):
            writers += [self._text] * 2 + [self._split] * 2
        writers += [self._order, self._columns, self._columns, self._other, self._other, self._filter]
        return self.draw(st.sampled_from(writers))()

    def name(self, *kinds: str) -> str:
        return self.draw(st.sampled_from([n for n, k in self.table.columns if not kinds or k in kinds]))

    def names(self, least: int = 1) -> list[str]:
        return self.draw(st.lists(st.sampled_from(self.table.names), min_size=least, max_size=4, unique=True))

    def new(self) -> str:
        self.made += 1
        return f"new {self.made}"

    def _text(self) -> Mapping[str, Any]:
        operation = self.draw(st.sampled_from(["trim", "uppercase", "lowercase", "collapse_whitespace"]))
        return {"operation": operation, "columns": [self.name("string")]}

    def _filter(self) -> Mapping[str, Any]:
        name = self.name()
        kind = self.table.kind(name)
        mode = self.draw(st.sampled_from(["keep", "remove"]))
        operators = ["is_empty", "is_not_empty", "equals", "not_equals", "greater_than", "less_than_or_equal", "in",
                     "between"]  # fmt: skip
        if kind == "string":
            operators += ["contains", "not_contains", "starts_with", "ends_with"]
        operator = self.draw(st.sampled_from(operators))
        value: Any = None
        if operator in ("in", "between"):
            value = self.draw(st.lists(CELLS[kind], min_size=2, max_size=2))
        elif not operator.startswith("is"):
            numeric = kind == "string" and operator in ("equals", "greater_than") and self.draw(st.booleans())
            value = self.draw(CELLS["number" if numeric else kind])
        return {"operation": "filter", "column": name, "operator": operator, "value": value, "mode": mode}

    def _columns(self) -> Mapping[str, Any]:
        kind = self.draw(st.sampled_from(["rename_column", "remove_column", "select_columns", "row_number"]))
        if kind == "rename_column":
            return {"operation": kind, "oldName": self.name(), "newName": self.new()}
        if kind == "row_number":
            return {"operation": kind, "newColumn": self.new()}
        names = self.names()
        if kind == "remove_column" and len(names) == len(self.table.columns):
            kind = "select_columns"
        return {"operation": kind, "columns": names}

    def _order(self) -> Mapping[str, Any]:
        keys = [
            {"name": n, "direction": self.draw(st.sampled_from(["asc", "desc"]))} for n in self.names()[:2]
        ]
        return {
            "operation": "sort",
            "columns": keys,
            "nullsPosition": self.draw(st.sampled_from(["first", "last"])),
        }

    def _rows(self) -> Mapping[str, Any]:
        kind = self.draw(st.sampled_from(["deduplicate", "deduplicate", "limit", "skip", "fill_down", "fill_up",
                                          "remove_empty_rows"]))  # fmt: skip
        if kind == "limit":
            return {
                "operation": kind,
                "count": self.draw(st.integers(0, 9)),
                "offset": self.draw(st.integers(0, 2)),
            }
        if kind == "skip":
            return {"operation": kind, "count": self.draw(st.integers(0, 3))}
        if kind == "remove_empty_rows":
            return {"operation": kind}
        return {"operation": kind, "columns": self.names()}

    def _cast(self) -> Mapping[str, Any]:
        name = self.name()
        targets = {
            "string": ["integer", "number", "boolean", "date", "string"],
            "integer": ["number", "boolean"],
            "number": ["integer", "string", "boolean"],
            "boolean": ["string", "integer"],
            "date": ["string"],
        }
        target = self.draw(st.sampled_from(targets[self.table.kind(name)]))
        on_error = self.draw(st.sampled_from(["null", "skip"]))
        return {"operation": "cast_column", "column": name, "targetType": target, "onError": on_error}

    def _split(self) -> Mapping[str, Any]:
        if self.draw(st.booleans()):
            return {"operation": "split_to_rows", "column": self.name("string"), "delimiter": ","}
        names = [self.new() for _ in range(self.draw(st.integers(1, 3)))]
        return {
            "operation": "split_column",
            "column": self.name("string"),
            "delimiter": ",",
            "newColumns": names,
        }

    def _across(self) -> Mapping[str, Any] | None:
        names = self.names(2) if len(self.table.columns) > 1 else self.names()
        kind = self.draw(st.sampled_from(["merge_columns", "fill_across", "coalesce"]))
        if kind == "merge_columns":
            return {"operation": kind, "columns": names, "newColumn": self.new(), "separator": ", ",
                    "skipNulls": self.draw(st.booleans()), "keepOriginal": True}  # fmt: skip
        if kind == "coalesce":
            return {"operation": kind, "columns": names, "newColumn": self.new()}
        return {"operation": kind, "columns": names} if len(names) > 1 else None

    def _shape(self) -> Mapping[str, Any] | None:
        kind = self.draw(st.sampled_from(["unpivot", "group", "group", "pivot", "window"]))
        numeric = [n for n, k in self.table.columns if k in ("integer", "number", "boolean")]
        if kind == "unpivot":
            names = self.names()
            ids = [n for n in self.table.names if n not in names]
            return {"operation": kind, "idColumns": ids, "valueColumns": names, "variableColumnName": self.new(),
                    "valueColumnName": self.new()}  # fmt: skip
        functions = ["count", "count_rows", "count_distinct", "min", "max", "first", "last", "join"]
        if kind == "window":
            plain = [n for n in numeric if self.table.kind(n) != "boolean"]
            function = self.draw(
                st.sampled_from(["lag", "row_number", *(["running_total"] if plain else [])])
            )
            column = self.draw(st.sampled_from(plain)) if function == "running_total" else self.name()
            return {"operation": kind, "function": function, "column": column, "newColumn": self.new(),
                    "partitionBy": self.names()[:1]}  # fmt: skip
        if kind == "pivot":
            rest = list(self.table.names)
            if len(rest) < 3:
                return None
            index, by, value = self.draw(st.permutations(rest))[:3]
            return {"operation": kind, "indexColumns": [index], "columnSource": by, "valueSource": value,
                    "aggregation": self.draw(st.sampled_from(["count", "min", "first", "last"]))}  # fmt: skip
        column = self.name()
        if column in numeric:
            functions += ["sum", "mean", "median"]
        function = self.draw(st.sampled_from(functions))
        keys = self.names()[: self.draw(st.integers(0, 2))]
        return {"operation": "group", "columns": keys,
                "aggregates": [{"function": function, "column": column, "newColumn": self.new()}]}  # fmt: skip

    def _other(self) -> Mapping[str, Any]:
        kind = self.draw(st.sampled_from(["union", "join", "lookup"]))
        if kind == "union":
            return {"operation": kind, "table": "other"}
        step = {"operation": kind, "table": "other", "prefix": self.new() + " ",
                "on": [{"left": self.name(), "right": self.draw(st.sampled_from(self.other.names))}]}  # fmt: skip
        return step | ({"kind": self.draw(st.sampled_from(["inner", "left"]))} if kind == "join" else {})


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Rows, Rows, list[Mapping[str, Any]], Rows]:
    """A table, another one, steps that fit, and what plain rows make of them."""
    table, other = draw(tables()), draw(tables())
    steps: list[Mapping[str, Any]] = []
    expected = by_rows(table, [])
    for _ in range(draw(st.integers(1, 6))):
        writer = _Writer(draw, expected, other)
        writer.made = 10 * len(steps)
        step = writer.one()
        if step is None:
            continue
        after = by_rows(expected, [step], {"other": other})
        if len(after.rows) > 200 or len(after.columns) > 12 or len(set(after.names)) < len(after.names):
            continue
        if not after.rows and draw(st.integers(0, 9)):
            continue
        steps.append(step)
        expected = Rows(after.columns, after.rows, after.lost + expected.lost)
    return table, other, steps, expected


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return type(a) is type(b) and bool(a == b)


def same(found: Rows, expected: Rows) -> None:
    assert found.names == expected.names
    assert len(found.rows) == len(expected.rows), (found.rows, expected.rows)
    for n, (a, b) in enumerate(zip(found.rows, expected.rows, strict=True)):
        assert all(map(alike, a, b)), f"row {n}: {a} and not {b}"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines())
def test_a_pipeline_gives_what_plain_rows_give(
    case: tuple[Rows, Rows, list[Mapping[str, Any]], Rows],
) -> None:
    """Rows, their order, names of columns and counts of warnings are those of a loop over rows."""
    table, other, steps, expected = case
    found = run(table, steps, {"other": other})
    same(found, expected)
    assert found.lost == expected.lost


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines(), st.integers(0, 6))
def test_a_preview_shows_the_first_rows_of_the_result(
    case: tuple[Rows, Rows, list[Mapping[str, Any]], Rows], upto: int
) -> None:
    """Up to any step, and again from what was kept, the rows are the first ones of the same steps run whole."""
    table, _, steps, _ = case
    alone = [s for s in steps if s["operation"] not in ("join", "lookup", "union")]
    chosen: list[Mapping[str, Any]] = []
    for step in alone:
        try:
            by_rows(table, [*chosen, step])
        except (ValueError, KeyError):
            continue
        chosen.append(step)
    upto = min(upto, len(chosen))
    shown = look(table, chosen, up_to=upto, limit=5)
    whole = run(table, chosen[:upto])
    assert shown.names == whole.names
    assert all(all(map(alike, a, b)) for a, b in zip(shown.rows, whole.rows[:5], strict=True))
