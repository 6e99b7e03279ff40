"""An instance is an actor whose file is open, with the mailbox that makes it do one thing at a time.

Calls start in the order they came. Units go straight to the connection's thread, which runs them one after
the other; a turn waits until the units before it are done, and everything after it waits for the turn.
Concurrent methods run beside both. The mailbox is bounded: what does not fit is refused before it starts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from runtime.alarms import Alarms
from runtime.context import CallContext, use_context
from runtime.errors import (
    ActorClosed,
    ActorDeadlock,
    ActorOverloaded,
    Cancelled,
    DeadlineExceeded,
    DuraliteError,
)
from runtime.ids import ActorAddress, ActorId, new_token
from runtime.jobs import Jobs
from runtime.method import MethodSpec
from runtime.storage.connection import Connection, Unit
from runtime.storage.transaction import Transaction
from runtime.streams import Ready
from runtime.values import dumps, loads

if TYPE_CHECKING:
    from runtime.actor import Actor
    from runtime.host import Host

__all__ = ("Handle", "Instance", "InstanceStats", "TurnCall")

_log = structlog.get_logger("duralite.instance")

Wrap = Callable[[Callable[[Transaction], Any], Transaction], Any]


class TurnCall:
    """A call that runs on the event loop: a turn, or a concurrent method."""

    __slots__ = ("deadline", "future", "given_up", "start", "started", "task")

    def __init__(
        self, start: Callable[[], Coroutine[Any, Any, Any]], future: asyncio.Future[Any], deadline: float
    ) -> None:
        self.start = start
        self.future = future
        self.deadline = deadline
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self.given_up = False

    def cancel(self) -> None:
        """Give the call up: it is not started, or its task is cancelled."""
        self.given_up = True
        if self.started and self.task is not None:
            self.task.cancel()
        else:
            # A task that is cancelled before its first step never runs, its clean-up neither: it looks at this.
            self.future.cancel()


Handle = Unit | TurnCall


@dataclass(frozen=True, slots=True)
class InstanceStats:
    """A snapshot of a live actor. `idle_s` is 0 while it works."""

    id: ActorId
    address: ActorAddress
    waiting: int
    running: int
    idle_s: float
    version: int


class Instance:
    """A live actor: its file, its mailbox, its object."""

    def __init__(self, host: Host, actor: ActorId, address: ActorAddress, connection: Connection) -> None:
        self.host = host
        self.id = actor
        self.address = address
        self.connection = connection
        self.actor: Actor
        self.last_used = host.clock.now()
        self.used_since_note = True
        self.uses = 0
        self.held = 0
        self.closing = False
        self.closed = asyncio.Event()
        self.alarms = Alarms(self)
        self.jobs = Jobs(self)
        self._alarms_left: list[tuple[Any, ...]] = []
        self._jobs_left = False
        self._boot = new_token(4)
        self._queue: deque[Handle] = deque()
        self._turn: TurnCall | None = None
        self._beside: set[TurnCall] = set()
        self._mailbox = host.settings.limits.mailbox
        connection.on_delivered = self._units_done

    # Calls

    def call(
        self,
        spec: MethodSpec,
        kwargs: Mapping[str, Any],
        context: CallContext,
        deadline: float,
        *,
        wire: bool = False,
        wrap: Wrap | None = None,
    ) -> Handle:
        """Start or queue a call; the handle's `future` gets the answer by `deadline` (`time.monotonic()`).

        `wrap` stands around a unit inside its transaction (idempotency, conditional reads).

        Raises:
            ActorOverloaded: the mailbox is full.
            ActorDeadlock: the call chain is already waiting inside this actor.
        """
        if self.closing:
            raise ActorClosed("The actor is closing.", hint="Call again; it opens anew.")
        if context.chain:
            self._refuse_cycle(spec, context)
        if self.connection.pending + len(self._queue) >= self._mailbox:
            raise ActorOverloaded(
                f"{self._mailbox:,} calls wait for this actor already.",
                hint="Send fewer calls at once, or spread the data over more actors; a retry is safe.",
                limit="mailbox",
                retry_after=1,
            )
        self.last_used = self.host.clock.now()
        self.used_since_note = True
        self.uses += 1
        if spec.kind == "unit":
            return self._send(self._unit(spec, kwargs, deadline, wire, wrap))
        return self._start(spec, kwargs, context, deadline, wire)

    def _unit(
        self, spec: MethodSpec, kwargs: Mapping[str, Any], deadline: float, wire: bool, wrap: Wrap | None
    ) -> Unit:
        function, actor = spec.function, self.actor

        def run(tx: Transaction) -> Any:
            return function(actor, tx, **kwargs)

        fn: Callable[[Transaction], Any] = run if wrap is None else lambda tx: wrap(run, tx)
        group = spec.group
        quick = group if group is True or group is False else group(kwargs)
        # A wrapped call may write even if its method only reads.
        read_only = spec.read_only
        return self.connection.unit(
            fn, deadline=deadline, read_only=read_only, quick=quick, wire=wire, method=spec.name
        )

    def run_unit(
        self, fn: Callable[[Transaction], Any], *, read_only: bool = False, method: str = ""
    ) -> Unit:
        """Queue a unit of the runtime's own behind what waits, like any other call."""
        deadline = time.monotonic() + self.host.settings.limits.statement_s
        return self._send(self.connection.unit(fn, deadline=deadline, read_only=read_only, method=method))

    def _send(self, unit: Unit) -> Unit:
        if self._turn is None and not self._queue:
            self.connection.submit(unit)
        else:
            self._enqueue(unit)
        return unit

    def _enqueue(self, call: Handle) -> None:
        if not self._queue:
            self.host.watchdog.watch(self)
        self._queue.append(call)

    def enforce(self, now: float) -> bool:
        """Answer every call whose deadline passed while it waited in the mailbox; return whether any waits."""
        for call in self._queue:
            if now >= call.deadline:
                _fail(call, _waited())
        return bool(self._queue)

    def _start(
        self, spec: MethodSpec, kwargs: Mapping[str, Any], context: CallContext, deadline: float, wire: bool
    ) -> TurnCall:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def run() -> Any:
            inside = context.until(deadline)
            use_context(inside if spec.kind == "concurrent" else inside.entered(self.id, self._label(spec)))
            answer = await spec.function(self.actor, **kwargs)
            if isinstance(answer, Ready):
                return answer.json if wire else loads(answer.json)
            return dumps(answer) if wire and not _is_wire(answer) else answer

        call = TurnCall(run, future, deadline)
        if spec.kind == "concurrent":
            self._start_beside(call)
        else:
            self._enqueue(call)
            self._dispatch()
        return call

    def run_turn(
        self,
        start: Callable[[], Coroutine[Any, Any, Any]],
        *,
        beside: bool = False,
        seconds: float | None = None,
    ) -> TurnCall:
        """Queue a turn of the runtime's own (or one beside the turns), without a limit of time if `seconds` is None."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = TurnCall(start, future, float("inf") if seconds is None else time.monotonic() + seconds)
        if beside:
            self._run(call)
            self._beside.add(call)
        else:
            self._enqueue(call)
            self._dispatch()
        return call

    def _start_beside(self, call: TurnCall) -> None:
        most = self.host.settings.limits.concurrent_calls
        if len(self._beside) >= most:
            raise ActorOverloaded(
                f"{most} runs or exports of this actor are under way already.",
                hint="Wait for one to end; a retry is safe.",
                limit="concurrent_calls",
                retry_after=1,
            )
        self._beside.add(call)
        self._run(call)

    def _refuse_cycle(self, spec: MethodSpec, context: CallContext) -> None:
        if spec.kind != "concurrent" and any(actor == self.id for actor, _ in context.chain):
            chain = [label for _, label in context.chain] + [self._label(spec)]
            raise ActorDeadlock(
                "The call comes back to an actor that waits for it: " + " → ".join(chain) + ".",
                hint="Return from the first call before this one, or make one of them a concurrent method.",
                chain=chain,
            )

    def _label(self, spec: MethodSpec) -> str:
        return f"{self.address.type}/{self.address.name[:40]}.{spec.name}"

    # Order

    def _dispatch(self) -> None:
        """Start what may start, in order of arrival."""
        queue = self._queue
        while queue and self._turn is None:
            head = queue[0]
            if head.future.done():  # given up while it waited
                queue.popleft()
            elif isinstance(head, Unit):
                self.connection.submit(queue.popleft())  # type: ignore[arg-type]
            elif self.connection.pending:
                return
            else:
                queue.popleft()
                self._turn = head
                self._run(head)

    def _units_done(self) -> None:
        if self._queue:
            self._dispatch()
        else:
            self.host.rested()

    def _run(self, call: TurnCall) -> None:
        call.task = asyncio.get_running_loop().create_task(self._run_to_end(call))

    async def _run_to_end(self, call: TurnCall) -> None:
        call.started = True
        try:
            if not call.future.done():
                left = call.deadline - time.monotonic()
                async with asyncio.timeout(None if left == float("inf") else left) as scope:
                    answer = await call.start()
                if not call.future.done():
                    call.future.set_result(answer)
        except asyncio.CancelledError:
            if call.given_up:
                call.future.cancel()
            else:
                _fail(call, Cancelled("The call was cancelled from within."))
        except Exception as error:  # the turn's boundary: whatever a method raises is its caller's to see
            _fail(call, _late() if isinstance(error, TimeoutError) and scope.expired() else error)
        finally:
            self.last_used = self.host.clock.now()
            if self._turn is call:
                self._turn = None
            self._beside.discard(call)
            self._dispatch()
            self.host.rested()

    def cancel(self, handle: Handle) -> None:
        """Give a call up: it is not started, or interrupted and rolled back."""
        if isinstance(handle, Unit):
            self.connection.cancel(handle)
        else:
            handle.cancel()

    # State

    def look_back(self, tx: Transaction) -> None:
        """Find what a crash left: alarms that the directory may not know of, jobs that ran."""
        self._alarms_left = tx.all("SELECT name, due FROM main._duralite_alarms WHERE dead = 0")
        self._jobs_left = tx.one("SELECT 1 FROM main._duralite_jobs WHERE state = 'running'") is not None

    async def after_open(self) -> None:
        """Take up what `look_back` found."""
        if self._alarms_left:
            await self.host.alarms.index(self.id, self.address, self._alarms_left)
            self._alarms_left = []
        if self._jobs_left:
            await self.jobs.recover()
        await self.actor.after_open()

    def abandon(self, error: DuraliteError) -> None:
        """Fail whatever waits or runs, and interrupt it."""
        for call in (*self._queue, *self._beside, *([self._turn] if self._turn else [])):
            _fail(call, error)
            if isinstance(call, TurnCall):
                call.cancel()
        self._queue.clear()
        self.connection.abandon(error)

    @property
    def busy(self) -> bool:
        """Whether anything runs, waits or holds the actor open."""
        return bool(self.connection.pending or self._queue or self._turn or self._beside or self.held)

    @property
    def version(self) -> str:
        """A tag that changes with every commit, for ETag; read it inside a unit."""
        return f"{self._boot}-{self.connection.version}"

    def stats(self) -> InstanceStats:
        """Return a snapshot."""
        return InstanceStats(
            id=self.id,
            address=self.address,
            waiting=len(self._queue),
            running=self.connection.pending + len(self._beside) + (self._turn is not None),
            idle_s=0.0 if self.busy else max(0.0, self.host.clock.now() - self.last_used),
            version=self.connection.version,
        )

    async def close(self, *, discard: bool = False, spare: asyncio.Task[Any] | None = None) -> None:
        """Let running calls end (or cancel them, with `discard`), checkpoint, and close the file. Idempotent.

        `spare` is a call of the actor itself that is not waited for, because it waits for this.
        """
        if self.closing:
            await self.closed.wait()
            return
        self.closing = True
        try:
            if discard:
                self.abandon(ActorClosed("The actor was deleted.", hint="A new call makes a new, empty one."))
            while self._queue or self._tasks(spare):
                # Not gather(): a closer that goes away must not take the calls with it.
                if tasks := self._tasks(spare):
                    await asyncio.wait(tasks)
                self._dispatch()
                if self._queue and not self._tasks(spare):
                    await asyncio.wait([self._queue[0].future])
            await self.actor.on_close()
        finally:
            try:
                await self.connection.close()
            finally:
                self.closed.set()

    def _tasks(self, spare: asyncio.Task[Any] | None) -> list[asyncio.Task[None]]:
        calls = (*self._beside, *([self._turn] if self._turn else []))
        return [call.task for call in calls if call.task is not None and call.task is not spare]


def _fail(call: Handle, error: BaseException) -> None:
    if not call.future.done():
        call.future.set_exception(error)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The call did not end by its deadline.", hint="Split the work, or run it as a job.", limit="call_s"
    )


def _waited() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The call waited for the actor until its deadline, and was not started.",
        hint="Retry, which is safe, or give the call more time.",
        limit="call_s",
    )


def _is_wire(answer: Any) -> bool:
    """Tell whether an answer is on its way to the wire already: bytes, or a stream of them."""
    return isinstance(answer, bytes) or hasattr(answer, "__duralite_stream__")
