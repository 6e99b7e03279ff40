"""Output goes to the host as it is written, one frame a print, so that it survives whatever ends the run.

Over its bound output is cut: the host is sent just enough to see it, the rest is dropped here. A program
that goes on and on printing is ended.
"""

from __future__ import annotations

import io
from typing import Any

from .wire import Channel

__all__ = ("Writer",)

# How many times the bound may be thrown away before a flood is called a flood.
_FLOOD_FACTOR = 256
# What the smallest write counts for, so that a flood of short lines ends in bounded time too.
_SMALLEST_WRITE = 64
_HOLD = 4096


class _Budget:
    def __init__(self, limit: int) -> None:
        self.left = limit + 1
        self.waste = limit * _FLOOD_FACTOR


class Writer(io.TextIOBase):
    """A text stream to the host."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, channel: Channel, limit: int) -> None:
        self._send = channel.write
        self._kind = b"O"
        self.name = "<stdout>"
        self._budget = _Budget(limit)
        self._held: list[str] = []
        self._held_size = 0
        self._other: Writer | None = None

    def sibling(self, kind: bytes, name: str) -> Writer:
        """Make the stream of another kind that shares this one's bound."""
        other = Writer.__new__(Writer)
        other.__dict__.update(self.__dict__, _kind=kind, name=name, _held=[], _held_size=0, _other=self)
        self._other = other
        return other

    def write(self, text: str) -> int:
        """Write text. An empty write is how `print` ends a piece without a newline."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes text, not {type(text).__name__}")
        text = str.__str__(text)
        size = len(text)
        if self._budget.left <= 0:
            self._drop(size)
            return size
        if size > self._budget.left:
            self._drop(size - self._budget.left)
            text = text[: self._budget.left]
        if self._other is not None and self._other._held:
            self._other.flush()  # the order of the two streams is kept
        self._held.append(text)
        self._held_size += len(text)
        if not size or self._held_size > _HOLD or text.endswith("\n"):
            self.flush()
        return size

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            data = "".join(self._held).encode("utf-8", "backslashreplace")
            self._held.clear()
            self._held_size = 0
            data = data[: max(self._budget.left, 0)]
            self._budget.left -= len(data)
            if data:
                self._send(self._kind, data)

    def finish(self) -> None:
        """Send what is held in both streams; user code has ended."""
        for stream in (self, self._other):
            if stream is not None:
                stream.flush()

    def _drop(self, size: int) -> None:
        self._budget.waste -= max(size, _SMALLEST_WRITE)
        if self._budget.waste < 0:
            self.flush()
            self._send(b"L", b"output_bytes")

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return False."""
        return False

    def fileno(self) -> int:
        """Raise: there is no descriptor behind."""
        raise io.UnsupportedOperation("the output of a program has no file descriptor")

    def close(self) -> None:
        """Do nothing: output stays open to the end of the run."""

    def __del__(self, *_: Any) -> None:
        return None
