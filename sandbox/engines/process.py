"""The process engine: full CPython, a fresh process for each run, confined by the kernel, ended from outside.

A zygote forks children ahead of need; each takes one job and is killed after it. Nothing is shared between
runs but the zygote's untouched memory, so what one run breaks, it breaks for itself. The engine starts only
when a witness has shown that the confinement bites; a new zygote is witnessed like the first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import InputError, Unavailable

from .. import codec
from ..engine import CEILING, Capabilities, HelperSpec, Host, Job, Limits, Outcome, Witness
from ._reach import looks_up, names
from ._run import Run
from ._slots import RETRY_S, Slots
from ._witness import bear_witness
from ._zygote import Child, Zygote, ZygoteOptions

__all__ = ("ProcessEngine",)

_SPEC_CACHE = 64
# Up to here it is not worth looking which of them a program names.
_FEW_SPECS = 100


class ProcessEngine:
    """Runs programs in forked, sealed processes.

    `libraries` maps a name in scope of user code to a package folder (standard library only). `modules` are
    imported beyond the usual. At most `concurrency` runs go on at once (default: the cores), `waiting`
    wait, each at most `queue_s`. `warm` children are kept ready. After `recycle_after` children a fresh
    zygote takes over.
    """

    name = "process"

    def __init__(
        self,
        *,
        libraries: Mapping[str, Path] | None = None,
        modules: tuple[str, ...] = (),
        concurrency: int | None = None,
        waiting: int = 256,
        queue_s: float = 30.0,
        warm: int = 4,
        recycle_after: int = 2_000,
        ceiling: Limits = CEILING,
        namespaces: bool = True,
        landlock: bool = True,
        python: str | None = None,
    ) -> None:
        self._options = ZygoteOptions(
            python=python or sys.executable,
            libraries=dict(libraries or {}),
            modules=modules,
            namespaces=namespaces,
            landlock=landlock,
        )
        self._warm = warm
        self._recycle_after = recycle_after
        self._ceiling = ceiling
        self._zygote: Zygote | None = None
        self._witness: Witness | None = None
        self._idle: deque[Child] = deque()
        self._coming = 0
        self._wanting: deque[asyncio.Future[Child]] = deque()
        self._slots = Slots(concurrency or os.cpu_count() or 1, waiting, queue_s)
        self._runs: set[Run] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._remaking: asyncio.Task[None] | None = None
        self._closed = False
        self._specs: dict[int, tuple[tuple[HelperSpec, ...], dict[str, bytes]]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What programs can expect."""
        witness, zygote = self._witness, self._zygote
        layers = [name for name, bites in witness.layers.items() if bites] if witness else []
        return Capabilities(
            full_python=True,
            python_version=zygote.report["python"] if zygote else "",
            layers=tuple(layers),
            modules=tuple(zygote.report["modules"]) if zygote else (),
        )

    @property
    def witness(self) -> Witness | None:
        """What was seen to hold when the present zygote started; None before `start`."""
        return self._witness

    async def start(self) -> Witness:
        """Start the zygote and prove its children confined. Idempotent.

        Raises:
            Unavailable: not Linux, or a required layer does not bite; the message says which.
        """
        if sys.platform != "linux":
            raise Unavailable(
                f"The process engine needs Linux; this is {sys.platform}.",
                hint="Choose the monty engine (install duralite[monty], set sandbox engine to monty).",
                engine=self.name,
            )
        if self._zygote is None:
            await self._remake()
        assert self._witness is not None
        return self._witness

    async def run(self, job: Job, host: Host) -> Outcome:
        """Run one program in a fresh process.

        Raises:
            Unavailable: not started, closed, or too many runs wait. Nothing was executed; a retry is safe.
            InputError: the inputs or the code cannot be handed over.
        """
        if self._closed or self._zygote is None:
            raise Unavailable("The sandbox is not running.", engine=self.name, retry_after=RETRY_S)
        limits = job.limits.clamp(self._ceiling)
        payload = self._payload(job, limits)
        deadline = self._slots.deadline()
        await self._slots.enter(deadline)
        child: Child | None = None
        try:
            child = await self._slots.in_time(self._take_child(), deadline)
            run = Run(child, _with_limits(job, limits), payload, host)
            self._runs.add(run)
            try:
                return await run.outcome()
            finally:
                self._runs.discard(run)
        finally:
            self._background(self._leave(child))

    async def aclose(self) -> None:
        """End all runs (`cancelled`) and all processes. Idempotent."""
        self._closed = True
        for run in list(self._runs):
            run.cancel("The sandbox is closing.")
        if self._remaking is not None:
            self._remaking.cancel()
            await asyncio.wait([self._remaking])
        zygote, self._zygote = self._zygote, None
        self._drop_idle()
        for wanted in self._wanting:
            if not wanted.done():
                wanted.set_exception(Unavailable("The sandbox is closing.", engine=self.name))
        if zygote is not None:
            await zygote.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # Slots

    async def _leave(self, child: Child | None) -> None:
        # The slot is free when the process is gone: what it held in memory counts until then.
        if child is not None:
            self._discard(child)
            await asyncio.wait([child.exited], timeout=5.0)
        self._slots.leave()
        self._refill()

    # Children

    async def _take_child(self) -> Child:
        while self._idle:
            child = self._idle.popleft()
            if not child.exited.done():
                return child
            self._discard(child)
        wanted: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._wanting.append(wanted)
        self._refill()
        try:
            return await wanted
        except asyncio.CancelledError:
            if wanted.done() and not wanted.cancelled() and wanted.exception() is None:
                self._discard(wanted.result())
            raise

    def _refill(self) -> None:
        """Ask for as many children as are wanted; ahead of need only while nobody waits."""
        zygote = self._zygote
        if zygote is None or zygote.dead or self._closed:
            return
        if zygote.spawned >= self._recycle_after and self._remaking is None:
            self._start_remaking()
        enough = len(self._wanting) or self._warm - len(self._idle)
        while self._coming < enough:
            self._coming += 1
            zygote.ask().add_done_callback(self._arrived)

    def _arrived(self, asked: asyncio.Future[Child]) -> None:
        self._coming -= 1
        if asked.cancelled() or asked.exception() is not None:
            return  # its zygote died: the next one is asked by whoever starts it
        child = asked.result()
        if self._closed or child.zygote is not self._zygote:
            self._discard(child)
            self._refill()
            return
        while self._wanting:
            wanted = self._wanting.popleft()
            if not wanted.done():
                wanted.set_result(child)
                return
        self._idle.append(child)

    def _discard(self, child: Child) -> None:
        child.kill()
        child.socket.close()

    def _drop_idle(self) -> None:
        while self._idle:
            self._discard(self._idle.popleft())

    # Zygotes

    async def _remake(self) -> None:
        """Put a fresh, witnessed zygote in the place of the present one."""
        fresh = await Zygote.start(self._options, self._on_death)
        try:
            witness = await bear_witness(fresh)
        except BaseException:
            await fresh.aclose()
            raise
        old, self._zygote, self._witness = self._zygote, fresh, witness
        self._drop_idle()
        if old is not None and not old.dead:
            old.retire()
        self._refill()

    def _on_death(self, zygote: Zygote) -> None:
        if zygote is self._zygote and not self._closed and self._remaking is None:
            self._drop_idle()
            self._start_remaking()

    def _start_remaking(self) -> None:
        def done(_: asyncio.Task[None]) -> None:
            self._remaking = None
            zygote = self._zygote
            if zygote is not None and zygote.dead:  # died while the task was on its last step
                self._on_death(zygote)

        self._remaking = self._background(self._remake_until_it_works())
        self._remaking.add_done_callback(done)

    async def _remake_until_it_works(self) -> None:
        delay = 0.05
        while not self._closed:
            try:
                await self._remake()
            except (Unavailable, OSError):
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30.0)
            else:
                return

    def _background(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Payload

    def _payload(self, job: Job, limits: Limits) -> bytes:
        try:
            inputs = codec.encode(dict(job.inputs), limits.depth)
            head = orjson.dumps(
                {
                    "code": job.code,
                    "filename": job.filename,
                    "limits": asdict(limits),
                    "seed": job.seed.hex() if job.seed is not None else None,
                    "now": job.now,
                }
            )
        except (codec.CodecError, orjson.JSONEncodeError) as error:
            raise InputError(
                f"The code or its inputs cannot be handed to the sandbox: {error}",
                hint="Inputs are plain data: None, bool, numbers, text, bytes, dates, lists, dicts.",
            ) from None
        payload = (
            b'{"helpers":'
            + self._encoded_specs(job.helpers, job.code)
            + b',"inputs":'
            + inputs
            + b","
            + head[1:]
        )
        if len(payload) > limits.frame_bytes:
            raise InputError(
                f"The code and its inputs take {len(payload):,} bytes, more than the limit of "
                f"{limits.frame_bytes:,}.",
                hint="Put large data into a table first, and query it from the code.",
                limit="frame_bytes",
            )
        return payload

    def _encoded_specs(self, specs: tuple[HelperSpec, ...], code: str) -> bytes:
        held = self._specs.get(id(specs))
        if held is None or held[0] is not specs:
            if len(self._specs) >= _SPEC_CACHE:
                self._specs.clear()
            held = self._specs[id(specs)] = (specs, _by_namespace(specs))
        everything = len(specs) <= _FEW_SPECS or looks_up(code)
        given = (part for space, part in held[1].items() if everything or names(space, code))
        return b"[" + b",".join(given) + b"]"


def _by_namespace(specs: tuple[HelperSpec, ...]) -> dict[str, bytes]:
    """Return what a guest is told of the helpers, encoded: for each namespace the items of a JSON list."""
    groups: dict[str, list[Any]] = {}
    for spec in specs:
        parameters = [[each.name, each.required, each.default] for each in spec.parameters]
        told = [spec.path, parameters, spec.result, spec.awaitable, spec.doc]
        groups.setdefault(spec.namespace, []).append(told)
    return {space: codec.encode(group)[1:-1] for space, group in groups.items()}


def _with_limits(job: Job, limits: Limits) -> Job:
    return Job(job.code, job.helpers, job.inputs, limits, job.seed, job.now, job.filename)
