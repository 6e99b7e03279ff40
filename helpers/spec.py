"""A helper spec is one function as user code sees it: its path, its parameters, the form of its result.

Specs are plain data. They are made from an actor type's methods (`helpers.api`) or from a tool server's
tools, and everything that user code and models are given is a view of them: the callables inside the
sandbox, the stubs, the docs, `helpers.search`. What a spec does not say, user code cannot call.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    `annotation` is Python type text, fit for a stub: `str`, `list[dict[str, Any]]`, `int | None`.
    """

    name: str
    required: bool = True
    default: Any = None
    annotation: str = "Any"
    doc: str = ""


@dataclass(frozen=True, slots=True)
class HelperSpec:
    """One helper: `path` is the dotted name in user code (`db.query`, `tools.shop.get_item`).

    `parameters` stand in positional order. `result` says how the wire value becomes the user's value:
    `whole`, `rows`, or the name of the one field of the answer that is handed over (`inserted`, `value`).
    `awaitable` helpers return an awaitable; the others block and hand over the value itself. `returns` is
    the Python type text of what user code gets, the awaiting aside. `read_only` and `destructive` are what
    the method says of itself; they inform the docs, and enforce nothing.
    """

    path: str
    parameters: tuple[ParamSpec, ...] = ()
    result: str = WHOLE
    awaitable: bool = False
    doc: str = ""
    returns: str = "Any"
    read_only: bool = False
    destructive: bool = False

    @property
    def namespace(self) -> str:
        """The path without its last part: `db`, `tools.shop`."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The last part of the path: `query`, `get_item`."""
        return self.path.rpartition(".")[2]

    @property
    def summary(self) -> str:
        """The first line of the doc."""
        return self.doc.strip().partition("\n")[0].strip()
