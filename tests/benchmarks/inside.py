"""Figures of parts, without HTTP: the guard, a call to an actor, alarms."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import uvloop

from runtime.actor import Actor
from runtime.alarms import AlarmEvent
from runtime.clock import SystemClock
from runtime.guard import SESSION, Guard
from runtime.host import Host
from runtime.method import method
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.storage.opening import open_raw
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction

from .bench import Bench
from .figures import Figure, Goal, Noise
from .load import percentile
from .records import COLUMNS, POINT, record

__all__ = ("Scratch", "actor_calls", "alarms", "guard")

_STATEMENTS = (
    "SELECT count(*) AS n{0} FROM items WHERE qty > ?",
    "SELECT name, score AS s{0} FROM items WHERE id = ? ORDER BY score DESC LIMIT 10",
    "WITH t{0} AS (SELECT qty, avg(score) AS a FROM items GROUP BY qty) SELECT * FROM t{0} WHERE a > ?",
    "INSERT INTO items (name, email, note) VALUES ('n{0}', ?, 'x')",
    "UPDATE items SET note = 'v{0}' WHERE id = ?",
    "DELETE FROM items WHERE id = ? AND note = 'w{0}'",
    "SELECT a.name, b.name AS b{0} FROM items a JOIN items b ON a.qty = b.qty WHERE a.id < ? AND b.id < 5",
    "SELECT qty, sum(score) OVER (PARTITION BY qty ORDER BY id) AS r{0} FROM items WHERE id < ?",
)
"""Statements of the kinds that models write; the number makes each text a new one."""


def guard(bench: Bench) -> Iterator[Figure]:
    """What the guard adds to a statement: the same ones through it, and on a bare connection."""
    # Verdicts are remembered for the whole process: a number that comes twice would make an old text.
    serial = count()
    known = [text.format("") for text in _STATEMENTS] * (100 if bench.quick else 500)
    with bench.on_server_core(), tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        paths = [Path(folder) / f"{side}.sqlite" for side in ("bare", "guarded")]
        with (
            closing(open_raw(paths[0], Durability.NORMAL)) as bare,
            closing(open_raw(paths[1], Durability.NORMAL)) as raw,
        ):
            for connection in (bare, raw):
                connection.execute(f"CREATE TABLE items ({COLUMNS})")
            guarded = Guard(SESSION)
            guarded.install(raw)
            added: dict[str, list[tuple[float, float]]] = {
                "a statement seen before": [],
                "a new statement": [],
            }
            for _ in range(bench.rounds):
                new = [text.format(next(serial)) for text in _STATEMENTS * 20]
                for case, texts in zip(added, (known, new), strict=True):
                    plain, watched = _timed(bare, None, texts), _timed(raw, guarded, texts)
                    added[case].append((watched - plain, plain))
    for case, bound in (("a statement seen before", 15), ("a new statement", 1_000)):
        value, plain = (median(part) for part in zip(*added[case], strict=True))
        goal = (Goal(bound, at_least=False),)
        yield Figure("guard adds", case, "µs", value, goals=goal, facts={"bare_sqlite_us": plain})


def _timed(connection: sqlite3.Connection, guarded: Guard | None, texts: list[str]) -> float:
    """Return the median time of a statement on an empty table, compiled or found compiled, in microseconds."""
    taken = []
    execute, now = connection.execute, time.perf_counter
    execute("BEGIN IMMEDIATE")
    for text in texts:
        parameters = (1,) * text.count("?")
        began = now()
        if guarded is None:
            execute(text, parameters).close()
        else:
            verdict = guarded.check(text)
            guarded.enter()
            execute(verdict.sql, parameters).close()
            guarded.leave()
        taken.append(now() - began)
    execute("ROLLBACK")
    return median(taken) * 1e6


def actor_calls(bench: Bench) -> Iterator[Figure]:
    """Point selects on a session through its stub, without HTTP: mailbox, hop to the thread, guard, rows."""
    with bench.on_server_core():
        for width in (1, 64):
            values = [
                _in_loop(bench, partial(_calls, width=width, seconds=bench.seconds))
                for _ in range(bench.rounds)
            ]
            yield Figure("actor call", f"point select, {width} at once", "/s", median(values))


async def _calls(folder: Path, width: int, seconds: float) -> float:
    async with Host(Settings(data=folder), registry=Registry((Scratch,))) as host:
        stub = host.namespace("scratch").get("one")
        await stub.fill()
        stop = time.perf_counter() + seconds

        async def asker() -> int:
            done = 0
            while time.perf_counter() < stop:
                await stub.pick(sql=POINT, params=[77])
                done += 1
            return done

        began = time.perf_counter()
        done = await asyncio.gather(*(asker() for _ in range(width)))
        return sum(done) / (time.perf_counter() - began)


class Scratch(Actor, type_name="scratch"):
    """A table and one way to read it, as a session reads."""

    policy = SESSION

    @method()
    def fill(self, tx: Transaction) -> None:
        """Make the table."""
        tx.exec(f"CREATE TABLE items ({COLUMNS})")
        records = [record(n) for n in range(1, 1_001)]
        tx.insert_many("items", list(records[0]), records, None)

    @method(read_only=True)
    def pick(self, tx: Transaction, sql: str, params: list[Any]) -> Any:
        """Run a query."""
        return tx.query(sql, params)


class _Ringing(Actor, type_name="ringing"):
    """An actor whose alarms say when they rang."""

    rung: ClassVar[list[tuple[str, float, float]]] = []

    @method()
    def arm(self, tx: Transaction, names: list[str], due: float) -> None:
        """Set alarms for one moment."""
        for name in names:
            self.alarms.set(tx, name, due)

    def alarm(self, tx: Transaction, event: AlarmEvent) -> None:
        """Note the moment."""
        self.rung.append((event.name, event.due, time.time()))


def alarms(bench: Bench) -> Iterator[Figure]:
    """Alarms that are due at one moment, in one actor and over a hundred."""
    whole = 2_000 if bench.quick else 10_000
    with bench.on_server_core():
        for actors in (1, 100):
            noise = Noise(lambda: 0.0)
            taken = [_in_loop(bench, partial(_ring, actors=actors, whole=whole)) for _ in range(bench.rounds)]
            facts = {key: median(one[key] for one in taken) for key in taken[0]}
            case = f"{whole:,} due at once in {actors} actor{'s' * (actors > 1)}"
            yield Figure(
                "alarms lost", case, "", max(one["lost"] for one in taken), goals=(Goal(0, at_least=False),)
            )
            goal = (Goal(5, at_least=False),)
            late = facts["start_to_rung_p99_ms"]
            yield Figure(
                "alarm, start to rung, p99", case, "ms", late, goals=goal, noise=noise.cores(), facts=facts
            )
            yield Figure("alarms fired", case, "/s", facts["fired_per_s"])


async def _ring(folder: Path, actors: int, whole: int) -> dict[str, float]:
    """Arm alarms, wait until they rang, and say how late: after the due moment, and after the start of each."""
    _Ringing.rung.clear()
    started: dict[str, float] = {}
    settings = Settings(data=folder, limits={"max_alarms": whole})
    async with Host(settings, clock=SystemClock(), registry=Registry((_Ringing,))) as host:
        fire: Callable[..., Awaitable[None]] = host.alarms._fire

        async def noted(actor: Any, address: Any, name: str, due: float) -> None:
            started[name] = time.time()
            await fire(actor, address, name, due)

        host.alarms._fire = noted  # type: ignore[method-assign]
        due = time.time() + 3 + whole / 2_000
        each = whole // actors
        for number in range(actors):
            names = [f"{number}-{n}" for n in range(each)]
            for at in range(0, each, 500):
                await host.namespace("ringing").get(f"r{number}").arm(names=names[at : at + 500], due=due)
        ready = time.time()
        while len(_Ringing.rung) < whole and time.time() < due + 60:
            await asyncio.sleep(0.02)
    rung = {name: moment for name, _, moment in _Ringing.rung}
    behind = sorted(moment - due for moment in rung.values())
    own = sorted(moment - started[name] for name, moment in rung.items())
    return {
        "lost": float(whole - len(rung)),
        "armed_s_early": due - ready,
        "first_ms": behind[0] * 1e3,
        "last_ms": behind[-1] * 1e3,
        "start_to_rung_p50_ms": percentile(own, 0.5) * 1e3,
        "start_to_rung_p99_ms": percentile(own, 0.99) * 1e3,
        "fired_per_s": len(rung) / max(1e-9, behind[-1] - behind[0]),
    }


def _in_loop(bench: Bench, body: Callable[[Path], Awaitable[Any]]) -> Any:
    with (
        tempfile.TemporaryDirectory(dir=bench.folder) as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(body(Path(folder)))  # type: ignore[arg-type]
