"""Runs guard cases against the real session actor, each in a process of its own.

A case may kill its process, eat memory, or never end; so a small parent forks one child for each case, with
limits on address space and file size, and kills what outlives its time. Started as a program, it reads a JSON
object `{"corpus": "attacks" | "legit", "cases": […]}` from standard input and writes one JSON line a case:
`{"name", "ok", "why", "seconds", "rss_mb"}`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import resource
import select
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from actors.session import SessionActor
from runtime.clock import SystemClock
from runtime.context import CallContext
from runtime.errors import DuraliteError, GuardRefused
from runtime.guard import SESSION, Policy
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.limits import Limits
from runtime.registry import Registry
from runtime.settings import Settings

MIB = 1024 * 1024
_BESIDE = ("-wal", "-shm", "-journal")
DEADLINE_S = 1.0
GRACE_S = 5.0
KILL_S = 40.0
FILE_BYTES = 64 * MIB
RSS_MIB = 700
LIMITS = Limits(max_file_bytes=FILE_BYTES, statement_s=DEADLINE_S)
POLICY = replace(SESSION, max_file_bytes=FILE_BYTES, heap_bytes=512 * MIB, temp_bytes=512 * MIB)


def decode(value: Any) -> Any:
    """Return a corpus value: bytes, long texts and long statements are written in short."""
    if isinstance(value, dict):
        if "$b64" in value:
            return base64.b64decode(value["$b64"])
        if "$repeat" in value:
            return value["$repeat"][0] * value["$repeat"][1]
        if "$concat" in value:
            return "".join(p if isinstance(p, str) else p[0] * p[1] for p in value["$concat"])
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


class CaseSession(SessionActor):
    """The session actor with the small caps of these tests."""

    policy: ClassVar[Policy | None] = POLICY

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Start no sandbox: no case runs code."""

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """Stop nothing."""


class Bench:
    """One session of a host of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ActorAddress("session", "local", "case")
        self.host: Host | None = None
        self.path = folder

    async def open(self) -> None:
        """Start the host and open the session's file."""
        settings = Settings(data=self.folder, limits=LIMITS)
        self.host = Host(settings, clock=SystemClock(), registry=Registry([CaseSession]))
        await self.host.start()
        self.path = self.host.path_of(self.address)
        await self.user("SELECT 1", seconds=10)

    async def close(self) -> None:
        """Close the session and its host."""
        if self.host is not None:
            await self.host.stop()
            self.host = None

    async def user(self, sql: Any, params: Any = None, seconds: float = DEADLINE_S) -> Any:
        """Run one stranger's statement by the method that fits it and return (rows, truncated)."""
        assert self.host is not None
        writes = isinstance(sql, str) and _WRITES.match(sql) is not None
        spec = self.host.spec("session", "exec" if writes else "query")
        arguments = {"sql": sql, "params": params}
        if not writes:
            arguments["row_format"] = "arrays"
        context = CallContext(deadline=time.monotonic() + seconds)
        done = await self.host.call(self.address, spec, spec.bind(arguments), context)
        rows = [list(row.values()) if isinstance(row, dict) else row for row in done.rows or []]
        return rows, done.truncated

    async def internal(self, sql: str, params: Any = ()) -> list[list[Any]]:
        """Run one statement of the runtime's own on the same connection."""
        assert self.host is not None
        instance = await self.host.acquire(self.address)
        assert instance is not None
        return await instance.connection.run(
            lambda tx: [list(r) for r in tx.execute(sql, params)], seconds=10
        )

    async def in_transaction(self) -> bool:
        """Return whether the connection was left inside a transaction."""
        assert self.host is not None
        instance = await self.host.acquire(self.address)
        assert instance is not None
        return bool(instance.connection.tx.connection.in_transaction)

    def trusted(self, statements: list[str]) -> list[list[Any]]:
        """Run statements on a plain connection; the session must be closed."""
        raw = sqlite3.connect(self.path, isolation_level=None)
        try:
            raw.execute("PRAGMA foreign_keys=ON")
            rows: list[list[Any]] = []
            for sql in statements:
                rows = [list(row) for row in raw.execute(sql)]
            return rows
        finally:
            raw.close()


# A statement that writes goes to `exec`, whatever stands in front of it; all others go to `query`.
_WRITES = re.compile(
    r"(?:\s|\ufeff|;|--[^\n]*\n|/\*.*?\*/)*(?:insert|replace|update|delete|create|drop|alter|with\b.*\)\s*(?:insert|replace|update|delete)\b)",
    re.IGNORECASE | re.DOTALL,
)


async def attack(case: dict[str, Any], bench: Bench) -> str | None:
    """Run one attack; return None if it ended as its `must` says, else what went wrong."""
    await bench.open()
    await bench.close()
    setup = [decode(sql) for sql in case["setup"]]
    # The corpus brings its own shape of the runtime's tables.
    drops = [f"DROP TABLE {t}" for t in ("session_state", "execution_logs") if any(t in s for s in setup)]
    bench.trusted([*drops, *setup])
    before = {p.name for p in bench.path.parent.iterdir()} | {bench.path.name + end for end in _BESIDE}
    await bench.open()
    if first := case.get("internal_first"):
        await bench.internal(first[0], decode(first[1]))
    error = await _strike(case, bench)
    why = await _damage(case, bench, error)
    if why is None and {p.name for p in bench.path.parent.iterdir()} - before:
        why = "a new file lies beside the database"
    if why is None and await bench.in_transaction():
        why = "a transaction was left open"
    await bench.close()
    if why is None and (probe := case.get("probe")) and not probe.get("same_conn"):
        why = _compare(bench.trusted([probe["sql"]]), probe["rows"], "probe")
    if why is None and bench.path.stat().st_size > FILE_BYTES:
        why = "the file is over its cap"
    return why


async def _strike(case: dict[str, Any], bench: Bench) -> BaseException | None:
    try:
        for sql in case.get("user_setup", []):
            await bench.user(decode(sql), seconds=10)
    except DuraliteError as refused:
        return refused
    started = time.monotonic()
    try:
        await bench.user(decode(case["sql"]), decode(case["params"]))
    except DuraliteError as refused:
        if time.monotonic() - started > DEADLINE_S + GRACE_S:
            return TimeoutError(f"the caller waited {time.monotonic() - started:.1f} s")
        return refused
    return None


async def _damage(case: dict[str, Any], bench: Bench, error: BaseException | None) -> str | None:
    if isinstance(error, TimeoutError):
        return str(error)
    if case["must"] == "blocked" and error is None:
        return "it was not blocked"
    # Processor time: what the statement still took, however many others share the machine.
    started = time.process_time()
    await bench.user("SELECT 1", seconds=KILL_S)
    if time.process_time() - started > GRACE_S:
        return f"the connection was busy for {time.process_time() - started:.1f} s after the deadline"
    if internal := case.get("internal_probe"):
        await bench.internal(internal)
    if (probe := case.get("probe")) and probe.get("same_conn"):
        return _compare(await bench.internal(probe["sql"]), probe["rows"], "probe")
    return None


async def legit(case: dict[str, Any], bench: Bench) -> str | None:
    """Run one legitimate statement; return None if it gave the recorded rows."""
    await bench.open()
    for sql in case["setup"]:
        await bench.user(decode(sql), seconds=10)
    rows, truncated = await bench.user(decode(case["sql"]), decode(case["params"]), seconds=10)
    rows = rows or []
    if case["rows"] is None:
        if len(rows) != case["row_count"] or truncated != case["truncated"]:
            return f"{len(rows)} rows, truncated {truncated}"
    elif why := _compare(rows, decode(case["rows"]), "rows"):
        return why
    if verify := case.get("verify"):
        return _compare((await bench.user(verify["sql"]))[0] or [], decode(verify["rows"]), "verify")
    return None


def _compare(found: list[Any], wanted: list[Any], what: str) -> str | None:
    found = [[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in found]
    if found == wanted and repr(found) == repr([list(row) for row in wanted]):
        return None
    return f"{what}: {found!r:.300} in place of {wanted!r:.300}"


async def run_case(corpus: str, case: dict[str, Any], folder: Path) -> str | None:
    """Run one case in this process."""
    bench = Bench(folder)
    try:
        return await (attack if corpus == "attacks" else legit)(case, bench)
    except GuardRefused as error:
        return f"refused by {error.rule}: {error}"
    finally:
        await bench.close()


def _child(corpus: str, case: dict[str, Any], out: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 * 1024 * MIB, 3 * 1024 * MIB))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * MIB, 1024 * MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        try:
            why = asyncio.run(run_case(corpus, case, Path(folder)))
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if why is None and rss > RSS_MIB:
        why = f"it took {rss} MiB of memory"
    result = {"name": case["name"], "ok": why is None, "why": why, "seconds": round(time.monotonic() - started, 2), "rss_mb": rss}  # fmt: skip
    os.write(out, json.dumps(result).encode())


def _scratch() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def run_all(
    corpus: str, cases: list[dict[str, Any]], report: Callable[[dict[str, Any]], None], width: int
) -> None:
    """Run all cases, `width` at a time, and report each result."""
    waiting = list(reversed(cases))
    running: dict[int, tuple[int, dict[str, Any], float]] = {}
    while waiting or running:
        while waiting and len(running) < width:
            case = waiting.pop()
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(read)
                _child(corpus, case, write)
                os._exit(0)
            os.close(write)
            running[read] = (pid, case, time.monotonic())
        ready, _, _ = select.select(list(running), [], [], 0.2)
        for read, (pid, case, started) in list(running.items()):
            late = time.monotonic() - started > KILL_S
            if read not in ready and not late:
                continue
            if late:
                os.kill(pid, signal.SIGKILL)
            data = os.read(read, 65536) if not late else b""
            os.close(read)
            del running[read]
            _, status = os.waitpid(pid, 0)
            if data:
                report(json.loads(data))
            else:
                why = "it did not end" if late else f"its process died (status {status})"
                report({"name": case["name"], "ok": False, "why": why, "seconds": KILL_S, "rss_mb": 0})


def main() -> None:
    """Read cases from standard input, write results to standard output."""
    job = json.load(sys.stdin)

    def report(result: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()

    run_all(job["corpus"], job["cases"], report, width=2)


if __name__ == "__main__":
    main()
