"""Rows of a delimited text file, in slices, with the line of every row that does not fit.

What is plain is cut by the block (`blocks`); the standard library's reader does the rest: it is the most tolerant.
Whole slices pass at once; only a slice with a row of another width is read again row by row. A row that spans several
lines and does not fit is most likely a quote that never closes: its first line alone is set aside, and reading goes
on behind it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from runtime.errors import InputError
from runtime.tabular.blocks import split
from runtime.tabular.columns import unique_names
from runtime.tabular.decode import Encoding, detect
from runtime.tabular.fill import Slice
from runtime.tabular.lines import Lines, Pieces
from runtime.tabular.options import ParseOptions
from runtime.tabular.sniff import Dialect, excel_mark, is_header, read_rows, sniff, table_start
from runtime.tabular.staging import MAX_COLUMNS, too_wide

__all__ = ("Delimited",)

MAX_CELL = 1_000_000
"""The longest cell, in characters: what the guard lets one value have."""

_SAMPLE = 8 << 20
_SAMPLE_LINES = 600
_CELLS = 3_000
_UNFOLDS = 1_000
# A file is read to its end by the slower reader when more of its blocks than one in so many need it.
_PLAIN = 4
_SHOWN = 300

Reject = Callable[[int, str, str], None]


class Delimited:
    """A delimited file: its dialect, the names of its columns, and its rows."""

    def __init__(self, path: Path, options: ParseOptions, *, thorough: bool = False) -> None:
        self.path = path
        self.options = options
        self.encoding: Encoding = detect(path, options.encoding, thorough=thorough)
        self.notes: list[str] = []
        self.blank = 0
        csv.field_size_limit(MAX_CELL)
        sample = _first_lines(path, self.encoding)
        self._top, self._left, self._last, self._right = options.region()
        self._comment = options.comment
        self.dialect: Dialect
        self._skip = 0
        self.header: bool
        self.names: list[str]
        self._find(sample)
        self.width = len(self.names)
        self.ended = False
        self.sha256: str | None = None
        self.position: Callable[[], int] = lambda: 0

    def _find(self, sample: list[str]) -> None:
        """Find dialect, start of the table and names from the first lines."""
        options = self.options
        if self._comment is not None:
            sample = ["\n" if line.startswith(self._comment) else line for line in sample]
        self.dialect = sniff(sample[self._top - 1 :], options)
        if excel_mark(sample) is not None and options.delimiter is None and self._top == 1:
            self._skip = 1
        elif self._comment is None and not options.bounded:
            self._skip = self._leading_comments(sample)
        reader = csv.reader(sample[self._skip :], **self.dialect.reader_options())
        rows, ends = self._sample_rows(reader)
        if not options.bounded:
            above = table_start(rows)
            if above:
                self._skip += ends[above - 1]
                rows = rows[above:]
        if self._skip:
            self.notes.append(f"{self._skip} lines above the table were left out.")
        self._name([row[self._left - 1 : self._right] for row in rows])

    def _sample_rows(self, reader: Iterator[list[str]]) -> tuple[list[list[str]], list[int]]:
        rows: list[list[str]] = []
        ends: list[int] = []
        seen = 0
        try:
            for row in reader:
                seen += 1
                if row and seen >= self._top and (self._last is None or seen <= self._last):
                    rows.append(row)
                    ends.append(reader.line_num)  # type: ignore[attr-defined]
                if len(rows) >= 500:
                    break
        except csv.Error:
            pass
        return rows, ends

    def _leading_comments(self, sample: Sequence[str]) -> int:
        count = 0
        for line in sample:
            if not line.startswith("#"):
                break
            count += 1
        if not count or count == len(sample):
            return 0
        below = read_rows(sample[count:], self.dialect)
        last = read_rows(sample[count - 1 : count], self.dialect)
        # A last one that is as wide as the table holds its names, unless the row below it does.
        if below and last and len(last[0]) == len(below[0]) > 1 and not is_header(below[0], below[1:]):
            count -= 1
        return count

    def _name(self, rows: list[list[str]]) -> None:
        if not any(rows):
            raise InputError(
                "The file has no rows where it was to be read."
                if not rows
                else "The file has no such columns.",
                hint="Check start_row, end_row, start_column, the range and the delimiter.",
                reason="empty",
            )
        first, below = rows[0], rows[1:]
        asked = self.options.header
        self.header = is_header(first, below[:200]) if asked is None else asked
        if not self.header:
            width = max(map(len, rows[:1] if self.options.bounded else rows), default=1)
            widths = [len(row) for row in rows]
            width = max(set(widths), key=lambda w: (widths.count(w), w))
            self.names = [f"column_{i}" for i in range(1, width + 1)]
        else:
            first = self._fitted(list(first), below)
            self.names = unique_names(first)
            changed = [n for n, cell in zip(self.names, first, strict=True) if n != cell.strip()]
            if changed:
                self.notes.append(
                    f"Blank or repeated names of columns were changed: {', '.join(changed[:5])}."
                )
        if len(self.names) > MAX_COLUMNS:
            raise too_wide(len(self.names))

    def _fitted(self, first: list[str], below: list[list[str]]) -> list[str]:
        """Return the header with the width of the rows, where all of them have one cell more, or one less."""
        widths = {len(row) for row in below}
        if len(widths) != 1 or not below:
            return first
        (width,) = widths
        if width == len(first) + 1 and any(row[-1].strip() for row in below):
            self.notes.append("The first column has no name: the header has one cell less than the rows.")
            return ["", *first]
        if width == len(first) - 1 and not first[-1].strip():
            return first[:-1]
        return first

    def slices(self, reject: Reject, most: int | None = None) -> Iterator[Slice]:
        """Yield all rows in slices, or slices until there are `most` rows; misfits go to `reject(line, reason, text)`."""
        self.ended = False
        with Pieces(self.path, self.encoding) as pieces:
            self.position = pieces.position
            lines = Lines(pieces, self._comment)
            for _ in islice(lines.all(), self._skip):
                pass
            seen = 0
            for piece in _Cutter(self, lines, reject).slices():
                yield piece
                seen += piece.count
                if most is not None and seen >= most:
                    return
            self.sha256 = pieces.digest()
            self.ended = True


def _first_lines(path: Path, encoding: Encoding) -> list[str]:
    """Return the first whole lines of a file: some hundreds, or fewer where they are very long."""
    parts: list[str] = []
    size = ends = 0
    with Pieces(path, encoding) as pieces:
        while size < _SAMPLE and (piece := pieces.read()):
            parts.append(piece)
            size += len(piece)
            ends += max(piece.count("\n"), piece.count("\r"))
            if ends > _SAMPLE_LINES:
                break
        lines = io.StringIO("".join(parts), newline="").readlines()
        if len(lines) > _SAMPLE_LINES:
            return lines[:_SAMPLE_LINES]
        if len(lines) > 1 and not lines[-1].endswith("\n") and pieces.read():
            lines.pop()
    return lines


class _Cutter:
    """One pass over a file."""

    def __init__(self, table: Delimited, lines: Lines, reject: Reject) -> None:
        self._table = table
        self._lines = lines
        self._reject = reject
        self._options = table.dialect.reader_options() | {"strict": table.dialect.quote is not None}
        self._base = table._skip  # lines before the first of the present reader
        self._reader = csv.reader(lines.since(self._base + 1), **self._options)
        self._unfolds = 0
        self._width = table.width
        self._count = max(20, min(2_000, _CELLS // max(1, self._width)))
        self._left, self._right = table._left - 1, table._right
        self._sliced = bool(self._left or self._right)

    def slices(self) -> Iterator[Slice]:
        table = self._table
        left = self._skip_rows(table._top - 1 + table.header)
        if left is None:
            return
        if self._plain():
            yield from self._blocks()
        most = None if table._last is None else max(0, table._last - (table._top - 1 + table.header))
        while most is None or most > 0:
            read = self._slice(self._count if most is None else min(self._count, most))
            if read is None:
                return
            piece, taken = read
            if piece is not None:
                yield piece
            if most is not None:
                most -= taken

    def _plain(self) -> bool:
        table = self._table
        return not (table.options.bounded or table.options.comment is not None or table.encoding.damaged)

    @property
    def _line(self) -> int:
        """The number of the line at which the reader stands."""
        return self._base + self._reader.line_num + 1

    def _blocks(self) -> Iterator[Slice]:
        """Yield blocks that are cut as a whole, and slices of those that cannot be, to the end or until these are many."""
        lines, dialect, width = self._lines, self._table.dialect, self._width
        cut = missed = 0
        start = self._line
        while text := lines.text(start) or lines.more():
            columns = split(text, dialect, width) if len(text) <= MAX_CELL else None
            end = lines.next
            if columns is not None:
                yield self._whole(columns, start)
                cut, start = cut + 1, end
                lines.forget(start)
                continue
            missed += 1
            self._resume(start)
            if missed > _PLAIN and missed * _PLAIN > cut:
                return
            while self._line < end:
                read = self._slice(self._count)
                if read is None:
                    return
                if read[0] is not None:
                    yield read[0]
            start = self._line
        self._resume(start)

    def _whole(self, columns: list[list[str]], start: int) -> Slice:
        count = len(columns[0])
        return Slice(columns, count, lambda: self._lines_of(start, count))

    def _slice(self, wanted: int) -> tuple[Slice | None, int] | None:
        """Read up to so many rows: return those that fit, and how many there were; None at the end."""
        start = self._line
        self._lines.forget(start)
        rows: list[list[str]] = []
        sound = True
        try:
            rows.extend(islice(self._reader, wanted))
        except (csv.Error, UnicodeError):
            sound = False
        taken = len(rows)
        if sound and not rows:
            return None
        if self._sliced:
            rows = [row[self._left : self._right] for row in rows]
        if sound and not self._table.encoding.damaged and set(map(len, rows)) == {self._width}:
            return Slice.of(rows, lambda: self._lines_of(start, taken)), taken
        kept, taken = self._carefully(start, wanted)
        numbers = [number for number, _ in kept]
        return (Slice.of([row for _, row in kept], lambda: numbers) if kept else None), taken

    def _skip_rows(self, count: int) -> int | None:
        """Leave rows out, blank ones not counted in a table that nobody bounded."""
        table = self._table
        left = count
        while left > 0:
            try:
                row = next(self._reader, None)
            except csv.Error:
                self._resume(self._base + self._reader.line_num + 1)
                left -= 1
                continue
            if row is None:
                return None
            left -= bool(row) or table.options.bounded
        return 0

    def _lines_of(self, start: int, count: int) -> list[int]:
        reader = csv.reader(self._lines.since(start), **self._options)
        numbers = []
        for _ in range(count):
            numbers.append(start + reader.line_num)
            next(reader)
        return numbers

    def _resume(self, line: int) -> None:
        """Go on reading at a line."""
        self._base = line - 1
        self._reader = csv.reader(self._lines.since(line), **self._options)

    def _carefully(self, start: int, wanted: int) -> tuple[list[tuple[int, list[str]]], int]:
        """Read rows one by one from a line on and return those that fit, each with its line, and how many were read."""
        self._resume(start)
        kept: list[tuple[int, list[str]]] = []
        seen = 0
        while seen < wanted:
            line = self._base + self._reader.line_num + 1
            try:
                row = next(self._reader, None)
                if row is None:
                    break
                reason = self._fit(row)
            except csv.Error as error:
                row, reason = self._recovered(line, error)
            if row is not None and self._blank(row):
                self._table.blank += 1
                seen += self._table.options.bounded
                continue
            seen += 1
            if row is not None and reason is None:
                kept.append((line, row))
                continue
            self._aside(line, reason or "The row cannot be read.")
        return kept, seen

    def _recovered(self, line: int, error: csv.Error) -> tuple[list[str] | None, str | None]:
        """Return a row that the strict reader refuses as the tolerant one reads it, or why it cannot be."""
        if "unexpected end" in str(error):
            return None, "A quote is never closed."
        if "field limit" in str(error):
            return None, f"A cell is longer than {MAX_CELL:,} characters, or a quote is not closed."
        lenient = csv.reader(self._lines.since(line), **(self._options | {"strict": False}))
        try:
            row = next(lenient)
        except (csv.Error, StopIteration):
            return None, "A quote stands where none may."
        reason = self._fit(row)
        if reason is None:
            self._resume(line + lenient.line_num)
            return row, None
        return None, reason

    def _blank(self, row: list[str]) -> bool:
        """Tell whether a row is a line with nothing on it, or nothing but spaces where there is more than one column."""
        return not row or (self._width > 1 and len(row) == 1 and (not row[0] or row[0].isspace()))

    def _fit(self, row: list[str]) -> str | None:
        """Bring a row to the width of the table, in place, where nothing is lost; else return why it does not fit."""
        if not row:
            return None
        if self._sliced:
            row[:] = row[self._left : self._right]
        width = self._width
        if len(row) > width and not any(row[width:]):
            del row[width:]
        if len(row) != width:
            if len(row) < width and self._table.options.ragged == "pad":
                row.extend([None] * (width - len(row)))  # type: ignore[list-item]
            else:
                return f"The row has {len(row)} cells where the table has {width}."
        if self._table.encoding.damaged and not _sound(row):
            return "The row holds bytes that are not UTF-8."
        return None

    def _aside(self, line: int, reason: str) -> None:
        """Set a row aside; of one that spans several lines only the first, so that the others get their chance."""
        after = self._base + self._reader.line_num + 1
        spans = after - line > 1
        folded = reason.startswith(("A quote", "A cell")) or spans
        if folded and self._unfolds < _UNFOLDS:
            self._unfolds += 1
            self._resume(line + 1)
        text = self._lines.line(line)
        self._reject(line, reason, text[:_SHOWN].rstrip("\r\n"))


def _sound(row: Sequence[str]) -> bool:
    try:
        "".join(cell for cell in row if cell is not None).encode()
    except UnicodeEncodeError:
        return False
    return True
