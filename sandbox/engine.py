"""An engine runs one program that nobody reviewed, and gives back an outcome: never an exception for what it did.

A `Job` is the program with its inputs and limits. The program has no authority of its own: each effect
is a helper call that reaches `Host.call`, the only door, which allows, checks, budgets and records it.
What the program hands back is hostile data, already bounded and decoded when it stands in the `Outcome`.

Engines differ in how they confine the program (`process`, `monty`), and in nothing that a caller sees but
their `Capabilities`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from helpers.spec import ROWS, WHOLE, HelperSpec, ParamSpec

__all__ = (
    "CEILING",
    "ROWS",
    "WHOLE",
    "Capabilities",
    "Encoded",
    "Engine",
    "ErrorInfo",
    "HelperSpec",
    "Host",
    "Job",
    "Limits",
    "Log",
    "Outcome",
    "ParamSpec",
    "Status",
    "Usage",
    "Witness",
)

Status = Literal["ok", "error", "limit", "crash", "protocol", "cancelled"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Always finite: zero, negative, NaN and infinite values are refused."""

    wall_s: float = 30.0
    cpu_s: float = 10.0
    memory_bytes: int = 256 * _MIB
    output_bytes: int = 256 * 1024
    result_bytes: int = 1 * _MIB
    frame_bytes: int = 16 * _MIB
    calls: int = 10_000
    in_flight: int = 256
    depth: int = 64

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < sys.maxsize:
                raise ValueError(f"limit {item.name} must be a positive finite number, not {value!r}")

    def clamp(self, ceiling: Limits) -> Limits:
        """Return these limits, none of them above the ceiling's."""
        names = [item.name for item in dataclasses.fields(self)]
        return Limits(**{name: min(getattr(self, name), getattr(ceiling, name)) for name in names})


# What an engine allows at most, whatever a job asks for. `depth` stays under the 254 levels that the
# JSON encoder of the edges can write.
CEILING = Limits(
    wall_s=600.0,
    cpu_s=300.0,
    memory_bytes=2048 * _MIB,
    output_bytes=16 * _MIB,
    result_bytes=16 * _MIB,
    frame_bytes=64 * _MIB,
    calls=1_000_000,
    in_flight=1_024,
    depth=200,
)


@dataclass(frozen=True, slots=True)
class Job:
    """One program to run. `seed` fixes `random`, `now` (Unix seconds) sets the clock that the program reads."""

    code: str
    helpers: tuple[HelperSpec, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    seed: bytes | None = None
    now: float | None = None
    filename: str = "<code>"


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer that is JSON already; it goes to the program without being decoded on the way."""

    data: bytes


class Host(Protocol):
    """The host's side of one run."""

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any | Encoded:
        """Serve one helper call. `index` counts the run's calls from 0; `name` is the path of a `HelperSpec`.

        Arguments are hostile plain data. A `DuraliteError` raised here becomes an ordinary exception in
        user code. The coroutine is cancelled when the run ends first.
        """
        ...

    def output(self, stream: str, text: str) -> None:
        """Take a piece of output (`stdout` or `stderr`) while the program runs. Must not block."""
        ...


@dataclass(frozen=True, slots=True)
class Log:
    """A stretch of output to one stream, exactly as written."""

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What ended the program, in terms of the user's own lines. All text is data, to be escaped at display."""

    type: str
    message: str
    line: int | None = None
    hint: str | None = None
    traceback: str = ""
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the run used. CPU time is measured from outside where the engine can."""

    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    peak_memory_bytes: int = 0
    calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    `value` is plain JSON-ready data (`note` says so where it is a text form of something else). `limit` is
    the name of the limit that ended the run. `truncated` says that output was cut.
    """

    status: Status
    value: Any = None
    note: str | None = None
    logs: tuple[Log, ...] = ()
    truncated: bool = False
    error: ErrorInfo | None = None
    limit: str | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def output(self) -> str:
        """All output in the order in which it was written."""
        return "".join(log.text for log in self.logs)


@dataclass(frozen=True, slots=True)
class Witness:
    """What was seen to hold when the engine started, as plain data for `doctor` and health.

    `layers` says for each layer of confinement whether it was seen to bite, `refused` what the probe was
    refused, `warnings` what is missing on this machine.
    """

    engine: str
    layers: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the witness as plain data."""
        return {
            "engine": self.engine,
            "layers": dict(self.layers),
            "refused": list(self.refused),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What programs can expect of an engine. `gaps` is text for the model's prompt, empty for full Python."""

    full_python: bool
    python_version: str
    layers: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    gaps: str = ""


class Engine(Protocol):
    """One way to run programs in confinement."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What programs can expect."""
        ...

    async def start(self) -> Witness:
        """Make ready, and prove that the confinement bites.

        Raises:
            Unavailable: a required layer does not hold here; the message says which.
        """
        ...

    async def run(self, job: Job, host: Host) -> Outcome:
        """Run one program in fresh isolation.

        Raises:
            Unavailable: the engine is not started, or too many runs wait. Nothing was executed.
        """
        ...

    async def aclose(self) -> None:
        """End all runs (`cancelled`) and release everything. Idempotent."""
        ...
