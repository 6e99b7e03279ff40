"""The inside of a worker process: take a task, run it, answer, and wait for the next.

It ends when the service does (the kernel sees to that), when its channel closes, or when it is killed, which is
how a task is cancelled. Nothing here is needed by the service itself.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import os
import resource
import signal
import socket
import sqlite3
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import DuraliteError, InternalError, LimitExceeded, SqlError, StorageFull, Unavailable
from runtime.workers.frames import HEAD, MEMORY, bounded, error_state, frame, unpack_head
from runtime.workers.task import is_task

__all__ = ("main",)

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(descriptor: int, parent: int) -> None:
    """Serve tasks until the channel closes."""
    _tie_to(parent)
    # What a crash would leave on the disk holds the data of whoever it was.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel = socket.socket(fileno=descriptor)
    hello = _take(channel)
    if hello is None:
        return
    options = orjson.loads(hello[1])
    sys.path[:] = options["path"]
    if options["nice"]:
        os.nice(options["nice"])
    channel.sendall(frame(b"U"))
    while (taken := _take(channel)) is not None:
        kind, body = _work(channel, orjson.loads(taken[1]))
        channel.sendall(frame(kind, MEMORY.pack(_memory()[1]) + body))
        # What is left is modules and caches: looked at once, and not again after each task, while the next waits.
        gc.collect()
        gc.freeze()


def _tie_to(parent: int) -> None:
    """Have the kernel end this process with the one that made it, and give it no rights that it has not."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


def _take(channel: socket.socket) -> tuple[bytes, bytes] | None:
    head = _exactly(channel, HEAD.size)
    if head is None:
        return None
    kind, length = unpack_head(head)
    body = _exactly(channel, length)
    return None if body is None else (kind, body)


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _work(channel: socket.socket, order: dict[str, Any]) -> tuple[bytes, bytes]:
    """Run one task and return the frame of its end."""

    def report(data: Mapping[str, Any]) -> None:
        channel.sendall(frame(b"P", orjson.dumps(dict(data))))

    _limit_memory(order["memory"])
    try:
        answer = _found(order["task"])(order["args"], report)
        if isinstance(answer, bytes):
            return b"B", bounded(answer)
        return b"R", bounded(orjson.dumps(answer))
    except Exception as error:  # the task's boundary: whatever it raises is its caller's to see
        return b"E", error_state(_told(error, order["memory"]))
    finally:
        _limit_memory(None)


def _found(name: str) -> Any:
    module, _, function = name.partition(":")
    found = getattr(importlib.import_module(module), function)
    if not is_task(found):
        raise InternalError(f"{name} is not a task.")
    return found


def _told(error: Exception, memory: int) -> DuraliteError:
    if isinstance(error, DuraliteError):
        return error
    if isinstance(error, MemoryError):
        return LimitExceeded(
            f"The work needs more than {memory // 2**20:,} MiB of memory.",
            hint="Split the file, or have the operator raise the limit worker_memory_bytes.",
            limit="worker_memory_bytes",
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return StorageFull("The disk is full.", hint="Make room on the disk of the service.")
    if isinstance(error, ImportError) and error.name in ("duckdb", "python_calamine", "xlsxwriter"):
        return Unavailable.lacks(error.name, "data")
    trace = "".join(traceback.format_exception(error))[-4_000:]
    if isinstance(error, sqlite3.Error):
        return SqlError(
            f"SQLite could not do the work: {error}.",
            exception=type(error).__name__,
            sqlite_name=getattr(error, "sqlite_errorname", None),
            trace=trace,
        )
    # What an unforeseen exception says may name files of the service: it goes to the log only.
    return InternalError(
        f"The work failed ({type(error).__name__}).", hint="See the log of the service.", trace=trace
    )


def _memory() -> tuple[int, int]:
    """Return (address space, resident memory) of this process in bytes; 0 where the system does not tell."""
    try:
        size, resident, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0, 0
    return int(size) * _PAGE, int(resident) * _PAGE


def _limit_memory(most: int | None) -> None:
    """Bound what may be added to the address space; None lifts the bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = hard if most is None else _memory()[0] + most
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
