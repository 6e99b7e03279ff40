"""`sources`: register and import data sources, query and join them, copy them into sessions and projects and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from runtime.cli.actors import delete_all, rm_options
from runtime.cli.client import Client, actor_path
from runtime.cli.command import connected
from runtime.cli.files import follow, send
from runtime.cli.output import Output, counted
from runtime.cli.values import json_object, statement_options

__all__ = ("COMMANDS",)

_BASE = actor_path("sources", "default")
_PLACES = click.Choice(("session", "project"))


def _path(method: str) -> str:
    return actor_path("sources", "default", method)


@click.group("sources", epilog="\b\nExample:\n  duralite sources add sales.csv")
def sources() -> None:
    """Register and import data sources, query and join them, copy them."""


@connected("ls", example="duralite sources ls --search sales")
@click.option("--search", default="", help="Only those with this text in their name, path or tables.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many."
)
async def ls(client: Client, out: Output, search: str, limit: int) -> None:
    """List the data sources, by name."""
    found = await client.call("GET", _path("list_sources"), query={"search": search, "limit": limit})
    if out.as_json:
        out.json(found)
        return
    columns = ("name", "type", "status", "tables", "rows", "size", "last_used")
    rows = []
    for source in found["sources"]:
        facts = source["metadata"]
        counts = (facts.get("tableCount"), facts.get("rowCount"), facts["size"], facts["lastAccessed"])
        rows.append([source["name"], source["type"], source["status"], *counts])
    out.table(columns, rows, null="")
    out.note(counted(found["total"], "source"))


@connected("show", example="duralite sources show sales")
@click.argument("source")
async def show(client: Client, out: Output, source: str) -> None:
    """Show one source: its facts, its tables and their columns."""
    facts = await client.call("GET", _path("get"), query={"source": source})
    schema = None
    if facts["status"] == "ready":
        schema = await client.call("GET", _path("schema"), query={"source": source})
    if out.as_json:
        out.json({**facts, "schema": schema})
        return
    out.facts({**{k: v for k, v in facts.items() if k not in ("metadata", "error")}, **facts["metadata"]})
    if facts.get("error"):
        out.fail(facts["error"])
    for table in schema["tables"] if schema else ():
        columns = ", ".join(f"{c['name']} {c['type']}" for c in table["columns"])
        out.table(
            ("table", "kind", "rows", "columns"), [[table["name"], table["kind"], table["rows"], columns]]
        )


@connected("add", example="duralite sources add sales.csv --name sales")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="The source's name; else that of the file.")
@click.option("--options", callback=json_object, help="Parse options as a JSON object.")
async def add(client: Client, out: Output, file: Path, name: str | None, options: dict[str, Any]) -> None:
    """Make a source of a file: SQLite is kept as it is; CSV, XLSX, XLS, ODS, JSON and Parquet are imported."""
    query = {"name": name, "filename": file.name, "options": orjson.dumps(options).decode()}
    made = await send(client, out, _path("create"), file, query)
    await _settled(client, out, made)


@connected("register", example="duralite sources register /srv/data/shop.db --name shop")
@click.argument("path")
@click.option("--name", help="The source's name; else that of the file.")
@click.option("--live", is_flag=True, help="Import the file again whenever it changes.")
@click.option("--options", callback=json_object, help="Parse options as a JSON object.")
async def register(
    client: Client, out: Output, path: str, name: str | None, live: bool, options: dict[str, Any]
) -> None:
    """Make a source of a file on the service's machine, in a folder of the setting source_folders."""
    body = {"path": path, "name": name, "options": options or None}
    made = await client.call("POST", _path("live_import" if live else "register"), body)
    await _settled(client, out, made)


@connected("refresh", example="duralite sources refresh sales")
@click.argument("source")
async def refresh(client: Client, out: Output, source: str) -> None:
    """Import a source again from the file that it was registered with."""
    await _settled(client, out, await client.call("POST", _path("refresh"), {"source": source}))


async def _settled(client: Client, out: Output, source: dict[str, Any]) -> None:
    """Follow a source's import to its end, and show what it is then."""
    if source["status"] == "importing":
        record = await client.call("GET", _path("get_job"), query={"id": source["importId"]})
        await follow(client, out, _BASE, record)
        source = await client.call("GET", _path("get"), query={"source": source["id"]})
    if out.as_json:
        out.json(source)
        return
    for warning in source.get("warnings", ()):
        out.note(f"warning: {warning}", style="yellow")
    facts = source["metadata"]
    tables, rows = counted(facts.get("tableCount", 0), "table"), counted(facts.get("rowCount") or 0, "row")
    out.note(f"{source['name']!r} is {source['status']}: {tables}, {rows}", style="")


@connected("query", example="duralite sources query 'SELECT count(*) FROM sales' --source sales")
@statement_options
@click.option("--source", "-s", help="The source whose tables need no prefix.")
async def query(
    client: Client,
    out: Output,
    statement: str,
    source: str | None,
    params: Any,
    limit: int | None,
) -> None:
    """Run one query over one source, or over several joined by name. STATEMENT `-` reads it from stdin."""
    body = {"sql": statement, "source": source, "params": params, "limit": limit, "row_format": "arrays"}
    answer = await client.call("POST", _path("query"), body)
    if out.as_json:
        out.json(answer)
        return
    out.table(answer["columns"], answer["rows"])
    cut = " (cut: there are more)" if answer["truncated"] else ""
    kept = ", kept" if answer["cached"] else ""
    out.note(f"{counted(answer['row_count'], 'row')}{cut}, {answer['duration_ms']:.1f} ms{kept}")


@connected("copy", example="duralite sources copy sales chat-42")
@click.argument("source")
@click.argument("name")
@click.option("--to", "place", type=_PLACES, default="session", show_default=True, help="What NAME is.")
@click.option("--sql", help="Copy the rows of this query instead of all tables.")
@click.option("--table", help="The new table's name.")
@click.option("--replace", is_flag=True, help="Drop tables of the same names first.")
async def copy(
    client: Client,
    out: Output,
    source: str,
    name: str,
    place: str,
    sql: str | None,
    table: str | None,
    replace: bool,
) -> None:
    """Copy a source, or a query over sources, into a session or project."""
    body = {"source": source, "name": name, "type": place, "sql": sql, "table": table, "replace": replace}
    record = await follow(client, out, _BASE, await client.call("POST", _path("copy_to"), body))
    if out.as_json:
        out.json(record["result"])
        return
    for made, rows in record["result"]["tables"].items():
        out.note(f"copied {counted(rows, 'row')} to {made!r} of {place} {name!r}", style="")


@connected("take", example="duralite sources take chat-42 --table orders")
@click.argument("name")
@click.option("--from", "place", type=_PLACES, default="session", show_default=True, help="What NAME is.")
@click.option("--table", help="A table or view.")
@click.option("--sql", help="Or a query.")
@click.option("--as", "source_name", help="The new source's name.")
async def take(
    client: Client,
    out: Output,
    name: str,
    place: str,
    table: str | None,
    sql: str | None,
    source_name: str | None,
) -> None:
    """Make a source out of a table of a session or project, or of a query over it."""
    body = {"name": name, "type": place, "table": table, "sql": sql, "source_name": source_name}
    await _settled(client, out, await client.call("POST", _path("copy_from"), body))


@connected("rename", example="duralite sources rename sales sales_2024")
@click.argument("source")
@click.argument("new_name")
async def rename(client: Client, out: Output, source: str, new_name: str) -> None:
    """Give a source another name."""
    answer = await client.call("POST", _path("rename"), {"source": source, "new_name": new_name})
    out.done(answer, f"{source!r} is {answer['name']!r} now")


@connected("rm", example="duralite sources rm sales --yes")
@rm_options
async def rm(client: Client, out: Output, names: tuple[str, ...], yes: bool) -> int:
    """Delete sources and the files made for them; files registered by their path stay."""

    async def delete(name: str) -> None:
        await client.call("POST", _path("delete"), {"source": name})

    return await delete_all(out, "source", names, delete, yes=yes)


for _command in (ls, show, add, register, refresh, query, copy, take, rename, rm):
    sources.add_command(_command)

COMMANDS = (sources,)
