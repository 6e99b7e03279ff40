"""A host is the runtime of one process: it opens actors on first use, and closes them when others need the room.

It holds what all actors share (clock, settings, directory, alarms, events) and knows no actor type by name.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from runtime.actor import Actor
from runtime.alarms import AlarmScheduler
from runtime.clock import Clock, SystemClock
from runtime.context import LOCAL_ACCOUNT, CallContext, current_context
from runtime.directory import ActorRecord, Directory
from runtime.errors import ActorNotFound, ActorOverloaded, Conflict, MethodNotFound, Unavailable
from runtime.events import Events
from runtime.guard import Guard
from runtime.ids import ActorAddress, ActorId, actor_id, check_name
from runtime.instance import Instance, Wrap
from runtime.method import MethodSpec
from runtime.namespace import Namespace
from runtime.placement import LocalPlacement, Placement
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.storage.connection import Connection
from runtime.storage.migrations import migrate
from runtime.storage.opening import open_raw
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from runtime.storage.watchdog import Watchdog

__all__ = ("Host",)

_REST_S = 1.0
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
        self.services: dict[str, Any] = {}
        self.directory: Directory
        self.alarms: AlarmScheduler
        self.watchdog: Watchdog
        self.opened = self.evicted = self.deleted = 0
        self._live: dict[ActorAddress, Instance] = {}
        self._opening: dict[ActorAddress, asyncio.Future[Instance]] = {}
        self._deleting: dict[ActorAddress, asyncio.Event] = {}
        self._room = asyncio.Event()
        self._templates: dict[str, bytes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._accepting = False
        self._call_s = settings.limits.call_s

    # Life

    async def start(self) -> None:
        """Open the directory, compare it with the files, start the types' services and the alarms."""
        self.watchdog = Watchdog()
        self.directory = Directory(self.settings.data, self.clock, self.settings.limits, self.watchdog)
        await self.directory.open()
        try:
            await self.directory.reconcile([t.type_name for t in self.registry])
            loop = asyncio.get_running_loop()
            for actor_type in self.registry:
                self._templates[actor_type.type_name] = await loop.run_in_executor(
                    None, _template, actor_type
                )
                await actor_type.start_type(self)
            self.alarms = AlarmScheduler(self)
            self._accepting = True
            self.alarms.start()
            self._tasks = [loop.create_task(self._sweep())]
        except BaseException:
            await self.directory.close()
            raise

    async def stop(self) -> None:
        """Drain: take no new calls, let running ones end within `drain_s`, checkpoint every file. Idempotent."""
        if not self._accepting:
            return
        self._accepting = False
        await self.alarms.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closings = [asyncio.ensure_future(self._close(instance)) for instance in list(self._live.values())]
        if closings:
            _, late = await asyncio.wait(closings, timeout=self.settings.limits.drain_s)
            if late:
                for instance in list(self._live.values()):
                    _log.warning("actor.drain_forced", actor=instance.id, type=instance.address.type)
                    instance.connection.interrupt()
                    instance.abandon(_shut_down())
                await asyncio.wait(late, timeout=5)
        for actor_type in self.registry:
            await actor_type.stop_type(self)
        await self.directory.close()
        self.watchdog.close()

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
        methods = self.registry.get(type_name).methods
        spec = methods.get(method)
        if spec is None:
            raise MethodNotFound(
                f"The actor type {type_name!r} has no method {method[:64]!r}.",
                hint="Methods: " + ", ".join(sorted(name for name, s in methods.items() if s.public)) + ".",
            )
        return spec

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
        instance = self._live.get(address)
        if instance is None or instance.closing:
            found = await self.acquire(address, create=create, deadline=deadline)
            if found is None:
                raise ActorNotFound(
                    f"There is no {address.type} with this name.", hint="Make it by calling a method on it."
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
        return actor_id(self.directory.key, address)

    def path_of(self, address: ActorAddress) -> Path:
        """Return where an actor's file lies (whether or not it exists)."""
        return self.directory.path_of(address.type, self.id_of(address))

    async def acquire(
        self, address: ActorAddress, *, create: bool = True, held: bool = False, deadline: float | None = None
    ) -> Instance | None:
        """Return the live actor, opened if need be; None if it was never made and `create` is False.

        `held` keeps it open until `release`.

        Raises:
            Unavailable: the host drains.
            ActorOverloaded: all `max_open` actors are busy until the deadline.
        """
        while True:
            if not self._accepting:
                raise Unavailable(
                    "The service is shutting down.", hint="Retry in a few seconds.", retry_after=2
                )
            instance = self._live.get(address)
            if instance is not None and not instance.closing:
                instance.held += held
                return instance
            if instance is not None:
                await instance.closed.wait()
                await asyncio.sleep(0)  # let its closer take it off the list
                continue
            if (gone := self._deleting.get(address)) is not None:
                await gone.wait()
                continue
            if (opening := self._opening.get(address)) is not None:
                await asyncio.shield(opening)
                continue
            if not create and not await _exists(self.path_of(address)):
                return None
            await self._open(address, deadline)

    def release(self, instance: Instance) -> None:
        """Let go of an actor that was acquired with `held`."""
        instance.held -= 1

    async def _open(self, address: ActorAddress, deadline: float | None) -> None:
        check_name(address.name)
        opening: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._opening[address] = opening
        try:
            await self._make_room(address.type, deadline)
            instance = await self._hydrate(address)
            self._live[address] = instance
            opening.set_result(instance)
        except BaseException as error:
            opening.set_exception(error)
            opening.exception()  # the waiters see it; without any, it is raised here
            raise
        finally:
            del self._opening[address]

    async def _hydrate(self, address: ActorAddress) -> Instance:
        actor_type = self.registry.get(address.type)
        identity = self.id_of(address)
        connection = Connection(
            self.directory.path_of(address.type, identity),
            clock=self.clock,
            limits=self.settings.limits,
            watchdog=self.watchdog,
            profile=self._profile(actor_type),
            guard=Guard(actor_type.policy) if actor_type.policy is not None else None,
            migrations=actor_type.migrations,
            template=self._templates[address.type],
            keep_log=actor_type.policy is not None,
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
        if fresh:
            self.directory.note_created(identity, address, self._expiry(actor_type, self.clock.now()))
        await instance.after_open()
        return instance

    def _profile(self, actor_type: type[Actor]) -> Durability:
        # The operator may ask for more than the type does, never for less.
        return Durability.FULL if self.settings.durability == "full" else actor_type.profile

    async def _make_room(self, type_name: str, deadline: float | None) -> None:
        own = self.registry.get(type_name).max_open
        most = self.settings.limits.max_open
        while True:
            places = len(self._live) + len(self._opening) - 1
            of_type = (
                sum(a.type == type_name for a in (*self._live, *self._opening)) - 1 if own is not None else 0
            )
            crowded = own is not None and of_type >= own
            if places < most and not crowded:
                return
            idle = [i for i in self._live.values() if not i.busy and not i.closing]
            if crowded:
                idle = [i for i in idle if i.address.type == type_name]
            if idle:
                victim = min(idle, key=lambda i: i.last_used)
                self.evicted += 1
                await self._close(victim)
                continue
            self._room.clear()
            left = self.settings.limits.call_s if deadline is None else deadline - time.monotonic()
            try:
                async with asyncio.timeout(min(left, 0.05) if left > 0 else 0):
                    await self._room.wait()
            except TimeoutError:
                if left <= 0.05:
                    raise ActorOverloaded(
                        f"All {most:,} places for open actors are busy.",
                        hint="Retry later, or raise the limit max_open.",
                        limit="max_open",
                        retry_after=1,
                    ) from None

    async def _close(self, instance: Instance, *, discard: bool = False) -> None:
        address = instance.address
        try:
            await instance.close(discard=discard)
        finally:
            if self._live.get(address) is instance:
                del self._live[address]
            self._room.set()
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
        self.directory.note_used(instance.id, size, expires, instance.last_used)

    def _expiry(self, actor_type: type[Actor], used: float) -> float | None:
        ttl = actor_type.ttl_seconds(self)
        return None if ttl is None else used + ttl

    async def _sweep(self) -> None:
        """Every second of the clock: note uses, write logs of resting actors, close idle ones."""
        while True:
            await self.clock.sleep_until(self.clock.now() + min(_REST_S, self.settings.limits.idle_s / 2))
            now = self.clock.now()
            for instance in list(self._live.values()):
                if instance.used_since_note:
                    self._note_use(instance)
                if instance.busy or instance.closing:
                    continue
                if now - instance.last_used >= self.settings.limits.idle_s:
                    self.evicted += 1
                    _log.debug("actor.evicted", actor=instance.id, idle_s=round(now - instance.last_used, 1))
                    await self._close(instance)
                elif now - instance.last_used >= _REST_S:
                    await instance.rest()

    # Deletion and facts

    async def delete(self, address: ActorAddress) -> bool:
        """Delete an actor: its calls end, its file, log and alarms are gone. Return whether there was one."""
        while (gone := self._deleting.get(address)) is not None:
            await gone.wait()
        self._deleting[address] = done = asyncio.Event()
        try:
            if (opening := self._opening.get(address)) is not None:
                await asyncio.wait([opening])
            if (instance := self._live.get(address)) is not None:
                await self._close(instance, discard=True)
            identity = self.id_of(address)
            path = self.directory.path_of(address.type, identity)
            found = await asyncio.get_running_loop().run_in_executor(None, _unlink, path)
            await self.directory.remove(identity)
            if found:
                self.deleted += 1
                self.events.publish(identity, "deleted", {})
            return found
        finally:
            del self._deleting[address]
            done.set()

    async def adopt(self, address: ActorAddress, file: Path) -> None:
        """Make a new actor out of a ready file (without an identity of its own), which is moved into place.

        Raises:
            Conflict: the actor exists already.
        """
        path = self.path_of(address)
        if address in self._live or address in self._opening or await _exists(path):
            raise Conflict(
                f"There is a {address.type} {address.name!r:.80} already.",
                hint="Use another name, or delete it first.",
            )
        self._deleting[address] = done = asyncio.Event()
        try:
            await asyncio.get_running_loop().run_in_executor(None, _move, file, path)
        finally:
            del self._deleting[address]
            done.set()
        await self.acquire(address)

    async def expire(self, actor: ActorId, address: ActorAddress) -> None:
        """Delete an actor whose TTL ran out; one that was used since gets a later moment."""
        record = await self.directory.get(actor)
        if record is None or record.pinned or address.type not in self.registry:
            await self.directory.index_alarms(actor, [("_ttl", None)])
            return
        live = self._live.get(address)
        used = max(record.last_used, live.last_used if live is not None else 0.0)
        expires = self._expiry(self.registry.get(address.type), used)
        if live is not None and live.busy:
            expires = self._expiry(self.registry.get(address.type), self.clock.now())
        if expires is None:
            await self.directory.index_alarms(actor, [("_ttl", None)])
        elif expires > self.clock.now():
            await self.alarms.index(actor, address, [("_ttl", expires)])
        else:
            _log.info("actor.expired", actor=actor, type=address.type)
            await self.delete(address)

    async def pin(self, address: ActorAddress, pinned: bool) -> None:
        """Keep an actor for good, or let its TTL run again from now."""
        identity = self.id_of(address)
        expires = self._expiry(self.registry.get(address.type), self.clock.now())
        await self.directory.set_pinned(identity, pinned, expires)
        if not pinned and expires is not None:
            await self.alarms.index(identity, address, [("_ttl", expires)])

    async def facts(self, address: ActorAddress) -> ActorRecord:
        """Return what the directory knows of an actor.

        Raises:
            ActorNotFound: it was never made, or is gone.
        """
        record = await self.directory.get(self.id_of(check_address(address)))
        if record is None:
            raise ActorNotFound(
                f"There is no {address.type} with this name.",
                hint=f"GET /v1/{address.type} lists those there are.",
            )
        return record

    def live(self) -> list[Instance]:
        """Return the live actors."""
        return list(self._live.values())

    @property
    def accepting(self) -> bool:
        """Whether calls are taken: after start and before the drain."""
        return self._accepting


def _shut_down() -> Unavailable:
    return Unavailable(
        "The service shut down before the call ended.", hint="Retry when it is back.", retry_after=5
    )


def check_address(address: ActorAddress) -> ActorAddress:
    """Return the address if its name can be an actor's.

    Raises:
        InputError: it cannot.
    """
    check_name(address.name)
    return address


def local_address(type_name: str, name: str) -> ActorAddress:
    """Return the address of an actor of the local owner."""
    return ActorAddress(type_name, LOCAL_ACCOUNT, check_name(name))


def _template(actor_type: type[Actor]) -> bytes:
    """Return the bytes of a new file of a type: all migrations run, ready for WAL."""
    with tempfile.TemporaryDirectory(prefix="duralite-") as folder:
        path = Path(folder) / "template.sqlite"
        with closing(open_raw(path, Durability.NORMAL)) as raw:
            migrate(raw, actor_type.migrations)
        return path.read_bytes()


def _unlink(path: Path) -> bool:
    found = path.exists()
    # The main file first: without it the others are nothing, and a new file clears them away (open_raw).
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    return found


def _move(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.move(file, path)


async def _exists(path: Path) -> bool:
    return await asyncio.get_running_loop().run_in_executor(None, path.exists)
