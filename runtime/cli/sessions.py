"""`sessions`: list, look at, keep, copy, move and delete session databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.cli.actors import delete_actor, delete_all, list_actors, list_options, rm_options
from runtime.cli.client import Client, session_path
from runtime.cli.command import connected
from runtime.cli.files import file_name, save, send
from runtime.cli.output import Output

__all__ = ("COMMANDS",)


@click.group("sessions", epilog="\b\nExample:\n  duralite sessions ls")
def sessions() -> None:
    """List, look at, keep, copy, move and delete sessions."""


@connected("ls", example="duralite sessions ls --search chat")
@list_options
async def ls(client: Client, out: Output, search: str | None, limit: int | None) -> None:
    """List the sessions, by name."""
    columns = ("name", "size_bytes", "created", "last_used", "pinned", "live")
    await list_actors(client, out, "session", columns=columns, search=search, limit=limit)


@connected("show", example="duralite sessions show chat-42")
@click.argument("name")
async def show(client: Client, out: Output, name: str) -> None:
    """Show one session: its facts and its tables."""
    facts = await client.call("GET", session_path(name))
    tables = await client.call("POST", session_path(name, "tables"), {})
    if out.as_json:
        out.json({**facts, "tables": tables})
        return
    out.facts(facts)
    if tables:
        rows = [[t["name"], t["kind"], t["rows"], ", ".join(c["name"] for c in t["columns"])] for t in tables]
        out.table(("table", "kind", "rows", "columns"), rows)


@connected("rm", example="duralite sessions rm chat-41 chat-42 --yes")
@rm_options
async def rm(client: Client, out: Output, names: tuple[str, ...], yes: bool) -> int:
    """Delete sessions, with all that is in them. There is no way back."""
    return await delete_all(out, "session", names, delete_actor(client, "session"), yes=yes)


@connected("pin", example="duralite sessions pin chat-42")
@click.argument("name")
async def pin(client: Client, out: Output, name: str) -> None:
    """Keep a session for good: it no longer expires."""
    await _pin(client, out, name, True)


@connected("unpin", example="duralite sessions unpin chat-42")
@click.argument("name")
async def unpin(client: Client, out: Output, name: str) -> None:
    """Let a session expire again, its whole time from now on."""
    await _pin(client, out, name, False)


async def _pin(client: Client, out: Output, name: str, pinned: bool) -> None:
    await client.call("GET", session_path(name))  # a call would make the session; here it must exist
    answer = await client.call("POST", session_path(name, "pin"), {"pinned": pinned})
    out.done(answer, f"{name!r} {'is kept for good' if pinned else 'expires when nobody uses it'}")


@connected("clone", example="duralite sessions clone chat-42 chat-42-copy")
@click.argument("name")
@click.argument("copy")
async def clone(client: Client, out: Output, name: str, copy: str) -> None:
    """Copy a session, its tables and its saved state, into a new one."""
    await client.call("GET", session_path(name))
    answer = await client.call("POST", session_path(name, "clone"), {"name": copy})
    out.done(answer, f"copied {name!r} to {copy!r}")


@connected("promote", example="duralite sessions promote chat-42 --project orders")
@click.argument("name")
@click.option("--project", help="The project's name; else that of the session.")
async def promote(client: Client, out: Output, name: str, project: str | None) -> None:
    """Turn a session into a project for good; its name goes on working."""
    await client.call("GET", session_path(name))
    answer = await client.call("POST", session_path(name, "promote"), {"project": project})
    out.done(answer, f"{name!r} is the project {answer['name']!r} now")


@connected("export", example="duralite sessions export chat-42 --output chat-42.sqlite")
@click.argument("name")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="The file; else NAME.FORMAT."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(("sqlite", "csv", "ndjson")),
    default="sqlite",
    show_default=True,
    help="The whole file, or the rows of a query.",
)
@click.option("--sql", "query", help="The query, for csv and ndjson.")
@click.option("--force", "-f", is_flag=True, help="Write over a file that is there.")
async def export(
    client: Client, out: Output, name: str, output: Path | None, kind: str, query: str | None, force: bool
) -> None:
    """Save a session as an SQLite file, or the rows of a query as CSV or NDJSON."""
    await client.call("GET", session_path(name))
    target = output or Path(f"{file_name(name)}.{kind}")
    wanted = {"format": kind, "sql": query}
    size = await save(client, out, session_path(name, "export"), wanted, target, force=force)
    out.done({"file": str(target), "bytes": size}, f"wrote {target} ({size:,} bytes)")


@connected("import", example="duralite sessions import chat-42 shop.sqlite")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Drop tables of the same names first.")
async def import_(client: Client, out: Output, name: str, file: Path, replace: bool) -> None:
    """Load the tables of an SQLite file into a session, which is made if it is new."""
    answer = await send(client, out, session_path(name, "import_file"), file, {"replace": replace})
    if out.as_json:
        out.json(answer)
        return
    out.table(("table", "rows"), list(answer["tables"].items()))
    if answer["skipped"]:
        out.note(
            "left out (views, triggers, virtual tables, a session's own): " + ", ".join(answer["skipped"]),
            style="",
        )


def _add(*commands: Any) -> tuple[click.Group]:
    for command in commands:
        sessions.add_command(command)
    return (sessions,)


COMMANDS = _add(ls, show, rm, pin, unpin, clone, promote, export, import_)
