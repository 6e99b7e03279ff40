"""A tool server as a child process: JSON-RPC lines over its standard input and output.

The SDK brings such a transport too; it reads a line of any length. This one bounds a line, answers the call that an
oversized one belongs to, keeps what the server writes to standard error (bounded, without secrets) for the log, and
starts servers through `launch.py`, so that none outlives the service.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from runtime.errors import Unavailable
from runtime.limits import Limits
from sandbox.tools.config import Command
from sandbox.tools.names import clean_text
from sandbox.tools.redact import Redactor

__all__ = ("stdio_streams",)

_LAUNCH = Path(__file__).with_name("launch.py")
_READ, _HEAD = 256 * 1024, 1024
_LEAVE_S, _TERM_S, _POLL_S = 1.0, 4.0, 0.01
_WORDS_KEPT, _WORDS_READ, _LINE_CHARS, _SAID_BYTES = 20, 16 * 1024, 500, 2_000
_ID = re.compile(rb'"id"\s*:\s*(\d{1,18}|"[^"\\]{1,64}")')
_log = structlog.get_logger("duralite.tools")

Inbound = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Inbound], MemoryObjectSendStream[SessionMessage]]


@asynccontextmanager
async def stdio_streams(
    name: str, command: Command, limits: Limits, redactor: Redactor
) -> AsyncIterator[Streams]:
    """Start a server and give its streams; at the end it is asked to leave, then made to.

    Raises:
        Unavailable: the process cannot be started.
    """
    process = await _start(command)
    inward, received = anyio.create_memory_object_stream[Inbound](0)
    outward, to_send = anyio.create_memory_object_stream[SessionMessage](0)
    words: deque[str] = deque(maxlen=_WORDS_KEPT)
    pipes = _Pipes(process, limits)
    tasks = [
        asyncio.create_task(pipes.read(inward)),
        asyncio.create_task(pipes.write(to_send, inward)),
        asyncio.create_task(_listen(process, words)),
    ]

    async def end() -> None:
        ended_itself = pipes.ended
        await _stop(process)
        for task in tasks[:2]:
            task.cancel()
        # What it said last is read to the end, unless a process that it left behind holds the pipe.
        await asyncio.wait(tasks, timeout=0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Nothing public closes pipes of which the rest is not read.
        process._transport.close()  # type: ignore[attr-defined]
        for stream in (inward, received, outward, to_send):
            stream.close()
        log = _log.warning if ended_itself and process.returncode else _log.debug
        # All at once: a secret that is broken into two lines is seen only by who reads both.
        said = clean_text(redactor.safe("\n".join(words)), _SAID_BYTES)
        log("tools.process_ended", server=name, code=process.returncode, said=said)

    try:
        yield received, outward
    finally:
        await _to_its_end(end())


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that a cancel must not break off: it is bounded, and what it leaves undone would stay for ever."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _start(command: Command) -> asyncio.subprocess.Process:
    # Nothing of the service's environment but what every program needs (PATH, HOME, …): its own secrets stay here.
    environment = get_default_environment() | dict(command.env)
    if await asyncio.to_thread(shutil.which, command.command, path=environment.get("PATH")) is None and (
        command.cwd is None or not await asyncio.to_thread(Path(command.cwd, command.command).exists)
    ):
        raise Unavailable(f"There is no command {Path(command.command).name!r:.100}.")
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), command.command, *command.args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=command.cwd,
            start_new_session=True,
            limit=_READ,
        )
    except OSError as error:
        raise Unavailable(f"The server's process cannot be started: {error.strerror}.") from None


class _Pipes:
    """The two directions of one process."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._most = limits.tool_message_bytes
        self._write_s = limits.tool_call_s
        self.ended = False

    async def read(self, inward: MemoryObjectSendStream[Inbound]) -> None:
        """Hand over each line as a message, until the server ends or nobody listens."""
        buffer = bytearray()
        skipping = False
        try:
            async with inward:
                while piece := await self._stdout.read(_READ):
                    *lines, rest = piece.split(b"\n")
                    for line in lines:
                        buffer += line
                        if skipping:
                            skipping = False
                        elif message := _message(buffer):
                            await inward.send(message)
                        buffer.clear()
                    if not skipping:
                        buffer += rest
                    if len(buffer) > self._most:
                        said = f"The answer has more than {self._most:,} bytes (tool_message_bytes)."
                        if refusal := _instead(bytes(buffer[:_HEAD]), said):
                            await inward.send(refusal)
                        buffer.clear()
                        skipping = True
                self.ended = True
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            pass  # the session is over

    async def write(
        self, to_send: MemoryObjectReceiveStream[SessionMessage], inward: MemoryObjectSendStream[Inbound]
    ) -> None:
        """Send each message; a server that does not read what it is sent is given up."""
        try:
            async with to_send:
                async for item in to_send:
                    line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    self._stdin.write(line.encode() + b"\n")
                    async with asyncio.timeout(self._write_s):
                        await self._stdin.drain()
        except (OSError, TimeoutError, anyio.ClosedResourceError):
            pass
        finally:
            # The session learns that the connection is over by the end of what it reads.
            inward.close()


def _message(line: bytearray) -> SessionMessage | None:
    """Return the message of a line; None for an empty one and for what is none, as a stray print of the server."""
    if not line.strip():
        return None
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(bytes(line), by_name=False))
    except (ValidationError, ValueError, RecursionError):
        return _instead(bytes(line[:_HEAD]), "The answer is not JSON-RPC, or nested too deeply.")


def _instead(head: bytes, message: str) -> SessionMessage | None:
    """Return an error in the place of an answer that cannot be taken, if its head tells what it answers."""
    found = _ID.search(head)
    if found is None or b'"jsonrpc"' not in head or b'"method"' in head:
        return None
    text = found[1].decode("ascii", "replace")
    request: int | str = text[1:-1] if text.startswith('"') else int(text)
    error = types.ErrorData(code=types.PARSE_ERROR, message=message)
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=request, error=error))


async def _listen(process: asyncio.subprocess.Process, words: deque[str]) -> None:
    """Keep the last lines of standard error."""
    assert process.stderr is not None
    rest = ""
    while piece := await process.stderr.read(_WORDS_READ):
        *lines, rest = (rest + piece.decode("utf-8", "replace")).split("\n")
        words.extend(line[:_LINE_CHARS] for line in lines[-_WORDS_KEPT:])
        rest = rest[-_LINE_CHARS:]
    words.append(rest)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Close its input, and when that does not end it, ask and then make the launcher end all of it."""
    if process.stdin is not None:
        process.stdin.close()
    for seconds, push in ((_LEAVE_S, process.terminate), (_TERM_S, process.kill)):
        if await _ended(process, seconds):
            return
        try:
            push()
        except ProcessLookupError:
            pass
    await _ended(process, _TERM_S)


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    # Not process.wait(): that waits for the ends of the pipes too, which a stray process may hold open.
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while process.returncode is None and loop.time() < until:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_POLL_S)
    return process.returncode is not None
