"""The functions that SQLite lacks, written in Python and registered in one place.

Statements call them only for cells that need them: text outside ASCII, numbers and dates in unusual clothes.
A few keep state while rows pass (`dl_fill`, `dl_count`, `dl_note`); they are given the row, and refuse rows out
of order, so that a plan that SQLite would run otherwise than written fails loudly.
"""

from __future__ import annotations

import functools
import math
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson

from runtime.errors import InternalError

from .dates import DateFormat
from .numbers import parse_number, rounded, show_number
from .table import StepError

__all__ = ("MAX_PATTERN", "Functions", "compile_pattern", "iso_text")

Cell: TypeAlias = str | int | float | None

MAX_PATTERN = 1_000
"""Characters of a regular expression."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060\ufeff]"
)
_SPACE = re.compile(r"\s+")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a regular expression (Python's syntax) ready for use.

    Raises:
        StepError: it is too long or no regular expression; the message says where.
    """
    if len(pattern) > MAX_PATTERN:
        raise StepError(f"the pattern has {len(pattern):,} characters; {MAX_PATTERN:,} are allowed.")
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as e:
        raise StepError(
            f'"{pattern}" is not a regular expression: {e}.',
            hint="Escape characters that have a meaning, like \\. or \\(, or choose a literal comparison.",
        ) from None


def _pattern(marked: str) -> re.Pattern[str]:
    # The mark in front tells whether case counts; a pattern stays one value of a statement so.
    return compile_pattern(marked[1:], marked[0] == "i")


def _title(text: str) -> str:
    return _WORD.sub(lambda m: m[0][:1].upper() + m[0][1:].lower(), text)


def _match(pattern: str, text: Cell) -> int | None:
    return None if text is None else int(_pattern(pattern).search(str(text)) is not None)


def _extract(pattern: str, text: Cell, group: int) -> str | None:
    if text is None:
        return None
    found = _pattern(pattern).search(str(text))
    return found[group] if found else None


def _replace(pattern: str, text: Cell, new: str) -> str | None:
    return None if text is None else _pattern(pattern).sub(new, str(text))


def _replace_literal(text: str, old: str, new: str) -> str:
    return re.sub(re.escape(old), lambda _: new, text, flags=re.IGNORECASE)


def _part(pattern: str, text: Cell, index: int, last: int) -> str | None:
    if text is None:
        return None
    parts = _split(_pattern(pattern), str(text), last)
    return parts[index] if index < len(parts) else None


def _split(pattern: re.Pattern[str], text: str, most: int = 0) -> list[str]:
    parts: list[str] = []
    start = 0
    for found in pattern.finditer(text):
        if found.end() == found.start() or (most and len(parts) + 1 == most):
            continue
        parts.append(text[start : found.start()])
        start = found.end()
    return [*parts, text[start:]]


def _pieces(text: str, delimiter: str) -> str:
    return orjson.dumps(text.split(delimiter)).decode()


def _pieces_by(pattern: str, text: str) -> str:
    return orjson.dumps(_split(_pattern(pattern), text)).decode()


def _number(text: Cell, style: str) -> int | float | None:
    return parse_number(text, style) if isinstance(text, str) else text


def _whole(way: str, x: int | float) -> int | float:
    whole = math.floor(x) if way == "floor" else math.ceil(x)
    return whole if abs(whole) < 2**63 else x


def _power(x: int | float | None, y: int | float | None) -> float | None:
    if x is None or y is None:
        return None
    try:
        return math.pow(x, y)
    except (ValueError, OverflowError):
        return None


def _modulo(x: int | float | None, y: int | float | None) -> int | float | None:
    return None if x is None or y is None or y == 0 else x % y


def _found(way: str, text: Cell, part: Cell) -> int | None:
    if text is None or part is None:
        return None
    whole, piece = str(text), str(part)
    if way == "contains":
        return int(piece in whole)
    return int(whole.startswith(piece) if way == "starts_with" else whole.endswith(piece))


@functools.lru_cache(maxsize=64)
def _format(pattern: str) -> DateFormat:
    return DateFormat.of(pattern)


@functools.lru_cache(maxsize=4096)
def _read_date(text: Cell, pattern: str, time: int) -> str | None:
    moment = _format(pattern).read(str(text)) if text is not None else None
    if moment is None:
        return None
    return moment.isoformat() if time else moment.date().isoformat()


def iso_text(text: Cell, time: int) -> str | None:
    """Return an ISO date or moment in the form that cells have (UTC where an offset is given), None when it is none."""
    shown = "" if text is None else str(text).strip()
    # Python 3.11 reads weeks and dates without dashes as well; those are no ISO dates of a table.
    if not _ISO.fullmatch(shown):
        return None
    try:
        moment = datetime.fromisoformat(shown)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat() if time else moment.date().isoformat()


@functools.lru_cache(maxsize=4096)
def _show_date(text: Cell, pattern: str) -> str | None:
    if text is None:
        return None
    try:
        return _format(pattern).show(datetime.fromisoformat(str(text)))
    except ValueError:
        return None


_PURE: dict[str, tuple[int, Callable[..., Any]]] = {
    "dl_title": (1, lambda t: None if t is None else _title(str(t))),
    "dl_plain": (1, lambda t: None if t is None else _CONTROL.sub("", str(t))),
    "dl_one_space": (1, lambda t: None if t is None else _SPACE.sub(" ", str(t)).strip()),
    "dl_nfc": (1, lambda t: None if t is None else unicodedata.normalize("NFC", str(t))),
    "dl_text": (1, lambda x: None if x is None else show_number(x)),
    "dl_round": (2, lambda x, n: None if x is None else rounded(x, n, "nearest")),
    "dl_ceil": (2, lambda x, n: None if x is None else rounded(x, n, "up")),
    "dl_floor": (2, lambda x, n: None if x is None else rounded(x, n, "down")),
    "dl_whole": (2, lambda way, x: None if x is None else _whole(way, x)),
    "dl_sqrt": (1, lambda x: None if x is None or x < 0 else math.sqrt(x)),
    "dl_ln": (1, lambda x: None if x is None or x <= 0 else math.log(x)),
    "dl_power": (2, _power),
    "dl_modulo": (2, _modulo),
    "dl_right": (2, lambda t, n: None if t is None or n is None else str(t)[-int(n) :] if n > 0 else ""),
    "dl_found": (3, _found),
    "dl_number": (2, _number),
    "dl_match": (2, _match),
    "dl_extract": (3, _extract),
    "dl_replace": (3, _replace),
    "dl_replace_literal": (3, lambda t, o, n: None if t is None else _replace_literal(str(t), o, n)),
    "dl_part": (4, _part),
    "dl_pieces": (2, lambda t, d: _pieces(str(t), d)),
    "dl_pieces_by": (2, lambda p, t: _pieces_by(p, str(t))),
    "dl_date": (3, _read_date),
    "dl_iso": (2, iso_text),
    "dl_show_date": (2, _show_date),
}


def _capitals(text: str | None) -> str | None:
    return None if text is None else text.upper()


def _small(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _fold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


_BARE: dict[str, Callable[[str | None], str | None]] = {
    "dl_upper": _capitals,
    "dl_lower": _small,
    "dl_fold": _fold,
}
"""Functions that are called for text and NULL alone, and cannot fail on them: they need no guard."""


class Functions:
    """Our functions on one connection, and what they have seen.

    `counts` holds, by slot, how many cells `dl_note` was told of; `samples` a few of them as (row, text). When a
    cell ends the run, `error` has the reason, because SQLite only passes on that a function failed.
    """

    KEPT = 3

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.counts: Counter[int] = Counter()
        self.samples: dict[int, list[tuple[int, str]]] = {}
        self.error: Exception | None = None
        self._modes: dict[int, str] = {}
        self._raise: Callable[[int, int, Cell], Exception] | None = None
        self._rows: dict[int, int] = {}
        self._values: dict[int, Cell] = {}
        self._numbers: Counter[int] = Counter()
        for name, (arguments, function) in _PURE.items():
            connection.create_function(name, arguments, self._told(function), deterministic=True)
        for name, bare in _BARE.items():
            connection.create_function(name, 1, bare, deterministic=True)
        connection.create_function("dl_note", 3, self._told(self._note))
        connection.create_function("dl_fill", 4, self._filler())
        connection.create_function("dl_count", 1, self._count)

    def expect(self, modes: dict[int, str], error: Callable[[int, int, Cell], Exception]) -> None:
        """Say what a counted cell means in each slot (fail, null, skip), and which error a failing one makes."""
        self._modes.update(modes)
        self._raise = error

    def restart(self) -> None:
        """Forget the rows seen: the next statement reads from the start. The counts stay."""
        self._rows.clear()
        self._values.clear()
        self._numbers.clear()

    def _told(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as e:
                # SQLite keeps only that a function failed; the reason goes beside it.
                self.error = self.error or e
                raise

        return guarded

    def _note(self, slot: int, cell: Cell, row: int) -> int:
        mode = self._modes.get(slot, "null")
        if mode == "fail" and self._raise is not None:
            raise self._raise(slot, row, cell)
        self.counts[slot] += 1
        kept = self.samples.setdefault(slot, [])
        if len(kept) < self.KEPT:
            kept.append((row, str(cell)[:80]))
        return 0 if mode == "skip" else 1

    def _filler(self) -> Callable[[int, int, Cell, int], Cell]:
        rows, values = self._rows, self._values

        def fill(slot: int, row: int, cell: Cell, blank: int) -> Cell:
            # Called for every row of a column: two dictionaries are the least that can remember.
            if row < rows.get(slot, row):
                self.error = InternalError("Rows reached a step out of order.")
                raise self.error
            rows[slot] = row
            if cell is None or cell == "" or (blank and isinstance(cell, str) and not cell.strip()):
                return values.get(slot)
            values[slot] = cell
            return cell

        return fill

    def _count(self, slot: int) -> int:
        self._numbers[slot] += 1
        return self._numbers[slot]
