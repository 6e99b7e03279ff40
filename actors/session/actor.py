"""The session actor: a scratch database for one conversation, with code mode on it.

Every method is declared once here; HTTP, CLI, helpers and tool schemas are views of it (DESIGN sections 1 and 7).
Statements live in the mixins beside this file: `statements`, `state`, `transfer`; code mode in `sandbox.runs`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from actors.landing import clear_unlanded
from actors.promotion import PromotionMethods
from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from actors.session.transfer import TransferMethods
from runtime.actor import Actor
from runtime.guard import SESSION, Policy
from runtime.jobs import Job
from runtime.method import method
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from sandbox.runs import CodeMethods
from sandbox.tools.methods import ServerMethods

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("SessionActor",)


class SessionActor(
    StatementMethods,
    StateMethods,
    TransferMethods,
    PromotionMethods,
    ServerMethods,
    CodeMethods,
    Actor,
    type_name="session",
):
    """A scratch database for one conversation."""

    profile: ClassVar[Durability] = Durability.NORMAL
    policy: ClassVar[Policy | None] = SESSION
    ttl: ClassVar[timedelta | None] = timedelta(hours=24)
    promotes_to: ClassVar[str | None] = "project"

    def on_open(self, tx: Transaction) -> None:
        """Drop what a crash left of copies into the session."""
        super().on_open(tx)
        clear_unlanded(tx)

    @classmethod
    def ttl_seconds(cls, host: Host) -> float | None:
        """Return the operator's `session_ttl_s`, 24 hours unless set (code-mode-database.md, TTL cleanup)."""
        return host.settings.session_ttl_s

    @method(idempotent=True, concurrent=True)
    async def touch(self) -> dict[str, Any]:
        """Count as used now, so that the session lives for its whole TTL from here on."""
        return {"touched": True, "ttl_s": type(self).ttl_seconds(self.host)}

    @method(idempotent=True, concurrent=True)
    async def pin(
        self, pinned: Annotated[bool, Field(description="False lets the TTL run again from now.")] = True
    ) -> dict[str, Any]:
        """Keep the session for good, or let it expire again."""
        await self.host.pin(self.address, pinned)
        return {"pinned": pinned}

    @method(read_only=True, concurrent=True)
    async def list_jobs(self, limit: Annotated[int, Field(ge=1, le=1000)] = 100) -> list[Job]:
        """Return the jobs of this session, the newest first."""
        return await self.jobs.list(limit)

    @method(read_only=True, concurrent=True)
    async def get_job(self, id: Annotated[str, Field(description="The job's id.")]) -> Job:
        """Return one job: state, phase, done and total, result or error."""
        return await self.jobs.get(id)

    @method(idempotent=True, concurrent=True)
    async def cancel_job(self, id: Annotated[str, Field(description="The job's id.")]) -> Job:
        """Cancel a job; one that ended stays as it is."""
        return await self.jobs.cancel(id)
