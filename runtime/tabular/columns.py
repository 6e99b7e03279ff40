"""A column as the catalogue knows it: its name, its type, and what was learnt of its cells while they went by.

The four types are those of the specification; `kind` says what lies in the file. Data tables have columns
`c0`, `c1`, … without a declared type, so that SQLite keeps every cell as it was bound.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = (
    "KIND_TYPES",
    "TYPE_KINDS",
    "Column",
    "ColumnType",
    "Kind",
    "Statistics",
    "samples",
    "shortened",
    "unique_names",
)

ColumnType = Literal["string", "number", "boolean", "date"]
Kind = Literal["empty", "integer", "real", "boolean", "date", "datetime", "text", "blob"]

KIND_TYPES: Mapping[str, ColumnType] = {
    "empty": "string",
    "text": "string",
    "blob": "string",
    "integer": "number",
    "real": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "date",
}
TYPE_KINDS: Mapping[str, Kind] = {
    "string": "text",
    "number": "real",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
}
"""The kind that stands for a type which was asked for."""
_DISTINCT = 1_000
_TOP = 10
_SAMPLES = 5
_NAME = 200
# White space, control characters, and what nobody sees: a byte order mark within a file, spaces of no width.
_SPACE = re.compile(r"[\s\x00-\x1f\x7f\u200b\u2060\ufeff]+")


@dataclass(slots=True)
class Column:
    """One column of a table.

    `physical` is its name in the data table. `kind` is what its cells are stored as: integer, real, boolean (1
    and 0), date and datetime (ISO text), text, blob (bytes, out of Parquet). `scale` is the number of decimals that all its numbers were
    written with, None where they differ. `distinct` and `top` are None when there are more than 1,000 values;
    `spelling` is how booleans were written ("lower", "title", "upper").
    """

    name: str
    physical: str
    type: ColumnType
    kind: Kind
    scale: int | None = None
    null_count: int = 0
    empty_count: int = 0
    distinct: int | None = None
    min: Any = None
    max: Any = None
    sample_values: list[Any] = field(default_factory=list)
    top: list[list[Any]] | None = None
    spelling: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Column:
        """Return a column from plain data; what it does not know is left out."""
        return cls(**{k: v for k, v in data.items() if k in cls.__slots__})


class Statistics:
    """What is learnt of one column from slices of its stored cells."""

    __slots__ = ("_counts", "_high", "_low", "empty", "nulls")

    def __init__(self) -> None:
        self._counts: Counter[Any] | None = Counter()
        self._low: Any = None
        self._high: Any = None
        self.nulls = 0
        self.empty = 0

    def see(self, cells: Sequence[Any], nulls: int, empty: int = 0) -> None:
        """Count a slice of cells of one type, of which so many are None, or empty texts."""
        self.nulls += nulls
        self.empty += empty
        self._count([c for c in cells if c is not None] if nulls else cells)

    def tally(self, counted: Mapping[Any, int]) -> None:
        """Count cells of one type by their value, among them None and empty texts."""
        self.nulls += counted.get(None, 0)
        self.empty += counted.get("", 0)
        self._count({value: count for value, count in counted.items() if value is not None})

    def _count(self, values: Collection[Any] | Mapping[Any, int]) -> None:
        if not values:
            return
        if self._counts is not None:
            self._counts.update(values)
            if len(self._counts) <= _DISTINCT:
                return
            values, self._counts = self._counts.keys(), None
        low, high = min(values), max(values)
        if self._low is None or low < self._low:
            self._low = low
        if self._high is None or high > self._high:
            self._high = high

    def fill(self, column: Column) -> None:
        """Put what was learnt into a column."""
        column.null_count, column.empty_count = self.nulls, self.empty
        if self._counts is not None:
            self._low, self._high = min(self._counts, default=None), max(self._counts, default=None)
            column.distinct = len(self._counts)
            column.top = [[shortened(value), count] for value, count in self._counts.most_common(_TOP)]
        else:
            column.distinct = column.top = None
        column.min, column.max = shortened(self._low), shortened(self._high)


def shortened(value: Any) -> Any:
    """Return a value as the catalogue holds it, which is JSON: bytes as hexadecimal text."""
    if isinstance(value, bytes):
        return value[: _NAME // 2].hex()
    return value[:_NAME] if isinstance(value, str) else value


def samples(cells: Sequence[Any]) -> list[Any]:
    """Return the first few different cells that are neither None nor empty."""
    found: list[Any] = []
    for cell in cells:
        if cell is not None and cell != "" and (short := shortened(cell)) not in found:
            found.append(short)
            if len(found) == _SAMPLES:
                break
    return found


def unique_names(raw: Sequence[Any]) -> list[str]:
    """Return display names: white space tidied, blank ones by position, repeated ones numbered.

    Names that differ only in case count as repeated, because SQL cannot tell them apart.
    """
    given = {_tidy(cell).casefold() for cell in raw}
    taken: set[str] = set()
    last: Counter[str] = Counter()
    names = []
    for position, cell in enumerate(raw, 1):
        base = _tidy(cell)
        name = base or f"column_{position}"
        key, made = name.casefold(), not base
        # A made name must not take the place of one that the file itself gives to a later column.
        while name.casefold() in taken or (made and name.casefold() in given):
            last[key] = max(last[key], 1) + 1
            name, made = f"{base or f'column_{position}'}_{last[key]}", True
        taken.add(name.casefold())
        names.append(name)
    return names


def _tidy(cell: Any) -> str:
    return "" if cell is None else _SPACE.sub(" ", str(cell)).strip()[:_NAME]
