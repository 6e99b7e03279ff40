"""Date formats: one notation for reading and writing dates, with SQL where the format has fixed places.

Tokens: `YYYY YY MMMM MMM MM M DD D HH H hh h mm m ss s SSS A a dddd ddd Z`; other characters stand for
themselves, and letters in brackets too (`[Week] YYYY`). The notation of `strftime` (`%d/%m/%Y`) works as well.
A two-digit year from 69 on is in the 1900s, as POSIX has it. Names of months and days are English.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .cells import Sql, both, call, integer, op, text, when
from .table import StepError

if TYPE_CHECKING:
    from .draft import Values

__all__ = ("MONTHS", "WEEKDAYS", "DateFormat")

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STRFTIME = {
    "%Y": "YYYY", "%y": "YY", "%m": "MM", "%d": "DD", "%H": "HH", "%I": "hh", "%M": "mm", "%S": "ss",
    "%B": "MMMM", "%b": "MMM", "%A": "dddd", "%a": "ddd", "%p": "A", "%f": "SSSSSS", "%-d": "D", "%-m": "M",
    "%e": "D", "%-H": "H", "%z": "Z", "%F": "YYYY-MM-DD", "%T": "HH:mm:ss", "%%": "[%]",
}  # fmt: skip
_TOKEN = re.compile(
    r"\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DD|D|dddd|ddd|HH|H|hh|h|mm|m|ss|s|S{1,6}|A|a|Z|yyyy|yy|dd|d|(.)",
    re.DOTALL,
)
_NAMES_OF = {"yyyy": "YYYY", "yy": "YY", "dd": "DD", "d": "D"}
_READ = {
    "YYYY": r"(?P<Y>\d{4})", "YY": r"(?P<y>\d{2})", "MM": r"(?P<M>\d{2})", "M": r"(?P<M>\d{1,2})",
    "DD": r"(?P<D>\d{2})", "D": r"(?P<D>\d{1,2})", "HH": r"(?P<H>\d{2})", "H": r"(?P<H>\d{1,2})",
    "hh": r"(?P<h>\d{2})", "h": r"(?P<h>\d{1,2})", "mm": r"(?P<m>\d{2})", "m": r"(?P<m>\d{1,2})",
    "ss": r"(?P<s>\d{2})", "s": r"(?P<s>\d{1,2})", "A": r"(?P<A>[AaPp]\.?[Mm]\.?)", "a": r"(?P<A>[AaPp]\.?[Mm]\.?)",
    "Z": r"(?:Z|[+-]\d{2}:?\d{2})", "MMMM": r"(?P<B>[A-Za-z]+)", "MMM": r"(?P<B>[A-Za-z]+)\.?",
    "dddd": r"[A-Za-z]+", "ddd": r"[A-Za-z]+\.?",
}  # fmt: skip
_FIXED = {"YYYY": 4, "MM": 2, "DD": 2, "HH": 2, "mm": 2, "ss": 2}
_SHOW: dict[str, Callable[[datetime], str]] = {
    "YYYY": lambda d: f"{d.year:04d}",
    "YY": lambda d: f"{d.year % 100:02d}",
    "MMMM": lambda d: MONTHS[d.month - 1],
    "MMM": lambda d: MONTHS[d.month - 1][:3],
    "MM": lambda d: f"{d.month:02d}",
    "M": lambda d: str(d.month),
    "DD": lambda d: f"{d.day:02d}",
    "D": lambda d: str(d.day),
    "dddd": lambda d: WEEKDAYS[d.weekday()],
    "ddd": lambda d: WEEKDAYS[d.weekday()][:3],
    "HH": lambda d: f"{d.hour:02d}",
    "H": lambda d: str(d.hour),
    "hh": lambda d: f"{(d.hour + 11) % 12 + 1:02d}",
    "h": lambda d: str((d.hour + 11) % 12 + 1),
    "mm": lambda d: f"{d.minute:02d}",
    "m": lambda d: str(d.minute),
    "ss": lambda d: f"{d.second:02d}",
    "s": lambda d: str(d.second),
    "A": lambda d: "AM" if d.hour < 12 else "PM",
    "a": lambda d: "am" if d.hour < 12 else "pm",
    "Z": lambda d: "Z",
}
_PLACES = {"YYYY": (1, 4), "MM": (6, 2), "DD": (9, 2), "HH": (12, 2), "mm": (15, 2), "ss": (18, 2)}
"""Where a part stands in the ISO text of a cell, counted from 1, and its length."""


@dataclass(frozen=True, slots=True)
class DateFormat:
    """A format, taken apart: each part is (True, token) or (False, literal text)."""

    pattern: str
    parts: tuple[tuple[bool, str], ...]
    _reader: re.Pattern[str]

    @classmethod
    def of(cls, pattern: str) -> DateFormat:
        """Return the format that a pattern names.

        Raises:
            StepError: a letter is no token, or a token comes twice.
        """
        if not pattern or len(pattern) > 100:
            raise StepError("a date format has 1 to 100 characters.", hint='For example "DD.MM.YYYY".')
        parts: list[tuple[bool, str]] = []
        for found in _TOKEN.finditer(_from_strftime(pattern)):
            token = found[0]
            if found[1] is not None or found[2] is not None:
                literal = found[1] if found[1] is not None else found[2]
                if found[2] is not None and literal.isalpha() and literal not in "TZ":
                    raise StepError(
                        f'"{literal}" in the date format "{pattern}" is no token.',
                        hint="Tokens are YYYY, YY, MMMM, MMM, MM, M, DD, D, HH, H, hh, h, mm, m, ss, s, SSS, A, Z; "
                        "put other letters in brackets: [T].",
                    )
                parts.append((False, literal))
            else:
                parts.append((True, _NAMES_OF.get(token, token)))
        return cls(pattern, tuple(parts), _reader(pattern, parts))

    def read(self, shown: str) -> datetime | None:
        """Return the moment that a text is in this format, None when it is none."""
        found = self._reader.fullmatch(shown.strip())
        if not found:
            return None
        part = found.groupdict()
        try:
            return datetime(
                _year(part), _month(part), int(part.get("D") or 1), _hour(part), int(part.get("m") or 0),
                int(part.get("s") or 0), int((part.get("f") or "").ljust(6, "0") or 0),
            )  # fmt: skip
        except ValueError:
            return None

    def show(self, moment: datetime) -> str:
        """Return the moment in this format."""
        return "".join(_shown(part, moment) if token else part for token, part in self.parts)

    @property
    def has_time(self) -> bool:
        """Whether the format has a part smaller than a day."""
        return any(token and part[0] in "HhmsSAa" for token, part in self.parts)

    def read_sql(self, cell: Sql, values: Values) -> Sql | None:
        """Return ISO text made of a cell in this format, NULL where it is none; None when the places are not fixed."""
        tokens = [part for token, part in self.parts if token]
        if self.has_time or sorted(tokens) != ["DD", "MM", "YYYY"]:
            return None
        glob, at, place = "", 1, {}
        for token, part in self.parts:
            if token:
                place[part] = at
                glob += "[0-9]" * _FIXED[part]
                at += _FIXED[part]
            else:
                glob += "".join(f"[{c}]" if c in "*?[" else c for c in part)
                at += len(part)
        if "]" in "".join(part for token, part in self.parts if not token):
            return None
        # Only a modifier makes SQLite look whether the month has that day.
        year, month, day = (
            call("substr", cell, integer(place[p]), integer(_FIXED[p])) for p in ("YYYY", "MM", "DD")
        )
        iso = (
            cell
            if self.pattern == "YYYY-MM-DD"
            else op(op(op(op(year, "||", text("-")), "||", month), "||", text("-")), "||", day)
        )
        return when(
            (
                both(
                    op(cell, "glob", values(glob)),
                    op(call("date", iso, text("+0 days")), "=", iso),
                    op(year, ">", text("0000")),
                ),
                iso,
            )
        )

    def show_sql(self, cell: Sql, values: Values) -> Sql | None:
        """Return the text of an ISO cell in this format; None when it needs more than the cell's own digits."""
        if any(token and part not in _PLACES for token, part in self.parts):
            return None
        shown: Sql | None = None
        for token, part in self.parts:
            piece = call("substr", cell, *map(integer, _PLACES[part])) if token else values(part)
            if token and part in ("HH", "mm", "ss"):
                piece = call("substr", op(cell, "||", text("T00:00:00")), *map(integer, _PLACES[part]))
            shown = piece if shown is None else op(shown, "||", piece)
        return shown


def _from_strftime(pattern: str) -> str:
    if "%" not in pattern:
        return pattern

    def token(found: re.Match[str]) -> str:
        if found[0] in _STRFTIME:
            return _STRFTIME[found[0]]
        if found[0].startswith("%"):
            raise StepError(
                f'"{found[0]}" in the date format "{pattern}" is no token.', hint="Use YYYY-MM-DD tokens."
            )
        return f"[{found[0]}]" if found[0].isalpha() else found[0]

    return re.sub(r"%-?.|[A-Za-z]+|.", token, pattern, flags=re.DOTALL)


def _reader(pattern: str, parts: list[tuple[bool, str]]) -> re.Pattern[str]:
    made = "".join(
        (_READ.get(part) or rf"(?P<f>\d{{1,{max(len(part), 3)}}})") if token else re.escape(part)
        for token, part in parts
    )
    try:
        return re.compile(made, re.ASCII)
    except re.error:
        raise StepError(
            f'A part comes twice in the date format "{pattern}".', hint="Name each part once."
        ) from None


def _shown(token: str, moment: datetime) -> str:
    return _SHOW[token](moment) if token in _SHOW else f"{moment.microsecond:06d}"[: len(token)]


def _year(part: dict[str, str | None]) -> int:
    if short := part.get("y"):
        return int(short) + (1900 if int(short) >= 69 else 2000)
    return int(part.get("Y") or 1900)


def _month(part: dict[str, str | None]) -> int:
    if name := part.get("B"):
        known = [
            i
            for i, month in enumerate(MONTHS, 1)
            if len(name) >= 3 and month.lower().startswith(name.lower())
        ]
        return known[0] if known else 0
    return int(part.get("M") or 1)


def _hour(part: dict[str, str | None]) -> int:
    if half := part.get("h"):
        if not 1 <= int(half) <= 12:
            raise ValueError(half)
        late = (part.get("A") or "a").lower().startswith("p")
        return int(half) % 12 + (12 if late else 0)
    return int(part.get("H") or 0)
