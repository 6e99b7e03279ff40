"""`projects`: import a file, look into its rows, run pipelines over them, export them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from runtime.cli.actors import delete_actor, delete_all, list_actors, list_options, rm_options
from runtime.cli.client import Client, actor_path
from runtime.cli.command import connected
from runtime.cli.files import file_name, follow, save, send
from runtime.cli.output import Output, counted
from runtime.cli.values import json_object

__all__ = ("COMMANDS",)

_FORMATS = ("csv", "ndjson", "parquet", "xlsx")


def _path(name: str, method: str = "") -> str:
    return actor_path("project", name, method)


@click.group("projects", epilog="\b\nExample:\n  duralite projects import flights flights.csv")
def projects() -> None:
    """Import files, look into their rows, run pipelines over them, export them."""


@connected("ls", example="duralite projects ls")
@list_options
async def ls(client: Client, out: Output, search: str | None, limit: int | None) -> None:
    """List the projects, by name."""
    columns = ("name", "size_bytes", "created", "last_used", "live")
    await list_actors(client, out, "project", columns=columns, search=search, limit=limit)


@connected("import", example="duralite projects import flights flights.csv --null NA")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--from-url", help="Import from this URL instead of a file; the operator allows hosts.")
@click.option("--delimiter", help="What separates cells; found out if left out.")
@click.option("--encoding", help="Encoding of a text file; found out if left out.")
@click.option("--header/--no-header", default=None, help="Whether the first row holds names.")
@click.option("--sheet", help="Sheet of a workbook.")
@click.option("--range", "cells", help="Part of the file, such as B2:F90.")
@click.option("--null", "null_values", multiple=True, help="A word that means NULL; may be given again.")
@click.option("--options", callback=json_object, help="Parse options as a JSON object.")
@click.option("--preview", is_flag=True, help="Show what an import would find, and import nothing.")
async def import_(
    client: Client,
    out: Output,
    name: str,
    file: Path | None,
    from_url: str | None,
    options: dict[str, Any],
    preview: bool,
    **given: Any,
) -> None:
    """Import a CSV, XLSX, XLS, ODS, NDJSON, JSON or Parquet file in place of a project's rows."""
    given["range"] = given.pop("cells")
    given["null_values"] = given["null_values"] or None
    wanted = {**options, **{name: value for name, value in given.items() if value is not None}}
    if (file is None) == (from_url is None):
        raise click.UsageError("Give a file, or --from-url.")
    query = {"options": orjson.dumps(wanted).decode(), "filename": None if file is None else file.name}
    if preview:
        if file is None:
            raise click.UsageError("A preview needs a file.")
        del query["filename"]
        _show_preview(out, await send(client, out, _path(name, "preview_file"), file, query))
        return
    if file is None:
        job = await client.call("POST", _path(name, "import_url"), {"url": from_url, "options": wanted})
    else:
        job = await send(client, out, _path(name, "import_file"), file, query)
    result = (await follow(client, out, _path(name), job))["result"]
    if out.as_json:
        out.json(result)
        return
    _show_columns(out, (await client.call("GET", _path(name, "columns")))["columns"])
    _show_warnings(out, result["warnings"])
    out.note(f"imported {counted(result['rowCount'], 'row')} into {name!r}", style="")


def _show_preview(out: Output, found: dict[str, Any]) -> None:
    if out.as_json:
        out.json(found)
        return
    out.table([c["name"] for c in found["columns"]], found["rows"])
    types = ", ".join(f"{c['name']}: {c['type']}" for c in found["columns"])
    out.note(f"{found['format']}, {found['encoding'] or 'binary'}; {types}")


def _show_columns(out: Output, columns: list[dict[str, Any]]) -> None:
    names = ("name", "type", "null_count", "distinct_count", "min_value", "max_value")
    out.table(names, [[column[name] for name in names] for column in columns])


@connected("columns", example="duralite projects columns flights")
@click.argument("name")
@click.option("--pipeline", help="Of a pipeline's stored result.")
async def columns(client: Client, out: Output, name: str, pipeline: str | None) -> None:
    """Show the columns with their types and statistics."""
    found = await client.call("GET", _path(name, "columns"), query={"pipeline": pipeline})
    if out.as_json:
        out.json(found)
        return
    _show_columns(out, found["columns"])
    out.note(counted(found["rows"], "row"))


@connected("data", example="duralite projects data flights --limit 20 --sort carrier,-dep_delay")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Rows to pass over.")
@click.option("--filter", "condition", help="Conditions as JSON.")
@click.option("--sort", help="Columns to sort by, with commas; a minus before one turns its order.")
@click.option("--columns", "only", help="Only these columns, with commas.")
@click.option("--pipeline", help="Rows of a pipeline's stored result.")
async def data(
    client: Client, out: Output, name: str, condition: str | None, only: str | None, **given: Any
) -> None:
    """Show rows."""
    query = {**given, "filter": condition, "columns": only}
    page = await client.call("GET", _path(name, "data"), query=query)
    if out.as_json:
        out.json(page)
        return
    heads = [column["name"] for column in page["columns"]]
    out.table(heads, [[row[head] for head in heads] for row in page["data"]])
    place = page["pagination"]
    out.note(f"rows {place['offset'] + 1:,} to {place['offset'] + len(page['data']):,} of {place['total']:,}")


@connected("sample", example="duralite projects sample flights distribution --column carrier")
@click.argument("name")
@click.argument("kind", default="random")
@click.option("--column", help="The column, for kinds that look at one.")
@click.option("--columns", "only", help="Only these columns, with commas.")
@click.option(
    "-n", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Rows, values, groups."
)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same rows.")
@click.option("--pattern", help="Text to search for; * and ? are wildcards.")
@click.option("--start", "start_row", type=click.IntRange(min=1), help="First row of a range.")
@click.option("--end", "end_row", type=click.IntRange(min=1), help="Last row of a range.")
@click.option("--pipeline", help="Of a pipeline's stored result.")
async def sample(client: Client, out: Output, name: str, only: str | None, **given: Any) -> None:
    """Look into the data: random, distribution, stats, search, range, nulls, duplicates, outliers."""
    body = {key: value for key, value in {**given, "columns": only}.items() if value is not None}
    await client.call("GET", _path(name))
    _show_answer(out, await client.call("POST", _path(name, "sample"), body))


@connected("ask", example="duralite projects ask flights 'average dep_delay by carrier'")
@click.argument("name")
@click.argument("question")
@click.option("--pipeline", help="About a pipeline's stored result.")
async def ask(client: Client, out: Output, name: str, question: str, pipeline: str | None) -> None:
    """Ask a question in words; what was understood is said, with the SQL."""
    await client.call("GET", _path(name))
    answer = await client.call("POST", _path(name, "ask"), {"question": question, "pipeline": pipeline})
    if not out.as_json:
        out.note(f"understood: {answer['understood']}", style="")
    _show_answer(out, answer)


def _show_answer(out: Output, answer: dict[str, Any]) -> None:
    if out.as_json:
        out.json(answer)
        return
    out.table(
        answer["columns"], [[row.get(column) for column in answer["columns"]] for row in answer["rows"]]
    )
    if answer["sql"]:
        out.note(answer["sql"])


@connected("rm", example="duralite projects rm flights --yes")
@rm_options
async def rm(client: Client, out: Output, names: tuple[str, ...], yes: bool) -> int:
    """Delete projects, with all their files. There is no way back."""
    return await delete_all(out, "project", names, delete_actor(client, "project"), yes=yes)


@connected("export", example="duralite projects export flights --format parquet --output flights.parquet")
@click.argument("name")
@click.option("--pipeline", help="A pipeline's result instead of the imported rows.")
@click.option(
    "--format", "kind", type=click.Choice(_FORMATS), default="csv", show_default=True, help="Format."
)
@click.option("--safe", is_flag=True, help="Keep spreadsheets from running cells as formulas.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Else NAME.FORMAT.")
@click.option("--force", "-f", is_flag=True, help="Write over a file that is there.")
async def export(
    client: Client,
    out: Output,
    name: str,
    pipeline: str | None,
    kind: str,
    safe: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Save the rows as a file."""
    target = output or Path(f"{file_name(pipeline or name)}.{kind}")
    query = {"format": kind, "safe": safe or None, "pipeline": pipeline}
    size = await save(client, out, _path(name, "export"), query, target, force=force)
    out.done({"file": str(target), "bytes": size}, f"wrote {target} ({size:,} bytes)")


@projects.group("pipeline", epilog="\b\nExample:\n  duralite projects pipeline run flights late steps.json")
def pipeline() -> None:
    """Save, check, preview and run pipelines of a project."""


@connected("ls", example="duralite projects pipeline ls flights")
@click.argument("name")
async def pipeline_ls(client: Client, out: Output, name: str) -> None:
    """List the pipelines of a project."""
    found = await client.call("GET", _path(name, "list_pipelines"))
    if out.as_json:
        out.json(found)
        return
    rows = [[p["id"], p["title"], p["steps"], *_result_cells(p["result"])] for p in found]
    out.table(("pipeline", "title", "steps", "rows", "executed", "stale"), rows, null="")


def _result_cells(result: dict[str, Any] | None) -> list[Any]:
    return [None, None, None] if result is None else [result["rows"], result["executed"], result["stale"]]


@connected("show", example="duralite projects pipeline show flights late --json > late.json")
@click.argument("name")
@click.argument("pipeline")
async def pipeline_show(client: Client, out: Output, name: str, pipeline: str) -> None:
    """Show the steps of a pipeline; --json gives the document that `save` takes."""
    found = await client.call("GET", _path(name, "get_pipeline"), query={"pipeline_id": pipeline})
    if out.as_json:
        out.json(found["document"])
        return
    for number, step in enumerate(found["steps"], 1):
        settings = {key: value for key, value in step.items() if key != "operation"}
        out.text(f"{number}. {step['operation']} {orjson.dumps(settings).decode()}")


@connected("save", example="duralite projects pipeline save flights late steps.json")
@click.argument("name")
@click.argument("pipeline")
@click.argument("steps", type=click.File("rb"))
@click.option("--title", help="What people call it.")
async def pipeline_save(
    client: Client, out: Output, name: str, pipeline: str, steps: Any, title: str | None
) -> None:
    """Save steps (a JSON list, or a document that `show` wrote; `-` reads stdin) as a pipeline."""
    body = {"pipeline_id": pipeline, "steps": _steps(steps), "title": title}
    saved = await client.call("POST", _path(name, "save_pipeline"), body)
    out.done(saved, f"saved {pipeline!r} with {len(saved['steps'])} steps")


def _steps(file: Any) -> Any:
    try:
        return orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise click.UsageError(f"The steps are not JSON: {error}.") from None


@connected("check", example="duralite projects pipeline check flights late")
@click.argument("name")
@click.argument("pipeline")
@click.argument("steps", type=click.File("rb"), required=False)
async def pipeline_check(client: Client, out: Output, name: str, pipeline: str, steps: Any) -> None:
    """Check steps (the saved ones unless given) and show the SQL; nothing runs."""
    body = {"pipeline_id": pipeline, "steps": None if steps is None else _steps(steps)}
    plan = await client.call("POST", _path(name, "check_pipeline"), body)
    if out.as_json:
        out.json(plan)
        return
    out.text("\n\n".join(plan["sql"]))
    out.note("columns: " + ", ".join(f"{c['name']} ({c['type']})" for c in plan["columns"]))


@connected("preview", example="duralite projects pipeline preview flights late --up-to 2")
@click.argument("name")
@click.argument("pipeline")
@click.argument("steps", type=click.File("rb"), required=False)
@click.option("--up-to", "up_to_step", type=click.IntRange(min=0), help="Stop after this step.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Rows.")
async def pipeline_preview(
    client: Client, out: Output, name: str, pipeline: str, steps: Any, up_to_step: int | None, limit: int
) -> None:
    """Show the first rows after a step; nothing is stored."""
    body = {"pipeline_id": pipeline, "up_to_step": up_to_step, "limit": limit}
    if steps is not None:
        body["steps"] = _steps(steps)
    page = await client.call("POST", _path(name, "preview_pipeline"), body)
    if out.as_json:
        out.json(page)
        return
    heads = [column["name"] for column in page["columns"]]
    out.table(heads, [[row[head] for head in heads] for row in page["data"]])
    _show_warnings(out, page["warnings"])


@connected("run", example="duralite projects pipeline run flights late steps.json")
@click.argument("name")
@click.argument("pipeline")
@click.argument("steps", type=click.File("rb"), required=False)
async def pipeline_run(client: Client, out: Output, name: str, pipeline: str, steps: Any) -> None:
    """Run a pipeline and store its result; steps that are given are saved first."""
    body = {"pipeline_id": pipeline, "wait": False}
    if steps is not None:
        body["steps"] = _steps(steps)
    started = await client.call("POST", _path(name, "execute"), body)
    job = {"id": started["job"], "kind": "pipeline", "state": "running"}
    result = (await follow(client, out, _path(name), job))["result"]
    if out.as_json:
        out.json({"pipelineId": pipeline, **result})
        return
    _show_warnings(out, result["warnings"])
    out.note(f"{counted(result['rowCount'], 'row')} in the result of {pipeline!r}", style="")


def _show_warnings(out: Output, warnings: list[Any]) -> None:
    for warning in warnings:
        text = warning.get("message", warning) if isinstance(warning, dict) else warning
        out.note(f"warning: {text}", style="yellow")


@connected("rm", example="duralite projects pipeline rm flights late")
@click.argument("name")
@click.argument("pipeline")
async def pipeline_rm(client: Client, out: Output, name: str, pipeline: str) -> None:
    """Delete a pipeline and its stored result."""
    answer = await client.call("POST", _path(name, "delete_pipeline"), {"pipeline_id": pipeline})
    out.done(answer, f"deleted {pipeline!r}" if answer["deleted"] else f"there was no {pipeline!r}")


def _add(group: click.Group, *commands: Any) -> tuple[click.Group]:
    for command in commands:
        group.add_command(command)
    return (group,)


_add(
    pipeline,
    pipeline_ls,
    pipeline_show,
    pipeline_save,
    pipeline_check,
    pipeline_preview,
    pipeline_run,
    pipeline_rm,
)
COMMANDS = _add(projects, ls, import_, columns, data, sample, ask, export, rm)
