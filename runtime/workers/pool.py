"""The pool of worker processes: two lanes, a fair queue before each, and one task a process at a time.

Lane `work` is for imports, pipelines and exports: as many processes as cores, at low priority. Lane `read` is
for what somebody waits for: previews and short queries. Processes start at first use and stay warm for a minute. A
task that is cancelled, or late, is ended with its process; a process that crashes fails its own task only.

Where one account has all places, the first of another account gets one more: its task does not wait for work that
may take as long as `worker_s`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from runtime.context import current_context
from runtime.errors import DeadlineExceeded, DuraliteError, InternalError, LimitExceeded, Unavailable
from runtime.limits import Limits
from runtime.workers.worker import Worker

__all__ = ("Lane", "WorkerStats", "Workers")

Lane = Literal["work", "read"]

_READERS = 2
_TASKS = 100
_GROWN = 384 * 1024 * 1024
_IDLE_S = 60.0
_log = structlog.get_logger("duralite.workers")


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """A snapshot of one lane. `processes` counts those that live, busy or not."""

    lane: str
    running: int
    waiting: int
    processes: int
    done: int
    failed: int


@dataclass(slots=True)
class _Line:
    """One lane: its places, its warm processes, and who waits, account by account."""

    name: str
    places: int
    nice: int
    running: int = 0
    done: int = 0
    failed: int = 0
    idle: list[Worker] = field(default_factory=list)
    alive: set[Worker] = field(default_factory=set)
    waiting: OrderedDict[str, deque[asyncio.Future[None]]] = field(default_factory=OrderedDict)
    holders: Counter[str] = field(default_factory=Counter)

    def has_place(self, account: str) -> bool:
        """Tell whether a task of an account may start now."""
        if self.running < self.places:
            return True
        return self.running == self.places and len(self.holders) == 1 and account not in self.holders

    def take(self, account: str) -> None:
        """Note that a task of an account has a place."""
        self.running += 1
        self.holders[account] += 1

    def give_back(self, account: str) -> None:
        """Note that a place is free again, and give it to the next."""
        self.running -= 1
        self.holders[account] -= 1
        if not self.holders[account]:
            del self.holders[account]
        self.next()

    def count(self) -> int:
        return sum(map(len, self.waiting.values()))

    def next(self) -> None:
        """Give a free place to the account whose turn it is."""
        while (account := next(filter(self.has_place, self.waiting), None)) is not None:
            line = self.waiting.pop(account)
            place = line.popleft()
            if line:
                self.waiting[account] = line  # to the end: the others come first
            if not place.done():
                self.take(account)
                place.set_result(None)


class Workers:
    """The worker processes of one host. Made on any thread, used on the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._lines = {
            "work": _Line("work", limits.worker_processes or cores, 10),
            "read": _Line("read", _READERS, 0),
        }
        self._closed = False
        self._ending: set[asyncio.Task[int]] = set()

    async def run(
        self,
        task: str,
        args: Mapping[str, Any],
        *,
        lane: Lane = "work",
        account: str | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> Any:
        """Run a task (`package.module:function`) in a worker and return its answer.

        `account` is whose turn it takes in the queue (None: that of the present call). `on_progress` gets the
        reports of the task, on the event loop. `deadline_s` bounds the wait and the work, each (None:
        `worker_s`). A cancelled wait ends the worker.

        Raises:
            LimitExceeded: too many tasks wait, or the task needs more than `memory_bytes`.
            DeadlineExceeded: it did not begin, or not end, in time.
            InternalError: the worker crashed.
            DuraliteError: what the task raised.
        """
        line = self._lines[lane]
        seconds = self.limits.worker_s if deadline_s is None else deadline_s
        whose = account or current_context().account
        await self._enter(line, whose, seconds)
        try:
            return await self._work(
                line, task, dict(args), on_progress, seconds, memory_bytes or self.limits.worker_memory_bytes
            )
        finally:
            line.give_back(whose)

    async def _enter(self, line: _Line, account: str, seconds: float) -> None:
        if self._closed:
            raise _closing()
        if not line.waiting and line.has_place(account):
            line.take(account)
            return
        if line.count() >= self.limits.worker_waiting:
            raise LimitExceeded(
                f"{line.count():,} tasks wait for a worker process already.",
                hint="Wait for some of them to end; a retry is safe.",
                limit="worker_waiting",
                retry_after=5,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.setdefault(account, deque()).append(place)
        line.next()
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled() and place.exception() is None:
                # It was given in the very moment in which nobody wanted it any more.
                line.give_back(account)
            place.cancel()
            line.next()
            if isinstance(error, TimeoutError):
                raise _late("did not begin") from None
            raise

    async def _work(
        self,
        line: _Line,
        task: str,
        args: dict[str, Any],
        on_progress: Callable[[dict[str, Any]], None] | None,
        seconds: float,
        memory: int,
    ) -> Any:
        worker = line.idle.pop() if line.idle else await self._start(line)
        fit = False
        try:
            async with asyncio.timeout(seconds):
                answer = await worker.work(task, args, memory, on_progress)
            fit = True
            line.done += 1
            return answer
        except TimeoutError:
            raise _late("did not end") from None
        except EOFError:
            raise await self._crashed(line, worker, task, memory) from None
        except DuraliteError as error:
            fit = True
            if trace := error.extra.pop("trace", None):
                _log.error("worker.task_failed", task=task, trace=trace)
            raise
        finally:
            line.failed += not fit
            if fit and not self._closed and worker.tasks < _TASKS and worker.memory < _GROWN:
                self._rest(line, worker)
            else:
                self._end(line, worker)

    async def _start(self, line: _Line) -> Worker:
        worker = await Worker.start(line.nice)
        line.alive.add(worker)
        if self._closed:
            self._end(line, worker)
            raise _closing()
        return worker

    def _rest(self, line: _Line, worker: Worker) -> None:
        """Keep a process warm for the next task, for a minute."""
        line.idle.append(worker)
        asyncio.get_running_loop().call_later(_IDLE_S, self._retire, line, worker, worker.tasks)

    def _retire(self, line: _Line, worker: Worker, tasks: int) -> None:
        if worker in line.idle and worker.tasks == tasks:
            line.idle.remove(worker)
            self._end(line, worker)

    def _end(self, line: _Line, worker: Worker) -> None:
        """End a process without waiting for it; `close` waits."""
        line.alive.discard(worker)
        ending = asyncio.get_running_loop().create_task(worker.kill())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _crashed(self, line: _Line, worker: Worker, task: str, memory: int) -> DuraliteError:
        code = await worker.kill()
        _log.error("worker.crashed", task=task, lane=line.name, code=code)
        if self._closed:
            return _closing()
        if code == -signal.SIGABRT:
            # How a library in C or Rust ends that is refused memory: Python's own would have raised MemoryError.
            return LimitExceeded(
                f"The work had to be given up: it needs more than {memory // 2**20:,} MiB of memory.",
                hint="Split the file, or have the operator raise the limit worker_memory_bytes; it may be damaged, too.",
                limit="worker_memory_bytes",
            )
        return InternalError(
            "The worker process ended in the middle of the work.",
            hint="The file may be damaged, or need more memory than the machine has. Nothing was stored.",
        )

    def stats(self) -> tuple[WorkerStats, ...]:
        """Return a snapshot of both lanes."""
        return tuple(
            WorkerStats(line.name, line.running, line.count(), len(line.alive), line.done, line.failed)
            for line in self._lines.values()
        )

    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that live."""
        return tuple(worker.pid for line in self._lines.values() for worker in line.alive)

    async def close(self) -> None:
        """End all processes, whatever they do, and return when they are gone. Idempotent."""
        self._closed = True
        for line in self._lines.values():
            for waiters in line.waiting.values():
                for place in waiters:
                    if not place.done():
                        place.set_exception(_closing())
            line.idle.clear()
            for worker in list(line.alive):
                self._end(line, worker)
        while self._ending:
            await asyncio.wait(self._ending)


def _closing() -> Unavailable:
    return Unavailable("The service is shutting down.", hint="Retry in a few seconds.", retry_after=2)


def _late(what: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The work {what} by its deadline.",
        hint="Split the file, or have the operator raise the limit worker_s.",
        limit="worker_s",
    )
