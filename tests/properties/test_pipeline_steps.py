"""Whatever a step says, it works or says why: steps made from the schemas of all operations, run on one table."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.project.pipeline import parse_steps
from actors.project.pipeline.operations import OPERATIONS
from runtime.errors import DuraliteError
from tests.pipelines import Rows, run

TABLE = Rows(
    [("a", "string"), ("b", "integer"), ("c", "number"), ("d", "date"), ("e", "boolean"), ("f", "datetime")],
    [["x,1", 1, 0.5, "2024-01-31", 1, "2024-01-31T10:00:00"], [None] * 6,
     [" Ä ", -3, 1e16, "2023-12-31", 0, "2024-01-31 10:00"], ["12.5", 2**53, -2, "2024-02-29", None, None]],
)  # fmt: skip
OTHER = Rows([("a", "string"), ("k", "integer")], [["x,1", 1], ["12.5", None]])
WORDS = {
    "table": ["other"],
    "formula": ["a & b", "b * c", "if(e, a, b)", "year(d) + b", "c / b", "round(c, 1) > 3", "a +", "nope"],
    "format": ["DD.MM.YYYY", "YYYY-MM-DD", "D MMM YY HH:mm", "%d/%m/%Y", "Q"],
    "pattern": ["(\\d+)", "[,;]", "(?i)X", "a|b", "(", ""],
    "newColumn": ["n", "m", "a"],
    "newColumns": ["n", "m", "o", "a"],
}
WORDS["dateFormat"] = WORDS["format"]
NAMES = ["a", "b", "c", "d", "e", "f"]
NAMED = {"column", "columns", "name", "left", "right", "idColumns", "valueColumns", "indexColumns", "columnSource",
         "valueSource", "partitionBy", "oldName"}  # fmt: skip


def made(schema: dict[str, Any], defs: dict[str, Any], key: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return values that fit a schema as pydantic writes it."""
    if "$ref" in schema:
        return made(defs[schema["$ref"].rsplit("/", 1)[1]], defs, key, depth)
    if "anyOf" in schema:
        return st.one_of([made(part, defs, key, depth) for part in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "integer":
        low, high = schema.get("minimum", -5), schema.get("maximum", 2**60)
        return st.one_of(st.integers(max(low, 0), min(high, 5)), st.integers(low, high))
    if kind == "number":
        return st.floats(
            max(schema.get("minimum", -9), schema.get("exclusiveMinimum", -9) + 0.5), 99, allow_nan=False
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        return st.lists(
            made(schema["items"], defs, key, depth + 1), min_size=least, max_size=max(most, least)
        )
    if kind == "object" and "properties" in schema:
        return record(schema, defs, depth + 1)
    if kind == "object":
        return st.dictionaries(words(key), made(schema["additionalProperties"], defs, key, depth), max_size=3)
    return st.none() if kind == "null" else words(key)


def words(key: str) -> st.SearchStrategy[str]:
    if key in NAMED:
        return st.one_of(st.sampled_from(NAMES), st.sampled_from([*NAMES, "zz", ""]))
    return st.one_of(
        st.sampled_from(WORDS.get(key, ["x", "1", "2024-01-31", ",", "true", "Ä"])), st.text(max_size=3)
    )


@st.composite
def record(draw: st.DrawFn, schema: dict[str, Any], defs: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    needed = set(schema.get("required", ()))
    skipped = {"enabled", "id"} | ({"conditions"} if depth > 2 else set())
    return {
        key: draw(made(part, defs, key, depth))
        for key, part in schema["properties"].items()
        if key in needed or (key not in skipped and draw(st.integers(0, 2)) > 0)
    }


@st.composite
def some_steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        operation = draw(st.sampled_from(list(OPERATIONS)))
        schema = OPERATIONS[operation].model_json_schema()
        steps.append(draw(record(schema, schema.get("$defs", {}))) | {"operation": operation})
    return steps


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(some_steps())
def test_whatever_a_step_says_it_works_or_says_why(steps: list[dict[str, Any]]) -> None:
    """An error is one of ours, tells the step, and blames the request; a result has a row of cells for each row."""
    try:
        found = run(TABLE, steps, {"other": OTHER})
    except DuraliteError as e:
        assert e.status == 422 and e.message.startswith("Step ")
    else:
        assert all(len(row) == len(found.columns) for row in found.rows)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["operation", "type", "config", "columns", "column", "value", "operator", "conditions"]
            ),
            st.one_of(inner, st.sampled_from(list(OPERATIONS))),
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything)
def test_what_is_no_list_of_steps_is_refused_as_such(data: Any) -> None:
    try:
        parse_steps(data)
    except DuraliteError as e:
        assert e.status == 422
