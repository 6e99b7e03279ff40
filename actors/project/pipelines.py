"""Pipelines of a project: saved steps, run over the import into a stored result, or looked at without storing.

Steps are checked against the columns before anything runs. They run in a worker, which reads the project's live
file and writes a staging file; the result is adopted and switched like an import (`catalogue`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from pydantic import Field as Doc
from pydantic import WithJsonSchema

from actors.project import catalogue
from actors.project.fields import fields_of
from actors.project.holds import Holds
from actors.project.imports import ended, telling, waited
from actors.project.pipeline import (
    Step,
    dump_steps,
    operations,
    parse_steps,
    write_document,
)
from actors.project.saved import (
    checked_id,
    delete,
    listed,
    parsed_steps,
    reserve,
    saved,
    steps_hash,
    store,
    title_in,
)
from actors.project.tables import Tables, tables_of
from runtime.errors import DuraliteError, InputError
from runtime.ids import new_token
from runtime.instance import Instance
from runtime.jobs import JobProgress, job
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.tabular.adopt import adopt
from runtime.tabular.columns import Column
from runtime.tabular.reading import whole

__all__ = ("PipelineMethods",)

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
        parsed = parsed_steps(tx, steps)
        store(tx, checked_id(pipeline_id), parsed, title or title_in(steps))
        return saved(tx, pipeline_id)

    @method(read_only=True, aliases=("GET /api/projects/{name}/pipelines",))
    def list_pipelines(self, tx: Transaction) -> list[dict[str, Any]]:
        """Return the pipelines, each with its number of steps and the state of its result."""
        rows = tx.all("SELECT id FROM main._duralite_pipelines ORDER BY id")
        return [listed(saved(tx, number)) for (number,) in rows]

    @method(read_only=True, aliases=("GET /api/projects/{name}/pipelines/{pipelineId}",))
    def get_pipeline(self, tx: Transaction, pipeline_id: PipelineId) -> dict[str, Any]:
        """Return a pipeline: its steps, the state of its result, and the document that imports it elsewhere."""
        found = saved(tx, pipeline_id)
        steps = parse_steps(found["steps"])
        return {**found, "document": write_document(steps, name=found["title"] or found["id"])}

    @method(destructive=True, idempotent=True, concurrent=True, aliases=("DELETE /api/projects/{name}/pipelines/{pipelineId}",))  # fmt: skip
    async def delete_pipeline(self, pipeline_id: PipelineId) -> dict[str, bool]:
        """Delete a pipeline and its stored result."""
        deleted, old = await self._instance.connection.run(partial(delete, pipeline=pipeline_id))
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
        async with tables_of(self._instance, self.holds, wanted) as tables:
            plan = await self._checked(wanted, tables, sql=True)
        return {
            "steps": dump_steps(wanted),
            "columns": list(map(_shown, plan["columns"])),
            "after": [list(map(_shown, columns)) for columns in plan["after"]],
            "sql": plan["sql"],
            "open_from": plan["open_from"],
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
        checked_id(pipeline_id)
        instance = self._instance
        wanted = await self._steps(pipeline_id, steps)
        async with tables_of(self._instance, self.holds, wanted) as tables:
            # What cannot work is told before anything runs.
            await self._checked(wanted, tables)
        dumped = dump_steps(wanted)
        number = await instance.connection.run(
            partial(
                reserve,
                pipeline=pipeline_id,
                steps=None if steps is None else wanted,
                title=title_in(steps),
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
        async with tables_of(self._instance, self.holds, wanted) as tables:
            await self._checked(wanted[:up_to_step], tables)
            found = await self._instance.host.services["workers"].run(
                "actors.project.pipeline.execute:preview",
                {
                    **tables.arguments,
                    "steps": dump_steps(wanted),
                    "up_to": up_to_step,
                    "limit": limit,
                    "cache": whole(self._instance.host.settings.data / "tmp" / "stages"),
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
                async with tables_of(instance, self.holds, parsed) as tables:
                    made = await instance.host.services["workers"].run(
                        "actors.project.pipeline.execute:execute",
                        {**tables.arguments, "steps": steps, "staging": whole(staging)},
                        on_progress=tell,
                    )
                    facts = {
                        "warnings": made["warnings"],
                        "read": tables.versions,
                        "steps": steps_hash(steps),
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
                    on_rows=lambda done: tell({"done": done, "rows": done}),
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

    async def _checked(self, steps: Sequence[Step], tables: Tables, *, sql: bool = False) -> dict[str, Any]:
        """Return what steps will do, as `pipeline.execute.check` tells.

        Raises:
            StepError: one cannot work.
        """
        plan: dict[str, Any] = await self._instance.host.services["workers"].run(
            "actors.project.pipeline.execute:check",
            {**tables.arguments, "steps": dump_steps(steps), "sql": sql},
            lane="read",
            deadline_s=_PREVIEW_S,
        )
        return plan

    async def _steps(self, pipeline_id: str, steps: Any) -> tuple[Step, ...]:
        return await self._instance.connection.run(
            lambda tx: parsed_steps(tx, saved(tx, pipeline_id)["steps"] if steps is None else steps),
            read_only=True,
        )


def _shown(column: Sequence[str]) -> dict[str, str]:
    name, kind = column
    return {"name": name, "type": _SHOWN_TYPES.get(kind, kind)}


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


async def _in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
