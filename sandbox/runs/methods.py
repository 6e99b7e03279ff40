"""Code mode for any actor type: a program that a model wrote runs in the sandbox, with the actor's database at hand.

A run is not a turn: each of its helper calls is a turn of its own, so that other callers get in between.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from runtime.actor import Actor
from runtime.context import current_context
from runtime.errors import LimitExceeded
from runtime.jobs import Job as JobRecord
from runtime.jobs import JobProgress, job
from runtime.method import method
from sandbox.engine import Engine, Job, Limits
from sandbox.runs.funnel import Funnel, helpers_of
from sandbox.runs.result import RunResult, run_limits, run_result
from sandbox.service import start_engine, stop_engine

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("CodeMethods",)


class CodeMethods(Actor):
    """run, and the job that runs in the background."""

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Start the sandbox engine of the service, and see that it confines."""
        await start_engine(host)

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """End the sandbox engine."""
        await stop_engine(host)

    @method(concurrent=True, scope="run")
    async def run(
        self,
        code: Annotated[
            str, Field(description="A Python program. `db`, `sql`, `tools`, `inputs` are in scope.")
        ],
        inputs: Annotated[
            dict[str, Any] | None, Field(description="Values the program finds in `inputs`.")
        ] = None,
        limits: Annotated[
            dict[str, Any] | None,
            Field(description="Lower limits for this run: wall_s, cpu_s, memory_bytes, output_bytes, calls."),
        ] = None,
        background: Annotated[bool, Field(description="Run as a job and return its record at once.")] = False,
    ) -> RunResult | JobRecord:
        """Run a Python program in the sandbox, with this actor's database in scope as `db`.

        The value of the last expression or assignment comes back. What user code does wrong is told in
        `error`, with its line and a hint, never as a failed call.
        """
        service = self._instance.host.settings.limits
        if len(code.encode("utf-8", "surrogatepass")) > service.run_code_bytes:
            raise LimitExceeded(
                f"The program has more than {service.run_code_bytes:,} bytes.",
                hint="Put data into tables or inputs, not into the program.",
                limit="run_code_bytes",
            )
        wanted = run_limits(service, limits)
        if background:
            return await self._instance.jobs.start(
                "run", {"code": code, "inputs": inputs or {}, "limits": limits}
            )
        left = current_context().seconds_left()
        if left is not None:
            # The run ends before its caller's deadline, so that the caller gets an outcome and not a timeout.
            wanted = replace(
                wanted, wall_s=max(0.05, min(wanted.wall_s, left - 0.5 if left > 1 else left / 2))
            )
        return await self._run_code(code, inputs or {}, wanted)

    @job("run")
    async def run_job(
        self, progress: JobProgress, code: str, inputs: dict[str, Any], limits: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Run a program in the background; the job's result is the RunResult."""
        await progress.report(phase="running")
        result = await self._run_code(code, inputs, run_limits(self._instance.host.settings.limits, limits))
        return asdict(result)

    async def _run_code(self, code: str, inputs: dict[str, Any], limits: Limits) -> RunResult:
        instance = self._instance
        engine: Engine = instance.host.services["sandbox"]
        helpers, specs = helpers_of(type(instance.actor))
        context = replace(current_context(), deadline=None).within(limits.wall_s)
        funnel = Funnel(instance.host, instance, specs, context)
        outcome = await engine.run(Job(code, helpers, inputs, limits), funnel)
        return run_result(outcome, funnel.calls, funnel.writes)
