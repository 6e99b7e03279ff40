"""How data comes in: an SQLite file is registered, everything else becomes Parquet, a live import follows its file.

An import is a job. It reads and writes beside what is there, and puts the result in place in one transaction; when
it fails, is cancelled, or the service ends, the source keeps the data it had, or says that it has none.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.sources.catalogue import (
    DataSource,
    Kind,
    Source,
    Table,
    check_source_name,
    find,
    free_name,
    insert,
    look_up,
    save,
)
from actors.sources.convert import unique
from actors.sources.listing import ListingMethods, SourceKey, remove_files
from actors.sources.lite import MAGIC
from actors.sources.parts import in_thread
from actors.sources.progress import ImportProgress, Tracker, final_progress, stream_progress
from actors.sources.versions import allowed_path, file_state, read_state
from runtime.errors import DuraliteError, InputError, NotFound
from runtime.ids import new_token
from runtime.jobs import Job, JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.streams import Download, Upload
from runtime.tabular.reading import Loaded, load, parse_options, preview
from runtime.tabular.staging import remove_staging

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


class ImportMethods(ListingMethods):
    """create, register, live_import, refresh, preview, import_progress, watch_import, and the job that imports."""

    _latest: dict[str, Tracker]

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
            size = await in_thread(_size, real)
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
            self._new(kind, label, size=await in_thread(_size, real), options=options), origin=real
        )
        source = await self._add(source, name)
        self._watch(source)
        return (await self._begin(source, None)).shown()

    @method(concurrent=True, aliases=("POST /api/sources/{source}/refresh",))
    async def refresh(self, source: SourceKey) -> DataSource:
        """Import a source again from the file that it was registered with."""
        self._need("parquet_import")
        found = await self._find(source)
        if found.origin is None or found.type == "sqlite":
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
        return (await preview(self._workers, upload.path, options)).plain()

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

    # The job

    def _new(self, kind: Kind, label: str, *, size: int = 0, options: dict[str, Any] | None = None) -> Source:
        now = self._host.clock.now()
        return Source(
            id=new_token(8),
            name="",
            type=kind,
            status="importing",
            created=now,
            last_used=now,
            size=size,
            label=label,
            options=dict(options or {}),
        )

    async def _add(self, source: Source, name: str | None, *, stem: str | None = None) -> Source:
        checked = None if name is None else check_source_name(name)

        def write(tx: Transaction) -> Source:
            named = replace(source, name=checked or free_name(tx, stem or _stem(source.label)))
            insert(tx, named)
            return named

        added = await self._instance.connection.run(write)
        self._tell(added)
        return added

    def _publish(self, kind: str, data: Any) -> None:
        self._host.events.publish(self._instance.id, kind, data)

    def _tell(self, source: Source) -> None:
        self._publish("source", {"id": source.id, "name": source.name, "status": source.status})

    async def _begin(self, source: Source, upload: str | None) -> Source:
        """Start the job that imports a source. `upload` is the file's name in the folder; None: its origin."""
        record = await self._instance.jobs.start("import", {"source": source.id, "upload": upload})
        return await self._note_import(source.id, record.id)

    async def _note_import(self, source_id: str, job_id: str) -> Source:
        """Say that a job imports a source; the job and whoever started it both do, and the second changes nothing."""

        def write(tx: Transaction) -> Source:
            begun = find(tx, source_id)
            if begun.import_id != job_id:
                begun = replace(begun, status="importing", import_id=job_id, error=None)
                save(tx, begun)
            return begun

        return await self._instance.connection.run(write)

    @job("import")
    async def import_job(self, progress: JobProgress, source: str, upload: str | None) -> dict[str, Any]:
        """Import a file as the newest version of a source."""
        started = time.monotonic()
        found = await self._note_import(source, progress.record.id)
        tracker = self._latest[progress.record.id] = Tracker(progress, self._publish)
        while len(self._latest) > 100:
            del self._latest[next(iter(self._latest))]
        path = self._folder / upload if upload is not None else Path(found.origin or "")
        kind = _file_type(found.label)
        prefix = f"{found.id}-{new_token(4)}"
        try:
            state = await in_thread(file_state, str(path))
            tables, warnings, size = await self._convert(found, path, prefix, tracker)
            done = await self._put(found.id, tables, warnings, size, state)
        except BaseException as error:
            await asyncio.shield(self._failed(found.id, prefix, error))
            if not isinstance(error, asyncio.CancelledError):
                self._service.count_import(kind, "failed")
            raise
        finally:
            await tracker.settle()
            if upload is not None:
                await in_thread(path.unlink, missing_ok=True)
        rows = done.rows or 0
        made = sum((self._folder / name).stat().st_size for name in done.files)
        self._service.count_import(
            kind, "done", rows=rows, seconds=time.monotonic() - started, size=size, made=made
        )
        await progress.report(rows, rows, "complete", "100 %")
        return {"source": done.id, "rows": rows, "tables": len(tables), "bytes": made}

    async def _convert(
        self, source: Source, path: Path, prefix: str, tracker: Tracker
    ) -> tuple[tuple[Table, ...], tuple[str, ...], int]:
        """Turn a file into Parquet files in the folder; return their tables, warnings, and the file's size."""
        size = await in_thread(_size, str(path))
        await in_thread(self._folder.mkdir, parents=True, exist_ok=True)
        options = dict(source.options)
        if options.get("format") == "parquet" or (not options and await in_thread(_is_parquet, path)):
            return (await self._take_parquet(source, path, f"{prefix}-1.parquet", tracker),), (), size
        first, table = await self._one(source, path, options, f"{prefix}-1", tracker)
        tables, warnings = [table], list(first.warnings)
        others = [] if "sheet" in options or "range" in options else _other_sheets(first)
        for number, sheet in enumerate(others, 2):
            tracker.begin_part(number - 1, len(others) + 1)
            try:
                loaded, table = await self._one(
                    source, path, {**options, "sheet": sheet}, f"{prefix}-{number}", tracker
                )
            except InputError as error:
                warnings.append(f"The sheet {sheet!r:.80} was left out: {error.message}")
                continue
            warnings += [f"{sheet}: {text}" for text in loaded.warnings]
            tables.append(table)
        names = unique([t.name for t in tables])
        return (
            tuple(replace(t, name=n) for t, n in zip(tables, names, strict=True)),
            tuple(warnings[:50]),
            size,
        )

    async def _one(
        self, source: Source, path: Path, options: dict[str, Any], stem: str, tracker: Tracker
    ) -> tuple[Loaded, Table]:
        staging, target = self._folder / f"{stem}.staging", self._folder / f"{stem}.parquet"
        limits = self._host.settings.limits
        try:
            loaded = await load(
                self._workers, path, options, staging, tracker, account=self._instance.address.owner
            )
            tracker.expect(loaded.rows)
            made = await self._workers.run(
                "actors.sources.convert:convert",
                {
                    "staging": str(staging),
                    "columns": [column.plain() for column in loaded.columns],
                    "target": str(target),
                    "memory_bytes": limits.source_memory_bytes,
                },
                account=self._instance.address.owner,
                on_progress=tracker,
                memory_bytes=limits.source_memory_bytes * 3,
            )
        finally:
            await in_thread(remove_staging, staging)
        columns = tuple((name, kind) for name, kind in made["columns"])
        name = loaded.sheet if loaded.sheet and len(loaded.sheets) > 1 else source.name
        return loaded, Table(name, columns, made["rows"], target.name)

    async def _take_parquet(self, source: Source, path: Path, name: str, tracker: Tracker) -> Table:
        limits = self._host.settings.limits
        target = self._folder / name
        await in_thread(_copy, path, target)
        found = await self._workers.run(
            "actors.sources.convert:examine",
            {
                "path": str(target),
                "memory_bytes": limits.source_memory_bytes,
                "threads": limits.source_threads,
                "temp": self._temp(),
                "seconds": limits.worker_s,
            },
            account=self._instance.address.owner,
            on_progress=tracker,
            memory_bytes=limits.source_memory_bytes * 3,
        )
        return Table(source.name, tuple((n, k) for n, k in found["columns"]), found["rows"], name)

    async def _put(
        self, source_id: str, tables: tuple[Table, ...], warnings: tuple[str, ...], size: int, state: str
    ) -> Source:
        """Put what was imported in place, and remove what was there before."""
        old: list[Source] = []

        def write(tx: Transaction) -> Source:
            before = find(tx, source_id)
            old.append(before)
            done = replace(
                before,
                status="ready",
                tables=tables,
                warnings=warnings,
                size=size,
                state=state,
                version=before.version + 1,
                error=None,
            )
            save(tx, done)
            if done.type == "live-import":
                self._look_later(tx)
            return done

        done = await self._instance.connection.run(write)
        self._service.forget(source_id)
        self._tell(done)
        # A query that runs has its files open; the system keeps them until it ends.
        for name in old[0].files - done.files:
            await in_thread((self._folder / name).unlink, missing_ok=True)
        return done

    async def _failed(self, source_id: str, prefix: str, error: BaseException) -> None:
        await in_thread(remove_files, self._folder, prefix)
        problem = (
            error.to_problem()
            if isinstance(error, DuraliteError)
            else {"code": "cancelled", "detail": "The import was cancelled."}
            if isinstance(error, asyncio.CancelledError)
            else {"code": "internal_error", "detail": "The import failed in a way that was not foreseen."}
        )

        def write(tx: Transaction) -> Source | None:
            found = look_up(tx, source_id)
            if found is None:
                return None
            status: Literal["ready", "error"] = "ready" if found.version else "error"
            left = replace(found, status=status, error=problem)
            save(tx, left)
            return left

        try:
            left = await self._instance.connection.run(write)
        except DuraliteError:
            return  # the catalogue closes: its next opening says that the import was interrupted
        if left is not None:
            self._tell(left)

    # Files of others

    async def _open_path(self, path: str) -> str:
        self._need("new_data_sources")
        settings = self._host.settings
        return await in_thread(allowed_path, path, settings.source_folders, settings.data)

    async def _inspect(self, path: str, *, private: bool, size: int) -> tuple[Table, ...]:
        limits = self._host.settings.limits
        found = await self._workers.run(
            "actors.sources.lite:inspect",
            {
                "path": path,
                "private": private,
                "limits": limits.model_dump(mode="json"),
                "seconds": _INSPECT_S,
                "check": size <= _CHECKED_UP_TO,
            },
            lane="read",
            account=self._instance.address.owner,
            deadline_s=_INSPECT_S + 5,
        )
        return tuple(
            Table(t["name"], tuple((c["name"], c["type"]) for c in t["columns"]), t["rows"], None, t["kind"])
            for t in found["tables"]
        )

    def _temp(self) -> str:
        return str(self._host.settings.data.absolute() / "tmp" / f"query-{new_token(8)}")

    def _look_later(self, tx: Transaction) -> None:
        """Have the files of live imports looked at in some minutes, and right after the next start of the service."""
        if self._instance.alarms.get(tx, _WATCH) is None:
            self._instance.alarms.set(tx, _WATCH, tx.now + _LOOK_S)

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


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)


def _copy(path: Path, target: Path) -> None:
    shutil.copyfile(path, target)


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _stem(label: str) -> str:
    return Path(label).stem or "source"


def _file_type(label: str) -> str:
    """Return the kind of a file for the metrics, out of a fixed set."""
    suffix = Path(label).suffix.lower().lstrip(".")
    return (
        suffix
        if suffix in ("csv", "tsv", "txt", "xlsx", "xls", "xlsb", "ods", "json", "ndjson", "parquet")
        else "other"
    )


def _other_sheets(loaded: Loaded) -> list[str]:
    """Return the names of the visible sheets of a workbook besides the one that was read."""
    return [
        str(sheet["name"])
        for sheet in loaded.sheets
        if sheet.get("name") != loaded.sheet and sheet.get("visible", True)
    ]
