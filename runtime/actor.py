"""An actor is a named SQLite file with typed methods. Everything else is a view of that.

A type says what its file looks like (`migrations`), how hard a commit is (`profile`), what SQL strangers may
run in it (`policy`), how long an unused one lives (`ttl`), and what can be done with it (methods). An instance
exists only while its file is open; what must outlive that belongs in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from runtime.guard import Policy
from runtime.method import MethodSpec, collect_methods
from runtime.storage.migrations import Migration
from runtime.storage.opening import files_folder
from runtime.storage.profiles import Durability

if TYPE_CHECKING:
    from runtime.alarms import AlarmEvent, Alarms
    from runtime.host import Host
    from runtime.ids import ActorAddress, ActorId
    from runtime.instance import Instance
    from runtime.jobs import Jobs
    from runtime.storage.transaction import Transaction

__all__ = ("Actor",)


class Actor:
    """The base of all actor types.

    Subclass with `class SessionActor(Actor, type_name="session")`. In a method `self.storage` runs units of
    work, `self.namespace(type).get(name)` reaches other actors, `self.publish` sends an event.
    """

    type_name: ClassVar[str]
    migrations: ClassVar[tuple[Migration, ...]] = ()
    profile: ClassVar[Durability] = Durability.NORMAL
    policy: ClassVar[Policy | None] = None
    ttl: ClassVar[timedelta | None] = None
    max_open: ClassVar[int | None] = None
    shared_file: ClassVar[bool] = False
    """Whether worker processes may read the live file (`mode=ro`) while the actor goes on with it."""
    default_name: ClassVar[str | None] = None
    """The actor that a path without a name means; reading it makes it. None: every path names one."""
    methods: ClassVar[Mapping[str, MethodSpec]] = {}

    promotes_to: ClassVar[str | None] = None
    """The type that an actor of this one can be promoted to (runtime/promotion.py)."""

    def __init_subclass__(cls, *, type_name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if type_name is not None:
            if not (type_name.isascii() and type_name.isidentifier() and type_name.islower()):
                raise TypeError(f"type_name {type_name!r}: use lower-case letters, digits and underscores")
            cls.type_name = type_name
        cls.methods = collect_methods(cls)

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.storage = instance.connection

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Start what all actors of the type share (`host.services`). Does nothing by default."""

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """Stop what `start_type` started. Idempotent; does nothing by default."""

    @classmethod
    def ttl_seconds(cls, host: Host) -> float | None:
        """Return how long an unused actor lives, in seconds; None for ever."""
        return None if cls.ttl is None else cls.ttl.total_seconds()

    @property
    def id(self) -> ActorId:
        """The actor's id."""
        return self._instance.id

    @property
    def address(self) -> ActorAddress:
        """The actor's type, owner and name."""
        return self._instance.address

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._instance.address.name

    @property
    def host(self) -> Host:
        """The host that this actor lives in."""
        return self._instance.host

    @property
    def alarms(self) -> Alarms:
        """The actor's alarms."""
        return self._instance.alarms

    @property
    def jobs(self) -> Jobs:
        """The actor's jobs."""
        return self._instance.jobs

    @property
    def folder(self) -> Path:
        """Where the actor may keep files beside its database; they go when it is deleted. Not made until it is used."""
        return files_folder(self._instance.connection.path)

    def publish(self, kind: str, data: Any) -> None:
        """Send an event to whoever listens to this actor; call it on the event loop."""
        self.host.events.publish(self.id, kind, data)

    def on_open(self, tx: Transaction) -> None:
        """Prepare the actor after its file was opened; a unit of the runtime's own. Does nothing by default."""

    async def after_open(self) -> None:
        """Take up work that a crash or a shutdown left, before the first call. Does nothing by default."""

    def alarm(self, tx: Transaction, event: AlarmEvent) -> Any:
        """Act on an alarm that is due. Write it as a unit (as here) or as `async def alarm(self, event)`.

        An exception makes the runtime try again (runtime/alarms.py). Raises by default, because an alarm
        that nobody handles is a mistake in the type.
        """
        raise TypeError(f"{type(self).__name__} sets the alarm {event.name!r} and has no alarm() method")

    async def on_close(self) -> None:
        """Let go of what the actor holds besides its file. Does nothing by default."""
