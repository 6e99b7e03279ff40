"""Fixtures of all tests: a host over a temporary folder, with a clock that stands still."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import ManualClock, harness, until
from tests.scratch import Durable, Few, Mortal, Probe, Scratch


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host that must have nothing left running when it has stopped."""
    async with harness(tmp_path / "data", Scratch, Durable, Mortal, Few, Probe) as host:
        yield host
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left
    await until(lambda: not [t for t in threading.enumerate() if "connection_worker" in t.name])


@pytest.fixture
def clock(host: Host) -> ManualClock:
    """The clock of the host."""
    assert isinstance(host.clock, ManualClock)
    return host.clock


@pytest.fixture
def scratch(host: Host) -> Stub:
    """A session without code mode."""
    return host.namespace("scratch").get("one")


@pytest.fixture
def probe(host: Host) -> Stub:
    """An actor for tests of turns, alarms and jobs."""
    return host.namespace("probe").get("one")
