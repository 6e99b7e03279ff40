"""An import reads a file into a new data table, as a job: fetched, parsed in a worker, copied, switched.

The file, and the staging file that the worker writes, lie in the service's folder for temporary files until the job
ends, whichever way; what a crash leaves there goes at the next start. An original that is not too large is kept
beside the project, so that it can be parsed again with other options. Nothing of a new table is seen before all of
it is there (`catalogue`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field as Doc
from pydantic import WithJsonSchema

from actors.project import catalogue
from actors.project.fetch import fetch
from actors.project.fields import fields_of
from actors.project.holds import Holds
from runtime.context import current_context
from runtime.errors import Conflict, DuraliteError, InputError, NotFound, from_problem
from runtime.ids import new_token
from runtime.instance import Instance
from runtime.jobs import Job, JobProgress, job
from runtime.method import method
from runtime.outbound import AllowedHosts
from runtime.storage.transaction import Transaction
from runtime.streams import Upload
from runtime.tabular.adopt import adopt
from runtime.tabular.options import ParseOptions
from runtime.tabular.reading import Loaded, load, parse_options, preview
from runtime.values import loads

__all__ = ("ImportMethods", "Options", "ended", "options_of", "remove_leftovers", "telling", "waited")

_ORIGINAL = "original"
_OPTIONS = 'For instance {"delimiter": ";", "header": true}.'
_ANSWER_S = 0.75

Options = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [ParseOptions.model_json_schema(), {"type": "string"}, {"type": "null"}],
            "description": "How to read the file, as JSON; what is left out is found out.",
        }
    ),
]
Filename = Annotated[
    str | None, Doc(max_length=255, description="The file's name, if the upload does not carry one.")
]
Wait = Annotated[bool, Doc(description="Answer when the job has ended, or the call's deadline is near.")]


class ImportMethods:
    """import_file, parse, preview_file, import_url, parse_again, import_path."""

    _instance: Instance
    holds: Holds
    _folders: set[Path]

    @method(concurrent=True, aliases=("POST /api/projects/{name}/import",))
    async def import_file(
        self,
        upload: Annotated[Upload, Doc(description="The file, as the request's body or a multipart form.")],
        options: Options = None,
        filename: Filename = None,
        wait: Wait = False,
    ) -> Job:
        """Import a file (CSV, TSV, XLSX, XLS, ODS, NDJSON, JSON, Parquet) in place of the project's rows.

        It is a job; its record comes back. Rows that do not fit are kept aside (`rejected_rows`), never dropped
        silently.
        """
        return await self._from_upload(upload, options, filename, wait)

    @method(concurrent=True, aliases=("POST /api/projects/{name}/parse",))
    async def parse(
        self,
        upload: Annotated[Upload, Doc(description="The file, as the request's body or a multipart form.")],
        options: Options = None,
        filename: Filename = None,
    ) -> dict[str, Any]:
        """Import a file and answer with the columns, once it is in (project-database.md, Phase 2).

        A file that takes longer than the call may goes on as a job, whose record comes back with state `running`.
        """
        record = ended(await self._from_upload(upload, options, filename, wait=True))
        if record.state == "running":
            return {"state": record.state, "job": record.id}
        dataset = await self._instance.connection.run(catalogue.current, read_only=True)
        columns = [f.shown() for f in dataset.fields]
        return {"state": record.state, "job": record.id, **record.result, "columns": columns}

    async def _from_upload(self, upload: Upload, options: Any, filename: str | None, wait: bool) -> Job:
        wanted = options_of(options)
        folder = await self._temporary()
        try:
            await _in_thread(shutil.move, upload.path, folder / "file")
            return await self._begin(folder, {"filename": filename or upload.filename}, wanted, wait)
        except BaseException:
            await self._let_go(folder)
            raise

    @method(read_only=True, concurrent=True, aliases=("POST /api/projects/{name}/import/preview",))
    async def preview_file(
        self,
        upload: Annotated[Upload, Doc(description="The file, as the request's body or a multipart form.")],
        options: Options = None,
        rows: Annotated[int, Doc(ge=1, le=1_000, description="Rows to show.")] = 20,
    ) -> dict[str, Any]:
        """Return what an import would find (dialect, encoding, columns, first rows), without importing."""
        workers = self._instance.host.services["workers"]
        found = await preview(workers, upload.path, options_of(options), rows=rows)
        fields = fields_of(found.columns)
        shown = [[f.shown_value(cell) for f, cell in zip(fields, row, strict=True)] for row in found.rows]
        return {**found.plain(), "columns": [f.shown() for f in fields], "rows": shown}

    @method(concurrent=True, scope="write")
    async def import_url(
        self,
        url: Annotated[
            str, Doc(max_length=2_048, description="An http or https URL of a host that is allowed.")
        ],
        options: Options = None,
        wait: Wait = False,
    ) -> Job:
        """Import a file from a URL; the operator allows hosts (setting `import_hosts`)."""
        wanted = options_of(options)
        self._hosts().check(url)
        folder = await self._temporary()
        try:
            return await self._begin(folder, {"url": url}, wanted, wait)
        except BaseException:
            await self._let_go(folder)
            raise

    @method(concurrent=True)
    async def parse_again(self, options: Options = None, wait: Wait = False) -> Job:
        """Parse the file that was imported last once more, with other options.

        Files up to `max_original_bytes` are kept for this.
        """
        wanted = options_of(options)
        original = self._instance.actor.folder / _ORIGINAL
        if not await _in_thread(original.exists):
            raise NotFound(
                "The file that was imported is not kept.",
                hint="Send it again; files up to the limit max_original_bytes are kept.",
                limit="max_original_bytes",
            )
        known = await self._instance.connection.run(catalogue.current, read_only=True)
        folder = await self._temporary()
        try:
            source = {"path": str(original), "filename": known.facts.get("filename")}
            return await self._begin(folder, source, wanted, wait)
        except BaseException:
            await self._let_go(folder)
            raise

    @method(concurrent=True, public=False)
    async def import_path(self, path: str, options: Options = None, wait: Wait = False) -> Job:
        """Import a file of this machine by its path; for programs that embed the runtime, never over HTTP."""
        wanted = options_of(options)
        file = Path(path)
        if not await _in_thread(file.is_file):
            raise InputError(f"There is no file {path!r:.200}.", hint="Give the path of a file.")
        folder = await self._temporary()
        try:
            return await self._begin(folder, {"path": str(file), "filename": file.name}, wanted, wait)
        except BaseException:
            await self._let_go(folder)
            raise

    # The job

    def _hosts(self) -> AllowedHosts:
        return AllowedHosts(self._instance.host.settings.import_hosts, "import_hosts")

    async def _temporary(self) -> Path:
        folder = self._instance.host.settings.data / "tmp" / f"import-{new_token(8)}"
        self._folders.add(folder)
        await _in_thread(partial(folder.mkdir, parents=True))
        return folder

    async def _let_go(self, folder: Path) -> None:
        await _in_thread(shutil.rmtree, folder, True)
        self._folders.discard(folder)

    async def _let_all_go(self) -> None:
        """Remove the folders of imports that were given up before they began."""
        for folder in list(self._folders):
            await self._let_go(folder)

    async def _begin(self, folder: Path, source: dict[str, Any], options: ParseOptions, wait: bool) -> Job:
        """Start the job over a folder that it removes at its end."""
        instance = self._instance
        number = await instance.connection.run(_reserve, method="import_file")
        try:
            record = await instance.jobs.start(
                "import",
                {
                    "folder": str(folder),
                    "source": source,
                    "options": options.model_dump(mode="json", exclude_defaults=True),
                    "number": number,
                },
            )
        except BaseException:
            await instance.connection.run(partial(catalogue.drop, number=number))
            raise
        return await waited(instance, record) if wait else record

    @job("import")
    async def import_job(
        self,
        progress: JobProgress,
        folder: str,
        source: dict[str, Any],
        options: dict[str, Any],
        number: int,
    ) -> dict[str, Any]:
        """Fetch, parse and store a file; the result is what was found in it."""
        instance = self._instance
        place = Path(folder)
        try:
            async with telling(progress) as tell:
                file = Path(source["path"]) if "path" in source else place / "file"
                filename = source.get("filename")
                if "url" in source:
                    tell({"phase": "fetching"})
                    filename = await self._fetch(source["url"], file, tell)
                tell({"phase": "parsing"})
                wanted = ParseOptions.model_validate(options)
                staging = place / "staging.sqlite"
                loaded = await load(instance.host.services["workers"], file, wanted, staging, tell)
                tell({"phase": "storing", "done": 0, "total": loaded.rows})
                facts = _facts(loaded, filename, source.get("url"))
                config = {**options, **_found(loaded)}
                run = instance.connection.run
                await run(partial(catalogue.take_rejects, number=number), beside=staging, method="import")
                old = await adopt(
                    instance.connection,
                    staging,
                    f"{catalogue.PREFIX}{number}",
                    finish=partial(_switch, number=number, loaded=loaded, config=config, facts=facts),
                    on_rows=lambda done: tell({"done": done, "rows": done}),
                )
            await self._keep(file, place)
            await self.holds.replaced(old)
            return {
                "rowCount": loaded.rows,
                # Without statistics: job records are kept, and a wide file has a megabyte of them.
                "columns": [{"name": c.name, "type": c.type} for c in loaded.columns],
                "config": config,
                **facts,
            }
        except BaseException:
            with suppress(DuraliteError):  # where the file closes already, the next opening tidies up
                await instance.connection.run(partial(catalogue.drop, number=number))
            raise
        finally:
            await self._let_go(place)

    async def _fetch(self, url: str, target: Path, tell: Any) -> str | None:
        limits = self._instance.host.settings.limits
        found = await fetch(
            url,
            target,
            self._hosts(),
            most=limits.max_upload_bytes,
            seconds=limits.import_fetch_s,
            progress=lambda done, total: tell({"phase": "fetching", "done": done, "total": total}),
        )
        return found.filename or None

    async def _keep(self, file: Path, place: Path) -> None:
        """Keep an original that came into the job's own folder, if it is not too large."""
        kept = self._instance.actor.folder / _ORIGINAL
        most = self._instance.host.settings.limits.max_original_bytes
        if file == kept:
            return

        def move() -> None:
            if file.parent == place and file.stat().st_size <= most:
                kept.parent.mkdir(parents=True, exist_ok=True)
                file.replace(kept)
            else:
                kept.unlink(missing_ok=True)

        await _in_thread(move)


def remove_leftovers(data: Path) -> None:
    """Remove what a crash left of imports, pipelines and exports; for the start of a host, when none can run."""
    for kind in ("import", "pipeline", "export"):
        for folder in (data / "tmp").glob(f"{kind}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def options_of(given: Any) -> ParseOptions:
    """Return parse options out of an object, or of the JSON text of one.

    Raises:
        InputError: an option is unknown, or its value cannot be.
    """
    if isinstance(given, str):
        given = loads(given, what="options", hint=_OPTIONS) if given.strip() else {}
    if given is not None and not isinstance(given, dict):
        raise InputError("options is not an object.", hint=_OPTIONS)
    return parse_options(given)


def _reserve(tx: Transaction) -> int:
    if tx.one("SELECT 1 FROM main._duralite_datasets WHERE state = 'filling' AND pipeline IS NULL"):
        raise Conflict(
            "An import into this project is under way.",
            hint="Wait for its job to end, or cancel it (list_jobs).",
        )
    return catalogue.reserve(tx, None)


def _found(loaded: Loaded) -> dict[str, Any]:
    """Return how the file was read in fact, in the words of the options."""
    found: dict[str, Any] = {"format": loaded.format, "encoding": loaded.encoding, "header": loaded.header}
    for name in ("delimiter", "quote"):
        if loaded.dialect and loaded.dialect.get(name) is not None:
            found[name] = loaded.dialect[name]
    if loaded.sheet is not None:
        found["sheet"] = loaded.sheet
    return {name: value for name, value in found.items() if value is not None}


def _facts(loaded: Loaded, filename: str | None, url: str | None) -> dict[str, Any]:
    facts = {
        "filename": filename,
        "url": url,
        "bytes": loaded.bytes,
        "sha256": loaded.sha256,
        "rejected": loaded.rejected,
        "warnings": loaded.warnings,
        "dialect": loaded.dialect,
        "sheets": loaded.sheets,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _switch(
    tx: Transaction, *, number: int, loaded: Loaded, config: dict[str, Any], facts: dict[str, Any]
) -> list[int]:
    return catalogue.make_ready(tx, number, fields_of(loaded.columns), loaded.rows, config, facts)


def ended(record: Job) -> Job:
    """Return a job's record, unless it failed.

    Raises:
        DuraliteError: what the job ended with.
    """
    if record.state in ("failed", "cancelled"):
        raise from_problem(record.error or {})
    return record


async def waited(instance: Instance, record: Job) -> Job:
    """Return a job's record when it has ended, or shortly before the deadline of the present call."""
    left = current_context().seconds_left()
    return await instance.jobs.wait(record.id, 3_600.0 if left is None else max(0.05, left - _ANSWER_S))


@asynccontextmanager
async def telling(progress: JobProgress) -> AsyncIterator[Any]:
    """Give a function that takes reports of workers, the newest of which become the job's progress."""
    latest: dict[str, Any] = {}
    came = asyncio.Event()

    def tell(report: dict[str, Any]) -> None:
        latest.update(report)
        came.set()

    async def pass_on() -> None:
        while True:
            await came.wait()
            came.clear()
            said = dict(latest)
            latest.clear()
            rows = said.get("rows")
            await progress.report(
                done=said.get("done", said.get("bytes", said.get("step", rows))),
                total=said.get("total", said.get("total_bytes", said.get("of"))),
                phase=said.get("phase"),
                message=said.get("operation") if rows is None else f"{rows:,} rows",
            )

    task = asyncio.create_task(pass_on())
    try:
        yield tell
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
