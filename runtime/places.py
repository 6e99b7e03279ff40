"""Places bound how many actors are open at once: `max_open` of all types, fewer of a type that says so.

An actor that opens takes a place and gives it back when it is closed. Whoever finds no place waits in line, and for the
first in line the least recently used idle actor is closed. From then on a few places are kept free for a while, so that
those who open next need not wait for a closing. One that anything runs in is never closed so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from runtime.ids import ActorAddress

if TYPE_CHECKING:
    from runtime.instance import Instance

__all__ = ("Opening", "Places")

_SPARE_OF = 12


class Places:
    """The places of one host."""

    def __init__(
        self,
        most: int,
        most_of: Callable[[str], int | None],
        live: Callable[[], Iterable[Instance]],
        evict: Callable[[Instance], Coroutine[Any, Any, None]],
    ) -> None:
        self._most = most
        # None of a small number: there each place counts.
        self._comfortable = most - most // _SPARE_OF
        # For so many openings more places are kept free. Not for ever: as many actors as there are places, all in use,
        # would else push each other out without end.
        self._spared = 0
        self._most_of = most_of
        self._live = live
        self._evict = evict
        self._taken: Counter[str] = Counter()
        self._line: dict[asyncio.Future[None], str] = {}
        self._leaving: dict[asyncio.Task[None], Instance] = {}

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken.total()

    @property
    def crowded(self) -> bool:
        """Whether anybody waits for a place."""
        return bool(self._line)

    async def take(self, address: ActorAddress) -> None:
        """Return when a place is taken, in the order of asking."""
        if not self._line and self.taken < self._most and not self._is_full_of(address.type):
            self._taken[address.type] += 1
            return
        if self.taken >= self._most:
            self._spared = self._most
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[place] = address.type
        self.serve()
        try:
            await place
        except asyncio.CancelledError:
            if self._line.pop(place, None) is None and not place.cancelled():
                self.free(address)  # it was given in the very moment in which nobody wanted it any more
            raise

    def make_room(self) -> None:
        """Close an idle actor if less places are free than should be. Called after each opening."""
        if self._spared <= 0:
            return
        self._spared -= 1
        for _ in range(2):  # one for the opening that was, one to come nearer to what should be free
            if self.taken - len(self._leaving) <= self._comfortable or (victim := self._idle(None)) is None:
                return
            self._close(victim)

    def free(self, address: ActorAddress) -> None:
        """Give a place back."""
        self._taken[address.type] -= 1
        self.serve()

    def serve(self) -> None:
        """Give places to those in line, and close idle actors for them. Called whenever an actor comes to rest."""
        given = []
        coming = len(self._leaving)
        for place, type_name in self._line.items():
            if place.done():  # its waiter went away, and has not taken it off the line yet
                continue
            full = self._is_full_of(type_name)
            if not full and self.taken < self._most:
                self._taken[type_name] += 1
                given.append(place)
            elif coming:
                coming -= 1  # one that closes already makes room for this one
            elif (victim := self._idle(type_name if full else None)) is not None:
                self._close(victim)
            elif not full:
                break  # nobody further back will find more
        for place in given:
            del self._line[place]
            place.set_result(None)

    def _close(self, victim: Instance) -> None:
        task = asyncio.get_running_loop().create_task(self._evict(victim))
        self._leaving[task] = victim
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._leaving[task]
        if not task.cancelled():
            task.exception()  # `evict` reports what went wrong; the place is free all the same
        self.serve()

    def _idle(self, type_name: str | None) -> Instance | None:
        leaving = self._leaving.values()
        idle = [
            i
            for i in self._live()
            if not (i.busy or i.closing or i in leaving) and type_name in (None, i.address.type)
        ]
        return min(idle, key=lambda i: i.last_used, default=None)

    def _is_full_of(self, type_name: str) -> bool:
        own = self._most_of(type_name)
        return own is not None and self._taken[type_name] >= own


class Opening:
    """An actor on its way to being live, and how many calls wait for it.

    It goes on when a caller goes away: what half an opening leaves behind would be a second connection. It is
    given up only while it waits for a place and nobody waits for it.
    """

    __slots__ = ("instance", "placed", "task", "wanted")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.instance: Instance | None = None
        self.placed = False
        self.wanted = 0

    async def wait(self, seconds: float | None) -> bool:
        """Wait for the end, at most so long, and return whether it came; the actor is held open meanwhile."""
        self.wanted += 1
        if self.instance is not None:
            self.instance.held += 1
        try:
            done, _ = await asyncio.wait({self.task}, timeout=seconds)
            return bool(done)
        finally:
            self.wanted -= 1
            if self.instance is not None:
                self.instance.held -= 1
            elif not self.wanted:
                self.give_up()

    def give_up(self) -> None:
        """End it if it still waits for a place."""
        if not self.placed:
            self.task.cancel()
