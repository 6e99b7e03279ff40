"""What a caller learns of a tool server: its name, state and tools, and nothing of how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ("ServerInfo", "State")

State = Literal["connecting", "ready", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A snapshot of one tool server.

    `name` is the one in user code, `title` as it was written. `scope` tells whose it is: the whole service's, or this
    session's. `error` says why it cannot be used now; `problems` which tools were left out, and why.
    """

    name: str
    title: str
    scope: Literal["service", "session"]
    transport: Literal["stdio", "http"] | None
    state: State
    tools: int
    error: str | None = None
    problems: tuple[str, ...] = ()
    version: str | None = None
