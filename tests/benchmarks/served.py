"""Figures of the service as a client sees it: over HTTP, with keys and guard on, one server core."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from .bench import Bench
from .figures import Figure, Goal
from .load import Load, ask, closed_loop
from .records import BIG, COLUMNS, INSERT, POINT, SNIPPET, SNIPPET_JS, SNIPPET_VALUE, record
from .servers import Server
from .threads import sqlite_batch, sqlite_insert, sqlite_point, sqlite_query

__all__ = ("beside_a_slow_query", "bulk", "first_query", "inserts", "memory", "point_selects", "runs")

_MANY = 100
_DISTINCT = 2_048
_rate: Callable[[Load], float] = lambda load: load.rate  # noqa: E731
_p50: Callable[[Load], float] = lambda load: load.p50_ms  # noqa: E731


def _fill(server: Server, session: str, rows: int) -> None:
    server.ask("create_table", session, {"name": "items", "schema": COLUMNS})
    records = [record(n) for n in range(1, rows + 1)]
    server.ask("batch_insert", session, {"table": "items", "records": records})


def _shapes(bench: Bench) -> Iterator[tuple[int, int]]:
    for sessions in (1,) if bench.quick else (1, _MANY):
        for connections in (1, 64) if bench.quick else (1, 8, 64):
            yield sessions, connections


def _case(sessions: int, connections: int) -> str:
    return f"{sessions} session{'s' * (sessions > 1)}, {connections} connection{'s' * (connections > 1)}"


def _names(sessions: int) -> list[str]:
    return ["one"] if sessions == 1 else [f"many{n}" for n in range(sessions)]


def _rates(
    bench: Bench, servers: Sequence[Server], connections: int, spell: Callable[[Server], list[bytes]]
) -> dict[str, tuple[Server, Callable[[], Load]]]:
    return {
        server.name: (
            server,
            partial(
                closed_loop,
                server.address,
                spell(server),
                connections,
                seconds=bench.seconds,
                warm_s=0.3,
            ),
        )
        for server in servers
    }


def point_selects(bench: Bench) -> Iterator[Figure]:
    """Select one row by its key."""
    with bench.on_server_core():
        bare = sqlite_point(bench)
    ours, echo, peers = bench.ours(), bench.echo(), bench.peers()
    with bench.serving(ours, echo, *peers):
        for server in (ours, *peers):
            for session in _names(1) + ([] if bench.quick else _names(_MANY)):
                _fill(server, session, BIG if session == "one" else 1_000)
        for sessions, connections in _shapes(bench):
            chance = random.Random(sessions)
            asked = [(chance.choice(_names(sessions)), chance.randrange(1, 1_000)) for _ in range(_DISTINCT)]

            def spell(server: Server, asked: list[tuple[str, int]] = asked) -> list[bytes]:
                return [server.spell("query", name, {"sql": POINT, "params": [key]}) for name, key in asked]

            pairs = bench.loads(_rates(bench, [ours, echo, *peers], connections, spell), _rate)
            goals = (Goal(2, "peer"), Goal(0.7, "echo"))
            yield pairs.figure("point select", _case(sessions, connections), "/s", goals)
    yield bare


def inserts(bench: Bench) -> Iterator[Figure]:
    """Insert one row, on the disk before the answer."""
    with bench.on_server_core():
        bare = sqlite_insert(bench)
    ours, peers = bench.ours(full=True), bench.peers()
    values = [v for k, v in record(7).items() if k != "id"]
    with bench.serving(ours, *peers):
        for server in (ours, *peers):
            for session in _names(1) + ([] if bench.quick else _names(_MANY)):
                _fill(server, session, 1)
        for sessions, connections in _shapes(bench):
            chance = random.Random(sessions)
            asked = [chance.choice(_names(sessions)) for _ in range(_DISTINCT)]

            def spell(server: Server, asked: list[str] = asked) -> list[bytes]:
                return [server.spell("exec", name, {"sql": INSERT, "params": values}) for name in asked]

            pairs = bench.loads(_rates(bench, [ours, *peers], connections, spell), _rate)
            goals = (Goal(2 if sessions == 1 else 3, "peer"),)
            yield pairs.figure("durable insert", _case(sessions, connections), "/s", goals)
    yield bare


def bulk(bench: Bench) -> Iterator[Figure]:
    """Many rows in one call: in, and out."""
    calls = 5 if bench.quick else 10
    serial = iter(range(1_000_000))
    records = [record(n) for n in range(1, BIG + 1)]

    def into(server: Server) -> Load:
        requests = []
        for _ in range(calls):
            table = f"b{next(serial)}"
            server.ask("create_table", "bulk", {"name": table, "schema": COLUMNS})
            requests.append(server.spell("batch_insert", "bulk", {"table": table, "records": records}))
        return closed_loop(server.address, requests, 1, count=calls)

    def out(server: Server) -> Load:
        request = server.spell("query", "big", {"sql": "SELECT * FROM items", "params": []})
        return closed_loop(server.address, [request], 1, count=2 * calls)

    rows: Callable[[Load], float] = lambda load: load.rate * BIG  # noqa: E731
    with bench.on_server_core():
        bare = [sqlite_batch(bench), sqlite_query(bench)]
    ours, peers = bench.ours(), bench.peers()
    with bench.serving(ours, *peers):
        for server in (ours, *peers):
            into(server)
            _fill(server, "big", BIG)
        for name, load in (("batch_insert", into), ("query", out)):
            sides = {server.name: (server, partial(load, server)) for server in (ours, *peers)}
            pairs = bench.loads(sides, rows)
            yield pairs.figure(name, "10,000 rows of 6 columns a call", "rows/s", (Goal(1.2, "peer"),))
    yield from bare


def first_query(bench: Bench) -> Iterator[Figure]:
    """The first query of sessions that never were, and of sessions on disk after a restart."""
    count = 100 if bench.quick else 300

    def asks(server: Server) -> list[bytes]:
        return [
            server.spell("query", f"new{n}", {"sql": "SELECT 1 AS x", "params": []}) for n in range(count)
        ]

    def cold(server: Server, fresh: bool) -> tuple[float, dict[str, Any]]:
        server.stop()
        server.start(fresh=fresh)
        for n in range(100):
            server.ask("query", f"warm{n % 10}", {"sql": "SELECT 1 AS x", "params": []})
        load = closed_loop(server.address, asks(server), 1, count=count)
        return load.p50_ms, {"p99_ms": load.p99_ms}

    ours, roomy, peers = bench.ours(), bench.ours(full=False, max_open=1_000), bench.peers()
    roomy.name = "ours with room, NORMAL"
    servers = (ours, roomy, *peers)
    with bench.serving(*servers):
        for fresh, name, goal in ((True, "new session", 1.0), (False, "reopened session", 0.5)):
            sides = {server.name: partial(cold, server, fresh) for server in servers}
            pairs = bench.in_turn(sides)
            goals = (Goal(goal, "peer", at_least=False),)
            yield pairs.figure("first query", f"{name}, median of {count}", "ms", goals)


def memory(bench: Bench) -> Iterator[Figure]:
    """What a live session adds to the server's resident memory: 100 rows in it, read once."""
    count = 200 if bench.quick else 1_000
    records = [record(n) for n in range(1, 101)]

    def taken(server: Server) -> tuple[float, dict[str, Any]]:
        server.stop()
        server.start()
        _fill(server, "warm", 1_000)
        whole = {"sql": "SELECT * FROM items", "params": []}
        for _ in range(50):
            server.ask("query", "warm", whole)
        before = server.memory_kib()
        for operation, body in (
            ("create_table", {"name": "items", "schema": COLUMNS}),
            ("batch_insert", {"table": "items", "records": records}),
            ("query", whole),
        ):
            requests = [server.spell(operation, f"m{n}", body) for n in range(count)]
            closed_loop(server.address, requests, 8, count=count)
        return (server.memory_kib() - before) / count, {}

    ours, peers = bench.ours(full=False, max_open=count + 10), bench.peers()
    servers = (ours, *peers)
    with bench.serving(*servers):
        pairs = bench.in_turn({server.name: partial(taken, server) for server in servers})
        yield pairs.figure("memory", f"a live session of {count:,}", "KiB", (Goal(250, at_least=False),))


_SLOW = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < %d) SELECT count(*) AS n FROM c"
)


def beside_a_slow_query(bench: Bench) -> Iterator[Figure]:
    """Point selects of other sessions while one session runs a query of two seconds."""
    ours, peers = bench.ours(), bench.peers()
    servers = (ours, *peers)

    def beside(server: Server, steps: int) -> tuple[float, dict[str, Any]]:
        chance = random.Random(0)
        requests = [
            server.spell(
                "query", f"n{chance.randrange(8)}", {"sql": POINT, "params": [chance.randrange(1, 1_000)]}
            )
            for _ in range(1_024)
        ]
        calm = closed_loop(server.address, requests, 8, seconds=1.0, warm_s=0.3)
        with socket.create_connection(server.address, 60) as slow:
            slow.sendall(server.spell("query", "slow", {"sql": _SLOW % steps, "params": []}))
            slow.setblocking(False)
            load = closed_loop(server.address, requests, 8, seconds=20, until=partial(_arrived, slow))
        return load.p99_ms, {"p50_ms": load.p50_ms, "max_ms": load.max_ms, "calm_p99_ms": calm.p99_ms}

    with bench.serving(*servers):
        steps = {}
        for server in servers:
            for n in range(8):
                _fill(server, f"n{n}", 1_000)
            began = time.perf_counter()
            server.ask("query", "slow", {"sql": _SLOW % 1_000_000, "params": []})
            steps[server.name] = int(2_000_000 / (time.perf_counter() - began))
        sides = {server.name: partial(beside, server, steps[server.name]) for server in servers}
        pairs = bench.in_turn(sides)
        goals = (Goal(20, at_least=False),)
        yield pairs.figure("others' p99", "8 connections beside one 2 s query", "ms", goals)


def _arrived(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def runs(bench: Bench) -> Iterator[Figure]:
    """A small program in the sandbox: a table, 100 records, five queries; new isolation each time."""
    count = 60 if bench.quick else 200
    ours, durable, peers = bench.ours(full=False), bench.ours(), bench.peers()
    durable.name = "ours, FULL"
    servers = (ours, durable, *peers)

    def program(server: Server) -> bytes:
        return server.spell("run", "code", {"code": SNIPPET_JS if server.run_value == "result" else SNIPPET})

    with bench.serving(*servers):
        for server in servers:
            answer = json.loads(ask(server.address, program(server)))
            if answer[server.run_value] != SNIPPET_VALUE:
                raise RuntimeError(f"{server.name}: the program gave {json.dumps(answer)[:500]}")
        sides = {
            server.name: (server, partial(closed_loop, server.address, [program(server)], 1, count=count))
            for server in servers
        }
        pairs = bench.loads(sides, _p50)
        goals = (Goal(4, at_least=False), Goal(1, "peer", at_least=False))
        yield pairs.figure("run", "8 helper calls, median", "ms", goals)
