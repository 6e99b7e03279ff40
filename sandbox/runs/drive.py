"""Driving a run: from its first record to its end, once for all who wait, and again after a crash.

A run whose caller waits is driven by that call; any other by a job. While an actor has run anything, the
directory knows that it must be opened after a crash: then the runs that were under way go on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import structlog

from helpers.check import Report, check
from runtime.context import current_context
from runtime.errors import DuraliteError, InputError, Unavailable
from runtime.ids import new_token
from runtime.jobs import Job as JobRecord
from runtime.storage.transaction import Transaction
from runtime.values import loads
from sandbox import codec
from sandbox.engine import Engine, Job, Limits, Outcome
from sandbox.runs import approvals, history, records
from sandbox.runs.ends import cancelled, diverged, refused, stopped, unresumable
from sandbox.runs.funnel import Funnel, Reach, helpers_of
from sandbox.runs.history import RunRecord
from sandbox.runs.journal import Divergence, Journal, Past, read_past
from sandbox.runs.records import Program
from sandbox.runs.result import RunResult, run_result

if TYPE_CHECKING:
    from runtime.instance import Instance

__all__ = ("EXPIRY_ALARM", "RUN_JOB", "Runs", "left_running")

RUN_JOB = "run"
EXPIRY_ALARM = "runs.expire"
_HOLD = "runs"
_TRIES = 20
_CHECKED_HERE = 8 * 1024
_log = structlog.get_logger("duralite.runs")


class _LeavingError(Exception):
    """Raised when an attempt ends because the service does."""


class Runs:
    """The runs of one live actor."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._driven: dict[str, asyncio.Future[RunResult]] = {}
        self._held: asyncio.Future[None] | None = None
        self._left = False

    # Beginning

    async def start(
        self,
        code: str,
        inputs: dict[str, Any],
        limits: Limits,
        ask: Sequence[str] = (),
        *,
        checked: bool = True,
    ) -> RunResult:
        """Run a program to its end, or until it pauses; with `checked`, not one that a look at it shows to be wrong."""
        program, data = self._program(code, inputs, limits, ask)
        report = await self.check(code, inputs) if checked else Report()
        if not report.ok:
            return await self._refused(program, data, report)
        # The program is on its way into the sandbox while its record is on its way into the file.
        journal = self._journal(program, self._begin(program, data))
        return await self._driving(program, journal, len(data), report)

    async def _refused(self, program: Program, data: bytes, report: Report) -> RunResult:
        """Give the errors of a program that was not run, and keep them like any end."""
        journal = self._journal(program, self._begin(program, data))
        result = stopped("error", program.id, None, refused(report))
        result.warnings = [asdict(finding) for finding in report.warnings]
        await self._end(program, journal, result, len(data))
        return result

    async def start_job(
        self,
        code: str,
        inputs: dict[str, Any],
        limits: Limits,
        ask: Sequence[str] = (),
        *,
        checked: bool = True,
    ) -> JobRecord:
        """Run a program as a job, and return the job's first record."""
        program, data = self._program(code, inputs, limits, ask)
        report = await self.check(code, inputs) if checked else Report()
        if report.ok:
            await self._begin(replace(program, attempts=0), data)
        else:
            await self._refused(program, data, report)
        return await self._instance.jobs.start(RUN_JOB, {"run": program.id})

    def _program(
        self, code: str, inputs: dict[str, Any], limits: Limits, ask: Sequence[str]
    ) -> tuple[Program, bytes]:
        now = self._instance.host.clock.now()
        program = Program(new_token(8), code, inputs, limits, tuple(ask), secrets.token_bytes(16), now)
        try:
            return program, codec.encode(inputs, limits.depth)
        except codec.CodecError as error:
            raise InputError(
                f"The inputs cannot be handed to the sandbox: {error}",
                hint="Inputs are plain data: None, bool, numbers, text, bytes, dates, lists, dicts.",
            ) from None

    def _begin(self, program: Program, data: bytes) -> asyncio.Future[Any]:
        """Write a run's record; the future ends when it is in the file, and a crash cannot be overlooked."""
        storage = self._instance.connection
        deadline = time.monotonic() + self._instance.host.settings.limits.statement_s
        unit = storage.unit(lambda tx: records.insert(tx, program, data), deadline=deadline, quick=True)
        storage.submit(unit)
        unit.future.add_done_callback(_look)
        if self._held is not None and self._held.done() and _succeeded(self._held):
            return unit.future
        return asyncio.ensure_future(_both(unit.future, self._hold()))

    async def _hold(self) -> None:
        """Have the directory open this actor after a crash, from here on until it closes."""
        if self._held is None or (self._held.done() and not _succeeded(self._held)):
            self._held = asyncio.ensure_future(self._instance.jobs.hold(_HOLD))
            self._held.add_done_callback(_look)
        await asyncio.shield(self._held)

    def _journal(self, program: Program, begun: asyncio.Future[Any], past: Past | None = None) -> Journal:
        instance = self._instance
        return Journal(
            program.id,
            instance.connection,
            instance.host.clock,
            begun,
            most_bytes=instance.host.settings.limits.run_journal_bytes,
            past=past,
        )

    # Going on

    async def go_on(self, runs: Sequence[str]) -> None:
        """Take up runs that were under way when the file was last open."""
        await self._hold()
        for run in runs:
            await self._instance.jobs.start(RUN_JOB, {"run": run})

    async def resume(self, run: str) -> RunResult:
        """Go on with a run from its journal, and return its end; one that ended already gives it again."""
        if (driven := self._driven.get(run)) is not None:
            return await asyncio.shield(driven)
        for _ in range(_TRIES):
            try:
                return await self._take_up(run)
            except Unavailable as error:
                if not self._instance.host.accepting:
                    raise asyncio.CancelledError from None  # so that its job stays "running"
                # The sandbox is full: after a crash many may want it at once. It was not begun, so that this does not count.
                await self._instance.connection.run(lambda tx: records.count_attempt(tx, run, -1))
                await asyncio.sleep(error.retry_after or 1.0)
        return await self._take_up(run)

    async def _take_up(self, run: str) -> RunResult:
        def read(tx: Transaction) -> tuple[Program, Past, int] | RunRecord:
            if history.code_of(tx, run)[1] != "running":
                return history.load(tx, run)
            program = history.program_of(tx, run)
            records.count_attempt(tx, run, 1)
            row = tx.one("SELECT length(inputs) FROM main._duralite_runs WHERE id = ?", (run,))
            return program, read_past(tx, run), row[0] if row is not None else 0

        found = await self._instance.connection.run(read)
        if isinstance(found, RunRecord):
            return history.result_of(found)
        program, past, size = found
        journal = self._journal(program, _now(), past)
        most = self._instance.host.settings.limits.run_resumes
        if program.attempts > most or not program.resumable:
            return await self._refuse(program, journal, size)
        return await self._driving(program, journal, size, again=True)

    async def _refuse(self, program: Program, journal: Journal, size: int) -> RunResult:
        error = unresumable(program.attempts - 1 if program.resumable else None)
        result = stopped("error", program.id, None, error)
        await self._end(program, journal, result, size)
        return result

    async def replay(self, run: str) -> RunResult:
        """Run a recorded program again with its recorded results, without doing anything."""

        def read(tx: Transaction) -> tuple[Program, Past]:
            return history.program_of(tx, run), read_past(tx, run)

        program, past = await self._instance.connection.run(read, read_only=True)
        journal = self._journal(program, _now(), past)
        journal.off = True
        funnel = await self._funnel(program, journal, look=True)
        result = await self._attempt(program, journal, funnel)
        result.note = "; ".join(filter(None, (result.note, "Replayed from the record: nothing was done.")))
        return result

    # One attempt

    async def _driving(
        self,
        program: Program,
        journal: Journal,
        size: int,
        report: Report | None = None,
        *,
        again: bool = False,
    ) -> RunResult:
        driven: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        driven.add_done_callback(_look)
        self._driven[program.id] = driven
        funnel: Funnel | None = None
        try:
            funnel = await self._funnel(program, journal)
            result = await self._attempt(program, journal, funnel)
            if report is not None:
                result.warnings = [asdict(finding) for finding in report.warnings]
            if result.status != "paused":
                await self._end(program, journal, result, size)
        except asyncio.CancelledError:
            self._cut_off(program, journal, funnel, size)
            raise
        except _LeavingError:
            self._left = True
            raise Unavailable(
                "The service shuts down; the run goes on when it is back.",
                hint=f"get_run with the id {program.id} tells how it ended.",
                run=program.id,
                retry_after=5,
            ) from None
        except DuraliteError as error:
            # The engine refused it: nothing was executed.
            if not again:
                await self._forget(program, journal)
            driven.set_exception(error)
            raise
        except Exception:
            # A mistake of ours: the run must not look as if it went on.
            await self._instance.connection.run(lambda tx: records.end_bare(tx, program.id, "error"))
            raise
        else:
            driven.set_result(result)
            self._publish(result)
            return result
        finally:
            del self._driven[program.id]
            if not driven.done():
                driven.cancel()

    async def _funnel(self, program: Program, journal: Journal, *, look: bool = False) -> Funnel:
        context = replace(current_context(), deadline=None).within(program.limits.wall_s)
        marks = (*self._instance.host.settings.approvals, *program.ask)
        reach = await self.reach()
        return Funnel(
            self._instance, reach, journal, context, marks=marks, look=look, on_pause=self.note_pause
        )

    async def _attempt(self, program: Program, journal: Journal, funnel: Funnel) -> RunResult:
        engine: Engine = self._instance.host.services["sandbox"]
        job = Job(program.code, funnel.helpers, program.inputs, program.limits, program.seed, program.now)
        funnel.engine = asyncio.get_running_loop().create_task(engine.run(job, funnel))
        try:
            outcome: Outcome = await funnel.engine
        except asyncio.CancelledError:
            if funnel.stopped is None or _cancelled_from_outside():
                raise
        finally:
            await funnel.aclose()
        if funnel.stopped is None and outcome.status in ("ok", "error") and journal.left:
            missing = journal.left[0]
            funnel.stopped = Divergence(f"it ends without calling {missing.name} with {missing.args}")
        if funnel.stopped == "leaving":
            raise _LeavingError
        if funnel.stopped == "paused":
            result = stopped("paused", program.id, funnel, None)
            result.waiting = await self._instance.connection.run(
                lambda tx: history.waiting_of(tx, program.id), read_only=True
            )
            return result
        if funnel.stopped is not None:
            error = diverged(
                funnel.stopped, journal, "in the record" if funnel.look else "before the service ended"
            )
            return stopped("error", program.id, funnel, error)
        result = run_result(outcome, funnel.calls, funnel.writes)
        result.id = program.id
        if journal.trouble is not None:
            result.id = None
            result.note = "; ".join(
                filter(None, (result.note, f"The run is not recorded: {journal.trouble}"))
            )
        return result

    async def reach(self) -> Reach:
        """Return what a program of this actor can call now."""
        toolbox = self._instance.host.services.get("tools")
        tools = () if toolbox is None else await toolbox.helpers(self._instance.address)
        return helpers_of(type(self._instance.actor), tools)

    async def check(self, code: str, inputs: dict[str, Any] | None) -> Report:
        """Return what a look at a program finds, before it runs."""
        helpers, _ = await self.reach()
        if len(code) < _CHECKED_HERE:
            return check(code, helpers, inputs=inputs)
        return await asyncio.to_thread(check, code, helpers, inputs=inputs)

    # Ends

    async def _end(self, program: Program, journal: Journal, result: RunResult, size: int) -> None:
        await journal.begun()
        if journal.trouble is not None:
            return
        rows = journal.take_pending()
        storage = self._instance.connection
        try:
            await storage.run(
                lambda tx: records.end(tx, program.id, result, rows, journal.written, size), quick=True
            )
        except DuraliteError as error:
            # The program filled the file, say. Its end must be known all the same, and nothing more fits.
            note = f"The record is not complete: {error.message}"
            result.note = "; ".join(filter(None, (result.note, note)))
            try:
                await storage.run(lambda tx: records.end_bare(tx, program.id, result.status))
            except DuraliteError as again:
                # The caller has the result all the same; the next start finds the run, and ends it.
                _log.warning("run.end_not_kept", run=program.id, error=again.message)

    def _cut_off(self, program: Program, journal: Journal, funnel: Funnel | None, size: int) -> None:
        """Write that a run was cancelled, without waiting; one that a shutdown ends goes on with the next start."""
        instance = self._instance
        if not instance.host.accepting:
            self._left = True
            return
        result = stopped("cancelled", program.id, funnel, cancelled())
        rows = journal.take_pending()

        def write(tx: Transaction) -> None:
            if records.is_made(tx):
                records.end(tx, program.id, result, rows, journal.written, size)

        unit = instance.run_unit(write)
        unit.future.add_done_callback(_look)
        self._publish(result)

    async def _forget(self, program: Program, journal: Journal) -> None:
        await journal.begun()
        if journal.trouble is None:
            await self._instance.connection.run(lambda tx: records.forget(tx, program.id))

    def _publish(self, result: RunResult) -> None:
        self.publish(result.id, result.status, result.waiting)

    def publish(self, run: str | None, state: str, waiting: Sequence[Any] = ()) -> None:
        """Tell listeners that a run ended, pauses or goes on."""
        if run is not None:
            data = {"id": run, "state": state, "waiting": list(waiting)}
            self._instance.host.events.publish(self._instance.id, "run", data)

    # Approvals

    async def decide(self, which: str, approved: bool, reason: str) -> RunRecord:
        """Decide about calls that wait, and have the run go on when all is decided."""
        instance = self._instance
        await self._hold()
        run, goes_on = await instance.connection.run(lambda tx: approvals.decide(tx, which, approved, reason))
        if goes_on:
            self.publish(run, "running")
            await instance.jobs.start(RUN_JOB, {"run": run})
        return await instance.connection.run(lambda tx: history.load(tx, run), read_only=True)

    def expire(self, tx: Transaction) -> None:
        """Cancel runs that waited too long for an approval, and come back for the next one. A unit."""
        late, following = approvals.expire(tx)
        if following is not None:
            self._instance.alarms.set(tx, EXPIRY_ALARM, following)

        async def tell() -> None:
            for run in late:
                self.publish(run, "cancelled")

        tx.after_commit(tell)

    def note_pause(self, tx: Transaction) -> None:
        """Have the run that pauses in this unit expire."""
        if self._instance.alarms.get(tx, EXPIRY_ALARM) is None:
            self._instance.alarms.set(tx, EXPIRY_ALARM, tx.now + tx.limits.run_approval_s)

    async def close(self) -> None:
        """Have the directory forget that this actor must be opened after a crash, unless runs are left."""
        if self._held is not None and not self._left:
            await asyncio.wait([self._held])
            await self._instance.jobs.let_go(_HOLD)


def left_running(tx: Transaction) -> list[str]:
    """Return the runs that nobody drives: running, and without a job of their own."""
    if not records.is_made(tx):
        return []
    jobs = tx.all(
        "SELECT arguments FROM main._duralite_jobs WHERE kind = ? AND state = 'running'", (RUN_JOB,)
    )
    driven = {loads(arguments).get("run") for (arguments,) in jobs}
    rows = tx.all("SELECT id FROM main._duralite_runs WHERE state = 'running' ORDER BY n")
    return [str(run) for (run,) in rows if run not in driven]


async def _both(write: asyncio.Future[Any], hold: Coroutine[Any, Any, None]) -> None:
    await hold
    await write


def _succeeded(future: asyncio.Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is None


def _now() -> asyncio.Future[Any]:
    """Return a future that is done: the record is in the file."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _look(future: asyncio.Future[Any]) -> None:
    """Take note of how something ended that nobody may wait for."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.debug("run.ended_badly", error=repr(error))
