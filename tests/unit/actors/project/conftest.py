"""Fixtures of the project's tests: a host that knows projects, and a project with the rows of a text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.project.actor import ProjectActor
from runtime.clock import SystemClock
from runtime.host import Host
from runtime.namespace import Stub
from runtime.testing import harness

Import = Callable[..., Awaitable[Any]]

SALES = """city,amount,paid,day
Berlin,10.50,true,2024-01-01
Rom,20.25,false,2024-01-02
Berlin,,true,2024-01-03
Oslo,5.00,true,
Rom,100.00,false,2024-02-01
,7.25,,2024-02-02
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host with the project type alone."""
    async with harness(tmp_path / "data", ProjectActor, clock=SystemClock()) as host:
        yield host


@pytest.fixture
def project(host: Host) -> Stub:
    """A project without data."""
    return host.namespace("project").get("p")


@pytest.fixture
def load(project: Stub, tmp_path: Path) -> Import:
    """Import a text (or bytes) as a file and return the job's record."""

    async def load(content: str | bytes, name: str = "file.csv", **options: Any) -> Any:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return await project.import_path(str(file), options=options, wait=True)

    return load


@pytest.fixture
async def sales(project: Stub, load: Import) -> Stub:
    """A project with six sales."""
    job = await load(SALES)
    assert job.state == "done", job.error
    return project
