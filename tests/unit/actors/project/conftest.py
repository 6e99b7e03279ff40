"""Fixtures of the project's tests: a host that knows projects, and a project with the rows of a text."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runtime.clock import SystemClock
from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import harness
from tests.unit.actors.project.parts import SALES, Quiet

Import = Callable[..., Awaitable[Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of one file share an event loop, as the host that they share needs it."""
    for item in items:
        if item.path.parent == Path(__file__).parent and inspect.iscoroutinefunction(
            getattr(item, "function", None)
        ):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """One host for all tests of a file that need no settings of their own: its worker processes are warm."""
    data = tmp_path_factory.mktemp("projects") / "data"
    async with harness(data, Quiet, clock=SystemClock()) as host:
        yield host


_NUMBERS = count(1)


@pytest_asyncio.fixture(loop_scope="module")
async def host(shared_host: Host) -> AsyncIterator[Host]:
    """The shared host, with no files left in its folder for temporary files."""
    yield shared_host
    folder = shared_host.settings.data / "tmp"
    left = [p for p in folder.rglob("*") if p.parent.name != "stages" and p.name != "stages"]
    assert not left


@pytest.fixture
def project(host: Host) -> Stub:
    """A project without data."""
    return host.namespace("project").get(f"p{next(_NUMBERS)}")


@pytest.fixture
def load(project: Stub, tmp_path: Path) -> Import:
    """Import a text (or bytes) as a file and return the job's record."""

    async def load(content: str | bytes, name: str = "file.csv", **options: Any) -> Any:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return await project.import_path(str(file), options=options, wait=True)

    return load


@pytest_asyncio.fixture(loop_scope="module")
async def sales(project: Stub, load: Import) -> Stub:
    """A project with six sales."""
    job = await load(SALES)
    assert job.state == "done", job.error
    return project
