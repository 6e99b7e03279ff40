"""Ends of runs that the engine did not give: pauses, divergence, refusals, what cannot go on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from helpers.check import Report
from sandbox.engine import Usage
from sandbox.runs.funnel import Funnel
from sandbox.runs.journal import Divergence, Journal
from sandbox.runs.result import RunError, RunResult

__all__ = ("cancelled", "diverged", "refused", "stopped", "unresumable")


def stopped(status: Any, run: str, funnel: Funnel | None, error: RunError | None) -> RunResult:
    """Return the result of an attempt as far as it came; None for the funnel of one that never began."""
    text = "".join(funnel.printed) if funnel else ""
    calls, count, writes = (funnel.calls, funnel.count, funnel.writes) if funnel else ([], 0, 0)
    return RunResult(
        status,
        None,
        error,
        text.removesuffix("\n").split("\n") if text else [],
        calls,
        asdict(Usage(calls=count)),
        {"written": writes > 0, "write_calls": writes, "retry_safe": writes == 0},
        id=run,
    )


def diverged(divergence: Divergence, journal: Journal, when: str) -> RunError:
    """Return the error of a program that did something else than its record says."""
    left = [f"{each.name} with {each.args}" for each in journal.left[:3]]
    recorded = f" The record has: {'; '.join(left)}." if left else ""
    return RunError(
        "Divergence",
        f"The program does not do what it did {when}: {divergence}.{recorded}",
        hint="What a program does may depend on inputs, seed, clock and helper results alone. Run it again.",
        code="divergence",
    )


def refused(report: Report) -> RunError:
    """Return the error of a program that was not run because of what a look at it found."""
    first, *more = report.errors
    message = "".join((first.message, *(f" Line {each.line}: {each.message}" for each in more)))
    return RunError("CheckError", message, first.line, first.hint, code="check_error")


def unresumable(times: int | None) -> RunError:
    """Return the error of a run that cannot go on: taken up so many times, or (None) its journal was too large."""
    why = (
        "its journal grew over run_journal_bytes"
        if times is None
        else f"it was taken up {times} times already, and the service ended each time"
    )
    return RunError(
        "Interrupted",
        f"The service ended while the program ran, and it cannot go on: {why}.",
        hint="See in the record what it has done, then run what is left of it.",
        code="interrupted",
    )


def cancelled() -> RunError:
    """Return the error of a run whose caller went away, or that was cancelled."""
    return RunError("Cancelled", "The caller went away, or the run was cancelled.", code="cancelled")
