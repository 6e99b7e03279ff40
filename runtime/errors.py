"""Errors are part of the interface: every one says what happened, why, and what to do instead.

One tree, rooted at `DuraliteError`. A class carries its `code` (stable, snake_case, what a program
tests for) and its HTTP `status`; the instance carries `message`, `hint` (what to write instead, so that a
model can mend its own call), `limit` (the setting that cut, if one did) and `extra` (plain data).
`to_problem()` gives the members of RFC 9457 that every edge (HTTP, CLI, sandbox, MCP) shows alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

__all__ = (
    "ActorClosed",
    "ActorDeadlock",
    "ActorNotFound",
    "ActorOverloaded",
    "BadRequest",
    "Cancelled",
    "Conflict",
    "CorruptDatabase",
    "DeadlineExceeded",
    "DuraliteError",
    "Forbidden",
    "GuardRefused",
    "IdempotencyConflict",
    "InputError",
    "InternalError",
    "Interrupted",
    "LimitExceeded",
    "MethodNotAllowed",
    "MethodNotFound",
    "Misdirected",
    "NotFound",
    "PayloadTooLarge",
    "RateLimited",
    "Rejected",
    "RequestTimeout",
    "SqlError",
    "StorageFull",
    "ToolError",
    "TypeNotFound",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "from_problem",
)


class DuraliteError(Exception):
    """The root of all errors that a caller may see."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        limit: str | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.limit = limit
        self.retry_after = retry_after
        self.extra = extra

    def to_problem(self) -> dict[str, Any]:
        """Return the RFC 9457 members, without `instance` and `request_id`, which the edge adds."""
        problem: dict[str, Any] = {
            "type": f"/docs/errors#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
        }
        if self.hint is not None:
            problem["hint"] = self.hint
        if self.limit is not None:
            problem["limit"] = self.limit
        if self.retry_after is not None:
            problem["retry_after"] = self.retry_after
        problem.update(self.extra)
        return problem


class InputError(DuraliteError):
    """Raised when a request is malformed: a wrong type, a missing field, a value out of range."""

    code, status, title = "invalid_input", 422, "The request is not valid"


class BadRequest(InputError):
    """Raised when a request cannot even be read: not HTTP, not JSON, not UTF-8."""

    code, status, title = "malformed_request", 400, "The request cannot be read"


class MethodNotAllowed(DuraliteError):
    """Raised when a path exists and not for this HTTP method; `allow` lists those it has."""

    code, status, title = "method_not_allowed", 405, "Not with this HTTP method"


class RequestTimeout(DuraliteError):
    """Raised when a request did not arrive whole in time."""

    code, status, title = "request_timeout", 408, "The request did not arrive in time"


class UnsupportedMediaType(DuraliteError):
    """Raised when a body comes in a format that the route does not read."""

    code, status, title = "unsupported_media_type", 415, "The body has the wrong content type"


class Misdirected(DuraliteError):
    """Raised when the Host header names a host that this service does not answer for."""

    code, status, title = "misdirected_request", 421, "Not this host"


class NotFound(DuraliteError):
    """Raised when a named thing does not exist, or is not the caller's to see."""

    code, status, title = "not_found", 404, "Not found"


class TypeNotFound(NotFound):
    """Raised when an actor type is not registered."""

    code, title = "type_not_found", "Unknown actor type"


class MethodNotFound(NotFound):
    """Raised when an actor type has no such method."""

    code, title = "method_not_found", "Unknown method"


class ActorNotFound(NotFound):
    """Raised when a call needs an actor that was never made, or was deleted."""

    code, title = "actor_not_found", "Unknown actor"


class Conflict(DuraliteError):
    """Raised when the call does not fit the present state (a name taken, a version passed)."""

    code, status, title = "conflict", 409, "Conflict"


class IdempotencyConflict(DuraliteError):
    """Raised when an Idempotency-Key comes back with another body."""

    code, status, title = "idempotency_conflict", 422, "Idempotency-Key reused"


class Unauthorized(DuraliteError):
    """Raised when no key, or no valid key, came with the request."""

    code, status, title = "unauthorized", 401, "A key is needed"


class Forbidden(DuraliteError):
    """Raised when the key is valid and lacks the scope."""

    code, status, title = "forbidden", 403, "The key may not do this"


class RateLimited(DuraliteError):
    """Raised when a key used up its rate; `retry_after` is in seconds."""

    code, status, title = "rate_limited", 429, "Too many requests"


class LimitExceeded(DuraliteError):
    """Raised when a limit refuses the call; `limit` names the setting."""

    code, status, title = "limit_exceeded", 422, "A limit was reached"


class PayloadTooLarge(LimitExceeded):
    """Raised when a request body or an uploaded file is over its limit."""

    code, status, title = "payload_too_large", 413, "The body is too large"


class GuardRefused(DuraliteError):
    """Raised when the guard refuses a statement; `rule` names the guard rule (docs/reference/guard.md)."""

    code, status, title = "guard_refused", 403, "The statement is not allowed"

    def __init__(self, message: str, *, rule: str, hint: str | None = None, **extra: Any) -> None:
        super().__init__(message, hint=hint, rule=rule, **extra)
        self.rule = rule


class SqlError(DuraliteError):
    """Raised when SQLite refuses a statement. `sqlite_name` is the result code's name (`SQLITE_CONSTRAINT_UNIQUE`).

    `exception` is the DB-API class (`OperationalError`, `IntegrityError`, …), which sandboxed code sees.
    """

    code, status, title = "sql_error", 422, "The database refused the statement"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        exception: str = "OperationalError",
        sqlite_name: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message, hint=hint, exception=exception, sqlite_name=sqlite_name, **extra)
        self.exception = exception
        self.sqlite_name = sqlite_name


class StorageFull(DuraliteError):
    """Raised when an actor's file reached its size limit, or the disk its floor."""

    code, status, title = "storage_full", 507, "The database is full"


class CorruptDatabase(DuraliteError):
    """Raised when a file is not a database or fails SQLite's checks."""

    code, status, title = "corrupt_database", 500, "The database file is damaged"


class ToolError(DuraliteError):
    """Raised when a tool of a connected server failed; the message is the server's, made safe to show."""

    code, status, title = "tool_error", 502, "A tool failed"


class Interrupted(ToolError):
    """Raised in a resumed run for a call that was under way when the service ended: it may have happened."""

    code, status, title = "interrupted", 502, "A call was cut off"


class Rejected(DuraliteError):
    """Raised in a program for a call that somebody was asked about, and rejected."""

    code, status, title = "rejected", 403, "The call was rejected"


class DeadlineExceeded(DuraliteError):
    """Raised when a call did not end by its deadline; its transaction was rolled back."""

    code, status, title = "deadline_exceeded", 504, "The deadline passed"


class Cancelled(DuraliteError):
    """Raised when the caller went away, and its call was interrupted and rolled back."""

    code, status, title = "cancelled", 499, "The call was cancelled"


class ActorOverloaded(DuraliteError):
    """Raised when an actor's mailbox is full; the call was not started, a retry is safe."""

    code, status, title = "actor_overloaded", 503, "The actor is overloaded"


class ActorDeadlock(DuraliteError):
    """Raised when a chain of calls comes back to an actor that waits in it; `chain` lists the calls."""

    code, status, title = "actor_deadlock", 409, "The call chain comes back to a waiting actor"


class ActorClosed(DuraliteError):
    """Raised when an actor was deleted or closed while the call waited."""

    code, status, title = "actor_closed", 503, "The actor closed"


class Unavailable(DuraliteError):
    """Raised when the service starts, drains or lacks a part that the call needs."""

    code, status, title = "unavailable", 503, "Not available now"

    @classmethod
    def lacks(cls, package: str, extra: str) -> Self:
        """Return the error of a part whose optional package is not installed."""
        return cls(
            f"This needs the package {package}, which is not installed.",
            hint=f"Install it for the service: pip install 'duralite[{extra}]'"
            f" (in a checkout: pip install -e '.[{extra}]').",
        )


class InternalError(DuraliteError):
    """Raised in place of an unforeseen exception; the log has the trace under the request id."""

    code, status, title = "internal_error", 500, "Something went wrong inside"


def from_problem(problem: Mapping[str, Any]) -> DuraliteError:
    """Return the error that a problem was made of (`to_problem`), of the nearest class that is known here."""
    kinds = [DuraliteError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    code = problem.get("code")
    found = next((kind for kind in kinds if kind.code == code), InternalError)
    error = found.__new__(found)
    members = dict(problem)
    for name in ("type", "title", "status", "code"):
        members.pop(name, None)
    message = str(members.pop("detail", found.title))
    DuraliteError.__init__(
        error,
        message,
        hint=members.pop("hint", None),
        limit=members.pop("limit", None),
        retry_after=members.pop("retry_after", None),
        **members,
    )
    vars(error).update(members)
    return error
