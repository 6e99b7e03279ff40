"""Figures of reading a project: pages, filters, columns and samples, beside the same SQL on a bare connection."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import uvloop

from actors.project import ProjectActor
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.tabular.reading import load

from .bench import Bench
from .figures import Figure, Goal
from .tables import _mixed

__all__ = ("reads",)

_FILTER = [
    {"column": "amount", "operator": ">", "value": 5_000},
    {"column": "city", "operator": "=", "value": "Berlin"},
]
_FEW = [{"column": "email", "operator": "=", "value": "user7@example.org"}]
_SCAN = (
    "SELECT count(*) FROM d WHERE c5 > 5000 AND c4 = 'Berlin'",
    "SELECT * FROM d WHERE c5 > 5000 AND c4 = 'Berlin' ORDER BY row_id LIMIT 100",
)
_LOOK = ("SELECT * FROM d WHERE c3 = 'user7@example.org' ORDER BY row_id LIMIT 100",)


def reads(bench: Bench) -> Iterator[Figure]:
    """A page anywhere by its cursor, a filter with its count, columns, ten rows by chance."""
    rows = 100_000 if bench.quick else 1_000_000
    case = f"{rows:,} rows"
    file = _mixed(bench.folder / f"mixed-{rows}.csv", rows)
    folder = bench.folder / "projects"
    shutil.rmtree(folder, ignore_errors=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host = Host(Settings(data=folder / "data"), registry=Registry((ProjectActor,)))
        runner.run(host.start())
        try:
            project = host.namespace("project").get("bench")
            job = runner.run(project.import_path(str(file), wait=True))
            while job.state == "running":
                job = runner.run(project.get_job(job.id))
            cursor = runner.run(project.data(limit=100, offset=rows - 1_000)).pagination.next
            plain = folder / "plain.sqlite"
            runner.run(load(host.services["workers"], file, None, plain))
            with closing(sqlite3.connect(plain)) as bare:
                yield from _figures(bench, case, partial(_timed, runner), project, bare, cursor)
        finally:
            runner.run(host.stop())


def _figures(
    bench: Bench,
    case: str,
    timed: Callable[[Callable[[], Awaitable[Any]]], tuple[float, dict[str, Any]]],
    project: Any,
    bare: sqlite3.Connection,
    cursor: str,
) -> Iterator[Figure]:
    def plain(statements: tuple[str, ...]) -> tuple[float, dict[str, Any]]:
        started = time.perf_counter()
        for sql in statements:
            bare.execute(sql).fetchall()
        return time.perf_counter() - started, {}

    pairs = bench.in_turn(
        {
            "ours": lambda: timed(lambda: project.data(limit=100, filter=_FILTER)),
            "scan": partial(plain, _SCAN),
            "few": lambda: timed(lambda: project.data(limit=100, filter=_FEW)),
            "look": partial(plain, _LOOK),
            "page": lambda: timed(lambda: project.data(limit=100, cursor=cursor)),
            "columns": lambda: timed(project.columns),
            "random": lambda: timed(lambda: project.sample(kind="random", n=10)),
        }
    )
    small = (Goal(0.002, at_least=False),)
    yield pairs.figure("filter, its count, a page", case, "s", (Goal(1.15, "scan", at_least=False),))
    once = (Goal(1.15, "look", at_least=False),)
    yield pairs.figure("a filter that finds few rows", case, "s", once, ours="few")
    yield pairs.figure("a page at the end, by its cursor", case, "s", small, ours="page")
    yield pairs.figure("columns with their statistics", case, "s", small, ours="columns")
    yield pairs.figure("ten rows by chance", case, "s", (), ours="random")


def _timed(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]]) -> tuple[float, dict[str, Any]]:
    async def run() -> float:
        started = time.perf_counter()
        await call()
        return time.perf_counter() - started

    return runner.run(run()), {}
