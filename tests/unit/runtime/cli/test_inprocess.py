"""A request in process goes the way of a request over a socket: streamed, bounded, and ended with its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runtime.cli.inprocess import InProcess


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=InProcess(app), base_url="http://127.0.0.1:1")


async def start(send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-a", b"b")]})


async def test_bodies_come_whole_in_both_directions() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 201)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 1000

    async with client(echo) as http:
        answer = await http.post("/", content=pieces())
    assert (answer.status_code, answer.headers["x-a"]) == (201, "b")
    assert answer.content == b"".join(bytes([n]) * 1000 for n in range(100))


async def test_a_path_keeps_its_escapes_and_its_query() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["raw_path"], scope["query_string"], scope["client"][0]))
        await start(send)
        await send({"type": "http.response.body"})

    async with client(app) as http:
        await http.get("/v1/session/%2E%2E%2Fa?q=x%20y")
    assert seen == [(b"/v1/session/%2E%2E%2Fa", b"q=x%20y", "127.0.0.1")]


async def test_a_writer_waits_for_its_reader_and_is_told_when_the_reader_leaves() -> None:
    sent = 0
    told = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        while (await receive())["more_body"]:
            pass
        await start(send)
        gone = asyncio.ensure_future(receive())
        for _ in range(1000):
            writing = asyncio.ensure_future(
                send({"type": "http.response.body", "body": b"x", "more_body": True})
            )
            await asyncio.wait([gone, writing], return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                writing.cancel()
                assert gone.result() == {"type": "http.disconnect"}
                told.set()
                return
            sent += 1

    async with client(app) as http, http.stream("GET", "/") as answer:
        assert await anext(aiter(answer.aiter_raw())) == b"x"
    assert told.is_set()
    assert sent < 100


async def test_an_application_that_dies_is_an_error_at_once_and_in_the_middle() -> None:
    async def dies(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("early")

    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
        return

    async with client(dies) as http:
        with pytest.raises(ValueError, match="early"):
            await http.get("/")
    for app in (breaks_off, says_nothing):
        async with client(app) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/")
