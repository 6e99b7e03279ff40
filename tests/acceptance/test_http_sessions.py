"""Many sessions over HTTP with interleaved writers: nothing lost, nothing mixed, few files open."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from runtime.actor import Actor
from runtime.gateway.app import create_app
from runtime.gateway.testing import live_server
from runtime.guard import SESSION, Policy
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings

SESSIONS, WRITERS, AT_ONCE = 1_000, 2, 16


class Plain(StatementMethods, StateMethods, Actor, type_name="plain"):
    """A session without a sandbox."""

    policy: ClassVar[Policy | None] = SESSION


@pytest.mark.slow
async def test_a_thousand_sessions_with_interleaved_writers_lose_and_mix_nothing(tmp_path: Path) -> None:
    """Two writers each, in random order, with at most 40 files open."""
    limits = {"max_open": 40}
    places = asyncio.Semaphore(AT_ONCE)
    async with (
        live_server(tmp_path, Plain, limits=limits) as live,
        httpx.AsyncClient(base_url=live.url, timeout=100) as http,
    ):
        most = 0

        async def write(session: int, writer: int) -> None:
            nonlocal most
            async with places:
                path = f"/v1/plain/session-{session}"
                made = {"name": "t", "schema": {"session": "INTEGER", "writer": "INTEGER"}}
                assert (await http.post(f"{path}/create_table", json=made)).status_code == 200
                insert = {"sql": "INSERT INTO t VALUES (?, ?)", "params": [session, writer]}
                assert (await http.post(f"{path}/exec", json=insert)).json()["rows_affected"] == 1
                most = max(most, len(live.host.live()))

        work = [(session, writer) for session in range(SESSIONS) for writer in range(WRITERS)]
        random.Random(7).shuffle(work)
        await asyncio.gather(*(write(session, writer) for session, writer in work))
        assert most <= 40

        async def read(session: int) -> list[list[int]]:
            async with places:
                sql = {"sql": "SELECT session, writer FROM t ORDER BY writer", "row_format": "arrays"}
                answer = await http.post(f"/v1/plain/session-{session}/query", json=sql)
                return list(answer.json()["rows"])

        for session in range(0, SESSIONS, 7):
            assert await read(session) == [[session, writer] for writer in range(WRITERS)]
        counted = 0
        url: str | None = "/v1/plain?limit=1000"
        while url is not None:
            page = (await http.get(url)).json()
            counted += len(page["items"])
            url = page["next_url"]
        assert counted == SESSIONS


async def test_a_large_batch_and_its_rows_go_over_one_connection(tmp_path: Path) -> None:
    records = [{f"c{i}": f"{i}-{n}" for i in range(6)} for n in range(10_000)]
    async with live_server(tmp_path, Plain) as live, httpx.AsyncClient(base_url=live.url, timeout=60) as http:
        await http.post(
            "/v1/plain/a/create_table", json={"name": "t", "schema": {f"c{i}": "TEXT" for i in range(6)}}
        )
        answer = await http.post("/v1/plain/a/batch_insert", json={"table": "t", "records": records})
        assert answer.json()["inserted"] == 10_000
        for form in ("json", "ndjson", "csv"):
            rows = await http.post(f"/v1/plain/a/query?format={form}", json={"sql": "SELECT * FROM t"})
            assert rows.status_code == 200
            assert (
                (rows.json()["rows"] == records) if form == "json" else len(rows.text.splitlines()) >= 10_000
            )
        joined = await http.post("/v1/plain/a/query?format=csv", json={"sql": "SELECT a.c0 FROM t a, t b"})
        assert joined.headers["x-truncated"] == "max_rows"


async def test_the_application_serves_a_host_that_runs_already(tmp_path: Path) -> None:
    """In process and without a socket, as the command line does it; the host is left as it was."""
    settings = Settings(data=tmp_path)
    async with Host(settings, registry=Registry([Plain])) as host:
        transport = httpx.ASGITransport(create_app(settings, host=host))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for _ in range(2):
                answer = await http.post("/v1/plain/a/query", json={"sql": "SELECT 1 AS n"})
                assert answer.json()["rows"] == [{"n": 1}]
            assert (await http.post("/v1/plain/a/query", json={})).status_code == 422
            assert (await http.get("/v1/plain/a/tables")).json() == []
        assert host.accepting
