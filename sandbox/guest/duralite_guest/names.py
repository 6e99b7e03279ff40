"""Names are what user code finds in scope: `db`, `sql`, `tools`, `helpers`, `inputs`, and the errors of helpers.

A helper is a stub made from its spec when it is first used. It checks the call against the spec, so that a
mistake gives an error with the signature in it, and sends it; all authority is the host's.
"""

from __future__ import annotations

import builtins
import difflib
import sqlite3
import types
from collections.abc import Callable
from typing import Any

from .wire import CallFailed, Channel

__all__ = ("HelperError", "Rows", "scope")


class HelperError(Exception):
    """Raised when a helper call fails. `code` is the stable name of the error, `hint` says what to do instead."""

    code: str | None = None
    hint: str | None = None


class Rows(list[dict[str, Any]]):
    """The rows of a query, each a dict. `columns` are the names in order, `truncated` says that rows were cut."""

    columns: tuple[str, ...] = ()
    truncated: bool = False


HelperError.__module__ = Rows.__module__ = "helpers"

# Named by the DB-API, so that `except sqlite3.OperationalError` catches them too.
_DB_ERRORS = (
    "DatabaseError",
    "DataError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
)
_HOST_ERRORS = (
    "Conflict",
    "DeadlineExceeded",
    "Forbidden",
    "GuardRefused",
    "InputError",
    "LimitExceeded",
    "NotFound",
    "SqlError",
    "StorageFull",
    "Unavailable",
    "ToolError",
)
_error_types: dict[str, type[HelperError]] = {"HelperError": HelperError}


def error_type(name: str) -> type[HelperError]:
    """Return the exception class of this name, the same one each time."""
    found = _error_types.get(name)
    if found is None:
        bases: tuple[type, ...] = (HelperError,)
        if name in _DB_ERRORS:
            bases = (HelperError, getattr(sqlite3, name))
        elif hasattr(builtins, name) and issubclass(getattr(builtins, name), Exception):
            bases = (HelperError, getattr(builtins, name))
        found = _error_types[name] = type(name, bases, {"__module__": "helpers"})
    return found


for _name in (*_DB_ERRORS, *_HOST_ERRORS):
    error_type(_name)


def errors() -> dict[str, type[HelperError]]:
    """Return the classes that user code may name without importing them."""
    return dict(_error_types)


class Namespace:
    """A group of helpers: `db`, `tools`, `tools.shop`."""

    def __init__(self, path: str, members: dict[str, Any], make: Callable[[list[Any]], Any]) -> None:
        self.__dict__.update(_path=path, _members=members, _make=make)

    def __getattr__(self, name: str) -> Any:
        member = self._members.get(name)
        if member is None:
            member = self._members.get(_snake(name))
        if member is None:
            raise AttributeError(_unknown(self._path, name, list(self._members)), name=name, obj=self)
        value = member if isinstance(member, Namespace) else self._make(member)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return sorted(self._members)

    def __repr__(self) -> str:
        return f"<{self._path}: {', '.join(sorted(self._members)) or 'nothing connected'}>"


class Library:
    """A package of pure functions under its name in scope, camelCase spellings included."""

    def __init__(self, name: str, module: types.ModuleType) -> None:
        self.__dict__.update(_path=name, _module=module, __doc__=module.__doc__)

    def __getattr__(self, name: str) -> Any:
        for spelling in (name, _snake(name)):
            value = getattr(self._module, spelling, self)
            if value is not self:
                self.__dict__[name] = value
                return value
        raise AttributeError(_unknown(self._path, name, dir(self)), name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted(getattr(self._module, "__all__", ()) or vars(self._module))

    def __repr__(self) -> str:
        return f"<{self._path}: {', '.join(dir(self))}>"


def scope(specs: list[list[Any]], channel: Channel, libraries: dict[str, types.ModuleType]) -> dict[str, Any]:
    """Make the names in scope. A spec is [path, [[parameter, required, default]…], result, awaitable, doc]."""
    tree: dict[str, Any] = {"db": {}, "tools": {}}
    for spec in specs:
        *groups, name = spec[0].split(".")
        at = tree
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = spec

    def make(spec: list[Any]) -> Callable[..., Any]:
        return _stub(spec, channel)

    def build(path: str, at: dict[str, Any]) -> Namespace:
        members = {
            name: build(f"{path}.{name}", member) if type(member) is dict else member
            for name, member in at.items()
        }
        return Namespace(path, members, make)

    names: dict[str, Any] = {
        name: build(name, member) if type(member) is dict else make(member) for name, member in tree.items()
    }
    names.update({name: Library(name, module) for name, module in libraries.items()})
    return names


def _stub(spec: list[Any], channel: Channel) -> Callable[..., Any]:
    path, parameters, result, awaitable, doc = spec
    prepare = _Binder(path, parameters).bind
    finish = _FORMS.get(result) or _field(result)

    if awaitable:

        async def stub_soon(*args: Any, **kwargs: Any) -> Any:
            sent = prepare(args, kwargs)
            try:
                return finish(await channel.call_soon(path, *sent))
            except CallFailed as failure:
                error = _error(failure.details)
            raise error

        stub: Callable[..., Any] = stub_soon
    else:

        def stub_now(*args: Any, **kwargs: Any) -> Any:
            sent = prepare(args, kwargs)
            try:
                return finish(channel.call(path, *sent))
            except CallFailed as failure:
                error = _error(failure.details)
            raise error

        stub = stub_now
    stub.__name__ = path.rpartition(".")[2]
    stub.__qualname__ = path
    stub.__module__ = "helpers"
    stub.__doc__ = doc
    return stub


class _Binder:
    """Checks a call against its spec, before anything is sent."""

    def __init__(self, path: str, parameters: list[list[Any]]) -> None:
        self._path = path
        self._parameters = parameters
        self._names = [name for name, _, _ in parameters]
        self._takes_query = self._names[:2] == ["sql", "params"]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        sent = list(args)
        if self._takes_query:
            sent, kwargs = _spread_query(sent, kwargs)
        if len(sent) > len(self._names):
            raise TypeError(
                f"{self._path}() takes at most {len(self._names)} arguments, {len(sent)} were given. "
                f"{self._signature()}"
            )
        named = {}
        for name, value in kwargs.items():
            known = name if name in self._names else _snake(name)
            if known not in self._names:
                raise TypeError(_unexpected(self._path, name, self._names) + f" {self._signature()}")
            if known in self._names[: len(sent)] or known in named:
                raise TypeError(f"{self._path}() got {known!r} twice. {self._signature()}")
            named[known] = value
        missing = [
            name for name, required, _ in self._parameters[len(sent) :] if required and name not in named
        ]
        if missing:
            raise TypeError(f"{self._path}() lacks {', '.join(missing)}. {self._signature()}")
        return sent, named

    def _signature(self) -> str:
        parts = [name if required else f"{name}={default!r}" for name, required, default in self._parameters]
        return f"Call it as {self._path}({', '.join(parts)})."


def _spread_query(args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Put the two parts of a built query in the place of the query."""
    query: Any = args[0] if args else kwargs.get("sql")
    if isinstance(query, str) or not (hasattr(query, "sql") and hasattr(query, "params")):
        return args, kwargs
    if len(args) > 1 or "params" in kwargs:
        raise TypeError("a built query brings its own parameters: pass it alone")
    rest = {name: value for name, value in kwargs.items() if name != "sql"}
    return [], {"sql": query.sql, "params": query.params, **rest}


def _unexpected(path: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"{path}() has no parameter {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


def _unknown(path: str, name: str, known: list[str]) -> str:
    if not known:
        return f"{path} has nothing connected, so there is no {path}.{name}"
    near = difflib.get_close_matches(_snake(name), known, 1, 0.5)
    guess = f" Did you mean {path}.{near[0]}?" if near else ""
    return f"{path} has no {name!r}.{guess} It has: {', '.join(sorted(known)[:60])}"


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name) if name != name.lower() else name


def _error(details: dict[str, Any]) -> HelperError:
    error = error_type(details["type"])(details["message"])
    error.code = details.get("code")
    error.hint = details.get("hint")
    return error


def _rows(answer: Any) -> Rows:
    columns = answer["columns"]
    rows = Rows([dict(zip(columns, row)) for row in answer["rows"]])  # noqa: B905 - equal by construction
    rows.columns = tuple(columns)
    rows.truncated = bool(answer.get("truncated"))
    return rows


def _field(name: str) -> Callable[[Any], Any]:
    return lambda answer: answer[name]


_FORMS: dict[str, Callable[[Any], Any]] = {"rows": _rows, "whole": lambda answer: answer}
