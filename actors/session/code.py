"""Code mode: a program that a model wrote runs in the sandbox, with this session's database at hand.

A run is not a turn: each of its helper calls is a turn of its own, so that other callers get in between. The
funnel is `_SessionHost.call`: only methods that are declared as helpers can be reached, their arguments are
checked like those of any other caller, and what they did is counted into `effects`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from helpers.api import db_helpers
from runtime.actor import Actor
from runtime.context import CallContext, current_context
from runtime.errors import DuraliteError, InputError, LimitExceeded, NotFound
from runtime.instance import Instance
from runtime.jobs import Job as JobRecord
from runtime.jobs import JobProgress, job
from runtime.limits import Limits as ServiceLimits
from runtime.method import MethodSpec, method
from sandbox.engine import Encoded, Engine, HelperSpec, Job, Limits, Outcome
from sandbox.service import start_engine, stop_engine

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("CodeMethods", "RunLimits", "RunResult")

_CALLS_LISTED = 200


class RunLimits(BaseModel):
    """Limits of one run; each can be lowered from the service's own, never raised."""

    model_config = ConfigDict(extra="forbid")

    wall_s: float | None = Field(None, gt=0, description="Seconds of wall time.")
    cpu_s: float | None = Field(None, gt=0, description="Seconds of CPU time.")
    memory_bytes: int | None = Field(None, gt=0, description="Bytes of memory.")
    output_bytes: int | None = Field(None, gt=0, description="Bytes of printed text.")
    calls: int | None = Field(None, gt=0, description="Helper calls.")


@dataclass(slots=True)
class RunError:
    """Why a run ended badly; `line` is a line of the program, `hint` what to write instead."""

    type: str
    message: str
    line: int | None = None
    hint: str | None = None
    traceback: str = ""
    code: str | None = None


@dataclass(slots=True)
class RunCall:
    """One helper call of a run."""

    name: str
    ms: float
    error: str | None = None


@dataclass(slots=True)
class RunResult:
    """How a run ended; never an exception for what user code does.

    `value` is that of the last expression or assignment. `logs` are printed lines. `calls` lists the first 200
    helper calls. `effects` says what was written before the end: when `written` is false, a retry is safe.
    """

    status: Literal["ok", "error", "limit", "crash", "protocol", "cancelled"]
    value: Any
    error: RunError | None
    logs: list[str]
    calls: list[RunCall]
    usage: dict[str, Any]
    effects: dict[str, Any]
    truncated: bool = False
    limit: str | None = None
    note: str | None = None


@dataclass(slots=True)
class _SessionHost:
    """The funnel of one run: the only way from a program to its session."""

    host: Host
    instance: Instance
    specs: dict[str, MethodSpec]
    context: CallContext
    calls: list[RunCall] = field(default_factory=list)
    writes: int = 0

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Serve one helper call."""
        spec = self.specs.get(name)
        if spec is None:
            known = ", ".join(sorted(self.specs))
            raise NotFound(f"There is no helper {name!r:.80}.", hint=f"Helpers: {known}.")
        started = time.perf_counter()
        call = RunCall(name, 0.0)
        if len(self.calls) < _CALLS_LISTED:
            self.calls.append(call)
        try:
            bound = spec.bind_call(args, kwargs)
            if spec.helper == "rows":
                bound["row_format"] = "arrays"
            answer = await self.host.call(self.instance.address, spec, bound, self.context, wire=True)
            if not spec.read_only:
                self.writes += 1
            return Encoded(answer)
        except DuraliteError as error:
            call.error = f"{type(error).__name__}: {error.message}"[:300]
            raise
        finally:
            call.ms = round((time.perf_counter() - started) * 1e3, 3)

    def output(self, stream: str, text: str) -> None:
        """Take printed text; the outcome carries it whole, so nothing is done here."""


class CodeMethods:
    """run, and the job that runs in the background."""

    _instance: Instance

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
        """Run a Python program in the sandbox, with this session's database in scope as `db`.

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
        wanted = _run_limits(service, limits)
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
        result = await self._run_code(code, inputs, _run_limits(self._instance.host.settings.limits, limits))
        return asdict(result)

    async def _run_code(self, code: str, inputs: dict[str, Any], limits: Limits) -> RunResult:
        instance = self._instance
        engine: Engine = instance.host.services["sandbox"]
        helpers, specs = _helpers_of(type(instance.actor))
        host = _SessionHost(
            instance.host,
            instance,
            specs,
            replace(current_context(), deadline=None).within(limits.wall_s),
        )
        outcome = await engine.run(Job(code, helpers, inputs, limits), host)
        return _result(outcome, host)


_Helpers = tuple[tuple[HelperSpec, ...], dict[str, MethodSpec]]


def _helpers_of(actor_type: type[Actor]) -> _Helpers:
    """Return what code sees of a type, and the methods behind it. The same objects each time: engines know them again."""
    found: _Helpers | None = vars(actor_type).get("_code_helpers")
    if found is None:
        helpers = tuple(db_helpers(actor_type.methods.values()))
        found = helpers, {helper.path: actor_type.methods[helper.name] for helper in helpers}
        setattr(actor_type, "_code_helpers", found)  # noqa: B010 - a cache on the class, not part of its interface
    return found


def _run_limits(service: ServiceLimits, wanted: dict[str, Any] | None) -> Limits:
    most = Limits(
        wall_s=service.run_wall_s,
        cpu_s=service.run_cpu_s,
        memory_bytes=service.run_memory_bytes,
        output_bytes=service.run_output_bytes,
        result_bytes=service.run_result_bytes,
        frame_bytes=service.max_result_bytes + 1024 * 1024,
        calls=service.run_calls,
    )
    if not wanted:
        return most
    try:
        lower = RunLimits.model_validate(wanted).model_dump(exclude_none=True)
    except ValueError as error:
        names = ", ".join(RunLimits.model_fields)
        raise InputError(
            f"limits is not valid: {str(error)[:300]}", hint=f"Positive numbers for: {names}."
        ) from None
    return replace(most, **{name: min(value, getattr(most, name)) for name, value in lower.items()})


def _result(outcome: Outcome, host: _SessionHost) -> RunResult:
    error = None
    if outcome.error is not None:
        e = outcome.error
        error = RunError(e.type, e.message, e.line, e.hint, e.traceback, e.code)
    text = outcome.output
    return RunResult(
        status=outcome.status,
        value=outcome.value,
        error=error,
        logs=text.removesuffix("\n").split("\n") if text else [],
        calls=host.calls,
        usage=asdict(outcome.usage),
        effects={"written": host.writes > 0, "write_calls": host.writes, "retry_safe": host.writes == 0},
        truncated=outcome.truncated,
        limit=outcome.limit,
        note=outcome.note,
    )
