"""Two tool servers as they are published, started by the service: one program calls both and joins what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from runtime.testing import until
from tests.acceptance.tool_service import alive, children, tool_service

BIN = Path(sys.executable).parent
PROGRAM = """
import asyncio
zones = ["Europe/Berlin", "Asia/Tokyo", "America/New_York"]
history, branches, *times = await asyncio.gather(
    tools.git.git_log(inputs["repo"], max_count=50),
    tools.git.git_branch(inputs["repo"], "local", into="branches"),
    *(tools.time.convert_time("UTC", "12:00", zone, into="times") for zone in zones),
)
db.create_table("commits", "message TEXT, zone TEXT")
lines = [line.partition("Message: ")[2] for line in history.splitlines() if line.startswith("Message: ")]
db.batch_insert("commits", [{"message": m, "zone": z} for m, z in zip(lines, zones)])
print(len(times), branches["table"])
[tuple(row.values()) for row in db.query('''
    SELECT c.message, json_extract(t.target, '$.timezone') AS zone, json_extract(t.target, '$.datetime') LIKE '%T21:00%'
    FROM commits AS c JOIN times AS t ON json_extract(t.target, '$.timezone') = c.zone ORDER BY c.message''')]
"""


def repository(folder: Path) -> Path:
    """Make a git repository with three commits."""
    folder.mkdir()
    author = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com"}
    committer = {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com"}
    environment = {**os.environ, **author, **committer}
    for words in (
        ["init", "-q"],
        *(["commit", "-q", "--allow-empty", "-m", m] for m in ("one", "two", "three")),
    ):
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    return folder


async def test_one_program_calls_two_published_servers_and_joins_their_data_in_sql(tmp_path: Path) -> None:
    """mcp-server-git and mcp-server-time by stdio: one gather, tables, a join, the answer; no process is left."""
    repo = repository(tmp_path / "repo")
    servers: dict[str, Any] = {
        "git": {"command": str(BIN / "mcp-server-git"), "args": ["--repository", str(repo)]},
        "time": {"command": str(BIN / "mcp-server-time"), "args": ["--local-timezone", "UTC"]},
    }
    with tool_service(tmp_path, servers) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            answer = await client.post(
                "/v1/session/one/run", json={"code": PROGRAM, "inputs": {"repo": str(repo)}}
            )
            run = answer.json()
            assert run["status"] == "ok", run
            assert run["logs"] == ["3 branches"]
            assert sorted(row[0] for row in run["value"]) == ["one", "three", "two"]
            assert {row[1]: row[2] for row in run["value"]}["Asia/Tokyo"] == 1
            assert run["effects"]["written"]
            listed = (await client.get("/v1/session/one/list_servers")).json()
            assert [(s["name"], s["state"]) for s in listed] == [("git", "ready"), ("time", "ready")]
            wrong = (
                await client.post(
                    "/v1/session/one/run", json={"code": 'await tools.time.convert_time("UTC")'}
                )
            ).json()
            assert wrong["status"] == "error" and "time" in wrong["error"]["message"]
        started = children(running.process.pid)
        assert len(started) >= 4
        assert running.stop() == 0
    await until(lambda: not any(map(alive, started)))


async def test_no_server_outlives_a_service_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the service ends its tool servers too, and what those started."""
    script = "import subprocess, time; subprocess.Popen(['sleep', '3600']); time.sleep(3600)"
    servers: dict[str, Any] = {
        "time": {"command": str(BIN / "mcp-server-time")},
        "deaf": {"command": sys.executable, "args": ["-c", script]},
    }
    with tool_service(tmp_path, servers, DURALITE_LIMITS__TOOL_CONNECT_S="30") as running:
        started: list[int] = []

        def slept() -> bool:
            started[:] = children(running.process.pid)
            return any(b"3600\0" in _words(pid) and b"sleep" in _words(pid)[:6] for pid in started)

        await until(slept)
        running.kill()
        await until(lambda: not any(map(alive, started)))


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
