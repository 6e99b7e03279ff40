"""A job is work that outlives its request: its state lies in the actor's file, its progress comes as events.

A job function works in batches, each a unit or a turn, so that other calls get in between. Every job ends in one
of three states: `done`, `failed` or `cancelled`. After a crash a job that says it can (`resumable=True`) starts
again with its arguments; any other is marked failed when the actor opens, so none is left "running".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from runtime.alarms import JOBS_ALARM
from runtime.clock import iso
from runtime.errors import DuraliteError, NotFound
from runtime.ids import new_token
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads

if TYPE_CHECKING:
    from runtime.instance import Instance, TurnCall

__all__ = ("Job", "JobProgress", "Jobs", "collect_jobs", "job")

JobState = Literal["running", "done", "failed", "cancelled"]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "_duralite_job"
_REPORT_S = 0.25
_CANCELLED = {"code": "cancelled", "detail": "The job was cancelled."}
_log = structlog.get_logger("duralite.jobs")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as every view shows it. Moments are RFC 3339 text; `total` is None while it is not known."""

    id: str
    kind: str
    state: JobState
    phase: str | None
    done: int
    total: int | None
    message: str | None
    result: Any
    error: Any
    created: str
    ended: str | None


def job(kind: str, *, resumable: bool = False) -> Callable[[F], F]:
    """Declare a job function: `async def f(self, progress: JobProgress, **arguments)`."""

    def mark(function: F) -> F:
        setattr(function, _MARK, (kind, resumable))
        return function

    return mark


def collect_jobs(cls: type) -> dict[str, tuple[Callable[..., Awaitable[Any]], bool]]:
    """Return a class's job functions by kind, each with whether it is resumable."""
    found = {}
    for base in reversed(cls.__mro__):
        for function in vars(base).values():
            if (mark := getattr(function, _MARK, None)) is not None:
                found[mark[0]] = (function, mark[1])
    return found


class JobProgress:
    """What a job function reports through."""

    def __init__(self, jobs: Jobs, record: Job) -> None:
        self._jobs = jobs
        self._reported = 0.0
        self.record = record

    async def report(
        self,
        done: int | None = None,
        total: int | None = None,
        phase: str | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far the job is; listeners hear at most four reports a second, and every change of phase."""
        before = self.record
        self.record = replace(
            before,
            done=before.done if done is None else done,
            total=before.total if total is None else total,
            phase=phase or before.phase,
            message=message or before.message,
        )
        now = asyncio.get_running_loop().time()
        if self.record.phase != before.phase or now - self._reported >= _REPORT_S:
            self._reported = now
            await self._jobs.store(self.record)


class Jobs:
    """The jobs of one actor."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._running: dict[str, TurnCall] = {}
        self._to_resume: set[str] = set()
        self._given_up: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether any job runs."""
        return bool(self._running)

    async def start(self, kind: str, arguments: Mapping[str, Any]) -> Job:
        """Begin a job and return its first record; it is in the file before this returns."""
        now = self._instance.host.clock.now()
        record = Job(new_token(8), kind, "running", None, 0, None, None, None, None, iso(now) or "", None)
        keep = self._instance.host.settings.limits.max_jobs_kept

        def insert(tx: Transaction) -> None:
            tx.execute(
                "INSERT INTO main._duralite_jobs (id, kind, state, arguments, created) VALUES (?, ?, 'running', ?, ?)",
                (record.id, kind, dumps(dict(arguments)).decode(), tx.now),
            )
            tx.execute(
                "DELETE FROM main._duralite_jobs WHERE state <> 'running' AND id IN (SELECT id FROM main._duralite_jobs"
                " WHERE state <> 'running' ORDER BY created DESC LIMIT -1 OFFSET ?)",
                (keep,),
            )

        await self._instance.connection.run(insert)
        self._begin(record, arguments)
        if self._resumable(kind):
            await self.index()
        return record

    def _resumable(self, kind: str) -> bool:
        return collect_jobs(type(self._instance.actor))[kind][1]

    async def index(self) -> None:
        """Have the directory know whether this actor must be opened after a crash, to take up its jobs."""
        instance = self._instance
        due = 0.0 if self._to_resume else None  # overdue, whatever the next clock shows
        await instance.host.directory.index_alarms(instance.id, [(JOBS_ALARM, due)])

    async def hold(self, reason: str) -> None:
        """Have the directory open this actor after a crash, as it does for jobs, until `let_go(reason)`."""
        self._to_resume.add(reason)
        await self.index()

    async def let_go(self, reason: str) -> None:
        """End a `hold`."""
        self._to_resume.discard(reason)
        if not self._to_resume:
            await self.index()

    def _begin(self, record: Job, arguments: Mapping[str, Any]) -> None:
        function, _ = collect_jobs(type(self._instance.actor))[record.kind]
        progress = JobProgress(self, record)
        actor = self._instance.actor
        self._instance.host.events.publish(self._instance.id, "job", asdict(record))
        call = self._instance.run_turn(
            lambda: self._work(progress, function(actor, progress, **arguments)), beside=True
        )
        self._running[record.id] = call
        if self._resumable(record.kind):
            self._to_resume.add(record.id)
        call.future.add_done_callback(_look)

    async def _work(self, progress: JobProgress, work: Awaitable[Any]) -> None:
        state: JobState = "done"
        result: Any = None
        error: Any = None
        try:
            answer = await work
            dumps(answer)  # what has no JSON form fails here, and not while the end is written
            result = answer
        except asyncio.CancelledError:
            if progress.record.id not in self._given_up:
                raise  # the host shuts down: the record stays "running", and the next start takes it up
            state, error = "cancelled", _CANCELLED
        except DuraliteError as caught:
            state, error = "failed", caught.to_problem()
        except Exception as caught:  # the turn's boundary: a job never takes the actor down
            _log.exception("job.failed", job=progress.record.id, kind=progress.record.kind)
            state, error = (
                "failed",
                {"code": "internal_error", "detail": f"{type(caught).__name__}: {caught}"[:500]},
            )
        finally:
            self._running.pop(progress.record.id, None)
            self._given_up.discard(progress.record.id)
        ended = iso(self._instance.host.clock.now())
        await self._end(replace(progress.record, state=state, result=result, error=error, ended=ended))

    async def _end(self, record: Job) -> None:
        await self.store(record)
        if record.id in self._to_resume:
            self._to_resume.discard(record.id)
            if not self._to_resume:
                await self.index()

    async def store(self, record: Job) -> None:
        """Write a record into the file and tell the listeners."""

        def write(tx: Transaction) -> None:
            tx.execute(
                "UPDATE main._duralite_jobs SET state = ?, phase = ?, done = ?, total = ?, message = ?, result = ?, error = ?,"
                " ended = CASE WHEN ? = 'running' THEN NULL ELSE ? END WHERE id = ?",
                (
                    record.state,
                    record.phase,
                    record.done,
                    record.total,
                    record.message,
                    None if record.result is None else dumps(record.result).decode(),
                    None if record.error is None else dumps(record.error).decode(),
                    record.state,
                    tx.now,
                    record.id,
                ),
            )

        await self._instance.connection.run(write)
        self._instance.host.events.publish(self._instance.id, "job", asdict(record))

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: no such job, or it is forgotten.
        """
        found = await self.list(job_id=job_id)
        if not found:
            raise NotFound(
                f"There is no job {job_id!r:.60}.", hint="List the jobs of this actor to see their ids."
            )
        return found[0]

    async def list(self, limit: int = 100, job_id: str | None = None) -> list[Job]:
        """Return the jobs, the newest first."""
        rows = await self._instance.connection.run(
            lambda tx: tx.all(
                "SELECT id, kind, state, phase, done, total, message, result, error, created, ended"
                " FROM main._duralite_jobs WHERE ? IS NULL OR id = ? ORDER BY created DESC, id LIMIT ?",
                (job_id, job_id, limit),
            ),
            read_only=True,
        )
        return [_record(row) for row in rows]

    async def wait(self, job_id: str, seconds: float) -> Job:
        """Return a job's record when it has ended, or as it is after so many seconds; the job goes on."""
        call = self._running.get(job_id)
        if call is not None:
            await asyncio.wait([call.future], timeout=max(0.0, seconds))
        return await self.get(job_id)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job and return its record; one that ended stays as it is."""
        record = await self.get(job_id)
        call = self._running.get(job_id)
        if call is not None and call.task is not None:
            self._given_up.add(job_id)
            call.cancel()
            await asyncio.wait([call.future])
            if self._running.pop(job_id, None) is not None:  # it never began, and so did not write its end
                self._given_up.discard(job_id)
                await self._end(replace(record, state="cancelled", error=_CANCELLED))
            record = await self.get(job_id)
        return record

    async def recover(self) -> None:
        """Continue, or mark failed, what a crash left running. Called when the actor opens."""
        rows = await self._instance.connection.run(
            lambda tx: tx.all(
                "SELECT id, kind, arguments, created FROM main._duralite_jobs WHERE state = 'running'"
            ),
            read_only=True,
        )
        kinds = collect_jobs(type(self._instance.actor))
        for job_id, kind, arguments, created in rows:
            record = Job(job_id, kind, "running", None, 0, None, None, None, None, iso(created) or "", None)
            if kind in kinds and kinds[kind][1]:
                self._begin(record, loads(arguments))
                continue
            error = {
                "code": "interrupted",
                "detail": "The service ended while the job ran.",
                "hint": "Start the job again.",
            }
            await self.store(replace(record, state="failed", error=error))


def _look(future: asyncio.Future[Any]) -> None:
    """Take note of how a job's task ended: nobody waits for it, and an error that nobody saw would be reported."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.warning("job.cut_short", error=repr(error))


def _record(row: tuple[Any, ...]) -> Job:
    result, error = (None if text is None else loads(text) for text in row[7:9])
    job_id, kind, state, phase, done, total, message = row[:7]
    return Job(
        job_id, kind, state, phase, done, total, message, result, error, iso(row[9]) or "", iso(row[10])
    )
