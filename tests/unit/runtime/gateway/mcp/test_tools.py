"""Tools: what there is, what a client is shown, and how their schemas come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.shared.exceptions import MCPError

from runtime.actor import Actor
from runtime.gateway.mcp.tools import CODE_TOOL, DEFAULT_ACTOR, Toolset
from runtime.method import method
from runtime.registry import Registry
from runtime.storage.transaction import Transaction
from tests.unit.runtime.gateway.mcp.desk import Desk, Shelf, connected

ALL = frozenset({"read", "write", "run", "admin"})


def tools() -> Toolset:
    return Toolset(Registry((Desk, Shelf)))


def names(toolset: Toolset, *shown: str, scopes: frozenset[str] = ALL) -> list[str]:
    return [entry.name for entry in toolset.page(shown, scopes, None, 1_000)[0]]


def schema(toolset: Toolset, name: str) -> dict[str, Any]:
    entry = toolset.get(name)
    assert entry is not None
    return entry.tool.input_schema


def test_each_public_method_of_each_type_is_a_tool_and_no_other_is() -> None:
    listed = names(tools(), "all")
    for actor_type in (Desk, Shelf):
        for spec in actor_type.methods.values():
            assert (f"{actor_type.type_name}_{spec.name}" in listed) == spec.public
    assert listed[0] == CODE_TOOL


def test_every_schema_is_valid_json_schema_with_an_object_at_its_root() -> None:
    for entry in tools():
        for one in (entry.tool.input_schema, entry.tool.output_schema):
            assert one is not None and one["type"] == "object"
            Draft202012Validator.check_schema(one)
        assert entry.tool.input_schema["additionalProperties"] is False


def test_the_actors_name_is_an_argument_that_is_called_as_the_type() -> None:
    toolset = tools()
    assert "desk" in schema(toolset, "desk_query")["properties"]
    assert DEFAULT_ACTOR in schema(toolset, "desk_query")["properties"]["desk"]["description"]
    assert "desk" not in schema(toolset, "desk_query")["required"]


def test_the_name_is_needed_where_the_type_has_no_default() -> None:
    class Bin(Actor, type_name="bin"):
        """A type without a default."""

        @method()
        def empty(self, tx: Transaction) -> None:
            """Empty it."""

    assert schema(Toolset(Registry((Desk, Bin))), "bin_empty")["required"] == ["bin"]


def test_a_method_with_an_argument_of_that_name_leaves_it_to_the_method() -> None:
    properties = schema(tools(), "desk_wipe")["properties"]
    assert set(properties) == {"desk", "desk_name"}


def test_run_code_takes_a_program_and_no_more_than_a_model_needs() -> None:
    found = schema(tools(), CODE_TOOL)
    assert list(found["properties"]) == ["desk", "code", "inputs"]
    assert found["required"] == ["code"]


def test_annotations_say_what_the_method_says_of_itself() -> None:
    toolset = tools()
    for entry in toolset:
        hints = entry.tool.annotations
        assert hints is not None
        assert hints.read_only_hint == entry.spec.read_only
        assert hints.destructive_hint == entry.spec.destructive
        assert hints.idempotent_hint == entry.spec.idempotent
        assert entry.tool.title


def test_a_client_that_writes_programs_is_shown_few_tools() -> None:
    listed = names(tools(), "code")
    assert CODE_TOOL in listed and "desk_query" in listed
    assert len(listed) < len(names(tools(), "all")) / 2


def test_patterns_and_names_choose_tools() -> None:
    assert names(tools(), "shelf_*", "desk_wipe") == ["desk_wipe", "shelf_label"]


def test_what_a_key_may_not_call_is_not_shown() -> None:
    listed = names(tools(), "all", scopes=frozenset({"read"}))
    assert "desk_query" in listed
    assert not {"desk_exec", "desk_count", CODE_TOOL} & set(listed)


def test_two_methods_that_come_to_one_name_are_refused_and_both_named() -> None:
    class Long(Actor, type_name="desk_low"):
        """A type whose name looks like a method of a desk."""

        @method()
        def end(self, tx: Transaction) -> None:
            """End."""

    class Short(Actor, type_name="desk"):
        """A desk with a method of the same name."""

        @method()
        def low_end(self, tx: Transaction) -> None:
            """End."""

    with pytest.raises(ValueError, match=r"desk_low\.end.*desk\.low_end"):
        Toolset(Registry((Long, Short)))


def test_pages_follow_each_other_without_gap_or_repetition() -> None:
    toolset = tools()
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = toolset.page(("all",), ALL, cursor, 3)
        assert len(page) <= 3
        seen += [entry.name for entry in page]
        if cursor is None:
            break
    assert seen == names(toolset, "all")


@pytest.mark.parametrize(
    "cursor", ["", "x", "zz", "00", "5b5d", "7b7d", "5b315d", "ff" * 5_000, "5b" * 4_000]
)
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(MCPError) as caught:
        tools().page(("all",), ALL, cursor, 3)
    assert caught.value.code == -32602


async def test_the_client_walks_the_pages(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", limits={"page_size": 5}) as client:
        found, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            found += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert found == names(tools(), "all")
