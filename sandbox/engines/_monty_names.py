"""The names of a program, written in the subset of Python that the monty engine runs.

The prelude is fed to a session before the program: namespaces whose functions all make one host call, by
number. It uses nothing that the subset lacks, and no name that a program would.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..engine import HelperSpec

__all__ = ("CALL", "function_names", "last_assignment", "load_library", "prelude", "spread_query")

CALL = "__duralite_call__"

_START = f"""
class _Namespace:
    pass

class Query:
    def __init__(self, sql, params):
        self.sql = sql
        self.params = params

def _query(made):
    return Query(made["sql"], made["params"]) if isinstance(made, dict) and "params" in made else made

db = _Namespace()
tools = _Namespace()
helpers = _Namespace()
helpers.db = db
helpers.tools = tools
helpers.inputs = inputs
{CALL}
"""


def prelude(specs: Iterable[HelperSpec], libraries: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return the source that defines the namespaces. Functions are numbered in order, libraries after helpers."""
    lines = [_START]
    made = {"db", "tools", "helpers"}
    number = 0
    for spec in specs:
        lines += _groups(spec.path, made)
        lines += [f"def _h{number}(*args, **kwargs):", f"    return {CALL}({number}, list(args), kwargs)"]
        lines += [f"{spec.namespace}.{name} = _h{number}" for name in _spellings(spec.name)]
        number += 1
    for library, functions in libraries:
        lines += [f"{library} = _Namespace()", f"helpers.{library} = {library}"]
        for function in functions:
            lines += [
                f"def _h{number}(*args, **kwargs):",
                f"    return _query({CALL}({number}, list(args), kwargs))",
            ]
            lines += [f"{library}.{name} = _h{number}" for name in _spellings(function)]
            number += 1
    return "\n".join(lines)


def _groups(path: str, made: set[str]) -> list[str]:
    lines = []
    parts = path.split(".")[:-1]
    for end in range(1, len(parts) + 1):
        group = ".".join(parts[:end])
        if group not in made:
            made.add(group)
            lines.append(f"{group} = _Namespace()")
    return lines


def _spellings(name: str) -> set[str]:
    first, *rest = name.split("_")
    return {name, first + "".join(part.capitalize() for part in rest)} if first else {name}


_ASSIGNED = re.compile(
    r"(?P<names>[^\W\d]\w*(?:\s*,\s*[^\W\d]\w*)*)\s*(?::[^=\n]+)?(?:[-+*/%&|^@]|//|\*\*|>>|<<)?=(?!=)"
)


def last_assignment(code: str) -> str | None:
    """Return the expression that reads what the last statement assigned; None where it is no plain assignment.

    A guess by the text, since hostile code is not parsed on the host: the caller takes a failure for None.
    """
    for line in reversed(code.splitlines()):
        if line[:1].strip() and line[0] not in "#)]}":
            found = _ASSIGNED.match(line)
            return f"({found['names']})" if found else None
    return None


def load_library(name: str, folder: Path) -> ModuleType:
    """Import a package folder under an alias, on the host."""
    alias = f"duralite_{name}"
    spec = importlib.util.spec_from_file_location(
        alias, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ValueError(f"{folder} is not a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module


def function_names(module: ModuleType) -> list[str]:
    """Return the names of a library's functions."""
    return [
        name for name in getattr(module, "__all__", ()) if name.islower() and callable(getattr(module, name))
    ]


def spread_query(
    spec: HelperSpec, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Put the two parts of a built query in the place of the query."""
    if [each.name for each in spec.parameters[:2]] == ["sql", "params"] and len(args) == 1:
        query = args[0]
        if isinstance(query, dict) and query.keys() == {"sql", "params"}:
            return [query["sql"], query["params"]], kwargs
    return args, kwargs
