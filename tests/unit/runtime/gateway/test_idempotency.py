"""An idempotency key makes a call happen once; the answer comes again, the effect does not."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from runtime.gateway.testing import LiveServer
from runtime.ids import ActorAddress
from runtime.testing import ManualClock

A = "/v1/notes/a"


def _once(key: str = "k1") -> dict[str, str]:
    return {"idempotency-key": key}


async def test_the_same_request_is_done_once_and_answered_twice(client: httpx.AsyncClient) -> None:
    first = await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    again = await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    assert first.content == again.content == b'{"lines":1}'
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert (await client.post(f"{A}/add", json={"text": "x"}, headers=_once("k2"))).json() == {"lines": 2}


async def test_the_same_key_with_another_request_is_a_mistake(client: httpx.AsyncClient) -> None:
    await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    for path, body in ((f"{A}/add", {"text": "y"}), (f"{A}/add_then_break", {"text": "x", "fail": False})):
        answer = await client.post(path, json=body, headers=_once())
        assert answer.status_code == 422
        assert answer.json()["code"] == "idempotency_conflict"
    assert (await client.post("/v1/notes/b/add", json={"text": "y"}, headers=_once())).status_code == 200


async def test_spelling_of_the_same_json_does_not_matter(client: httpx.AsyncClient) -> None:
    headers = {**_once(), "content-type": "application/json"}
    for body in (b'{"text":"x","fail":false}', b'{ "fail": false, "text": "\\u0078" }'):
        answer = await client.post(f"{A}/add_then_break", content=body, headers=headers)
        assert answer.json() == {"lines": 1}


async def test_a_call_that_failed_may_be_tried_again(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{A}/exec", json={"sql": "INSERT INTO t VALUES (1)"}, headers=_once())
    assert answer.status_code == 422
    await client.post(f"{A}/exec", json={"sql": "CREATE TABLE t (n)"})
    answer = await client.post(f"{A}/exec", json={"sql": "INSERT INTO t VALUES (1)"}, headers=_once())
    assert answer.json()["rows_affected"] == 1


async def test_many_at_once_have_one_effect(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post(f"{A}/add", json={"text": "x"}, headers=_once()) for _ in range(10))
    )
    assert {answer.content for answer in answers} == {b'{"lines":1}'}
    assert sum("idempotent-replay" in answer.headers for answer in answers) == 9


async def test_a_key_is_remembered_over_a_restart_of_the_actor(
    client: httpx.AsyncClient, live: LiveServer, clock: ManualClock
) -> None:
    await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    while live.host.live():
        await clock.advance(61)
        await asyncio.sleep(0.01)
    again = await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    assert again.headers["idempotent-replay"] == "true"


async def test_keys_are_forgotten_after_their_time(client: httpx.AsyncClient, clock: ManualClock) -> None:
    await client.post(f"{A}/pinned", json={})
    await client.post(f"{A}/add", json={"text": "x"}, headers=_once())
    for _ in range(25):
        await clock.advance(3_590)
        await client.post(f"{A}/query", json={"sql": "SELECT 1"})
    answer = await client.post(f"{A}/add", json={"text": "y"}, headers=_once())
    assert answer.status_code == 200
    assert "idempotent-replay" not in answer.headers


async def test_a_turn_that_runs_refuses_its_key_and_replays_at_its_end(
    client: httpx.AsyncClient, gate: asyncio.Event, notes: Any
) -> None:
    first = asyncio.ensure_future(client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once()))
    await notes.entered.wait()
    busy = await client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once())
    assert busy.status_code == 409
    assert busy.headers["retry-after"] == "1"
    gate.set()
    assert (await first).json() == {"lines": 1}
    again = await client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once())
    assert again.json() == {"lines": 1}
    assert again.headers["idempotent-replay"] == "true"


async def test_a_turn_goes_on_when_its_caller_goes_away(
    client: httpx.AsyncClient, gate: asyncio.Event, notes: Any
) -> None:
    first = asyncio.ensure_future(client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once()))
    await notes.entered.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    answer = await client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once())
    while answer.status_code == 409:
        answer = await client.post(f"{A}/slow_add", json={"text": "x"}, headers=_once())
    assert answer.json() == {"lines": 1}


async def test_a_call_that_a_crash_cut_off_is_not_repeated(
    client: httpx.AsyncClient, live: LiveServer
) -> None:
    await client.post(f"{A}/add", json={"text": "x"})
    instance = await live.host.acquire(ActorAddress("notes", "local", "a"))
    assert instance is not None
    body = {"text": "y"}
    from runtime.idempotency import fingerprint

    request = fingerprint("slow_add", body)
    await instance.connection.run(
        lambda tx: (
            tx.execute("INSERT INTO main._duralite_idempotency VALUES ('k1', ?, NULL, ?)", (request, tx.now))
            and None
        )
    )
    answer = await client.post(f"{A}/slow_add", json=body, headers=_once())
    assert answer.status_code == 409
    assert "cut off" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["x" * 256, "\x7f", "é"])
async def test_a_key_that_cannot_be_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post(
        f"{A}/add", json={"text": "x"}, headers={b"idempotency-key": key.encode("latin-1")}
    )
    assert answer.status_code in (400, 422)


async def test_reads_take_no_notice_of_a_key(client: httpx.AsyncClient) -> None:
    for sql in ("SELECT 1", "SELECT 2"):
        assert (await client.post(f"{A}/query", json={"sql": sql}, headers=_once())).status_code == 200


async def test_running_code_is_done_once(client: httpx.AsyncClient) -> None:
    for path in ("/v1/run", f"{A}/run"):
        first = await client.post(path, json={"code": "1"}, headers=_once())
        again = await client.post(path, json={"code": "1"}, headers=_once())
        assert first.content == again.content
        assert again.headers["idempotent-replay"] == "true"
