"""Schemas and parameters that many routes of the OpenAPI document share."""

from __future__ import annotations

from typing import Any

from runtime import errors
from runtime.accounts import SCOPES
from runtime.ids import MAX_NAME_BYTES

__all__ = (
    "FORMAT",
    "IDEMPOTENCY",
    "IF_NONE_MATCH",
    "NAME",
    "PROBLEMS",
    "SEARCH",
    "error_classes",
    "facts_schema",
    "json_response",
    "key_schema",
    "page_schema",
    "paging",
    "problem_schema",
    "query",
)

Json = dict[str, Any]

_PACKAGES = frozenset({"runtime", "helpers", "sandbox", "actors", "wrangler_compat"})


def error_classes() -> list[type[errors.DuraliteError]]:
    """Return every error that a caller may see, by code: the runtime's, and those of actor types that are loaded."""
    found: list[type[errors.DuraliteError]] = [errors.DuraliteError]
    for cls in found:
        found += cls.__subclasses__()
    own = [cls for cls in found[1:] if "code" in vars(cls) and cls.__module__.partition(".")[0] in _PACKAGES]
    return sorted(own, key=lambda cls: cls.code)


def query(name: str, description: str, schema: Json) -> Json:
    """Return an optional parameter of the query string."""
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def json_response(description: str, schema: Json) -> Json:
    """Return a response whose body is JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problem_schema() -> Json:
    """Return the schema of every error (RFC 9457)."""
    return {
        "type": "object",
        "description": "What went wrong, why, and what to do instead (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string", "enum": sorted({cls.code for cls in error_classes()})},
            "hint": {"type": "string", "description": "What to send instead."},
            "limit": {"type": "string", "description": "The setting that cut."},
            "retry_after": {"type": "number", "description": "Seconds."},
            "request_id": {"type": "string"},
        },
    }


def page_schema() -> Json:
    """Return the schema of every page of a list."""
    return {
        "type": "object",
        "required": ["items", "next", "next_url"],
        "properties": {
            "items": {"type": "array"},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
            "next_url": {"type": ["string", "null"]},
        },
    }


def _moment(null: bool = True) -> Json:
    return {"type": ["string", "null"] if null else "string", "format": "date-time"}


def facts_schema() -> Json:
    """Return the schema of an actor's facts."""
    properties: Json = {
        "type": {"type": "string"},
        "name": {"type": "string"},
        "id": {"type": "string"},
        "created": _moment(null=False),
        "last_used": _moment(null=False),
        "size_bytes": {"type": "integer"},
        "pinned": {"type": "boolean"},
        "next_alarm": _moment(),
        "live": {"type": "boolean", "description": "Whether its file is open now."},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def key_schema() -> Json:
    """Return the schema of a key as lists show it."""
    properties: Json = {
        "id": {"type": "string"},
        "account": {"type": "string"},
        "label": {"type": "string"},
        "scopes": {"type": "array", "items": {"enum": list(SCOPES)}},
        "created": _moment(null=False),
        "expires": _moment(),
        "last_used": _moment(),
        "revoked": _moment(),
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def paging(most: int) -> list[Json]:
    """Return the parameters of a list."""
    size = {"type": "integer", "minimum": 1, "maximum": most}
    return [query("limit", "Items of the page.", size), CURSOR]


NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The actor's name: any text of 1 to 1,024 bytes, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES, "pattern": "^[^\\u0000]+$"},
}
PROBLEMS: Json = {
    kind: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for kind, description in (
        ("4XX", "The request cannot be served as it is; `hint` says what to send instead."),
        ("5XX", "The service cannot serve it now."),
    )
}
FORMAT = query(
    "format", "Instead of Accept.", {"type": "string", "enum": ["json", "csv", "ndjson"], "default": "json"}
)
SEARCH = {"type": "string", "maxLength": 256, "pattern": "^[^\\u0000]*$"}
CURSOR = query("cursor", "`next` of the page before.", {"type": "string", "pattern": "^([0-9a-f][0-9a-f])*$"})
IDEMPOTENCY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the call happen once, however often it is sent.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
}
