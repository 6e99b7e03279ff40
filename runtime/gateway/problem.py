"""The one error shape of the edge: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json

from runtime.errors import DuraliteError
from runtime.values import dumps

__all__ = ("problem_json",)


def problem_json(error: DuraliteError, instance: str | None, request_id: str | None) -> bytes:
    """Return an error's members as JSON; text that is not Unicode is escaped."""
    problem = error.to_problem()
    if instance is not None:
        problem["instance"] = instance
    if request_id is not None:
        problem["request_id"] = request_id
    try:
        return dumps(problem)
    except TypeError:
        return json.dumps(problem, default=str).encode()
