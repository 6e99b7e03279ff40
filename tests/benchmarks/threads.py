"""Bare sqlite3 in one thread: what the file and the library allow without a server, a guard or a second thread."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import orjson

from .bench import Bench
from .figures import Figure
from .records import BIG, COLUMNS, INSERT, POINT, record

__all__ = ("sqlite_batch", "sqlite_insert", "sqlite_point", "sqlite_query")

_NAMES = tuple(record(1))
_ALL = f"INSERT INTO items VALUES ({', '.join('?' * len(_NAMES))})"


def _measured(
    bench: Bench, name: str, case: str, unit: str, body: Callable[[sqlite3.Connection], float]
) -> Figure:
    """Run a body on fresh files (WAL, synchronous FULL) and return the median."""
    values = []
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        for number in range(bench.rounds):
            path = Path(folder) / f"{number}.sqlite"
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL").fetchone()
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(f"CREATE TABLE items ({COLUMNS})")
                values.append(body(connection))
    return Figure(f"bare sqlite3: {name}", case, unit, median(values))


def _rate(seconds: float, step: Callable[[], object], each: int = 1) -> float:
    done, began = 0, time.perf_counter()
    while (wall := time.perf_counter() - began) < seconds:
        for _ in range(10):
            step()
        done += 10
    return done * each / wall


def _fill(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.executemany(_ALL, [tuple(record(n).values()) for n in range(1, BIG + 1)])
    connection.execute("COMMIT")


def sqlite_point(bench: Bench) -> Figure:
    """JSON in, a row by its key, JSON out."""

    def body(connection: sqlite3.Connection) -> float:
        _fill(connection)
        chance = random.Random(1).randrange
        texts = [orjson.dumps({"sql": POINT, "params": [chance(1, BIG)]}) for _ in range(512)]
        supply = iter(texts * 10_000)

        def step() -> bytes:
            asked = orjson.loads(next(supply))
            cursor = connection.execute(asked["sql"], asked["params"])
            return orjson.dumps({"rows": [dict(zip(_NAMES, row, strict=True)) for row in cursor.fetchall()]})

        return _rate(bench.seconds, step)

    return _measured(bench, "point select", "JSON in and out, no HTTP", "/s", body)


def sqlite_insert(bench: Bench) -> Figure:
    """One row a commit, on the disk."""
    values = tuple(record(7).values())[1:]
    return _measured(
        bench,
        "durable insert",
        "one fsync a row",
        "/s",
        lambda connection: _rate(bench.seconds, lambda: connection.execute(INSERT, values)),
    )


def sqlite_batch(bench: Bench) -> Figure:
    """The records of a batch out of JSON into a table, one commit."""
    text = orjson.dumps([record(n) for n in range(1, BIG + 1)])

    def body(connection: sqlite3.Connection) -> float:
        def step() -> None:
            connection.execute("DELETE FROM items")
            connection.execute("BEGIN")
            connection.executemany(_ALL, [tuple(r.values()) for r in orjson.loads(text)])
            connection.execute("COMMIT")

        step()
        return _rate(bench.seconds / 2, step, BIG)

    return _measured(bench, "batch", "10,000 rows out of JSON, one commit", "rows/s", body)


def sqlite_query(bench: Bench) -> Figure:
    """All rows of a table as JSON."""

    def body(connection: sqlite3.Connection) -> float:
        _fill(connection)

        def step() -> bytes:
            rows = connection.execute("SELECT * FROM items").fetchall()
            return orjson.dumps([dict(zip(_NAMES, row, strict=True)) for row in rows])

        return _rate(bench.seconds / 2, step, BIG)

    return _measured(bench, "query", "10,000 rows to JSON", "rows/s", body)
