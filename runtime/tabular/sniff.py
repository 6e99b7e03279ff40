"""The dialect of a delimited file, and where its table begins, found from its first rows.

The delimiter is the one that cuts most rows into the same number of cells. Lines above the table (titles, notes,
comments) are left out and counted; a header is told from a row by what lies below it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.tabular.cells import TextCells
from runtime.tabular.options import ParseOptions

__all__ = ("Dialect", "excel_mark", "is_header", "read_rows", "sniff", "table_start")

_DELIMITERS = (",", "\t", ";", "|", "\x01", "^", "~", " ")
# Signs of text and of regular expressions as well: only where they cut every line into as many cells.
_RARE = "^~"
_NONE = "\x1f"
_LONE = 0.3
_ROWS = 200


@dataclass(frozen=True, slots=True)
class Dialect:
    """How lines are cut into cells. `quote` is None where nothing encloses cells."""

    delimiter: str = ","
    quote: str | None = '"'
    space: bool = False
    doubled: bool = True

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, as reports show it; the delimiter is None where a line is one cell."""
        return {"delimiter": None if self.delimiter == _NONE else self.delimiter, "quote": self.quote}

    def reader_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `csv.reader`."""
        options: dict[str, Any] = {"delimiter": self.delimiter, "skipinitialspace": self.space}
        if self.quote is None:
            return options | {"quoting": csv.QUOTE_NONE, "quotechar": None}
        if not self.doubled:
            options |= {"doublequote": False, "escapechar": "\\"}
        return options | {"quotechar": self.quote}


def sniff(lines: Sequence[str], options: ParseOptions) -> Dialect:
    """Return the dialect of a file from its first lines; what the options say is taken as said."""
    marked = excel_mark(lines) if options.delimiter is None else None
    if marked is not None:
        return Dialect(marked, _quote(lines, marked, options))
    if options.delimiter is not None:
        return _dialect(lines, options.delimiter, options)
    best, score = Dialect(_NONE, _quote(lines, ",", options)), 0.0
    # A first line without any delimiter is more likely the name of a single column than a title, unless most
    # of the other lines agree on one.
    if lines and not any(delimiter in lines[0] for delimiter in _DELIMITERS[:-1]):
        score = _LONE
    for delimiter in _DELIMITERS:
        found = _dialect(lines, delimiter, options)
        scored = _score(lines, found)
        if scored > score * 1.001:
            best, score = found, scored
    return best


def excel_mark(lines: Sequence[str]) -> str | None:
    """Return the delimiter that a first line like `sep=;` names, as Excel writes it."""
    first = lines[0].strip('\r\n"') if lines else ""
    return first[4] if len(first) == 5 and first.lower().startswith("sep=") else None


def _dialect(lines: Sequence[str], delimiter: str, options: ParseOptions) -> Dialect:
    quote = _quote(lines, delimiter, options)
    return Dialect(delimiter, quote, _spaced(lines, delimiter, quote), _doubled(lines, quote))


def _score(lines: Sequence[str], dialect: Dialect) -> float:
    """Return how well a dialect cuts the lines: 0 if into single cells, more the evener and the more cells."""
    rows = read_rows(lines, dialect)
    if not rows:
        return 0.0
    widths = Counter(map(len, rows))
    width, count = max(widths.items(), key=lambda item: (item[1] * (item[0] > 1), item[0]))
    if width < 2:
        return 0.0
    even = count / len(rows)
    # A title or two above a short table must not speak for a delimiter that no other row has.
    score = even * even * (2 + min(width, 20) / 20)
    if dialect.delimiter in _RARE:
        return score * 0.9 if even == 1 and len(rows) > 1 and all(row[0] for row in rows) else 0.0
    if dialect.delimiter != " ":
        return score
    # Words stand between spaces in any text: only an even table with a column of values is one.
    return score * 0.4 if even == 1 and width >= 3 and _has_values(rows[1:]) else 0.0


def _has_values(rows: Sequence[Sequence[str]]) -> bool:
    for cells in zip(*rows, strict=True):
        column = TextCells()
        column.take(cells)
        if column.kind not in ("empty", "text"):
            return True
    return False


def read_rows(lines: Sequence[str], dialect: Dialect) -> list[list[str]]:
    """Return the rows of some lines, without blank ones, as far as they can be read."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, **dialect.reader_options()):
            if row:
                rows.append(row)
            if len(rows) >= _ROWS:
                break
    except csv.Error:
        pass
    return rows


def _quote(lines: Sequence[str], delimiter: str, options: ParseOptions) -> str | None:
    if options.quote is not None:
        return options.quote or None
    starts: Counter[str] = Counter()
    for line in lines:
        text = line.strip()
        for mark in "\"'":
            starts[mark] += (
                text.startswith(mark) + text.count(delimiter + mark) + text.count(f"{delimiter} {mark}")
            )
            if starts[mark] and not (
                text.endswith(mark) or mark + delimiter in text or f"{mark} {delimiter}" in text
            ):
                starts[mark] -= 1
    return "'" if starts["'"] > 0 and starts['"'] <= 0 else '"'


def _spaced(lines: Sequence[str], delimiter: str, quote: str | None) -> bool:
    return quote is not None and delimiter != " " and any(f"{delimiter} {quote}" in line for line in lines)


def _doubled(lines: Sequence[str], quote: str | None) -> bool:
    if quote is None:
        return True
    escaped = sum(line.count("\\" + quote) for line in lines)
    return not escaped or sum(line.count(quote * 2) for line in lines) > escaped


def table_start(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows stand above the table: narrower ones, or ones with a single cell filled, at the top."""
    if len(rows) < 2:
        return 0
    widths = Counter(map(len, rows))
    width = max(widths, key=lambda w: (widths[w], w))
    if width < 2:
        return 0
    for index, row in enumerate(rows[:50]):
        filled = sum(1 for cell in row if cell.strip())
        lone = filled <= 1 and width >= 3 and len(rows) > index + 1
        # One cell fewer than the rows below is a header that leaves the row names without one.
        if len(row) < width - (index == 0 and width > 2) or lone:
            continue
        return index if len(rows) - index > index else 0
    return 0


def is_header(first: Sequence[Any], rows: Sequence[Sequence[Any]]) -> bool:
    """Tell whether the first row of a table holds its names, from what lies below.

    It does unless more of its cells look like values of their columns than stand out from them.
    """
    cells = [cell if isinstance(cell, str) else ("" if cell is None else repr(cell)) for cell in first]
    below = [[c if isinstance(c, str) else ("" if c is None else repr(c)) for c in row] for row in rows]
    alike = unlike = 0
    for position, cell in enumerate(cells):
        if not cell or _year(cell):
            continue
        column, own = TextCells(), TextCells()
        values = [row[position] for row in below if position < len(row)]
        column.take(values)
        own.take([cell])
        if column.kind not in ("empty", "text"):
            fits = TextCells(column.kind).take([cell]) is not None
            alike, unlike = alike + fits, unlike + (not fits)
        elif own.kind != "text":
            # A value above texts is a name, unless there are such values among them, or nothing at all.
            alike += column.kind == "empty" or any(TextCells(own.kind).take([v]) for v in values[:50] if v)
    return not alike or unlike > alike or _numbered(cells)


def _numbered(cells: Sequence[str]) -> bool:
    """Tell whether names are numbers in a row, like those of months."""
    numbers = [int(cell) for cell in cells if cell.isascii() and cell.isdigit() and len(cell) < 5]
    return 3 <= len(numbers) < len(cells) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _year(cell: str) -> bool:
    """Tell whether a cell looks like a year, which names columns as often as it fills them."""
    return len(cell) == 4 and cell.isascii() and cell.isdigit() and 1800 <= int(cell) <= 2199
