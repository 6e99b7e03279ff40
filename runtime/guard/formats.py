"""Formats of printf: the one built-in function whose time no limit of SQLite bounds.

`printf('%.*c', 2147483647, 'x')` runs for 6.7 s in one C call, whatever the longest value may be. SQLite's own
function stays in place while every format in the statements and in the file's schema can be read from the
text; from the first that cannot, a checked one replaces it on that connection. It measures what the format
asks for and then calls SQLite's own, so that the text is the same to the last digit.
"""

from __future__ import annotations

import atexit
import re
import sqlite3
import threading
from functools import lru_cache
from typing import Any

from runtime.guard.rules import refusal

__all__ = ("checked_format", "format_cost")

_DIRECTIVE = re.compile(r"%([-+ 0,!#]*)(\*|[0-9]*)(?:\.(\*|[0-9]*))?(l{0,2})([\s\S]?)")
_NUMBER = re.compile(r"\s*([-+]?[0-9]+)")
# For these the precision only cuts a text that exists already.
_CUTS = frozenset("szqQw%n")


def _integer(value: Any) -> int:
    if isinstance(value, (int, float)):
        return int(value) if value == value and abs(value) < 1e18 else 2**62
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    match = _NUMBER.match(value) if isinstance(value, str) else None
    return int(match[1][:20]) if match else 0


def format_cost(template: str, arguments: tuple[Any, ...]) -> int:
    """Return how many characters the precisions of a format make SQLite write one by one."""
    rest = iter(arguments)
    cost = 0
    for match in _DIRECTIVE.finditer(template):
        _, width, precision, _, conversion = match.groups()
        if width == "*":
            next(rest, None)
        if precision == "*":
            amount = abs(_integer(next(rest, None)))
        else:
            amount = int(precision[:20]) if precision else 0
        if conversion not in ("%", ""):
            next(rest, None)
        if conversion not in _CUTS:
            cost += amount
    return cost


class _Native:
    """SQLite's own printf, on a connection in memory that nobody else uses."""

    def __init__(self, length: int) -> None:
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, length)
        self._lock = threading.Lock()
        atexit.register(self._connection.close)

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        with self._lock:
            marks = ",".join("?" * len(arguments))
            return self._connection.execute(f"SELECT printf({marks})", arguments).fetchone()[0]


@lru_cache(maxsize=4)
def _native(length: int) -> _Native:
    return _Native(length)


def checked_format(length: int, *arguments: Any) -> Any:
    """Return what `printf(*arguments)` returns.

    Raises:
        GuardRefused: the result would be longer than `length`.
    """
    if not arguments:
        return None
    template = arguments[0]
    if isinstance(template, bytes):
        template = template.decode("utf-8", "replace")
    # SQLite stops reading a format at a NUL; reading on only counts more.
    if isinstance(template, str) and format_cost(template, arguments[1:]) > length:
        raise refusal("function.argument", "printf")
    return _native(length)(arguments)
