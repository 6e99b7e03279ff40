"""Large bodies over one connection, and an application that serves a host which runs already."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import httpx

from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from runtime.actor import Actor
from runtime.gateway.app import create_app
from runtime.gateway.testing import live_server
from runtime.guard import SESSION, Policy
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings


class Plain(StatementMethods, StateMethods, Actor, type_name="plain"):
    """A session without a sandbox."""

    policy: ClassVar[Policy | None] = SESSION


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
