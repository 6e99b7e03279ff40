"""The funnel is the one door from a program to the world: each helper call of a run goes through `Funnel.call`.

Only helpers that the actor has can be reached; their arguments are checked like those of any other caller. What
was called before a crash is answered from the journal, what is marked waits for an approval, and what is done is
written into the journal as it is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from helpers.api import db_helpers
from helpers.search import DISCOVERY, discover
from runtime.actor import Actor
from runtime.context import CallContext
from runtime.errors import (
    ActorClosed,
    Conflict,
    DuraliteError,
    Interrupted,
    NotFound,
    Rejected,
    Unavailable,
)
from runtime.instance import Instance, Wrap
from runtime.method import MethodSpec
from runtime.storage.transaction import Transaction
from sandbox import codec
from sandbox.engine import Encoded, HelperSpec
from sandbox.runs.approvals import why_ask
from sandbox.runs.journal import Divergence, Entry, Journal, Recorded, Replayed
from sandbox.runs.result import CALLS_LISTED, RunCall

if TYPE_CHECKING:
    from sandbox.tools.staging import Staged
    from sandbox.tools.toolbox import ToolBox

__all__ = ("Door", "Funnel", "Reach", "helpers_of")


@dataclass(frozen=True, slots=True)
class Door:
    """What a program may call: the helper as it sees it, and the method behind it (None: a tool, or discovery)."""

    helper: HelperSpec
    method: MethodSpec | None

    @property
    def outside(self) -> bool:
        """Whether a call leaves the actor's own transactions."""
        if self.method is None:
            return self.helper.namespace != "helpers"
        return self.method.kind != "unit" and not self.helper.read_only

    @property
    def again(self) -> bool:
        """Whether a call may be made twice."""
        return self.helper.read_only or self.helper.idempotent


Reach = tuple[tuple[HelperSpec, ...], Mapping[str, Door]]
"""What code sees of an actor, and what is behind it."""


class Funnel:
    """The host's side of one attempt at a run (`sandbox.engine.Host`).

    `marks` are the calls that need an approval. With `look`, nothing is done: every answer comes from the record.
    `on_pause` is part of the unit that pauses the run. `stopped` says why the funnel ended the run itself; `engine`
    is the task that it then cancels.
    """

    def __init__(
        self,
        instance: Instance,
        reach: Reach,
        journal: Journal,
        context: CallContext,
        *,
        marks: Sequence[str] = (),
        look: bool = False,
        on_pause: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        self.calls: list[RunCall] = []
        self.count = 0
        self.writes = 0
        self.printed: list[str] = []
        self.stopped: Literal["paused", "leaving"] | Divergence | None = None
        self.engine: asyncio.Task[Any] | None = None
        self._instance = instance
        self.helpers, self._doors = reach
        self._journal = journal
        self._context = context
        self._marks = marks
        self.look = look
        self._on_pause = on_pause
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._pausing: asyncio.Task[None] | None = None
        self._resting = False

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Serve one helper call."""
        door = self._doors.get(name)
        if door is None:
            known = ", ".join(sorted(self._doors)[:60])
            raise NotFound(f"There is no helper {name!r:.80}.", hint=f"Helpers: {known}.")
        started = time.perf_counter()
        call = RunCall(name, 0.0)
        self.count += 1
        if len(self.calls) < CALLS_LISTED:
            self.calls.append(call)
        try:
            return Encoded(await self._serve(door, args, kwargs))
        except DuraliteError as error:
            kind = error.extra["exception"] if isinstance(error, Replayed) else type(error).__name__
            call.error = f"{kind}: {error.message}"[:300]
            raise
        except Divergence as divergence:
            self._stop(divergence)
            return await _for_ever()
        finally:
            call.ms = round((time.perf_counter() - started) * 1e3, 3)

    def output(self, stream: str, text: str) -> None:
        """Keep printed text for a run that pauses; else the outcome carries it."""
        self.printed.append(text)

    async def aclose(self) -> None:
        """Let go of a pause that came to nothing because the run ended. Idempotent."""
        if self._pausing is not None:
            self._pausing.cancel()
            await asyncio.wait([self._pausing])

    # One call

    async def _serve(self, door: Door, args: list[Any], kwargs: dict[str, Any]) -> bytes:
        name = door.helper.path
        bound = kwargs
        if door.method is not None:
            bound = door.method.bind_call(args, kwargs)
            if door.method.helper == "rows":
                bound["row_format"] = "arrays"
        entry = self._journal.enter(name, args, kwargs, awaited=door.helper.awaitable)
        if entry.recorded is not None:
            return await self._again(door, entry, args, bound)
        await self._journal.catch_up(entry, wait=door.helper.awaitable)
        if self.look:
            raise Divergence(f"it calls {name} with {entry.args[:200]}, which is not in the record")
        if (why := why_ask(self._marks, name, bound)) is not None:
            return await self._ask(entry, args, kwargs, why)
        return await self._do(door, entry, args, bound)

    async def _again(self, door: Door, entry: Entry, args: list[Any], bound: dict[str, Any]) -> bytes:
        """Serve a call that is in the journal."""
        recorded = entry.recorded
        assert recorded is not None
        if recorded.state in ("ok", "error"):
            data = await self._recall(entry, recorded)
            self.writes += recorded.wrote
            return data
        if recorded.state == "cancelled":
            self.writes += recorded.wrote
            return await _for_ever()  # as the first time, until the program gives it up
        if self.look:
            raise Divergence(f"the call of {entry.name} did not end in the record")
        await self._journal.catch_up(entry, wait=True)
        if recorded.state == "rejected":
            return await self._reject(entry, recorded.id)
        if recorded.state == "started" and not (door.helper.read_only or door.helper.idempotent):
            error = Interrupted(
                f"The service ended while {entry.name} was under way: it may have happened.",
                hint="Look whether it did, before you call it again.",
                exception="ToolError",
            )
            return await self._fail(entry, error)
        if recorded.state == "asked":
            return await self._ask(entry, args, bound, "asked before")
        return await self._do(door, entry, args, bound)

    async def _reject(self, entry: Entry, number: int) -> bytes:
        run = self._journal.run

        def reason(tx: Transaction) -> str:
            row = tx.one(
                "SELECT result FROM main._duralite_run_calls WHERE run = ? AND id = ?", (run, number)
            )
            return str(orjson.loads(row[0])["reason"]) if row is not None else ""

        said = await self._instance.connection.run(reason, read_only=True)
        error = Rejected(
            f"{entry.name} was not approved" + (f": {said}" if said else "."),
            hint="Do without this call, or end and say what is needed.",
        )
        return await self._fail(entry, error)

    async def _recall(self, entry: Entry, recorded: Recorded) -> bytes:
        try:
            return await self._journal.recall(entry, recorded)
        except asyncio.CancelledError:
            self._journal.give_up(entry)
            raise

    async def _fail(self, entry: Entry, error: DuraliteError) -> bytes:
        """Give an error in the place of a call that is not made."""
        self._journal.note_error(entry, error)
        await self._journal.turn(entry)
        raise error

    async def _do(self, door: Door, entry: Entry, args: list[Any], bound: dict[str, Any]) -> bytes:
        """Make a call for the first time."""
        if self._resting:
            return await _for_ever()  # it is made when the run goes on
        self._under_way += 1
        try:
            try:
                data = await self._make(door, entry, args, bound)
            except DuraliteError as error:
                self._journal.note_error(entry, error)
                await self._settle(door)
                await self._journal.turn(entry)
                raise
            await self._settle(door)
            await self._journal.turn(entry)
            return data
        except asyncio.CancelledError:
            # Its effect may stand all the same: a retry of the run would not be safe.
            maybe = not door.helper.read_only
            self.writes += maybe
            self._journal.give_up(entry)
            if self.engine is None or not self.engine.cancelling():
                # The program gave it up, and will again. What ends with the attempt is not kept: it may be resumed.
                self._journal.note(entry, "cancelled", None, wrote=maybe)
            raise
        except DuraliteError:
            raise
        except Exception:  # not ours to understand; but nobody may wait for its turn
            self._journal.give_up(entry)
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def _settle(self, door: Door) -> None:
        """Have what a call gave in the file before the program sees it, where it cannot be asked for again."""
        if self._journal.crowded or (door.outside and not door.again):
            await self._journal.flush()

    async def _make(self, door: Door, entry: Entry, args: list[Any], bound: dict[str, Any]) -> bytes:
        if door.outside:
            return await self._outside(door, entry, args, bound)
        if door.method is None:
            data = codec.encode(discover(self.helpers, door.helper.path, args, bound))
        elif not door.helper.read_only:
            return await self._effect(door.method, entry, bound)
        else:
            data = await self._send(door.method, bound)
        self._journal.note(entry, "ok", data)
        return data

    async def _send(self, spec: MethodSpec, bound: dict[str, Any]) -> bytes:
        return await self._call(spec, bound, None)

    async def _call(self, spec: MethodSpec, bound: dict[str, Any], wrap: Wrap | None) -> bytes:
        instance = self._instance
        host = instance.host
        try:
            data: bytes = await host.call(instance.address, spec, bound, self._context, wire=True, wrap=wrap)
        except (Unavailable, ActorClosed):
            if host.accepting or self._journal.off:
                raise
            # The service shuts down: the program must not see that, for it goes on with the next start.
            self._stop("leaving")
            return await _for_ever()
        return data

    async def _effect(self, spec: MethodSpec, entry: Entry, bound: dict[str, Any]) -> bytes:
        """Do what changes the database: its row in the journal commits with it."""
        await self._journal.begun()
        wrap, committed = self._journal.wrap(entry)
        data = await self._call(spec, bound, wrap)
        committed()
        self.writes += 1
        return data

    async def _outside(self, door: Door, entry: Entry, args: list[Any], bound: dict[str, Any]) -> bytes:
        """Do what leaves the actor: it is in the journal before it is sent, unless it may be sent twice."""
        if not door.again:
            self._journal.note(entry, "started", None)
            await self._journal.flush()
        if door.method is not None:
            data = await self._send(door.method, bound)
        else:
            found = await self._tool(door, args, bound)
            if not isinstance(found, bytes):
                return await self._stage(entry, found)
            data = found
        wrote = not door.helper.read_only
        self.writes += wrote
        self._journal.note(entry, "ok", data, wrote=wrote)
        return data

    async def _tool(self, door: Door, args: list[Any], kwargs: dict[str, Any]) -> bytes | Staged:
        toolbox: ToolBox = self._instance.host.services["tools"]
        left = self._context.seconds_left()
        answer = await toolbox.call(
            self._instance.address,
            door.helper.path,
            args,
            kwargs,
            timeout_s=left if left is not None else 0.0,
        )
        return codec.encode(answer.value) if answer.staged is None else answer.staged

    async def _stage(self, entry: Entry, staged: Staged) -> bytes:
        """Write a tool's result into its table, in one transaction with its row in the journal."""
        await self._journal.begun()
        wrap, committed = self._journal.wrap(entry)
        unit = self._instance.run_unit(lambda tx: wrap(staged.write, tx), method=entry.name)
        try:
            data: bytes = await unit.future
        except asyncio.CancelledError:
            self._instance.cancel(unit)
            raise
        committed()
        self.writes += 1
        return data

    # Pausing

    async def _ask(self, entry: Entry, args: list[Any], kwargs: dict[str, Any], why: str) -> bytes:
        """Have the run pause for an approval of this call. Never returns."""
        await self._journal.begun()
        if self._journal.off:
            raise Conflict(
                f"{entry.name} needs an approval ({why}), and this run cannot wait for one: it is not recorded.",
                hint="Make room in the database, or run less at once.",
            )
        self._journal.note_asked(entry, args, kwargs, why)
        if self._pausing is None:
            self._pausing = asyncio.get_running_loop().create_task(self._pause())
        return await _for_ever()

    async def _pause(self) -> None:
        """Let calls that are under way come to their end, write down what is asked, and end the attempt."""
        for _ in range(3):
            await asyncio.sleep(0)  # what the program called in the same breath is asked, or made, together
        self._resting = True
        while self._under_way:
            self._quiet.clear()
            await self._quiet.wait()
        run = self._journal.run

        def pause(tx: Transaction) -> None:
            tx.execute(
                "UPDATE main._duralite_runs SET state = 'paused', paused = ? WHERE id = ?", (tx.now, run)
            )
            self._on_pause(tx)

        await self._journal.pause(pause)
        self._stop("paused")

    def _stop(self, why: Literal["paused", "leaving"] | Divergence) -> None:
        if self.stopped is None and self.engine is not None:
            self.stopped = why
            self.engine.cancel()


async def _for_ever() -> bytes:
    """Wait until the call is cancelled, as every call is when its run ends."""
    await asyncio.Event().wait()
    raise AssertionError("nothing sets this event")


def helpers_of(actor_type: type[Actor], tools: tuple[HelperSpec, ...] = ()) -> Reach:
    """Return what code sees of a type with these tools, and what is behind it.

    The same objects for the same tools: engines know them again.
    """
    found: dict[int, tuple[tuple[HelperSpec, ...], Reach]] | None = vars(actor_type).get("_code_helpers")
    if found is None:
        found = {}
        setattr(actor_type, "_code_helpers", found)  # noqa: B010 - a cache on the class, not part of its interface
    held = found.get(id(tools))
    if held is None or held[0] is not tools:
        own = db_helpers(actor_type.methods.values())
        doors = {helper.path: Door(helper, actor_type.methods[helper.name]) for helper in own}
        doors.update({helper.path: Door(helper, None) for helper in (*DISCOVERY, *tools)})
        helpers = (*own, *DISCOVERY, *tools)
        if len(found) >= _TOOLS_CACHED:
            found.clear()
        held = found[id(tools)] = (tools, (helpers, doors))
    return held[1]


_TOOLS_CACHED = 32
