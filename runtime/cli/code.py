"""`run` and `sql`: a program or a statement, on a session of its own."""

from __future__ import annotations

from typing import Any

import click

from runtime.cli.client import Client, session_path
from runtime.cli.command import connected
from runtime.cli.failure import FAILED, LIMIT, OK, REFUSED
from runtime.cli.output import Output, counted
from runtime.cli.values import json_object, pairs, statement_options
from runtime.errors import DuraliteError
from runtime.guard import SESSION, Guard

__all__ = ("COMMANDS", "DEFAULT_SESSION", "end_run", "run_code", "show_run")

DEFAULT_SESSION = "default-session"


@connected("run", example="duralite run report.py --session chat-42 --input year=2009")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--session", "-s", default=DEFAULT_SESSION, show_default=True, help="The session's name.")
@click.option("--input", "-i", multiple=True, callback=pairs, help="name=value in `inputs`; JSON or text.")
@click.option("--inputs", callback=json_object, help="A JSON object as `inputs`.")
@click.option("--timeout", "wall", type=click.FloatRange(min=0.05), help="Seconds of wall time.")
@click.option(
    "--ask", multiple=True, help="Calls that need an approval, such as db.exec:DROP; may be given again."
)
async def run(
    client: Client,
    out: Output,
    file: Any,
    session: str,
    inputs: dict[str, Any],
    input: dict[str, Any],
    wall: float | None,
    ask: tuple[str, ...],
) -> int:
    """Run a Python program in the sandbox, with a session's database in scope as `db`.

    FILE is a program, `-` reads it from stdin. What it prints goes to stdout, then the value of its last
    expression or assignment.
    """
    body: dict[str, Any] = {"code": _text(file), "inputs": {**inputs, **input}}
    if wall is not None:
        body["limits"] = {"wall_s": wall}
    if ask:
        body["ask"] = ask
    result = await client.call("POST", session_path(session, "run"), body)
    return end_run(out, result, session)


def _text(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError as error:
        raise click.UsageError(f"The program is not UTF-8 text: {error}.") from None


def end_run(out: Output, result: dict[str, Any], session: str) -> int:
    """Write a run's result, and return the exit code that belongs to it."""
    if out.as_json:
        out.json(result)
    else:
        show_run(out, result, session)
    return run_code(result)


def show_run(out: Output, result: dict[str, Any], session: str) -> None:
    """Write what a run printed, its value or error, and what it waits for."""
    if result["logs"]:
        out.text("\n".join(result["logs"]))
    if result["value"] is not None:
        out.value(result["value"])
    if error := result["error"]:
        place = f"line {error['line']}: " if error.get("line") else ""
        out.fail(
            {"detail": f"{place}{error['type']}: {error['message']}"}
            | {"hint": error.get("hint"), "limit": result.get("limit")}
        )
        if error.get("traceback"):
            out.note(error["traceback"].rstrip())
    for warning in result.get("warnings", ()):
        out.note(f"line {warning['line']}: {warning['message']} {warning['hint'] or ''}")
    if result["waiting"]:
        out.table(
            ("approval", "call", "arguments", "why"),
            [[w["id"], w["call"], w["arguments"], w["why"]] for w in result["waiting"]],
        )
        out.note(f"It goes on with: duralite approvals approve {result['id']} -s {session}", style="")
    if result.get("note"):
        out.note(result["note"], style="")
    usage = result["usage"]
    calls = f"{counted(usage.get('calls', 0), 'helper call')}, {result['effects'].get('write_calls', 0)} of them wrote"
    out.note(f"{result['status']}: {usage.get('wall_ms', 0.0):.1f} ms, {calls}")


def run_code(result: dict[str, Any]) -> int:
    """Return the exit code that belongs to a run's result."""
    if result["status"] in ("ok", "paused"):
        return OK
    if result["status"] == "limit":
        return LIMIT
    return REFUSED if (result["error"] or {}).get("code") == "guard_refused" else FAILED


@connected("sql", example="duralite sql chat-42 'SELECT * FROM orders WHERE total > ?' -p 100")
@click.argument("session")
@statement_options
async def sql(
    client: Client,
    out: Output,
    session: str,
    statement: str,
    params: Any,
    limit: int | None,
) -> None:
    """Run one SQL statement on a session, and show its rows or what it changed.

    STATEMENT `-` reads it from stdin.
    """
    if _writes(statement):
        body = {"sql": statement, "params": params}
        answer = await client.call("POST", session_path(session, "exec"), body)
        shown = answer.get("columns") is not None
    else:
        body = {"sql": statement, "params": params, "limit": limit, "row_format": "arrays"}
        answer = await client.call("POST", session_path(session, "query"), body)
        shown = True
    if out.as_json:
        out.json(answer)
        return
    if shown:
        rows = answer["rows"]
        columns = answer["columns"]
        out.table(columns, [[row[c] for c in columns] if isinstance(row, dict) else row for row in rows])
        cut = " (cut: there are more)" if answer.get("truncated") else ""
        out.note(f"{counted(len(rows), 'row')}{cut}, {answer['duration_ms']:.1f} ms")
    if answer.get("rows_affected") is not None:
        out.note(
            f"{counted(answer['rows_affected'], 'row')} changed, {answer['duration_ms']:.1f} ms", style=""
        )


def _writes(text: str) -> bool:
    """Tell by the guard's own reading whether a statement writes; what it refuses, the service refuses."""
    try:
        return Guard(SESSION).check(text).writes
    except DuraliteError:
        return True


COMMANDS = (run, sql)
