"""An answer is shown twice: as structured content for the program, and as text for the model.

Errors are answers too. What a model can mend comes back as a tool error with message, hint and code; only what no
change of arguments mends (no such tool, a key without the scope) is an error of the protocol.
"""

from __future__ import annotations

from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, CallToolResult, TextContent

from runtime.errors import DuraliteError, LimitExceeded
from runtime.gateway.mcp.tools import ToolEntry
from runtime.values import dumps, loads

__all__ = ("answered", "failed", "protocol_error", "structured")

_LIMIT = "mcp_result_bytes"
# What a run's answer has, whatever type it ran in; and room for the note that says what was left out.
_RUN = frozenset({"status", "value", "logs", "truncated", "limit", "note"})
_NOTE = 400


def answered(entry: ToolEntry, answer: bytes, most: int) -> CallToolResult:
    """Return a method's answer, given as JSON, within `most` bytes.

    Rows beyond are cut, and so are a program's printed lines and its value; the answer says so. Of anything else the
    whole is too large.

    Raises:
        LimitExceeded: it is too large; the call was done all the same.
    """
    value = loads(answer)
    if len(answer) > most:
        if entry.has_rows:
            value = _cut_rows(value, most)
        elif entry.spec.scope == "run" and isinstance(value, dict) and value.keys() >= _RUN:
            value = _cut_run(value, most)
        else:
            raise too_large(len(answer), most)
    return structured({"result": value} if entry.wrapped else value)


def structured(value: dict[str, Any]) -> CallToolResult:
    """Return an object as both forms of an answer."""
    return CallToolResult(content=[TextContent(text=dumps(value).decode())], structured_content=value)


def too_large(size: int, most: int) -> LimitExceeded:
    """Return the error of an answer that is too large."""
    return LimitExceeded(
        f"The call was done, and its answer of {size:,} bytes is over the {most:,} bytes of one tool answer.",
        hint="Ask for less: a LIMIT, fewer columns, a summary; or keep the data in a table and work on it in run_code.",
        limit=_LIMIT,
        done=True,
    )


def _cut_rows(answer: dict[str, Any], most: int) -> dict[str, Any]:
    rows: list[Any] = answer["rows"]
    room = most - len(dumps({**answer, "rows": [], "limit": _LIMIT}))
    kept = _fitting(rows, room)
    return {**answer, "rows": rows[:kept], "row_count": kept, "truncated": True, "limit": _LIMIT}


def _cut_run(answer: dict[str, Any], most: int) -> dict[str, Any]:
    """Return a run's answer with a part of what it printed, and the beginning of its value as text."""
    lines, calls = answer["logs"], answer.get("calls", [])
    value = dumps(answer["value"]).decode()
    bare = {**answer, "logs": [], "value": None, "truncated": True, "limit": answer["limit"] or _LIMIT}
    if len(dumps(bare)) > most // 2:
        bare["calls"] = calls[: _fitting(calls, most // 8)]
    room = max(0, most - len(dumps(bare)) - _NOTE)
    shown = _fitting(lines, room // 2)
    room -= len(dumps(lines[:shown]))
    note = answer["note"] or ""
    if shown < len(lines):
        note += f" {len(lines) - shown:,} printed lines were left out."
    # Text within text: each quotation mark takes two bytes.
    if len(dumps(value)) > room:
        keep = room // 2
        note += f" The value has {len(value):,} characters as JSON; here are the first {keep:,}, as text."
        kept: Any = value[:keep].encode()[:keep].decode("utf-8", "ignore")
    else:
        kept = answer["value"]
    note += " Return a summary, and keep the data in a table."
    return {**bare, "logs": lines[:shown], "value": kept, "note": note.strip()}


def _fitting(items: list[Any], room: int) -> int:
    """Return how many leading items have JSON within so many bytes."""
    for number, item in enumerate(items):
        room -= len(dumps(item)) + 1
        if room < 0:
            return number
    return len(items)


def failed(error: DuraliteError, request_id: str | None = None) -> CallToolResult:
    """Return an error as a model reads it (what happened, what to do) and as a program does (RFC 9457)."""
    problem = error.to_problem()
    if request_id is not None:
        problem["request_id"] = request_id
    lines = [error.message]
    for item in error.extra.get("errors", ())[1:]:
        lines.append(f"{item['path']}: {item['reason']}.")
    if error.hint is not None:
        lines.append(f"Hint: {error.hint}")
    if error.limit is not None:
        lines.append(f"Limit: {error.limit}")
    lines.append(f"Code: {error.code}")
    return CallToolResult(
        content=[TextContent(text="\n".join(lines))],
        structured_content={"problem": _plain(problem)},
        is_error=True,
    )


def protocol_error(error: DuraliteError) -> MCPError:
    """Return an error that ends the request itself: the key may not, or the thing does not exist."""
    code = INVALID_PARAMS if error.status in (404, 422) else INVALID_REQUEST
    text = error.message if error.hint is None else f"{error.message} {error.hint}"
    return MCPError(code, text, _plain(error.to_problem()))


def _plain(problem: dict[str, Any]) -> Any:
    """Return a problem as JSON shows it; what an error carries beside its text may be anything."""
    try:
        return loads(dumps(problem))
    except TypeError:
        known = ("type", "title", "status", "detail", "code", "hint", "limit", "retry_after", "request_id")
        return {key: problem[key] for key in known if key in problem}
