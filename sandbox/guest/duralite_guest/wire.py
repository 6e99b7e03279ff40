"""The channel is the one way out of a child: frames over a stream socket, `length (u32, little endian) kind body`.

To the host: `C` call [index, name, args, kwargs], `X` forget call (its index), `O`/`E` output, `L` a limit
was reached (its name), `D` done. From the host: `J` job, `W` probe, `R` reply [index, "ok"|"error", value].

What the program awaits is handed over one reply at a time, each when the program has come to rest after the one
before. So what it does depends on the order of the replies, and not on how many came at once: a run that is
resumed with the same replies in the same order does the same.

Sending never waits without reading: replies are taken in while the socket is full, so that any number of
calls in flight cannot lock both sides. Everything used here is bound before user code runs, so that user
code which rewrites modules breaks its own run at worst.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Collection
from typing import Any, NoReturn

from . import codec

__all__ = ("CallFailed", "Channel")

_CHUNK = 262144
_DONTWAIT = socket.MSG_DONTWAIT
_FLUSH_AT = 65536
_MOST_RESTLESS = 1_000


class CallFailed(Exception):
    """Carries an error reply to the stub that turns it into the user's exception."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__()
        self.details = details


class Channel:
    """Frames to and from the host, with calls that block and calls that are awaited."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._fd = fd
        self._ready = select.poll()
        self._ready.register(fd, select.POLLIN | select.POLLOUT)
        self._received = bytearray()
        self._unsent = bytearray()
        self._replies: dict[int, tuple[str, Any]] = {}
        self._blocked_on: set[int] = set()
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._arrived: deque[tuple[asyncio.Future[Any], str, Any]] = deque()
        self._ready_to_run: Collection[Any] = ()
        self._pumping = False
        self._restless = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_planned = False
        self._next_index = 0
        self._open_calls = 0
        self._frame_bytes = 16 * 1024 * 1024
        self._in_flight = 256
        self._depth = 64

    def configure(self, limits: dict[str, Any]) -> None:
        """Take the job's limits. They make honest code fail early with a clear error; the host enforces its own."""
        self._frame_bytes = int(limits["frame_bytes"])
        self._in_flight = int(limits["in_flight"])
        self._depth = int(limits["depth"])

    def waiting(self) -> bool:
        """Tell whether something from the host is there to be read."""
        return any(event & select.POLLIN for _, event in self._ready.poll(0))

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Make a call and block until its reply. Raises `CallFailed` with an error reply."""
        index = self._send_call(name, args, kwargs)
        self._flush()
        self._open_calls += 1
        self._blocked_on.add(index)
        try:
            while index not in self._replies:
                self._read(0)
            return _unpack(*self._replies.pop(index))
        finally:
            self._open_calls -= 1
            self._blocked_on.discard(index)

    async def call_soon(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Make a call and await its reply; many go on at once, up to the limit, the rest in order."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # What another loop left is nobody's any more.
            self._arrived.clear()
            self._pumping = False
            self._loop = loop
            self._ready_to_run = getattr(loop, "_ready", ())
            loop.add_reader(self._fd, self._on_readable)
        while self._open_calls >= self._in_flight - 1:  # one is kept for a call that blocks
            turn: asyncio.Future[None] = loop.create_future()
            self._turns.append(turn)
            await turn
        index = self._send_call(name, args, kwargs)
        self._plan_flush(loop)
        future: asyncio.Future[Any] = loop.create_future()
        self._futures[index] = future
        self._open_calls += 1
        try:
            return _unpack(*await future)
        except asyncio.CancelledError:
            if self._futures.pop(index, None) is not None:
                self._queue(b"X", str(index).encode())
                self._plan_flush(loop)
            raise
        finally:
            self._open_calls -= 1
            self._next_turn()

    def write(self, kind: bytes, body: bytes) -> None:
        """Send one frame at once."""
        self._queue(kind, body)
        self._flush()

    def finish(self, report: dict[str, Any]) -> None:
        """Send the last frame of the run."""
        self.write(b"D", codec.encode(report, 1_000).encode("utf-8", "replace"))

    def finish_encoded(self, value: bytes, report: dict[str, Any]) -> None:
        """Send the last frame, with the value already encoded."""
        rest = codec.encode(report, 100).encode("utf-8", "replace")
        self.write(b"D", b'{"value":' + value + b"," + rest[1:])

    def hold(self) -> NoReturn:
        """Wait for the end: the host looks at what the process used, and kills it."""
        while True:
            self._fill(0)
            self._received.clear()

    def receive(self) -> tuple[bytes, bytearray]:
        """Block until one whole frame is there, and return its kind and body."""
        while True:
            frame = self._take_frame()
            if frame is not None:
                return frame
            self._fill(0)

    def _send_call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> int:
        body = codec.encode([self._next_index, name, args, kwargs], self._depth + 2).encode()
        if len(body) + 1 > self._frame_bytes:
            raise ValueError(
                f"the arguments of {name} take {len(body):,} bytes, more than the limit of "
                f"{self._frame_bytes:,} (frame_bytes); send them in smaller batches"
            )
        index = self._next_index
        self._next_index += 1
        self._queue(b"C", body)
        return index

    def _queue(self, kind: bytes, body: bytes) -> None:
        self._unsent += (len(body) + 1).to_bytes(4, "little") + kind + body

    def _plan_flush(self, loop: asyncio.AbstractEventLoop) -> None:
        # Calls made in the same step of the loop go out together.
        if len(self._unsent) >= _FLUSH_AT:
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent, _DONTWAIT)
            except BlockingIOError:
                for _, event in self._ready.poll():
                    if event & ~select.POLLOUT:
                        self._read(_DONTWAIT)
                continue
            except OSError:
                os._exit(0)  # the host is gone
            del self._unsent[:sent]

    def _on_readable(self) -> None:
        self._read(_DONTWAIT)

    def _read(self, flags: int) -> None:
        self._fill(flags)
        while (frame := self._take_frame()) is not None:
            index, status, value = codec.decode(str(frame[1], "utf-8"))
            future = self._futures.pop(index, None)
            if index in self._blocked_on:
                self._replies[index] = (status, value)
            elif future is not None and not future.done():
                self._arrived.append((future, status, value))
                if not self._pumping and self._loop is not None:
                    self._pumping = True
                    self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Hand over the next reply, once nothing else is ready to run; a program that never rests gets it anyway."""
        if self._ready_to_run and self._restless < _MOST_RESTLESS:
            self._restless += 1
        else:
            self._restless = 0
            future, status, value = self._arrived.popleft()
            if not future.done():
                future.set_result((status, value))
        if self._arrived and self._loop is not None:
            self._loop.call_soon(self._pump)
        else:
            self._pumping = False

    def _fill(self, flags: int) -> None:
        try:
            data = self._socket.recv(_CHUNK, flags)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os._exit(0)  # the host is gone
        self._received += data

    def _take_frame(self) -> tuple[bytes, bytearray] | None:
        received = self._received
        if len(received) < 4:
            return None
        end = 4 + int.from_bytes(received[:4], "little")
        if len(received) < end:
            return None
        frame = bytes(received[4:5]), received[5:end]
        del received[:end]
        return frame

    def _next_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _unpack(status: str, value: Any) -> Any:
    if status != "ok":
        raise CallFailed(value)
    return value
