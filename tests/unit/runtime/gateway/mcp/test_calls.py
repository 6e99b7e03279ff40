"""Calls of tools: arguments in, answers and errors out."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from mcp import Client
from mcp.shared.exceptions import MCPError

from runtime.accounts import Grant
from runtime.gateway.mcp.server import McpServer
from runtime.testing import until
from tests.unit.runtime.gateway.mcp.desk import BOTH, ENDLESS, connected, desk, text_of

QUERY = "desk_query"


@pytest.mark.parametrize("mode", BOTH)
async def test_an_answer_comes_as_structure_and_as_text(tmp_path: Path, mode: str) -> None:
    async with connected(tmp_path / "data", mode) as client:
        await client.list_tools()
        result = await client.call_tool(QUERY, {"sql": "SELECT 1 AS one", "desk": "mine"})
        assert not result.is_error
        assert result.structured_content["rows"] == [{"one": 1}]
        assert '"rows":[{"one":1}]' in text_of(result)


async def test_an_answer_that_is_no_object_stands_under_result(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        await client.list_tools()
        assert (await client.call_tool("shelf_label", {})).structured_content == {"result": "the-shelf"}
        assert (await client.call_tool("shelf_label", {"shelf": "b"})).structured_content == {"result": "b"}
        assert (await client.call_tool("desk_open_gate", {})).structured_content == {"result": None}


@pytest.mark.parametrize(
    ("name", "arguments", "path"),
    [
        (QUERY, {}, "sql"),
        (QUERY, {"sql": 5}, "sql"),
        (QUERY, {"sql": "SELECT 1", "limt": 3}, "limt"),
        (QUERY, {"sql": "SELECT 1", "limit": "3"}, "limit"),
        (QUERY, {"sql": "SELECT 1", "desk": 7}, "desk"),
        ("desk_count", {"to": -1}, "to"),
        ("desk_count", {"to": 2.5}, "to"),
        ("desk_take", {}, "upload"),
        ("desk_take", {"upload": "/etc/passwd"}, "upload"),
        ("desk_take", {"upload": {"path": "/etc/passwd"}}, "upload"),
        ("desk_take", {"upload": {"text": "a", "base64": "YQ=="}}, "upload"),
        ("desk_take", {"upload": {"base64": "%"}}, "upload.base64"),
    ],
)
async def test_bad_arguments_are_named_and_nothing_runs(
    tmp_path: Path, name: str, arguments: dict[str, Any], path: str
) -> None:
    async with desk(tmp_path / "data") as (host, server), Client(server.lowlevel) as client:
        result = await client.call_tool(name, arguments)
        problem = result.structured_content["problem"]
        assert result.is_error and problem["code"] == "invalid_input"
        assert path in [error["path"] for error in problem["errors"]]
        assert path in text_of(result) and "Hint: " in text_of(result)
        assert host.opened == 0


async def test_null_stands_for_an_argument_that_is_left_out(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        result = await client.call_tool(
            QUERY, {"sql": "SELECT 1", "params": None, "limit": None, "desk": None}
        )
        assert not result.is_error


async def test_a_whole_float_is_a_whole_number(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        assert not (await client.call_tool(QUERY, {"sql": "SELECT 1", "limit": 10.0})).is_error


@pytest.mark.parametrize("value", [2**64, "\ud800", [[[]]] * 1, {"a": float("nan")}])
async def test_values_that_no_edge_takes_are_refused_or_taken_but_never_trip_it(
    tmp_path: Path, value: Any
) -> None:
    async with connected(tmp_path / "data") as client:
        result = await client.call_tool(QUERY, {"sql": "SELECT ?", "params": [value]})
        assert result.is_error and result.structured_content["problem"]["code"] == "invalid_input"


async def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    async with desk(tmp_path / "data") as (_, server), Client(server.lowlevel) as client:
        entry = server.tools.get(QUERY)
        assert entry is not None
        result = await server.calls.call(entry, {"sql": "SELECT 1", "params": deep}, _owner(server))
        assert result.is_error and result.structured_content["problem"]["code"] == "invalid_input"
        assert not (await client.call_tool(QUERY, {"sql": "SELECT 1"})).is_error


def _owner(server: McpServer) -> Any:
    from runtime.gateway.mcp.calls import Caller

    return Caller(Grant("local", frozenset({"read"})))


async def test_an_error_of_sql_says_what_to_write_instead(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        result = await client.call_tool(QUERY, {"sql": "PRAGMA user_version"})
        assert result.is_error
        assert "Hint: " in text_of(result) and "Code: guard_refused" in text_of(result)
        assert result.structured_content["problem"]["rule"] == "statement.pragma"


async def test_errors_fit_the_output_schema_too(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name in (QUERY, "desk_exec", "run_code", "desk_long"):
            result = await client.call_tool(name, {"nonsense": 1})
            assert result.is_error
            validate(result.structured_content, listed[name].output_schema or {})


async def test_an_unknown_tool_is_an_error_of_the_protocol(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        for name in ("nope", "desk_hidden", "desk", "", "../desk_query"):
            with pytest.raises(MCPError) as caught:
                await client.call_tool(name, {})
            assert caught.value.code == -32602


async def test_a_key_without_the_scope_is_an_error_of_the_protocol(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, _):
        reader = McpServer(host, owner=Grant("local", frozenset({"read"})), shown=("all",))
        async with Client(reader.lowlevel) as client:
            assert not (await client.call_tool(QUERY, {"sql": "SELECT 1"})).is_error
            with pytest.raises(MCPError, match="lacks the scope 'write'"):
                await client.call_tool("desk_exec", {"sql": "CREATE TABLE t (a)"})
            with pytest.raises(MCPError, match="lacks the scope 'run'"):
                await client.call_tool("run_code", {"code": "1"})


async def test_a_server_without_an_owner_answers_nobody(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, _), Client(McpServer(host).lowlevel) as client:
        with pytest.raises(MCPError, match="needs a key"):
            await client.list_tools()
        with pytest.raises(MCPError, match="needs a key"):
            await client.call_tool(QUERY, {"sql": "SELECT 1"})


async def test_what_was_not_foreseen_is_told_without_a_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path / "data") as client:
        result = await client.call_tool("desk_broken", {})
        assert result.is_error
        assert result.structured_content["problem"]["code"] == "internal_error"
        assert "request id" in text_of(result)
        assert "secret" not in result.model_dump_json()


async def test_rows_beyond_the_limit_of_an_answer_are_cut_and_said_so(tmp_path: Path) -> None:
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT i, 'row' AS r FROM n"
    async with connected(tmp_path / "data", limits={"mcp_result_bytes": 4096}) as client:
        await client.list_tools()
        answer = (await client.call_tool(QUERY, {"sql": sql})).structured_content
        assert answer["truncated"] and answer["limit"] == "mcp_result_bytes"
        assert 0 < answer["row_count"] == len(answer["rows"]) < 5000
        assert len(str(answer)) < 6000


async def test_any_other_answer_that_is_too_large_says_that_the_call_was_done(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", limits={"mcp_result_bytes": 4096}) as client:
        assert not (await client.call_tool("desk_long", {"size": 3000})).is_error
        result = await client.call_tool("desk_long", {"size": 5000})
        problem = result.structured_content["problem"]
        assert result.is_error and problem["limit"] == "mcp_result_bytes" and problem["done"] is True


async def test_a_file_goes_in_as_text_or_base64_and_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        upload = {"text": "a,b\nü,2", "filename": "x.csv", "media_type": "text/csv"}
        answer = (await client.call_tool("desk_take", {"upload": upload})).structured_content
        assert answer == {"bytes": 8, "kind": "text/csv", "name": "x.csv", "text": "a,b\nü,2", "note": None}
        upload = {"base64": base64.b64encode(b"\x00\x01").decode()}
        answer = (await client.call_tool("desk_take", {"upload": upload, "note": "n"})).structured_content
        assert answer["bytes"] == 2 and answer["note"] == "n"
        assert not list((tmp_path / "data" / "tmp").iterdir())


async def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", limits={"max_upload_bytes": 1024}) as client:
        result = await client.call_tool("desk_take", {"upload": {"text": "x" * 1025}})
        assert result.structured_content["problem"]["code"] == "payload_too_large"


async def test_a_short_text_file_comes_out_as_text(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        await client.list_tools()
        result = await client.call_tool("desk_give", {"size": 2500})
        assert text_of(result) == "x" * 2500
        assert result.structured_content["result"]["bytes"] == 2500


async def test_a_short_file_that_is_no_text_comes_out_as_bytes_where_there_is_no_http(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        result = await client.call_tool("desk_give", {"size": 10, "media_type": "application/octet-stream"})
        resource: Any = result.content[0]
        assert base64.b64decode(resource.resource.blob) == b"x" * 10


async def test_a_long_file_is_not_sent_where_there_is_no_http(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", limits={"mcp_result_bytes": 4096}) as client:
        result = await client.call_tool("desk_give", {"size": 5000})
        assert result.is_error and result.structured_content["problem"]["limit"] == "mcp_result_bytes"


@pytest.mark.parametrize("mode", BOTH)
async def test_a_cancelled_request_interrupts_its_sql(tmp_path: Path, mode: str) -> None:
    async with desk(tmp_path / "data") as (host, server), Client(server.lowlevel, mode=mode) as client:
        spinning = asyncio.ensure_future(client.call_tool(QUERY, {"sql": ENDLESS}))
        await until(lambda: any(i.stats().running for i in host.live()))
        spinning.cancel()
        await asyncio.gather(spinning, return_exceptions=True)
        await until(lambda: not any(i.busy for i in host.live()))
        assert not (await client.call_tool(QUERY, {"sql": "SELECT 1"})).is_error


async def test_many_calls_side_by_side_each_get_their_own_answer(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        results = await asyncio.gather(
            *(
                client.call_tool(QUERY, {"sql": "SELECT ? AS n", "params": [n], "desk": f"d{n % 7}"})
                for n in range(200)
            )
        )
        assert [r.structured_content["rows"][0]["n"] for r in results] == list(range(200))
