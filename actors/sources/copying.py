"""Copies between sources and sessions or projects, both ways, as jobs: whole or not at all, in bounded memory."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.landing import land
from actors.sources.catalogue import DataSource, Source, Table, check_source_name
from actors.sources.convert import unique
from actors.sources.extract import make_staging
from actors.sources.listing import SourceKey, remove_files
from actors.sources.parts import in_thread
from actors.sources.querying import QueryMethods, is_other
from runtime.errors import ActorNotFound, InputError, SqlError
from runtime.ids import ActorAddress, check_name, new_token
from runtime.instance import Instance
from runtime.jobs import Job, JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction, quote

__all__ = ("CopyMethods",)

Place = Literal["session", "project"]
ActorName = Annotated[str, Field(min_length=1, description="The session's or project's name.")]


class CopyMethods(QueryMethods):
    """copy_to, copy_from, and the jobs behind them."""

    @method(concurrent=True, aliases=("POST /api/sources/{source}/copy",))
    async def copy_to(
        self,
        source: SourceKey,
        name: ActorName,
        type: Annotated[Place, Field(description="What it is copied into; made if it is new.")] = "session",
        sql: Annotated[
            str | None, Field(description="A query whose rows are copied; else all tables of the source.")
        ] = None,
        table: Annotated[
            str | None,
            Field(description="The new table's name; a project without it takes the rows as its data."),
        ] = None,
        replace: Annotated[bool, Field(description="Drop tables of the same names first.")] = False,
    ) -> Job:
        """Copy a source, or the rows of a query over sources, into a session or project, with their types; a job."""
        found = await self._find(source)
        check_name(name)
        return await self._instance.jobs.start(
            "copy_to",
            {"source": found.id, "name": name, "type": type, "sql": sql, "table": table, "replace": replace},
        )

    @job("copy_to")
    async def copy_to_job(
        self,
        progress: JobProgress,
        source: str,
        name: str,
        type: Place,
        sql: str | None,
        table: str | None,
        replace: bool,
    ) -> dict[str, Any]:
        """Copy rows out of sources; the result names the tables made and their rows."""
        found = await self._current(await self._find(source))
        place = self._host.settings.data.absolute() / "tmp" / f"copy-{new_token(8)}"
        wanted = [(table or found.name, sql)] if sql is not None else _statements(found, table)
        address = ActorAddress(type, self._instance.address.owner, name)
        target = await self._host.acquire(address, held=True)
        assert target is not None
        made: dict[str, int] = {}
        try:
            for number, (title, statement) in enumerate(wanted):
                staging = place / f"{number}.sqlite"
                rows = _Rows(progress)
                extracted = await self._extract(found, statement, staging, rows)
                if type == "project" and table is None:
                    made["data"] = await self._into_project(
                        address, staging, place / f"{number}.parquet", extracted
                    )
                    break
                columns = [(n, kind) for n, kind in extracted["columns"]]
                await progress.report(0, extracted["rows"], f"storing {title}"[:80])
                made[title] = await land(target, staging, title, columns, replace=replace, on_rows=rows.take)
                await rows.settle()
        finally:
            self._host.release(target)
            await asyncio.shield(in_thread(shutil.rmtree, place, ignore_errors=True))
        return {"type": type, "name": name, "tables": made}

    async def _extract(self, source: Source, sql: str, staging: Path, rows: _Rows) -> dict[str, Any]:
        main, others = await self._named(source.id, sql)
        assert main is not None
        states = await self._states([main, *others])
        limits = self._host.settings.limits
        args = {
            "sql": sql,
            "params": None,
            "limits": limits.model_dump(mode="json"),
            "seconds": limits.worker_s,
            "staging": str(staging),
        }
        if main.type == "sqlite":
            try:
                return await self._work("extract:extract_native", {**args, **self._lite_place(main)}, rows)
            except SqlError as error:
                if not is_other(error, others):
                    raise
        async with self._engine_args(main, others, states) as more:
            return await self._work("extract:extract_joined", {**args, **more}, rows)

    async def _work(self, task: str, args: dict[str, Any], rows: _Rows) -> dict[str, Any]:
        answer: dict[str, Any] = await self._workers.run(
            f"actors.sources.{task}",
            args,
            account=self._instance.address.owner,
            on_progress=lambda report: rows.take(int(report.get("rows", 0))),
            memory_bytes=self._host.settings.limits.source_memory_bytes * 3,
        )
        await rows.settle()
        return answer

    async def _into_project(
        self, address: ActorAddress, staging: Path, parquet: Path, extracted: dict[str, Any]
    ) -> int:
        """Have a project import the rows as its data."""
        await self._workers.run(
            "actors.sources.extract:to_parquet",
            {
                "staging": str(staging),
                "target": str(parquet),
                "memory_bytes": self._host.settings.limits.source_memory_bytes,
                "declared": {name: kind for name, kind in extracted["columns"] if kind},
            },
            account=address.owner,
            memory_bytes=self._host.settings.limits.source_memory_bytes * 3,
        )
        stub = self._host.namespace(address.type, address.owner).get(address.name)
        record: Job = await stub.import_path(str(parquet), {"format": "parquet"}, wait=True)
        return int(record.result["rowCount"])

    # Back

    @method(concurrent=True, aliases=("POST /api/sources/copy",))
    async def copy_from(
        self,
        name: ActorName,
        type: Annotated[Place, Field(description="What the rows come from.")] = "session",
        table: Annotated[str | None, Field(description="A table or view of it.")] = None,
        sql: Annotated[str | None, Field(description="Or a query over it.")] = None,
        source_name: Annotated[
            str | None, Field(max_length=200, description="The new source's name.")
        ] = None,
    ) -> DataSource:
        """Make a source out of a table of a session or project, or of the rows of a query over it; imported as a job."""
        self._need("parquet_import")
        if (table is None) == (sql is None):
            raise InputError("Give either table or sql.", hint='For instance table = "orders".')
        wanted = source_name or table or f"{name} query"
        if source_name is not None:
            check_source_name(source_name)
        source = self._new("parquet", f"{type} {name}: {table or sql}"[:400])
        added = await self._add(source, source_name, stem=wanted)
        record = await self._instance.jobs.start(
            "copy_from", {"source": added.id, "name": name, "type": type, "table": table, "sql": sql}
        )
        return (await self._note_import(added.id, record.id)).shown()

    @job("copy_from")
    async def copy_from_job(
        self, progress: JobProgress, source: str, name: str, type: Place, table: str | None, sql: str | None
    ) -> dict[str, Any]:
        """Copy rows of a session or project into a new source."""
        found = await self._note_import(source, progress.record.id)
        prefix = f"{found.id}-{new_token(4)}"
        staging, target = self._folder / f"{prefix}.staging", self._folder / f"{prefix}.parquet"
        address = ActorAddress(type, self._instance.address.owner, check_name(name))
        rows = _Rows(progress)
        try:
            instance = await self._host.acquire(address, create=False, held=True)
            if instance is None:
                raise ActorNotFound(f"There is no {type} {name!r:.80}.")
            try:
                statement = sql if sql is not None else f"SELECT * FROM {quote(table, 'table')}"
                declared = await _write_rows(instance, statement, table, staging)
            finally:
                self._host.release(instance)
            made = await self._work(
                "extract:to_parquet",
                {
                    "staging": str(staging),
                    "target": str(target),
                    "memory_bytes": self._host.settings.limits.source_memory_bytes,
                    "declared": declared,
                },
                rows,
            )
            columns = tuple((n, kind) for n, kind in made["columns"])
            held = Table(found.name, columns, made["rows"], target.name)
            await self._put(found.id, (held,), (), made["size"], "")
        except BaseException as error:
            await asyncio.shield(self._failed(found.id, prefix, error))
            raise
        finally:
            await in_thread(remove_files, self._folder, staging.name)
        return {"source": found.id, "rows": made["rows"]}


class _Rows:
    """Tells a job's record how many rows are done."""

    def __init__(self, progress: JobProgress) -> None:
        self._progress = progress
        self._task: asyncio.Task[None] | None = None
        self._latest = 0

    def take(self, rows: int) -> None:
        """Take a number; it is told on when the one before is stored."""
        self._latest = rows
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._progress.report(rows))

    async def settle(self) -> None:
        """Return when everything is stored."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _statements(source: Source, table: str | None) -> list[tuple[str, str]]:
    """Return (new table, statement) for each table of a source."""
    tables = [t for t in source.tables if t.kind != "view"]
    if not tables:
        raise InputError(f"The source {source.name!r:.80} has no tables.", hint="Give sql.")
    if table is not None and len(tables) > 1:
        raise InputError(
            f"The source {source.name!r:.80} has {len(tables)} tables, and one name was given for them.",
            hint="Leave table out to copy all, or give sql to copy one.",
        )
    return [(table or t.name, f"SELECT * FROM {quote(t.name)}") for t in tables]


async def _write_rows(instance: Instance, sql: str, table: str | None, staging: Path) -> dict[str, str]:
    """Write the rows of a statement of an actor into a staging file; return the declared types of a table's columns."""

    def write(tx: Transaction) -> dict[str, str]:
        insert: Any = None
        with ExitStack() as stack:

            def take(columns: Sequence[str], rows: Sequence[Any], first: bool) -> bytes:
                nonlocal insert
                if first:
                    insert = stack.enter_context(make_staging(staging, unique(columns)))
                else:
                    insert(rows)
                return b""

            for _ in tx.stream(sql, take):
                pass
        if table is None:
            return {}
        return {n: t for n, t in tx.all("SELECT name, type FROM pragma_table_info(?)", (table,)) if t}

    return await instance.connection.run(write, read_only=True, method="export")
