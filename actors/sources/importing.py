"""How data comes in: an SQLite file is registered, everything else becomes Parquet, a live import follows its file.

An import is a job. It reads and writes beside what is there, and puts the result in place in one transaction; when
it fails, is cancelled, or the service ends, the source keeps the data it had, or says that it has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from actors.sources.catalogue import (
    DataSource,
    Kind,
    Source,
    Table,
    look_up,
)
from actors.sources.ingest import Ingest, size_of
from actors.sources.listing import SourceKey, remove_files
from actors.sources.lite import MAGIC
from actors.sources.parts import in_thread
from actors.sources.progress import ImportProgress, final_progress, stream_progress
from actors.sources.versions import allowed_path, read_state
from runtime.errors import InputError, NotFound
from runtime.ids import new_token
from runtime.jobs import Job
from runtime.method import method
from runtime.streams import Download, Upload
from runtime.tabular.reading import parse_options, preview

__all__ = ("ImportMethods",)

Options = Annotated[
    dict[str, Any] | None,
    Field(description="How to read the file: sheet, header, delimiter, encoding, start_row, types, …"),
]
Name = Annotated[str | None, Field(max_length=200, description="The source's name; else that of the file.")]
OfPath = Annotated[
    str, Field(max_length=4096, description="The file, under a folder that the operator opened.")
]
_INSPECT_S = 60.0
_CHECKED_UP_TO = 256 * 1024 * 1024
_WATCH = "watch"
_LOOK_S = 300.0


class ImportMethods(Ingest):
    """create, register, live_import, refresh, preview, import_progress, watch_import, and the job that imports."""

    _beginning: dict[str, asyncio.Lock]

    @method(concurrent=True, aliases=("POST /api/sources",))
    async def create(
        self,
        upload: Annotated[Upload, Field(description="The file, as the request's body or as a form's file.")],
        name: Name = None,
        options: Options = None,
        filename: Annotated[
            str | None,
            Field(max_length=255, description="What the file is called, where the body does not say."),
        ] = None,
    ) -> DataSource:
        """Make a source of an uploaded file: SQLite is registered as it is, CSV, XLSX and the like are imported.

        The answer comes at once, with `status` and `importId`; follow the import at GET /api/import/{importId}/progress.
        """
        self._need("new_data_sources")
        label = filename or upload.filename or name or "upload"
        is_sqlite = await in_thread(_is_sqlite, upload.path)
        source = self._new("sqlite" if is_sqlite else "parquet", label, size=upload.size, options=options)
        if not is_sqlite:
            self._need("parquet_import")
            parse_options(options)
        target = self._folder / f"{source.id}-{new_token(4)}{'.sqlite' if is_sqlite else '.upload'}"
        await in_thread(_move, upload.path, target)
        try:
            if is_sqlite:
                tables = await self._inspect(str(target), private=True, size=upload.size)
                source = replace(source, file=target.name, tables=tables, version=1, status="ready")
            source = await self._add(source, name)
            if not is_sqlite:
                source = await self._begin(source, target.name)
        except BaseException:
            await in_thread(remove_files, self._folder, f"{source.id}-")
            raise
        return source.shown()

    @method(concurrent=True, aliases=("POST /api/sources/register",))
    async def register(self, path: OfPath, name: Name = None, options: Options = None) -> DataSource:
        """Make a source of a file on the service's machine: SQLite is read where it lies, other files are imported once."""
        real = await self._open_path(path)
        if await in_thread(_is_sqlite, Path(real)):
            state, _ = await in_thread(read_state, real)
            size = await in_thread(size_of, real)
            tables = await self._inspect(real, private=False, size=size)
            source = self._new("sqlite", path, size=size)
            source = replace(source, origin=real, state=state, tables=tables, version=1, status="ready")
            source = await self._add(source, name)
            self._watch(source)
            return source.shown()
        return await self._import_path("parquet", real, path, name, options)

    @method(concurrent=True, aliases=("POST /api/sources/live",))
    async def live_import(self, path: OfPath, name: Name = None, options: Options = None) -> DataSource:
        """Import a file on the service's machine, and again whenever it changes: queries see what the file holds."""
        real = await self._open_path(path)
        if await in_thread(_is_sqlite, Path(real)):
            raise InputError(
                "An SQLite file needs no import: it is read where it lies.", hint="Use register for it."
            )
        return await self._import_path("live-import", real, path, name, options)

    async def _import_path(
        self, kind: Kind, real: str, label: str, name: str | None, options: dict[str, Any] | None
    ) -> DataSource:
        self._need("parquet_import")
        parse_options(options)
        source = replace(
            self._new(kind, label, size=await in_thread(size_of, real), options=options), origin=real
        )
        source = await self._add(source, name)
        self._watch(source)
        return (await self._begin(source, None)).shown()

    @method(concurrent=True, aliases=("POST /api/sources/{source}/refresh",))
    async def refresh(self, source: SourceKey) -> DataSource:
        """Import a source again from the file that it was registered with."""
        self._need("parquet_import")
        found = await self._find(source)
        if found.type == "sqlite" and found.origin is not None:
            raise InputError(
                "A registered SQLite file is read where it lies, so there is nothing to refresh.",
                hint="Query it: the answer is what the file holds at that moment.",
            )
        if found.origin is None:
            raise InputError(
                "This source does not come from a file that can be read again.",
                hint="Upload the file anew with create, and delete this source.",
            )
        if found.status == "importing":
            return found.shown()
        return (await self._begin(found, None)).shown()

    @method(read_only=True, concurrent=True, aliases=("POST /api/sources/preview",))
    async def preview(self, upload: Upload, options: Options = None) -> dict[str, Any]:
        """Look at the first rows of a file, with the columns and types that an import would find. Nothing is stored."""
        self._need("parquet_import")
        return (await preview(self._workers, upload.path.absolute(), options)).plain()

    # Progress

    @method(read_only=True, concurrent=True)
    async def import_progress(
        self, import_id: Annotated[str, Field(description="The import's id, or its source's.")]
    ) -> ImportProgress:
        """Return how far an import is: phase, percent, rows, and seconds that remain, as far as can be told."""
        return (await self._progress_of(await self._import_id(import_id)))[0]

    @method(read_only=True, concurrent=True, aliases=("GET /api/import/{importId}/progress",))
    async def watch_import(
        self, import_id: Annotated[str, Field(description="The import's id, or its source's.")]
    ) -> Any:
        """Stream an import's progress as Server-Sent Events until it ends."""
        wanted = await self._import_id(import_id)
        events = self._host.events.listen(self._instance.id)
        return Download(
            stream_progress(events, wanted, lambda: self._progress_of(wanted)),
            "text/event-stream; charset=utf-8",
        )

    async def _import_id(self, wanted: str) -> str:
        source = await self._instance.connection.run(lambda tx: look_up(tx, wanted), read_only=True)
        if source is not None and source.import_id is not None:
            return source.import_id
        return (await self._instance.jobs.get(wanted)).id

    async def _progress_of(self, import_id: str) -> tuple[ImportProgress, bool]:
        tracker = self._latest.get(import_id)
        record = await self._instance.jobs.get(import_id)
        latest: ImportProgress = tracker.latest if tracker else {"phase": "parsing", "progress": 0}
        if record.state == "running":
            return latest, False
        return final_progress(record.state, record.done, record.error, latest), True

    # Files of others

    async def _open_path(self, path: str) -> str:
        self._need("new_data_sources")
        settings = self._host.settings
        return await in_thread(allowed_path, path, settings.source_folders, settings.data)

    async def _inspect(
        self, path: str, *, private: bool, size: int | None = None, counts: bool = True
    ) -> tuple[Table, ...]:
        """Return the tables of an SQLite file, which is checked page by page if its size is given and small."""
        limits = self._host.settings.limits
        found = await self._workers.run(
            "actors.sources.lite:inspect",
            {
                "path": path,
                "private": private,
                "limits": limits.model_dump(mode="json"),
                "seconds": _INSPECT_S,
                "check": size is not None and size <= _CHECKED_UP_TO,
                "counts": counts,
            },
            lane="read",
            account=self._instance.address.owner,
            deadline_s=_INSPECT_S + 5,
        )
        return tuple(
            Table(t["name"], tuple((c["name"], c["type"]) for c in t["columns"]), t["rows"], None, t["kind"])
            for t in found["tables"]
        )

    def _watch(self, source: Source) -> None:
        """Have changes of a source's file of others noticed; the watch outlives this object, and opens it anew."""
        if source.origin is None or source.type == "parquet":
            return
        host, address = self._host, self._instance.address
        spec = type(self._instance.actor).methods["look"]

        async def changed(source_id: str) -> None:
            try:
                await host.call(address, spec, {"source": source_id}, create=False)
            except NotFound:
                host.services["sources"].unwatch(source_id)

        self._service.watch(source.origin, source.id, changed)

    @method(concurrent=True, public=False)
    async def look(self, source: str) -> None:
        """Import a live source again if its file has changed."""
        found = await self._find(source)
        if found.type == "live-import":
            await self._freshen(found)

    async def _freshen(self, source: Source) -> Source:
        """Return a live source with what its file holds now, imported again if need be.

        Raises:
            NotFound: the file is gone.
            DuraliteError: it cannot be imported.
        """
        state, _ = await self._state_of(source)
        if source.version and source.state == state and source.status == "ready" and source.error is None:
            return source
        while True:
            # Looked and begun in one go: those who find the same change share one import.
            async with self._beginning.setdefault(source.id, asyncio.Lock()):
                found = await self._find(source.id)
                if found.version and found.state == state and found.error is None:
                    return found
                if found.status != "importing":
                    found = await self._begin(found, None)
            assert found.import_id is not None
            record = await self._ended(found.import_id)
            found = await self._find(source.id)
            if record.state != "done":
                raise InputError(
                    f"The file of the source {source.name!r:.80} has changed and cannot be imported.",
                    hint="Mend the file; `error` of the source says what is wrong with it.",
                    cause=record.error,
                )
            # A later state than the one that was asked for is as good.
            if found.state != source.state or found.version > source.version:
                return found

    async def _ended(self, job_id: str) -> Job:
        """Return a job's record once it has ended."""
        events = self._host.events.listen(self._instance.id)
        following: AsyncIterator[Any] = aiter(events)
        first = asyncio.ensure_future(anext(following))
        try:
            while True:
                await asyncio.sleep(0)  # let the listening begin before the look
                record = await self._instance.jobs.get(job_id)
                if record.state != "running":
                    return record
                await first
                first = asyncio.ensure_future(anext(following))
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await events.aclose()


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == MAGIC


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
