"""A call's context travels with it: who asks, until when, and through which actors.

It is a context variable, so everything that a turn awaits sees it: SQL, other actors, sandboxed runs.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, replace

__all__ = ("LOCAL_ACCOUNT", "CallContext", "current_context", "use_context")

LOCAL_ACCOUNT = "local"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call carries.

    `deadline` is a moment of `time.monotonic()`, or None for no deadline yet. `chain` holds
    (actor id, label) of every turn that waits for this call. `scopes` are those of the caller's key, None where
    there is none to ask: a call from inside.
    """

    account: str = LOCAL_ACCOUNT
    deadline: float | None = None
    chain: tuple[tuple[str, str], ...] = ()
    request_id: str | None = None
    scopes: frozenset[str] | None = None

    def within(self, seconds: float) -> CallContext:
        """Return the context with a deadline at most `seconds` from now: never later than the present one."""
        deadline = time.monotonic() + seconds
        if self.deadline is not None and self.deadline <= deadline:
            return self
        return CallContext(self.account, deadline, self.chain, self.request_id, self.scopes)

    def until(self, deadline: float) -> CallContext:
        """Return the context with this deadline (a moment of `time.monotonic()`)."""
        return CallContext(self.account, deadline, self.chain, self.request_id, self.scopes)

    def entered(self, actor: str, label: str) -> CallContext:
        """Return the context for what a turn of `actor` calls."""
        return replace(self, chain=(*self.chain, (actor, label)))

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline (negative when passed), or None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_current: ContextVar[CallContext] = ContextVar("duralite_call", default=CallContext())  # noqa: B039 - frozen

current_context = _current.get
use_context = _current.set
