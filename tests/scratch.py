"""Actor types that the tests of the runtime use: a session without code mode, and a probe of turns and alarms."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from actors.session.transfer import TransferMethods
from runtime.actor import Actor
from runtime.alarms import AlarmEvent
from runtime.guard import SESSION
from runtime.host import Host
from runtime.jobs import Job, JobProgress, job
from runtime.method import method
from runtime.storage.migrations import Migration
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction

__all__ = ("Durable", "Few", "Mortal", "Probe", "Scratch", "column", "gate")

_NOTES = (Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE) STRICT", "Notes"),)


class Scratch(StatementMethods, StateMethods, TransferMethods, Actor, type_name="scratch"):
    """A session without code mode."""

    policy = SESSION


class Durable(Scratch, type_name="durable"):
    """A scratch whose commits are on the disk before they are acknowledged."""

    profile = Durability.FULL


class Mortal(Scratch, type_name="mortal"):
    """A scratch that lives for an hour after its last use."""

    ttl = timedelta(hours=1)


class Few(Scratch, type_name="few"):
    """A scratch of which only two may be open."""

    max_open = 2


def gate(host: Host, name: str) -> asyncio.Event:
    """Return a gate that a probe's turn can be held at."""
    return host.services.setdefault(f"gate {name}", asyncio.Event())


class Probe(Actor, type_name="probe"):
    """An actor whose turns, units, alarms and jobs do what a test says."""

    migrations = _NOTES

    @method()
    def note(self, tx: Transaction, text: str) -> int:
        """Write a note in one transaction."""
        return int(tx.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid or 0)

    @method(group=True)
    def jot(self, tx: Transaction, text: str) -> int:
        """Write a note, in a commit that others may share."""
        return int(tx.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid or 0)

    @method(read_only=True)
    def notes(self, tx: Transaction) -> list[str]:
        """Return the notes in the order they were written."""
        return [text for (text,) in tx.all("SELECT text FROM notes ORDER BY id")]

    @method()
    def hold(self, tx: Transaction, name: str) -> str:
        """Keep the thread until somebody opens the gate; SQLite cannot interrupt it."""
        event: threading.Event = self.host.services[name]
        event.wait(5)
        tx.execute("INSERT INTO notes (text) VALUES (?)", (name,))
        return name

    @method()
    def forever(self, tx: Transaction) -> int:
        """Count without an end."""
        tx.execute("INSERT INTO notes (text) VALUES ('begun')")
        row = tx.one("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
        return int(row[0]) if row else 0

    @method()
    async def turn(self, text: str, gate_name: str | None = None) -> str:
        """Write "begin", wait at the gate, write "end"."""
        await self.storage.run(lambda tx: self._write(tx, f"begin {text}"))
        if gate_name is not None:
            await gate(self.host, gate_name).wait()
        await self.storage.run(lambda tx: self._write(tx, f"end {text}"))
        return text

    @method(concurrent=True)
    async def beside(self, gate_name: str) -> str:
        """Wait at the gate beside the turns."""
        await gate(self.host, gate_name).wait()
        return gate_name

    @method()
    async def relay(self, path: list[str]) -> list[str]:
        """Call the next probe of a path inside this turn."""
        if not path:
            return [self.name]
        stub = self.host.namespace("probe").get(path[0])
        rest: list[str] = await stub.relay(path[1:])
        return [self.name, *rest]

    @method()
    async def fail(self, kind: str) -> None:
        """Raise."""
        raise {"timeout": TimeoutError, "cancel": asyncio.CancelledError, "value": ValueError}[kind](
            "on purpose"
        )

    @method()
    def set_alarm(self, tx: Transaction, name: str, due: float, payload: Any = None) -> None:
        """Set an alarm."""
        self.alarms.set(tx, name, due, payload)

    @method()
    def set_alarms(self, tx: Transaction, dues: dict[str, float]) -> None:
        """Set many alarms in one transaction."""
        for name, due in dues.items():
            self.alarms.set(tx, name, due)

    @method()
    def delete_alarm(self, tx: Transaction, name: str) -> bool:
        """Delete an alarm."""
        return self.alarms.delete(tx, name)

    @method(read_only=True)
    def list_alarms(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return all alarms."""
        return self.alarms.all(tx)

    def alarm(self, tx: Transaction, event: AlarmEvent) -> None:
        """Note the alarm; payload {"fail": n} makes the first n attempts fail, {"again": s} sets it anew."""
        payload = event.payload or {}
        log: list[tuple[str, str, int, float]] = self.host.services.setdefault("fired", [])
        log.append((self.name, event.name, event.retry, self.host.clock.now()))
        text = f"{event.name} at {event.due} retry {event.retry}"
        tx.execute("INSERT OR IGNORE INTO notes (text) VALUES (?)", (text,))
        if event.retry < payload.get("fail", 0):
            raise RuntimeError("on purpose")
        if again := payload.get("again"):
            self.alarms.set(tx, event.name, tx.now + again, payload)

    @method(concurrent=True)
    async def start_job(self, kind: str, arguments: dict[str, Any] | None = None) -> Job:
        """Start a job."""
        return await self.jobs.start(kind, arguments or {})

    @method(concurrent=True)
    async def get_job(self, id: str) -> Job:
        """Return a job."""
        return await self.jobs.get(id)

    @method(concurrent=True)
    async def list_jobs(self) -> list[Job]:
        """Return all jobs."""
        return await self.jobs.list(1000)

    @method(concurrent=True)
    async def cancel_job(self, id: str) -> Job:
        """Cancel a job."""
        return await self.jobs.cancel(id)

    @job("count")
    async def _count(self, progress: JobProgress, to: int = 3) -> int:
        for number in range(to):
            await progress.report(done=number, total=to, phase=f"step {number}")
        return to

    @job("wait")
    async def _wait(self, progress: JobProgress, at: str = "job") -> str:
        await gate(self.host, at).wait()
        return at

    @job("resume", resumable=True)
    async def _resume(self, progress: JobProgress, at: str = "job") -> str:
        await gate(self.host, at).wait()
        return "continued"

    @job("strange")
    async def _strange(self, progress: JobProgress) -> object:
        return object()

    @job("broken")
    async def _broken(self, progress: JobProgress) -> None:
        raise ValueError("on purpose")

    @staticmethod
    def _write(tx: Transaction, text: str) -> None:
        tx.execute("INSERT INTO notes (text) VALUES (?)", (text,))


async def column(stub: Any, sql: str, *params: Any) -> list[Any]:
    """Return the first column of a query."""
    return [row[0] for row in (await stub.query(sql, list(params), row_format="arrays")).rows]
