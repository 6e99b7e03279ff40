"""A promotion turns an actor into one of another type, for good: a session into a project. Its old name goes on working.

There is one file before and after; it is renamed, never copied. The directory keeps which old address leads to
which new one, and the host follows that where an address becomes an actor. An actor that was promoted has the
methods of both types: by its old name those of the old type, by its new name those of the new.

The switch survives a crash at any point. First the directory notes the intent; then, with the file closed, its
identity is changed in one transaction and it is renamed; then the directory notes the end. The start of a service
completes an intent that it finds, so that there is the one actor or the other, never both and never none.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from runtime.actor import Actor
from runtime.errors import ActorNotFound, Conflict, DuraliteError, InputError
from runtime.ids import ActorAddress, actor_id, check_name
from runtime.storage.migrations import migrate
from runtime.storage.opening import open_raw
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction

if TYPE_CHECKING:
    from runtime.host import Host
    from runtime.instance import Instance

__all__ = ("Promotions",)

_BESIDE = ("-wal", "-shm", "-journal")
_OWN = (
    "default_name",
    "max_open",
    "migrations",
    "policy",
    "profile",
    "promotes_to",
    "shared_file",
    "ttl",
    "ttl_seconds",
)
_log = structlog.get_logger("duralite.promotion")


@dataclass(frozen=True, slots=True)
class _Switch:
    """One promotion: from where, to where."""

    source: ActorAddress
    target: ActorAddress


class Promotions:
    """The promotions of one host: what was promoted, and how an actor is."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._aliases: dict[ActorAddress, ActorAddress] = {}
        self._sources: dict[ActorAddress, ActorAddress] = {}
        self._types: dict[tuple[str, str], type[Actor]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # Following

    def resolve(self, address: ActorAddress) -> ActorAddress:
        """Return where an address leads: to itself, unless its actor was promoted."""
        return self._aliases.get(address, address) if self._aliases else address

    def type_of(self, address: ActorAddress) -> type[Actor]:
        """Return the class of an actor: of one that was promoted, both types in one, the new one first."""
        registry = self._host.registry
        source = self._sources.get(address)
        if source is None or source.type not in registry:
            return registry.get(address.type)
        pair = (source.type, address.type)
        made = self._types.get(pair)
        if made is None:
            made = self._types[pair] = _both(registry.get(source.type), registry.get(address.type))
        return made

    def promoted_from(self, address: ActorAddress) -> ActorAddress | None:
        """Return the old address of an actor that was promoted, or None."""
        return self._sources.get(address)

    async def load(self) -> None:
        """Read what was promoted, and complete what a crash cut short. Before the files are looked at, and any is open."""
        for source, target, done in await self._host.directory.promotions():
            switch = _Switch(source, target)
            if done:
                self._note(switch)
                continue
            try:
                await self._complete(switch)
            except FileNotFoundError:
                await self._host.directory.forget_promotion(source)
            except (OSError, sqlite3.Error, DuraliteError) as error:
                # The intent stays, and the next start tries again; until then the actor is what it was.
                _log.error("promotion.not_completed", type=source.type, error=repr(error))

    async def forget(self, target: ActorAddress) -> None:
        """Let an old name go with the actor that it led to."""
        source = self._sources.pop(target, None)
        if source is not None:
            self._aliases.pop(source, None)
            await self._host.directory.forget_promotion(source)

    # Promoting

    async def promote(self, source: ActorAddress, name: str | None = None) -> ActorAddress:
        """Promote an actor under a new name (None: its own), and return its new address; once done, done.

        May be called from within a concurrent method of the actor itself, which lives on, with its file closed.

        Raises:
            InputError: its type is not promoted.
            Conflict: the new name is taken, a job runs, or a table's name is needed by the new type.
            ActorNotFound: there is no such actor.
        """
        if source in self._aliases:
            return self._promoted(source, name)
        host = self._host
        wanted = host.registry.get(source.type).promotes_to
        if wanted is None or wanted not in host.registry:
            raise InputError(
                f"A {source.type} cannot be promoted.", hint="Sessions are promoted to projects."
            )
        target = ActorAddress(wanted, source.owner, check_name(source.name if name is None else name))
        async with host.gates.shut(target):
            if source in self._aliases:  # before the wait below, which would be for this gate
                return self._promoted(source, name)
            instance = await host.acquire(source, create=False, held=True)
            if instance is None:
                raise ActorNotFound(f"There is no {source.type} {source.name!r:.80}.")
            try:
                if source in self._aliases:  # somebody was faster
                    return self._promoted(source, name)
                await self._refuse_taken(target)
                await self._refuse_unready(instance, target)
                # What calls from here on waits at the gate, and finds the new actor behind it.
                async with host.gates.shut(source):
                    await host.close_actor(instance, spare=asyncio.current_task())
                    await self._switch(_Switch(source, target))
            finally:
                host.release(instance)
        host.events.publish(instance.id, "promoted", {"type": target.type, "name": target.name})
        _log.info("actor.promoted", type=source.type, to=target.type)
        return target

    def _promoted(self, source: ActorAddress, name: str | None) -> ActorAddress:
        already = self._aliases[source]
        if name not in (None, already.name):
            raise Conflict(
                f"This {source.type} is the {already.type} {already.name!r:.80} already.",
                hint="A promotion cannot be given another name.",
            )
        return already

    async def _refuse_taken(self, target: ActorAddress) -> None:
        host = self._host
        taken = target in self._aliases or host.is_live(target)
        if taken or await _in_thread(host.path_of(target).exists):
            raise Conflict(
                f"There is a {target.type} {target.name!r:.80} already.",
                hint="Give the promotion another name.",
            )

    async def _refuse_unready(self, instance: Instance, target: ActorAddress) -> None:
        if instance.jobs.running:
            raise Conflict(
                "A job of this actor runs.", hint="Wait for its end, or cancel it, and promote again."
            )
        types = self._host.registry
        needed = await _in_thread(_names_in_new, types.get(target.type))
        needed -= await _in_thread(_names_in_new, types.get(instance.address.type))

        def look(tx: Transaction) -> list[str]:
            present = {str(n).lower() for (n,) in tx.all("SELECT name FROM main.sqlite_master")}
            return sorted(needed & present)

        if clash := await instance.connection.run(look, read_only=True):
            raise Conflict(
                f"The name {clash[0]!r:.80} has a meaning in a {target.type}.",
                hint="Rename the table with ALTER TABLE … RENAME TO …, and promote again.",
            )

    async def _switch(self, switch: _Switch) -> None:
        """Carry a switch out to its end, whoever waits for it."""
        task = asyncio.get_running_loop().create_task(self._carry_out(switch))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The gates stay shut until it is done: half a switch must meet nobody.
            await asyncio.wait([task])
            raise

    async def _carry_out(self, switch: _Switch) -> None:
        directory = self._host.directory
        await directory.begin_promotion(switch.source, switch.target)
        try:
            await self._complete(switch)
        except (OSError, sqlite3.Error) as error:
            if switch.source in self._aliases:
                raise  # the file has moved: the intent stays, and is completed by the next start
            await directory.forget_promotion(switch.source)
            raise Conflict(
                f"The file could not be moved: {error}.",
                hint="See the log of the service, and promote again.",
            ) from error

    async def _complete(self, switch: _Switch) -> None:
        """Do what is left of a switch whose intent is noted: the file, then the directory."""
        directory = self._host.directory
        old, new = (actor_id(directory.key, address) for address in (switch.source, switch.target))
        old_path, new_path = (
            directory.path_of(switch.source.type, old),
            directory.path_of(switch.target.type, new),
        )
        await _in_thread(_move_file, old_path, new_path, switch)
        self._note(switch)
        await directory.end_promotion(switch.source, switch.target, old, new)

    def _note(self, switch: _Switch) -> None:
        self._aliases[switch.source] = switch.target
        self._sources[switch.target] = switch.source

    # The rule

    def consider(self, instance: Instance) -> None:
        """Promote an idle actor that has become what the operator's rule calls lasting."""
        settings = self._host.settings
        if not (settings.promote_size_bytes or settings.promote_age_s or settings.promote_uses):
            return
        if type(instance.actor).promotes_to is None or self.promoted_from(instance.address) is not None:
            return
        task = asyncio.get_running_loop().create_task(self._promote_by_rule(instance))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _promote_by_rule(self, instance: Instance) -> None:
        host, settings = self._host, self._host.settings
        record = await host.directory.get(instance.id)
        if record is None:
            return
        reasons = {
            "size": settings.promote_size_bytes and record.size >= settings.promote_size_bytes,
            "age": settings.promote_age_s and host.clock.now() - record.created >= settings.promote_age_s,
            "uses": settings.promote_uses and record.uses >= settings.promote_uses,
        }
        met = [reason for reason, holds in reasons.items() if holds]
        if not met:
            return
        try:
            try:
                await self.promote(record.address)
            except Conflict:
                # Its own name is taken, say: the id makes one that is not.
                await self.promote(record.address, f"{record.address.name[:900]}-{record.id[:8]}")
        except DuraliteError as error:
            _log.warning("promotion.by_rule_failed", actor=record.id, reasons=met, error=error.message)
        else:
            _log.info("promotion.by_rule", actor=record.id, reasons=met)

    async def close(self) -> None:
        """Wait for promotions that run. Idempotent."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _names_in_new(actor_type: type[Actor]) -> set[str]:
    """Return the names of everything in a new file of a type, in lower case."""
    with closing(sqlite3.connect(":memory:")) as raw:
        migrate(raw, actor_type.migrations)
        return {str(name).lower() for (name,) in raw.execute("SELECT name FROM sqlite_master")}


def _both(old: type[Actor], new: type[Actor]) -> type[Actor]:
    """Return a class with the methods of both types, and the nature of the new one."""
    nature: dict[str, Any] = {name: getattr(new, name) for name in _OWN}
    nature["__doc__"] = new.__doc__
    nature["__module__"] = new.__module__
    return type(f"Promoted{new.__name__}", (new, old), nature)


def _move_file(old: Path, new: Path, switch: _Switch) -> None:
    """Give a closed file its new identity and its new place; what of it is done already is not done again."""
    if new.exists():
        return
    if not old.exists():
        raise FileNotFoundError(2, "there is no file to promote")
    target = switch.target
    with closing(open_raw(old, Durability.FULL)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(
            "UPDATE main._duralite_meta SET value = ? WHERE key = ?",
            [(target.type, "type"), (target.owner, "owner"), (target.name, "name")],
        )
        raw.execute("COMMIT")
        raw.execute("PRAGMA locking_mode=NORMAL")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        _rename(old, new)
    except OSError:
        _restore(old, switch.source)
        raise


def _rename(old: Path, new: Path) -> None:
    log = Path(f"{old}-wal")
    if log.exists() and log.stat().st_size:
        raise OSError(16, "the file's log could not be written into it")
    new.parent.mkdir(parents=True, exist_ok=True)
    for end in _BESIDE:
        Path(f"{new}{end}").unlink(missing_ok=True)
    old.rename(new)
    for end in _BESIDE:
        Path(f"{old}{end}").unlink(missing_ok=True)
    for folder in (new.parent, old.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _restore(old: Path, source: ActorAddress) -> None:
    with closing(open_raw(old, Durability.FULL)) as raw:
        raw.executemany(
            "UPDATE main._duralite_meta SET value = ? WHERE key = ?",
            [(source.type, "type"), (source.owner, "owner"), (source.name, "name")],
        )


async def _in_thread(function: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
