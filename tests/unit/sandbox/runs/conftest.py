"""A host whose sessions have the tools of the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import harness
from tests.acceptance.ledger import LedgerSession


class Ground:
    """A data folder, over which one host after the other may run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def host(self, **settings: Any) -> AbstractAsyncContextManager[Host]:
        """Give a started host."""
        return harness(self.folder / "data", LedgerSession, **settings)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A folder of its own, the ledger's too."""
    monkeypatch.setattr(LedgerSession, "ledger_folder", tmp_path)
    return Ground(tmp_path)


@pytest.fixture
async def host(ground: Ground) -> AsyncIterator[Host]:
    """A host with the default settings."""
    async with ground.host() as host:
        yield host


@pytest.fixture
def session(host: Host) -> Stub:
    """A session with code mode and tools."""
    return host.namespace("session").get("a")
