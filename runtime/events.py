"""Events tell listeners what happens to an actor, in order, with a number each.

The last `events_kept` of an actor stay in memory, so that a reader that lost its connection goes on where it was
(`Last-Event-ID`). Numbers carry the start of the process: an id from before a restart, or one that has fallen
out of the ring, is answered with one `reset` event, after which the reader knows that it must look again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from runtime.ids import ActorId, new_token

__all__ = ("Event", "Events")

_ACTORS_REMEMBERED = 1_000
_QUEUE = 1_000
_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its id, its type (`job`, `alarm`, `deleted`, …), and plain data."""

    id: str
    type: str
    data: Any


@dataclass(slots=True)
class _Channel:
    ring: deque[Event]
    count: int
    listeners: set[asyncio.Queue[Event | None]] = field(default_factory=set)


class Events:
    """All channels of a host."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._boot = new_token(4)
        self._channels: OrderedDict[ActorId, _Channel] = OrderedDict()
        # A channel that was forgotten and made anew counts on from here, so that no number comes twice.
        self._highest = 0

    def publish(self, actor: ActorId, kind: str, data: Any) -> Event:
        """Send an event to whoever listens, and keep it for those who come back."""
        channel = self._channel(actor)
        channel.count += 1
        self._highest = max(self._highest, channel.count)
        event = Event(f"{self._boot}-{channel.count}", kind, data)
        channel.ring.append(event)
        for queue in list(channel.listeners):
            if queue.qsize() >= _QUEUE:
                # A reader that does not read is dropped, not waited for. What it has is without a gap, so that
                # it can resume by id.
                channel.listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)
        return event

    def position(self, actor: ActorId) -> str:
        """Return the id that `listen` goes on from to get every event after this moment."""
        return f"{self._boot}-{self._channel(actor).count}"

    async def listen(self, actor: ActorId, last_id: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield events from after `last_id` on (None: from now on), until the reader falls behind or stops."""
        channel = self._channel(actor)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        channel.listeners.add(queue)
        try:
            for event in self._missed(channel, last_id):
                yield event
            while (following := await queue.get()) is not None:
                yield following
        finally:
            channel.listeners.discard(queue)

    def _missed(self, channel: _Channel, last_id: str | None) -> list[Event]:
        if last_id is None:
            return []
        boot, _, number = last_id.rpartition("-")
        oldest = channel.count - len(channel.ring)
        known = boot == self._boot and number.isdecimal() and len(number) <= _DIGITS
        if not known or not oldest <= int(number) <= channel.count:
            return [
                Event(f"{self._boot}-{channel.count}", "reset", {"reason": "The id is not known any more."})
            ]
        return list(channel.ring)[int(number) - oldest :]

    def _channel(self, actor: ActorId) -> _Channel:
        channel = self._channels.get(actor)
        if channel is None:
            channel = self._channels[actor] = _Channel(deque(maxlen=self._keep), self._highest)
            if len(self._channels) > _ACTORS_REMEMBERED:
                for old, candidate in list(self._channels.items()):
                    if not candidate.listeners and old != actor:
                        del self._channels[old]
                        break
        return channel
