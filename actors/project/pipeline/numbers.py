"""Numbers as people write them, read without losing a digit, and written so that they read back the same.

A style says which characters group and which divide: `plain` (1234.5), `en` (1,234.5), `de` (1.234,5),
`fr` (1 234,5), `ch` (1'234.5). All but `plain` also take a currency sign, a percent sign and accounting
parentheses.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Literal, TypeAlias, get_args

__all__ = ("STYLES", "NumberStyle", "parse_number", "rounded", "show_number")

NumberStyle: TypeAlias = Literal["plain", "en", "de", "fr", "ch"]
"""How numbers are written in a column."""

STYLES: tuple[str, ...] = get_args(NumberStyle)

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_GROUPS = {"en": (",", "."), "de": (".", ","), "fr": ("[ \u00a0\u202f\u2009]", ","), "ch": ("['\u2019]", ".")}
_CLOTHES = re.compile(r"[$€£¥₹₽₩\u00a4]|\b(?:EUR|USD|GBP|CHF|JPY)\b")
_FIRST, _LAST = -(2**63), 2**63 - 1


def _styled(style: str) -> re.Pattern[str]:
    group, point = _GROUPS[style]
    group = group if group.startswith("[") else re.escape(group)
    whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)"
    return re.compile(
        rf"[+-]?(?:{whole}(?:{re.escape(point)}\d*)?|{re.escape(point)}\d+)(?:[eE][+-]?\d+)?", re.ASCII
    )


_STYLED = {style: _styled(style) for style in _GROUPS}


def parse_number(text: str, style: str = "plain") -> int | float | None:
    """Return the number that a text is, an int where it is whole and fits 64 bits; None when it is none.

    A percent sign divides by 100, parentheses negate.
    """
    shown = text.strip()
    sign, percent = 1, False
    if style != "plain":
        shown = _CLOTHES.sub("", shown).strip()
        if shown.startswith("(") and shown.endswith(")"):
            sign, shown = -1, shown[1:-1].strip()
        if shown.endswith("%"):
            percent, shown = True, shown[:-1].rstrip()
        shown = shown.replace("\u2212", "-")
        if shown[:1] in "+-" and shown[1:2].isspace():
            shown = shown[0] + shown[1:].lstrip()
        if not _STYLED[style].fullmatch(shown):
            return None
        group, point = _GROUPS[style]
        shown = re.sub(group if group.startswith("[") else re.escape(group), "", shown).replace(point, ".")
    elif not _PLAIN.fullmatch(shown):
        return None
    return _value(shown, sign, percent)


def _value(shown: str, sign: int, percent: bool) -> int | float | None:
    if shown.lstrip("+-").isdigit() and len(shown) < 24 and not percent:
        whole = sign * int(shown)
        if _FIRST <= whole <= _LAST:
            return whole
    value = sign * float(shown)
    if percent:
        value /= 100
    return value if math.isfinite(value) else None


def show_number(value: int | float) -> str:
    """Return the shortest text that reads back as the number; whole numbers have no fraction."""
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        return repr(value)
    return str(value)


_WAYS = {"nearest": ROUND_HALF_UP, "up": ROUND_CEILING, "down": ROUND_FLOOR}


def rounded(value: int | float, decimals: int, way: str) -> int | float:
    """Round the number as it is written: 2.675 to 2.68, although the nearest REAL lies below it."""
    if isinstance(value, int):
        return value
    try:
        return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), rounding=_WAYS[way]))
    except InvalidOperation:
        # More digits than a REAL has: there is nothing to round.
        return value
