"""The catalogue of data sources: one for each account, which registers, imports, queries and copies.

Every method is declared once here; HTTP (with the paths of data-sources.md), CLI and tool schemas are views of it.
The methods live in the mixins beside this file: `listing`, `importing`, `querying`, `copying`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from actors.sources.catalogue import MIGRATIONS, every, mark_interrupted
from actors.sources.copying import CopyMethods
from actors.sources.listing import remove_leftovers, sweep
from actors.sources.parts import in_thread
from actors.sources.service import SourcesService
from runtime.actor import Actor
from runtime.alarms import AlarmEvent
from runtime.errors import DuraliteError
from runtime.jobs import Job
from runtime.method import method
from runtime.storage.migrations import Migration
from runtime.storage.transaction import Transaction

if TYPE_CHECKING:
    from runtime.host import Host
    from runtime.instance import Instance

__all__ = ("SourcesActor",)


class SourcesActor(CopyMethods, Actor, type_name="sources"):
    """The data sources of an account."""

    default_name: ClassVar[str | None] = "default"
    migrations: ClassVar[tuple[Migration, ...]] = MIGRATIONS

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._touched = {}
        self._beginning = {}
        self._latest = {}
        self._to_watch = []

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Remove what a crash left of imports, and make what all catalogues share."""
        await in_thread(remove_leftovers, host.settings.data)
        host.services["sources"] = SourcesService(host.settings.limits)

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """End the watch over files."""
        service = host.services.pop("sources", None)
        if service is not None:
            await service.close()

    def on_open(self, tx: Transaction) -> None:
        """Clear away what a crash left, and watch the files of others again."""
        mark_interrupted(tx)
        sweep(self._folder, tx)
        self._to_watch = [source for source in every(tx) if source.origin is not None]

    async def on_close(self) -> None:
        """Write down when sources were last used."""
        await self._note_uses()

    async def alarm(self, event: AlarmEvent) -> None:  # type: ignore[override]
        """Look at the files of live imports, in case a change was not reported, and come back later."""
        live = [s for s in await self._every() if s.type == "live-import"]
        for source in live:
            try:
                await self._freshen(source)
            except DuraliteError:
                continue  # the source says what is wrong
        if live:
            await self.storage.run(self._look_later)

    @method(read_only=True, concurrent=True)
    async def list_jobs(self, limit: Annotated[int, Field(ge=1, le=1000)] = 100) -> list[Job]:
        """Return the imports and copies of this account, the newest first."""
        return await self.jobs.list(limit)

    @method(read_only=True, concurrent=True)
    async def get_job(self, id: Annotated[str, Field(description="The job's id.")]) -> Job:
        """Return one import or copy: state, phase, done and total, result or error."""
        return await self.jobs.get(id)

    @method(idempotent=True, concurrent=True)
    async def cancel_job(self, id: Annotated[str, Field(description="The job's id.")]) -> Job:
        """Cancel an import or copy; one that ended stays as it is."""
        return await self.jobs.cancel(id)
