"""Kept is what was made of a tuple of helper specs, remembered for that very tuple.

Specs are frozen and a change makes new ones, so identity is enough to know them again, and far cheaper than to
compare them. What is kept is bounded: past the bound everything is forgotten and made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from helpers.spec import HelperSpec

__all__ = ("Kept",)

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Remembers what `make` made of the last specs."""

    def __init__(self, make: Callable[[tuple[HelperSpec, ...]], Made], most: int = 64) -> None:
        self._make = make
        self._most = most
        # The specs are held too: while they are, no other tuple can have their id.
        self._held: dict[int, tuple[tuple[HelperSpec, ...], Made]] = {}

    def of(self, specs: tuple[HelperSpec, ...]) -> Made:
        """Return what belongs to these specs."""
        held = self._held.get(id(specs))
        if held is None or held[0] is not specs:
            if len(self._held) >= self._most:
                self._held.clear()
            held = self._held[id(specs)] = (specs, self._make(specs))
        return held[1]
