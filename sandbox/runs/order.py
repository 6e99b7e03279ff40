"""Order: results that a program awaits leave in the order of their places, one place for each that came.

What a program does depends on which result it sees first. So each result takes the next place when it has come, and
leaves when those before it have left or were given up; in a resumed run the recorded ones have the first places.
"""

from __future__ import annotations

import asyncio

__all__ = ("Order",)


class Order:
    """The places of one attempt at a run; the first `recorded` are those of the record."""

    def __init__(self, recorded: int) -> None:
        self._recorded = recorded
        self._taken = recorded
        self._left = 0
        self._given_up: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @property
    def caught_up(self) -> bool:
        """Whether every recorded result has left."""
        return self._left >= self._recorded

    def take(self) -> int:
        """Take the next place."""
        place, self._taken = self._taken, self._taken + 1
        return place

    async def turn(self, place: int, seconds: float | None = None) -> None:
        """Return when the results before this place have left; the place has left then, also if that fails.

        Raises:
            TimeoutError: the turn did not come within `seconds`.
        """
        try:
            if place != self._left:
                turn = self._waiting[place] = asyncio.get_running_loop().create_future()
                async with asyncio.timeout(seconds):
                    await turn
        finally:
            # The caller awaits nothing from here on, so that the results leave as their turns come.
            self.leave(place)

    def leave(self, place: int) -> None:
        """Let the places after this one have their turn."""
        self._waiting.pop(place, None)
        self._given_up.add(place)
        while self._left in self._given_up:
            self._given_up.discard(self._left)
            self._left += 1
        following = self._waiting.get(self._left)
        if following is not None and not following.done():
            following.set_result(None)
