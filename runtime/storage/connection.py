"""A connection is one SQLite file and the one thread that may touch it. This file alone imports aiosqlite.

Work arrives as units: functions of a `Transaction`, each atomic, run in order of arrival. Crossing to the
thread costs more than most statements, so a unit crosses once, and the thread, once awake, takes every unit
that waits. Short writes that wait together share one commit (one fsync): nobody has an answer before it, and
if it fails each is run again by itself, so that only the guilty one fails.

A statement ends by its deadline: a watchdog on the event loop answers the caller and interrupts SQLite, again
and again until the thread comes back.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from runtime.clock import Clock
from runtime.errors import ActorClosed, Cancelled, DuraliteError, Unavailable
from runtime.guard import Guard, internal
from runtime.limits import Limits
from runtime.storage.attach import attached
from runtime.storage.log_space import LogSpace
from runtime.storage.migrations import Migration, migrate
from runtime.storage.opening import open_error, open_raw
from runtime.storage.profiles import Durability, map_size
from runtime.storage.statement_log import StatementLog
from runtime.storage.transaction import Transaction
from runtime.storage.unit import (
    Unit,
    deadline_error,
    given_up,
    spurious,
    was_interrupted,
    why_interrupted,
)
from runtime.storage.watchdog import Watchdog
from runtime.values import dumps

__all__ = ("Connection", "Unit")

R = TypeVar("R")

_GROUP_SECONDS = 0.005
"""Longest time a group of writes collects before it commits: nobody waits longer for a neighbour."""

_HOLD_SECONDS = 0.0005
"""How long finished units wait for their neighbours before the loop is woken for all of them at once."""

_BEGIN, _COMMIT, _ROLLBACK = internal("BEGIN IMMEDIATE"), internal("COMMIT"), internal("ROLLBACK")
_SAVE, _UNDO, _KEEP = internal("SAVEPOINT unit"), internal("ROLLBACK TO unit"), internal("RELEASE unit")
_SHAPE = internal("PRAGMA main.schema_version")
_PAGES, _PAGE_SIZE = internal("PRAGMA main.page_count"), internal("PRAGMA main.page_size")
_DEFERRED = internal("SELECT 1 FROM main.sqlite_master WHERE sql LIKE '%DEFERRED%' LIMIT 1")


class _Thread(aiosqlite.Connection):
    """aiosqlite's thread, with whole functions sent to it in place of single statements."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        # A C call that cannot be interrupted must not keep the process alive after the drain deadline.
        self._thread.daemon = True

    def post(self, function: Callable[[], None]) -> None:
        """Run a function in the thread; it must deliver its results itself."""
        self._tx.put_nowait((None, function))

    async def call(self, function: Callable[[], R]) -> R:
        """Run a function in the thread and return its result."""
        return await self._execute(function)  # type: ignore[no-untyped-call, no-any-return]

    async def ended(self) -> None:
        """Return when the thread has come to its end, after a failure to open."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    @property
    def raw(self) -> sqlite3.Connection:
        """The sqlite3 connection; only the thread may use it, except for `interrupt()`."""
        return self._conn


class Connection:
    """The one connection to an actor's file. Made on the event loop; all methods are called there."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        limits: Limits,
        watchdog: Watchdog,
        profile: Durability = Durability.NORMAL,
        guard: Guard | None = None,
        migrations: Sequence[Migration] = (),
        template: bytes | None = None,
        log: StatementLog | None = None,
        keep_log: Callable[[StatementLog], bool] = lambda _: False,
        shared: bool = False,
    ) -> None:
        self.path = path
        self.version = 0
        self.pending = 0
        self.on_delivered: Callable[[], None] | None = None
        self._clock = clock
        self._limits = limits
        self._watchdog = watchdog
        self._profile = profile
        self._guard = guard
        self._migrations = migrations
        self._template = template
        self._log = log
        self._keep_log = keep_log
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Unit] = deque()
        self._done: deque[Unit] = deque()
        self._scheduled = False
        self._waking = False
        self._finished_at = 0.0
        # A unit is in the queue, taken, or a member of the group, at every moment until it is finished: put into
        # the next place before it leaves the last.
        self._taken: Unit | None = None
        self._running: Unit | None = None
        self._members: list[Unit] = []
        self._shape = -1
        self._deferred = False
        self._space = LogSpace(path) if profile is Durability.FULL else None
        self._thread: _Thread | None = None
        self._tx: Transaction | None = None
        self._closing = False
        self._closer: asyncio.Task[None] | None = None
        self._hooks: set[asyncio.Task[None]] = set()

    async def open(self, prepare: Callable[[Transaction], Any] | None = None) -> None:
        """Open the file, bring it to the newest shape, and run `prepare` as the first unit.

        Raises:
            DuraliteError: the file is damaged, too new, or `prepare` failed.
        """
        thread = _Thread(lambda: self._connect(prepare))
        try:
            await thread
        except BaseException:
            await thread.ended()
            raise
        self._thread = thread

    def _connect(self, prepare: Callable[[Transaction], Any] | None) -> sqlite3.Connection:
        _step_back()
        raw: sqlite3.Connection | None = None
        try:
            raw = open_raw(self.path, self._profile, template=self._template, shared=self._shared)
            if self._guard is not None:
                self._guard.install(raw)
            migrate(raw, self._migrations)
            self._tx = Transaction(raw, self._guard, self._limits, self._log)
            self._tx.now = self._clock.now()
            if prepare is not None:
                raw.execute(_BEGIN)
                prepare(self._tx)
                raw.execute(_COMMIT)
        except BaseException as error:
            if raw is not None:
                raw.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise open_error(error) from error
            raise
        return raw

    # Sending work

    def unit(
        self,
        fn: Callable[[Transaction], Any],
        *,
        deadline: float,
        read_only: bool = False,
        quick: bool = False,
        wire: bool = False,
        method: str = "",
        beside: Path | None = None,
    ) -> Unit:
        """Make a unit, not yet sent.

        `deadline` is a moment of `time.monotonic()`. `quick` lets it share a commit with its neighbours.
        `wire` has the answer encoded as JSON bytes in the thread. `beside` is a file of ours that is attached
        as `staging` for this unit alone.
        """
        future = self._loop.create_future()
        return Unit(
            fn,
            future,
            read_only=read_only,
            quick=quick and beside is None,
            wire=wire,
            deadline=deadline,
            method=method,
            beside=beside,
        )

    def submit(self, unit: Unit) -> None:
        """Queue a unit; its `future` gets the answer, or the error."""
        if self._closing or self._thread is None:
            unit.future.set_exception(ActorClosed("The actor is closing.", hint="Call again; it opens anew."))
            return
        self.pending += 1
        self._queue.append(unit)
        if self.pending == 1:
            self._watchdog.watch(self)
        if not self._scheduled:
            self._scheduled = True
            self._thread.post(self._drain)

    async def run(
        self,
        fn: Callable[[Transaction], R],
        *,
        seconds: float | None = None,
        read_only: bool = False,
        quick: bool = False,
        method: str = "",
        beside: Path | None = None,
    ) -> R:
        """Run one unit and return its answer. A cancelled wait interrupts the unit. See `unit` for `beside`.

        Raises:
            DeadlineExceeded: it did not end within `seconds` (None: `statement_s`).
        """
        deadline = time.monotonic() + (self._limits.statement_s if seconds is None else seconds)
        unit = self.unit(
            fn, deadline=deadline, read_only=read_only, quick=quick, method=method, beside=beside
        )
        self.submit(unit)
        try:
            return await unit.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.cancel(unit)
            raise

    def cancel(self, unit: Unit) -> None:
        """Give a unit up: it is not started, or interrupted and rolled back."""
        unit.cancelled = True
        if self._running is unit:
            self.interrupt()

    def interrupt(self) -> None:
        """Ask SQLite to stop the statement that runs now."""
        if self._thread is not None:
            try:
                self._thread.raw.interrupt()
            except (ValueError, sqlite3.ProgrammingError):
                pass  # closed in the meantime: nothing runs any more

    def enforce(self, now: float) -> bool:
        """Answer every unit whose deadline passed and interrupt the running one; return whether work is left."""
        if self._done:
            self._deliver()
        running = self._running
        if running is not None and (running.cancelled or now >= running.deadline):
            late = now >= running.deadline
            self._give_up(running, deadline_error() if late else Cancelled("The call was cancelled."))
            self.interrupt()
        # Copied in one C call each: the thread may take units meanwhile.
        for unit in (*self._queue.copy(), *self._members.copy()):
            if now >= unit.deadline:
                self._give_up(unit, deadline_error())
        return self.pending > 0

    def abandon(self, error: DuraliteError) -> None:
        """Answer every unit that waits or runs with `error`; what runs is interrupted and rolled back."""
        taken = self._taken
        for unit in (*self._queue.copy(), *self._members.copy(), *([taken] if taken else [])):
            self._give_up(unit, error)
        self.interrupt()

    @staticmethod
    def _give_up(unit: Unit, error: DuraliteError) -> None:
        unit.cancelled = True
        # One that commits already gets the commit's own answer, in a moment.
        if not unit.committing and not unit.future.done():
            unit.future.set_exception(error)

    async def close(self) -> None:
        """Finish what waits, write the log, checkpoint, and close the file. Idempotent."""
        self._closing = True
        if self._closer is None and self._thread is not None:
            self._closer = self._loop.create_task(self._close(self._thread))
        if self._closer is not None:
            # A closer that goes away must not leave the file half closed.
            await asyncio.shield(self._closer)

    async def _close(self, thread: _Thread) -> None:
        try:
            await thread.call(self._last_words)
        finally:
            await thread.close()
            self._thread = None
            while self._hooks:
                await asyncio.wait(self._hooks)

    def _last_words(self) -> None:
        self._drain()
        if self._tx is not None and self._log is not None and self._log.pending:
            raw = self._tx.connection
            if not raw.total_changes and self._keep_log(self._log):
                return  # the file was only read: it need not be written for this alone
            try:
                raw.execute(_BEGIN)
                self._tx.flush_log()
                raw.execute(_COMMIT)
            except sqlite3.Error:
                self._rollback()  # the log is a courtesy; the file closes all the same

    @property
    def tx(self) -> Transaction:
        """The transaction object, for its statistics."""
        if self._tx is None:
            raise ActorClosed("The file is not open.")
        return self._tx

    # In the thread

    def _drain(self) -> None:
        """Run every unit that waits."""
        queue = self._queue
        while True:
            while queue:
                unit = self._taken = queue[0]
                queue.popleft()
                if unit.quick and queue and queue[0].quick and self._may_group():
                    self._group(unit)
                else:
                    self._alone(unit)
                # A wake-up for each unit would have the two threads fight for the interpreter's lock, statement by
                # statement. The watchdog delivers what a slow unit behind it would hold up.
                if not self._waking and (not queue or time.monotonic() - self._finished_at > _HOLD_SECONDS):
                    self._wake()
            self._taken = None
            self._scheduled = False
            # A unit may have come between the last look and the line above, and seen the flag still up.
            if not queue:
                return
            self._scheduled = True

    def _may_group(self) -> bool:
        """Tell whether units may share a commit: not where a deferred foreign key waits for it.

        It is checked at COMMIT only, where a neighbour could have mended what a unit broke.
        """
        raw = self.tx.connection
        try:
            (shape,) = raw.execute(_SHAPE).fetchone()
            if shape != self._shape:
                self._deferred = raw.execute(_DEFERRED).fetchone() is not None
                self._shape = shape
        except sqlite3.Error:
            return False
        return not self._deferred

    def _group(self, first: Unit) -> None:
        """Run a row of writes in one transaction with one commit; fall back to one by one on any accident."""
        members = self._members = [first]
        mark = self.tx.mark()
        started = time.monotonic()
        sound = self._begin(first)
        if sound:
            sound = self._saved(first)
            while sound and self._queue and time.monotonic() - started < _GROUP_SECONDS:
                following = self._queue[0]
                # A unit that may take long would make the finished ones wait for it.
                if not following.quick:
                    break
                members.append(following)
                self._queue.popleft()
                sound = self._saved(members[-1])
            sound = sound and self._may_group() and self._commit(members)
        self._members = []
        if sound:
            for unit in members:
                self._finish(unit)
            return
        self._rollback()
        # Nothing was acknowledged, so each may run again, and the guilty one fails alone.
        self.tx.forget(mark)
        for unit in members:
            unit.answer = unit.error = unit.hooks = None
            unit.committing = False
            self._alone(unit)

    def _saved(self, unit: Unit) -> bool:
        """Run a unit inside the open group; return False if that broke the transaction."""
        raw = self.tx.connection
        try:
            raw.execute(_SAVE)
            self._call(unit)
            if not raw.in_transaction or spurious(unit):
                return False
            if unit.error is not None:
                raw.execute(_UNDO)
            raw.execute(_KEEP)
        except sqlite3.Error:
            return False
        return True

    def _alone(self, unit: Unit) -> None:
        """Run a unit in a transaction of its own."""
        if unit.beside is None:
            self._attempt(unit)
        else:
            try:
                with attached(self.tx.connection, self._guard, unit.beside):
                    self._attempt(unit)
                self._map()
            except Unavailable as error:
                unit.error = error
            except sqlite3.Error as error:
                unit.error = self._translated(error)
        self._finish(unit)

    def _map(self) -> None:
        """Have the file read as its next opening would: it may have become large."""
        raw = self.tx.connection
        try:
            (pages,), (size,) = raw.execute(_PAGES).fetchone(), raw.execute(_PAGE_SIZE).fetchone()
            raw.execute(internal(map_size(pages * size))).close()
        except sqlite3.Error:
            pass  # a matter of speed alone; the unit is committed, and a late interrupt must not make it look failed

    def _attempt(self, unit: Unit) -> None:
        for _ in range(3):
            if unit.read_only:
                self._call(unit)
            elif self._begin(unit):
                self._call(unit)
                if unit.error is None:
                    self._commit([unit])
            self._rollback()  # also of a reader: an open transaction would hold the file
            if not spurious(unit):
                break
            unit.answer = unit.error = unit.hooks = None
            unit.committing = False

    def _rollback(self) -> None:
        """Leave no transaction open."""
        raw = self.tx.connection
        for _ in range(3):
            if not raw.in_transaction:
                return
            try:
                raw.execute(_ROLLBACK)
            except sqlite3.Error:
                continue  # an interrupt that was meant for the statement before can hit this one

    def _begin(self, unit: Unit) -> bool:
        try:
            self.tx.connection.execute(_BEGIN)
        except sqlite3.Error as error:
            unit.error = self._translated(error)
            return False
        return True

    def _commit(self, units: Sequence[Unit]) -> bool:
        """Commit what the units did; False, with the error on each, if one was given up or SQLite refuses."""
        for unit in units:
            unit.committing = True
        try:
            if any(unit.cancelled for unit in units):
                raise given_up()
            self.tx.connection.execute(_COMMIT)
        except (sqlite3.Error, Cancelled) as error:
            translated = self._translated(error)
            for unit in units:
                unit.error, unit.answer = translated, None
                unit.committing = False
            return False
        self.version += 1
        if self._space is not None:
            self._space.committed()
        return True

    def _call(self, unit: Unit) -> None:
        """Run the unit's function, with the answer or the error put on the unit."""
        if unit.cancelled or unit.future.cancelled():
            unit.error = Cancelled("The call was cancelled before it started.")
            return
        if time.monotonic() >= unit.deadline:
            unit.error = deadline_error()
            return
        tx = self.tx
        tx.wire = unit.wire
        tx.method = unit.method
        tx.running = unit
        tx.now = self._clock.now()
        if self._guard is not None:
            self._guard.deadline = unit.deadline
        self._running = unit
        try:
            answer = unit.fn(tx)
            unit.answer = dumps(answer) if unit.wire and type(answer) is not bytes else answer
            if tx._after_commit:
                unit.hooks, tx._after_commit = tx._after_commit, []
        except DuraliteError as error:
            unit.error = error
        except sqlite3.Error as error:
            unit.error = self._translated(error)
        except Exception as error:  # the turn's boundary: whatever a method raises is its caller's to see
            unit.error = error
        finally:
            # Also on the transaction, which lives on: it would keep the last answer in memory.
            self._running = tx.running = None
            if tx._after_commit:
                tx._after_commit = []
        if unit.error is not None and was_interrupted(unit.error):
            unit.error = why_interrupted(unit, unit.error)

    def _translated(self, error: BaseException) -> BaseException:
        return self._guard.translate(error) if self._guard is not None else error

    def _finish(self, unit: Unit) -> None:
        if not self._done:
            self._finished_at = time.monotonic()
        self._done.append(unit)

    def _wake(self) -> None:
        self._waking = True
        try:
            self._watchdog.bell.ring(self._deliver)
        except RuntimeError:
            pass  # the loop ended before its work did; nobody is left to tell

    # On the loop again

    def _deliver(self) -> None:
        # Before the look at the queue: a unit finished from here on wakes the loop again.
        self._waking = False
        done = self._done
        while done:
            unit = done.popleft()
            self.pending -= 1
            if unit.hooks and unit.error is None:
                task = self._loop.create_task(_run_hooks(unit))
                self._hooks.add(task)
                task.add_done_callback(self._hooks.discard)
            else:
                _answer(unit)
        if self.pending == 0:
            self._watchdog.unwatch(self)
        if self.on_delivered is not None:
            self.on_delivered()


def _step_back() -> None:
    """Have the kernel let the event loop go on when it wakes the calling thread.

    The loop holds the interpreter's lock at that moment: a thread that takes the core from it, as interactive
    ones may, can only wait. A batch thread takes its turn when the loop rests.
    """
    if hasattr(os, "SCHED_BATCH"):
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # 0 is this thread
        except OSError:
            pass  # a container may forbid it; it is a matter of speed alone


def _answer(unit: Unit) -> None:
    future = unit.future
    if not future.done():
        if unit.error is not None:
            future.set_exception(unit.error)
        else:
            future.set_result(unit.answer)


async def _run_hooks(unit: Unit) -> None:
    """Do what must follow the commit and come before the answer."""
    try:
        for hook in unit.hooks or ():
            await hook()
    except Exception as error:  # the unit is committed; its caller must learn that what follows failed
        unit.error = error
    _answer(unit)
