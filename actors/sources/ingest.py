"""An import as a job: a file is read and written as Parquet beside what is there, and put in place in one transaction.

When it fails, is cancelled, or the service ends, the source keeps the data it had, or says that it has none.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from actors.sources.catalogue import (
    Kind,
    Source,
    Table,
    check_source_name,
    clear_failed,
    find,
    fitting_name,
    free_name,
    insert,
    look_up,
    save,
)
from actors.sources.convert import unique
from actors.sources.listing import ListingMethods, remove_files
from actors.sources.parts import in_thread
from actors.sources.progress import Tracker
from actors.sources.versions import file_state
from runtime.errors import DuraliteError, InputError
from runtime.ids import new_token
from runtime.jobs import JobProgress, job
from runtime.storage.transaction import Transaction
from runtime.tabular.reading import Loaded, load
from runtime.tabular.staging import remove_staging

__all__ = ("Ingest", "size_of")

_WATCH = "watch"
_LOOK_S = 300.0


class Ingest(ListingMethods):
    """The job that imports, and what goes before and after it."""

    _latest: dict[str, Tracker]

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
        wanted = checked or fitting_name(stem or _stem(source.label))

        def write(tx: Transaction) -> tuple[Source, list[str]]:
            failed = clear_failed(tx, wanted)
            named = replace(source, name=checked or free_name(tx, wanted))
            insert(tx, named)
            return named, failed

        added, failed = await self._instance.connection.run(write)
        for source_id in failed:
            self._publish("source", {"id": source_id, "status": "deleted"})
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
        made = await in_thread(_sizes, self._folder, done.files)
        self._service.count_import(
            kind, "done", rows=rows, seconds=time.monotonic() - started, size=size, made=made
        )
        await progress.report(rows, rows, "complete", "100 %")
        return {"source": done.id, "rows": rows, "tables": len(tables), "bytes": made}

    async def _convert(
        self, source: Source, path: Path, prefix: str, tracker: Tracker
    ) -> tuple[tuple[Table, ...], tuple[str, ...], int]:
        """Turn a file into Parquet files in the folder; return their tables, warnings, and the file's size."""
        size = await in_thread(size_of, str(path))
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

    def _look_later(self, tx: Transaction) -> None:
        """Have the files of live imports looked at in some minutes, and right after the next start of the service."""
        if self._instance.alarms.get(tx, _WATCH) is None:
            self._instance.alarms.set(tx, _WATCH, tx.now + _LOOK_S)

    def _temp(self) -> str:
        return str(self._host.settings.data.absolute() / "tmp" / f"query-{new_token(8)}")


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _copy(path: Path, target: Path) -> None:
    shutil.copyfile(path, target)


def _sizes(folder: Path, names: set[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)


def size_of(path: str) -> int:
    """Return the size of a file in bytes."""
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
