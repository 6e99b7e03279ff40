"""The host's end of a child's channel: frames on a raw socket, never blocking, every byte of it hostile.

Only `recv` reads here, never `recvmsg`: descriptors that a child might send are dropped by the kernel. What
is buffered is bounded: one frame by its limit, replies by the flow of calls that the run lets in.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

__all__ = ("Channel",)

# What is taken at one turn of the loop: many tiny frames must not hold up everybody else.
_CHUNK = 65536


class Channel:
    """Frames to and from one child. The callbacks run on the loop; `on_end` is called once, with the reason."""

    def __init__(
        self,
        sock: socket.socket,
        frame_bytes: int,
        on_frame: Callable[[int, bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._fd = sock.fileno()
        self._frame_bytes = frame_bytes
        self._on_frame = on_frame
        self._on_end = on_end
        self._received = bytearray()
        self._unsent = bytearray()
        self._flush_planned = False
        self._writing = False
        self._reading = False
        self._closed = False
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def backlog(self) -> int:
        """Bytes that the child has not taken yet."""
        return len(self._unsent)

    def open(self) -> None:
        """Start reading."""
        self.resume()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read (again)."""
        if not self._reading and not self._closed:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        if not self._closed:
            self.pause()
            if self._writing:
                self._loop.remove_writer(self._fd)
            self._closed = True
            self._socket.close()
            self._received.clear()
            self._unsent.clear()

    def send(self, kind: bytes, *parts: bytes, at_once: bool = True) -> None:
        """Send one frame; not `at_once`, frames of the same turn of the loop go out together."""
        if self._closed:
            return
        size = 1 + sum(map(len, parts))
        self.bytes_out += size + 4
        unsent = self._unsent
        unsent += size.to_bytes(4, "little")
        unsent += kind
        for part in parts:
            unsent += part
        if at_once and not self._writing:
            self._flush()
        elif not self._flush_planned and not self._writing:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._closed or not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # the reader sees the end, and says so
        del self._unsent[:sent]
        if self._unsent and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._flush)
        elif not self._unsent and self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.pause()
            self._on_end("closed")
            return
        self.bytes_in += len(data)
        self._received += data
        self._take_frames()

    def _take_frames(self) -> None:
        received = self._received
        at = 0
        while not self._closed and len(received) - at >= 4:
            size = int.from_bytes(received[at : at + 4], "little")
            if not 0 < size <= self._frame_bytes + 1:
                self.pause()
                self._on_end("frame")
                return
            if len(received) - at < 4 + size:
                break
            body = bytes(memoryview(received)[at + 5 : at + 4 + size])
            kind = received[at + 4]
            at += 4 + size
            self._on_frame(kind, body)
        if at and not self._closed:
            del received[:at]
