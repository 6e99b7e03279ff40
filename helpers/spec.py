"""A helper spec is one function as user code sees it: its path, its parameters, the form of its result.

Specs are plain data. They are made from an actor type's methods (`helpers.api`) or from a tool server's
tools, and everything that user code and models are given is a view of them: the callables inside the
sandbox, the stubs, the docs, `helpers.search`. What a spec does not say, user code cannot call.
"""

from __future__ import annotations

from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

__all__ = ("ROWS", "WHOLE", "HelperSpec", "ParamSpec")

WHOLE = "whole"
"""The answer reaches user code as it is."""

ROWS = "rows"
"""The answer `{"columns": […], "rows": [[…], …], "truncated": bool}` becomes a list of dicts with
`.columns` and `.truncated`."""


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter of a helper.

    `default` counts only where `required` is false; it is plain data (None, bool, number, text, list, dict).
    `annotation` is Python type text, fit for a stub: `str`, `list[dict[str, Any]]`, `int | None`. A
    `keyword_only` parameter is given by name; those after it too.
    """

    name: str
    required: bool = True
    default: Any = None
    annotation: str = "Any"
    doc: str = ""
    keyword_only: bool = False

    def text(self, *, annotated: bool = False) -> str:
        """Return the parameter as a signature shows it: `limit=None`, `limit: int | None = None`."""
        head = f"{self.name}: {self.annotation}" if annotated else self.name
        if self.required:
            return head
        default = repr(self.default)
        default = default if len(default) <= 60 else "..."
        return f"{head} = {default}" if annotated else f"{head}={default}"


@dataclass(frozen=True, slots=True)
class HelperSpec:
    """One helper: `path` is the dotted name in user code (`db.query`, `tools.shop.get_item`).

    `parameters` stand in positional order. `result` says how the wire value becomes the user's value:
    `whole`, `rows`, or the name of the one field of the answer that is handed over (`inserted`, `value`).
    `awaitable` helpers return an awaitable; the others block and hand over the value itself. `returns` is
    the Python type text of what user code gets, the awaiting aside. `read_only`, `destructive` and
    `idempotent` are what the method or tool says of itself: they inform the docs, and tell a resumed run
    what it may call again. `idempotent`: doing it twice is doing it once.
    """

    path: str
    parameters: tuple[ParamSpec, ...] = ()
    result: str = WHOLE
    awaitable: bool = False
    doc: str = ""
    returns: str = "Any"
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False

    @property
    def namespace(self) -> str:
        """The path without its last part: `db`, `tools.shop`."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The last part of the path: `query`, `get_item`."""
        return self.path.rpartition(".")[2]

    def arguments(self, *, annotated: bool = False) -> str:
        """Return what stands between the parentheses of the signature.

        A required parameter after an optional one is not Python; from there on all are shown as given by
        name. A name that no Python call can write makes the whole list `**arguments`.
        """
        if any(not p.name.isidentifier() or iskeyword(p.name) for p in self.parameters):
            return "**arguments: Any" if annotated else "**arguments"
        parts: list[str] = []
        optional = by_name = False
        for parameter in self.parameters:
            if not by_name and (parameter.keyword_only or (optional and parameter.required)):
                by_name = True
                parts.append("*")
            optional = optional or not parameter.required
            parts.append(parameter.text(annotated=annotated))
        return ", ".join(parts)

    def call(self) -> str:
        """Return the call as a person would write it: `db.query(sql, params=[], limit=None)`."""
        return f"{'await ' if self.awaitable else ''}{self.path}({self.arguments()})"

    @property
    def summary(self) -> str:
        """The first paragraph of the doc, on one line."""
        return " ".join(self.doc.strip().split("\n\n")[0].split())
