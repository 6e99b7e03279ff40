"""A catalogue of an account of its own for each test, over one service, with a folder of others' files open."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runtime.host import Host
from runtime.namespace import Stub
from runtime.streams import Upload
from runtime.testing import harness

Add = Callable[..., Awaitable[dict[str, Any]]]
Ended = Callable[[str], Awaitable[Any]]

SALES = (
    b"id,customer,amount,code,day\n1,1,9.50,007,2024-01-01\n2,2,3,008,2024-01-02\n3,1,1.5,009,2024-02-03\n"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files may be registered by path."""
    return tmp_path_factory.mktemp("opened")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory, opened: Path) -> AsyncIterator[Host]:
    """One service for all tests of a file: its workers stay warm."""
    types = ("actors.sources:SourcesActor", "actors.session:SessionActor", "actors.project:ProjectActor")
    async with harness(tmp_path_factory.mktemp("data"), *types, source_folders=(opened,)) as host:
        yield host


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    """An account that nobody else uses."""
    return re.sub(r"[^a-z0-9_]", "_", request.node.name.lower())[:60]


@pytest.fixture
def files(opened: Path, account: str) -> Path:
    """A folder of files of others."""
    folder = opened / account
    folder.mkdir()
    return folder


@pytest.fixture
def sources(host: Host, account: str) -> Stub:
    """The account's catalogue."""
    return host.namespace("sources", account).get("default")


@pytest.fixture
def ended(sources: Stub) -> Ended:
    """Wait for an import or a copy and return its record."""

    async def wait(job_id: str) -> Any:
        async for _ in (await sources.watch_import(job_id)).chunks:
            pass
        return await sources.get_job(job_id)

    return wait


@pytest.fixture
def add(tmp_path: Path, sources: Stub, ended: Ended) -> Add:
    """Upload a file, wait until its import has ended, and return the source."""

    async def upload(content: bytes, filename: str, **given: Any) -> dict[str, Any]:
        path = tmp_path / "upload"
        path.write_bytes(content)
        made = await sources.create(Upload(path, len(content), "application/octet-stream", filename), **given)
        if "importId" in made:
            await ended(made["importId"])
        found: dict[str, Any] = await sources.get(made["id"])
        return found

    return upload
