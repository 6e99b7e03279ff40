"""Writing a table as a file, from the service's side: a worker writes, and a text file is sent on while it grows.

A reader that is slow holds no worker up: the file grows at its own pace, and the reader follows.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from runtime.streams import Download
from runtime.tabular.columns import Column
from runtime.tabular.options import options_of
from runtime.tabular.reading import whole
from runtime.tabular.write import MEDIA_TYPES, WriteFormat, WriteOptions
from runtime.workers.pool import Workers

__all__ = ("download", "write_options", "write_table")

R = TypeVar("R")
_PIECE = 256 * 1024
_TASK = "runtime.tabular.write:write"


def write_options(options: WriteOptions | Mapping[str, Any] | None) -> WriteOptions:
    """Return options from plain data.

    Raises:
        InputError: they are not valid; the message says which and why.
    """
    return options_of(WriteOptions, options, "export options")


async def write_table(
    workers: Workers,
    file: Path,
    sql: str,
    columns: Sequence[Column],
    format: WriteFormat,
    target: Path,
    *,
    parameters: Sequence[Any] = (),
    options: WriteOptions | Mapping[str, Any] | None = None,
    live: bool = True,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    account: str | None = None,
) -> dict[str, Any]:
    """Write what `sql` reads from an SQLite file to `target` and return {rows, bytes}.

    `sql` is the runtime's own, with one result column for each of `columns`. With `live` the file is that of an
    actor (`shared_file`), which must be held open meanwhile; else a staging file. If it fails, no file stays.
    """
    args = {
        "file": whole(file),
        "sql": sql,
        "parameters": list(parameters),
        "columns": [column.plain() for column in columns],
        "format": format,
        "target": whole(target),
        "options": write_options(options).model_dump(),
        "live": live,
    }
    try:
        written = await workers.run(_TASK, args, on_progress=on_progress, account=account)
    except BaseException:
        await asyncio.shield(_in_thread(lambda: target.unlink(missing_ok=True)))
        raise
    return dict(written)


async def download(
    workers: Workers,
    file: Path,
    sql: str,
    columns: Sequence[Column],
    format: WriteFormat,
    name: str,
    *,
    parameters: Sequence[Any] = (),
    options: WriteOptions | Mapping[str, Any] | None = None,
    hold: Callable[[], Callable[[], None]] | None = None,
    account: str | None = None,
    folder: Path | None = None,
) -> Download:
    """Return a table as a body that is sent in pieces, `name` without its ending.

    It returns when the first bytes are there (csv, ndjson), or the whole file (parquet, xlsx), so that what fails
    before is an error and no cut body. `hold` is called before the worker opens the file; what it returns is called
    when the worker is done with it. The file lies in a folder of its own within `folder` (None: the system's).
    """
    place = await _in_thread(lambda: _temporary(folder))
    export = _Export(place, place / f"data.{format}", follow=format in ("csv", "ndjson"))
    release = hold() if hold is not None else None
    work = asyncio.get_running_loop().create_task(
        write_table(
            workers,
            file,
            sql,
            columns,
            format,
            export.target,
            parameters=parameters,
            options=options,
            on_progress=export.progress,
            account=account,
        )
    )
    work.add_done_callback(lambda _: export.end(release))
    export.work = work
    try:
        await export.begun()
    except BaseException:
        await export.close()
        raise
    chunks = export.chunks()
    # A body that nobody begins to read never comes to its end.
    weakref.finalize(chunks, shutil.rmtree, place, True)
    return Download(chunks, MEDIA_TYPES[format], f"{name}.{format}")


def _temporary(folder: Path | None) -> Path:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="export-" if folder else "duralite-export-", dir=folder)).absolute()


class _Export:
    """A file that a worker writes, and how much of it is there."""

    work: asyncio.Task[dict[str, Any]]

    def __init__(self, folder: Path, target: Path, *, follow: bool) -> None:
        self.target = target
        self._folder = folder
        self._follow = follow
        self._ready = 0
        self._changed = asyncio.Event()

    def progress(self, report: dict[str, Any]) -> None:
        """Take note of what the worker says."""
        if self._follow:
            self._ready = int(report["bytes"])
            self._changed.set()

    def end(self, release: Callable[[], None] | None) -> None:
        """Take note that the worker is done."""
        self._changed.set()
        if release is not None:
            release()

    async def begun(self) -> None:
        """Return when there is something to send; raise what the worker raised."""
        while not self.work.done() and not self._ready:
            await self._wait()
        if self.work.done():
            self.work.result()

    async def _wait(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file as it grows, and remove it at the end, also when the reader goes away."""
        sent = 0
        source: BinaryIO | None = None
        try:
            source = await _in_thread(lambda: self.target.open("rb"))
            while True:
                done = self.work.done()
                while done or sent < self._ready:
                    piece = await _in_thread(lambda: source.read(_PIECE))
                    if not piece:
                        break
                    sent += len(piece)
                    yield piece
                if done:
                    self.work.result()  # a body that the worker could not end is cut, loudly
                    return
                await self._wait()
        finally:
            if source is not None:
                source.close()
            with suppress(RuntimeError):
                await self.close()

    async def close(self) -> None:
        """End the worker if it still writes, and remove the file."""
        self.work.cancel()
        await asyncio.wait([self.work])
        if not self.work.cancelled():
            self.work.exception()
        await _in_thread(lambda: shutil.rmtree(self._folder, True))


async def _in_thread(function: Callable[[], R]) -> R:
    return await asyncio.get_running_loop().run_in_executor(None, function)
