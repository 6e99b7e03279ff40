"""A cache keeps answers, within a number and a size; the one that was asked for longest ago goes first.

The key of an answer holds the state of every file that it came from (`versions`), so an answer of an older state is
never found. That files change also drops their answers at once, which makes room and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ("Cache", "CacheStats")

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """A snapshot: entries, their size in bytes, and how often something was found and not found."""

    entries: int
    size: int
    hits: int
    misses: int


class Cache(Generic[V]):
    """Values by key, each with the tags (ids of sources) whose change drops it."""

    def __init__(self, entries: int, size: int) -> None:
        self._most = entries
        self._most_bytes = size
        self._held: OrderedDict[Hashable, tuple[V, int, frozenset[str]]] = OrderedDict()
        self._by_tag: dict[str, set[Hashable]] = {}
        self._bytes = 0
        self.hits = self.misses = 0

    def get(self, key: Hashable) -> V | None:
        """Return a value, or None; count which it was."""
        found = self._held.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: V, size: int, tags: frozenset[str]) -> None:
        """Keep a value of so many bytes; one that is larger than a quarter of the room is not kept."""
        if size > self._most_bytes // 4 or not self._most:
            return
        self._remove(key)
        self._held[key] = (value, size, tags)
        self._bytes += size
        for tag in tags:
            self._by_tag.setdefault(tag, set()).add(key)
        while len(self._held) > self._most or self._bytes > self._most_bytes:
            self._remove(next(iter(self._held)))

    def drop(self, tag: str) -> int:
        """Forget everything with a tag and return how much it was."""
        keys = list(self._by_tag.get(tag, ()))
        for key in keys:
            self._remove(key)
        return len(keys)

    def _remove(self, key: Hashable) -> None:
        found = self._held.pop(key, None)
        if found is None:
            return
        self._bytes -= found[1]
        for tag in found[2]:
            keys = self._by_tag[tag]
            keys.discard(key)
            if not keys:
                del self._by_tag[tag]

    def stats(self) -> CacheStats:
        """Return a snapshot."""
        return CacheStats(len(self._held), self._bytes, self.hits, self.misses)
