"""Progress of a call is that of the job it started: the actor's events, told on until the job ends.

Numbers only grow, as the protocol asks; a job that says something new without having done more is told a hair further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import structlog

from runtime.errors import DuraliteError
from runtime.host import Host
from runtime.ids import ActorAddress

__all__ = ("JobFollower", "Report")

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells a client: progress, total (None: not known), message."""

Job = dict[str, Any]

_HAIR = 2.0**-20
_CANCEL_S = 5.0
_log = structlog.get_logger("duralite.mcp")


class JobFollower:
    """Waits for jobs on behalf of calls."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cancelling: set[asyncio.Task[None]] = set()
        self.closing = False

    def position(self, address: ActorAddress) -> str:
        """Return the place in an actor's events from which `follow` misses nothing; take it before the call."""
        return self._host.events.position(self._host.id_of(address))

    async def follow(self, address: ActorAddress, job: Job, since: str, report: Report) -> Job:
        """Tell a job's progress until it ends or `mcp_job_s` is over, and return its last record.

        A call that is cancelled takes its job with it, unless the service itself ends.
        """
        teller = _Teller(report)
        try:
            async with (
                asyncio.timeout(self._host.settings.limits.mcp_job_s),
                aclosing(self._host.events.listen(self._host.id_of(address), since)) as events,
            ):
                async for event in events:
                    if event.type == "job" and event.data["id"] == job["id"]:
                        job = event.data
                    elif event.type in ("deleted", "reset"):
                        job = await self._record(address, job)
                    else:
                        continue
                    await teller.tell(job)
                    if job["state"] != "running":
                        return job
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not self.closing and self._host.accepting:
                self._give_up(address, job["id"])
            raise
        return await self._record(address, job)

    async def _record(self, address: ActorAddress, job: Job) -> Job:
        instance = await self._host.acquire(address, create=False)
        if instance is None:
            return {**job, "state": "cancelled"}
        return asdict(await instance.jobs.get(job["id"]))

    def _give_up(self, address: ActorAddress, job_id: str) -> None:
        # In a task of its own: nothing more can be awaited where a cancellation is on its way.
        task = asyncio.get_running_loop().create_task(self._cancel(address, job_id))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, address: ActorAddress, job_id: str) -> None:
        try:
            async with asyncio.timeout(_CANCEL_S):
                instance = await self._host.acquire(address, create=False)
                if instance is not None:
                    await instance.jobs.cancel(job_id)
        except (DuraliteError, TimeoutError) as error:
            _log.warning("mcp.job_not_cancelled", job=job_id, error=str(error)[:200])


class _Teller:
    """Tells what is new, in growing numbers."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: tuple[Any, ...] | None = None
        self._last = -_HAIR

    async def tell(self, job: Job) -> None:
        done, total = float(job["done"] or 0), job["total"]
        message = ": ".join(part for part in (job["phase"] or job["state"], job["message"]) if part)
        new = (done, total, message)
        if new == self._told:
            return
        self._told = new
        self._last = max(done, self._last + _HAIR)
        # A hair past the end would be more than all.
        whole = None if total is None else max(float(total), self._last)
        await self._report(self._last, whole, message)
