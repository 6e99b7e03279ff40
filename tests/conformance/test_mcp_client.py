"""The official MCP client drives the service: in memory, over HTTP, over stdio; in both revisions of the protocol."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.subscriptions import ResourceUpdated

from runtime.gateway.access import LOCAL_GRANT
from runtime.gateway.mcp.server import McpServer
from runtime.gateway.testing import live_server
from runtime.registry import Registry
from runtime.testing import harness
from runtime.values import dumps
from tests.unit.runtime.gateway.mcp.desk import BOTH, over_http

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
db.create_table("orders", {"customer": "TEXT", "amount": "REAL"})
db.batch_insert("orders", [{"customer": c, "amount": a} for c, a in inputs["rows"]])
db.query(sql.group_stats("orders", "customer", "amount", order="-sum"))
"""

SAMPLES: dict[str, dict[str, Any]] = {
    "run_code": {"code": "1 + 1"},
    "session_run": {"code": "db.query('SELECT 1 AS one')"},
    "session_query": {"sql": "SELECT * FROM t"},
    "session_exec": {"sql": "INSERT INTO t VALUES (2, 'b')"},
    "session_batch_insert": {"table": "t", "records": [{"a": 3, "b": "c"}]},
    "session_create_table": {"name": "u", "schema": {"a": "INTEGER"}},
    "session_describe": {"table": "t"},
    "session_explain": {"sql": "SELECT * FROM t WHERE a = 1"},
    "session_save_state": {"key": "k", "value": {"x": [1]}},
    "session_get_state": {"key": "k"},
    "session_delete_state": {"key": "k"},
    "session_export": {"format": "csv", "sql": "SELECT * FROM t"},
    "session_clone": {"name": "copy"},
}
"""Calls that succeed on a session with the table t(a, b). Other tools get the least that their schema asks for."""


def command(*arguments: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-m", "runtime", "mcp", *arguments], cwd=ROOT)


@asynccontextmanager
async def client_by(way: str, data: Path, mode: str, **limits: Any) -> AsyncIterator[Client]:
    """Give a client of the built-in types, connected by memory, http, stdio or forwarded stdio, which lists all tools."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        match way:
            case "memory":
                host = await enter(harness(data, limits=limits))
                server = McpServer(host, owner=LOCAL_GRANT, shown=("all",))
                yield await enter(Client(server.lowlevel, mode=mode))
            case "http":
                live = await enter(live_server(data))
                yield await enter(over_http(live.url, mode=mode))
            case "stdio":
                transport = stdio_client(command("--data", str(data), "--tools", "all"))
                yield await enter(Client(transport, mode=mode))
            case _:
                live = await enter(live_server(data, auth="required"))
                key, _ = await live.gateway.parts.accounts.create_key("ann", scopes=["admin"])
                arguments = command("--url", live.url, "--key", key, "--tools", "all")
                yield await enter(Client(stdio_client(arguments), mode=mode))


async def every_tool(client: Client) -> list[Any]:
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools


def least(schema: dict[str, Any]) -> Any:
    """Return a small value that fits a schema as far as its types go."""
    if "const" in schema or "enum" in schema:
        return schema.get("const", *schema.get("enum", [None])[:1])
    if "anyOf" in schema:
        return least(schema["anyOf"][0])
    match schema.get("type"):
        case "object":
            return {name: least(schema["properties"][name]) for name in schema.get("required", ())}
        case "array":
            return [least(schema.get("items", {}))] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return "x" * max(1, schema.get("minLength", 1))


@pytest.mark.parametrize(
    ("way", "mode"),
    [
        *((way, mode) for way in ("memory", "http") for mode in BOTH),
        ("stdio", BOTH[0]),
        ("forwarded", BOTH[1]),
    ],
)
async def test_a_program_runs_and_its_data_is_there_as_tools_and_resources(
    tmp_path: Path, way: str, mode: str
) -> None:
    async with client_by(way, tmp_path / "data", mode) as client:
        await client.list_tools()
        rows = [["AAA", 10.0], ["BBB", 17.5], ["AAA", 20.0]]
        ran = await client.call_tool(
            "run_code", {"session": "s/1", "code": PROGRAM, "inputs": {"rows": rows}}
        )
        assert not ran.is_error and ran.structured_content["status"] == "ok"
        assert [row["customer"] for row in ran.structured_content["value"]] == ["AAA", "BBB"]
        asked = {"session": "s/1", "sql": "SELECT sum(amount) AS total FROM orders"}
        assert (await client.call_tool("session_query", asked)).structured_content["rows"] == [
            {"total": 47.5}
        ]
        (schema,) = (await client.read_resource("duralite://session/s%2F1/schema")).contents
        assert "orders" in schema.text  # type: ignore[union-attr]
        listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
        assert "duralite://session/s%2F1/schema" in listed


@pytest.mark.parametrize(
    ("way", "mode"), [("http", BOTH[0]), ("http", BOTH[1]), ("stdio", BOTH[1]), ("forwarded", BOTH[0])]
)
async def test_a_run_in_the_background_tells_its_progress(tmp_path: Path, way: str, mode: str) -> None:
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with client_by(way, tmp_path / "data", mode) as client:
        await client.list_tools()
        arguments = {"code": "sum(range(10))", "background": True}
        result = await client.call_tool("session_run", arguments, progress_callback=hear)
        job = result.structured_content["result"]
        assert job["state"] == "done" and job["result"]["value"] == 45
    assert told and told == sorted(set(told))


async def test_every_tool_of_every_type_can_be_called_and_answers_as_its_schema_says(tmp_path: Path) -> None:
    async with client_by("http", tmp_path / "data", BOTH[0]) as client:
        for sql in ("CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'a')"):
            await client.call_tool("session_exec", {"sql": sql})
        tools = await every_tool(client)
        public = {f"{t.type_name}_{s.name}" for t in Registry() for s in t.methods.values() if s.public}
        assert {tool.name for tool in tools} == public | {"run_code"}
        for tool in tools:
            Draft202012Validator.check_schema(tool.input_schema)
            Draft202012Validator.check_schema(tool.output_schema)
            arguments = SAMPLES.get(tool.name, least(tool.input_schema))
            result = await client.call_tool(tool.name, arguments)
            said = result.model_dump_json()
            assert not (tool.name in SAMPLES and result.is_error), said
            assert '"code":"internal_error"' not in said, (tool.name, arguments)
            Draft202012Validator(tool.output_schema).validate(result.structured_content)


async def test_the_description_of_the_code_tool_keeps_to_its_budget(tmp_path: Path) -> None:
    async with client_by("memory", tmp_path / "data", BOTH[0], mcp_docs_tokens=1_500) as client:
        tool = (await client.list_tools()).tools[0]
        assert tool.name == "run_code" and tool.description is not None
        assert "db.query(" in tool.description and len(tool.description) <= 4 * 1_500


@pytest.mark.parametrize("name", ["run_code", "session_run"])
@pytest.mark.parametrize(
    "code",
    [
        "[{'n': n, 'text': 'x' * 50} for n in range(2_000)]",
        "'\"\u2603' * 20_000",
        "for n in range(5_000): print('line', n)\n1",
        "for n in range(5_000): print('line', n)\nlist(range(50_000))",
        "for n in range(300): db.query('SELECT 1')\n['é'] * 30_000",
        "print('x' * 100_000)\n1 / 0",
    ],
)
async def test_what_a_program_gives_beyond_the_limit_is_cut_and_said_so(
    tmp_path: Path, name: str, code: str
) -> None:
    most = 20_000
    async with client_by("memory", tmp_path / "data", BOTH[0], mcp_result_bytes=most) as client:
        await client.list_tools()
        result = await client.call_tool(name, {"code": code})
        answer = result.structured_content
        ran = answer if name == "run_code" else answer["result"]
        assert not result.is_error and len(dumps(answer)) <= most + 50
        assert ran["truncated"] and ran["limit"] == "mcp_result_bytes"
        assert "left out" in ran["note"] or "here are the first" in ran["note"]
        assert ran["status"] == ("error" if "1 / 0" in code else "ok") and ran["id"]


async def test_the_end_of_stdin_ends_the_server_and_its_data_is_kept(tmp_path: Path) -> None:
    for expected in (1, 2):
        async with client_by("stdio", tmp_path / "data", BOTH[0]) as client:
            code = "db.create_table('t', {'a': 'INTEGER'}); db.exec('INSERT INTO t VALUES (1)'); db.query('SELECT a FROM t')"
            ran = await client.call_tool("run_code", {"code": code})
            assert len(ran.structured_content["value"]) == expected


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtime", "mcp", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


HELLO = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"test","version":"1"}}}\n'
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_while_stdin_is_open(tmp_path: Path, number: signal.Signals) -> None:
    with started("--data", str(tmp_path / "data")) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(HELLO)
        process.stdin.flush()
        assert b'"serverInfo"' in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 0


def test_nothing_but_messages_is_written_to_stdout(tmp_path: Path) -> None:
    call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"run_code","arguments":{"code":"print(1)"}}}\n'
    hostile = b"not json\n" + b"[" * 10_000 + b"]" * 10_000 + b'\n{"jsonrpc":"2.0"}\n\xff\xfe\n\n'
    with started("--data", str(tmp_path / "data")) as process:
        said, _ = process.communicate(HELLO + hostile + call % 1, timeout=60)
        assert process.returncode == 0
    assert said.splitlines() and all(line.startswith(b'{"jsonrpc":"2.0"') for line in said.splitlines())


def test_a_second_server_on_a_folder_is_told_who_has_it(tmp_path: Path) -> None:
    arguments = ("--data", str(tmp_path / "data"))
    with started(*arguments) as first:
        assert first.stdin is not None and first.stdout is not None
        first.stdin.write(HELLO)
        first.stdin.flush()
        first.stdout.readline()
        second = subprocess.run(
            [sys.executable, "-m", "runtime", "mcp", *arguments],
            cwd=ROOT,
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {first.pid}".encode() in second.stderr and b"Traceback" not in second.stderr
        first.stdin.close()
        assert first.wait(30) == 0


async def test_many_clients_call_side_by_side(tmp_path: Path) -> None:
    async with live_server(tmp_path / "data") as server:

        async def ask(number: int) -> list[int]:
            async with over_http(server.url, mode=BOTH[number % 2]) as client:
                await client.list_tools()
                calls = (
                    client.call_tool(
                        "session_query", {"session": f"s{number % 5}", "sql": "SELECT ? AS n", "params": [n]}
                    )
                    for n in range(20)
                )
                return [r.structured_content["rows"][0]["n"] for r in await asyncio.gather(*calls)]

        assert await asyncio.gather(*map(ask, range(16))) == [list(range(20))] * 16


@pytest.mark.parametrize("way", ["stdio", "forwarded"])
async def test_a_listener_over_stdio_hears_of_changes(tmp_path: Path, way: str) -> None:
    uri = "duralite://session/s/schema"
    async with client_by(way, tmp_path / "data", BOTH[0]) as client:
        await client.call_tool("session_query", {"session": "s", "sql": "SELECT 1"})
        async with client.listen(resource_subscriptions=[uri]) as events:
            await client.call_tool("session_exec", {"session": "s", "sql": "CREATE TABLE t (a)"})
            assert await anext(events) == ResourceUpdated(uri)
