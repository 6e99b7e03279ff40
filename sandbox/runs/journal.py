"""The journal makes a run survive a crash: each call with its result, written so that no effect happens twice.

A call is found again by what it asks (path and arguments) and how many like it came before, not by its place:
`asyncio.gather` may send calls in any order. Results are handed back in the order in which they came.

What is written when:

- an effect on the actor's own database: its row commits in the transaction of the effect;
- what the program has read before: kept in memory, and committed with the next effect. What no effect follows
  may be read anew after a crash, for nothing was done with it;
- a call that leaves the actor: a row "started" is committed before it is sent, its result when it is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from runtime.clock import Clock
from runtime.errors import DuraliteError
from runtime.storage.connection import Connection
from runtime.storage.transaction import Transaction
from runtime.values import dumps
from sandbox.runs.keys import key_of, shown
from sandbox.runs.order import Order
from sandbox.runs.records import ROW_BYTES, CallRow, put_calls

__all__ = (
    "CATCH_UP_S",
    "Divergence",
    "Entry",
    "Journal",
    "Past",
    "Recorded",
    "Replayed",
    "read_past",
)

CATCH_UP_S = 10.0
"""How long a call waits for the recorded calls that the program made before it and has yet to make again."""

_PENDING_BYTES = 1024 * 1024
_PENDING_ROWS = 256
_ARGS_KEPT = 4_000
_ARGS_ASKED = 64 * 1024


class Divergence(Exception):
    """Raised when a resumed run does something else than it did before."""


class Replayed(DuraliteError):
    """Raised for a call that failed the first time, with what it told then."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"], hint=told.get("hint"), exception=told["type"])
        self.__dict__["code"] = told.get("code")


@dataclass(slots=True)
class Recorded:
    """A call of an earlier attempt. `done` counts the awaited calls that ended, in order; None for any other."""

    id: int
    name: str
    state: str
    done: int | None
    args: str
    wrote: bool


@dataclass(slots=True)
class Entry:
    """A call that the program makes now. `recorded` is what the journal has of it.

    `done` and `place` are those of an awaited call that has ended.
    """

    id: int
    key: bytes
    nth: int
    name: str
    args: str
    awaited: bool
    recorded: Recorded | None
    at: float
    started: float
    done: int | None = None
    place: int | None = None


@dataclass(slots=True)
class Past:
    """What a journal holds when a run is taken up: its calls by key and count, and their bytes."""

    calls: dict[tuple[bytes, int], Recorded] = field(default_factory=dict)
    size: int = 0


def read_past(tx: Transaction, run: str) -> Past:
    """Return the calls in a run's journal, without their results."""
    rows = tx.all(
        "SELECT id, key, nth, name, state, done, substr(args, 1, 200), wrote, length(args) + coalesce(length(result), 0)"
        " FROM main._duralite_run_calls WHERE run = ? ORDER BY id",
        (run,),
    )
    calls = {
        (bytes(key), nth): Recorded(number, name, state, done, args, bool(wrote))
        for number, key, nth, name, state, done, args, wrote, _ in rows
    }
    return Past(calls, sum(row[-1] for row in rows) + ROW_BYTES * len(rows))


class Journal:
    """The journal of one attempt at a run.

    `begun` ends when the run's record is in the file. A journal that is `off` writes nothing: the run goes on,
    and cannot be resumed.
    """

    def __init__(
        self,
        run: str,
        storage: Connection,
        clock: Clock,
        begun: asyncio.Future[Any],
        *,
        most_bytes: int,
        past: Past | None = None,
    ) -> None:
        past = past or Past()
        self.run = run
        self.written = past.size
        self.off = False
        self.trouble: str | None = None
        self._storage = storage
        self._clock = clock
        self._begun = begun
        self._most_bytes = most_bytes
        self._counts: dict[bytes, int] = {}
        self._pending: dict[int, CallRow] = {}
        self._pending_bytes = 0
        self._writing = asyncio.Lock()
        self._next_write: asyncio.Task[None] | None = None
        self._recorded = past.calls
        done = sorted(each.done for each in self._recorded.values() if each.done is not None)
        self._places = {number: place for place, number in enumerate(done)}
        self._order = Order(len(done))
        self._next_id = 1 + max((each.id for each in self._recorded.values()), default=-1)
        self._next_done = 1 + (done[-1] if done else -1)
        self._consumed = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._look()

    # Finding calls again

    def enter(self, name: str, args: list[Any], kwargs: dict[str, Any], *, awaited: bool) -> Entry:
        """Take note of a call that the program makes, and find it in the journal."""
        key, text = key_of(name, args, kwargs)
        nth = self._counts.get(key, 0)
        self._counts[key] = nth + 1
        recorded = self._recorded.pop((key, nth), None) if self._recorded else None
        if recorded is not None:
            number = recorded.id
            self._look()
        else:
            number, self._next_id = self._next_id, self._next_id + 1
        kept = shown(text, _ARGS_KEPT)
        return Entry(number, key, nth, name, kept, awaited, recorded, self._clock.now(), time.perf_counter())

    def note_asked(self, entry: Entry, args: list[Any], kwargs: dict[str, Any], why: str) -> None:
        """Keep a call that waits for an approval, with more of its arguments: somebody must judge them."""
        entry.args = shown(key_of(entry.name, args, kwargs)[1], _ARGS_ASKED)
        self.note(entry, "asked", dumps({"why": why}))

    @property
    def left(self) -> list[Recorded]:
        """The recorded calls that the program has not made again."""
        return list(self._recorded.values())

    def _look(self) -> None:
        if not self._recorded:
            self._consumed.set()
            if self._order.caught_up:
                self._caught_up.set()

    async def catch_up(self, entry: Entry, *, wait: bool) -> None:
        """Return when every recorded result was handed back, so that what follows is new.

        Raises:
            Divergence: recorded calls were not made again, at once or (with `wait`) for `CATCH_UP_S`.
        """
        if self._caught_up.is_set():
            return
        if self._recorded and not wait:
            raise self._divergence(entry)
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await self._consumed.wait()
                await self._caught_up.wait()
        except TimeoutError:
            raise self._divergence(entry) from None

    def _divergence(self, entry: Entry) -> Divergence:
        return Divergence(f"it calls {entry.name} with {entry.args[:200]}, which it did not call before")

    async def recall(self, entry: Entry, recorded: Recorded) -> bytes:
        """Return the recorded result of a call, as JSON, when its turn has come.

        Raises:
            DuraliteError: the call failed the first time.
            Divergence: the result was too large to keep, or its turn does not come.
        """
        run = self.run
        if recorded.done is not None:
            entry.place = self._places[recorded.done]
        row = await self._storage.run(
            lambda tx: tx.one(
                "SELECT result, cut FROM main._duralite_run_calls WHERE run = ? AND id = ?",
                (run, recorded.id),
            ),
            read_only=True,
        )
        try:
            await self.turn(entry, CATCH_UP_S)
        except TimeoutError:
            raise Divergence(f"it waits for {entry.name}, and others ended before that") from None
        if row is None or row[1]:
            raise Divergence(f"the result of {entry.name} was too large to keep in the record")
        if recorded.state == "error":
            raise Replayed(orjson.loads(row[0]))
        return bytes(row[0])

    async def turn(self, entry: Entry, seconds: float | None = None) -> None:
        """Return when an awaited result may leave. Nothing may be awaited between this and the answer."""
        if entry.place is not None:
            try:
                await self._order.turn(entry.place, seconds)
            finally:
                entry.place = None
                self._look()

    def give_up(self, entry: Entry) -> None:
        """Take note that the program, or the end of the run, gave a call up."""
        if entry.place is not None:
            self._order.leave(entry.place)
            entry.place = None
            self._look()

    # Writing

    async def begun(self) -> None:
        """Return when the run's record is in the file: before anything is done outside.

        Where it cannot be written (the file is full, say), the run goes on without one.
        """
        if not self._begun.done():
            await asyncio.wait([self._begun])
        if not self._begun.cancelled() and (error := self._begun.exception()) is not None:
            self.off = True
            self.trouble = str(error)

    def _row(self, entry: Entry, state: str, result: bytes | None, wrote: bool) -> CallRow:
        ms = (time.perf_counter() - entry.started) * 1e3
        return CallRow(
            self.run,
            entry.id,
            entry.key,
            entry.nth,
            entry.name,
            entry.args,
            state,
            entry.done if state in ("ok", "error") else None,
            result,
            ms,
            entry.at,
            wrote,
        )

    def _ends(self, entry: Entry) -> None:
        """Give an awaited call that has ended its number and its place."""
        if entry.awaited and entry.done is None:
            entry.done, self._next_done = self._next_done, self._next_done + 1
            entry.place = self._order.take()

    def note(self, entry: Entry, state: str, result: bytes | None, *, wrote: bool = False) -> None:
        """Keep a row until it is written with the next effect, or by `flush`; `wrote` for an effect outside."""
        if self.off:
            return
        if state in ("ok", "error"):
            self._ends(entry)
        row = self._row(entry, state, result, wrote)
        before = self._pending.get(row.id)
        self._pending_bytes += row.size - (before.size if before is not None else 0)
        self._pending[row.id] = row

    def note_error(self, entry: Entry, error: DuraliteError) -> None:
        """Keep the error of a call."""
        self.note(entry, "error", error_json(error))

    @property
    def crowded(self) -> bool:
        """Whether so much is pending, or written, that something must be done about it."""
        if self.written > self._most_bytes:
            return not self.off
        return self._pending_bytes > _PENDING_BYTES or len(self._pending) > _PENDING_ROWS

    def wrap(
        self, entry: Entry
    ) -> tuple[Callable[[Callable[[Transaction], Any], Transaction], bytes], Callable[[], None]]:
        """Return what stands around an effect inside its transaction, and what must follow its commit."""
        rows = list(self._pending.values())
        own: list[CallRow] = []
        self._ends(entry)

        def wrapped(run: Callable[[Transaction], Any], tx: Transaction) -> bytes:
            answer = run(tx)
            data = answer if type(answer) is bytes else dumps(answer)
            if self.off:
                return data
            # A unit may be run a second time after an accident of its group.
            own[:] = [self._row(entry, "ok", data, True)]
            put_calls(tx, [*rows, *own])
            return data

        def committed() -> None:
            self._wrote([*rows, *own])

        return wrapped, committed

    async def flush(self) -> None:
        """Return when everything that was noted before is in the file. Who comes while one writes, shares the next."""
        if self._next_write is None:
            self._next_write = asyncio.get_running_loop().create_task(self._write_next())
            self._next_write.add_done_callback(_seen)
        await asyncio.shield(self._next_write)
        if self.written > self._most_bytes and not self.off:
            await self._give_up()

    async def _write_next(self) -> None:
        async with self._writing:
            await asyncio.sleep(0)  # what is noted in the same breath goes along
            self._next_write = None
            await self._write()

    async def pause(self, mark: Callable[[Transaction], None]) -> None:
        """Write everything that was noted and, in the same transaction, that the run pauses (`mark`)."""
        async with self._writing:
            await self._write(mark)

    async def _write(self, also: Callable[[Transaction], None] | None = None) -> None:
        await self.begun()
        rows = list(self._pending.values())
        if not rows and also is None:
            return

        def write(tx: Transaction) -> None:
            put_calls(tx, rows)
            if also is not None:
                also(tx)

        await self._storage.run(write, quick=also is None)
        self._wrote(rows)

    async def _give_up(self) -> None:
        """Write no more: the run cannot be resumed from here on."""
        self.off = True
        self._pending.clear()
        run = self.run
        await self._storage.run(
            lambda tx: (
                tx.execute("UPDATE main._duralite_runs SET resumable = 0 WHERE id = ?", (run,)) and None
            )
        )

    def _wrote(self, rows: Iterable[CallRow]) -> None:
        for row in rows:
            self.written += row.size
            if self._pending.get(row.id) is row:
                del self._pending[row.id]
                self._pending_bytes -= row.size

    def take_pending(self) -> Sequence[CallRow]:
        """Return what is not written yet, for the transaction that ends the run."""
        rows = list(self._pending.values())
        self._pending.clear()
        self._pending_bytes = 0
        return rows


def error_json(error: DuraliteError) -> bytes:
    """Return an error as the journal keeps it."""
    kind = str(error.extra.get("exception") or type(error).__name__)
    told = {"type": kind, "message": error.message, "hint": error.hint, "code": error.code}
    return orjson.dumps({key: _text(value) for key, value in told.items()})


def _text(value: str | None) -> str | None:
    return None if value is None else value.encode("utf-8", "replace").decode()


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of how a write ended that nobody may wait for any more."""
    if not task.cancelled():
        task.exception()
