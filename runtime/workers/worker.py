"""One worker process, as the service sees it: started by exec, one task at a time, ended by SIGKILL."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import InternalError, Unavailable
from runtime.workers.frames import HEAD, MEMORY, frame, raised, unpack_head

__all__ = ("Worker",)

_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[3]); from runtime.workers.child import main;"
    " main(int(sys.argv[1]), int(sys.argv[2]))"
)
_START_S = 30.0
_KEPT = ("TMPDIR", "TZDIR", "LD_LIBRARY_PATH", "SQLITE_TMPDIR")


class Worker:
    """A process that waits for tasks. Made by `start`; after `kill`, or a task that was given up, it is of no use."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._killed = False
        self.tasks = 0
        self.memory = 0

    @classmethod
    async def start(cls, nice: int) -> Worker:
        """Start a process and wait until it can take a task.

        Raises:
            Unavailable: it did not come up.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            # On this thread: the kernel ties the worker's life to the thread that makes it.
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns at the exec, after a millisecond or two
                [
                    *(sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOT),
                    *(str(theirs.fileno()), str(os.getpid()), _ROOT),
                ],
                pass_fds=(theirs.fileno(),),
                # Nothing of the service's own environment, where secrets lie.
                env={"LC_ALL": "C.UTF-8", "TZ": "UTC"} | {k: os.environ[k] for k in _KEPT if k in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # A group of its own: a Ctrl-C at the terminal is the service's to handle. Not a session of its own: Linux
                # schedules each as one (`sched(7)`, autogroup), and `nice` weighs only within it.
                process_group=0,
            )
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_S):
                worker._reader, worker._writer = await asyncio.open_connection(sock=ours)
                await worker._send(b"H", {"path": [p or str(Path.cwd()) for p in sys.path], "nice": nice})
                await worker._frame()
        except BaseException as error:
            await worker.kill()
            if isinstance(error, (OSError, EOFError, TimeoutError)):
                raise Unavailable(
                    "A worker process did not start.", hint="See the log of the service.", retry_after=5
                ) from error
            raise
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def work(
        self, task: str, args: dict[str, Any], memory: int, on_report: Callable[[dict[str, Any]], None] | None
    ) -> Any:
        """Run a task to its end and return its answer.

        Raises:
            DuraliteError: what the task raised.
            EOFError: the process ended in the middle.
        """
        self.tasks += 1
        try:
            await self._send(b"T", {"task": task, "args": args, "memory": memory})
            while True:
                kind, body = await self._frame()
                if kind != b"P":
                    break
                if on_report is not None:
                    on_report(orjson.loads(body))
        except OSError as error:
            raise EOFError from error
        (self.memory,) = MEMORY.unpack(body[: MEMORY.size])
        body = body[MEMORY.size :]
        if kind == b"B":
            return body
        if kind == b"R":
            return orjson.loads(body)
        if kind == b"E":
            raise raised(body)
        raise InternalError("A worker process answered what no worker answers.")

    async def kill(self) -> int:
        """End the process at once and return its exit code (negative: the signal). Idempotent."""
        if not self._killed:
            self._killed = True
            if hasattr(self, "_writer"):  # else it was given up before it was connected
                self._writer.close()
            self._process.kill()
        return await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    async def _send(self, kind: bytes, data: Any) -> None:
        self._writer.write(frame(kind, orjson.dumps(data)))
        await self._writer.drain()

    async def _frame(self) -> tuple[bytes, bytes]:
        kind, length = unpack_head(await self._reader.readexactly(HEAD.size))
        return kind, await self._reader.readexactly(length)
