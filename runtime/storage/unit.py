"""A unit is one function on its way through the thread of a connection, and what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import Cancelled, DeadlineExceeded

if TYPE_CHECKING:
    from runtime.storage.transaction import Transaction

__all__ = ("Unit", "deadline_error", "given_up", "spurious", "was_interrupted", "why_interrupted")


class Unit:
    """One function on its way through the thread."""

    __slots__ = ("answer", "beside", "cancelled", "committing", "deadline", "error", "fn", "future", "hooks", "method", "quick", "read_only", "wire")  # fmt: skip

    def __init__(
        self,
        fn: Callable[[Transaction], Any],
        future: asyncio.Future[Any],
        *,
        read_only: bool,
        quick: bool,
        wire: bool,
        deadline: float,
        method: str,
        beside: Path | None = None,
    ) -> None:
        self.fn = fn
        self.beside = beside
        self.future = future
        self.read_only = read_only
        self.quick = quick
        self.wire = wire
        self.deadline = deadline
        self.method = method
        # The thread sets `committing` and then looks at `cancelled`; the loop sets `cancelled` and then looks at
        # `committing`. So a unit that was answered "rolled back" is never committed.
        self.cancelled = False
        self.committing = False
        self.answer: Any = None
        self.error: BaseException | None = None
        self.hooks: list[Callable[[], Awaitable[Any]]] | None = None


def deadline_error() -> DeadlineExceeded:
    """Return the error of a unit that is past its deadline."""
    return DeadlineExceeded(
        "The statement did not end by its deadline and was rolled back.",
        hint="Add a WHERE or LIMIT, an index, or split the work into smaller statements.",
        limit="statement_s",
    )


def given_up() -> Cancelled:
    """Return the error of a unit whose caller went away."""
    return Cancelled("The call was cancelled and rolled back.")


def was_interrupted(error: BaseException) -> bool:
    """Tell whether an error comes of an interrupt."""
    # The guard has translated those of its statements already.
    return isinstance(error, Cancelled) or getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT"


def why_interrupted(unit: Unit, error: BaseException) -> BaseException:
    """Return the error that an interrupted unit's caller sees."""
    if time.monotonic() >= unit.deadline:
        return deadline_error()
    return given_up() if unit.cancelled else error


def spurious(unit: Unit) -> bool:
    """Tell whether an interrupt that was meant for the unit before hit this one."""
    return (
        unit.error is not None
        and was_interrupted(unit.error)
        and not unit.cancelled
        and time.monotonic() < unit.deadline
    )
