"""A tool, as its server describes it, becomes a helper: its path, parameters, doc, and the check of its arguments.

Whatever a server says is taken as data: bounded, cleaned, and never believed further than it can be checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from mcp_types import Tool

from helpers.annotations import type_text
from helpers.spec import HelperSpec, ParamSpec
from runtime.errors import InputError
from runtime.limits import Limits
from sandbox.tools.arguments import ArgumentCheck, plain_arguments
from sandbox.tools.names import clean_text, distinct, identifier
from sandbox.tools.redact import Redactor

__all__ = ("BoundTool", "ToolSet", "tool_set")

_INTO = ("into", "into_table", "stage_into")
_INTO_DOC = "Write the result into this table of the session, and return where it is."
_PARAMETER_DOC_BYTES = 500
_LONGEST_TYPE = 300
_LONGEST_NAME = 256
_PROBLEMS_KEPT = 20
# All schemas of a server together take no more than so many of the largest.
_ALL_SCHEMAS = 64
# Of a server that talks much, the later descriptions are short: each run is given all of them.
_ALL_DOCS, _SHORT_DOC_BYTES = 128, 200


@dataclass(frozen=True, slots=True)
class BoundTool:
    """One tool, ready to be called. `names` gives the server's name of each parameter."""

    title: str
    spec: HelperSpec
    names: Mapping[str, str]
    into: str
    check: ArgumentCheck = field(repr=False)
    wraps_result: bool = False

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Return the arguments as the server names them, and the table that the result goes into (None: none).

        Raises:
            InputError: too many arguments, one given twice or unknown, or one that does not fit the schema.
        """
        signature = self.spec.call()
        positional = list(self.names)
        if len(args) > len(positional):
            raise InputError(
                f"{self.spec.path} takes at most {len(positional)} arguments, and {len(args)} were given.",
                hint=f"Use {signature:.500}.",
            )
        given = dict(zip(positional, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise InputError(
                f"{self.spec.path} got {sorted(twice)[0]!r} twice.", hint=f"Use {signature:.500}."
            )
        given |= kwargs
        into = given.pop(self.into, None)
        if into is not None and (not isinstance(into, str) or not into):
            raise InputError(
                f"{self.spec.path}: {self.into} is {into!r:.60}, which is no name of a table.",
                hint=f'Use {self.into}="my_table".',
            )
        if unknown := [name for name in given if name not in self.names]:
            raise InputError(
                f"{self.spec.path} has no parameter {unknown[0]!r:.60}.", hint=f"Use {signature:.500}."
            )
        arguments = {self.names[name]: plain_arguments(value) for name, value in given.items()}
        self.check(self.spec.path, arguments, signature)
        return arguments, into


@dataclass(frozen=True, slots=True)
class ToolSet:
    """The tools of one server: its specs (the same objects until the list changes), and what was left out and why."""

    specs: tuple[HelperSpec, ...] = ()
    tools: Mapping[str, BoundTool] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def tool_set(
    title: str, tools: Sequence[Tool], limits: Limits, redactor: Redactor, *, odd: int = 0
) -> ToolSet:
    """Return the helpers for a server's tools; `title` is its name as it was written.

    `odd` is how many were left out already because they lack what makes a tool.
    """
    problems = [f"{odd} tools without a text as name or a schema of an object are left out."] * bool(odd)
    if len(tools) > limits.tools_per_server:
        tools = tools[: limits.tools_per_server]
        problems.append(
            f"The server has more than {limits.tools_per_server:,} tools; the rest is left out (tools_per_server)."
        )
    by_title = {tool.name: tool for tool in tools if 0 < len(tool.name) <= _LONGEST_NAME}
    if len(by_title) < len(tools):
        problems.append("Tools whose names are empty, too long or given twice are left out.")
    good, refused = distinct(by_title)
    problems += dict.fromkeys(refused.values())
    bound: dict[str, BoundTool] = {}
    room = _ALL_SCHEMAS * limits.tool_schema_bytes
    docs = _ALL_DOCS * limits.tool_doc_bytes
    for name, called in good.items():
        tool = by_title[called]
        size = _size(tool.input_schema) + _size(tool.output_schema)
        if size > limits.tool_schema_bytes or size > room:
            problems.append(
                f"The tool {called!r:.80} has a schema of {size:,} bytes; it is left out (tool_schema_bytes)."
            )
            continue
        room -= size
        made = _bound_tool(
            title, name, tool, redactor, limits.tool_doc_bytes if docs > 0 else _SHORT_DOC_BYTES
        )
        docs -= len(made.spec.doc)
        bound[made.spec.path] = made
    if len(problems) > _PROBLEMS_KEPT:
        problems = [*problems[:_PROBLEMS_KEPT], f"… and {len(problems) - _PROBLEMS_KEPT:,} more."]
    cleaned = tuple(clean_text(redactor.text(problem), 1_000) for problem in problems)
    return ToolSet(tuple(tool.spec for tool in bound.values()), bound, cleaned)


def _size(schema: Any) -> int:
    try:
        return len(orjson.dumps(schema))
    except TypeError:
        return 1 << 30


def _bound_tool(server: str, name: str, tool: Tool, redactor: Redactor, doc_bytes: int) -> BoundTool:
    schema = redactor.value(tool.input_schema)
    parameters, names = _parameters(schema, redactor)
    into = next(free for free in (*_INTO, *map("into_{}".format, range(len(names) + 1))) if free not in names)
    parameters.append(ParamSpec(into, False, None, "str | None", _INTO_DOC, keyword_only=True))
    hints = tool.annotations
    doc = clean_text(redactor.text(tool.description or tool.title or ""), doc_bytes)
    path = f"tools.{identifier(server)}.{name}"
    if path != f"tools.{server}.{tool.name}":
        doc += f"\n\nThe tool {clean_text(tool.name, 200)!r} of the server {clean_text(server, 200)!r}."
    wraps = _wraps_result(tool.output_schema)
    spec = HelperSpec(
        path=path,
        parameters=tuple(parameters),
        awaitable=True,
        doc=doc.strip() or "Its server says nothing of this tool.",
        returns=_returns(tool.output_schema, wraps),
        read_only=hints is not None and hints.read_only_hint is True,
        destructive=hints is not None and hints.destructive_hint is True and hints.read_only_hint is not True,
        idempotent=hints is not None and (hints.idempotent_hint is True or hints.read_only_hint is True),
    )
    return BoundTool(tool.name, spec, names, into, ArgumentCheck(schema), wraps)


def _parameters(schema: Any, redactor: Redactor) -> tuple[list[ParamSpec], dict[str, str]]:
    """Return the parameters in the schema's order, and the server's name of each."""
    properties = _mapping(schema, "properties")
    listed = schema.get("required") if isinstance(schema, Mapping) else None
    required = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    definitions = {**_mapping(schema, "definitions"), **_mapping(schema, "$defs")}
    good, _ = distinct(properties)
    names = {title: name for name, title in good.items()}
    found = []
    for title, each in properties.items():
        if not title.isprintable():
            continue
        described = each if isinstance(each, Mapping) else {}
        said = described.get("description")
        doc = clean_text(redactor.text(said), _PARAMETER_DOC_BYTES) if isinstance(said, str) else ""
        if names.get(title, title) != title:
            doc = f"{doc} (Its server calls it {title!r:.100}.)".lstrip()
        found.append(
            ParamSpec(
                # Two that would be written alike keep the server's names: **{"a-b": 1} reaches both.
                name=names.get(title, title),
                required=title in required,
                default=_default(described.get("default")),
                annotation=_type(each, definitions),
                doc=doc,
            )
        )
    titles = {name: title for title, name in names.items()}
    return found, {parameter.name: titles.get(parameter.name, parameter.name) for parameter in found}


def _mapping(schema: Any, key: str) -> Mapping[str, Any]:
    found = schema.get(key) if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _default(value: Any) -> Any:
    """Return a default as the docs show it; a large one is not shown."""
    return value if len(repr(value)) <= 200 else None


def _type(schema: Any, definitions: Mapping[str, Any]) -> str:
    try:
        text = type_text(schema, definitions)
    except (RecursionError, TypeError, ValueError, AttributeError):
        return "Any"
    return text if len(text) <= _LONGEST_TYPE and text.isprintable() else "Any"


def _wraps_result(schema: Any) -> bool:
    """Tell whether the answer is a scalar or list that the server had to put into an object, under `result`."""
    return (
        isinstance(schema, Mapping)
        and list(_mapping(schema, "properties")) == ["result"]
        and schema.get("required") == ["result"]
    )


def _returns(schema: Any, wraps: bool) -> str:
    if not isinstance(schema, Mapping):
        return "Any"
    definitions = {**_mapping(schema, "definitions"), **_mapping(schema, "$defs")}
    return _type(_mapping(schema, "properties")["result"] if wraps else schema, definitions)
