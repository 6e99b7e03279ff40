"""Statements of several levels give the rows of their steps, whatever the levels pass on and what they leave out."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.project.pipeline import Field, Table
from actors.project.pipeline.cells import call
from actors.project.pipeline.compile import unresolved
from actors.project.pipeline.draft import Draft
from actors.project.pipeline.engine import RunningEngine
from tests.pipelines import Rows, by_rows, run

_CHANCE = random.Random(5)
_CODES = ["1", "22", "x", "", None]
WIDE = Rows(
    [("code", "string"), ("group", "string"), *((f"n{i}", "integer") for i in range(8)), ("text", "string")],
    [
        [
            _CHANCE.choice(_CODES),
            _CHANCE.choice([" a", "b ", "", None]),
            *(i * _CHANCE.randrange(9) for i in range(8)),
            f"t{row}",
        ]
        for row in range(60)
    ],
)
CAST = {"operation": "cast_column", "column": "code", "targetType": "integer", "onError": "skip"}
FILL = {"operation": "fill_down", "columns": ["group"]}
FILTER = {"operation": "filter", "column": "n5", "operator": "greater_than", "value": 10}
SORT = {"operation": "sort", "columns": [{"name": "n7", "direction": "desc"}]}
LATE = {"operation": "cast_column", "column": "text", "targetType": "integer", "onError": "null"}


@pytest.mark.parametrize(
    "steps",
    [
        [CAST, FILL],
        [CAST, FILL, FILTER],
        [FILTER, CAST, FILL, LATE],
        [CAST, FILL, FILTER, SORT],
        [SORT, CAST, FILL],
        [CAST, {"operation": "fill_up", "columns": ["group"]}, FILTER],
        [CAST, FILL, FILTER, {"operation": "rename_column", "oldName": "n3", "newName": "three"}],
        [CAST, FILL, {"operation": "remove_column", "columns": ["n1", "code"]}, FILTER],
        [FILL, {"operation": "limit", "count": 9, "offset": 4}, FILTER, SORT],
        [CAST, {"operation": "deduplicate", "columns": ["group", "n1"]}, CAST, FILL, SORT],
    ],
    ids=lambda steps: "-".join(s["operation"] for s in steps),
)
def test_columns_that_no_step_changes_keep_their_rows(steps: list[dict[str, Any]]) -> None:
    """Rows, their order and the cells that were counted are those of a loop over rows."""
    found, expected = run(WIDE, steps), by_rows(WIDE, steps)
    assert (found.names, found.rows, found.lost) == (expected.names, expected.rows, expected.lost)


def test_a_column_that_no_step_changes_is_not_copied_through_the_levels(tmp_path: Path) -> None:
    """It is read by the number of its row, where it lies; a column that was changed passes all levels."""
    fields = tuple(Field(f"col {i}") for i in range(9))
    with closing(RunningEngine(None, lambda report: None, tmp_path / "scratch")) as engine:
        engine.connection.execute(
            f"CREATE TABLE t (row_id INTEGER PRIMARY KEY, {', '.join(f'c{i}' for i in range(9))})"
        )
        engine.connection.executemany(
            f"INSERT INTO t VALUES ({', '.join('?' * 10)})", [[n, *range(n, n + 9)] for n in (1, 3, 4)]
        )
        draft = Draft(Table("t", fields, "main"), engine=engine, resolve=unresolved)
        draft.replace("col 2", call("abs", draft.take("col 2").expr))
        draft.push()
        draft.push()
        statement = draft.statement()
        levels = statement.args["with_"].expressions
        assert [[e.alias for e in level.this.expressions] for level in levels] == [["row_id", "c2"]] * 2
        assert engine.first_rows(statement, draft.value, 9) == [list(range(n, n + 9)) for n in (1, 3, 4)]


@pytest.mark.parametrize("width", [1, 2, 63, 64, 70, 1_200])
def test_rows_of_any_width_are_found_alike(width: int) -> None:
    """Comparing all columns of a wide table neither reaches SQLite's bounds nor misses a column."""
    rows: list[list[Any]] = [
        [0] * width,
        [None] * width,
        [*[0] * (width - 1), 1],
        [0] * width,
        [None] * width,
    ]
    table = Rows([(f"a{i}", "integer") for i in range(width)], rows)
    assert run(table, [{"operation": "deduplicate"}]).rows == rows[:3]


def test_a_number_is_alike_whether_it_has_decimals_or_not() -> None:
    """1 and 1.0, 0.0 and -0.0 are one number; a text is none."""
    table = Rows(
        [("a", "number"), ("b", "string")], [[1, "1"], [1.0, "1"], [0.0, ""], [-0.0, ""], [1, "1.0"]]
    )
    assert run(table, [{"operation": "deduplicate"}]).rows == [[1, "1"], [0.0, ""], [1, "1.0"]]
