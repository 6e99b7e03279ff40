"""A tool schema is a method as a model's API wants to hear of it; one generator serves all of the formats.

- `openai`: the Responses API, flat. Strict where the arguments allow it: strict mode knows no open objects
  and no free values, so a method that takes either is told as it is, with `strict` false.
- `openai-chat`: the same under `function`.
- `anthropic`: `name`, `description`, `input_schema`.
- `mcp`: `name`, `title`, `description`, `inputSchema`, `outputSchema` (always an object), `annotations`.

In strict mode every property is required and an optional one may be null: `without_nulls` takes these
nulls out again before the method is called.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from runtime.errors import InputError
from runtime.jobs import Job
from runtime.method import MethodSpec

__all__ = ("CODE_TOOL", "TARGETS", "Target", "code_tool", "tool_name", "tool_schemas", "without_nulls")

Target = Literal["openai", "openai-chat", "anthropic", "mcp"]
TARGETS: tuple[str, ...] = get_args(Target)

CODE_TOOL = "run_code"
"""The one tool that takes a program."""

MAX_NAME = 64
_CODE_ARGUMENTS = ("code", "inputs")
# What strict mode knows; anything else (a default, a length) would make the API refuse the tool.
_STRICT_WORDS = frozenset(
    {"type", "properties", "items", "anyOf", "enum", "const", "description", "$ref", "$defs"}
    | {"pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"minItems", "maxItems"}
)


class _NotStrictError(Exception):
    """Raised inside this module where a schema has no strict form."""


def tool_schemas(
    methods: Mapping[str, MethodSpec] | Iterable[MethodSpec],
    target: str,
    *,
    prefix: str = "",
    actor: str | None = None,
) -> list[dict[str, Any]]:
    """Return the public methods as tools for one target.

    Args:
        methods: An actor type's methods (`SessionActor.methods`).
        target: One of `TARGETS`.
        prefix: Put before each name with an underscore, usually the actor type: `session_query`.
        actor: The name of an added, optional text argument that says which actor is meant (`session`).

    Raises:
        InputError: the target is unknown.
        ValueError: two methods come to the same tool name, or one has an argument of the name `actor`.
    """
    _known_target(target)
    each = [m for m in (methods.values() if isinstance(methods, Mapping) else methods) if m.public]
    names: dict[str, str] = {}
    tools = []
    for method in each:
        name = tool_name(method.name, prefix)
        if name in names:
            raise ValueError(f"{method.name} and {names[name]} both come to the tool name {name!r}.")
        names[name] = method.name
        tools.append(_tool(method, name, target, _input(method, actor), method.doc))
    return tools


def code_tool(
    run: MethodSpec, target: str, *, description: str, actor: str | None = "session"
) -> dict[str, Any]:
    """Return the one tool for code mode: `run_code(session, code, inputs?)`.

    Args:
        run: The `run` method of an actor type.
        target: One of `TARGETS`.
        description: What a program has at hand (`helpers.docs.model_docs`).
        actor: As for `tool_schemas`.

    Raises:
        InputError: the target is unknown.
    """
    _known_target(target)
    schema = _input(run, actor)
    kept = (actor, *_CODE_ARGUMENTS)
    schema["properties"] = {name: schema["properties"][name] for name in kept if name in schema["properties"]}
    schema["required"] = [name for name in schema.get("required", ()) if name in kept]
    schema = {
        "type": "object",
        **{key: schema[key] for key in ("properties", "required", "additionalProperties")},
    }
    made = _tool(run, CODE_TOOL, target, schema, description)
    if target == "mcp":
        made["title"] = "Run code"
        made["outputSchema"] = _without_job(made["outputSchema"])
    return made


def _without_job(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what `run` answers where it is never asked to run in the background."""
    options = [o["$ref"].rpartition("/")[2] for o in _options(schema) if "$ref" in o]
    if Job.__name__ not in options or len(options) != 2:
        return schema
    (other,) = set(options) - {Job.__name__}
    definitions = {name: each for name, each in schema["$defs"].items() if name != Job.__name__}
    return {**definitions.pop(other), "$defs": definitions}


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inner: dict[str, Any] = schema.get("properties", {}).get("result", {})
    return list(inner.get("anyOf", ()))


def tool_name(name: str, prefix: str = "") -> str:
    """Return a name that every API takes: at most 64 of `A-Z a-z 0-9 _ -`; a longer one ends in a hash."""
    whole = f"{prefix}_{name}" if prefix else name
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", whole).strip("_") or "tool"
    if len(clean) <= MAX_NAME:
        return clean
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: MAX_NAME - 9]}_{digest}"


def without_nulls(method: MethodSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without the nulls that strict mode made a model send for what it left out."""
    optional = {parameter.name for parameter in method.parameters if not parameter.required}
    return {name: value for name, value in arguments.items() if value is not None or name not in optional}


def _known_target(target: str) -> None:
    if target not in TARGETS:
        raise InputError(f"There is no tool format {target!r:.40}.", hint=f"Use one of {', '.join(TARGETS)}.")


def _tool(
    method: MethodSpec, name: str, target: str, schema: dict[str, Any], description: str
) -> dict[str, Any]:
    if target == "anthropic":
        return {"name": name, "description": description, "input_schema": schema}
    if target == "mcp":
        return {
            "name": name,
            "title": method.name.replace("_", " ").capitalize(),
            "description": description,
            "inputSchema": schema,
            "outputSchema": _output(method),
            "annotations": {
                "readOnlyHint": method.read_only,
                "destructiveHint": method.destructive,
                "idempotentHint": method.idempotent,
                "openWorldHint": False,
            },
        }
    try:
        parameters, strict = _strict(schema), True
    except _NotStrictError:
        parameters, strict = schema, False
    function = {"name": name, "description": description, "parameters": parameters, "strict": strict}
    return (
        {"type": "function", "function": function}
        if target == "openai-chat"
        else {"type": "function", **function}
    )


def _input(method: MethodSpec, actor: str | None) -> dict[str, Any]:
    schema: dict[str, Any] = _cleaned(method.input_schema())
    properties = dict(schema.get("properties", {}))
    for parameter in method.parameters:
        default = parameter.default
        if not parameter.required and isinstance(default, (bool, int, float, str)):
            properties[parameter.name] = {**properties[parameter.name], "default": default}
    if actor is not None:
        if actor in properties:
            raise ValueError(f"{method.name} already has an argument {actor!r}.")
        said = {"type": "string", "description": f"The name of the {actor}; left out, the default one."}
        properties = {actor: said, **properties}
    return {**schema, "type": "object", "properties": properties, "additionalProperties": False}


def _output(method: MethodSpec) -> dict[str, Any]:
    schema: dict[str, Any] = _cleaned(method.output_schema())
    if schema.get("type") == "object":
        return schema
    definitions = schema.pop("$defs", None)
    wrapped = {"type": "object", "properties": {"result": schema}, "required": ["result"]}
    return wrapped if definitions is None else {**wrapped, "$defs": definitions}


def _cleaned(schema: Any, names: bool = False) -> Any:
    """Return the schema without the titles that pydantic makes of names, and with `items` in every array.

    OpenAI refuses an array without `items`, strict or not. `names` marks a map of properties.
    """
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    clean = {
        key: _cleaned(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key not in ("title", "default", "enum", "const")
    }
    if not names:
        # Values, which may look like schemas and are none.
        clean |= {key: schema[key] for key in ("default", "enum", "const") if key in schema}
        if "array" in _types(schema):
            clean.setdefault("items", {})
    return clean


def _strict(schema: Any) -> dict[str, Any]:
    """Return the strict form of a schema.

    Raises:
        _NotStrictError: it holds an open object or a value of any type.
    """
    if not isinstance(schema, Mapping):
        raise _NotStrictError
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is None and not schema.keys() & {"type", "enum", "const"}:
        raise _NotStrictError
    form = {key: value for key, value in schema.items() if key in _STRICT_WORDS}
    if options is not None:
        form["anyOf"] = [_strict(option) for option in options]
    if "$defs" in form:
        form["$defs"] = {name: _strict(value) for name, value in schema["$defs"].items()}
    if "array" in _types(schema):
        form["items"] = _strict(schema.get("items"))
    if "object" in _types(schema):
        if schema.get("additionalProperties", not schema.get("properties")) is not False:
            raise _NotStrictError
        needed = schema.get("required", ())
        properties = schema.get("properties", {})
        form["properties"] = {
            name: _strict(value) if name in needed else _nullable(_strict(value))
            for name, value in properties.items()
        }
        form["required"] = list(properties)
        form["additionalProperties"] = False
    return form


def _types(schema: Mapping[str, Any]) -> list[Any]:
    kind = schema.get("type", [])
    return list(kind) if isinstance(kind, (list, tuple)) else [kind]


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        options = schema["anyOf"]
        return schema if {"type": "null"} in options else {**schema, "anyOf": [*options, {"type": "null"}]}
    if "$ref" in schema or "enum" in schema or "const" in schema:
        described = {"description": schema["description"]} if "description" in schema else {}
        bare = {key: value for key, value in schema.items() if key != "description"}
        return {**described, "anyOf": [bare, {"type": "null"}]}
    kinds = _types(schema)
    return {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
