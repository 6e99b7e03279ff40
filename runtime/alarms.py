"""An alarm wakes an actor at a moment, at least once, also after a crash (DESIGN section 3).

An actor may hold one alarm per name. Its row lies in the actor's own file and changes in the actor's own
transactions; the directory indexes it before the call that set it is answered. A handler written as a unit
runs in one transaction with the removal of its row, so its effects on the file happen exactly once. After a
failure the alarm comes back in 2, 4, 8, … seconds with up to 25 % jitter; after six retries it is dead: kept with
its error, not fired. The counter lies in the file and survives a restart.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from runtime.errors import ActorClosed, InputError, LimitExceeded
from runtime.ids import ActorAddress, ActorId
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads

if TYPE_CHECKING:
    from runtime.host import Host
    from runtime.instance import Instance

__all__ = ("JOBS_ALARM", "MAX_RETRIES", "TTL_ALARM", "AlarmEvent", "AlarmScheduler", "Alarms", "retry_delay")

MAX_RETRIES = 6
FIRST_DELAY_S = 2.0
TTL_ALARM = "_ttl"
JOBS_ALARM = "_jobs"
"""Indexed while an actor has jobs that can be resumed: after a crash it opens the actor, which takes them up."""
HANDLER_S = 900.0

_LAST_MOMENT = 253_402_300_799.0
_WINDOW_S = 300.0
_PAGE = 20_000
_AT_ONCE = 32
_log = structlog.get_logger("duralite.alarms")


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """What a handler is told. Moments are seconds since 1970; `retry` counts from 0."""

    name: str
    due: float
    payload: Any
    retry: int


def retry_delay(attempt: int, jitter: Callable[[], float] = random.random) -> float:
    """Return the seconds until the retry after failure number `attempt` (1, 2, …)."""
    return float(FIRST_DELAY_S * 2 ** (attempt - 1) * (1 + 0.25 * jitter()))


class Alarms:
    """The alarms of one actor. All calls belong into a unit."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        # So many can surely be set before the alarms must be counted again: counting each time would make ten
        # thousand of them slow.
        self._room = 0

    def set(self, tx: Transaction, name: str, due: float, payload: Any = None) -> None:
        """Set or move an alarm; a moment in the past fires at once.

        Raises:
            InputError: the name is empty, too long or reserved (`_…`).
            LimitExceeded: the actor holds `max_alarms` already.
        """
        if not 0 <= max(due, 0.0) <= _LAST_MOMENT:
            raise InputError(
                f"{due} is no moment for an alarm.", hint="Use seconds since 1970, up to the year 9999."
            )
        if not name or name.startswith("_") or len(name) > 200:
            raise InputError(
                f"{name!r:.60} cannot name an alarm.",
                hint="Use 1 to 200 characters that do not begin with _.",
            )
        self._take_room(tx, name)
        tx.execute(
            "INSERT OR REPLACE INTO main._duralite_alarms (name, due, attempt, payload, set_for) VALUES (?, ?, 0, ?, ?)",
            (name, due, None if payload is None else dumps(payload).decode(), due),
        )
        self._index(tx, name, due)

    def get(self, tx: Transaction, name: str) -> float | None:
        """Return when an alarm is due, or None without one."""
        row = tx.one("SELECT due FROM main._duralite_alarms WHERE name = ? AND dead = 0", (name,))
        return None if row is None else float(row[0])

    def all(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return all alarms, dead ones too: name, due, attempt, error, dead."""
        rows = tx.all("SELECT name, due, attempt, error, dead FROM main._duralite_alarms ORDER BY due, name")
        return [
            {"name": n, "due": due, "attempt": a, "error": e, "dead": bool(d)} for n, due, a, e, d in rows
        ]

    def delete(self, tx: Transaction, name: str) -> bool:
        """Delete an alarm and return whether there was one."""
        found = tx.execute("DELETE FROM main._duralite_alarms WHERE name = ?", (name,)).rowcount > 0
        if found:
            self._index(tx, name, None)
        return found

    def _take_room(self, tx: Transaction, name: str) -> None:
        if self._room <= 0:
            most = tx.limits.max_alarms
            row = tx.one("SELECT count(*) FROM main._duralite_alarms WHERE name <> ?", (name,))
            self._room = most - (row[0] if row is not None else 0)
            if self._room <= 0:
                raise LimitExceeded(
                    f"The actor holds {most:,} alarms already.",
                    hint="Delete alarms, or use fewer names.",
                    limit="max_alarms",
                )
        self._room -= 1

    def _index(self, tx: Transaction, name: str, due: float | None) -> None:
        last = tx.last_hook
        if not isinstance(last, _Reindex):
            last = _Reindex(self._instance)
            tx.after_commit(last)
        last.dues[name] = due


class _Reindex:
    """What one unit changed about alarms, written into the index together after its commit."""

    __slots__ = ("_instance", "dues")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.dues: dict[str, float | None] = {}

    async def __call__(self) -> None:
        instance = self._instance
        await instance.host.alarms.index(instance.id, instance.address, self.dues.items())


class AlarmScheduler:
    """Fires the alarms of all actors of a host, in order of time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._heap: list[tuple[float, int, ActorId, str]] = []
        self._armed: dict[tuple[ActorId, str], tuple[float, ActorAddress]] = {}
        # An alarm never fires twice at once: one that is armed while it fires waits here for the end of that.
        self._again: dict[tuple[ActorId, str], tuple[float, ActorAddress] | None] = {}
        self._serial = count()
        self._loaded_until = float("-inf")
        self._wake = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._firing: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._asleep_until = float("-inf")
        self.fired = 0
        self.failed = 0
        self.dead = 0

    def start(self) -> None:
        """Begin to fire; what is overdue fires at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop firing; handlers that run end with their actors. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for task in list(self._firing):
            task.cancel()
        await asyncio.gather(*self._firing, return_exceptions=True)

    @property
    def pending(self) -> int:
        """How many alarms of the next minutes are armed."""
        return len(self._armed)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is due and nothing fires."""
        sleeps = self._asleep_until > self._host.clock.now() and not self._wake.is_set()
        return sleeps and not self._firing

    async def index(
        self, actor: ActorId, address: ActorAddress, dues: Iterable[tuple[str, float | None]]
    ) -> None:
        """Write alarms of an actor into the directory's index and arm them; a due of None disarms."""
        dues = list(dues)
        await self._host.directory.index_alarms(actor, dues)
        for name, due in dues:
            if due is None:
                self._armed.pop((actor, name), None)
                if (actor, name) in self._again:
                    self._again[actor, name] = None
            else:
                self.note(actor, address, name, due)

    def note(self, actor: ActorId, address: ActorAddress, name: str, due: float) -> None:
        """Arm an alarm that is on its way into the index, if it is due before the index is read again."""
        if due <= self._loaded_until:
            self.arm(actor, address, name, due)

    def arm(self, actor: ActorId, address: ActorAddress, name: str, due: float) -> None:
        """Have an indexed alarm fire when it is due."""
        if (actor, name) in self._again:
            self._again[actor, name] = (due, address)
            return
        if self._armed.get((actor, name), (None,))[0] == due:
            return
        self._armed[actor, name] = (due, address)
        heapq.heappush(self._heap, (due, next(self._serial), actor, name))
        # Never later than the earliest alarm. Waking early is harmless, waking late is a bug.
        if self._heap[0][0] == due:
            self._wake.set()

    async def _run(self) -> None:
        clock = self._host.clock
        while True:
            now = clock.now()
            if now + _WINDOW_S / 2 > self._loaded_until:
                await self._load(now + _WINDOW_S)
            while self._heap and self._heap[0][0] <= clock.now():
                due, _, actor, name = heapq.heappop(self._heap)
                armed = self._armed.get((actor, name))
                if armed is None or armed[0] != due:
                    continue  # moved or deleted since
                del self._armed[actor, name]
                self._again[actor, name] = None
                await self._places.acquire()
                task = asyncio.get_running_loop().create_task(self._fire(actor, armed[1], name, due))
                self._firing.add(task)
                task.add_done_callback(self._ended)
            self._wake.clear()
            moment = min(self._heap[0][0] if self._heap else float("inf"), self._loaded_until - _WINDOW_S / 4)
            await self._sleep(moment)

    async def _sleep(self, moment: float) -> None:
        if self._heap and self._heap[0][0] <= self._host.clock.now():
            return
        nap = asyncio.ensure_future(self._host.clock.sleep_until(moment))
        wake = asyncio.ensure_future(self._wake.wait())
        self._asleep_until = moment
        try:
            await asyncio.wait((nap, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            wake.cancel()
            self._asleep_until = float("-inf")

    async def _load(self, until: float) -> None:
        before, self._loaded_until = self._loaded_until, until
        # From here on `note` arms what it is told: the page that is being read may be older.
        try:
            rows = await self._host.directory.alarms_until(until, _PAGE)
        except BaseException:
            self._loaded_until = before
            raise
        if len(rows) == _PAGE:
            self._loaded_until = rows[-1].due  # there is more: the window ends where the page does
        for row in rows:
            newer = (row.actor, row.name) in self._armed or self._again.get((row.actor, row.name)) is not None
            # Alarms of a type that this service does not know wait for one that does.
            if not newer and row.address.type in self._host.registry:
                self.arm(row.actor, row.address, row.name, row.due)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._firing.discard(task)
        self._places.release()

    async def _fire(self, actor: ActorId, address: ActorAddress, name: str, due: float) -> None:
        try:
            if name == TTL_ALARM:
                await self._host.expire(actor, address)
            elif name == JOBS_ALARM:
                await self._resume(actor, address)
            else:
                await self._fire_in_actor(actor, address, name, due)
            self.fired += 1
        except ActorClosed:
            # It closed under our hands (eviction, deletion): the index still has the alarm.
            self.arm(actor, address, name, due)
        except Exception as error:  # one alarm's trouble must not end the scheduler
            _log.error("alarm.lost_turn", actor=actor, alarm=name, error=repr(error))
            retry = self._host.clock.now() + FIRST_DELAY_S
            await self.index(actor, address, [(name, retry)])
        finally:
            if (again := self._again.pop((actor, name), None)) is not None:
                self.arm(actor, again[1], name, again[0])

    async def _resume(self, actor: ActorId, address: ActorAddress) -> None:
        instance = await self._host.acquire(address, create=False, held=True)
        if instance is None:
            await self._host.directory.index_alarms(actor, [(JOBS_ALARM, None)])
            return
        try:
            await instance.jobs.index()
        finally:
            self._host.release(instance)

    async def _fire_in_actor(self, actor: ActorId, address: ActorAddress, name: str, due: float) -> None:
        instance = await self._host.acquire(address, create=False, held=True)
        if instance is None:
            await self._host.directory.index_alarms(actor, [(name, None)])
            return
        try:
            handler = type(instance.actor).alarm
            if inspect.iscoroutinefunction(handler):
                outcome = await instance.run_turn(lambda: _turn(instance, name), seconds=HANDLER_S).future
            else:
                outcome = await instance.run_unit(lambda tx: _unit(instance, tx, name), method="alarm").future
        except ActorClosed:
            raise
        except Exception as error:
            await self._failed(instance, name, error)
        else:
            if outcome is None:
                await self._host.directory.unindex_alarm(actor, name, due)
            else:
                self.note(actor, address, name, outcome)
        finally:
            self._host.release(instance)

    async def _failed(self, instance: Instance, name: str, error: Exception) -> None:
        """Count the failure in the file and come back later, or bury the alarm."""
        self.failed += 1
        clock = self._host.clock

        def count_failure(tx: Transaction) -> tuple[int, float | None]:
            row = tx.one("SELECT attempt FROM main._duralite_alarms WHERE name = ?", (name,))
            if row is None:
                return 0, None
            attempt = int(row[0]) + 1
            later = clock.now() + retry_delay(attempt)
            dead = attempt > MAX_RETRIES
            tx.execute(
                "UPDATE main._duralite_alarms SET attempt = ?, error = ?, dead = ?, due = CASE ? WHEN 1 THEN due ELSE ? END"
                " WHERE name = ?",
                (attempt, f"{type(error).__name__}: {error}"[:1000], int(dead), int(dead), later, name),
            )
            return attempt, None if dead else later

        attempt, later = await instance.run_unit(count_failure, method="alarm").future
        if later is None and attempt:
            self.dead += 1
            self._host.events.publish(instance.id, "alarm_dead", {"name": name, "error": str(error)[:1000]})
        _log.warning(
            "alarm.failed",
            actor=instance.id,
            alarm=name,
            attempt=attempt,
            dead=later is None,
            error=repr(error),
        )
        await self.index(instance.id, instance.address, [(name, later)])


def _due_event(tx: Transaction, name: str) -> AlarmEvent | float | None:
    """Return the event of an alarm that is due now, its later moment, or None when there is none."""
    row = tx.one(
        "SELECT due, attempt, payload, set_for FROM main._duralite_alarms WHERE name = ? AND dead = 0",
        (name,),
    )
    if row is None:
        return None
    due, attempt, payload, set_for = row
    if due > tx.now:
        return float(due)
    return AlarmEvent(name, float(set_for), None if payload is None else loads(payload), int(attempt))


def _unit(instance: Instance, tx: Transaction, name: str) -> float | None:
    """Fire an alarm and return when it is due again, or None."""
    event = _due_event(tx, name)
    if not isinstance(event, AlarmEvent):
        return event
    # Removed first: the handler may set the alarm anew, and sees none of that name until it does.
    tx.execute("DELETE FROM main._duralite_alarms WHERE name = ?", (name,))
    instance.actor.alarm(tx, event)
    return instance.alarms.get(tx, name)


async def _turn(instance: Instance, name: str) -> float | None:
    event = await instance.connection.run(lambda tx: _due_event(tx, name), read_only=True)
    if not isinstance(event, AlarmEvent):
        return event
    handler: Any = instance.actor.alarm
    await handler(event)

    def remove(tx: Transaction) -> None:
        # Unless the handler set it anew: then its moment is another one.
        tx.execute(
            "DELETE FROM main._duralite_alarms WHERE name = ? AND set_for = ? AND attempt = ?",
            (name, event.due, event.retry),
        )

    await instance.connection.run(remove)
    return await instance.connection.run(lambda tx: instance.alarms.get(tx, name), read_only=True)
