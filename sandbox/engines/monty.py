"""The monty engine: a subset of Python in Rust workers of `pydantic-monty`, for where the process engine is not.

The only file that imports the package, whose interface moves: what is used of it is pinned and under test. It is
a sandbox of the language, with no help from the operating system; limits hold only because they are set, each
time. The program is driven call by call (`feed_start`, `resume`), so that it looks synchronous inside and is
asynchronous here, and the clock that ends it is ours.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib.metadata
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType, ModuleType
from typing import Any, get_args

import pydantic_monty as monty

from runtime.errors import DuraliteError, InputError, Unavailable

from .. import codec
from ..engine import (
    CEILING,
    Capabilities,
    Encoded,
    ErrorInfo,
    HelperSpec,
    Host,
    Job,
    Limits,
    Log,
    Outcome,
    Usage,
    Witness,
)
from ..plain import Walk
from ._monty_gaps import gaps_text
from ._monty_names import CALL, FAILED, TELL, bind, function_names, load_library, prelude
from ._monty_rewrite import PRELUDE, Rewritten, rewrite
from ._outcome import error_info, limit_reached
from ._slots import RETRY_S, Slots

__all__ = ("MontyEngine",)

_VERSION = "1.4.0"
_PACKAGES = ("pydantic-monty", "pydantic-monty-client", "pydantic-monty-runtime")
_PROGRAM_FILE = "<python-input-1>"
_EXCEPTIONS = frozenset(get_args(monty.ExcType))

_RAISED_KEPT = 100
_READ_HERE_CHARS = 4_096
_SLEEP, _ASYNC_SLEEP = "system.sleep", "system.async_sleep"

_SUBSET = f"This engine runs a subset of Python. {gaps_text()}"


class MontyEngine:
    """Runs programs in workers of the monty interpreter.

    `libraries` are as for the process engine; their functions run on the host, on plain data.
    """

    name = "monty"

    def __init__(
        self,
        *,
        libraries: Mapping[str, Path] | None = None,
        concurrency: int | None = None,
        waiting: int = 256,
        queue_s: float = 30.0,
        warm: int = 1,
        ceiling: Limits = CEILING,
    ) -> None:
        self._libraries = {name: load_library(name, folder) for name, folder in (libraries or {}).items()}
        self._concurrency = concurrency or os.cpu_count() or 1
        self._warm = min(warm, self._concurrency)
        self._slots = Slots(self._concurrency, waiting, queue_s)
        self._ceiling = ceiling
        self._pool: monty.AsyncMonty | None = None
        self._witness: Witness | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What programs can expect."""
        return Capabilities(
            full_python=False,
            python_version=f"monty {_VERSION}",
            layers=("worker process",),
            gaps=gaps_text(),
        )

    async def start(self) -> Witness:
        """Start the workers, and see that limits and refusals hold. Idempotent.

        Raises:
            Unavailable: another version than the tested one is installed, or a limit does not hold.
        """
        if self._witness is None:
            found = {name: importlib.metadata.version(name) for name in _PACKAGES}
            if any(version != _VERSION for version in found.values()):
                raise Unavailable(
                    f"The monty engine is tested with version {_VERSION}; installed are {found}.",
                    hint="Install duralite[monty], which pins it.",
                    engine=self.name,
                )
            pool = monty.AsyncMonty(
                min_processes=self._warm, max_processes=self._concurrency, max_checkouts_per_worker=1
            )
            self._pool = await pool.__aenter__()
            try:
                self._witness = await self._bear_witness()
            except BaseException:
                await self.aclose()
                raise
        return self._witness

    async def run(self, job: Job, host: Host) -> Outcome:
        """Run one program in a fresh worker.

        Raises:
            Unavailable: not started, closed, or too many runs wait. Nothing was executed; a retry is safe.
            InputError: the inputs cannot be handed over.
        """
        if self._pool is None:
            raise Unavailable("The sandbox is not running.", engine=self.name, retry_after=RETRY_S)
        await self._slots.enter(self._slots.deadline())
        try:
            # Long programs are read in a thread: that takes time, and the loop has others to serve.
            short = len(job.code) < _READ_HERE_CHARS
            program = rewrite(job.code) if short else await asyncio.to_thread(rewrite, job.code)
            limits = job.limits.clamp(self._ceiling)
            return await _Run(self._pool, job, program, limits, host, self._libraries).outcome()
        finally:
            self._slots.leave()

    async def aclose(self) -> None:
        """End the workers. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)

    async def _bear_witness(self) -> Witness:
        limits = Limits(wall_s=5, cpu_s=0.05, memory_bytes=16 << 20)
        for what, code, wanted in (
            ("end an endless loop", "while True:\n    pass", ("limit", "cpu_s")),
            ("bound memory", "'x' * 10 ** 9", ("limit", "memory_bytes")),
            ("refuse a file", "open('/etc/passwd')", ("error", None)),
            ("compute", "1 + 1", ("ok", None)),
        ):
            outcome = await self.run(Job(code, limits=limits), _NoHost())
            if (outcome.status, outcome.limit) != wanted:
                raise Unavailable(f"The monty engine did not {what}: {outcome.status}.", engine=self.name)
        return Witness(
            engine=self.name,
            layers={"worker process": True, "limits": True, "version": _VERSION},
            refused=("open a file", "endless loop", "unbounded memory"),
            warnings=("The operating system does not confine the workers: the language is the only wall.",),
        )


class _NoHost:
    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        raise Unavailable("There are no helpers here.")

    def output(self, stream: str, text: str) -> None:
        """Take output, and drop it."""


class _Ended(Exception):
    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class _Run:
    """Drives one session through one job."""

    def __init__(
        self,
        pool: monty.AsyncMonty,
        job: Job,
        program: Rewritten,
        limits: Limits,
        host: Host,
        libraries: Mapping[str, ModuleType],
    ) -> None:
        self._pool = pool
        self._job = job
        self._limits = limits
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._functions = [
            getattr(module, name) for module in libraries.values() for name in function_names(module)
        ]
        self._program = program
        self._prelude = "\n".join(
            (
                PRELUDE,
                prelude(
                    job.helpers, [(name, function_names(each)) for name, each in libraries.items()], job.code
                ),
                *(library.source for library in self._program.imported),
            )
        )
        self._tasks: dict[int, asyncio.Task[dict[str, Any]]] = {}
        self._in_flight = asyncio.Semaphore(limits.in_flight)
        self._scope = asyncio.timeout(limits.wall_s)
        self._reason = "wall_s"
        self._calls = 0
        self._logs: list[tuple[str, list[str]]] = []
        self._output_left = limits.output_bytes
        self._truncated = False
        self._busy_s = 0.0
        # What the last exceptions were called in the program: monty raises builtin ones alone.
        self._raised: dict[str, tuple[str, str | None, str | None]] = {}

    async def outcome(self) -> Outcome:
        started = time.perf_counter()
        fields: dict[str, Any]
        try:
            async with self._scope:
                fields = await self._in_session()
        except TimeoutError:
            fields = _limit(self._reason, self._limits)
        except _Ended as ended:
            fields = _limit(ended.limit, self._limits)
        except monty.MontyCrashedError:
            fields = {"status": "crash", "error": ErrorInfo("SandboxCrash", "The program's worker ended.")}
        except monty.MontyConversionError as error:
            raise InputError(f"The inputs cannot be handed to the sandbox: {error}") from None
        except monty.MontyError as error:
            fields = self._failure(error)
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=1.0)
        return Outcome(
            **fields,
            logs=tuple(Log(stream, "".join(parts)) for stream, parts in self._logs),
            truncated=self._truncated,
            usage=Usage(
                wall_ms=(time.perf_counter() - started) * 1000, cpu_ms=self._busy_s * 1000, calls=self._calls
            ),
        )

    async def _in_session(self) -> dict[str, Any]:
        limits, job = self._limits, self._job
        policy: monty.OSPolicy = {"sleep": "system", "sleep_system_max": limits.wall_s}
        if job.seed is not None:
            policy["random_start"] = {"seed": job.seed}
        if job.now is not None:
            policy["datetime"] = datetime.fromtimestamp(job.now, UTC)
        session = self._pool.checkout(
            limits={
                "max_feed_duration_secs": limits.cpu_s,
                "max_turn_duration_secs": limits.cpu_s,
                "max_memory": limits.memory_bytes,
                "max_suspensions": 4 * limits.calls + 1_000,
                "max_total_sleep_secs": limits.wall_s,
            },
            os_policy=policy,
        )
        async with session as active:
            await self._feed(active, self._prelude, {"inputs": dict(job.inputs)})
            value = await self._feed(active, self._program.code)
        walk = Walk(limits.depth, limits.result_bytes, exact=False, unfold=_unfold)
        try:
            plain = walk.plain(value)
        except codec.CodecError:
            return _limit("result_bytes", limits)
        return {"status": "ok", "value": plain, "note": walk.note}

    async def _feed(self, session: Any, code: str, inputs: dict[str, Any] | None = None) -> Any:
        at = await self._timed(session.feed_start(code, inputs=inputs, print_callback=self._printed))
        while not isinstance(at, monty.MontyComplete):
            if isinstance(at, monty.AsyncNameLookupSnapshot):
                at = await self._timed(
                    at.resume(value=_call)
                    if at.variable_name == CALL and at.object_id is None
                    else at.resume()
                )
            elif isinstance(at, monty.AsyncFutureSnapshot):
                pending = {self._tasks[number]: number for number in at.pending_call_ids}
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                settled: dict[int, Any] = {pending[task]: task.result() for task in done}
                for number in settled:
                    del self._tasks[number]
                at = await self._timed(at.resume(settled))
            elif at.is_os_function:
                at = await self._timed(await self._system(at))
            elif at.function_name != CALL:
                missing = {"exc_type": "NameError", "message": f"name {at.function_name!r} is not defined"}
                at = await self._timed(at.resume(missing))
            else:
                at = await self._timed(at.resume(await self._answer(at)))
        return at.output

    async def _timed(self, step: Any) -> Any:
        started = time.perf_counter()
        try:
            return await step
        finally:
            self._busy_s += time.perf_counter() - started

    async def _system(self, at: Any) -> Any:
        """Answer a call to the operating system: sleeping is waited out here, all else is not there."""
        seconds = at.args[0] if at.args else None
        if at.function_name not in (_SLEEP, _ASYNC_SLEEP) or not isinstance(seconds, int | float):
            return at.resume_not_handled()
        if at.function_name == _ASYNC_SLEEP:
            self._tasks[at.call_id] = self._loop.create_task(self._sleep(seconds))
            return at.resume({"future": _LATER})
        return at.resume(await self._sleep(seconds))

    async def _sleep(self, seconds: float) -> dict[str, Any]:
        await asyncio.sleep(min(max(seconds, 0.0), self._limits.wall_s + 1.0))
        return {"return_value": None}

    # Calls

    async def _answer(self, at: Any) -> dict[str, Any]:
        """Serve one call; an awaitable helper is answered with a future, settled later."""
        walk = Walk(self._limits.depth, self._limits.frame_bytes, exact=True, unfold=_unfold)
        try:
            number, args, kwargs = walk.plain(list(at.args))
        except (codec.CodecError, ValueError) as error:
            return {"exc_type": "ValueError", "message": str(error)}
        helpers = self._job.helpers
        if number == TELL and len(args) == 2 and all(isinstance(each, str) for each in args):
            self._remember(args[1], args[0])
            return {"return_value": None}
        if type(number) is not int or not 0 <= number < len(helpers) + len(self._functions):
            return {"exc_type": "NameError", "message": "there is no such helper"}
        if number >= len(helpers):
            return _build(self._functions[number - len(helpers)], args, kwargs)
        try:
            sent = bind(helpers[number], args, kwargs)
        except TypeError as error:
            return {"exc_type": "TypeError", "message": str(error)}
        if self._calls >= self._limits.calls:
            raise _Ended("calls")
        index, self._calls = self._calls, self._calls + 1
        serving = self._serve(index, helpers[number], *sent)
        if not helpers[number].awaitable:
            return await serving
        self._tasks[at.call_id] = self._loop.create_task(serving)
        return {"future": _LATER}

    async def _serve(
        self, index: int, spec: HelperSpec, args: list[Any], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            async with self._in_flight:
                answer = await self._host.call(index, spec.path, args, kwargs)
            if isinstance(answer, Encoded):
                answer = codec.decode(answer.data, CEILING.depth)
            return {"return_value": _shape(answer, spec.result)}
        except DuraliteError as error:
            name = str(error.extra.get("exception") or type(error).__name__)
            if name in _EXCEPTIONS:
                return {"exc_type": name, "message": error.message}
            self._remember(error.message, name, error.code, error.hint)
            return {"return_value": {FAILED: [name, error.message, error.code, error.hint]}}
        except Exception as error:
            # The sandbox bridge: what went wrong in the host is not told to the program.
            self._loop.call_exception_handler({"message": f"helper {spec.path} failed", "exception": error})
            return {"exc_type": "RuntimeError", "message": f"{spec.path} failed inside the host"}

    # Ends

    def _shown(self, frame: monty.Frame) -> str:
        number = self._program.line(frame.line)
        lines = self._job.code.splitlines()
        return f"  line {number}: {lines[number - 1].strip()[:200] if number <= len(lines) else ''}"

    def _remember(self, message: str, name: str, code: str | None = None, hint: str | None = None) -> None:
        while len(self._raised) >= _RAISED_KEPT:
            del self._raised[next(iter(self._raised))]
        if message not in self._raised or code is not None:
            self._raised[message[:4_000]] = (name[:200], code, hint)

    def _failure(self, error: monty.MontyError) -> dict[str, Any]:
        inner = error.exception()
        kind, message = type(inner).__name__, str(inner)[:4_000]
        for name, wanted, part in (
            ("cpu_s", TimeoutError, "time limit exceeded"),
            ("wall_s", TimeoutError, "sleep limit exceeded"),
            ("memory_bytes", MemoryError, "limit"),
            ("calls", RuntimeError, "suspension limit"),
        ):
            if isinstance(inner, wanted) and part in message:
                return _limit(name, self._limits)
        frames = (
            error.traceback() if isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError) else []
        )
        own = [frame for frame in frames if frame.filename == _PROGRAM_FILE][-20:]
        missing = isinstance(error, monty.MontySyntaxError) or _lacks(inner, message)
        named = self._raised.get(message)
        return {
            "status": "error",
            "error": ErrorInfo(
                type=named[0] if named else kind,
                message=message,
                code=named[1] if named else None,
                line=self._program.line(own[-1].line) if own else None,
                hint=_SUBSET if missing else named[2] if named else None,
                traceback="\n".join(map(self._shown, own)),
            ),
        }

    # Output

    def _printed(self, stream: str, text: str) -> None:
        # Comes on a thread of the pool: everything but the count happens on the loop.
        size = len(text.encode("utf-8", "replace"))
        left, self._output_left = self._output_left, self._output_left - size
        if left > 0:
            self._loop.call_soon_threadsafe(self._log, stream, text if size <= left else text[:left])
        if size > left and not self._truncated:
            self._truncated = True
            self._loop.call_soon_threadsafe(
                self._log, stream, f"\n[output cut at {self._limits.output_bytes:,} bytes]\n"
            )
        if self._output_left < -255 * self._limits.output_bytes:
            self._loop.call_soon_threadsafe(self._end_now, "output_bytes")

    def _end_now(self, reason: str) -> None:
        if not self._scope.expired():
            self._reason = reason
            self._scope.reschedule(self._loop.time())

    def _log(self, stream: str, text: str) -> None:
        if not self._logs or self._logs[-1][0] != stream:
            self._logs.append((stream, []))
        self._logs[-1][1].append(text)
        self._host.output(stream, text)


_LATER: EllipsisType = ...


def _call() -> None:
    """Stand for the one function of the host; never called here, each call comes as a snapshot."""


_call.__name__ = CALL


def _build(function: Any, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Call a pure function of a library with the program's plain data."""
    try:
        made = function(*args, **kwargs)
    except Exception as error:
        name = type(error).__name__
        return {"exc_type": name if name in _EXCEPTIONS else "ValueError", "message": str(error)}
    return {"return_value": {"sql": made.sql, "params": list(made.params)} if hasattr(made, "sql") else made}


def _shape(answer: Any, form: str) -> Any:
    if form == "rows":
        columns = answer["columns"]
        rows = [dict(zip(columns, row, strict=True)) for row in answer["rows"]]
        return [rows, list(columns), bool(answer.get("truncated"))]
    return answer if form == "whole" else answer[form]


def _unfold(value: Any) -> Mapping[str, Any] | None:
    return value.attributes if isinstance(value, monty.MontyClassProxy) else None


def _lacks(error: BaseException, message: str) -> bool:
    """Tell whether an error may come from what monty lacks, and not from the program."""
    if isinstance(error, NameError):
        return any(f"'{name}'" in message for name in dir(builtins))
    if isinstance(error, TypeError):
        return any(part in message for part in _LACKING)
    return isinstance(error, ImportError | NotImplementedError | AttributeError | LookupError) and (
        not isinstance(error, KeyError | IndexError)
    )


_LACKING = ("not supported between", "unexpected keyword", "cannot convert", "not an iterator", "not yet")


def _limit(name: str, limits: Limits) -> dict[str, Any]:
    reached = limit_reached(name, limits)
    return {**reached, "error": error_info(reached["error"])}
