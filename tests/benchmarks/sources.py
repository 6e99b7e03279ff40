"""Figures of data sources: a query over Parquet and over an SQLite file, beside the same query on a bare connection.

Each of ours crosses to a worker, is judged, and runs in a database of its own; the bare ones keep one open. A kept
answer is beside a read of a session, which is the least that a call can cost.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from typing import Any

import duckdb
import uvloop

from actors.sources import SourcesActor
from runtime.host import Host
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.streams import Upload
from runtime.tabular.reading import load

from ..scratch import Scratch
from .bench import Bench
from .figures import Figure, Goal
from .tables import _mixed

__all__ = ("queries",)

_SQL = "SELECT city, count(*) AS n, avg(amount) AS a FROM {} WHERE amount > {} GROUP BY city ORDER BY n DESC"


def queries(bench: Bench) -> Iterator[Figure]:
    """A group over all rows: Parquet beside DuckDB, SQLite beside sqlite3, a kept answer, and the import."""
    rows = 100_000 if bench.quick else 1_000_000
    case = f"{rows:,} rows"
    file = _mixed(bench.folder / f"mixed-{rows}.csv", rows)
    folder = bench.folder / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        settings = Settings(data=folder / "data", source_folders=(folder,))
        host = Host(settings, registry=Registry((SourcesActor, Scratch)))
        runner.run(host.start())
        try:
            plain = folder / "plain.db"
            loaded = runner.run(load(host.services["workers"], file, None, plain))
            with closing(sqlite3.connect(plain)) as bare:
                for column in loaded.columns:
                    bare.execute(f'ALTER TABLE d RENAME COLUMN {column.physical} TO "{column.name}"')
                bare.commit()
                yield from _figures(bench, case, runner, host, file, bare)
        finally:
            runner.run(host.stop())


def _figures(
    bench: Bench, case: str, runner: asyncio.Runner, host: Host, file: Any, bare: sqlite3.Connection
) -> Iterator[Figure]:
    sources = host.namespace("sources").get("default")
    scratch = host.namespace("scratch").get("one")
    timed = partial(_timed, runner)
    numbers = count()

    async def import_() -> dict[str, Any]:
        copy = file.with_suffix(".copy")
        shutil.copyfile(file, copy)
        made = await sources.create(Upload(copy, copy.stat().st_size, "text/csv", f"s{next(numbers)}.csv"))
        async for _ in (await sources.watch_import(made["importId"])).chunks:
            pass
        return dict(made)

    target = file.with_suffix(".parquet")
    with closing(duckdb.connect(config={"threads": 2})) as duck:

        def copied() -> tuple[float, dict[str, Any]]:
            started = time.perf_counter()
            duck.execute(f"COPY (FROM read_csv('{file}')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
            return time.perf_counter() - started, {}

        imports = bench.in_turn({"ours": lambda: timed(import_), "duckdb": copied})
        yield imports.figure("CSV to a source of Parquet", case, "s", (Goal(10, "duckdb", at_least=False),))

        runner.run(sources.register(str(bench.folder / "sources" / "plain.db"), name="lite"))
        runner.run(scratch.query("SELECT 1"))

        def raw(connection: Any, table: str) -> tuple[float, dict[str, Any]]:
            started = time.perf_counter()
            connection.execute(_SQL.format(table, next(numbers))).fetchall()
            return time.perf_counter() - started, {}

        kept = _SQL.format("s0", -1)
        runner.run(sources.query(kept, source="s0"))
        pairs = bench.in_turn(
            {
                "parquet": lambda: timed(
                    lambda: sources.query(_SQL.format("s0", next(numbers)), source="s0")
                ),
                "duckdb": lambda: raw(duck, f"'{target}'"),
                "sqlite": lambda: timed(
                    lambda: sources.query(_SQL.format("d", next(numbers)), source="lite")
                ),
                "sqlite3": lambda: raw(bare, "d"),
                "kept": lambda: timed(lambda: sources.query(kept, source="s0")),
                "session": lambda: timed(lambda: scratch.query("SELECT 1")),
            }
        )
    yield pairs.figure(
        "a group over Parquet", case, "s", (Goal(3, "duckdb", at_least=False),), ours="parquet"
    )
    yield pairs.figure(
        "a group over SQLite", case, "s", (Goal(1.3, "sqlite3", at_least=False),), ours="sqlite"
    )
    yield pairs.figure("a kept answer", case, "s", (Goal(5, "session", at_least=False),), ours="kept")


def _timed(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]]) -> tuple[float, dict[str, Any]]:
    async def once() -> float:
        started = time.perf_counter()
        await call()
        return time.perf_counter() - started

    return runner.run(once()), {}
