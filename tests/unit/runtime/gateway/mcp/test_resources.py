"""Resources: what an actor holds, found by URI, for its own account only."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

from runtime.accounts import Grant
from runtime.gateway.mcp.resources import HELPER_DOCS
from runtime.gateway.mcp.server import McpServer
from runtime.gateway.testing import live_server
from tests.unit.runtime.gateway.mcp.desk import BOTH, Desk, Shelf, connected, desk, over_http

EXEC = "desk_exec"
NAMES = ("plain", "a/b", "über ☃", "..", "100%", "a?b#c", 'q"uote', "x" * 300)


async def read(client: Client, uri: str) -> object:
    (content,) = (await client.read_resource(uri)).contents
    assert content.uri == uri
    return json.loads(content.text)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
async def test_a_schema_and_first_rows_are_found_whatever_the_names(tmp_path: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    async with connected(tmp_path / "data") as client:
        await client.call_tool(EXEC, {"desk": name, "sql": f"CREATE TABLE {quoted} (a INTEGER, b TEXT)"})
        await client.call_tool(EXEC, {"desk": name, "sql": f"INSERT INTO {quoted} VALUES (1, 'x')"})
        at = f"duralite://desk/{quote(name, safe='')}"
        schema = await read(client, f"{at}/schema")
        assert isinstance(schema, list) and schema[0]["name"] == name
        rows = await read(client, f"{at}/tables/{quote(name, safe='')}")
        assert isinstance(rows, dict) and rows["rows"] == [{"a": 1, "b": "x"}]
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert f"{at}/schema" in listed


@pytest.mark.parametrize(
    "uri",
    [
        "duralite://desk/nope/schema",
        "duralite://desk/there/tables",
        "duralite://desk/there/schema/x",
        "duralite://desk/there/runs/1",
        "duralite://desk/there",
        "duralite://desk//schema",
        "duralite://shelf/there/schema",
        "duralite://nope/there/schema",
        "duralite://",
        "duralite://docs/nope",
        "file:///etc/passwd",
        "duralite://desk/%ff/schema",
        "duralite://desk/there/tables/%00",
        "duralite://desk/there/tables/nope",
        "duralite://desk/there/tables/_duralite_meta",
        "duralite://desk/there/../nope/schema",
        "",
    ],
)
@pytest.mark.parametrize("mode", BOTH)
async def test_what_is_not_there_is_said_as_the_protocol_does(tmp_path: Path, uri: str, mode: str) -> None:
    async with connected(tmp_path / "data", mode) as client:
        await client.call_tool("desk_query", {"desk": "there", "sql": "SELECT 1"})
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
        assert caught.value.code in (-32602, -32002 if mode == "legacy" else -32602)
        assert "Traceback" not in str(caught.value)


async def test_the_code_of_a_missing_resource_is_that_of_the_clients_revision(tmp_path: Path) -> None:
    for mode, code in zip(BOTH, (-32602, -32002), strict=True):
        async with connected(tmp_path / mode, mode) as client:
            with pytest.raises(MCPError) as caught:
                await client.read_resource("duralite://desk/nope/schema")
            assert caught.value.code == code


async def test_reading_makes_no_actor(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, server), Client(server.lowlevel) as client:
        with pytest.raises(MCPError):
            await client.read_resource("duralite://desk/nope/schema")
        assert host.opened == 0


async def test_templates_name_the_views_that_a_type_has(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        found = {t.uri_template for t in (await client.list_resource_templates()).resource_templates}
        assert found == {"duralite://desk/{name}/schema", "duralite://desk/{name}/tables/{table}"}


async def test_the_list_is_paged_and_holds_the_accounts_own_actors_only(tmp_path: Path) -> None:
    async with desk(tmp_path / "data", limits={"page_size": 3}) as (host, server):
        other = McpServer(host, owner=Grant("other", frozenset({"read", "write"})))
        async with Client(other.lowlevel) as client:
            await client.call_tool(EXEC, {"desk": "theirs", "sql": "CREATE TABLE t (a)"})
        async with Client(server.lowlevel) as client:
            for n in range(8):
                await client.call_tool("desk_query", {"desk": f"d{n}", "sql": "SELECT 1"})
            uris: list[str] = []
            cursor = None
            while True:
                page = await client.list_resources(cursor=cursor)
                assert len(page.resources) <= 3
                uris += [str(resource.uri) for resource in page.resources]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert uris == [HELPER_DOCS, *(f"duralite://desk/d{n}/schema" for n in range(8))]
            for forged in ("zz", "5b5d", b'["desk"]'.hex(), b'["nope","a"]'.hex()):
                with pytest.raises(MCPError, match="cursor"):
                    await client.list_resources(cursor=forged)
            with pytest.raises(MCPError):
                await client.read_resource("duralite://desk/theirs/schema")


async def test_a_key_that_may_not_read_reads_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as (host, _):
        writer = McpServer(host, owner=Grant("local", frozenset({"write"})))
        async with Client(writer.lowlevel) as client:
            for call in (client.list_resources(), client.read_resource(HELPER_DOCS)):
                with pytest.raises(MCPError, match="lacks the scope 'read'"):
                    await call


async def test_the_docs_of_the_helpers_are_a_resource(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        (content,) = (await client.read_resource(HELPER_DOCS)).contents
        assert "db.query" in content.text  # type: ignore[union-attr]


async def test_a_resource_over_the_limit_says_so(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", limits={"mcp_result_bytes": 1024}) as client:
        await client.call_tool(EXEC, {"desk": "d", "sql": "CREATE TABLE t (a)"})
        await client.call_tool(EXEC, {"desk": "d", "sql": f"INSERT INTO t VALUES ('{'x' * 2000}')"})
        with pytest.raises(MCPError, match="more than 1,024"):
            await client.read_resource("duralite://desk/d/tables/t")


async def test_a_listener_hears_of_schema_and_rows_and_of_no_other_account(tmp_path: Path) -> None:
    schema, rows = "duralite://desk/d/schema", "duralite://desk/d/tables/t"
    async with live_server(tmp_path / "data", Desk, Shelf) as server:
        key, _ = await server.gateway.parts.accounts.create_key("other", scopes=["read", "write"])
        async with over_http(server.url) as client, over_http(server.url, key) as other:
            await client.call_tool(EXEC, {"desk": "d", "sql": "CREATE TABLE t (a)"})
            await other.call_tool(EXEC, {"desk": "d", "sql": "CREATE TABLE t (a)"})
            async with client.listen(resource_subscriptions=[schema, rows]) as events:
                await other.call_tool(EXEC, {"desk": "d", "sql": "CREATE TABLE theirs (a)"})
                await client.call_tool(EXEC, {"desk": "d", "sql": "INSERT INTO t VALUES (1)"})
                assert await anext(events) == ResourceUpdated(rows)
                await client.call_tool(EXEC, {"desk": "d", "sql": "CREATE TABLE u (a)"})
                assert {await anext(events), await anext(events)} == {
                    ResourceUpdated(schema),
                    ResourceUpdated(rows),
                }


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "duralite://nope/a/schema", "duralite://desk/%ff/schema"]
)
async def test_nobody_listens_to_what_is_no_resource(tmp_path: Path, uri: str) -> None:
    async with live_server(tmp_path / "data", Desk, Shelf) as server, over_http(server.url) as client:
        with pytest.raises(MCPError):
            async with client.listen(resource_subscriptions=[uri]):
                raise AssertionError("it listens")


async def test_the_prompt_names_the_session_and_the_question(tmp_path: Path) -> None:
    async with connected(tmp_path / "data") as client:
        (prompt,) = (await client.list_prompts()).prompts
        (message,) = (await client.get_prompt(prompt.name, {"session": "s1", "question": "why?"})).messages
        assert "'s1'" in message.content.text and "why?" in message.content.text  # type: ignore[union-attr]
        for name, arguments in ((prompt.name, {}), ("nope", {"session": "x"})):
            with pytest.raises(MCPError) as caught:
                await client.get_prompt(name, arguments)
            assert caught.value.code == -32602
