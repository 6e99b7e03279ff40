"""Lists and deletion, the same for all that a name stands for: sessions, projects, sources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from runtime.cli.client import Client, actor_path
from runtime.cli.failure import FAILED, OK
from runtime.cli.output import Output, counted

__all__ = ("delete_actor", "delete_all", "list_actors", "list_options", "rm_options")


def list_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--search` and `--limit`."""
    limit = click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    return click.option("--search", help="Only names that contain this text.")(limit(run))


async def list_actors(
    client: Client,
    out: Output,
    kind: str,
    *,
    columns: Sequence[str],
    search: str | None,
    limit: int | None,
) -> None:
    """Show the actors of a type, by name."""
    found = [item async for item in client.pages(f"/v1/{kind}", limit=limit, query={"q": search})]
    if out.as_json:
        out.json(found)
        return
    out.table(columns, [[item.get(column) for column in columns] for item in found], null="")
    out.note(counted(len(found), kind))


def rm_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """Add the names, and `--yes`."""
    names = click.argument("names", nargs=-1, required=True)
    return names(click.option("--yes", "-y", is_flag=True, help="Do not ask.")(run))


async def delete_all(
    out: Output, noun: str, names: Sequence[str], delete: Callable[[str], Awaitable[Any]], *, yes: bool
) -> int:
    """Delete what the names stand for, unless the person who is asked says no; return the exit code."""
    if not yes:
        what = f"{noun} {names[0]!r}" if len(names) == 1 else counted(len(names), noun)
        if not click.confirm(f"Delete {what} for good?", err=True):
            out.note("Nothing was deleted.")
            return FAILED
    for name in names:
        await delete(name)
        out.note(f"deleted {name!r}", style="")
    if out.as_json:
        out.json({"deleted": list(names)})
    return OK


def delete_actor(client: Client, kind: str) -> Callable[[str], Awaitable[Any]]:
    """Return what deletes the actor of a name."""
    return lambda name: client.call("DELETE", actor_path(kind, name))
