"""Many sessions over HTTP: nothing lost, nothing mixed, and nothing acknowledged is lost by kill -9."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.acceptance.service import service

SESSIONS = 1_000
WRITERS = 24


async def _call(client: httpx.AsyncClient, session: str, method: str, **body: object) -> dict[str, object]:
    answer = await client.post(f"/v1/session/{session}/{method}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_thousand_sessions_with_interleaved_writers_lose_and_mix_nothing(tmp_path: Path) -> None:
    """1,000 sessions, 24 writers at once, twenty places for open files: each session has its own rows, all of them."""
    with service(tmp_path / "data", DURALITE_LIMITS__MAX_OPEN="60") as running:
        limits = httpx.Limits(max_connections=WRITERS, max_keepalive_connections=WRITERS)
        async with httpx.AsyncClient(base_url=running.url, timeout=60, limits=limits) as client:
            names = [f"s-{i}" for i in range(SESSIONS)]
            work: list[tuple[str, str, dict[str, object]]] = []
            for name in names:
                work.append((name, "create_table", {"name": "t", "schema": "who TEXT, n INTEGER"}))
            rounds = [
                [
                    (
                        name,
                        "batch_insert",
                        {"table": "t", "records": [{"who": name, "n": r * 2 + k} for k in range(2)]},
                    )
                    for name in names
                ]
                for r in range(2)
            ]

            async def drain(jobs: list[tuple[str, str, dict[str, object]]]) -> None:
                queue = iter(jobs)

                async def writer() -> None:
                    for name, method, body in queue:
                        await _call(client, name, method, **body)

                await asyncio.gather(*(writer() for _ in range(WRITERS)))

            await drain(work)
            mixed = [job for one in rounds for job in one]
            random.Random(7).shuffle(mixed)
            await drain(mixed)

            async def look(name: str) -> None:
                rows = await _call(
                    client, name, "query", sql="SELECT who, n FROM t ORDER BY n", row_format="arrays"
                )
                assert rows["rows"] == [[name, n] for n in range(4)], name

            await asyncio.gather(*(look(name) for name in names))
            listed = (await client.get("/v1/session", params={"limit": 1000})).json()
            assert {item["name"] for item in listed["items"]} == set(names)
            assert sum(item["live"] for item in listed["items"]) <= 60
        assert running.stop() == 0


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_kill_9_during_inserts_loses_no_acknowledged_row(tmp_path: Path, durability: str) -> None:
    """What the service said it had, it has after kill -9 and a restart, with no repair in between."""
    data = tmp_path / "data"
    acknowledged: dict[str, set[int]] = {f"k{i}": set() for i in range(4)}
    with service(data, DURALITE_DURABILITY=durability) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            for name in acknowledged:
                await _call(client, name, "create_table", name="t", schema="id INTEGER PRIMARY KEY, v TEXT")

            async def insert(name: str, start: int) -> None:
                for number in range(start, 1_000_000, 2):
                    try:
                        await _call(
                            client,
                            name,
                            "exec",
                            sql="INSERT INTO t VALUES (?, ?)",
                            params=[number, "payload"],
                        )
                    except httpx.TransportError:
                        return
                    acknowledged[name].add(number)
                    if sum(map(len, acknowledged.values())) == 600:
                        running.kill()

            await asyncio.gather(*(insert(name, start) for name in acknowledged for start in (0, 1)))
    assert sum(map(len, acknowledged.values())) >= 600
    with service(data, DURALITE_DURABILITY=durability) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            for name, numbers in acknowledged.items():
                rows = await _call(client, name, "query", sql="SELECT id FROM t", row_format="arrays")
                kept = {row[0] for row in rows["rows"]}
                assert numbers <= kept
        assert running.stop() == 0
    for path in (data / "actors").rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_sigterm_checkpoints_every_file(tmp_path: Path) -> None:
    """After SIGTERM the data is in the main files alone: no WAL is left behind."""
    data = tmp_path / "data"
    with service(data) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
            await _call(client, "one", "create_table", name="t", schema="a")
            await _call(client, "one", "exec", sql="INSERT INTO t VALUES (1)")
        assert running.stop() == 0
    assert not [path for path in data.rglob("*-wal") if path.stat().st_size]
    (path,) = (data / "actors").rglob("*.sqlite")
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT a FROM t").fetchall() == [(1,)]
