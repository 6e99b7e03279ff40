"""Tools come from the registry: one for each public method of each actor type, and `run_code`.

A tool's schemas are those of its method, with the actor's name added as an argument that is called as its type
(`session`). Which tools a client is shown is the operator's to say, and a client may ask for others; all can be
called, because the scopes of a key decide what it may do, and not what it was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from mcp_types import Tool

from runtime.actor import Actor
from runtime.gateway.mcp.cursors import read_cursor, write_cursor
from runtime.gateway.routes import is_upload
from runtime.jobs import Job
from runtime.method import MethodSpec
from runtime.registry import Registry
from runtime.storage.rows import Rows
from runtime.streams import Upload

__all__ = ("CODE_TOOL", "DEFAULT_ACTOR", "SETS", "ToolEntry", "Toolset")

CODE_TOOL = "run_code"
"""The one tool that takes a program."""

DEFAULT_ACTOR = "default-session"
"""The actor that a program runs in when the call names none; each account has its own."""

SETS: Mapping[str, tuple[str, ...]] = {
    "code": (
        CODE_TOOL,
        "*_query",
        "*_tables",
        "*_get_job",
        "*_cancel_job",
        "*_get_run",
        "*_search_snippets",
        "*_run_snippet",
    ),
    "all": ("*",),
}
"""Names for sets of tools. `code` is for models that write programs: everything else is at hand inside one."""

# The runtime imports nothing above it; the schemas that models' APIs take are made there, and asked for by name.
_SCHEMAS = "helpers.schemas"
_UPLOAD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "The content, where it is text."},
        "base64": {"type": "string", "description": "The content in base64, where it is not."},
        "filename": {"type": "string"},
        "media_type": {"type": "string"},
    },
    "additionalProperties": False,
}
_PROBLEM = {
    "type": "object",
    "description": "Only in an error: what went wrong, and what to do instead.",
    "required": ["code", "detail"],
    "properties": {"code": {"type": "string"}, "detail": {"type": "string"}, "hint": {"type": "string"}},
}


class ToolEntry:
    """One tool: the method behind it, and how its call and its answer are shaped."""

    __slots__ = ("argument", "default", "has_rows", "name", "spec", "starts_job", "tool", "type_name", "upload", "wrapped")  # fmt: skip

    def __init__(self, actor_type: type[Actor], spec: MethodSpec, name: str, default: str | None) -> None:
        self.name = name
        self.type_name = actor_type.type_name
        self.spec = spec
        self.default = default
        self.has_rows = spec.returns is Rows
        self.starts_job = _mentions(spec.returns, Job)
        self.upload = next((p.name for p in spec.parameters if is_upload(p.annotation)), None)
        taken = {parameter.name for parameter in spec.parameters}
        self.argument = next(
            n for n in (self.type_name, f"{self.type_name}_name", f"{self.type_name}_actor") if n not in taken
        )
        schemas = import_module(_SCHEMAS)
        if name == CODE_TOOL:
            made = schemas.code_tool(spec, "mcp", description=spec.doc, actor=self.argument)
        else:
            (made,) = schemas.tool_schemas([spec], "mcp", prefix=self.type_name, actor=self.argument)
        self.wrapped = _is_wrapped(made["outputSchema"], spec)
        self._name_actor(made["inputSchema"])
        if self.upload is not None:
            _take_file_inside(made["inputSchema"], self.upload)
        made["outputSchema"] = _with_problem(made["outputSchema"])
        self.tool = Tool.model_validate({**made, "name": name}, by_name=False)

    def _name_actor(self, schema: dict[str, Any]) -> None:
        said = f"The name of the {self.type_name}: any text. A new name makes a new {self.type_name}."
        if self.default is None:
            schema["required"] = list(dict.fromkeys((self.argument, *schema.get("required", ()))))
        else:
            said = f"{said} Left out: {self.default}."
        schema["properties"][self.argument] = {"type": "string", "minLength": 1, "description": said}


class Toolset:
    """All tools of a service, in the order in which lists show them."""

    def __init__(self, registry: Registry) -> None:
        self._entries: dict[str, ToolEntry] = {}
        self.code_type: type[Actor] | None = None
        for actor_type in registry:
            run = actor_type.methods.get("run")
            default = actor_type.default_name
            if self.code_type is None and run is not None and run.public:
                self.code_type = actor_type
                default = default or DEFAULT_ACTOR
                self._add(ToolEntry(actor_type, run, CODE_TOOL, default))
            for spec in actor_type.methods.values():
                if spec.public:
                    name = import_module(_SCHEMAS).tool_name(spec.name, actor_type.type_name)
                    self._add(ToolEntry(actor_type, spec, name, default))

    def _add(self, entry: ToolEntry) -> None:
        if entry.name in self._entries:
            other = self._entries[entry.name]
            raise ValueError(
                f"The tool name {entry.name!r} stands for {other.type_name}.{other.spec.name}"
                f" and for {entry.type_name}.{entry.spec.name}; rename one."
            )
        self._entries[entry.name] = entry

    def __iter__(self) -> Iterator[ToolEntry]:
        return iter(self._entries.values())

    def get(self, name: str) -> ToolEntry | None:
        """Return a tool, or None where there is no such."""
        return self._entries.get(name)

    def page(
        self, shown: Iterable[str], scopes: frozenset[str], cursor: str | None, size: int
    ) -> tuple[list[ToolEntry], str | None]:
        """Return one page of the tools that a client is shown, and the cursor of the next.

        Args:
            shown: Names of `SETS`, tool names, and patterns of tool names.
            scopes: Those of the key that asks; what it may not call is not shown.
            cursor: Where the page starts; None for the first.
            size: How many tools a page has at most.

        Raises:
            MCPError: the cursor is not one that a page gave.
        """
        patterns = [pattern for name in shown for pattern in SETS.get(name, (name,))]
        listed = [
            entry
            for entry in self
            if entry.spec.scope in scopes and any(fnmatchcase(entry.name, p) for p in patterns)
        ]
        start = 0
        if cursor is not None:
            (after,) = read_cursor(cursor, 1)
            start = next((i for i, entry in enumerate(listed, 1) if entry.name == after), len(listed))
        page = listed[start : start + size]
        more = start + size < len(listed)
        return page, write_cursor(page[-1].name) if more else None


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or wanted in getattr(annotation, "__args__", ())


def _take_file_inside(schema: dict[str, Any], name: str) -> None:
    """Say that the file comes as text or base64, and not as a body of its own."""
    told = schema["properties"][name].get("description", "")
    schema["properties"][name] = {**_UPLOAD, "description": told}
    definitions = schema.get("$defs", {})
    definitions.pop(Upload.__name__, None)
    if not definitions:
        schema.pop("$defs", None)


def _is_wrapped(schema: Mapping[str, Any], spec: MethodSpec) -> bool:
    """Tell whether the tool's answer is `{"result": …}` around the method's own, which is no object."""
    return spec.output_schema().get("type") != "object" and schema.get("required") == ["result"]


def _with_problem(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an output schema that an error fits too: clients check the structured content of errors as well."""
    properties = {**schema.get("properties", {}), "problem": _PROBLEM}
    needed = schema.get("required", [])
    changed = {key: value for key, value in schema.items() if key != "required"}
    changed["properties"] = properties
    if needed:
        changed["anyOf"] = [{"required": needed}, {"required": ["problem"]}]
    return changed
