"""The names of a program, written in the subset of Python that the monty engine runs.

The prelude is fed to a session before the program: namespaces whose functions all make one host call, by
number. It uses nothing that the subset lacks, and no name that a program would.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers.check.scope import snake_case

from ..engine import ROWS, HelperSpec
from ._monty_classes import DB_ERRORS, HELPER_ERRORS, helper_error
from ._monty_library import PREFIX
from ._reach import looks_up, names

__all__ = ("CALL", "FAILED", "TELL", "bind", "function_names", "load_library", "prelude")

CALL = "__duralite_call__"
TELL = -1
"""The number of the call by which a program tells the name of an exception it raises."""

FAILED = "__duralite_failed__"
"""The key of an answer that is an error: its class, message, code and hint."""

# A program that names no exception has no use for the classes, and making them takes time.
_NAMING = re.compile("|".join(("except", "Exception", "Error", "sqlite3", *HELPER_ERRORS)))
_ERRORS = "\n".join(
    (
        *(helper_error(name) for name in HELPER_ERRORS),
        *(f"{PREFIX}kinds[{name!r}] = {name}" for name in HELPER_ERRORS),
        f"{PREFIX}module_sqlite3 = _Namespace()",
        *(f"{PREFIX}module_sqlite3.{name} = {name}" for name in DB_ERRORS),
        f"{PREFIX}module_sqlite3.Error = DatabaseError",
    )
)

_START = f"""
class _Namespace:
    pass

class Query:
    def __init__(self, sql, params=()):
        self.sql = sql
        self.params = params

def _query(made):
    return Query(made["sql"], made["params"]) if isinstance(made, dict) and "params" in made else made

def {PREFIX}tell(kind, message):
    {CALL}({TELL}, [kind, message], {{}})

def {PREFIX}answer(answer):
    if isinstance(answer, dict) and "{FAILED}" in answer:
        kind, message, code, hint = answer["{FAILED}"]
        if kind not in {PREFIX}kinds:
            raise RuntimeError(message)
        error = {PREFIX}kinds[kind](message)
        error.code = code
        error.hint = hint
        raise {PREFIX}raise(error)
    return answer

{PREFIX}kinds = {{}}
db = _Namespace()
tools = _Namespace()
helpers = _Namespace()
helpers.db = db
helpers.tools = tools
helpers.inputs = inputs
{CALL}
"""


def prelude(specs: Iterable[HelperSpec], libraries: Iterable[tuple[str, Iterable[str]]], code: str) -> str:
    """Return the source that defines what a program may name. Functions are numbered in order, libraries after helpers."""
    lines = [_START, _ERRORS] if _NAMING.search(code) else [_START]
    made = {"db", "tools", "helpers"}
    number = -1
    given = tuple(specs)
    named = {space for space in {spec.namespace for spec in given} if looks_up(code) or names(space, code)}
    for number, spec in enumerate(given):
        if spec.namespace not in named:
            continue
        lines += _groups(spec.path, made)
        answer = f"{PREFIX}answer({'await ' if spec.awaitable else ''}{CALL}({number}, list(args), kwargs))"
        if spec.result == ROWS:
            answer = f"{PREFIX}noted({answer})"
        head = "async def" if spec.awaitable else "def"
        lines += [f"{head} _h{number}(*args, **kwargs):", f"    return {answer}"]
        lines += [f"{spec.namespace}.{name} = _h{number}" for name in _spellings(spec.name)]
    for library, functions in libraries:
        lines += [f"{library} = _Namespace()", f"helpers.{library} = {library}", f"{library}.Query = Query"]
        for function in functions:
            number += 1
            lines += [
                f"def _h{number}(*args, **kwargs):",
                f"    return _query({CALL}({number}, list(args), kwargs))",
            ]
            lines += [f"{library}.{name} = _h{number}" for name in _spellings(function)]
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


def bind(spec: HelperSpec, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Check a call against its spec and return it with the names spelt as the spec does.

    Raises:
        TypeError: with the words that the process engine has for it.
    """
    names = [each.name for each in spec.parameters]
    if names[:2] == ["sql", "params"] and (query := _query(args, kwargs)) is not None:
        if len(args) > 1 or "params" in kwargs:
            raise TypeError("a built query brings its own parameters: pass it alone")
        args, kwargs = [], {**kwargs, "sql": query["sql"], "params": query["params"]}
    called = f"Call it as {spec.call().removeprefix('await ')}."
    if len(args) > len(names):
        raise TypeError(
            f"{spec.path}() takes at most {len(names)} arguments, {len(args)} were given. {called}"
        )
    named: dict[str, Any] = {}
    for name, value in kwargs.items():
        known = name if name in names else snake_case(name)
        if known not in names:
            near = difflib.get_close_matches(name[:80], names, 1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{spec.path}() has no parameter {name!r:.80}.{guess} {called}")
        if known in names[: len(args)] or known in named:
            raise TypeError(f"{spec.path}() got {known!r} twice. {called}")
        named[known] = value
    missing = [p.name for p in spec.parameters[len(args) :] if p.required and p.name not in named]
    if missing:
        raise TypeError(f"{spec.path}() lacks {', '.join(missing)}. {called}")
    return args, named


def _query(args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    first = args[0] if args else kwargs.get("sql")
    return first if isinstance(first, dict) and first.keys() == {"sql", "params"} else None
