"""`runs`, `approvals` and `snippets`: what programs did, what they wait for, and those that are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from runtime.cli.client import Client, session_path
from runtime.cli.code import DEFAULT_SESSION, end_run, run_code, show_run
from runtime.cli.command import connected
from runtime.cli.output import Output, counted
from runtime.cli.values import json_object, pairs
from runtime.values import dumps

__all__ = ("COMMANDS",)

_LOOK_S = 0.1
_session = click.option(
    "--session", "-s", default=DEFAULT_SESSION, show_default=True, help="The session's name."
)


@click.group("runs", epilog="\b\nExample:\n  duralite runs ls --session chat-42")
def runs() -> None:
    """List and look into the runs of a session."""


@connected("ls", example="duralite runs ls --session chat-42 --state paused")
@_session
@click.option("--state", help="Only runs in this state: running, paused, ok, error, …")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
async def ls(client: Client, out: Output, session: str, state: str | None, limit: int) -> None:
    """List the runs of a session, the newest first."""
    page = await client.call(
        "GET", session_path(session, "list_runs"), query={"limit": limit, "state": state}
    )
    if out.as_json:
        out.json(page)
        return
    rows = [
        [r["id"], r["state"], r["created"], r["code"].strip().split("\n")[0][:60], r["error"]]
        for r in page["items"]
    ]
    out.table(("id", "state", "created", "program", "error"), rows, null="")
    out.note(counted(len(rows), "run") + (" (there are more)" if page["next"] else ""))


@connected("show", example="duralite runs show 2a096ee34421423a --session chat-42")
@click.argument("run")
@_session
async def show(client: Client, out: Output, run: str, session: str) -> None:
    """Show all that is kept of a run: program, calls, outcome."""
    record = await client.call("GET", session_path(session, "get_run"), query={"id": run})
    if out.as_json:
        out.json(record)
        return
    names = ("id", "state", "created", "ended", "attempts", "inputs", "cut")
    out.facts({name: record[name] for name in names if record[name]})
    out.text(record["code"], style="cyan")
    rows = [
        [c["name"], c["arguments"], c["state"], c["error"] or c["result"], c["ms"]] for c in record["calls"]
    ]
    out.table(("call", "arguments", "state", "gave", "ms"), [[_short(cell) for cell in row] for row in rows])
    show_run(out, {**record, "status": record["state"]}, session)


@connected("replay", example="duralite runs replay 2a096ee34421423a --session chat-42")
@click.argument("run")
@_session
async def replay(client: Client, out: Output, run: str, session: str) -> int:
    """Run a recorded program again with its recorded results, without doing anything."""
    result = await client.call("POST", session_path(session, "replay_run"), {"id": run})
    return end_run(out, result, session)


@click.group("approvals", epilog="\b\nExample:\n  duralite approvals ls")
def approvals() -> None:
    """List, approve and reject what programs ask for."""


@connected("ls", example="duralite approvals ls --session chat-42")
@click.option("--session", "-s", help="Only of this session; all of them without it.")
async def pending(client: Client, out: Output, session: str | None) -> None:
    """List the calls that wait for an approval."""
    names = [session] if session else [item["name"] async for item in client.pages("/v1/session")]
    found: list[dict[str, Any]] = []
    for name in names:
        waiting = await client.call("GET", session_path(name, "list_approvals"))
        found += [{"session": name, **each} for each in waiting]
    if out.as_json:
        out.json(found)
        return
    columns = ("session", "id", "call", "arguments", "why", "since")
    # Whole: somebody must judge what is in them.
    out.table(columns, [[each[column] for column in columns] for each in found])
    out.note(f"{counted(len(found), 'call')} waiting for an approval")


@connected("approve", example="duralite approvals approve 2a096ee34421423a --session chat-42")
@click.argument("approval")
@_session
@click.option("--no-wait", is_flag=True, help="Do not wait for what the run does next.")
async def approve(client: Client, out: Output, approval: str, session: str, no_wait: bool) -> int:
    """Approve a call, or all calls that a run waits for; the run goes on."""
    return await _decide(client, out, session, "approve", {"id": approval}, no_wait)


@connected("reject", example='duralite approvals reject 2a096ee34421423a:3 --reason "not this table"')
@click.argument("approval")
@_session
@click.option("--reason", default="", help="What the program is told.")
@click.option("--no-wait", is_flag=True, help="Do not wait for what the run does next.")
async def reject(client: Client, out: Output, approval: str, session: str, reason: str, no_wait: bool) -> int:
    """Reject a call, or all calls that a run waits for; the program gets an error and goes on."""
    return await _decide(client, out, session, "reject", {"id": approval, "reason": reason}, no_wait)


async def _decide(
    client: Client, out: Output, session: str, verb: str, body: dict[str, Any], no_wait: bool
) -> int:
    record = await client.call("POST", session_path(session, verb), body)
    while record["state"] == "running" and not no_wait:
        await asyncio.sleep(_LOOK_S)
        record = await client.call("POST", session_path(session, "get_run"), {"id": record["id"]})
    if out.as_json:
        out.json(record)
    else:
        show_run(out, {**record, "status": record["state"]}, session)
    return run_code({**record, "status": "ok" if record["state"] == "running" else record["state"]})


@click.group("snippets", epilog="\b\nExample:\n  duralite snippets ls --search revenue")
def snippets() -> None:
    """Keep programs that worked, find them and run them by name."""


@connected("ls", example="duralite snippets ls --search revenue")
@_session
@click.option("--search", help="Words of what is looked for; the best come first.")
async def kept(client: Client, out: Output, session: str, search: str | None) -> None:
    """List the snippets of a session."""
    verb, query = ("search_snippets", {"text": search}) if search else ("list_snippets", {})
    found = await client.call("GET", session_path(session, verb), query=query)
    if out.as_json:
        out.json(found)
        return
    out.table(
        ("name", "description", "updated"), [[s["name"], s["description"], s["updated"]] for s in found]
    )
    out.note(counted(len(found), "snippet"))


@connected(
    "save", example="duralite snippets save revenue --run 2a096ee34421423a --description 'revenue by month'"
)
@click.argument("name")
@_session
@click.option("--run", "run_id", help="The run whose program it is.")
@click.option("--file", type=click.File("r", encoding="utf-8"), help="Or a file with the program.")
@click.option("--description", default="", help="What it does, to be found by.")
@click.option("--inputs", callback=json_object, help="JSON Schema of its inputs.")
async def save(
    client: Client,
    out: Output,
    name: str,
    session: str,
    run_id: str | None,
    file: Any,
    description: str,
    inputs: dict[str, Any],
) -> None:
    """Keep a program under a name."""
    body = {"name": name, "run": run_id, "description": description, "inputs": inputs or None}
    body["code"] = file.read() if file is not None else None
    saved = await client.call("POST", session_path(session, "save_snippet"), body)
    out.done(saved, f"kept as {name!r}")


@connected("run", example="duralite snippets run revenue --input year=2013")
@click.argument("name")
@_session
@click.option("--input", "-i", "inputs", multiple=True, callback=pairs, help="name=value; JSON or text.")
async def run(client: Client, out: Output, name: str, session: str, inputs: dict[str, Any]) -> int:
    """Run a snippet."""
    body = {"name": name, "inputs": inputs}
    result = await client.call("POST", session_path(session, "run_snippet"), body)
    return end_run(out, result, session)


@connected("rm", example="duralite snippets rm revenue")
@click.argument("name")
@_session
async def rm(client: Client, out: Output, name: str, session: str) -> None:
    """Delete a snippet."""
    answer = await client.call("POST", session_path(session, "delete_snippet"), {"name": name})
    out.done(answer, f"deleted {name!r}" if answer["deleted"] else f"there is no snippet {name!r}")


def _short(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else dumps(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"


for _command in (ls, show, replay):
    runs.add_command(_command)
for _command in (pending, approve, reject):
    approvals.add_command(_command)
for _command in (kept, save, run, rm):
    snippets.add_command(_command)
COMMANDS = (runs, approvals, snippets)
