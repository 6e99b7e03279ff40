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
from runtime.storage.rows import encode
from runtime.values import dumps, loads

__all__ = ("answered", "failed", "protocol_error", "structured")


def answered(entry: ToolEntry, answer: bytes, most: int) -> CallToolResult:
    """Return a method's answer, given as JSON, within `most` bytes.

    Rows beyond are cut, and said so; of anything else the whole is too large.

    Raises:
        LimitExceeded: it is too large; the call was done all the same.
    """
    if len(answer) > most:
        if not entry.has_rows:
            raise too_large(len(answer), most)
        answer = dumps(_cut(loads(answer), most))
    value = loads(answer)
    return structured({"result": value} if entry.wrapped else value)


def structured(value: dict[str, Any]) -> CallToolResult:
    """Return an object as both forms of an answer."""
    return CallToolResult(content=[TextContent(text=dumps(value).decode())], structured_content=value)


def too_large(size: int, most: int) -> LimitExceeded:
    """Return the error of an answer that is too large."""
    return LimitExceeded(
        f"The call was done, and its answer of {size:,} bytes is over the {most:,} bytes of one tool answer.",
        hint="Ask for less: a LIMIT, fewer columns, a summary; or keep the data in a table and work on it in run_code.",
        limit="mcp_result_bytes",
        done=True,
    )


def _cut(answer: dict[str, Any], most: int) -> dict[str, Any]:
    rows: list[Any] = answer["rows"]
    room = most - len(dumps({**answer, "rows": [], "limit": "mcp_result_bytes"}))
    kept = 0
    for row in rows:
        room -= len(encode(row)) + 1
        if room < 0:
            break
        kept += 1
    return {**answer, "rows": rows[:kept], "row_count": kept, "truncated": True, "limit": "mcp_result_bytes"}


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
