"""Runs over HTTP with keys, and ten thousand helper calls at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError

from runtime.accounts import Grant
from runtime.gateway.mcp.server import McpServer
from runtime.gateway.testing import LiveServer, live_server
from tests.acceptance.ledger import LedgerSession, ledger

A = "/v1/session/a"
MIB = 1024 * 1024


@pytest.fixture
async def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveServer]:
    """A service whose sessions have the tools of the ledger, and where every request needs a key."""
    monkeypatch.setattr(LedgerSession, "ledger_folder", tmp_path)
    async with live_server(
        tmp_path / "data", LedgerSession, auth="required", approvals=("tools.shop.order",)
    ) as served:
        yield served


async def client(live: LiveServer, *scopes: str) -> httpx.AsyncClient:
    """Return a client with a key of its own for one account."""
    key, _ = await live.gateway.parts.accounts.create_key(**({"scopes": scopes} if scopes else {}))
    return httpx.AsyncClient(base_url=live.url, headers={"authorization": f"Bearer {key}"}, timeout=60)


async def test_an_agents_key_cannot_approve_what_its_programs_ask_for(
    live: LiveServer, tmp_path: Path
) -> None:
    async with await client(live) as agent, await client(live, "read", "approve") as person:
        paused = (await agent.post(f"{A}/run", json={"code": "await tools.shop.order(1)"})).json()
        assert paused["status"] == "paused"
        assert (await agent.get(f"{A}/list_approvals")).json() == paused["waiting"]
        for verb in ("approve", "reject"):
            refused = await agent.post(f"{A}/{verb}", json={"id": paused["id"]})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert ledger(tmp_path) == []
        assert (await person.post(f"{A}/run", json={"code": "1"})).status_code == 403
        approved = await person.post(f"{A}/approve", json={"id": paused["id"]})
        assert approved.status_code == 200, approved.text
        record: dict[str, Any] = approved.json()
        while record["state"] == "running":
            record = (await agent.get(f"{A}/get_run", params={"id": paused["id"]})).json()
        assert (record["state"], record["value"]) == ("ok", {"n": 1, "done": "order"})
    assert ledger(tmp_path) == ["order 1"]


async def test_another_account_sees_no_runs(live: LiveServer) -> None:
    async with await client(live) as agent:
        run = (await agent.post(f"{A}/run", json={"code": "1"})).json()["id"]
        key, _ = await live.gateway.parts.accounts.create_key(account="other")
        other = {"authorization": f"Bearer {key}"}
        assert (await agent.get(f"{A}/get_run", params={"id": run}, headers=other)).status_code == 404
        assert (await agent.post(f"{A}/list_runs", json={}, headers=other)).json() == {
            "items": [],
            "next": None,
        }


GATHER = """
import asyncio
found = await asyncio.gather(*(tools.shop.{name}(n) for n in range({count})))
sum(each["n"] for each in found)
"""


@pytest.mark.parametrize("name", ["look", "put"])
async def test_ten_thousand_calls_in_one_gather_leave_the_host_small(live: LiveServer, name: str) -> None:
    session = live.host.namespace("session").get("a")
    for count in (2_000, 10_000):  # the first one fills caches and pools
        before = _resident()
        result = await session.run(GATHER.format(name=name, count=count))
        grown = _resident() - before
        assert (result.status, result.value) == ("ok", sum(range(count))), result.error
    assert grown < 8 * MIB
    record = await session.get_run(result.id)
    assert "calls" in record.cut
    assert 0 < len(record.calls) < 10_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_an_agent_asks_and_a_person_approves_over_mcp(live: LiveServer, tmp_path: Path) -> None:
    def desk(*scopes: str) -> Client:
        server = McpServer(live.host, owner=Grant("local", frozenset(scopes)), shown=("all",))
        return Client(server.lowlevel)

    async with desk("read", "write", "run") as agent, desk("read", "run", "approve") as person:
        asked = await agent.call_tool("run_code", {"session": "a", "code": "await tools.shop.order(1)"})
        paused: Any = asked.structured_content
        assert paused["status"] == "paused", asked
        with pytest.raises(MCPError, match="approve"):
            await agent.call_tool("session_approve", {"session": "a", "id": paused["id"]})
        listed: Any = (await person.call_tool("session_list_approvals", {"session": "a"})).structured_content
        assert listed["result"] == paused["waiting"]
        await person.call_tool("session_reject", {"session": "a", "id": paused["id"], "reason": "no"})
        record: Any = {"state": "running"}
        while record["state"] == "running":
            record = (
                await person.call_tool("session_get_run", {"session": "a", "id": paused["id"]})
            ).structured_content
        assert (record["state"], record["error"]["code"]) == ("error", "rejected")
    assert ledger(tmp_path) == []
