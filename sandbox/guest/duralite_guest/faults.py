"""Faults puts into words what ended a program: type, message, the user's own lines, and a hint where one is plain.

Everything here may call hostile code (`__str__` of the user's exception), within the run's limits; it always
comes back with some text, and never with much.
"""

from __future__ import annotations

import difflib
import re
import sys
from typing import Any

__all__ = ("describe",)

_MESSAGE_CHARS = 4_000
_LINE_CHARS = 200
_CODE_CHARS = 80
_NAME = re.compile(r"[a-z][a-z0-9_.]*", re.ASCII).fullmatch
_FRAMES = 20
_CAUSES = 3


def describe(error: BaseException, filename: str, source: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Return the error as plain data: type, message, line, hint, code, traceback."""
    lines = source.splitlines()
    frames = _frames(error, filename)
    line = frames[-1][0] if frames else None
    if isinstance(error, SyntaxError) and error.filename == filename:
        line = error.lineno
        frames = [(line, "<module>")] if isinstance(line, int) else []
    return {
        "type": _whole(_type_name(error)),
        "message": _whole(_message(error)),
        "line": line if isinstance(line, int) else None,
        "hint": _whole(_safely(_hint, error, scope)),
        "code": _safely(_code, error),
        "traceback": _whole(_traceback(error, frames, filename, lines)),
    }


def _whole(text: str | None) -> str | None:
    """Return a text that can be sent: half of a character, as broken data holds it, is written in ASCII."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _type_name(error: BaseException) -> str:
    return str(type.__getattribute__(type(error), "__name__"))[:_LINE_CHARS]


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        text = _safely(lambda: str(error.msg))
    else:
        text = _safely(lambda: str.__str__(str(error)))
    if isinstance(error, MemoryError) and not text:
        text = "The program used more memory than its limit."
    if text is None:
        text = f"<the message of {_type_name(error)} could not be made>"
    if isinstance(error, BaseExceptionGroup):
        inner = [f"{_type_name(each)}: {_message(each)[:_LINE_CHARS]}" for each in error.exceptions[:_CAUSES]]
        text = f"{text}: " + "; ".join(inner)
    return _cut(text, _MESSAGE_CHARS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text):,} characters, cut]"


def _safely(make: Any, *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except BaseException:  # hostile code may raise anything; there is always some text
        return None


def _frames(error: BaseException, filename: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_filename == filename:
            found.append((at.tb_lineno, code.co_name))
            if len(found) > 4 * _FRAMES:
                del found[_FRAMES : 2 * _FRAMES]  # a deep recursion: the ends say enough
        at = at.tb_next
    return found


def _traceback(error: BaseException, frames: list[tuple[int, str]], filename: str, lines: list[str]) -> str:
    shown = frames
    if len(frames) > _FRAMES:
        shown = [*frames[: _FRAMES // 2], *frames[-_FRAMES // 2 :]]
    text = []
    for number, name in shown:
        where = "" if name == "<module>" else f", in {name[:_LINE_CHARS]}"
        source = lines[number - 1].strip() if 0 < number <= len(lines) else ""
        text.append(f"  line {number}{where}: {_cut(source, _LINE_CHARS)}")
    seen = {id(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and id(cause) not in seen and len(seen) <= _CAUSES:
        seen.add(id(cause))
        at = _frames(cause, filename)
        where = f" (line {at[-1][0]})" if at else ""
        text.append(f"  after {_type_name(cause)}: {_cut(_message(cause), _LINE_CHARS)}{where}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(text)


def _code(error: BaseException) -> str | None:
    # A name, as errors of helpers have it. That of an exit is its message.
    code = None if isinstance(error, SystemExit) else getattr(error, "code", None)
    return code if type(code) is str and len(code) <= _CODE_CHARS and _NAME(code) else None


def _hint(error: BaseException, scope: dict[str, Any]) -> str | None:
    hint = getattr(error, "hint", None)
    if type(hint) is str:
        return _cut(hint, _MESSAGE_CHARS)
    if isinstance(error, NameError) and type(error.name) is str:
        return _name_hint(error.name, scope)
    if isinstance(error, ModuleNotFoundError) and type(error.name) is str:
        return _module_hint(error.name)
    if isinstance(error, MemoryError):
        return "Let SQL do the work, or go through the rows in pages."
    if isinstance(error, RecursionError):
        return "Use a loop instead of deep recursion."
    if isinstance(error, PermissionError):
        return (
            "A program has no files, network, processes or devices. Keep data in `db`; reach the outside "
            "through `tools`."
        )
    text = _message(error)
    for part, advice in _BY_TEXT:
        if part in text:
            return advice
    return None


_BY_TEXT = (
    ("'dict' object has no attribute", "A row is a dict: write row['name'] in place of row.name."),
    (
        "list indices must be integers or slices, not str",
        "A result is a list of rows: write rows[0]['name'].",
    ),
    ("'coroutine' object", "A call of `tools` is awaited: `await tools.…(…)`."),
    ("'return' outside function", "End with the value as the last line, without `return`."),
    ("'await' outside async function", "Make the function `async def`, and await its call."),
    ("asyncio.run() cannot be called", "Code here runs in a loop already: write `await main()`."),
    ("event loop is already running", "Code here runs in a loop already: write `await main()`."),
    (
        "can't start new thread",
        "There are no threads here; use `await asyncio.gather(…)` over calls of `tools`.",
    ),
)


def _name_hint(name: str, scope: dict[str, Any]) -> str | None:
    if name in sys.stdlib_module_names:
        return f"Write `import {name}` first."
    known = [
        each for each in (*scope, *vars(scope["__builtins__"])) if type(each) is str and each[:2] != "__"
    ]
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean `{near[0]}`?" if near else "In scope are db, sql, tools, inputs and helpers."


def _module_hint(name: str) -> str:
    top = name.partition(".")[0]
    if top in ("requests", "httpx", "aiohttp", "urllib3"):
        return "There is no network here; reach the outside through `tools`."
    if top in ("pandas", "numpy", "polars", "duckdb"):
        return "Only the standard library is here; group, join and aggregate with SQL (`db.query`, `sql`)."
    if top in sys.stdlib_module_names:
        return f"`{top}` needs files, threads or processes, or is of no use here; it is left out."
    near = difflib.get_close_matches(name, [each for each in sys.modules if type(each) is str], 1)
    if near and near[0] != name:
        return f"Did you mean `{near[0]}`?"
    return "Only the standard library is here, without what needs files, threads or processes."
