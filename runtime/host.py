"""A host is the runtime of one process: it opens actors on first use, and closes them when others need the room.

It holds what all actors share (clock, settings, directory, alarms, events) and knows no actor type by name.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from runtime.actor import Actor
from runtime.alarms import TTL_ALARM, AlarmScheduler
from runtime.clock import Clock, SystemClock
from runtime.context import CallContext, current_context
from runtime.directory import ActorRecord, Directory
from runtime.errors import (
    ActorNotFound,
    ActorOverloaded,
    Conflict,
    DeadlineExceeded,
    DuraliteError,
    Unavailable,
)
from runtime.events import Events
from runtime.gates import Gates
from runtime.guard import Guard, Policy, narrowed
from runtime.ids import ActorAddress, ActorId, actor_id, check_name
from runtime.instance import Instance, Wrap
from runtime.lock import FolderLock
from runtime.method import MethodSpec
from runtime.namespace import Namespace
from runtime.placement import LocalPlacement, Placement
from runtime.places import Opening, Places
from runtime.promotion import Promotions
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.storage.connection import Connection
from runtime.storage.opening import move_in, remove_file, template
from runtime.storage.profiles import Durability
from runtime.storage.statement_log import KeptLogs, StatementLog
from runtime.storage.transaction import Transaction
from runtime.storage.watchdog import Watchdog
from runtime.workers.pool import Workers

__all__ = ("Host",)

R = TypeVar("R")

_SWEEP_S = 1.0
_log = structlog.get_logger("duralite.host")


class Host:
    """The runtime of one process. Use it as `async with Host(settings) as host`."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, registry: Registry | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.registry = registry or Registry(settings.types)
        self.events = Events(settings.limits.events_kept)
        self.placement: Placement = LocalPlacement()
        self.services: dict[str, Any] = {"workers": Workers(settings.limits)}
        self.directory: Directory
        self.alarms: AlarmScheduler
        self.watchdog: Watchdog
        self.opened = self.evicted = self.deleted = 0
        self._live: dict[ActorAddress, Instance] = {}
        self._opening: dict[ActorAddress, Opening] = {}
        self.gates = Gates()
        self._places = Places(
            settings.limits.max_open,
            lambda type_name: self.registry.get(type_name).max_open,
            self._live.values,
            self._evict,
        )
        self._logs = KeptLogs()
        self.promotions = Promotions(self)
        self._lock: FolderLock | None = None
        self._awake = asyncio.Event()
        self._templates: dict[str, bytes] = {}
        self._policies: dict[str, Policy | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._accepting = False
        self._call_s = settings.limits.call_s

    # Life

    async def start(self) -> None:
        """Open the directory, compare it with the files, start the types' services and the alarms."""
        self._lock = FolderLock(self.settings.data)
        self.watchdog = Watchdog()
        self.directory = Directory(self.settings.data, self.clock, self.settings.limits, self.watchdog)
        try:
            await self.directory.open()
            await self.promotions.load()
            await self.directory.reconcile({t.type_name: t.ttl_seconds(self) for t in self.registry})
            loop = asyncio.get_running_loop()
            for actor_type in self.registry:
                self._policies[actor_type.type_name] = narrowed(actor_type.policy, self.settings.limits)
                self._templates[actor_type.type_name] = await _in_thread(
                    partial(template, actor_type.migrations)
                )
                await actor_type.start_type(self)
            self.alarms = AlarmScheduler(self)
            self._accepting = True
            self.alarms.start()
            self._tasks = [loop.create_task(self._sweep())]
        except BaseException:
            await self._stop_shared()
            raise

    async def _stop_shared(self) -> None:
        try:
            for actor_type in self.registry:
                await actor_type.stop_type(self)
        finally:
            await self.services["workers"].close()
            await _in_thread(self._logs.write_all)
            await self.directory.close()
            self.watchdog.close()
            if self._lock is not None:
                self._lock.release()

    async def stop(self) -> None:
        """Drain: take no new calls, let running ones end within `drain_s`, checkpoint every file. Idempotent."""
        if not self._accepting:
            return
        self._accepting = False
        await self.alarms.close()
        await self.promotions.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._opening:
            for opening in self._opening.values():
                opening.give_up()
            await asyncio.wait([opening.task for opening in self._opening.values()])
        closings = [
            asyncio.ensure_future(self.close_actor(instance)) for instance in list(self._live.values())
        ]
        if closings:
            _, late = await asyncio.wait(closings, timeout=self.settings.limits.drain_s)
            if late:
                for instance in list(self._live.values()):
                    _log.warning("actor.drain_forced", actor=instance.id, type=instance.address.type)
                    instance.abandon(_shut_down())
                await asyncio.wait(late, timeout=5)
        await self._stop_shared()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # Calls

    def namespace(self, type_name: str, owner: str | None = None) -> Namespace:
        """Return the actors of a type that an account owns (None: the account of the present call).

        Raises:
            TypeNotFound: no such type.
        """
        return Namespace(self, self.registry.get(type_name), owner or current_context().account)

    def spec(self, type_name: str, method: str) -> MethodSpec:
        """Return the spec of a method.

        Raises:
            TypeNotFound: no such type.
            MethodNotFound: no such method; the hint lists those there are.
        """
        return self.registry.spec(type_name, method)

    async def call(
        self,
        address: ActorAddress,
        spec: MethodSpec,
        kwargs: Mapping[str, Any],
        context: CallContext | None = None,
        *,
        wire: bool = False,
        wrap: Wrap | None = None,
        create: bool = True,
    ) -> Any:
        """Call a method of an actor, which is opened if need be, and return its answer.

        `kwargs` are checked arguments (`MethodSpec.bind`). With `wire` the answer is JSON bytes. A cancelled
        wait cancels the call and interrupts its SQL.

        Raises:
            DuraliteError: the method's own errors, or that the call could not be made.
        """
        if context is None:
            context = current_context()
        deadline = time.monotonic() + self._call_s
        if context.deadline is not None and context.deadline < deadline:
            deadline = context.deadline
        address = self.promotions.resolve(address)
        instance = self._live.get(address)
        if instance is None or instance.closing:
            found = await self.acquire(address, create=create, deadline=deadline)
            if found is None:
                raise ActorNotFound(
                    f"There is no {address.type} with this name.",
                    hint=f"GET /v1/{address.type} lists those there are; the first call that writes makes one.",
                )
            instance = found
        handle = instance.call(spec, kwargs, context, deadline, wire=wire, wrap=wrap)
        try:
            return await handle.future
        except asyncio.CancelledError:
            instance.cancel(handle)
            raise

    # Opening and closing

    def id_of(self, address: ActorAddress) -> ActorId:
        """Return the id that belongs to an address."""
        return actor_id(self.directory.key, self.promotions.resolve(address))

    def path_of(self, address: ActorAddress) -> Path:
        """Return where an actor's file lies (whether or not it exists)."""
        address = self.promotions.resolve(address)
        return self.directory.path_of(address.type, self.id_of(address))

    async def acquire(
        self, address: ActorAddress, *, create: bool = True, held: bool = False, deadline: float | None = None
    ) -> Instance | None:
        """Return the live actor, opened if need be; None if it was never made and `create` is False.

        `held` keeps it open until `release`.

        Raises:
            Unavailable: the host drains.
            ActorOverloaded: all `max_open` actors are busy until the deadline.
            DeadlineExceeded: opening takes longer than that.
        """
        while True:
            if not self._accepting:
                raise Unavailable(
                    "The service is shutting down.", hint="Retry in a few seconds.", retry_after=2
                )
            address = self.promotions.resolve(address)
            instance = self._live.get(address)
            if instance is not None and not instance.closing:
                instance.held += held
                return instance
            if instance is not None:
                await _wait(instance.closed, deadline)
                await asyncio.sleep(0)  # let its closer take it off the list
                continue
            if (gone := self.gates.closed(address)) is not None:
                await _wait(gone, deadline)
                continue
            opening = self._opening.get(address)
            if opening is None:
                # Looked up here and not in a thread: calls keep their order, and nothing happens meanwhile.
                if not create and not self.path_of(address).exists():
                    return None
                opening = self._begin_opening(address)
            try:
                if not await opening.wait(_left(deadline)):
                    raise self._not_opened(opening)
            except asyncio.CancelledError:
                self.rested()
                raise
            if opening.task.cancelled():
                continue
            opening.task.result()  # raises what went wrong
            instance = opening.instance
            # Nothing is awaited from here to the caller's use of it, so it cannot be evicted in between.
            if instance is not None and not instance.closing:
                instance.held += held
                return instance

    def _not_opened(self, opening: Opening) -> DuraliteError:
        if opening.placed:
            return _not_open_yet()
        return ActorOverloaded(
            f"All {self.settings.limits.max_open:,} places for open actors are busy.",
            hint="Retry later, or raise the limit max_open.",
            limit="max_open",
            retry_after=1,
        )

    def release(self, instance: Instance) -> None:
        """Let go of an actor that was acquired with `held`."""
        instance.held -= 1
        self.rested()

    def rested(self) -> None:
        """Look whether somebody waits for the place of an actor that may be idle now."""
        if self._places.crowded:
            self._places.serve()

    def _begin_opening(self, address: ActorAddress) -> Opening:
        check_name(address.name)
        opening = self._opening[address] = Opening()
        opening.task = asyncio.get_running_loop().create_task(self._open(opening, address))
        opening.task.add_done_callback(lambda _: self._opened(opening, address))
        return opening

    async def _open(self, opening: Opening, address: ActorAddress) -> None:
        await self._places.take(address)
        opening.placed = True
        try:
            instance = await self._hydrate(address)
        except BaseException:
            self._places.free(address)
            raise
        instance.held += opening.wanted
        opening.instance = instance
        self._live[address] = instance
        self._awake.set()

    def _opened(self, opening: Opening, address: ActorAddress) -> None:
        del self._opening[address]
        self._places.make_room()
        if not opening.task.cancelled() and (error := opening.task.exception()) is not None:
            _log.warning("actor.not_opened", type=address.type, error=repr(error))

    async def _hydrate(self, address: ActorAddress) -> Instance:
        actor_type = self.promotions.type_of(address)
        identity = self.id_of(address)
        path = self.directory.path_of(address.type, identity)
        log = None
        if actor_type.policy is not None:
            limits = self.settings.limits
            log = self._logs.take(path) or StatementLog(limits.log_rows, limits.slow_query_ms)
        connection = Connection(
            path,
            clock=self.clock,
            limits=self.settings.limits,
            watchdog=self.watchdog,
            profile=self._profile(actor_type),
            guard=None if (policy := self._policies[address.type]) is None else Guard(policy),
            migrations=actor_type.migrations,
            template=self._templates[address.type],
            log=log,
            keep_log=lambda log: self._accepting and self._logs.keep(path, log),
            shared=actor_type.shared_file,
        )
        instance = Instance(self, identity, address, connection)
        actor = instance.actor = actor_type(instance)
        fresh = False

        def prepare(tx: Transaction) -> None:
            nonlocal fresh
            fresh = tx.one("SELECT 1 FROM main._duralite_meta WHERE key = 'name'") is None
            if fresh:
                facts = {
                    "type": address.type,
                    "owner": address.owner,
                    "name": address.name,
                    "created": tx.now,
                }
                tx.executemany("INSERT INTO main._duralite_meta VALUES (?, ?)", list(facts.items()))
            actor.on_open(tx)
            instance.look_back(tx)

        await connection.open(prepare)
        self.opened += 1
        try:
            if fresh:
                expires = self._expiry(actor_type, self.clock.now())
                self.directory.note_created(identity, address, expires)
                self._note_expiry(instance, expires)
            await instance.after_open()
        except BaseException:
            await connection.close()
            raise
        return instance

    def _profile(self, actor_type: type[Actor]) -> Durability:
        # The operator may ask for more than the type does, never for less.
        return Durability.FULL if self.settings.durability == "full" else actor_type.profile

    async def _evict(self, instance: Instance) -> None:
        if instance.busy or instance.closing:
            return  # called again in the meantime
        self.evicted += 1
        idle = round(self.clock.now() - instance.last_used, 1)
        _log.debug("actor.evicted", actor=instance.id, idle_s=idle)
        try:
            await self.close_actor(instance)
        except (DuraliteError, sqlite3.Error, OSError) as error:
            _log.error("actor.close_failed", actor=instance.id, error=repr(error))

    async def close_actor(
        self, instance: Instance, *, discard: bool = False, spare: asyncio.Task[Any] | None = None
    ) -> None:
        """Close an actor (see `Instance.close`) and free its place."""
        address = instance.address
        try:
            await instance.close(discard=discard, spare=spare)
        finally:
            if self._live.get(address) is instance:
                del self._live[address]
                self._places.free(address)
        if not discard:
            self._note_use(instance)

    def _note_use(self, instance: Instance) -> None:
        instance.used_since_note = False
        try:
            size = instance.connection.path.stat().st_size
        except FileNotFoundError:
            return
        actor_type = self.registry.get(instance.address.type)
        expires = self._expiry(actor_type, instance.last_used)
        self.directory.note_used(instance.id, size, expires, instance.last_used, instance.uses)
        instance.uses = 0
        self._note_expiry(instance, expires)

    def _note_expiry(self, instance: Instance, expires: float | None) -> None:
        if expires is not None:
            self.alarms.note(instance.id, instance.address, TTL_ALARM, expires)

    def _expiry(self, actor_type: type[Actor], used: float) -> float | None:
        ttl = actor_type.ttl_seconds(self)
        return None if ttl is None else used + ttl

    async def _sweep(self) -> None:
        """Every second of the clock: note uses, close idle actors."""
        while True:
            await self._awake.wait()  # no actor is open: there is nothing to do every second
            await self.clock.sleep_until(self.clock.now() + min(_SWEEP_S, self.settings.limits.idle_s / 2))
            now = self.clock.now()
            for instance in list(self._live.values()):
                used = instance.used_since_note
                if used:
                    self._note_use(instance)
                if instance.busy or instance.closing:
                    continue
                if used:
                    self.promotions.consider(instance)
                if now - instance.last_used >= self.settings.limits.idle_s:
                    await self._evict(instance)
            if not self._live:
                self._awake.clear()

    # Deletion and facts

    async def delete(self, address: ActorAddress, *, follow: bool = True) -> bool:
        """Delete an actor: its calls end, its file, log and alarms are gone. Return whether there was one.

        One that was promoted is deleted by its old name too, unless `follow` is false.
        """
        target = self.promotions.resolve(address)
        if target != address and not follow:
            return False
        async with self.gates.shut(target):
            if self.promotions.resolve(target) == target:
                return await self._delete(target)
        return await self.delete(address, follow=follow)  # promoted while this waited at the gate

    async def _delete(self, address: ActorAddress) -> bool:
        if (opening := self._opening.get(address)) is not None:
            opening.give_up()
            await asyncio.wait([opening.task])
        if (instance := self._live.get(address)) is not None:
            await self.close_actor(instance, discard=True)
        identity = self.id_of(address)
        path = self.directory.path_of(address.type, identity)
        self._logs.take(path)
        await self.promotions.forget(address)
        found = await _in_thread(partial(remove_file, path))
        await self.directory.remove(identity)
        if found:
            self.deleted += 1
            self.events.publish(identity, "deleted", {})
        return found

    async def adopt(self, address: ActorAddress, file: Path) -> None:
        """Make a new actor out of a ready file (without an identity of its own), which is moved into place.

        Raises:
            Conflict: the actor exists already.
        """
        async with self.gates.shut(address):
            path = self.path_of(address)
            if self.is_live(address) or await _in_thread(path.exists):
                raise Conflict(
                    f"There is a {address.type} {address.name!r:.80} already.",
                    hint="Use another name, or delete it first.",
                )
            await _in_thread(partial(move_in, file, path))
        await self.acquire(address)

    async def expire(self, actor: ActorId, address: ActorAddress) -> None:
        """Delete an actor whose TTL ran out; one that was used since gets a later moment."""
        record = await self.directory.get(actor)
        if record is None or record.pinned or address.type not in self.registry:
            await self.directory.index_alarms(actor, [(TTL_ALARM, None)])
            return
        live = self._live.get(address)
        used = max(record.last_used, live.last_used if live is not None else 0.0)
        expires = self._expiry(self.registry.get(address.type), used)
        if address in self._opening or (live is not None and live.busy):
            expires = self._expiry(self.registry.get(address.type), self.clock.now())
        if expires is None:
            await self.directory.index_alarms(actor, [(TTL_ALARM, None)])
        elif expires > self.clock.now():
            await self.alarms.index(actor, address, [(TTL_ALARM, expires)])
        else:
            _log.info("actor.expired", actor=actor, type=address.type)
            await self.delete(address, follow=False)

    async def pin(self, address: ActorAddress, pinned: bool) -> None:
        """Keep an actor for good, or let its TTL run again from now."""
        identity = self.id_of(address)
        expires = self._expiry(self.registry.get(address.type), self.clock.now())
        await self.directory.set_pinned(identity, pinned, expires)
        if not pinned and expires is not None:
            await self.alarms.index(identity, address, [(TTL_ALARM, expires)])

    async def facts(self, address: ActorAddress) -> ActorRecord:
        """Return what the directory knows of an actor.

        Raises:
            ActorNotFound: it was never made, or is gone.
        """
        check_name(address.name)
        record = await self.directory.get(self.id_of(address))
        if record is None:
            raise ActorNotFound(
                f"There is no {address.type} with this name.",
                hint=f"GET /v1/{address.type} lists those there are.",
            )
        return record

    def live(self) -> list[Instance]:
        """Return the live actors."""
        return list(self._live.values())

    def instance(self, address: ActorAddress) -> Instance | None:
        """Return a live actor; None while its file is closed."""
        return self._live.get(address)

    def is_live(self, address: ActorAddress) -> bool:
        """Tell whether an actor's file is open, or opens."""
        return address in self._live or address in self._opening

    @property
    def accepting(self) -> bool:
        """Whether calls are taken: after start and before the drain."""
        return self._accepting


def _shut_down() -> Unavailable:
    return Unavailable(
        "The service shut down before the call ended.", hint="Retry when it is back.", retry_after=5
    )


def _not_open_yet() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The actor did not open by the deadline of the call, which was not started.",
        hint="Retry, which is safe, or give the call more time.",
        limit="call_s",
    )


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


async def _wait(event: asyncio.Event, deadline: float | None) -> None:
    try:
        async with asyncio.timeout(_left(deadline)):
            await event.wait()
    except TimeoutError:
        raise _not_open_yet() from None


async def _in_thread(function: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(None, function)
