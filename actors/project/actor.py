"""The project actor: a lasting database for the rows of a file, with pipelines over them (project-database.md).

A project is a session too: statements, saved state and code mode are the session's own mixins. What is its own
lies in the files beside this one: `imports`, `reading`, `exploring`, `pipelines`, `exports`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field as Doc

from actors.landing import clear_unlanded
from actors.project.catalogue import MIGRATIONS, PREFIX, tidy
from actors.project.exploring import ExploreMethods
from actors.project.exports import ExportMethods
from actors.project.holds import Holds
from actors.project.imports import ImportMethods, remove_leftovers
from actors.project.pipelines import PipelineMethods
from actors.project.reading import ReadMethods
from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from runtime.actor import Actor
from runtime.guard import SESSION, Policy
from runtime.instance import Instance
from runtime.jobs import Job
from runtime.method import method
from runtime.storage.migrations import Migration
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from sandbox.runs import CodeMethods
from sandbox.tools.methods import ServerMethods

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("PROJECT", "ProjectActor")

PROJECT = replace(
    SESSION,
    name="project",
    readable_internal=SESSION.readable_internal | {"_duralite_datasets", "_duralite_columns"},
    readable_prefix=PREFIX,
    max_file_bytes=2**40,
    limits=replace(SESSION.limits, columns=2_000, sql_length=1_000_000),
)
"""What SQL of strangers may do in a project: all that it may in a session, and read the data tables.

How large the file may grow is the operator's to say (limit `max_file_bytes`), not the policy's.
"""


class ProjectActor(
    ImportMethods,
    ExportMethods,
    PipelineMethods,
    ReadMethods,
    ExploreMethods,
    StatementMethods,
    StateMethods,
    ServerMethods,
    CodeMethods,
    Actor,
    type_name="project",
):
    """A database of imported rows, with pipelines over them."""

    migrations: ClassVar[tuple[Migration, ...]] = MIGRATIONS
    profile: ClassVar[Durability] = Durability.NORMAL
    policy: ClassVar[Policy | None] = PROJECT
    shared_file: ClassVar[bool] = True

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Remove what a crash left of files, and start what the mixins need."""
        await asyncio.get_running_loop().run_in_executor(None, remove_leftovers, host.settings.data)
        await super().start_type(host)

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.holds = Holds(instance.connection)
        self._folders = set()

    def on_open(self, tx: Transaction) -> None:
        """Drop what a crash left half filled."""
        super().on_open(tx)
        tx.execute("PRAGMA secure_delete=FAST")
        tidy(tx)
        clear_unlanded(tx)

    async def on_close(self) -> None:
        """Let go of files, and of what the mixins hold."""
        try:
            await super().on_close()
        finally:
            await self._let_all_go()

    @method(read_only=True, concurrent=True, aliases=("GET /api/projects/{name}/jobs",))
    async def list_jobs(self, limit: Annotated[int, Doc(ge=1, le=1000)] = 100) -> list[Job]:
        """Return the jobs of this project, the newest first."""
        return await self.jobs.list(limit)

    @method(read_only=True, concurrent=True, aliases=("GET /api/projects/{name}/jobs/{id}",))
    async def get_job(self, id: Annotated[str, Doc(description="The job's id.")]) -> Job:
        """Return one job: state, phase, done and total, result or error."""
        return await self.jobs.get(id)

    @method(idempotent=True, concurrent=True, aliases=("DELETE /api/projects/{name}/jobs/{id}",))
    async def cancel_job(self, id: Annotated[str, Doc(description="The job's id.")]) -> Job:
        """Cancel a job; one that ended stays as it is."""
        return await self.jobs.cancel(id)
