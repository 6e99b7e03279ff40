"""The load is closed: so many connections, one request in flight on each, the next when the answer is whole.

One thread and one epoll, nothing in between, so that the client can outrun every server it measures on a core of
its own. Latency runs from the send to the last byte of the answer.
"""

from __future__ import annotations

import math
import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice

__all__ = ("Address", "Load", "LoadFailed", "ask", "closed_loop", "percentile")

Address = tuple[str, int]

_PIECE = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_PATIENCE_S = 60.0


class LoadFailed(Exception):
    """Raised when a server refuses, hangs up or does not answer: its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one sample saw. Times are in milliseconds, `client_cpu` in cores; `all_answers` counts the warm-up too."""

    answers: int
    all_answers: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    wall_s: float
    client_cpu: float


class _Reply:
    """One answer as it comes in."""

    __slots__ = ("_buffer", "_need")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = 0

    def take(self, piece: bytes) -> bytes | None:
        """Add what arrived; return the whole answer once it is there."""
        if not self._buffer:
            # Nearly every answer arrives in one piece: it is judged without a copy.
            if _answer_length(piece) == len(piece):
                return piece
            self._need = 0
        self._buffer += piece
        if not self._need:
            self._need = _answer_length(self._buffer)
        if 0 < self._need <= len(self._buffer) or (self._need < 0 and self._buffer.endswith(_LAST_CHUNK)):
            answer = bytes(self._buffer)
            self._buffer.clear()
            return answer
        return None


def _answer_length(answer: bytes | bytearray) -> int:
    """Return how long an answer will be; 0 while its head is not whole, -1 if it comes in chunks."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    length = _LENGTH(answer, 0, end)
    return -1 if length is None else end + 4 + int(length[1])


def _body(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if _LENGTH(head) is not None:
        return body
    out: list[bytes] = []
    at = 0
    while True:
        line = body.index(b"\r\n", at)
        size = int(body[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(out)
        out.append(body[line + 2 : line + 2 + size])
        at = line + 4 + size


def ask(address: Address, request: bytes) -> bytes:
    """Send one request on a connection of its own and return the body of the answer.

    Raises:
        LoadFailed: the answer is not a success.
    """
    with socket.create_connection(address, _PATIENCE_S) as connection:
        connection.sendall(request)
        reply = _Reply()
        while piece := connection.recv(_PIECE):
            if (answer := reply.take(piece)) is not None:
                if answer[9:10] != b"2":
                    raise LoadFailed(answer[:400].decode("utf-8", "replace"))
                return _body(answer)
    raise LoadFailed("The server hung up before it answered.")


def closed_loop(
    address: Address,
    requests: Sequence[bytes],
    connections: int,
    *,
    seconds: float = math.inf,
    count: int | None = None,
    warm_s: float = 0.0,
    until: Callable[[], bool] | None = None,
) -> Load:
    """Keep connections busy with the requests in turn, for so many seconds or (without repeating) requests.

    What ends within the first `warm_s` seconds is not counted. `until` ends the sample when it says so.

    Raises:
        LoadFailed: any answer is not a success.
    """
    supply: Iterator[bytes] = cycle(requests) if count is None else islice(cycle(requests), count)
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        lines: dict[int, tuple[socket.socket, _Reply]] = {}
        for _ in range(connections):
            line = stack.enter_context(socket.create_connection(address, _PATIENCE_S))
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.settimeout(None)  # a socket with a timeout polls before every call; epoll has done that
            lines[line.fileno()] = (line, _Reply())
            poll.register(line.fileno(), select.EPOLLIN)
        return _drive(poll, lines, supply, seconds, warm_s, until)


def _drive(
    poll: select.epoll,
    lines: dict[int, tuple[socket.socket, _Reply]],
    supply: Iterator[bytes],
    seconds: float,
    warm_s: float,
    until: Callable[[], bool] | None,
) -> Load:
    now = time.perf_counter
    cpu = time.process_time()
    begin = last = now()
    counted_from, stop = begin + warm_s, begin + warm_s + seconds
    sent: dict[int, float] = {}
    taken: list[float] = []
    answers = 0
    for number, (line, _) in lines.items():
        if (request := next(supply, None)) is not None:
            sent[number] = now()
            line.sendall(request)
    while sent:
        ready = poll.poll(_PATIENCE_S)
        if not ready:
            raise LoadFailed(f"No answer within {_PATIENCE_S:.0f} s.")
        for number, _ in ready:
            line, reply = lines[number]
            piece = line.recv(_PIECE)
            if not piece:
                raise LoadFailed("The server hung up.")
            answer = reply.take(piece)
            if answer is None:
                continue
            last = now()
            answers += 1
            if answer[9:10] != b"2":
                raise LoadFailed(answer[:400].decode("utf-8", "replace"))
            if last >= counted_from:
                taken.append(last - sent[number])
            if last >= stop or (until is not None and until()) or (request := next(supply, None)) is None:
                del sent[number]
                continue
            sent[number] = last
            line.sendall(request)
    return _summary(taken, answers, last - counted_from, (time.process_time() - cpu) / (last - begin))


def _summary(taken: list[float], answers: int, wall: float, client_cpu: float) -> Load:
    if not taken:
        raise LoadFailed("Nothing was answered in the time of the sample.")
    taken.sort()
    return Load(
        len(taken),
        answers,
        len(taken) / wall,
        percentile(taken, 0.5) * 1e3,
        percentile(taken, 0.99) * 1e3,
        taken[-1] * 1e3,
        wall,
        round(client_cpu, 3),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which so much of an ordered list lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
