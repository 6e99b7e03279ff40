"""Code mode for any actor type: a program that a model wrote runs in the sandbox, with the actor's database at hand.

A run is not a turn: each of its helper calls is a turn of its own, so that other callers get in between.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from helpers.check import Report
from helpers.methods import ToolMethods
from runtime.alarms import AlarmEvent
from runtime.context import current_context
from runtime.errors import LimitExceeded
from runtime.instance import Instance
from runtime.jobs import Job as JobRecord
from runtime.jobs import JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction
from sandbox.engine import Limits
from sandbox.runs import history, records
from sandbox.runs.approvals import check_marks
from sandbox.runs.drive import EXPIRY_ALARM, RUN_JOB, Runs, left_running
from sandbox.runs.history import RunPage, RunRecord
from sandbox.runs.result import RunResult, run_limits
from sandbox.runs.snippets import SnippetMethods, check_inputs, load_snippet
from sandbox.service import start_engine, stop_engine

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("CodeMethods",)

RunId = Annotated[str, Field(min_length=1, max_length=64, description="The run's id.")]
Code = Annotated[str, Field(description="A Python program. `db`, `sql`, `tools`, `inputs` are in scope.")]
Inputs = Annotated[dict[str, Any] | None, Field(description="Values the program finds in `inputs`.")]
GivenLimits = Annotated[
    dict[str, Any] | None,
    Field(description="Lower limits for this run: wall_s, cpu_s, memory_bytes, output_bytes, calls."),
]
Ask = Annotated[
    list[str] | None,
    Field(
        description="Calls that need an approval besides those of the setting `approvals`: tools.shop.*, db.exec:DROP."
    ),
]
State = Literal["running", "paused", "ok", "error", "limit", "crash", "protocol", "cancelled"]


class CodeMethods(SnippetMethods, ToolMethods):
    """run and its records: list_runs, get_run, replay_run; approvals; snippets; what takes runs up again."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._runs = Runs(instance)
        self._runs_left: list[str] = []

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Start the sandbox engine of the service, and see that it confines."""
        await super().start_type(host)
        await start_engine(host)

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """End the sandbox engine."""
        await stop_engine(host)
        await super().stop_type(host)

    def on_open(self, tx: Transaction) -> None:
        """Find runs that a crash or a shutdown left."""
        super().on_open(tx)
        self._runs_left = left_running(tx)

    async def after_open(self) -> None:
        """Go on with them."""
        await super().after_open()
        if self._runs_left:
            await self._runs.go_on(self._runs_left)

    async def on_close(self) -> None:
        """Let the directory know that nothing is left to take up."""
        await self._runs.close()
        await super().on_close()

    def alarm(self, tx: Transaction, event: AlarmEvent) -> Any:
        """Cancel runs that waited too long for an approval."""
        if event.name == EXPIRY_ALARM:
            return self._runs.expire(tx)
        return super().alarm(tx, event)

    @method(concurrent=True, scope="run")
    async def run(
        self,
        code: Code,
        inputs: Inputs = None,
        limits: GivenLimits = None,
        background: Annotated[bool, Field(description="Run as a job and return its record at once.")] = False,
        ask: Ask = None,
        check: Annotated[
            bool, Field(description="Look for mistakes first: a program with certain ones is not run.")
        ] = True,
    ) -> RunResult | JobRecord:
        """Run a Python program in the sandbox, with this actor's database in scope as `db`.

        The value of the last expression or assignment comes back. What user code does wrong is told in
        `error`, with its line and a hint, never as a failed call. A call that needs an approval pauses the run.
        """
        wanted = self._limits(code, limits)
        marks = check_marks(ask or ())
        if background:
            return await self._runs.start_job(code, inputs or {}, wanted, marks, checked=check)
        return await self._runs.start(code, inputs or {}, _in_time(wanted), marks, checked=check)

    def _limits(self, code: str, limits: dict[str, Any] | None) -> Limits:
        service = self.host.settings.limits
        if len(code.encode("utf-8", "surrogatepass")) > service.run_code_bytes:
            raise LimitExceeded(
                f"The program has more than {service.run_code_bytes:,} bytes.",
                hint="Put data into tables or inputs, not into the program.",
                limit="run_code_bytes",
            )
        return run_limits(service, limits)

    @method(read_only=True, concurrent=True)
    async def check(self, code: Code, inputs: Inputs = None) -> Report:
        """Look for mistakes in a program without running it: unknown helpers, wrong arguments, what costs too much.

        `errors` would end the run, `warnings` would not; each has line, column, message, hint and nearest name.
        """
        self._limits(code, None)
        return await self._runs.check(code, inputs)

    @job(RUN_JOB, resumable=True)
    async def run_job(self, progress: JobProgress, run: str) -> dict[str, Any]:
        """Drive a run that no caller waits for; the job's result is the RunResult."""
        await progress.report(phase="running")
        result = await self._runs.resume(run)
        return {each.name: getattr(result, each.name) for each in fields(result)}

    # Records

    @method(read_only=True)
    def list_runs(
        self,
        tx: Transaction,
        limit: Annotated[int, Field(ge=1, le=1000, description="At most so many.")] = 100,
        cursor: Annotated[str | None, Field(description="`next` of the page before.")] = None,
        state: Annotated[State | None, Field(description="Only runs in this state.")] = None,
    ) -> RunPage:
        """Return the runs of this actor, the newest first."""
        return history.list_page(tx, cursor, limit, state)

    @method(read_only=True)
    def get_run(self, tx: Transaction, id: RunId) -> RunRecord:
        """Return all that is kept of a run: program, inputs, calls with arguments and results, outcome."""
        return history.load(tx, id)

    @method(concurrent=True, idempotent=True, scope="run")
    async def replay_run(self, id: RunId) -> RunResult:
        """Run a recorded program again with its recorded results: nothing is done, no database, no tools.

        It shows how a run came to its end. Where the program does not do what the record says, the result is
        an error of type Divergence that names the call.
        """
        return await self._runs.replay(id)

    @method(concurrent=True, scope="run")
    async def run_snippet(
        self,
        name: Annotated[str, Field(min_length=1, max_length=100, description="The snippet's name.")],
        inputs: Inputs = None,
        limits: GivenLimits = None,
        background: Annotated[bool, Field(description="Run as a job and return its record at once.")] = False,
    ) -> RunResult | JobRecord:
        """Run a snippet with inputs, like `run` its program."""
        snippet = await self.storage.run(lambda tx: load_snippet(tx, name), read_only=True)
        check_inputs(snippet, inputs or {})
        return await self.run(snippet.code, inputs, limits, background)

    # Approvals

    @method(read_only=True)
    def list_approvals(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return the calls that wait for an approval: id, run, call, arguments, why, since."""
        return history.waiting_of(tx) if records.is_made(tx) else []

    @method(concurrent=True, destructive=True, scope="approve")
    async def approve(
        self, id: Annotated[str, Field(description="The approval's id, or a run's for all its calls.")]
    ) -> RunRecord:
        """Approve a call that a program waits for; the run goes on when all of its calls are decided."""
        return await self._runs.decide(id, True, "")

    @method(concurrent=True, scope="approve")
    async def reject(
        self,
        id: Annotated[str, Field(description="The approval's id, or a run's for all its calls.")],
        reason: Annotated[str, Field(max_length=1000, description="What the program is told.")] = "",
    ) -> RunRecord:
        """Reject a call that a program waits for; the program gets an error that it can catch, and goes on."""
        return await self._runs.decide(id, False, reason)


def _in_time(limits: Limits) -> Limits:
    """Have the run end before its caller's deadline, so that the caller gets an outcome and not a timeout."""
    left = current_context().seconds_left()
    if left is None:
        return limits
    return replace(limits, wall_s=max(0.05, min(limits.wall_s, left - 0.5 if left > 1 else left / 2)))
