"""A failure is a problem (RFC 9457), from the service or from here, and one exit code that a script can test.

0 ok, 1 failed, 2 usage, 3 refused by the guard, 4 not found, 5 a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.errors import DuraliteError

__all__ = (
    "FAILED",
    "LIMIT",
    "NOT_FOUND",
    "OK",
    "REFUSED",
    "USAGE",
    "ServiceError",
    "exit_code",
    "problem_of",
)

OK, FAILED, USAGE, REFUSED, NOT_FOUND, LIMIT = range(6)

_LIMIT_CODES = frozenset(
    {
        "actor_overloaded",
        "deadline_exceeded",
        "limit_exceeded",
        "payload_too_large",
        "rate_limited",
        "storage_full",
    }
)


class ServiceError(Exception):
    """Raised when the service answered with a problem; `problem` holds its members."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail", problem.get("title", "The service refused the call."))))
        self.problem = dict(problem)


def problem_of(error: DuraliteError | ServiceError) -> dict[str, Any]:
    """Return the members of the problem that an error stands for."""
    return error.problem if isinstance(error, ServiceError) else error.to_problem()


def exit_code(problem: Mapping[str, Any]) -> int:
    """Return the exit code that belongs to a problem."""
    code = problem.get("code")
    if code == "guard_refused":
        return REFUSED
    if problem.get("status") == 404:
        return NOT_FOUND
    if code in _LIMIT_CODES or problem.get("limit") is not None:
        return LIMIT
    return FAILED
