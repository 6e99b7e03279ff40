"""The parts of an outcome: the words for each limit, and the checks on what a program reports of itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..engine import ErrorInfo, Limits

__all__ = ("LIMITS", "error_info", "limit_reached", "number_of", "text_of")

_TEXT_CHARS = 20_000

LIMITS = {
    "wall_s": (
        "The program ran longer than its time limit of {} s.",
        "Do less in one run, or let SQL do the work; keep progress in `db` and go on in the next run.",
    ),
    "cpu_s": (
        "The program used more processor time than its time limit of {} s.",
        "Look for an endless loop, or let SQL do the work.",
    ),
    "memory_bytes": (
        "The program used more memory than its limit of {} bytes.",
        "Go through the rows in pages.",
    ),
    "output_bytes": (
        "The program went on printing far past the output limit of {} bytes.",
        "Print a summary; keep the data in a table of `db`.",
    ),
    "result_bytes": (
        "The value at the end is larger than {} bytes of JSON.",
        "End with a summary, or a page of it; keep the data in a table of `db`.",
    ),
    "calls": (
        "The program made more than {} helper calls.",
        "Use db.batch_insert for many rows, and one query with IN or JOIN instead of one per row.",
    ),
    "in_flight": (
        "The program had more than {} helper calls under way at once.",
        "Await some before the next.",
    ),
}


def limit_reached(name: str, limits: Limits) -> dict[str, Any]:
    """Return the end of a run by a limit, as plain data."""
    value = getattr(limits, name)
    message, hint = LIMITS[name]
    shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    error = {"type": "LimitExceeded", "message": message.format(shown), "hint": hint}
    return {"status": "limit", "limit": name, "error": error}


def error_info(error: Mapping[str, Any]) -> ErrorInfo:
    """Check the parts of an error that a program reported."""
    line = error.get("line")
    return ErrorInfo(
        type=text_of(error.get("type")) or "Error",
        message=text_of(error.get("message")) or "",
        line=line if type(line) is int and 0 < line < 1 << 31 else None,
        hint=text_of(error.get("hint")),
        traceback=text_of(error.get("traceback")) or "",
        code=text_of(error.get("code")),
    )


def text_of(value: Any) -> str | None:
    """Return text, cut; None for what is none."""
    return value[:_TEXT_CHARS] if type(value) is str else None


def number_of(value: Any) -> float:
    """Return a finite, positive number; 0 for what is none."""
    if type(value) is bool or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return min(max(float(value), 0.0), 1e15)
