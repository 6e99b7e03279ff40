"""An idempotency key makes a call happen once, however often its request arrives.

For a unit, the key and the answer are written in the transaction of the effect: there is no moment at which one
stands without the other. A turn or concurrent method spans several transactions, so the key is claimed first and
the answer is put in when it ends; a claim without an answer means that the call runs, or was cut off by a crash.
A call that fails leaves no key behind: it may be tried again. Keys are forgotten after `idempotency_s`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from runtime.context import CallContext
from runtime.errors import Conflict, IdempotencyConflict, InputError
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.instance import Instance
from runtime.method import MethodSpec
from runtime.storage.transaction import Transaction
from runtime.values import dumps

__all__ = ("Keyed", "Once", "check_key", "fingerprint")

_FORGET_AT_ONCE = 100


def check_key(key: bytes) -> str:
    """Return an Idempotency-Key header's value: 1 to 255 printable ASCII characters.

    Raises:
        InputError: it is something else.
    """
    text = key.strip().decode("latin-1")
    if not 1 <= len(text) <= 255 or not text.isascii() or not text.isprintable():
        raise InputError(
            "The Idempotency-Key is not valid.",
            hint="Use 1 to 255 printable ASCII characters, such as a UUID.",
        )
    return text


def fingerprint(method: str, arguments: Mapping[str, Any], content: str = "") -> str:
    """Return a hash of what a request asks for; `content` is that of an uploaded file."""
    text = orjson.dumps(arguments, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(method.encode() + b"\0" + content.encode() + b"\0" + text).hexdigest()


@dataclass(frozen=True, slots=True)
class Keyed:
    """A call with its key. `request` is the fingerprint of what it asks for; `kwargs` are checked arguments."""

    address: ActorAddress
    spec: MethodSpec
    kwargs: Mapping[str, Any]
    context: CallContext
    key: str
    request: str


class Once:
    """Calls with an idempotency key."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._keep_s = host.settings.limits.idempotency_s
        self._running: set[tuple[ActorAddress, str]] = set()

    async def call(self, keyed: Keyed) -> tuple[bytes, bool]:
        """Return the answer as JSON bytes, and whether it is a replay of an earlier one.

        Raises:
            IdempotencyConflict: the key was used for another request.
            Conflict: the first request with the key still runs, or was cut off.
        """
        return await (self._unit(keyed) if keyed.spec.kind == "unit" else self._beside(keyed))

    async def _unit(self, keyed: Keyed) -> tuple[bytes, bool]:
        replayed = False

        def wrap(run: Any, tx: Transaction) -> bytes:
            nonlocal replayed
            # A unit may be run a second time after an accident of its group.
            replayed = False
            stored = self._look_up(tx, keyed)
            if stored is not None:
                if stored[0] is None:
                    raise _still_running()
                replayed = True
                return stored[0]
            answer = dumps(run(tx))
            tx.execute(
                "INSERT INTO main._duralite_idempotency (key, request, answer, created) VALUES (?, ?, ?, ?)",
                (keyed.key, keyed.request, answer, tx.now),
            )
            return answer

        answer = await self._host.call(
            keyed.address, keyed.spec, keyed.kwargs, keyed.context, wire=True, wrap=wrap
        )
        return answer, replayed

    async def _beside(self, keyed: Keyed) -> tuple[bytes, bool]:
        claim = (keyed.address, keyed.key)
        if claim in self._running:
            raise _still_running()
        self._running.add(claim)
        # It goes on when its caller goes away: that is who will send the request again and wants the answer.
        task = asyncio.ensure_future(self._to_its_end(keyed))
        task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _to_its_end(self, keyed: Keyed) -> tuple[bytes, bool]:
        try:
            instance = await self._host.acquire(keyed.address, held=True, deadline=keyed.context.deadline)
            assert instance is not None
            try:
                return await self._claimed(instance, keyed)
            finally:
                self._host.release(instance)
        finally:
            self._running.discard((keyed.address, keyed.key))

    async def _claimed(self, instance: Instance, keyed: Keyed) -> tuple[bytes, bool]:
        def claim(tx: Transaction) -> tuple[bytes | None] | None:
            stored = self._look_up(tx, keyed)
            if stored is None:
                tx.execute(
                    "INSERT INTO main._duralite_idempotency (key, request, answer, created) VALUES (?, ?, NULL, ?)",
                    (keyed.key, keyed.request, tx.now),
                )
            return stored

        def settle(answer: bytes | None) -> Any:
            def write(tx: Transaction) -> None:
                if answer is None:
                    tx.execute("DELETE FROM main._duralite_idempotency WHERE key = ?", (keyed.key,))
                else:
                    tx.execute(
                        "UPDATE main._duralite_idempotency SET answer = ? WHERE key = ?", (answer, keyed.key)
                    )

            return instance.run_unit(write).future

        stored = await instance.run_unit(claim).future
        if stored is not None:
            if stored[0] is None:
                raise Conflict(
                    "The first call with this Idempotency-Key was cut off before its end.",
                    hint="See what it has done, then send the call with a new key.",
                )
            return stored[0], True
        try:
            answer = await self._host.call(
                instance.address, keyed.spec, keyed.kwargs, keyed.context, wire=True
            )
            if type(answer) is not bytes:
                raise InputError(
                    "This method streams its answer, which cannot be kept for an Idempotency-Key.",
                    hint="Leave the header out.",
                )
        except BaseException:
            await settle(None)
            raise
        await settle(answer)
        return answer, False

    def _look_up(self, tx: Transaction, keyed: Keyed) -> tuple[bytes | None] | None:
        """Return the stored answer in a tuple (None in it: claimed), or None for a new key; forget old ones."""
        tx.execute(
            "DELETE FROM main._duralite_idempotency WHERE key IN ("
            "SELECT key FROM main._duralite_idempotency WHERE created < ? LIMIT ?)",
            (tx.now - self._keep_s, _FORGET_AT_ONCE),
        )
        row = tx.one(
            "SELECT request, answer, created FROM main._duralite_idempotency WHERE key = ?", (keyed.key,)
        )
        if row is None:
            return None
        if row[2] < tx.now - self._keep_s:
            tx.execute("DELETE FROM main._duralite_idempotency WHERE key = ?", (keyed.key,))
            return None
        if row[0] != keyed.request:
            raise IdempotencyConflict(
                "This Idempotency-Key came before with another request.",
                hint="Use a new key for each new request.",
            )
        return (None if row[1] is None else bytes(row[1]),)


def _seen(task: asyncio.Task[tuple[bytes, bool]]) -> None:
    """Take note of how a call ended whose caller has gone, so that asyncio does not complain of it."""
    if not task.cancelled():
        task.exception()


def _still_running() -> Conflict:
    return Conflict(
        "The first call with this Idempotency-Key still runs.",
        hint="Wait, and send the same request again.",
        retry_after=1,
    )
