"""What comes in pieces: events by SSE and WebSocket, uploads and downloads."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runtime.gateway.testing import LiveServer, live_server
from runtime.ids import ActorAddress

A = "/v1/notes/a"


class _Reader:
    """Reads Server-Sent Events as a browser does."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                if not line:
                    return found
                name, _, value = line.partition(": ")
                found[name] = value
        raise AssertionError("the stream ended")


async def _say(client: httpx.AsyncClient, what: str) -> None:
    assert (await client.post(f"{A}/say", json={"what": what})).status_code == 200


async def test_events_come_with_ids_and_go_on_where_the_reader_was(client: httpx.AsyncClient) -> None:
    await _say(client, "before")
    async with client.stream("GET", f"{A}/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        reader = _Reader(response)
        assert await reader.next() == {"retry": "2000"}
        await _say(client, "one")
        first = await reader.next()
        assert first["event"] == "said"
        assert json.loads(first["data"]) == {"what": "one"}
    await _say(client, "two")
    async with client.stream("GET", f"{A}/events", headers={"last-event-id": first["id"]}) as response:
        reader = _Reader(response)
        await reader.next()
        assert json.loads((await reader.next())["data"]) == {"what": "two"}


async def test_an_id_that_is_not_known_any_more_is_answered_with_a_reset(client: httpx.AsyncClient) -> None:
    await _say(client, "x")
    async with client.stream("GET", f"{A}/events", headers={"last-event-id": "other-5"}) as response:
        reader = _Reader(response)
        await reader.next()
        assert (await reader.next())["event"] == "reset"


async def test_a_silent_stream_is_kept_alive_with_comments(
    live: LiveServer, client: httpx.AsyncClient
) -> None:
    await _say(client, "x")
    live.gateway.parts.events._keep_alive_s = 0.01
    async with client.stream("GET", f"{A}/events") as response:
        lines = response.aiter_lines()
        async with asyncio.timeout(20):
            async for line in lines:
                if line == ": keep-alive":
                    break


async def test_a_reader_that_fell_behind_is_dropped(live: LiveServer, client: httpx.AsyncClient) -> None:
    """The stream ends; the reader comes back with the id that it has."""
    await _say(client, "x")
    actor = live.host.id_of(ActorAddress("notes", "local", "a"))
    async with client.stream("GET", f"{A}/events") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        for i in range(1_100):
            live.host.events.publish(actor, "said", i)
        seen = [line async for line in lines if line.startswith("data")]
    assert 0 < len(seen) <= 1_100


async def test_streams_end_when_the_service_stops(client: httpx.AsyncClient, live: LiveServer) -> None:
    await _say(client, "x")
    async with client.stream("GET", f"{A}/events") as response:
        live.gateway.parts.stop_streams.set()
        async with asyncio.timeout(20):
            assert b"retry" in await response.aread()


# WebSocket


def _ws(live: LiveServer, path: str = f"{A}/events", **options: Any) -> Any:
    return connect("ws" + live.url[4:] + path, **options)


async def _ask(socket: ClientConnection, message: Any) -> Any:
    await socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(await asyncio.wait_for(socket.recv(), 20))


async def test_a_socket_takes_calls_and_gives_events(live: LiveServer, client: httpx.AsyncClient) -> None:
    await _say(client, "x")
    async with _ws(live) as socket:
        assert await _ask(socket, {"type": "ping", "id": 7}) == {"type": "pong", "id": 7}
        answer = await _ask(socket, {"type": "call", "id": "c1", "method": "add", "arguments": {"text": "x"}})
        assert answer == {"type": "answer", "id": "c1", "value": {"lines": 1}}
        wrong = await _ask(socket, {"type": "call", "id": 2, "method": "add", "arguments": {}})
        assert (wrong["type"], wrong["id"], wrong["problem"]["status"]) == ("error", 2, 422)
        inside = await _ask(
            socket,
            {"type": "call", "id": 3, "method": "add_then_break", "arguments": {"text": "x", "fail": True}},
        )
        assert inside["problem"]["code"] == "internal_error"
        assert "secret" not in json.dumps(inside)
        for unknown in ({"type": "nosuch"}, [], {"type": "call"}, "{", "\ud83d"[:0] + "x"):
            assert (await _ask(socket, unknown))["problem"]["hint"]
        await _say(client, "hello")
        event = json.loads(await socket.recv())
        assert (event["type"], event["event"], event["data"]) == ("event", "said", {"what": "hello"})
    async with _ws(live, f"{A}/events?last_event_id={event['id'][:-1]}1") as socket:
        assert json.loads(await asyncio.wait_for(socket.recv(), 20))["data"] == {"what": "hello"}


async def test_a_call_on_a_socket_can_be_cancelled(live: LiveServer, client: httpx.AsyncClient) -> None:
    await _say(client, "x")
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    async with _ws(live) as socket:
        await socket.send(
            json.dumps({"type": "call", "id": 1, "method": "query", "arguments": {"sql": endless}})
        )
        answer = await _ask(socket, {"type": "cancel", "id": 1})
        assert answer["problem"]["code"] == "cancelled"
        again = await _ask(
            socket, {"type": "call", "id": 2, "method": "query", "arguments": {"sql": "SELECT 1"}}
        )
        assert again["type"] == "answer"


async def test_a_socket_closes_for_the_documented_reasons(
    live: LiveServer, client: httpx.AsyncClient
) -> None:
    await _say(client, "x")
    async with _ws(live) as socket:
        await socket.send(b"binary")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1003
    async with _ws(live) as socket:
        for _ in range(20):
            await socket.send("{")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    async with _ws(live) as socket:
        live.gateway.parts.stop_streams.set()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/notes/absent/events", {}, 404),
        ("/v1/notes/a/query", {}, 404),
        ("/", {}, 404),
        (f"{A}/events", {"origin": "http://evil.example"}, 403),
        (f"{A}/events", {"x-api-key": "wrong"}, 401),
    ],
)
async def test_a_socket_that_may_not_be_is_answered_with_a_problem(
    live: LiveServer, client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    await _say(client, "x")
    with pytest.raises(InvalidStatus) as refused:
        async with _ws(live, path, additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["status"] == status


# Files


@pytest.fixture
def foreign(tmp_path: Path) -> bytes:
    path = tmp_path / "foreign.sqlite"
    raw = sqlite3.connect(path)
    raw.executescript("CREATE TABLE f (n); INSERT INTO f VALUES (1), (2);")
    raw.close()
    return path.read_bytes()


async def test_a_file_is_imported_raw_and_as_a_form(
    client: httpx.AsyncClient, foreign: bytes, tmp_path: Path
) -> None:
    raw = await client.post(f"{A}/import_file", content=foreign)
    assert raw.json()["rows"] == 2, raw.text
    form = await client.post(
        f"{A}/import_file", files={"upload": ("f.sqlite", foreign)}, data={"replace": "true"}
    )
    assert form.json()["tables"] == {"f": 2}, form.text
    query = await client.post(f"{A}/import_file?replace=true", content=foreign)
    assert query.status_code == 200
    assert not list((tmp_path / "data" / "tmp").iterdir())


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b""}, 422),
        ({"content": b"not a database"}, None),
        ({"files": {"upload": ("a", b"")}}, 422),
        ({"data": {"replace": "true"}}, 422),
        ({"files": [("a", ("a", b"x")), ("b", ("b", b"x"))]}, 422),
        ({"files": {"upload": ("a", b"x")}, "data": {"nosuch": "1"}}, 422),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400),
        (
            {"content": b"--b\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            None,
        ),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=" + "b" * 300}}, 400),
    ],
)
async def test_a_bad_file_is_refused_and_nothing_is_left(
    client: httpx.AsyncClient, tmp_path: Path, options: Any, status: int | None
) -> None:
    answer = await client.post(f"{A}/import_file", **options)
    assert 400 <= answer.status_code < 500, answer.text
    assert status is None or answer.status_code == status, answer.text
    assert answer.json()["code"]
    assert not list((tmp_path / "data" / "tmp").iterdir())


async def test_a_file_over_its_limit_is_refused_early(tmp_path: Path, notes: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    async with (
        live_server(tmp_path, notes, limits={"max_upload_bytes": 100_000}) as live,
        httpx.AsyncClient(base_url=live.url, timeout=20) as http,
    ):
        for content in (b"x" * 2_000_000, pieces()):
            answer = await http.post(f"{A}/import_file", content=content)
            assert answer.status_code == 413
            assert answer.json()["limit"] == "max_upload_bytes"
    assert not list((tmp_path / "tmp").iterdir())


async def test_what_a_crash_left_is_removed_at_the_start(tmp_path: Path, notes: Any) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "upload-old").write_bytes(b"x")
    async with live_server(tmp_path, notes):
        assert not (tmp_path / "tmp" / "upload-old").exists()


async def test_a_session_is_exported_as_a_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await client.post("/v1/notes/caf%C3%A9%22/add", json={"text": "x"})
    answer = await client.get("/v1/notes/caf%C3%A9%22/export")
    assert answer.headers["content-type"] == "application/vnd.sqlite3"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    file = tmp_path / "out.sqlite"
    file.write_bytes(answer.content)
    raw = sqlite3.connect(file)
    assert raw.execute("SELECT text FROM lines").fetchall() == [("x",)]
    raw.close()
    text = await client.get(
        "/v1/notes/caf%C3%A9%22/export", params={"format": "csv", "sql": "SELECT text FROM lines"}
    )
    assert text.text == "text\r\nx\r\n"
    refused = await client.get("/v1/notes/caf%C3%A9%22/export", params={"format": "csv"})
    assert refused.status_code == 422
