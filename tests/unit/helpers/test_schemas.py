"""Tool schemas: the shape each API wants, strict where the arguments allow it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.schemas import TARGETS, tool_name, tool_schemas, without_nulls
from runtime.errors import InputError
from runtime.method import collect_methods, method

from .shop import METHODS


def tools(target: str, **options: Any) -> dict[str, dict[str, Any]]:
    made = tool_schemas(METHODS, target, prefix="shop", **options)
    return {(tool.get("function") or tool)["name"].removeprefix("shop_"): tool for tool in made}


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    if isinstance(schema, dict):
        yield schema
        for key in ("properties", "$defs"):
            for inner in schema.get(key, {}).values():
                yield from parts(inner)
        for inner in (schema.get("items"), *schema.get("anyOf", ())):
            yield from parts(inner)


def test_anthropic_tools_are_plain_json_schema() -> None:
    assert tools("anthropic")["count"] == {
        "name": "shop_count",
        "description": "Count the items.",
        "input_schema": {
            "type": "object",
            "properties": {
                "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
                "deep": {"type": "boolean", "default": False},
            },
            "additionalProperties": False,
        },
    }


def test_openai_tools_are_flat_and_strict() -> None:
    assert tools("openai")["count"] == {
        "type": "function",
        "name": "shop_count",
        "description": "Count the items.",
        "parameters": {
            "type": "object",
            "properties": {
                "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
                "deep": {"type": ["boolean", "null"]},
            },
            "required": ["tags", "deep"],
            "additionalProperties": False,
        },
        "strict": True,
    }


def test_openai_chat_tools_are_the_same_under_function() -> None:
    flat, nested = tools("openai"), tools("openai-chat")
    for name, tool in flat.items():
        assert nested[name] == {
            "type": "function",
            "function": {k: v for k, v in tool.items() if k != "type"},
        }


def test_mcp_tools_have_an_object_for_output_and_say_what_they_do() -> None:
    made = tools("mcp")
    assert made["count"]["outputSchema"] == {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
    }
    assert made["query"]["outputSchema"]["required"] == ["columns", "rows", "truncated"]
    assert made["set_price"]["title"] == "Set price"
    assert made["set_price"]["annotations"] == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": True,
        "openWorldHint": False,
    }
    wrapped = made["set_price"]["outputSchema"]
    assert wrapped["type"] == "object" and "Price" in wrapped["$defs"]


def test_nested_objects_are_strict_too() -> None:
    tool = tools("openai")["set_price"]
    assert tool["strict"] is True
    for part in parts(tool["parameters"]):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
        assert not {"default", "title", "oneOf"} & part.keys()
    price = tool["parameters"]["$defs"]["Price"]["properties"]
    assert price["currency"] == {"anyOf": [{"enum": ["EUR", "USD"], "type": "string"}, {"type": "null"}]}


def test_open_objects_have_no_strict_form_and_stay_as_they_are() -> None:
    for name in ("query", "batch_insert"):
        tool = tools("openai")[name]
        assert tool["strict"] is False
        assert tool["parameters"] == tools("anthropic")[name]["input_schema"]
    assert tools("openai")["query"]["parameters"]["required"] == ["sql"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_tool_has_a_lawful_name_an_object_and_items_in_its_arrays(target: str) -> None:
    for tool in tools(target).values():
        function = tool.get("function") or tool
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", function["name"])
        assert function["description"]
        schema = next(
            function[key] for key in ("parameters", "input_schema", "inputSchema") if key in function
        )
        assert schema["type"] == "object" and schema["additionalProperties"] is False
        for part in parts(schema):
            assert "array" not in part.get("type", ()) or "items" in part
        json.dumps(tool, allow_nan=False)


def test_methods_that_are_not_public_are_no_tools() -> None:
    assert set(tools("mcp")) == {"query", "batch_insert", "set_price", "count"}


def test_a_tool_can_ask_which_actor_is_meant() -> None:
    schema = tools("anthropic", actor="session")["count"]["input_schema"]
    assert list(schema["properties"]) == ["session", "tags", "deep"]
    assert "session" not in schema.get("required", ())
    assert tools("openai", actor="session")["count"]["parameters"]["properties"]["session"]["type"] == [
        "string",
        "null",
    ]
    with pytest.raises(ValueError, match="already has an argument 'tags'"):
        tool_schemas([METHODS["count"]], "mcp", actor="tags")


def test_titles_go_and_an_argument_named_title_stays() -> None:
    class Book:
        @method()
        async def add(self, title: str, properties: dict[str, str]) -> None:
            """Add a book."""
            raise AssertionError

    (tool,) = tool_schemas(collect_methods(Book), "anthropic")
    assert tool["input_schema"]["properties"] == {
        "title": {"type": "string"},
        "properties": {"type": "object", "additionalProperties": {"type": "string"}},
    }


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        ("query", "session", "session_query"),
        ("a.b c", "", "a_b_c"),
        ("é", "", "tool"),
        ("x" * 64, "", "x" * 64),
    ],
)
def test_names_are_made_lawful(name: str, prefix: str, expected: str) -> None:
    assert tool_name(name, prefix) == expected


def test_long_names_are_cut_and_stay_different() -> None:
    first, second = tool_name("a" * 80 + "1", "p"), tool_name("a" * 80 + "2", "p")
    assert len(first) == len(second) == 64
    assert first != second


def test_two_methods_of_one_tool_name_are_refused() -> None:
    with pytest.raises(ValueError, match="both come to the tool name 'count'"):
        tool_schemas([METHODS["count"], METHODS["count"]], "mcp")


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        tool_schemas(METHODS, "soap")
    assert caught.value.hint == "Use one of openai, openai-chat, anthropic, mcp."


def test_the_nulls_of_strict_mode_are_taken_out_before_the_call() -> None:
    sent = {"tags": None, "deep": True}
    assert without_nulls(METHODS["count"], sent) == {"deep": True}
    assert METHODS["count"].bind(without_nulls(METHODS["count"], sent)) == {"deep": True}
    assert without_nulls(METHODS["set_price"], {"item": None, "note": None}) == {"item": None}
