"""What a tool answers becomes the value that a program gets: structured content first, else text, else the parts.

An error becomes an exception. A text that is JSON is parsed; anything else of several parts is handed over as a
list of plain dicts. Nothing of it is believed: it is data of a stranger, bounded by the transport.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
from mcp_types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from runtime.errors import ToolError
from sandbox.tools.names import clean_text
from sandbox.tools.redact import Redactor

__all__ = ("unwrap",)

_ERROR_BYTES = 2_000
# What programs can be handed (`sandbox.engine.Limits.depth`), and a little less.
_DEEPEST = 60


def unwrap(
    path: str, result: CallToolResult, redactor: Redactor, *, wraps_result: bool = False
) -> tuple[Any, int]:
    """Return the value of a call of the helper `path`, and the bytes of its JSON; `wraps_result` as its output schema says.

    Raises:
        ToolError: the tool says that it failed.
    """
    if result.is_error:
        texts = [part.text for part in result.content if isinstance(part, TextContent)]
        said = clean_text(redactor.safe("\n".join(texts)), _ERROR_BYTES)
        if not said and result.structured_content is not None:
            said = clean_text(redactor.safe(json.dumps(result.structured_content)), _ERROR_BYTES)
        raise ToolError(
            f"{path}: {said or 'the tool failed and did not say why'}",
            hint=f'See what it takes with helpers.describe("{path}").',
        )
    if result.structured_content is not None or "structured_content" in result.model_fields_set:
        value = result.structured_content
        if wraps_result and isinstance(value, dict) and list(value) == ["result"]:
            value = value["result"]
    elif len(result.content) == 1 and isinstance(result.content[0], TextContent):
        value = _parsed(redactor.text(result.content[0].text))
    else:
        value = [_part(part) for part in result.content] or None
    if not _within(value, _DEEPEST):
        raise ToolError(
            f"{path}: the answer is nested more than {_DEEPEST} levels deep.",
            hint="Ask the tool for a part of it.",
        )
    text = _json(value)
    if text is None:
        value = _whole(value)
        text = _json(value) or ""
    return redactor.value(value, text), len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _json(value: Any) -> str | None:
    """Return a value as JSON text; None where it holds what is no text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text


def _parsed(text: str) -> Any:
    """Return the JSON value of a text, exact in its integers; the text itself where it is no JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return value if _within(value, _DEEPEST) else text


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _within(value: Any, depth: int) -> bool:
    """Tell whether a value is nested at most so deep; without recursion."""
    layer = [value] if isinstance(value, list | dict) else []
    while layer and depth:
        inner = (
            child for parent in layer for child in (parent.values() if isinstance(parent, dict) else parent)
        )
        layer = [child for child in inner if isinstance(child, list | dict)]
        depth -= 1
    return not layer


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImageContent | AudioContent):
        return {"type": part.type, "mime_type": part.mime_type, "data": part.data}
    if isinstance(part, ResourceLink):
        return {"type": "resource_link", "uri": str(part.uri), "name": part.name, "mime_type": part.mime_type}
    if isinstance(part, EmbeddedResource):
        held = part.resource
        known = {"type": "resource", "uri": str(held.uri), "mime_type": held.mime_type}
        return known | (
            {"text": held.text} if isinstance(held, TextResourceContents) else {"data": held.blob}
        )
    return {"type": str(getattr(part, "type", "unknown"))}


def _whole(value: Any) -> Any:
    """Return a value without lone surrogates, which no database and no answer can hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value
