"""Values that have a type already (workbooks, JSON, Parquet) on their way into a staging file.

Types are kept where SQLite has them, and become text where it has not: integers beyond 64 bits, decimals that no
float can hold, times, durations, nested values (as JSON). A column of several types is text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from runtime.tabular.cells import EXACT, is_date, single, wider
from runtime.tabular.columns import Kind
from runtime.tabular.fill import Filler
from runtime.tabular.options import ParseOptions

__all__ = ("ValueColumn", "value_text")

_MOST, _LEAST = 2**63 - 1, -(2**63)


def value_text(value: Any) -> str:
    """Return a value as text: numbers and moments as they are written, nested values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=value_text, separators=(",", ":"))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return "" if value is None else str(value)


def _duration(value: timedelta) -> str:
    sign, seconds = ("-", -value.total_seconds()) if value < timedelta() else ("", value.total_seconds())
    minutes, rest = divmod(round(seconds, 6), 60)
    text = f"{rest:09.6f}".rstrip("0").rstrip(".")
    return f"{sign}{int(minutes // 60):02d}:{int(minutes % 60):02d}:{text}"


_KINDS: dict[type, Kind] = {
    int: "integer",
    float: "real",
    bool: "boolean",
    date: "date",
    datetime: "datetime",
    str: "text",
    bytes: "blob",
}
_NONE = type(None)
_TEXTS = (time, timedelta, dict, list, tuple, UUID)


class ValueColumn(Filler):
    """One column of typed values; None is a cell without one. `whole` has floats that are integers be integers."""

    def __init__(
        self,
        name: str,
        place: int,
        options: ParseOptions,
        kind: Kind = "empty",
        *,
        empty: str | None = None,
        whole: bool = False,
        dates: bool = False,
    ) -> None:
        super().__init__(name, place, options, None if options.empty_as_null else empty)
        self._kind: Kind = "text" if self.forced == "text" else kind
        self._whole = whole
        self._dates = dates
        self._tidy = bool(self.nulls or options.trim or options.empty_as_null)
        self._trim, self._blank_is_null = options.trim, options.empty_as_null
        self._scaled = False
        self._large = False

    @property
    def kind(self) -> Kind:
        """What its cells are stored as."""
        return self._kind

    def look(self, raw: Sequence[Any]) -> None:
        """Widen its kind to what a slice holds."""
        cells = self._tidied(raw)
        self._typed(cells, set(map(type, cells)))

    def take(self, raw: Sequence[Any], stored: int) -> Sequence[Any]:
        """Return the values of a slice, of which `stored` rows went before."""
        before = self._kind
        cells = self._tidied(raw)
        types = set(map(type, cells))
        values: Sequence[Any] | None = self._typed(cells, types)
        if values is None:
            values = cells if types == {str} else [self._text(c) for c in cells]
        if before != self._kind and stored:
            self.widened(before, self._kind, stored)
        # A float that is no number is None too.
        nulls = values.count(None) if _NONE in types or self._kind == "real" else 0
        self.see(values, nulls, values.count("") if self._kind == "text" else 0, stored)
        return values

    def _text(self, cell: Any) -> str | None:
        return cell if type(cell) is str else self.empty if cell is None else value_text(cell)

    def settle(self) -> None:
        """Do nothing: every slice was counted as it came."""

    def _tidied(self, raw: Sequence[Any]) -> Sequence[Any]:
        if not self._tidy:
            return raw
        cells = [c.strip() if type(c) is str else c for c in raw] if self._trim else raw
        return [
            None if type(c) is str and (c in self.nulls or (self._blank_is_null and not c)) else c
            for c in cells
        ]

    def _typed(self, cells: Sequence[Any], found: set[type]) -> Sequence[Any] | None:
        """Return a slice, in which such types were found, as values of its column, whose kind widens to fit; None if it is text."""
        if self._kind == "text":
            return None
        types = found - {_NONE}
        if not types:
            return list(cells)
        slice_kind, values = self._slice(types, cells)
        kind = wider(self._kind, slice_kind)
        if kind == "real" and self._large:
            kind = "text"
        elif kind == "real" and slice_kind == "integer":
            values = [None if v is None else float(v) for v in values]
        if kind == "text":
            self.mixed = _first(types) if self._kind == "empty" and len(types) > 1 else self._kind
        self._kind = kind
        return None if kind == "text" else values

    def _slice(self, types: set[type], cells: Sequence[Any]) -> tuple[Kind, Sequence[Any]]:
        """Return the kind of a slice by itself, and its values as that."""
        if types == {Decimal} or types == {Decimal, int}:
            return self._decimals(cells)
        if types <= {int, float}:
            return self._numbers(types, cells)
        if types == {date, datetime}:
            return "datetime", [None if c is None else _moment(c) for c in cells]
        if len(types) > 1 or not types <= _KINDS.keys():
            return "text", cells
        (only,) = types
        if only is str:
            if self._dates and is_date(cells):
                return "date", list(cells)
            return "text", cells
        if only is bool:
            self.spelling = "lower"
            return "boolean", [None if c is None else int(c) for c in cells]
        if only is date or only is datetime:
            return _KINDS[only], [None if c is None else c.isoformat() for c in cells]
        return _KINDS[only], list(cells)

    def _numbers(self, types: set[type], cells: Sequence[Any]) -> tuple[Kind, Sequence[Any]]:
        numbers = [c for c in cells if c is not None]
        full = len(numbers) == len(cells)
        if types == {int}:
            least, most = min(numbers), max(numbers)
            self._large = self._large or least < -EXACT or most > EXACT
            self._see_scale(0)
            return ("integer", list(cells)) if least >= _LEAST and most <= _MOST else ("text", cells)
        if (
            self._whole
            and all(map(_is_whole if int in types else float.is_integer, numbers))
            and _exact(numbers)
        ):
            self._see_scale(0)
            return "integer", list(map(int, cells)) if full else [
                None if c is None else int(c) for c in cells
            ]
        if int in types and any(type(n) is int and abs(n) > EXACT for n in numbers):
            return "text", cells
        finite = all(map(math.isfinite, numbers))
        if not finite and any(map(math.isinf, numbers)):
            return "text", cells  # neither JSON nor CSV has an infinity: as a text it comes out as it went in
        self._see_scale(None)
        if full and int not in types and finite:
            return "real", numbers
        return "real", [None if c is None or math.isnan(c) else float(c) for c in cells]

    def _decimals(self, cells: Sequence[Any]) -> tuple[Kind, Sequence[Any]]:
        scales = set()
        values: list[float | None] = []
        for cell in cells:
            value = None if cell is None else float(cell)
            if value is not None and (math.isinf(value) or Decimal(repr(value)) != cell):
                return "text", cells
            if isinstance(cell, Decimal):
                scales.add(max(0, -int(cell.as_tuple().exponent)))
            values.append(value)
        self._see_scale(scales.pop() if len(scales) == 1 else None)
        return "real", values

    def _see_scale(self, scale: int | None) -> None:
        self.scale = scale if not self._scaled or self.scale == scale else None
        self._scaled = True

    def can_be_text_again(self, kind: Kind) -> bool:
        """Tell whether stored values of a kind can be turned back into their text."""
        return kind not in ("real", "blob") and not self._tidy

    def forced_values(self, raw: Sequence[Any], kind: Kind) -> tuple[list[Any], list[int]]:
        """Return the values of a slice as a kind that was asked for, and the places of those that do not fit."""
        self._kind = kind
        values, wrong = [], []
        for place, cell in enumerate(self._tidied(raw)):
            fits, value = single(value_text(cell), kind)
            if not fits:
                wrong.append(place)
            values.append(value)
        return values, wrong

    def shown(self, cell: Any) -> str:
        """Return a cell as a report shows it."""
        return value_text(cell)


def _is_whole(value: float) -> bool:
    return type(value) is int or value.is_integer()


def _exact(numbers: Sequence[float]) -> bool:
    return min(numbers) >= -EXACT and max(numbers) <= EXACT


def _moment(value: date) -> str:
    return (
        value.isoformat()
        if isinstance(value, datetime)
        else datetime(value.year, value.month, value.day).isoformat()
    )


def _first(types: set[type]) -> Kind | None:
    found = sorted(kind for kind in map(_KINDS.get, types) if kind is not None and kind != "text")
    return found[0] if found else None
