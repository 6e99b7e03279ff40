"""A run is one job in one child, from the first frame to the kill.

Whatever happens first ends it: the report, a limit, a broken protocol, the end of the process, a cancel. Each
way leads through `_end`, once. The deadline is a timer of its own: it waits for no frame and no helper call.
Host calls that are still on their way are cancelled before the outcome is given.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import signal
import time
from collections.abc import Mapping
from typing import Any

import orjson

from runtime.errors import DuraliteError, InternalError

from .. import codec
from ..engine import Encoded, Host, Job, Log, Outcome, Status, Usage
from ._channel import Channel
from ._outcome import LIMITS, error_info, limit_reached, number_of, text_of
from ._zygote import Child, Exit

__all__ = ("Run",)

# The channel's own levels around a value, and a little for the tags.
_DEPTH_MARGIN = 8
# What a report may hold beside the value: an error of a few kilobytes.
_REPORT_BYTES = 64 * 1024
# How long after its channel closed a process may take to end by itself, before it is taken as hanging on.
_CLOSING_S = 0.1
_CANCEL_S = 1.0
# How many times its bound may be sent in vain, and what the smallest piece counts for.
_FLOOD_FACTOR = 512
_SMALLEST_OUTPUT = 64
_REAP_S = 1.0
_BACKLOG_BYTES = 4 * 1024 * 1024

_SIGNALS = {
    signal.SIGSEGV: "a memory fault",
    signal.SIGBUS: "a memory fault",
    signal.SIGABRT: "an abort",
    signal.SIGSYS: "a system call that is never allowed",
    signal.SIGILL: "an illegal instruction",
    signal.SIGFPE: "an arithmetic fault",
    signal.SIGKILL: "the kernel, most likely for want of memory",
}


class Run:
    """Drives one child through one job."""

    def __init__(self, child: Child, job: Job, payload: bytes, host: Host) -> None:
        self._child = child
        self._limits = job.limits
        self._payload = payload
        self._host = host
        self._paths = frozenset(spec.path for spec in job.helpers)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._channel = Channel(child.socket, job.limits.frame_bytes, self._on_frame, self._on_close)
        self._over: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._held = 0
        self._calls = 0
        self._forgotten = 0
        self._logs: list[tuple[str, io.StringIO]] = []
        self._output_left = job.limits.output_bytes
        self._truncated = False
        self._cpu_s = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._cpu_timer: asyncio.TimerHandle | None = None
        self._started = time.perf_counter()

    async def outcome(self) -> Outcome:
        """Run to the end. A cancel kills the child and is raised on."""
        try:
            self._timers.append(self._loop.call_later(self._limits.wall_s, self._limit, "wall_s"))
            self._watch_cpu()
            self._channel.open()
            self._channel.send(b"J", self._payload)
            result = await self._over
            if result.pop("closed", False):
                result = await self._explain_close()
        finally:
            self._end({})
            await self._cancel_calls()
        ended = await self._wait_exit(_REAP_S) if result["status"] != "ok" else None
        return self._describe(result, ended)

    def cancel(self, message: str) -> None:
        """End the run from outside, with the outcome `cancelled`."""
        self._end({"status": "cancelled", "error": {"type": "Cancelled", "message": message}, "limit": None})

    # Ends

    def _end(self, result: dict[str, Any]) -> None:
        if self._over.done():
            if not self._over.cancelled():
                return
        else:
            self._over.set_result(result)
        self._cpu_s = max(self._cpu_s, self._cpu_used())
        self._child.kill()
        for timer in (*self._timers, *((self._cpu_timer,) if self._cpu_timer else ())):
            timer.cancel()
        self._channel.close()

    def _limit(self, name: str) -> None:
        self._end(limit_reached(name, self._limits))

    def _broken(self, what: str) -> None:
        self._end(
            {
                "status": "protocol",
                "error": {
                    "type": "ProtocolError",
                    "message": f"The program's process {what}; the run was ended.",
                    "hint": "Leave file descriptor 3 alone, and use `db`, `tools` and `print`.",
                },
            }
        )

    def _on_close(self, reason: str) -> None:
        if reason == "closed" and not self._over.done():
            self._over.set_result({"closed": True})
            self._stop_timers()
        else:
            self._broken("sent what is not a frame of the protocol")

    def _stop_timers(self) -> None:
        for timer in (*self._timers, *((self._cpu_timer,) if self._cpu_timer else ())):
            timer.cancel()

    async def _explain_close(self) -> dict[str, Any]:
        """Find out why the channel closed without a report."""
        ended = await self._wait_exit(_CLOSING_S)
        self._child.kill()
        self._channel.close()
        if ended is None and not self._child.exited.done():
            return _crash("closed its channel to the host", "protocol")
        if ended is None:
            return _crash("ended with the sandbox's zygote, which is being restarted; run it again")
        if ended.signal == signal.SIGXCPU or ended.cpu_s > self._limits.cpu_s:
            return limit_reached("cpu_s", self._limits)
        if ended.signal is not None:
            return _crash(
                f"was ended by {_SIGNALS.get(signal.Signals(ended.signal), f'signal {ended.signal}')}"
            )
        return _crash(f"ended itself (exit code {ended.code}) before the program was over")

    async def _wait_exit(self, seconds: float) -> Exit | None:
        await asyncio.wait([self._child.exited], timeout=seconds)
        return self._child.exited.result() if self._child.exited.done() else None

    # CPU time, from outside

    def _watch_cpu(self) -> None:
        used = self._cpu_used()
        if used >= self._limits.cpu_s:
            self._cpu_s = used
            self._limit("cpu_s")
        else:
            # One thread cannot use CPU time faster than time passes.
            self._cpu_timer = self._loop.call_later(max(self._limits.cpu_s - used, 0.005), self._watch_cpu)

    def _cpu_used(self) -> float:
        # Once the process is buried, its number may be another's.
        return 0.0 if self._child.exited.done() else _cpu_of(self._child.pid)

    # Frames

    def _on_frame(self, kind: int, body: bytes) -> None:
        if self._over.done():
            return
        try:
            if kind == _CALL:
                self._on_call(body)
            elif kind in (_OUT, _ERR):
                self._on_output("stdout" if kind == _OUT else "stderr", body)
            elif kind == _DONE:
                self._on_done(body)
            elif kind == _LIMIT and body == b"output_bytes":
                self._limit("output_bytes")
            elif kind == _FORGET:
                self._on_forget(body)
            else:
                self._broken("sent a frame of an unknown kind")
        except (codec.CodecError, ValueError, TypeError, KeyError):
            self._broken("sent a frame that cannot be read")

    def _on_call(self, body: bytes) -> None:
        frame = codec.decode(body, self._limits.depth + _DEPTH_MARGIN)
        index, name, args, kwargs = frame
        if (
            index != self._calls
            or type(name) is not str
            or type(args) is not list
            or type(kwargs) is not dict
        ):
            raise ValueError("not a call")
        if index >= self._limits.calls:
            self._limit("calls")
            return
        if len(self._tasks) >= self._limits.in_flight:
            self._limit("in_flight")
            return
        self._calls += 1
        self._held += len(body)
        if self._held + self._channel.backlog > self._limits.frame_bytes + _BACKLOG_BYTES:
            self._channel.pause()
        self._tasks[index] = self._loop.create_task(
            self._serve(index, name, args, kwargs, len(body)), context=self._context.copy()
        )

    def _on_forget(self, body: bytes) -> None:
        self._forgotten += 1
        if self._forgotten > self._calls:  # each call can be forgotten once
            raise ValueError("not a call")
        task = self._tasks.get(int(body[:20]))
        if task is not None:
            task.cancel()

    async def _serve(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any], size: int) -> None:
        try:
            if name not in self._paths:
                reply = _failure(index, "NameError", f"there is no helper {name[:100]!r}")
            else:
                reply = await self._answer(index, name, args, kwargs)
        finally:
            del self._tasks[index]
            self._held -= size
        self._channel.send(b"R", *reply, at_once=not self._tasks)
        if self._held + self._channel.backlog <= self._limits.frame_bytes + _BACKLOG_BYTES:
            self._channel.resume()

    async def _answer(
        self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]
    ) -> tuple[bytes, ...]:
        try:
            value = await self._host.call(index, name, args, kwargs)
            data = value.data if isinstance(value, Encoded) else codec.encode(value)
        except DuraliteError as error:
            type_name = error.extra.get("exception") or type(error).__name__
            return _failure(index, str(type_name), error.message, error.hint, error.code)
        except codec.CodecError as error:
            return _failure(index, "InternalError", f"the answer of {name} cannot be handed over: {error}")
        except Exception as error:
            # The sandbox bridge is one of the named boundaries: the text of a stranger's exception may hold
            # what the program must not learn.
            self._loop.call_exception_handler(
                {"message": f"helper {name} raised {type(error).__name__}", "exception": error}
            )
            return _failure(
                index, "InternalError", f"{name} failed inside the host", None, InternalError.code
            )
        if len(data) > self._limits.frame_bytes:
            return _failure(
                index,
                "LimitExceeded",
                f"the answer of {name} takes {len(data):,} bytes, more than the limit of "
                f"{self._limits.frame_bytes:,} (frame_bytes)",
                "Ask for less: fewer columns, a LIMIT, or pages.",
                "limit_exceeded",
            )
        return (b'[%d,"ok",' % index, data, b"]")

    def _on_output(self, stream: str, body: bytes) -> None:
        size = len(body)
        if self._output_left <= 0 or size > self._output_left:
            body = body[: max(self._output_left, 0)]
            if not self._truncated:
                self._truncated = True
                self._log(stream, body)
                self._log(stream, f"\n[output cut at {self._limits.output_bytes:,} bytes]\n".encode())
                self._output_left = 0
            # The guest ends a flood by itself; a forged one ends here.
            self._output_left -= max(size, _SMALLEST_OUTPUT)
            if self._output_left < -_FLOOD_FACTOR * self._limits.output_bytes:
                self._limit("output_bytes")
            return
        self._output_left -= size
        self._log(stream, body)

    def _log(self, stream: str, body: bytes) -> None:
        text = body.decode("utf-8", "replace")
        if not self._logs or self._logs[-1][0] != stream:
            self._logs.append((stream, io.StringIO()))
        self._logs[-1][1].write(text)
        self._host.output(stream, text)

    def _on_done(self, body: bytes) -> None:
        if len(body) > self._limits.result_bytes + _REPORT_BYTES:
            self._limit("result_bytes")
            return
        report = codec.decode(body, self._limits.depth + _DEPTH_MARGIN, plain=True)
        if type(report) is not dict or report.get("status") not in ("ok", "error", "limit"):
            raise ValueError("not a report")
        self._end(report)

    # The outcome

    async def _cancel_calls(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_S)

    def _describe(self, result: Mapping[str, Any], ended: Exit | None) -> Outcome:
        status: Status = result["status"]
        told = result.get("usage")
        peak = (
            ended.peak_bytes
            if ended
            else int(number_of(told[1]))
            if type(told) is list and len(told) == 2
            else 0
        )
        limit = result.get("limit")
        return Outcome(
            status=status,
            value=result.get("value"),
            note=text_of(result.get("note")),
            logs=tuple(Log(stream, text.getvalue()) for stream, text in self._logs),
            truncated=self._truncated,
            error=error_info(result["error"]) if type(result.get("error")) is dict else None,
            limit=limit if type(limit) is str and limit in LIMITS else None,
            usage=Usage(
                wall_ms=(time.perf_counter() - self._started) * 1000,
                cpu_ms=max(self._cpu_s, ended.cpu_s if ended else 0.0) * 1000,
                peak_memory_bytes=peak,
                calls=self._calls,
                bytes_in=self._channel.bytes_out,
                bytes_out=self._channel.bytes_in,
            ),
        )


_CALL, _OUT, _ERR, _DONE, _LIMIT, _FORGET = b"COEDLX"


def _crash(what: str, status: str = "crash") -> dict[str, Any]:
    kind = "SandboxCrash" if status == "crash" else "ProtocolError"
    return {"status": status, "error": {"type": kind, "message": f"The program's process {what}."}}


def _failure(
    index: int, type_name: str, message: str, hint: str | None = None, code: str | None = None
) -> tuple[bytes, ...]:
    details = {"type": type_name, "message": message, "hint": hint, "code": code}
    try:
        encoded = orjson.dumps(details)
    except orjson.JSONEncodeError:  # text that is not text: it came from the program and goes back to it
        encoded = orjson.dumps(
            {**details, "message": message.encode("utf-8", "replace").decode(), "hint": None}
        )
    return (b'[%d,"error",' % index, encoded, b"]")


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, which its parent has not buried yet; 0 when it has."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
