"""A secret of a tool server is known to the service, and found nowhere else: searched for wherever a caller can look."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.tool_service import tool_service
from tests.unit.sandbox.tools.conftest import SERVERS, served
from tests.unit.sandbox.tools.test_servers_over_http import shop_app

CANARY = "canary-5f1d90aa77"
HEADER_CANARY = "canary-0e44c1b2d3"
PROGRAM = """
import asyncio, os, sys
seen = []
for call in (tools.shop.environment(), tools.shop.complain(), tools.own.request_headers(), tools.shop.say(text="x")):
    try:
        seen.append(await call)
    except Exception as error:
        seen.append(f"{type(error).__name__}: {error} {getattr(error, 'hint', '')}")
await tools.own.request_headers(into="headers")
print(seen, helpers.describe("tools.shop.environment"), helpers.search("environment"), repr(tools), dict(os.environ))
db.save_state("seen", seen)
seen
"""
READS = (
    "list_servers",
    "list_runs",
    "tables",
    "execution_logs",
    "list_state",
    "get_metrics",
    "list_jobs",
    "tools",
)


async def test_a_canary_is_found_nowhere(tmp_path: Path) -> None:
    """Environment and headers: not in answers, errors, listings, logs, records, events, tables, exports, files."""
    servers: dict[str, Any] = {
        "shop": {
            "command": sys.executable,
            "args": [str(SERVERS / "shop.py")],
            "env": {"SHOP_KEY": "${SHOP_KEY}", "SHOP_URL": "https://user:${SHOP_KEY}@db.example.com/x"},
        },
        "broken": {
            "command": sys.executable,
            "args": ["-c", "import os; raise SystemExit(dict(os.environ))"],
            "env": {"K": CANARY},
        },
    }
    texts: dict[str, str] = {}
    environment = {
        "SHOP_KEY": CANARY,
        "DURALITE_LOG_LEVEL": "debug",
        "DURALITE_TOOL_HOSTS": '["127.0.0.1"]',
    }
    async with served(shop_app()) as url:
        with tool_service(tmp_path, servers, **environment) as running:
            async with httpx.AsyncClient(base_url=f"{running.url}/v1/session/one/", timeout=60) as client:

                async def call(method: str, **body: Any) -> Any:
                    answer = await client.post(method, json=body)
                    texts[f"{method} {len(texts)}"] = answer.text
                    return answer.json()

                own = {"Authorization": f"Bearer {HEADER_CANARY}", "X-Key": HEADER_CANARY}
                info = await call(
                    "connect_server", name="own", url=f"{url}/mcp?key={HEADER_CANARY}", headers=own
                )
                assert info["state"] == "ready", info
                await call(
                    "connect_server",
                    name="bad",
                    url=f"{url}/mcp/{HEADER_CANARY}",
                    headers={**own, "Host": "x"},
                )
                heard: list[str] = []
                listener = asyncio.create_task(_listen(client, heard))
                run = await call("run", code=PROGRAM)
                assert run["status"] == "ok", run
                seen = run["value"]
                assert "SHOP_KEY=[secret]" in seen[0] and seen[1].startswith("ToolError")
                assert seen[2]["authorization"] == "[secret]" == seen[2]["x-key"] and seen[3] == "x"
                job = await call("run", code=PROGRAM, background=True)
                while (await call("get_job", id=job["id"]))["state"] in ("queued", "running"):
                    pass
                await call("query", sql="SELECT * FROM headers")
                for method in READS:
                    texts[method] = (await client.get(method)).text
                for name in ("/openapi.json", "/metrics", "/v1/session", "/v1/session/one", "/readyz"):
                    texts[name] = (await client.get(f"{running.url}{name}")).text
                for row in await _pages(client):
                    texts[f"run {row['id']}"] = (await client.get("get_run", params={"id": row["id"]})).text
                async with asyncio.timeout(20):
                    while "job" not in "".join(heard):
                        await asyncio.sleep(0.05)
                listener.cancel()
                await asyncio.wait([listener])
                texts["events"] = "".join(heard)
                exported = (await client.get("export")).content
                await call("clone", name="two")
            assert running.stop() == 0
    texts["log"] = (tmp_path / "log").read_text()
    texts["export"] = exported.decode("latin-1")
    for path in (tmp_path / "data").rglob("*"):
        # The one place that keeps what a session connected with.
        if path.is_file() and not path.name.startswith("directory.sqlite"):
            texts[str(path)] = path.read_bytes().decode("latin-1")
    assert "tools.server_ready" in texts["log"] and "tools.process_ended" in texts["log"]
    for canary in (CANARY, HEADER_CANARY):
        for piece in (canary, canary[-10:], canary.encode().hex()):
            assert [place for place, text in texts.items() if piece in text] == []
    with closing(sqlite3.connect(tmp_path / "data" / "directory.sqlite")) as directory:
        kept = directory.execute("SELECT value FROM control WHERE key GLOB 'secret/*'").fetchall()
    assert not [path for path in (tmp_path / "data").glob("directory.sqlite*") if path.stat().st_mode & 0o077]
    assert len(kept) == 1 and HEADER_CANARY in kept[0][0].decode()


async def _pages(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = (await client.get("list_runs")).json()
    found: list[dict[str, Any]] = answer["runs"] if "runs" in answer else answer["items"]
    return found


async def _listen(client: httpx.AsyncClient, heard: list[str]) -> None:
    """Take down the events of the session until cancelled."""
    async with client.stream("GET", "events", timeout=None) as stream:
        async for piece in stream.aiter_text():
            heard.append(piece)
