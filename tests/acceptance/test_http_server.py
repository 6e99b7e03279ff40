"""The service as a process: starts, refuses to start, serves, drains, and ends with the right code."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.accounts import Accounts
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
ROOT = Path(__file__).resolve().parents[2]
SERVE = "import sys; from runtime.gateway.server import serve; from runtime.settings import Settings; sys.exit(serve(Settings()))"


class _Service:
    """A service in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path, url: str) -> None:
        self.process = process
        self.data = data
        self.url = url

    async def end(self) -> tuple[int, str]:
        """Wait for its end; return exit code and standard error."""
        async with asyncio.timeout(60):
            _, text = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, text.decode()


def _environment(data: Path, **settings: Any) -> dict[str, str]:
    wanted = {"data": str(data), "port": "0", "log_format": "json", **settings}
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **{f"DURALITE_{k.upper()}": str(v) for k, v in wanted.items()},
    }


async def _start(data: Path, **settings: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, cwd=data.parent, env=_environment(data, **settings),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _service(data: Path, **settings: Any) -> AsyncIterator[_Service]:
    process = await _start(data, **settings)
    try:
        async with asyncio.timeout(60):
            while not (data / "server.json").exists():
                assert process.returncode is None, (await process.communicate())[1]
                await asyncio.sleep(0.02)
        facts = json.loads((data / "server.json").read_bytes())
        assert facts["pid"] == process.pid
        yield _Service(process, data, facts["url"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _until_running(http: httpx.AsyncClient, number: int) -> None:
    """Wait until so many requests are under way, this one among them."""
    async with asyncio.timeout(30):
        while True:
            text = (await http.get("/metrics")).text
            if f"duralite_requests_in_flight {number + 1}.0" in text:
                return


async def test_a_signal_drains_and_the_exit_code_is_0(tmp_path: Path) -> None:
    """A call that can end does, one that cannot is told so, and no file keeps a log beside it."""
    data = tmp_path / "data"
    async with (
        _service(data, limits__drain_s=6.0) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as http,
    ):
        await http.post("/v1/session/a/exec", json={"sql": "CREATE TABLE t (n)"})
        assert (
            await http.post("/v1/session/a/exec", json={"sql": "INSERT INTO t VALUES (1)"})
        ).status_code == 200
        slow = f"SELECT count(*) FROM ({ENDLESS.replace('FROM c)', 'FROM c LIMIT 2000000)')})"
        ends = asyncio.ensure_future(http.post("/v1/session/b/query", json={"sql": slow}))
        endless = asyncio.ensure_future(http.post("/v1/session/c/query", json={"sql": ENDLESS}))
        events = asyncio.ensure_future(http.get("/v1/session/a/events"))
        await _until_running(http, 3)
        service.process.send_signal(signal.SIGTERM)
        assert (await ends).status_code == 200
        refused = await endless
        assert refused.status_code == 503
        assert refused.json()["code"] == "unavailable"
        assert (await events).status_code == 200
        code, text = await service.end()
        assert code == 0, text
        assert "Traceback" not in text
        assert not (data / "server.json").exists()
        files = [path.name for path in data.rglob("*.sqlite*")]
        assert files and not [name for name in files if name.endswith(("-wal", "-shm"))]
        (file,) = [p for p in (data / "actors" / "session").rglob("*.sqlite") if _rows(p)]
        assert _rows(file) == [(1,)]


def _rows(path: Path) -> list[Any]:
    raw = sqlite3.connect(path)
    try:
        return raw.execute("SELECT n FROM t").fetchall()
    except sqlite3.Error:
        return []
    finally:
        raw.close()


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with (
        _service(tmp_path / "data", limits__drain_s=30) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as http,
    ):
        running = asyncio.ensure_future(http.post("/v1/session/a/query", json={"sql": ENDLESS}))
        await _until_running(http, 1)
        service.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.HTTPError):
            while True:  # it drains once it takes no new connection
                async with httpx.AsyncClient(base_url=service.url) as other:
                    await other.get("/healthz")
        service.process.send_signal(signal.SIGTERM)
        code, _ = await service.end()
        assert code == 128 + signal.SIGTERM
        with pytest.raises(httpx.HTTPError):
            await running


async def test_a_call_in_c_that_nobody_can_interrupt_does_not_hold_up_the_end(tmp_path: Path) -> None:
    # One call of instr(), which compares the one with the other at every place, and asks nobody meanwhile.
    values = [{"$bytes": base64.b64encode(v).decode()} for v in (bytes(500_000), bytes(150_000) + b"x")]
    stuck = {"sql": "SELECT instr(?, ?) AS i", "params": values}
    async with (
        _service(tmp_path / "data", limits__drain_s=0.3) as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as http,
    ):
        running = asyncio.ensure_future(http.post("/v1/session/a/query", json=stuck))
        await _until_running(http, 1)
        service.process.send_signal(signal.SIGINT)
        code, text = await service.end()
        assert code == 0, text
        await asyncio.gather(running, return_exceptions=True)


async def test_a_client_that_goes_away_interrupts_its_query(tmp_path: Path) -> None:
    """The session answers the next call long before the query's deadline."""
    async with _service(tmp_path / "data") as service:
        host, port = service.url[7:].split(":")
        async with httpx.AsyncClient(base_url=service.url, timeout=10) as http:
            await http.post("/v1/session/a/query", json={"sql": "SELECT 1"})
            body = json.dumps({"sql": ENDLESS}).encode()
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /v1/session/a/query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
            await _until_running(http, 1)
            writer.close()
            answer = await http.post("/v1/session/a/query", json={"sql": "SELECT 1 AS n"})
            assert answer.json()["rows"] == [{"n": 1}]
            logs = await http.get("/v1/session/a/execution_logs")
            assert any("interrupt" in (row["error"] or "").lower() for row in logs.json())


async def test_a_public_bind_is_refused_while_there_is_no_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = await _start(data, bind="0.0.0.0")
    _, text = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"keys create" in text
    async with Host(Settings(data=data), registry=Registry(())) as owner:
        key, _ = await Accounts(owner.directory, owner.clock).create_key()
    async with _service(data, bind="0.0.0.0") as service, httpx.AsyncClient(base_url=service.url) as http:
        assert (await http.get("/v1")).status_code == 401
        assert (await http.get("/v1", headers={"x-api-key": key})).status_code == 200
        assert (await http.get("/metrics", headers={"x-api-key": key})).status_code == 404


async def test_a_port_or_folder_in_use_is_a_clear_refusal(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await _start(tmp_path / "a", port=taken.getsockname()[1])
        _, text = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"Cannot listen" in text and b"Traceback" not in text
    async with _service(tmp_path / "data"):
        process = await _start(tmp_path / "data")
        _, text = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 1
        assert b"cannot start" in text and b"Traceback" not in text
        assert (tmp_path / "data" / "server.json").exists()


async def test_logs_are_json_lines_with_the_request_id_and_never_reach_the_caller(tmp_path: Path) -> None:
    async with _service(tmp_path / "data", log_level="debug") as service:
        async with httpx.AsyncClient(base_url=service.url) as http:
            trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            await http.get("/v1", headers={"x-request-id": "find-me", "traceparent": trace})
        service.process.send_signal(signal.SIGTERM)
        _, text = await service.end()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (found,) = [line for line in lines if line.get("request_id") == "find-me"]
    assert found["event"] == "http.request"
    assert found["status"] == 200
    assert found["trace_id"] == "a" * 32
