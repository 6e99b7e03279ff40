"""Figures of recorded runs: what a run costs beside the bare sandbox, which keeps no record and asks nobody."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from actors.session import SessionActor
from helpers.spec import HelperSpec, ParamSpec
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.values import dumps
from sandbox.engine import Encoded, Engine, Job
from sandbox.runs.funnel import helpers_of
from sandbox.tools.toolbox import ToolAnswer

from .bench import Bench
from .figures import Figure, Goal

__all__ = ("recorded_runs",)

_TOOLS = (HelperSpec("tools.shop.get", (ParamSpec("n"),), awaitable=True, read_only=True),)
_READS = "for n in range(500):\n    db.get_state('nothing')"
_WRITES = "for n in range(500):\n    db.save_state('k', n)"
_GATHER = "import asyncio\nlen(await asyncio.gather(*(tools.shop.get(n) for n in range(1_000))))"
_IN = "len([db.batch_insert('items', [{'n': n, 't': f'row {n}', 'x': n / 3} for n in range(10_000)])])"
_OUT = "len(db.query('SELECT n, t, x FROM items LIMIT 10000'))"
_ANSWERS = {
    "db.get_state": {"value": None, "found": False},
    "db.save_state": {"saved": True},
    "db.batch_insert": {"inserted": 10_000},
    "tools.shop.get": {"n": 1},
}


class _Caller(SessionActor, type_name="session"):
    """A session whose tools answer at once."""

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Put the tools in the place of the toolbox."""
        host.services["tools"] = _Tools()
        await super().start_type(host)


class _Tools:
    """A toolbox without servers."""

    async def helpers(self, address: ActorAddress) -> tuple[HelperSpec, ...]:
        return _TOOLS

    async def call(self, address: ActorAddress, path: str, args: Sequence[Any], kwargs: Any, **_: Any) -> Any:
        return ToolAnswer({"n": args[0]}, read_only=True)

    async def release(self, address: ActorAddress) -> None:
        """Hold nothing."""

    async def close(self) -> None:
        """End nothing."""


class _Bare:
    """A host of the sandbox that gives the same answers to everything."""

    def __init__(self) -> None:
        rows = [[n, f"row {n}", n / 3] for n in range(10_000)]
        answers = {**_ANSWERS, "db.query": {"columns": ["n", "t", "x"], "rows": rows, "truncated": False}}
        self._answers = {name: Encoded(dumps(answer)) for name, answer in answers.items()}

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Encoded:
        return self._answers[name]

    def output(self, stream: str, text: str) -> None:
        """Drop it."""


def recorded_runs(bench: Bench) -> Iterator[Figure]:
    """Runs with check, record and journal, and the same programs in the sandbox alone."""
    rounds = (3 if bench.quick else 10) * bench.rounds
    with (
        _on_both_cores(bench),
        tempfile.TemporaryDirectory(dir=bench.folder) as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        yield from runner.run(_measure(Path(folder), rounds))


@contextmanager
def _on_both_cores(bench: Bench) -> Iterator[None]:
    """Let the sandboxed process have a core of its own, as it has beside a service."""
    if bench.server_core is None or bench.client_core is None:
        yield
        return
    os.sched_setaffinity(0, {bench.server_core, bench.client_core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {bench.client_core})


async def _measure(folder: Path, rounds: int) -> list[Figure]:
    cases = (
        ("recorded run", "one line", "sum(range(100))", 5 * rounds, 1, "ms", 4.0),
        ("helper call", "500 reads", _READS, rounds, 500, "ms", 0.12),
        ("helper call", "500 writes", _WRITES, rounds, 500, "ms", 0.25),
        ("gather", "1,000 tool calls", _GATHER, rounds, 1, "ms", 60.0),
        ("rows in", "10,000 × 3", _IN, rounds, 1, "ms", 30.0),
        ("rows out", "10,000 × 3", _OUT, rounds, 1, "ms", 30.0),
    )
    figures = []
    async with Host(Settings(data=folder), registry=Registry((_Caller,))) as host:
        session = host.namespace("session").get("one")
        await session.run("db.create_table('items', {'n': 'INTEGER', 't': 'TEXT', 'x': 'REAL'})")
        engine: Engine = host.services["sandbox"]
        helpers, _ = helpers_of(_Caller, _TOOLS)
        bare = _Bare()
        for name, case, code, times, each, unit, bound in cases:
            pairs = []
            for _ in range(times + 1):
                began = time.perf_counter()
                done = await session.run(code)
                between = time.perf_counter()
                alone = await engine.run(Job(code, helpers), bare)
                ended = time.perf_counter()
                if done.status != "ok" or alone.status != "ok":
                    raise RuntimeError(f"{case}: {done.error or alone.error}")
                pairs.append(((between - began) * 1e3 / each, (ended - between) * 1e3 / each))
            del pairs[0]
            limits = {
                "sandbox alone": (median(b for _, b in pairs), median(a / b for a, b in pairs)),
            }
            goals = (Goal(bound, at_least=False),)
            figures.append(Figure(name, case, unit, median(a for a, _ in pairs), limits, goals))
    return figures
