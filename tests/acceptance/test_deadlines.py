"""A runaway statement ends at its deadline, its session answers the next call, and nobody else notices.

The bounds on time here are guards against hanging (1 s where 100 ms is promised): the figures are in the
benchmarks.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from runtime.context import CallContext
from runtime.errors import DeadlineExceeded
from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import harness
from tests.scratch import Scratch, column

DEADLINE = 0.3
GUARD = 1.0

RUNAWAY = {
    "recursive CTE": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "cross join": "SELECT count(*) FROM t a, t b, t c, t d WHERE a.v + b.v + c.v + d.v = -1",
    "group by": "SELECT count(*) FROM (SELECT a.v * b.v AS x, count(*) FROM t a, t b, t c GROUP BY x, a.v || c.v)",
    "sort": "SELECT v FROM (SELECT a.v || b.v AS v FROM t a, t b, t c ORDER BY v DESC) LIMIT 1",
    "distinct": "SELECT count(*) FROM (SELECT DISTINCT a.v || b.v || c.v FROM t a, t b, t c)",
    "write": "INSERT INTO sink SELECT a.v FROM t a, t b, t c",
    "update": "UPDATE t SET v = (SELECT count(*) FROM t a, t b, t c WHERE a.v + b.v + c.v > t.v)",
}


async def limited(host: Host, stub: Stub, sql: str, seconds: float) -> object:
    spec = host.spec("scratch", "exec")
    return await host.call(stub.address, spec, {"sql": sql}, CallContext(deadline=time.monotonic() + seconds))


async def prepared(host: Host, name: str) -> Stub:
    stub = host.namespace("scratch").get(name)
    await stub.create_table("t", "v INTEGER")
    await stub.create_table("sink", "v INTEGER")
    await stub.batch_insert("t", [{"v": i} for i in range(2000)])
    return stub


@pytest.mark.parametrize("kind", RUNAWAY)
async def test_a_runaway_statement_is_stopped_and_the_session_answers_the_next_call(
    host: Host, kind: str
) -> None:
    stub = await prepared(host, "one")
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as late:
        await limited(host, stub, RUNAWAY[kind], DEADLINE)
    answered = time.monotonic() - started
    assert DEADLINE <= answered < DEADLINE + GUARD
    assert late.value.hint
    assert await column(stub, "SELECT count(*) FROM sink") == [0]
    assert time.monotonic() - started < DEADLINE + 2 * GUARD
    assert await column(stub, "SELECT sum(v) FROM t") == [1999 * 1000]


async def test_a_call_that_nothing_can_interrupt_is_answered_at_its_deadline(host: Host) -> None:
    stub = await prepared(host, "one")
    spec = host.spec("scratch", "query")
    # One call of instr(), which compares the one with the other at every place, and asks nobody meanwhile.
    slow = {"sql": "SELECT instr(?, ?) AS i", "params": [bytes(500_000), bytes(150_000) + b"x"]}
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await host.call(stub.address, spec, slow, CallContext(deadline=started + DEADLINE))
    assert time.monotonic() - started < DEADLINE + GUARD
    assert await column(stub, "SELECT 1") == [1]


async def test_other_sessions_are_answered_while_one_runs_away(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch) as host:
        runaway, other = await prepared(host, "runaway"), await prepared(host, "other")
        late = asyncio.ensure_future(limited(host, runaway, RUNAWAY["group by"], 1.0))
        answered = 0
        while not late.done():
            assert await column(other, "SELECT count(*) FROM t") == [2000]
            answered += 1
        with pytest.raises(DeadlineExceeded):
            await late
        assert answered > 10


async def test_calls_behind_a_runaway_statement_keep_their_own_deadlines(host: Host) -> None:
    stub = await prepared(host, "one")
    first = asyncio.ensure_future(limited(host, stub, RUNAWAY["cross join"], 1.0))
    await asyncio.sleep(0)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await limited(host, stub, "SELECT 1", 0.1)
    assert not first.done()
    assert time.monotonic() - started < 0.9
    with pytest.raises(DeadlineExceeded):
        await first


async def test_many_runaway_sessions_end_together(host: Host) -> None:
    stubs = [await prepared(host, str(i)) for i in range(8)]
    started = time.monotonic()
    answers = await asyncio.gather(
        *(limited(host, s, RUNAWAY["recursive CTE"], DEADLINE) for s in stubs), return_exceptions=True
    )
    assert all(isinstance(a, DeadlineExceeded) for a in answers)
    assert time.monotonic() - started < DEADLINE + 3 * GUARD
    assert [await column(s, "SELECT 1") for s in stubs] == [[1]] * 8
