"""Specs, and what user code reads of them: annotations, stubs, docs, search."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mypy import api as mypy

from actors.session.actor import SessionActor
from helpers import sql
from helpers.annotations import type_text
from helpers.api import db_helpers, method_helper, sql_helpers
from helpers.docs import EXAMPLE, estimate_tokens, helper_doc, model_docs
from helpers.search import describe, search
from helpers.spec import HelperSpec, ParamSpec
from helpers.stubs import camel_case, stub_text
from runtime.errors import InputError, NotFound
from runtime.limits import Limits
from runtime.method import collect_methods, method
from runtime.testing import harness

from .shop import METHODS, Answer

TOOL = HelperSpec(
    path="tools.shop.get_item",
    parameters=(ParamSpec("id", annotation="int", doc="The item's number."),),
    awaitable=True,
    doc="Return one item.\n\nEverything about it.",
    returns="dict[str, Any]",
)
HELPERS = (*db_helpers(METHODS), *sql_helpers(), TOOL)


def one(path: str) -> HelperSpec:
    return next(helper for helper in HELPERS if helper.path == path)


def test_only_methods_that_are_declared_as_helpers_are_helpers() -> None:
    assert [helper.path for helper in db_helpers(METHODS)] == ["db.query", "db.batch_insert", "db.set_price"]
    assert db_helpers(METHODS.values()) == db_helpers(METHODS)
    with pytest.raises(ValueError, match="declared without helper="):
        method_helper(METHODS["count"])


def test_a_method_becomes_a_helper_with_python_types() -> None:
    query = one("db.query")
    assert query.result == "rows"
    assert query.returns == "Rows"
    assert query.read_only
    assert not query.awaitable
    assert query.summary == "Run one read statement and return its rows."
    assert query.arguments(annotated=True) == (
        "sql: str | Query, params: list[Any] | dict[str, Any] | None = None, limit: int | None = None"
    )
    assert query.parameters[0].doc == "One statement."


def test_a_result_that_is_one_field_has_the_type_of_that_field() -> None:
    assert one("db.batch_insert").returns == "int"
    assert one("db.set_price").returns == "dict[str, Any] | None"
    assert one("db.set_price").destructive


def test_a_result_field_that_the_answer_does_not_have_is_a_mistake_in_the_declaration() -> None:
    class Wrong:
        @method(helper="rowz")
        async def query(self) -> Answer:
            """Query."""
            raise AssertionError

    with pytest.raises(ValueError, match="no field of its answer: columns, rows, truncated"):
        db_helpers(collect_methods(Wrong))


def test_parameters_that_python_could_not_order_are_shown_as_given_by_name() -> None:
    late = HelperSpec("tools.a.b", (ParamSpec("x", required=False), ParamSpec("y")), awaitable=True)
    assert late.call() == "await tools.a.b(x=None, *, y)"
    odd = HelperSpec("tools.a.b", (ParamSpec("from"),))
    assert odd.call() == "tools.a.b(**arguments)"
    long = HelperSpec("db.a", (ParamSpec("x", required=False, default=list(range(99))),))
    assert long.call() == "db.a(x=...)"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "Any"),
        (True, "Any"),
        ({"type": "string"}, "str"),
        ({"type": ["integer", "null"]}, "int | None"),
        ({"anyOf": [{"type": "null"}, {"type": "number"}]}, "float | None"),
        ({"oneOf": [{"type": "string"}, {}]}, "Any"),
        ({"type": "array"}, "list[Any]"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "list[list[bool]]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]"),
        ({"type": "object", "properties": {"a": {}}}, "dict[str, Any]"),
        ({"enum": ["a", 1, None]}, "Literal['a', 1, None]"),
        ({"const": "x"}, "Literal['x']"),
        ({"enum": [1.5]}, "Any"),
        ({"$ref": "#/$defs/Known"}, "list[str]"),
        ({"$ref": "#/$defs/Missing"}, "Any"),
        ({"$ref": "#/$defs/Self"}, "list[" * 9 + "Any" + "]" * 9),
        ({"type": "nonsense"}, "Any"),
    ],
)
def test_a_schema_reads_as_a_python_type(schema: Any, text: str) -> None:
    known = {
        "Known": {"type": "array", "items": {"type": "string"}},
        "Self": {"type": "array", "items": {"$ref": "#/$defs/Self"}},
    }
    assert type_text(schema, known) == text


def test_every_builder_is_a_helper_with_its_keywords() -> None:
    assert [helper.name for helper in sql_helpers()] == [builder.__name__ for builder in sql.BUILDERS]
    assert one("sql.count_by").call() == "sql.count_by(table, by, *, where=None, order=None, limit=None)"


def test_the_stub_is_python_and_holds_every_helper_in_both_spellings() -> None:
    text = stub_text(HELPERS, discovery=True)
    tree = ast.parse(text)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for helper in HELPERS:
        space = classes["_" + "".join(part.capitalize() for part in helper.namespace.split("."))]
        source = ast.unparse(space)
        assert f"def {helper.name}(self" in source
        alias = camel_case(helper.name)
        assert alias == helper.name or f"{alias} = {helper.name}" in source
    assert "async def get_item(self, id: int) -> dict[str, Any]" in text


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What mypy says of a program with three mistakes, given the stub."""
    folder: Path = tmp_path_factory.mktemp("stubs")
    (folder / "scope.pyi").write_text(stub_text(HELPERS, {"threshold": "float"}))
    program = EXAMPLE.replace("db.create_table", "# db.create_table").replace(
        "db.save_state", "# db.save_state"
    )
    mistakes = (
        "\nasync def more() -> None:\n"
        "    item = await tools.shop.getItem(id=1)\n"
        "    print(item, sql.Query('a', [1]), sql.quoteIdentifier('a'), helpers.db.query('SELECT 1').columns)\n"
        "    print(inputs['threshold'] + 1)\n"
        "db.querry('SELECT 1')\n"
        "sql.count_by('t')\n"
        "tools.shop.get_item('one')\n"
    )
    (folder / "program.py").write_text("from scope import *\n" + program + mistakes)
    out, _, _ = mypy.run(
        ["--config-file=", "--no-incremental", f"--cache-dir={folder}/cache", str(folder / "program.py")]
    )
    yield out


def test_a_type_checker_finds_mistakes_by_the_stub_and_nothing_else(checked: str) -> None:
    errors = [line.partition("error: ")[2] for line in checked.splitlines() if "error:" in line]
    assert len(errors) == 4, checked
    assert '"_Db" has no attribute "querry"' in errors[0]
    assert 'Missing positional argument "by" in call to "count_by"' in errors[1]
    assert any('incompatible type "str"; expected "int"' in error for error in errors)


def test_the_stub_of_nothing_is_still_a_stub() -> None:
    ast.parse(stub_text(()))
    assert "helpers.search" not in stub_text(())
    assert "inputs: dict[str, Any]" in stub_text((), {"not a name": "int"})


def test_a_doc_cannot_break_out_of_the_stub() -> None:
    for doc in ('It says """hello"""', 'It ends in "', "A back\\slash\\", "x\\"):
        spec = HelperSpec("tools.a.b", doc=doc)
        (tool,) = [
            node for node in ast.walk(ast.parse(stub_text([spec]))) if getattr(node, "name", "") == "b"
        ]
        assert isinstance(tool, ast.FunctionDef)


def test_docs_give_up_detail_in_the_stated_order_and_keep_what_matters() -> None:
    text = model_docs(HELPERS, budget=100_000)
    seen: list[str] = []
    while text not in seen:
        seen.append(text)
        text = model_docs(HELPERS, budget=estimate_tokens(text) - 1)
        assert EXAMPLE in text
        assert "10,000 rows" in text
        assert text.count("\n- ", text.index("## Refused")) == 3
        assert all(helper.name in text for helper in HELPERS)
    assert len(seen) == 7
    assert [len(text) for text in seen] == sorted((len(text) for text in seen), reverse=True)
    assert "### `sql.count_by`" in seen[0]
    assert "### `sql.count_by`" not in seen[1] and "### `tools.shop.get_item`" in seen[1]
    assert "### `tools.shop.get_item`" not in seen[2] and "### `db.query`" in seen[2]
    assert "### " not in seen[3] and "- `sql.count_by(" in seen[3] and "Gives: the columns of `by`" in seen[3]
    assert "- `sql.count_by(" not in seen[4] and "- `db.query(" in seen[4]
    assert "- `db.query(" not in seen[6]


@pytest.mark.parametrize("budget", [3_400, 2_700, 2_000, 1_000])
def test_docs_keep_to_their_budget(budget: int) -> None:
    assert estimate_tokens(model_docs(HELPERS, budget=budget)) <= budget


def test_docs_tell_the_limits_of_this_service() -> None:
    text = model_docs(HELPERS, limits=Limits(max_rows=77, run_wall_s=2.5, run_result_bytes=4096))
    assert "- 77 rows" in text
    assert "- 2.5 seconds for the whole program" in text
    assert "- 4 KiB for the result" in text


def test_docs_speak_of_search_only_where_it_is_in_scope() -> None:
    assert "helpers.search" not in model_docs(HELPERS)
    assert 'helpers.search("words")' in model_docs(HELPERS, discovery=True)


async def test_the_example_in_the_docs_runs_in_a_session(tmp_path: Path) -> None:
    """The real thing: session, guard and sandbox."""
    async with harness(tmp_path, SessionActor) as host:
        session = host.namespace("session").get("docs")
        result = await session.run(code=EXAMPLE)
        assert (result.status, result.logs) == ("ok", ["AAA: 30.00", "BBB: 17.50"]), result.error
        assert result.value == {
            "best": "AAA",
            "months": [{"month": "2024-01", "total": 10.0}, {"month": "2024-02", "total": 37.5}],
        }
        assert (await session.get_state(key="best_customer"))["value"] == "AAA"


def test_the_helpers_of_a_session_have_a_stub_docs_and_schemas() -> None:
    helpers = (*db_helpers(SessionActor.methods), *sql_helpers())
    names = {helper.path for helper in helpers}
    assert {
        "db.query",
        "db.exec",
        "db.batch_insert",
        "db.create_table",
        "db.save_state",
        "db.get_state",
    } < names
    ast.parse(stub_text(helpers))
    assert estimate_tokens(model_docs(helpers)) <= 4_000
    query = next(helper for helper in helpers if helper.path == "db.query")
    assert "row_format" not in query.arguments()


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("batch insert", "db.batch_insert"),
        ("countBy", "sql.count_by"),
        ("percentiles", "sql.percentile"),
        ("weekly retention of customers", "sql.cohort"),
        ("moving average", "sql.moving_average"),
        ("get item", "tools.shop.get_item"),
    ],
)
def test_search_puts_the_helper_that_is_meant_first(words: str, first: str) -> None:
    assert search(HELPERS, words)[0]["path"] == first


def test_search_is_bounded_and_lists_all_for_no_words() -> None:
    assert len(search(HELPERS, "column", limit=3)) == 3
    assert [found["path"] for found in search(HELPERS, "", limit=100)] == [helper.path for helper in HELPERS]
    assert search(HELPERS, "zebra") == []
    for text, limit in ((5, 1), ("a", 0), ("a", True), ("a", "b")):
        with pytest.raises(InputError, match="a text and a limit"):
            search(HELPERS, text, limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["db.batch_insert", "db.batchInsert", "helpers.db.batch_insert", "batchInsert"]
)
def test_describe_takes_any_spelling(path: str) -> None:
    assert describe(HELPERS, path) == helper_doc(one("db.batch_insert"))


def test_describe_tells_everything_about_a_helper() -> None:
    assert describe(HELPERS, "tools.shop.get_item") == (
        "await tools.shop.get_item(id) -> dict[str, Any]\n\nReturn one item.\n\nEverything about it.\n\n"
        "- id: The item's number."
    )
    assert "cannot be had back" in describe(HELPERS, "db.set_price")


def test_describe_of_a_namespace_lists_it() -> None:
    assert describe(HELPERS, "tools").startswith("await tools.shop.get_item(id): Return one item.")
    assert describe(HELPERS, "sql").count("\n") == len(sql.BUILDERS) - 1


def test_describe_of_something_unknown_names_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        describe(HELPERS, "db.batch_inserts")
    assert caught.value.hint is not None and "db.batch_insert" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        describe(HELPERS, "")
    assert caught.value.hint is not None and "helpers.search" in caught.value.hint
