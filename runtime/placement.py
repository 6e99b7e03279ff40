"""Placement says which host an actor lives on. One machine has one answer; the seam is kept for more."""

from __future__ import annotations

from typing import Protocol

from runtime.ids import ActorId

__all__ = ("LocalPlacement", "Placement")


class Placement(Protocol):
    """Where actors live."""

    def owner(self, actor: ActorId) -> str | None:
        """Return the base URL of the host that owns an actor, or None when it is this one."""
        ...


class LocalPlacement:
    """Every actor lives here."""

    __slots__ = ()

    def owner(self, actor: ActorId) -> str | None:
        """Return None: this host."""
        return None
