"""Cells of text become values of a type only where the text can be had back from the value.

A column has a type if every one of its cells fits it; else it is text, word for word. So leading zeros, codes
like `1E5`, numbers beyond 64 bits or beyond what a float can tell apart, and dates that are not ISO all stay as
they were written. Proved for whole slices at once: one expression over the joined cells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from runtime.tabular.columns import Kind

__all__ = ("EXACT", "TextCells", "faithful", "is_date", "single", "wider")

_SEP = "\x1f"
_MOST, _LEAST = 2**63 - 1, -(2**63)
EXACT = 2**53
"""Integers up to here, and not all beyond, are floats too."""

# The days that every month has come first: most dates are proved by them.
_DAY = (
    r"[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31|02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"


def _all(cell: str) -> re.Pattern[str]:
    return re.compile(f"(?:(?:{cell}|){_SEP})*+")


_INTEGERS = _all(r"0|-?[1-9][0-9]{0,18}")
# An exponent counts only beside a decimal point or a sign: `1E5` and `2e10` are codes more often than numbers.
_REALS = _all(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+[eE][+-]?|[eE][+-])[0-9]{1,3}")
_DATES = _all(_DAY)
_MOMENTS = _all(f"{_DAY}(?:[T ]{_TIME})?")
_SCALED = [_all(rf"-?(?:0|[1-9][0-9]*)\.[0-9]{{{scale}}}") for scale in range(1, 10)]
# What these match is within the 15 digits that a float always keeps, without a further look.
_SHORT_INTEGERS = _all(r"0|-?[1-9][0-9]{0,14}")
_SHORT_REALS = _all(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?")
_SHORT_SCALED = [_all(rf"-?(?:0|[1-9][0-9]{{0,{13 - scale}}})\.[0-9]{{{scale}}}") for scale in range(1, 10)]
_SPELLINGS = {
    "lower": {"true": 1, "false": 0},
    "title": {"True": 1, "False": 0},
    "upper": {"TRUE": 1, "FALSE": 0},
}


def wider(one: Kind, other: Kind) -> Kind:
    """Return the narrowest kind that holds the cells of both."""
    if one == other or other == "empty":
        return one
    if one == "empty":
        return other
    pair = {one, other}
    if pair == {"integer", "real"}:
        return "real"
    return "datetime" if pair == {"date", "datetime"} else "text"


def _integers(cells: Sequence[str], joined: str, column: TextCells) -> list[Any] | None:
    short = _SHORT_INTEGERS.fullmatch(joined) is not None
    if not short and _INTEGERS.fullmatch(joined) is None:
        return None
    values: list[Any] = [int(c) if c else None for c in cells] if column.gaps else list(map(int, cells))
    if not short:
        if any(v is not None and not _LEAST <= v <= _MOST for v in values):
            return None
        column.large = column.large or any(v is not None and abs(v) > EXACT for v in values)
    column.see_scale(0)
    return values


def _reals(cells: Sequence[str], joined: str, column: TextCells) -> list[Any] | None:
    scale = column.scale
    if scale and _SHORT_SCALED[scale - 1].fullmatch(joined):
        sure = True
    else:
        sure = _SHORT_REALS.fullmatch(joined) is not None
        if not sure and _REALS.fullmatch(joined) is None:
            return None
        scale = _scale_of(joined)
    values: list[Any] = [float(c) if c else None for c in cells] if column.gaps else list(map(float, cells))
    if not sure:
        for cell, value in zip(cells, values, strict=True):
            if value is not None and not faithful(cell, value):
                return None
    column.see_scale(scale)
    return values


def _scale_of(joined: str) -> int | None:
    """Return with how many decimals all numbers are written, or None where they differ."""
    decimals = len(joined.lstrip(_SEP).partition(_SEP)[0].partition(".")[2])
    if decimals == 0:
        return 0 if "." not in joined and "e" not in joined.lower() else None
    fits = decimals <= len(_SCALED) and _SCALED[decimals - 1].fullmatch(joined) is not None
    return decimals if fits else None


def faithful(cell: str, value: float) -> bool:
    """Tell whether a float keeps all digits of a cell, or the cell is what a program wrote of that very float."""
    try:
        exact = Decimal(cell)
        digits = len(exact.as_tuple().digits)
        return exact == Decimal(repr(value)) or (digits <= 17 and exact == Decimal(f"{value:.{digits}g}"))
    except InvalidOperation:  # infinity
        return False


def _dates(cells: Sequence[str], joined: str, column: TextCells) -> list[Any] | None:
    return _verbatim(cells) if _DATES.fullmatch(joined) is not None and _leaps(cells, joined) else None


def _moments(cells: Sequence[str], joined: str, column: TextCells) -> list[Any] | None:
    return _verbatim(cells) if _MOMENTS.fullmatch(joined) is not None and _leaps(cells, joined) else None


def _leaps(cells: Sequence[str], joined: str) -> bool:
    if "-02-29" not in joined:
        return True
    try:
        for cell in cells:
            if cell[4:10] == "-02-29":
                date.fromisoformat(cell[:10])
    except ValueError:
        return False
    return True


def _booleans(cells: Sequence[str], joined: str, column: TextCells) -> list[Any] | None:
    words = set(cells) - {""}
    for spelling, values in _SPELLINGS.items():
        if words <= values.keys() and column.spelling in (None, spelling):
            column.spelling = spelling
            return list(map(values.get, cells))
    return None


def _verbatim(cells: Sequence[str]) -> list[Any]:
    return [c or None for c in cells] if "" in cells else list(cells)


_READERS: dict[Kind, Callable[[Sequence[str], str, TextCells], list[Any] | None]] = {
    "integer": _integers,
    "real": _reals,
    "date": _dates,
    "datetime": _moments,
    "boolean": _booleans,
}
_ORDER: tuple[Kind, ...] = ("integer", "real", "date", "datetime", "boolean")
_NEXT: dict[Kind, tuple[Kind, ...]] = {
    "empty": _ORDER,
    "integer": ("integer", "real"),
    "real": ("real",),
    "date": ("date", "datetime"),
    "datetime": ("datetime",),
    "boolean": ("boolean",),
    "text": (),
    "blob": (),
}


class TextCells:
    """What a column of text is so far: the narrowest kind that fits every cell seen.

    `large` tells that there were integers that no float holds, so that it can never be real; `gaps` whether the
    last slice had empty cells; `mixed` what most cells are of a column that is text because of the others, and
    `odd` one of those, where it was seen.
    """

    __slots__ = ("_scaled", "gaps", "kind", "large", "mixed", "odd", "scale", "spelling")

    def __init__(self, kind: Kind = "empty") -> None:
        self.kind: Kind = kind
        self.mixed: Kind | None = None
        self.odd: str | None = None
        self.gaps = False
        self.large = False
        self.scale: int | None = None
        self._scaled = False
        self.spelling: str | None = None

    def take(self, cells: Sequence[str]) -> list[Any] | None:
        """Return the values of a slice, with `kind` widened to what fits; None if it is text.

        Empty cells are None in every kind but text, where the caller decides.
        """
        if self.kind == "text":
            return None
        if not cells:
            return []
        self.gaps = "" in cells
        joined = _SEP.join(cells) + _SEP
        if len(joined) == len(cells):
            return [None] * len(cells)
        # A cell that holds the separator itself would be read as two.
        if joined.count(_SEP) != len(cells):
            self.kind = "text"
            return None
        for kind in _NEXT[self.kind]:
            if kind == "real" and self.large:
                break
            values = _READERS[kind](cells, joined, self)
            if values is not None:
                self.kind = kind
                return values
        self._note_mixed(cells)
        self.kind = "text"
        return None

    def _note_mixed(self, cells: Sequence[str]) -> None:
        """Remember what most cells of a column are that becomes text because of the others, and one of those."""
        some = [c for c in cells if c]
        odd = [c for c in some if _REALS.fullmatch(c + _SEP) is None]
        if self.kind != "empty":
            self.mixed = self.kind
        elif 2 * len(odd) < len(some):
            self.mixed = "real"
        if self.mixed in ("integer", "real"):
            self.odd = next(iter(odd), None)

    def see_scale(self, scale: int | None) -> None:
        """Take note of the number of decimals of a slice of numbers."""
        self.scale = scale if not self._scaled or self.scale == scale else None
        self._scaled = True


_LOOSE_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")
_LOOSE_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WORDS = {"true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0, "1": 1, "0": 0}


def is_date(cells: Sequence[str | None]) -> bool:
    """Tell whether all texts of a slice are ISO dates; None counts as one."""
    texts = [c for c in cells if c is not None]
    joined = _SEP.join(texts) + _SEP
    if "" in texts or joined.count(_SEP) != len(texts):
        return False
    return _DATES.fullmatch(joined) is not None and _leaps(texts, joined)


def single(cell: str, kind: Kind) -> tuple[bool, Any]:
    """Return (whether a cell fits a kind that was asked for, its value); an empty cell is None."""
    cell = cell.strip()
    if not cell:
        return True, None
    if kind == "integer":
        fits = _LOOSE_INTEGER.fullmatch(cell) is not None and _LEAST <= int(cell) <= _MOST
        return fits, int(cell) if fits else None
    if kind == "real":
        fits = _LOOSE_REAL.fullmatch(cell) is not None and abs(float(cell)) != float("inf")
        return fits, float(cell) if fits else None
    if kind == "boolean":
        return cell.lower() in _WORDS, _WORDS.get(cell.lower())
    pattern = _DATES if kind == "date" else _MOMENTS
    fits = pattern.fullmatch(cell + _SEP) is not None and _leaps([cell], cell)
    return fits, cell if fits else None
