"""A real server with a small actor type: statements and state as the session has them, and methods that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from actors.session.state import StateMethods
from actors.session.statements import StatementMethods
from actors.session.transfer import TransferMethods
from runtime.actor import Actor
from runtime.gateway.testing import LiveServer, live_server
from runtime.guard import SESSION, Policy
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.testing import ManualClock


class Notes(StatementMethods, StateMethods, TransferMethods, Actor, type_name="notes"):
    """An actor for tests of the HTTP edge."""

    policy: ClassVar[Policy | None] = SESSION
    ttl: ClassVar[timedelta | None] = timedelta(hours=1)
    gate: ClassVar[asyncio.Event]
    entered: ClassVar[asyncio.Event]

    @method()
    def add(self, tx: Transaction, text: str) -> dict[str, int]:
        """Add one line to a table, and return how many there are."""
        tx.execute("CREATE TABLE IF NOT EXISTS lines (text TEXT)")
        tx.execute("INSERT INTO lines VALUES (?)", (text,))
        row = tx.one("SELECT count(*) FROM lines")
        return {"lines": row[0] if row else 0}

    @method()
    def add_then_break(self, tx: Transaction, text: str, fail: bool) -> dict[str, int]:
        """Add one line, then fail if asked to."""
        answer = self.add(tx, text)
        if fail:
            raise RuntimeError("secret detail of the inside")
        return answer

    @method()
    async def slow_add(self, text: str) -> dict[str, Any]:
        """Wait at the gate, then add one line."""
        type(self).entered.set()
        await type(self).gate.wait()
        return await self.storage.run(lambda tx: self.add(tx, text))

    @method(concurrent=True, scope="run")
    async def run(self, code: str) -> dict[str, Any]:
        """Pretend to run code."""
        return {"status": "ok", "value": code, "session": self.name}

    @method(read_only=True)
    def broken(self, tx: Transaction) -> Any:
        """Answer with something that has no JSON form."""
        return object()

    @method(public=False)
    def hidden(self, tx: Transaction) -> int:
        """Not for the outside."""
        return 1

    @method(concurrent=True)
    async def say(self, what: str) -> None:
        """Publish an event."""
        self.publish("said", {"what": what})


@pytest.fixture(autouse=True)
def gate() -> asyncio.Event:
    Notes.gate = asyncio.Event()
    Notes.entered = asyncio.Event()
    return Notes.gate


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def live(tmp_path: Path, clock: ManualClock) -> AsyncIterator[LiveServer]:
    async with live_server(tmp_path / "data", Notes, clock=clock) as server:
        yield server


@pytest.fixture
async def client(live: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=20) as http:
        yield http


@pytest.fixture
def notes() -> type[Notes]:
    return Notes
