"""Pipelines of a project: saved steps, run over the import into a stored result, or looked at without storing.

Steps are checked against the columns before anything runs. They run in a worker, which reads the project's live
file and writes a staging file; the result is adopted and switched like an import (`catalogue`).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field as Doc
from pydantic import WithJsonSchema

from actors.project import catalogue
from actors.project.catalogue import Dataset
from actors.project.fields import fields_of
from actors.project.holds import Holds
from actors.project.imports import ended, telling, waited
from actors.project.pipeline import (
    Field,
    Step,
    StepError,
    Table,
    compile_pipeline,
    dump_steps,
    named_tables,
    operations,
    parse_steps,
    resolver,
    write_document,
)
from actors.project.pipeline.table import read_type
from runtime.clock import iso
from runtime.errors import Conflict, DuraliteError, InputError, LimitExceeded, NotFound
from runtime.ids import ActorAddress, new_token
from runtime.instance import Instance
from runtime.jobs import JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.tabular.adopt import adopt
from runtime.tabular.columns import Column
from runtime.values import dumps, loads

__all__ = ("PipelineMethods",)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TAKEN = ("_result", "_columns")
_PREVIEW_S = 25.0
_STAGE_BYTES = 512 * 1024 * 1024
_SHOWN_TYPES = {"integer": "number", "datetime": "date"}

PipelineId = Annotated[
    str, Doc(max_length=64, description="The pipeline's id: letters, digits, underscores and hyphens.")
]
Steps = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "object"}},
                {"type": "object"},
                {"type": "string"},
                {"type": "null"},
            ],
            "description": 'Steps in order, as [{"operation": "trim", "columns": ["city"]}, …] or as an exported document.',
        }
    ),
]


class PipelineMethods:
    """save_pipeline, list_pipelines, get_pipeline, check_pipeline, delete_pipeline, execute, preview_pipeline."""

    _instance: Instance
    holds: Holds

    @method(read_only=True, concurrent=True)
    async def pipeline_operations(self) -> list[dict[str, Any]]:
        """Return the operations of pipelines, each with what it does, an example, and its JSON Schema."""
        return operations()

    @method(idempotent=True, aliases=("PUT /api/projects/{name}/pipelines/{pipelineId}",))
    def save_pipeline(
        self,
        tx: Transaction,
        pipeline_id: PipelineId,
        steps: Steps,
        title: Annotated[str | None, Doc(max_length=200, description="What people call it.")] = None,
    ) -> dict[str, Any]:
        """Save the steps of a pipeline, in place of those it had; an exported document is taken too."""
        parsed = _parsed(tx, steps)
        _store(tx, _checked_id(pipeline_id), parsed, title or _title_in(steps))
        return _saved(tx, pipeline_id)

    @method(read_only=True, aliases=("GET /api/projects/{name}/pipelines",))
    def list_pipelines(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return the pipelines, each with its number of steps and the state of its result."""
        rows = tx.all("SELECT id FROM main._duralite_pipelines ORDER BY id")
        return [_listed(_saved(tx, number)) for (number,) in rows]

    @method(read_only=True, aliases=("GET /api/projects/{name}/pipelines/{pipelineId}",))
    def get_pipeline(self, tx: Transaction, pipeline_id: PipelineId) -> dict[str, Any]:
        """Return a pipeline: its steps, the state of its result, and the document that imports it elsewhere."""
        found = _saved(tx, pipeline_id)
        steps = parse_steps(found["steps"])
        return {**found, "document": write_document(steps, name=found["title"] or found["id"])}

    @method(destructive=True, idempotent=True, concurrent=True, aliases=("DELETE /api/projects/{name}/pipelines/{pipelineId}",))  # fmt: skip
    async def delete_pipeline(self, pipeline_id: PipelineId) -> dict[str, bool]:
        """Delete a pipeline and its stored result."""
        deleted, old = await self._instance.connection.run(partial(_delete, pipeline=pipeline_id))
        await self.holds.replaced(old)
        return {"deleted": deleted}

    @method(
        read_only=True, concurrent=True, aliases=("POST /api/projects/{name}/pipelines/{pipelineId}/check",)
    )
    async def check_pipeline(self, pipeline_id: PipelineId, steps: Steps = None) -> dict[str, Any]:
        """Check steps (the saved ones unless given) against the columns, and return what they will do.

        That is the columns after each step, and the SQL. Nothing runs. A step that cannot work is told with its
        number, the nearest name, and what to do.
        """
        wanted = await self._steps(pipeline_id, steps)
        async with self._tables(wanted) as tables:
            plan = await _in_thread(compile_pipeline, wanted, tables.source, tables.resolve)
            return {
                "steps": dump_steps(wanted),
                "columns": [_shown(f) for f in plan.result],
                "after": [[_shown(f) for f in fields] for fields in plan.columns],
                "sql": plan.sql(),
                "open_from": plan.open_from,
            }

    @method(concurrent=True, aliases=("POST /api/projects/{name}/pipelines/{pipelineId}/execute",))
    async def execute(
        self,
        pipeline_id: PipelineId,
        steps: Steps = None,
        wait: Annotated[bool, Doc(description="False: answer at once, while the job goes on.")] = True,
    ) -> dict[str, Any]:
        """Run a pipeline and store its result (project-database.md, Phase 4); steps that are given are saved first.

        It is a job. The answer tells rows, columns and warnings; one that takes longer than the call may tells
        the job, with state `running`.
        """
        _checked_id(pipeline_id)
        instance = self._instance
        wanted = await self._steps(pipeline_id, steps)
        async with self._tables(wanted) as tables:
            # What cannot work is told before anything runs.
            await _in_thread(compile_pipeline, wanted, tables.source, tables.resolve)
        dumped = dump_steps(wanted)
        number = await instance.connection.run(
            partial(
                _reserve,
                pipeline=pipeline_id,
                steps=None if steps is None else wanted,
                title=_title_in(steps),
            )
        )
        try:
            record = await instance.jobs.start(
                "pipeline", {"pipeline_id": pipeline_id, "steps": dumped, "number": number}
            )
        except BaseException:
            await instance.connection.run(partial(catalogue.drop, number=number))
            raise
        if wait:
            record = ended(await waited(instance, record))
        return {"pipelineId": pipeline_id, "state": record.state, "job": record.id, **(record.result or {})}

    @method(
        read_only=True,
        concurrent=True,
        aliases=(
            "GET /api/projects/{name}/pipelines/{pipelineId}/preview",
            "POST /api/projects/{name}/pipelines/{pipelineId}/preview",
        ),
    )
    async def preview_pipeline(
        self,
        pipeline_id: PipelineId,
        steps: Steps = None,
        up_to_step: Annotated[
            int | None, Doc(ge=0, description="Stop after this step; 0 shows the import.")
        ] = None,
        limit: Annotated[int, Doc(ge=1, le=100, description="Rows to show.")] = 100,
    ) -> dict[str, Any]:
        """Return the first rows as they are after a step; nothing is stored (project-database.md, Phase 4).

        `complete` tells that there are no more rows than these.
        """
        wanted = await self._steps(pipeline_id, steps)
        most = len(wanted)
        if up_to_step is not None and up_to_step > most:
            raise InputError(
                f"There is no step {up_to_step}: the pipeline has {most}.",
                hint=f"Use 0 to {most} as upToStep.",
            )
        async with self._tables(wanted) as tables:
            await _in_thread(compile_pipeline, wanted[:up_to_step], tables.source, tables.resolve)
            found = await self._instance.host.services["workers"].run(
                "actors.project.pipeline.execute:preview",
                {
                    **tables.arguments,
                    "steps": dump_steps(wanted),
                    "up_to": up_to_step,
                    "limit": limit,
                    "cache": str(_whole(self._instance.host.settings.data / "tmp" / "stages")),
                    "cache_bytes": _STAGE_BYTES,
                },
                lane="read",
                deadline_s=_PREVIEW_S,
            )
        return _page(found)

    # The job

    @job("pipeline")
    async def pipeline_job(
        self, progress: JobProgress, pipeline_id: str, steps: list[dict[str, Any]], number: int
    ) -> dict[str, Any]:
        """Run steps into a new data table and put it in the place of the pipeline's result."""
        instance = self._instance
        folder = instance.host.settings.data / "tmp" / f"pipeline-{new_token(8)}"
        await _in_thread(partial(folder.mkdir, parents=True))
        staging = folder / "staging.sqlite"
        try:
            async with telling(progress) as tell:
                parsed = parse_steps(steps)
                async with self._tables(parsed) as tables:
                    made = await instance.host.services["workers"].run(
                        "actors.project.pipeline.execute:execute",
                        {**tables.arguments, "steps": steps, "staging": str(_whole(staging))},
                        on_progress=tell,
                    )
                    facts = {
                        "warnings": made["warnings"],
                        "source": tables.version,
                        "steps": _hash(steps),
                    }
                tell({"phase": "storing", "done": 0, "total": made["rows"]})
                columns = [Column.from_plain(c) for c in made["columns"]]
                old = await adopt(
                    instance.connection,
                    staging,
                    f"{catalogue.PREFIX}{number}",
                    finish=lambda tx: catalogue.make_ready(
                        tx, number, fields_of(columns), made["rows"], {"steps": steps}, facts
                    ),
                    on_rows=lambda done: tell({"done": done}),
                )
            await self.holds.replaced(old)
        except BaseException:
            with suppress(DuraliteError):  # where the file closes already, the next opening tidies up
                await instance.connection.run(partial(catalogue.drop, number=number))
            raise
        finally:
            await _in_thread(shutil.rmtree, folder, True)
        return {
            "rowCount": made["rows"],
            "columns": [{"name": c.name, "type": c.type} for c in columns],
            "warnings": made["warnings"],
        }

    # Parts

    async def _steps(self, pipeline_id: str, steps: Any) -> tuple[Step, ...]:
        return await self._instance.connection.run(
            lambda tx: _parsed(tx, _saved(tx, pipeline_id)["steps"] if steps is None else steps),
            read_only=True,
        )

    @asynccontextmanager
    async def _tables(self, steps: Sequence[Step]) -> AsyncIterator[_Tables]:
        """Give the tables that steps read, held for the length of the block."""
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(self.holds.on(catalogue.current))
            found = _Tables(self._instance.connection.path, source)
            for name in named_tables(steps):
                path, dataset = await self._other(stack, name)
                found.add(name, path, dataset)
            yield found

    async def _other(self, stack: AsyncExitStack, name: str) -> tuple[Path, Dataset]:
        """Return the table that a step calls `name`: this project's, or another's of the same account."""
        instance = self._instance
        if name == "data":
            return instance.connection.path, await stack.enter_async_context(self.holds.on(catalogue.current))
        own = await instance.connection.run(lambda tx: catalogue.result(tx, name), read_only=True)
        if own is not None:
            find = partial(_result_of, pipeline=name)
            return instance.connection.path, await stack.enter_async_context(self.holds.on(find))
        project, _, pipeline = name.removeprefix("project:").partition("/")
        host = instance.host
        address = ActorAddress(instance.address.type, instance.address.owner, project)
        other = (
            await host.acquire(address, create=False, held=True) if project and len(project) <= 256 else None
        )
        if other is None:
            raise StepError(
                f'there is no table "{name[:80]}".',
                hint="Name a pipeline that was executed, another project, or another project's result as project/pipeline.",
            )
        stack.callback(host.release, other)
        holds: Holds = other.actor.holds  # type: ignore[attr-defined]
        find = partial(_result_of, pipeline=pipeline) if pipeline else catalogue.current
        return other.connection.path, await stack.enter_async_context(holds.on(find))


class _Tables:
    """The tables of one run: as the compiler wants them, and as the worker does."""

    def __init__(self, path: Path, source: Dataset) -> None:
        self.source = _table(source)
        self.arguments: dict[str, Any] = {"source": _described(path, source), "tables": {}}
        self._others: dict[str, Table] = {}
        self._versions = [str(source.facts["version"])]

    def add(self, name: str, path: Path, dataset: Dataset) -> None:
        """Add a table that a step names."""
        self._others[name] = _table(dataset)
        self.arguments["tables"][name] = _described(path, dataset)
        self._versions.append(str(dataset.facts["version"]))

    def resolve(self, name: str) -> Table:
        """Return a table by the name that a step gives it."""
        return resolver(self._others)(name)

    @property
    def version(self) -> str:
        """What changes when any of the tables does."""
        return " ".join(self._versions)


def _table(dataset: Dataset) -> Table:
    fields = tuple(Field(f.name, read_type(_kind(f.column)), f.column.scale) for f in dataset.fields)
    return Table(dataset.table, fields, physical=tuple(f.physical for f in dataset.fields))


def _kind(column: Column) -> str:
    return {"text": "string", "empty": "string", "real": "number"}.get(column.kind, column.kind)


def _described(path: Path, dataset: Dataset) -> dict[str, Any]:
    return {
        "file": str(_whole(path)),
        "name": dataset.table,
        "columns": [
            {
                "name": f.name,
                "type": f.type,
                "kind": f.column.kind,
                "scale": f.column.scale,
                "physical": f.physical,
            }
            for f in dataset.fields
        ],
        "version": dataset.facts["version"],
    }


def _whole(path: Path) -> Path:
    # A worker's working folder is not the service's.
    return path.absolute()


def _result_of(tx: Transaction, *, pipeline: str) -> Dataset:
    found = catalogue.result(tx, pipeline)
    if found is None:
        raise NotFound(f"The pipeline {pipeline!r:.80} has no stored result.", hint="Execute it first.")
    return found


def _shown(field: Field) -> dict[str, str]:
    return {"name": field.name, "type": _SHOWN_TYPES.get(field.type, field.type)}


def _page(found: Mapping[str, Any]) -> dict[str, Any]:
    columns = [{"name": c["name"], "type": _SHOWN_TYPES.get(c["type"], c["type"])} for c in found["columns"]]
    names = [c["name"] for c in columns]
    truths = [at for at, c in enumerate(columns) if c["type"] == "boolean"]
    rows = []
    for row in found["rows"]:
        for at in truths:
            row[at] = bool(row[at]) if row[at] in (0, 1) else row[at]
        rows.append(dict(zip(names, row, strict=True)))
    return {
        "data": rows,
        "columns": columns,
        "step": found["step"],
        "complete": found["complete"],
        "warnings": found["warnings"],
    }


def _checked_id(pipeline: str) -> str:
    if _ID.fullmatch(pipeline) is None or pipeline.lower().endswith(_TAKEN):
        raise InputError(
            f"{pipeline!r:.80} cannot be the id of a pipeline.",
            hint="Use 1 to 64 letters, digits, underscores and hyphens, and no end in _result or _columns.",
        )
    return pipeline


def _parsed(tx: Transaction, steps: Any) -> tuple[Step, ...]:
    if isinstance(steps, str):
        steps = loads(steps)
    parsed = parse_steps(steps)
    if len(parsed) > tx.limits.max_pipeline_steps:
        raise LimitExceeded(
            f"The pipeline has {len(parsed):,} steps, more than {tx.limits.max_pipeline_steps:,}.",
            hint="Split it: a step can read the result of another pipeline.",
            limit="max_pipeline_steps",
        )
    return parsed


def _title_in(steps: Any) -> str | None:
    steps = loads(steps) if isinstance(steps, str) else steps
    title = steps.get("name") if isinstance(steps, Mapping) else None
    return title[:200] if isinstance(title, str) else None


def _store(tx: Transaction, pipeline: str, steps: Sequence[Step], title: str | None) -> None:
    row = tx.one("SELECT count(*) FROM main._duralite_pipelines WHERE id <> ?", (pipeline,))
    if row is not None and row[0] >= tx.limits.max_pipelines:
        raise LimitExceeded(
            f"The project holds {tx.limits.max_pipelines:,} pipelines already.",
            hint="Delete some of them.",
            limit="max_pipelines",
        )
    text = dumps(dump_steps(steps)).decode()
    tx.execute(
        "INSERT INTO main._duralite_pipelines (id, title, steps, created, updated) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET steps = excluded.steps, updated = excluded.updated,"
        " title = coalesce(excluded.title, title)",
        (pipeline, title, text, tx.now, tx.now),
    )


def _saved(tx: Transaction, pipeline: str) -> dict[str, Any]:
    row = tx.one(
        "SELECT id, title, steps, created, updated FROM main._duralite_pipelines WHERE id = ?", (pipeline,)
    )
    if row is None:
        names = [n for (n,) in tx.all("SELECT id FROM main._duralite_pipelines ORDER BY id LIMIT 20")]
        raise NotFound(
            f"There is no pipeline {pipeline!r:.80}.",
            hint="Pipelines: " + ", ".join(names) + "." if names else "Save one, or send steps.",
        )
    number, title, steps, created, updated = row
    return {
        "id": number,
        "title": title,
        "steps": loads(steps),
        "created": iso(created),
        "updated": iso(updated),
        "result": _result_facts(tx, number, loads(steps)),
    }


def _result_facts(tx: Transaction, pipeline: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    found = catalogue.result(tx, pipeline)
    if found is None:
        return None
    try:
        version = catalogue.current(tx).facts["version"]
    except NotFound:
        version = None
    sources = str(found.facts.get("source", "")).split()
    stale = found.facts.get("steps") != _hash(steps) or sources[:1] != [version]
    return {
        "rows": found.rows,
        "columns": [{"name": f.name, "type": f.type} for f in found.fields],
        "executed": found.created,
        "warnings": found.facts.get("warnings", []),
        "stale": stale,
    }


def _listed(saved: dict[str, Any]) -> dict[str, Any]:
    result = saved["result"]
    facts = None if result is None else {k: result[k] for k in ("rows", "executed", "stale")}
    return {**saved, "steps": len(saved["steps"]), "result": facts}


def _hash(steps: list[dict[str, Any]]) -> str:
    return hashlib.sha256(orjson.dumps(steps, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _reserve(tx: Transaction, *, pipeline: str, steps: Sequence[Step] | None, title: str | None) -> int:
    if _is_filling(tx, pipeline):
        raise Conflict(
            "This pipeline is being executed.", hint="Wait for its job to end, or cancel it (list_jobs)."
        )
    if steps is not None:
        _store(tx, pipeline, steps, title)
    return catalogue.reserve(tx, pipeline)


def _is_filling(tx: Transaction, pipeline: str) -> bool:
    sql = "SELECT 1 FROM main._duralite_datasets WHERE state = 'filling' AND pipeline = ?"
    return tx.one(sql, (pipeline,)) is not None


def _delete(tx: Transaction, *, pipeline: str) -> tuple[bool, list[int]]:
    if _is_filling(tx, pipeline):
        raise Conflict("This pipeline is being executed.", hint="Cancel its job first (list_jobs).")
    count = tx.execute("DELETE FROM main._duralite_pipelines WHERE id = ?", (pipeline,)).rowcount
    return count > 0, catalogue.discard(tx, pipeline)


async def _in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
