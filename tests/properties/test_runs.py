"""Programs of many tasks, stopped at any point and as often as it may be, do each thing once and see the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runtime.limits import Limits
from runtime.testing import harness
from tests.acceptance.ledger import LedgerSession, LedgerTools, ledger
from tests.unit.sandbox.runs.test_resume import ended

LIMITS = Limits(drain_s=0.001, run_resumes=100)
PROGRAM = """
import asyncio, random
db.exec("CREATE TABLE w (k TEXT PRIMARY KEY, v INTEGER)")
seen = []
async def task(t):
    for step in range(8):
        k = f"{t}.{step}"
        what = random.choice(["order", "look", "put", "exec", "read", "pair", "state", "fail", "stage"])
        try:
            if what in ("order", "look", "put", "fail"):
                seen.append([k, what, (await getattr(tools.shop, what)(k))["n"]])
            elif what == "pair":
                both = await asyncio.gather(tools.shop.look("same"), tools.shop.put("same"))
                seen.append([k, what, [each["n"] for each in both]])
            elif what == "stage":
                seen.append([k, what, (await tools.shop.items(3, into="staged"))["rows"]])
            elif what == "exec":
                seen.append([k, what, db.exec("INSERT INTO w VALUES (?, ?)", [k, len(seen)])])
            elif what == "read":
                seen.append([k, what, db.query("SELECT count(*) AS c FROM w")[0]["c"]])
            else:
                db.save_state(k, len(seen))
        except ToolError as error:
            seen.append([k, what, error.code])
await asyncio.gather(*(task(t) for t in range(inputs["tasks"])))
seen
"""


@pytest.mark.parametrize("seed", range(4))
async def test_a_program_that_is_stopped_anywhere_does_each_thing_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(LedgerSession, "ledger_folder", tmp_path)
    monkeypatch.setattr(LedgerTools, "delay", lambda: chance.random() / 300)
    tasks = (1, 3, 6)[seed % 3]
    run, after = "", 0
    for _ in range(6):
        after += chance.randrange(1, 3 * tasks)
        async with harness(tmp_path / "data", LedgerSession, limits=LIMITS) as host:
            session = host.namespace("session").get("a")
            if not run:
                await session.run(PROGRAM, inputs={"tasks": tasks}, background=True)
                run = (await session.list_runs()).items[0].id
            after = max(after, len(ledger(tmp_path)) + 1)
            async with asyncio.timeout(30):
                while len(ledger(tmp_path)) < after and (await session.get_run(run)).state == "running":
                    await asyncio.sleep(0)
    async with harness(tmp_path / "data", LedgerSession, limits=LIMITS) as host:
        session = host.namespace("session").get("a")
        record = await ended(session, run)
        rows = {row["k"]: row["v"] for row in (await session.query("SELECT k, v FROM w")).rows}
        staged = [table.rows for table in await session.tables() if table.name == "staged"]
    assert record.state == "ok", record.error
    seen: dict[str, Any] = {k: (what, gave) for k, what, gave in record.value}
    assert {k for k, (what, _) in seen.items() if what == "exec"} == rows.keys()
    assert sum(staged) == sum(gave for what, gave in seen.values() if what == "stage")
    done = Counter(line for line in ledger(tmp_path) if line.startswith(("order", "fail")))
    assert set(done.values()) <= {1}, "what may not be done twice was done once"
    assert {f"order {k}" for k, (what, gave) in seen.items() if (what, gave) == ("order", k)} <= done.keys()
    assert {gave for what, gave in seen.values() if what == "order" and isinstance(gave, str)} <= {
        *seen,
        "interrupted",
    }
