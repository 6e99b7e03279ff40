"""Files on their way between the command line and a service: sent and saved piece by piece, jobs followed to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress, TaskID

from runtime.cli.client import Client
from runtime.cli.failure import ServiceError
from runtime.cli.output import Output

__all__ = ("file_name", "follow", "pieces", "save", "send")

_PIECE = 256 * 1024
_LOOK_S = 0.15


def file_name(name: str) -> str:
    """Return an actor's name as part of a file's name."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "_" for c in name)[:60]


async def save(
    client: Client, out: Output, path: str, query: Mapping[str, Any], target: Path, *, force: bool
) -> int:
    """Save a download as a file, whose name appears only with the whole content; return its size.

    Raises:
        UsageError: the file is there already, or its folder is not.
        ServiceError: the service refused.
    """
    if _there(target) and not force:
        raise click.UsageError(f"{target} is there already; --force writes over it.")
    if not _there(target.parent):
        raise click.UsageError(f"There is no folder {target.parent}.")
    partial = target.with_name(f".{target.name}.partial")
    size = 0
    try:
        with out.progress() as progress:
            task = progress.add_task(f"export {target.name}", total=None)
            async with client.download(path, query) as answer:
                with partial.open("wb") as file:
                    async for piece in answer.aiter_bytes():
                        size += len(piece)
                        file.write(piece)
                        progress.update(task, completed=size)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return size


async def send(client: Client, out: Output, path: str, file: Path, query: Mapping[str, Any]) -> Any:
    """Send a file as the body of a request and return the JSON answer."""
    size = _size(file)
    with out.progress() as progress:
        task = progress.add_task(f"import {file.name}", total=size)
        return await client.upload(path, pieces(file, progress, task), size, query)


def _there(file: Path) -> bool:
    return file.exists()


def _size(file: Path) -> int:
    return file.stat().st_size


async def pieces(file: Path, progress: Progress, task: TaskID) -> AsyncIterator[bytes]:
    """Yield a file in pieces, each told to a progress bar."""
    with file.open("rb") as stream:
        while piece := await asyncio.to_thread(stream.read, _PIECE):
            yield piece
            progress.advance(task, len(piece))


async def follow(client: Client, out: Output, path: str, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Wait for a job of the actor at `path`, with a bar that shows how far it is, and return its last record.

    Raises:
        ServiceError: the job failed, or was cancelled.
    """
    record = job
    with out.progress(share=True) as progress:
        task = progress.add_task(record["kind"], total=None)
        while record["state"] == "running":
            await asyncio.sleep(_LOOK_S)
            record = await client.call("GET", f"{path}/get_job", query={"id": job["id"]})
            about = " ".join(filter(None, (job["kind"], record["phase"], record["message"])))
            progress.update(task, description=about, completed=record["done"], total=record["total"])
    if record["state"] != "done":
        raise ServiceError(dict(record["error"] or {"detail": f"The job ended as {record['state']}."}))
    return record
