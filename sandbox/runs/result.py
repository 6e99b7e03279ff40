"""A result is how a run ended, as its caller and its record show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.errors import InputError
from runtime.limits import Limits as ServiceLimits
from runtime.reasons import reasons
from sandbox.engine import Limits, Outcome

__all__ = ("CALLS_LISTED", "RunCall", "RunError", "RunLimits", "RunResult", "run_limits", "run_result")

CALLS_LISTED = 200
"""How many helper calls a result lists."""


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


RunStatus = Literal["ok", "error", "limit", "crash", "protocol", "cancelled", "paused"]


@dataclass(slots=True)
class RunResult:
    """How a run ended; never an exception for what user code does.

    `id` finds the run's record. `value` is that of the last expression or assignment. `logs` are printed lines.
    `calls` lists the first 200 helper calls. `effects` says what was, or may have been, written before the end:
    when `written` is false, a retry is safe. A `paused` run has not ended: the calls in `waiting` need an approval first.
    """

    status: RunStatus
    value: Any
    error: RunError | None
    logs: list[str]
    calls: list[RunCall]
    usage: dict[str, Any]
    effects: dict[str, Any]
    truncated: bool = False
    limit: str | None = None
    note: str | None = None
    id: str | None = None
    waiting: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)


def run_limits(service: ServiceLimits, wanted: dict[str, Any] | None) -> Limits:
    """Return the limits of a run: the service's, lowered to what its caller wants.

    Raises:
        InputError: not positive numbers, or unknown names.
    """
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
    except ValidationError as error:
        names = ", ".join(RunLimits.model_fields)
        wrong = reasons(error, "limit", RunLimits.model_fields)
        raise InputError(
            f"limits: {wrong[0]['path']}: {wrong[0]['reason']}.",
            hint=f"Give positive numbers for: {names}.",
            errors=wrong,
        ) from None
    return replace(most, **{name: min(value, getattr(most, name)) for name, value in lower.items()})


def run_result(outcome: Outcome, calls: list[RunCall], writes: int) -> RunResult:
    """Return an engine's outcome as a result."""
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
        calls=calls,
        usage={name: round(value, 3) for name, value in asdict(outcome.usage).items()},
        effects={"written": writes > 0, "write_calls": writes, "retry_safe": writes == 0},
        truncated=outcome.truncated,
        limit=outcome.limit,
        note=outcome.note,
    )
