"""Exports: the rows of a project, or of a pipeline's result, as a file that is streamed while it is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field as Doc

from actors.project.catalogue import Dataset
from actors.project.fields import Field
from actors.project.filters import order_by, where
from actors.project.holds import Holds
from actors.project.reading import Filter, Sort, chosen, dataset_of
from runtime.context import current_context
from runtime.errors import Forbidden, LimitExceeded
from runtime.instance import Instance
from runtime.method import method
from runtime.storage.transaction import quote
from runtime.tabular.write import WriteFormat
from runtime.tabular.writing import download

__all__ = ("ExportMethods",)


class ExportMethods:
    """export."""

    _instance: Instance
    holds: Holds
    execute: Callable[..., Any]
    get_pipeline: Callable[..., Any]

    @method(
        read_only=True,
        concurrent=True,
        aliases=(
            "GET /api/projects/{name}/export",
            "GET /api/projects/{name}/pipelines/{pipeline}/export",
        ),
    )
    async def export(
        self,
        format: Annotated[WriteFormat, Doc(description="csv, ndjson, parquet or xlsx.")] = "csv",
        pipeline: Annotated[
            str | None,
            Doc(max_length=64, description="A pipeline's result; it is executed first if it has to be."),
        ] = None,
        columns: Annotated[Any, Doc(description="Only these columns: a list, or names with commas.")] = None,
        filter: Filter = None,
        sort: Sort = None,
        safe: Annotated[
            bool,
            Doc(
                description="Put ' before texts that a spreadsheet would run as a formula; this changes them."
            ),
        ] = False,
        bom: Annotated[
            bool, Doc(description="Begin a CSV file with a byte order mark, as Excel likes it.")
        ] = False,
        delimiter: Annotated[str, Doc(min_length=1, max_length=1, description="What separates cells.")] = ",",
        header: Annotated[bool, Doc(description="Begin a CSV file with the names of the columns.")] = True,
        sheet: Annotated[
            str, Doc(min_length=1, max_length=25, description="Name of an XLSX sheet.")
        ] = "Data",
    ) -> Any:
        """Stream the rows as a file, in bounded memory (project-database.md, Phase 6).

        Numbers keep the decimals they came with. CSV and NDJSON begin at once; Parquet and XLSX when they are
        whole.
        """
        if pipeline is not None:
            await self._refresh(pipeline)
        instance = self._instance
        dataset, let_go = await self.holds.take(partial(dataset_of, pipeline=pipeline))
        instance.held += 1  # the file stays open under the worker that reads it

        def release() -> None:
            let_go()
            instance.host.release(instance)

        handed_over = False

        def hold() -> Callable[[], None]:
            nonlocal handed_over
            handed_over = True
            return release

        try:
            fields = chosen(dataset, columns)
            sql, params = _select(dataset, fields, filter, sort)
            return await download(
                instance.host.services["workers"],
                instance.connection.path,
                sql,
                [f.column for f in fields],
                format,
                _name(pipeline or instance.address.name),
                parameters=params,
                options={
                    "formula_safe": safe,
                    "bom": bom,
                    "delimiter": delimiter,
                    "header": header,
                    "sheet": sheet,
                },
                hold=hold,
                folder=instance.host.settings.data / "tmp",
            )
        finally:
            if not handed_over:
                release()

    async def _refresh(self, pipeline: str) -> None:
        """Execute a pipeline whose stored result is missing, or is of other data or other steps."""
        run = self._instance.connection.run
        found = await run(lambda tx: self.get_pipeline(tx, pipeline), read_only=True)
        if found["result"] is not None and not found["result"]["stale"]:
            return
        scopes = current_context().scopes
        if scopes is not None and "write" not in scopes:
            raise Forbidden(
                f"The pipeline {pipeline!r:.80} has no stored result of the present data, and this key may not store one.",
                hint="Execute the pipeline with a key that has the scope write, then export with this one.",
                scope="write",
            )
        answer = await self.execute(pipeline)
        if answer["state"] == "running":
            raise LimitExceeded(
                "The pipeline takes longer than the call may.",
                hint=f"It goes on as the job {answer['job']}: export again when that has ended.",
                limit="call_s",
            )


def _select(dataset: Dataset, fields: list[Field], filter: Any, sort: Any) -> tuple[str, list[Any]]:
    """Return the SELECT of an export, over the data table itself: a view may have been changed by its user."""
    condition, params = where(dataset, filter)
    named = ", ".join(["row_id", *(f"{f.physical} AS {quote(f.sql_name)}" for f in dataset.fields)])
    heads = ", ".join(quote(f.sql_name) for f in fields)
    order = order_by(dataset, sort)
    return f"SELECT {heads} FROM (SELECT {named} FROM main.{dataset.table}){condition}{order}", params


def _name(name: str) -> str:
    return "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "_" for c in name)[:60]
