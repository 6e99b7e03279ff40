"""The edge of MCP: the gateway's checks hold for `/mcp` as for everything else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from runtime.gateway.testing import LiveServer, live_server
from runtime.testing import until
from tests.unit.runtime.gateway.mcp.desk import BOTH, ENDLESS, Desk, Shelf, over_http

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = "2026-07-28"


def message(method: str, **params: Any) -> dict[str, Any]:
    """Return a request of the revision without a handshake."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}


def modern(method: str, name: str | None = None) -> dict[str, str]:
    """Return its headers."""
    named = {} if name is None else {"mcp-name": name}
    return {**ACCEPT, "mcp-protocol-version": MODERN, "mcp-method": method, **named}


HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@asynccontextmanager
async def served(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[LiveServer, httpx.AsyncClient]]:
    async with (
        live_server(tmp_path / "data", Desk, Shelf, **settings) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as http,
    ):
        yield server, http


async def call(
    http: httpx.AsyncClient, name: str, arguments: dict[str, Any], **headers: str
) -> httpx.Response:
    body = message("tools/call", name=name, arguments=arguments)
    return await http.post("/mcp", json=body, headers={**modern("tools/call", name), **headers})


async def session(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """Shake hands as a client of 2025 does."""
    return await http.post("/mcp", json=HELLO, headers={**ACCEPT, **headers})


def test_the_sdk_is_not_loaded_before_there_is_a_client() -> None:
    check = "import sys, runtime.cli.app, runtime.gateway.app; sys.exit(any(m in sys.modules for m in ('mcp', 'mcp_types')))"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("mode", BOTH)
async def test_two_accounts_do_not_meet(tmp_path: Path, mode: str) -> None:
    async with live_server(tmp_path / "data", Desk, Shelf, auth="required") as server:
        make = server.gateway.parts.accounts.create_key
        keys = [(await make(account))[0] for account in ("ann", "bob")]
        async with over_http(server.url, keys[0], mode) as ann, over_http(server.url, keys[1], mode) as bob:
            await ann.call_tool("desk_exec", {"desk": "d", "sql": "CREATE TABLE secret (a)"})
            tables = await bob.call_tool("desk_tables", {"desk": "d"})
            assert tables.structured_content["result"] == []
            listed = {str(r.uri) for r in (await ann.list_resources()).resources}
            assert "duralite://desk/d/schema" in listed
            with pytest.raises(MCPError):
                await bob.read_resource("duralite://desk/d/tables/secret")


async def test_without_a_key_a_service_that_needs_one_says_how_to_send_it(tmp_path: Path) -> None:
    async with served(tmp_path, auth="required") as (_, http):
        for headers in ({}, {"authorization": "Bearer dl_00_nope"}, {"authorization": "Basic eDp5"}):
            answer = await http.post(
                "/mcp", json=message("tools/list"), headers={**modern("tools/list"), **headers}
            )
            assert answer.status_code == 401
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith('Bearer realm="duralite", resource_metadata="http://127.0.0.1:')
            assert "Bearer dl_" in answer.json()["hint"]
        metadata = challenge.partition('resource_metadata="')[2].rstrip('"')
        for suffix in ("", "/mcp"):
            said = (await http.get(metadata + suffix)).json()
            assert said["resource"] == str(http.base_url).rstrip("/") + suffix
            assert said["bearer_methods_supported"] == ["header"] and "read" in said["scopes_supported"]


async def test_a_page_of_another_site_and_a_rebound_name_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, http):
        for headers, status in (
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"host": "evil.example"}, 421),
        ):
            for answer in (
                await call(http, "desk_query", {"sql": "SELECT 1"}, **headers),
                await session(http, **headers),
                await http.get("/mcp", headers={**ACCEPT, **headers}),
            ):
                assert answer.status_code == status


async def test_a_page_of_an_allowed_origin_may_call(tmp_path: Path) -> None:
    origin = "https://app.example"
    async with served(tmp_path, cors_origins=(origin,)) as (_, http):
        asks = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await http.options("/mcp", headers=asks)
        assert preflight.status_code == 204
        for name in ("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"):
            assert name in preflight.headers["access-control-allow-headers"]
        answer = await session(http, origin=origin)
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == origin
        assert "mcp-session-id" in answer.headers["access-control-expose-headers"]


async def test_a_session_belongs_to_the_key_that_opened_it(tmp_path: Path) -> None:
    async with served(tmp_path, auth="required") as (server, http):
        make = server.gateway.parts.accounts.create_key
        ann, bob = [{"authorization": f"Bearer {(await make(name))[0]}"} for name in ("ann", "bob")]
        opened = await session(http, **ann)
        identity = {"mcp-session-id": opened.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await http.post("/mcp", json=ping, headers={**ACCEPT, **identity, **ann})).status_code == 200
        assert (await http.post("/mcp", json=ping, headers={**ACCEPT, **identity, **bob})).status_code == 404
        assert (await http.delete("/mcp", headers={**ACCEPT, **identity, **bob})).status_code == 404
        assert (await http.delete("/mcp", headers={**ACCEPT, **identity, **ann})).status_code == 200
        assert (await http.post("/mcp", json=ping, headers={**ACCEPT, **identity, **ann})).status_code == 404


async def test_a_revoked_key_ends_with_its_session_still_open(tmp_path: Path) -> None:
    async with live_server(tmp_path / "data", Desk, Shelf, auth="required") as server:
        key, record = await server.gateway.parts.accounts.create_key("ann")
        async with over_http(server.url, key, "legacy") as client:
            await client.list_tools()
            await server.gateway.parts.accounts.revoke_key(record.id, by=None)
            with pytest.raises(MCPError):
                await client.list_tools()


async def test_sessions_are_bounded_in_number_and_idle_time(tmp_path: Path) -> None:
    async with served(tmp_path, limits={"mcp_sessions": 2, "mcp_idle_s": 0.2}) as (_, http):
        first = await session(http)
        assert (await session(http)).status_code == 200
        assert (await session(http)).status_code == 503
        identity = {**ACCEPT, "mcp-session-id": first.headers["mcp-session-id"]}
        async with asyncio.timeout(20):
            while (await session(http)).status_code != 200:
                await asyncio.sleep(0)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await http.post("/mcp", json=ping, headers=identity)).status_code == 404


async def test_an_accounts_oldest_session_makes_room_and_no_other_accounts_does(tmp_path: Path) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with served(tmp_path, auth="required", limits={"mcp_account_sessions": 2}) as (server, http):
        make = server.gateway.parts.accounts.create_key
        ann, bob = [{**ACCEPT, "authorization": f"Bearer {(await make(name))[0]}"} for name in ("ann", "bob")]

        async def alive(identity: str, key: dict[str, str]) -> bool:
            answer = await http.post("/mcp", json=ping, headers={**key, "mcp-session-id": identity})
            return answer.status_code == 200

        async def opened(key: dict[str, str]) -> str:
            return str((await session(http, **key)).headers["mcp-session-id"])

        his, first, second = await opened(bob), await opened(ann), await opened(ann)
        assert await alive(first, ann)  # so that the second is the least recently used
        third = await opened(ann)
        async with asyncio.timeout(20):
            while await alive(second, ann):
                await asyncio.sleep(0)
        assert await alive(first, ann) and await alive(third, ann) and await alive(his, bob)
        await http.delete("/mcp", headers={**ann, "mcp-session-id": first})
        fourth = await opened(ann)
        assert await alive(third, ann) and await alive(fourth, ann)


async def test_the_revision_without_a_handshake_is_served_while_all_sessions_are_taken(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, limits={"mcp_sessions": 1}) as (_, http):
        await session(http)
        assert (await session(http)).status_code == 503
        answer = await call(http, "desk_query", {"sql": "SELECT 1 AS one"})
        assert answer.json()["result"]["structuredContent"]["rows"] == [{"one": 1}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 10_000 + b"]" * 10_000, 422),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": '
            + b'{"a":' * 10_000
            + b"1"
            + b"}" * 10_001,
            422,
        ),
        (b'{"id": NaN}', 400),
        (b'{"a": "\\ud800"}', 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"null", 400),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', 400),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 400),
        (b'{"jsonrpc": "2.0", "id": {}, "method": 5}', 400),
        (b"x" * 70_000, 413),
    ],
)
async def test_bodies_that_are_no_messages_are_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with served(tmp_path, limits={"mcp_body_bytes": 65_536}) as (_, http):
        for headers in (modern("tools/list"), ACCEPT):
            answer = await http.post("/mcp", content=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert status != 413 or answer.json()["limit"] == "mcp_body_bytes"
            assert "Traceback" not in answer.text
        assert (await call(http, "desk_query", {"sql": "SELECT 1"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"accept": "text/html"},
        {"mcp-protocol-version": "1999-01-01"},
        {"mcp-protocol-version": "\N{LATIN SMALL LETTER U WITH DIAERESIS}"},
        {"mcp-method": "tools/call"},
        {"mcp-session-id": "nope"},
    ],
)
async def test_headers_that_fit_no_revision_never_trip_the_service(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    given = {name: value.encode("latin-1") for name, value in headers.items()}
    async with served(tmp_path) as (_, http):
        for usual in (modern("tools/list"), ACCEPT):
            answer = await http.post("/mcp", json=message("tools/list"), headers={**usual, **given})
            assert answer.status_code < 500
        for verb in ("GET", "DELETE", "PUT", "PATCH", "HEAD"):
            answer = await http.request(verb, "/mcp", headers={**ACCEPT, **given})
            assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "params",
    [
        None,
        5,
        [],
        {"name": 5},
        {"name": "desk_query", "arguments": []},
        {"name": None},
        {"name": "x" * 100_000},
    ],
)
async def test_parameters_of_a_wrong_shape_are_errors_of_the_protocol(tmp_path: Path, params: Any) -> None:
    body = message("tools/call")
    body["params"] = {**body["params"], **params} if isinstance(params, dict) else params
    async with served(tmp_path) as (_, http):
        answer = await http.post("/mcp", json=body, headers=modern("tools/call", "x"))
        assert answer.status_code in (200, 400, 404) and "error" in answer.json()


async def test_a_key_may_send_so_many_messages_a_second(tmp_path: Path) -> None:
    async with served(tmp_path, limits={"rate_per_s": 0.001, "rate_burst": 2}) as (_, http):
        answers = [await call(http, "desk_query", {"sql": "SELECT 1"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "ratelimit" in answers[0].headers and "retry-after" in answers[2].headers


async def test_requests_have_ids_and_are_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, http):
        answer = await call(http, "run_code", {"code": "1"}, **{"x-request-id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        await call(http, "desk_query", {"sql": "PRAGMA user_version"})
        metrics = (await http.get("/metrics")).text
        assert 'duralite_requests_total{method="mcp",status="2xx",type="none"} 2.0' in metrics
        assert 'duralite_runs_total{outcome="ok"} 1.0' in metrics
        assert 'duralite_guard_refusals_total{rule="statement.pragma"} 1.0' in metrics


@pytest.mark.parametrize(
    ("query", "expected"), [("", 2), ("?tools=desk_wipe", 1), ("?tools=code,shelf_*", 4)]
)
async def test_a_client_may_ask_for_other_tools_in_its_url(tmp_path: Path, query: str, expected: int) -> None:
    async with served(tmp_path, mcp_tools=("desk_wipe", "shelf_label")) as (_, http):
        answer = await http.post(f"/mcp{query}", json=message("tools/list"), headers=modern("tools/list"))
        assert len(answer.json()["result"]["tools"]) >= expected
        if query != "?tools=code,shelf_*":
            assert len(answer.json()["result"]["tools"]) == expected


@pytest.mark.parametrize(
    "query", ["?tools=%ff", "?tools=a&tools=b", "?tools=" + "a*," * 60, "?" + "x=1&" * 300]
)
async def test_a_url_that_cannot_be_read_is_an_error_of_the_protocol(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as (_, http):
        answer = await http.post(f"/mcp{query}", json=message("tools/list"), headers=modern("tools/list"))
        assert answer.json()["error"]["code"] in (-32602, -32600)


async def test_a_file_that_is_long_or_no_text_is_a_link_that_works(tmp_path: Path) -> None:
    async with served(tmp_path, limits={"mcp_result_bytes": 4096}) as (_, http):
        for arguments in ({"size": 9_000}, {"size": 5, "media_type": "image/png"}):
            answer = (await call(http, "desk_give", {"desk": "a/b", **arguments})).json()["result"]
            link = next(part for part in answer["content"] if part["type"] == "resource_link")
            assert len((await http.get(link["uri"])).content) == arguments["size"]


async def test_a_client_that_goes_away_cancels_its_call(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, http):
        asking = asyncio.ensure_future(call(http, "desk_query", {"sql": ENDLESS}))
        await until(lambda: any(i.stats().running for i in server.host.live()))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not any(i.busy for i in server.host.live()))
        assert (await call(http, "desk_query", {"sql": "SELECT 1"})).status_code == 200


async def test_a_drain_ends_streams_at_once_and_lets_calls_end(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, http):
        opened = await session(http)
        identity = {**ACCEPT, "mcp-session-id": opened.headers["mcp-session-id"]}
        async with http.stream("GET", "/mcp", headers=identity) as stream:
            assert stream.status_code == 200
            counting = asyncio.ensure_future(call(http, "desk_count", {"to": 0}))
            answer = await counting
            draining = asyncio.ensure_future(server.gateway.drain(20))
            async for _ in stream.aiter_bytes():
                pass
            await draining
        assert answer.status_code == 200
        assert (await call(http, "desk_query", {"sql": "SELECT 1"})).status_code == 503


async def test_a_drain_leaves_the_job_of_a_call_to_the_next_start(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def hear(progress: float, total: float | None, text: str | None) -> None:
        heard.set()

    async with (
        live_server(tmp_path / "data", Desk, Shelf, limits={"drain_s": 0.1}) as server,
        over_http(server.url) as client,
    ):
        call = asyncio.ensure_future(client.call_tool("desk_count", {"to": 2}, progress_callback=hear))
        await heard.wait()
        await server.gateway.drain(0.05)
        await asyncio.gather(call, return_exceptions=True)
        (instance,) = server.host.live()
        assert [job.state for job in await instance.jobs.list()] == ["running"]


async def test_a_call_that_the_drain_cuts_off_is_told_so(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, http):
        asking = asyncio.ensure_future(call(http, "desk_query", {"sql": ENDLESS}))
        await until(lambda: any(i.stats().running for i in server.host.live()))
        await server.gateway.drain(0.05)
        assert (await asking).status_code == 503


def events(text: str) -> list[Any]:
    """Return the messages of an event stream."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


async def test_a_client_of_2025_gets_its_answer_as_an_event(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, http):
        opened = await session(http)
        assert events(opened.text)[0]["result"]["serverInfo"]["name"] == "duralite"
        identity = {**ACCEPT, "mcp-session-id": opened.headers["mcp-session-id"]}
        done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await http.post("/mcp", json=done, headers=identity)).status_code == 202
        params = {"name": "desk_query", "arguments": {"sql": "SELECT 1 AS one"}}
        body = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params}
        answer = events((await http.post("/mcp", json=body, headers=identity)).text)[-1]
        assert answer["id"] == "a" and answer["result"]["structuredContent"]["rows"] == [{"one": 1}]
