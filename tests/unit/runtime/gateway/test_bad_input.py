"""Whatever is sent, the answer is a problem with the right status and a hint, never a 500."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.gateway.testing import LiveServer, live_server

JSON = {"content-type": "application/json"}
A = "/v1/notes/a"


def _check(answer: httpx.Response, status: int) -> dict[str, Any]:
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["hint"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "required"),
        (b"{}", 422, "required"),
        (b"null", 422, "object"),
        (b"[]", 422, "object"),
        (b'"text"', 422, "object"),
        (b"5", 422, "object"),
        (b'{"sql": 5}', 422, "string"),
        (b'{"sql": null}', 422, "string"),
        (b'{"sql": ["SELECT 1"]}', 422, "string"),
        (b'{"sql": "SELECT 1", "extra": 1}', 422, "extra"),
        (b'{"sq": "SELECT 1"}', 422, "the nearest is sql"),
        (b'{"sql": "SELECT 1", "limit": "5"}', 422, "limit"),
        (b'{"sql": "SELECT 1", "limit": -1}', 422, "limit"),
        (b'{"sql": "SELECT 1", "limit": true}', 422, "limit"),
        (b'{"sql": "SELECT 1", "limit": 99999999999999999999999}', 422, "limit"),
        (b'{"sql": "SELECT 1", "row_format": "cubes"}', 422, "row_format"),
        (b'{"sql": "SELECT ?", "params": 5}', 422, "params"),
        (b'{"sql": "SELECT ?", "params": "x"}', 422, "params"),
        (b'{"sql": "SELECT ?", "params": [[1]]}', 422, "list"),
        (b'{"sql": "SELECT ?", "params": [{"a": 1}]}', 422, "object"),
        (b'{"sql": "SELECT ?", "params": [{"$bytes": "%%%"}]}', 422, "base64"),
        (b'{"sql": "SELECT ?", "params": [36893488147419103232123]}', 200, None),
        (b'{"sql": "SELECT ?", "params": [9223372036854775808]}', 422, "64 bits"),
        (b'{"sql": "SELECT ?", "params": []}', 422, None),
        (b'{"sql": "SELECT ?", "params": [1, 2]}', 422, None),
        (b'{"sql": "SELECT * FROM missing"}', 422, "missing"),
        (b'{"sql": "SELEC 1"}', None, None),
        (b'{"sql": ""}', None, None),
        (b'{"sql": "SELECT 1; SELECT 2"}', None, None),
        (b'{"sql": "SELECT 1\\u0000"}', None, None),
        (b'{"sql": "ATTACH \'/etc/passwd\' AS x"}', 403, None),
        (b'{"sql": "PRAGMA user_version"}', 403, None),
        (b'{"sql": "DELETE FROM sqlite_master"}', None, None),
        (b'{"sql": "SELECT NaN", "params": [NaN]}', 400, "NaN"),
        (b'{"sql": "SELECT 1", "params": [Infinity]}', 400, "Infinity"),
        (b'{"sql": "\\ud800"}', 400, "surrogate"),
        (b'{"sql": "\xed\xa0\x80"}', 400, "UTF-8"),
        (b'{"sql": "\xff\xfe"}', 400, "UTF-8"),
        (b"\xef\xbb\xbf{}", 400, None),
        (b"{'sql': 'SELECT 1'}", 400, "double quotes"),
        (b'{"sql": "SELECT 1",}', 400, None),
        (b'{"sql": "SELECT 1"', 400, None),
        (b'{"sql": "SELECT 1"} {}', 400, None),
        (b"\x00\x01\x02", 400, None),
        (b"SELECT 1", 400, None),
        (b"[" * 10_000, 422, "levels"),
        (b"[" * 10_000 + b"]" * 10_000, 422, "levels"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 422, "levels"),
        (b'{"sql": "x", "params": ' + b"[" * 70 + b"]" * 70 + b"}", 422, "levels"),
        (b'{"sql": "x", "params": ' + b"[" * 1000 + b"]" * 1000 + b"}", 422, "levels"),
    ],
)
async def test_a_bad_body_is_refused_with_a_hint(
    client: httpx.AsyncClient, body: bytes, status: int | None, says: str | None
) -> None:
    answer = await client.post(f"{A}/query", content=body, headers=JSON)
    if status == 200:
        assert answer.status_code == 200, answer.text
        return
    problem = _check(answer, answer.status_code if status is None else status)
    assert 400 <= answer.status_code < 500
    if says is not None:
        assert says in str(problem)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/a"])
async def test_who_wants_to_make_an_actor_is_told_that_its_first_call_does(
    client: httpx.AsyncClient, path: str
) -> None:
    problem = _check(await client.post(path, json={}), 405)
    assert "the first call, POST /v1/notes/{name}/{method}" in problem["hint"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/nosuch/a/query", 404),
        ("POST", "/v1/notes/a/nosuch", 404),
        ("POST", "/v1/notes/a/__init__", 404),
        ("POST", "/v1/notes/a/methods", 404),
        ("POST", "/v1/notes//query", 422),
        ("POST", "/v1/notes/%00/query", 422),
        ("POST", "/v1/notes/a%00b/query", 422),
        ("POST", "/v1/notes/" + "x" * 5_000 + "/query", 422),
        ("POST", "/v1/notes/%ff/query", 400),
        ("POST", "/v1/notes/%ed%a0%80/query", 400),
        ("POST", "/v1/%ff/a/query", 400),
        ("POST", "/v1/notes/a/b/query", 404),
        ("POST", "/v1", 405),
        ("POST", "/v1/notes", 405),
        ("POST", "/v1/notes/a", 405),
        ("PUT", "/v1/notes/a/query", 405),
        ("DELETE", "/v1/notes/a/query", 405),
        ("PATCH", "/v1/notes/a/query", 405),
        ("OPTIONS", "/v1/notes/a/query", 405),
        ("GET", "/v1/notes/a/exec", 405),
        ("GET", "/v1/notes/a/query", 422),
        ("GET", "/v1/notes/a/query?sql=SELECT%201&sql=x", 422),
        ("GET", "/v1/notes/a/query?sql=%ff", 400),
        ("GET", "/v1/notes/a/query?sql=SELECT+1&limit=x", 422),
        ("GET", "/v1/notes/a/query?sql=SELECT+1&nosuch=1", 422),
        ("GET", "/v1/notes/a/query?" + "&".join(f"a{i}=1" for i in range(300)), 400),
        ("GET", "/v1/notes?limit=0", 422),
        ("GET", "/v1/notes?limit=1e9", 422),
        ("GET", "/v1/notes?limit=x", 422),
        ("GET", "/v1/notes?cursor=%25%25", 400),
        ("GET", "/v1/notes?cursor=abc", 400),
        ("GET", "/v1/notes?q=%00", 422),
        ("GET", "/v1/notes?nosuch=1", 422),
        ("GET", "/v1/notes/absent", 404),
        ("DELETE", "/v1/notes/absent", 404),
        ("GET", "/v1/notes/absent/events", 404),
        ("POST", "/v1/notes/absent/events", 405),
        ("GET", "/v1/nosuch", 404),
        ("DELETE", "/v1/keys/absent", 404),
        ("GET", "/v1/keys/absent", 405),
        ("GET", "/v2/notes", 404),
        ("GET", "/nothing/at/all", 404),
        ("POST", "/healthz", 405),
        ("POST", "/metrics", 405),
        ("DELETE", "/", 405),
    ],
)
async def test_a_bad_path_is_refused_with_a_hint(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    for _ in range(2):
        answer = await client.request(method, path, headers=JSON)
        _check(answer, status)
        assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/xml",
        "x" * 5000,
    ],
)
async def test_a_body_must_be_declared_as_json(client: httpx.AsyncClient, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = await client.post(f"{A}/query", content=b'{"sql": "SELECT 1"}', headers=headers)
    assert "application/json" in _check(answer, 415)["hint"]


async def test_json_with_parameters_or_a_suffix_is_json(client: httpx.AsyncClient) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"):
        answer = await client.post(
            f"{A}/query", content=b'{"sql": "SELECT 1"}', headers={"content-type": kind}
        )
        assert answer.status_code == 200


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    _check(await client.post(f"{A}/query", content=b"x", headers={**JSON, "content-encoding": "gzip"}), 415)


async def test_a_hundred_megabytes_are_refused_without_being_kept(live: LiveServer) -> None:
    """Declared, or sent in chunks of unknown number: memory does not grow by the body."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = b"x" * 65_536

    async def endless() -> Any:
        for _ in range(1_600):
            yield piece

    async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
        for headers in ({**JSON, "content-length": "104857600"}, JSON):
            answer = await http.post(f"{A}/query", content=endless(), headers=headers)
            assert _check(answer, 413)["limit"] == "max_body_bytes"
        assert (await http.post(f"{A}/query", json={"sql": "SELECT 1"})).status_code == 200
    # The limit itself (32 MiB, and once more while it is joined) may be used, not the whole body.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 90_000


async def _raw(port: int, data: bytes, *, close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    if close:
        writer.write_eof()
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /v1/notes/a/query HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/notes/a/query HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/notes/a/query HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/notes/a/query HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 500_000,
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_problem_and_the_connection_is_closed(
    live: LiveServer, data: bytes
) -> None:
    answer = await _raw(live.port, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400"), answer[:300]
    assert b"application/problem+json" in head
    assert b'"hint"' in body


async def test_a_request_without_a_host_is_refused(live: LiveServer) -> None:
    answer = await _raw(live.port, b"GET /v1 HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert b"400" in answer.split(b"\r\n")[0]
    assert b"malformed_request" in answer


async def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path, notes: Any) -> None:
    async with live_server(tmp_path, notes, limits={"body_s": 0.1}) as live:
        head = b"POST /v1/notes/a/query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        for body in (b"", b'{"sql": "SEL'):
            answer = await _raw(live.port, head + b"content-length: 100\r\n\r\n" + body)
            assert b" 408 " in answer
            assert b"request_timeout" in answer
        answer = await _raw(
            live.port,
            head.replace(b"json", b"octet-stream").replace(b"query", b"import_file")
            + b"content-length: 100\r\n\r\nabc",
        )
        assert b" 408 " in answer
        assert not list((tmp_path / "tmp").iterdir())


async def test_a_head_that_does_not_arrive_is_given_up(live: LiveServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(b"GET /v1 HTTP/1.1\r\nhost: loc")
    await writer.drain()
    while not live.server.server_state.connections:
        await asyncio.sleep(0)
    for _ in range(3):
        live.sweep()
    answer = await asyncio.wait_for(reader.read(), 20)
    assert b" 408 " in answer
    writer.close()


async def test_too_many_connections_are_told_so(tmp_path: Path, notes: Any) -> None:
    async with live_server(tmp_path, notes, limits={"max_connections": 2}) as live:
        held = [await asyncio.open_connection("127.0.0.1", live.port) for _ in range(2)]
        while len(live.server.server_state.connections) < 2:
            await asyncio.sleep(0)
        answer = await _raw(live.port, b"")
        assert b" 503 " in answer
        assert b"max_connections" in answer
        for _, writer in held:
            writer.close()
