"""Many sessions on disk, few open; many writers, nothing lost or mixed.

`SESSIONS` scales the run: 600 here; `DURALITE_SOAK=1` (make soak) takes the 10,000 of the specification.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.limits import Limits
from runtime.testing import harness
from tests.scratch import Scratch, column

SOAK = bool(os.environ.get("DURALITE_SOAK"))
SESSIONS = 10_000 if SOAK else 600
MAX_OPEN = 20


def open_files() -> int:
    """Count the distinct session files that this process has open."""
    links = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed by another thread meanwhile
            links.add(str(entry.readlink()))
    return sum(link.endswith(".sqlite") and "/actors/" in link for link in links)


@pytest.mark.slow
@pytest.mark.timeout(3600 if SOAK else 120)
async def test_at_most_max_open_files_are_open_whatever_happens(tmp_path: Path) -> None:
    dice = random.Random(1)
    most = 0
    async with harness(tmp_path, Scratch, limits=Limits(max_open=MAX_OPEN, call_s=600)) as host:
        namespace = host.namespace("scratch")
        tickets = asyncio.Semaphore(200)

        async def use(name: str) -> None:
            nonlocal most
            async with tickets:
                await namespace.get(name).save_state(name, name)
                most = max(most, open_files())

        names = [str(i) for i in range(SESSIONS)]
        await asyncio.gather(*(use(name) for name in names))
        await asyncio.gather(*(use(dice.choice(names)) for _ in range(SESSIONS // 2)))
        assert 0 < most <= MAX_OPEN
        assert threading.active_count() < MAX_OPEN + 60
        assert len(list((tmp_path / "actors").rglob("*.sqlite"))) == SESSIONS
        for name in dice.sample(names, 100):
            assert [e["key"] for e in await namespace.get(name).list_state()] == [name]
    async with harness(tmp_path, Scratch) as host:
        assert await host.directory.counts() == {"scratch": SESSIONS}


async def test_interleaved_writers_lose_and_mix_nothing(tmp_path: Path) -> None:
    sessions, writes = 100, 8
    async with harness(tmp_path, Scratch, limits=Limits(max_open=30, call_s=600)) as host:
        stubs = [host.namespace("scratch").get(str(i)) for i in range(sessions)]
        await asyncio.gather(*(s.create_table("t", "owner, step, UNIQUE (owner, step)") for s in stubs))

        async def write(number: int, step: int) -> None:
            await stubs[number].exec("INSERT INTO t VALUES (?, ?)", [number, step])

        calls = [write(n, s) for n in range(sessions) for s in range(writes)]
        random.Random(2).shuffle(calls)
        await asyncio.gather(*calls)
        for number, stub in enumerate(stubs):
            assert await column(stub, "SELECT owner * 100 + step FROM t ORDER BY 1") == [
                number * 100 + step for step in range(writes)
            ]
