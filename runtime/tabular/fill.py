"""Filling a staging file: cells are typed slice by slice, and a column's type only ever widens.

The first slices are looked at before anything is stored, so that most columns have their type from the start. One
that widens later is mended by one UPDATE at the end where SQLite can rebuild the text exactly (integers,
booleans, dates); where it cannot (48.30 as a float), the rest of the file is only looked at, and then all of it
read once more with the types then known. So a file is read three times at most, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from runtime.tabular.cells import TextCells, single
from runtime.tabular.columns import KIND_TYPES, Column, Kind, Statistics, samples
from runtime.tabular.decode import NotUtf8
from runtime.tabular.delimited import Delimited, Slice
from runtime.tabular.options import ParseOptions
from runtime.tabular.request import Found, Request
from runtime.tabular.staging import Staging

__all__ = ("TextColumn", "fill_from_text", "read_delimited")

_AHEAD_CELLS = 200_000
_SAMPLE_ROWS = 20_000
_FORCED: dict[str, Kind] = {
    "string": "text",
    "number": "real",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
}
_DIGITS = {",": r",", ".": r"\."}


class _Again(Exception):
    """A column widened to what the rows stored so far cannot be turned into."""


class TextColumn:
    """One column of a delimited file on its way into the staging file."""

    def __init__(self, name: str, index: int, options: ParseOptions, kind: Kind = "empty") -> None:
        asked = options.types.get(name)
        self.name = name
        self.physical = f"c{index}"
        self.forced = None if asked is None else _FORCED[asked]
        self.cells = TextCells("text" if self.forced == "text" else "empty" if self.forced else kind)
        self.statistics = Statistics()
        self.samples: list[Any] = []
        self.mended_to = 0
        self.was: Kind | None = None
        self._nulls = frozenset(options.null_values)
        self._trim = options.trim
        self._decimal, self._thousands = options.decimal, options.thousands
        self._plain = not (self._nulls or self._trim or self._thousands or self._decimal != ".")
        self._empty = None if options.empty_as_null else ""

    def take(self, raw: Sequence[Any], stored: int) -> Sequence[Any]:
        """Return the values of a slice, of which `stored` rows went before.

        Raises:
            _Again: the column became text, and what is stored of it cannot be turned back into its text.
        """
        before = self.cells.kind
        cells = raw if self._plain else self._normal(raw)
        typed = self.cells.take(cells) if self._plain else self.cells.take(self._numeric(cells))
        values: Sequence[Any]
        if typed is not None:
            values, nulls, empty = typed, typed.count(None), 0
        elif self._plain and self._empty is not None:
            values, nulls, empty = cells, 0, cells.count("")
        else:
            values = [self._text(c, r) for c, r in zip(cells, raw, strict=True)]
            nulls, empty = values.count(None), values.count("")
        kind = self.cells.kind
        if before != kind and stored:
            self._widened(before, stored)
        self.statistics.see(values, nulls, empty)
        # A column with fewer different values must not be searched for more to its end.
        if len(self.samples) < 5 and stored < _SAMPLE_ROWS:
            self.samples = samples([*self.samples, *values])
        return values

    def _widened(self, before: Kind, stored: int) -> None:
        kind = self.cells.kind
        if kind == "text" and (before == "real" or (self._nulls or not self._plain)):
            raise _Again
        if kind in ("text", "real") and (kind == "text" or before != "empty"):
            self.was = self.was if self.was not in (None, "empty") else before
            self.mended_to = stored

    def _normal(self, raw: Sequence[str]) -> list[str]:
        cells = [c.strip() for c in raw] if self._trim else list(raw)
        return ["" if c in self._nulls else c for c in cells] if self._nulls else cells

    def _numeric(self, cells: Sequence[str]) -> list[str]:
        """Return cells with numbers written as the expressions expect them, where they are numbers."""
        if self._decimal == "." and not self._thousands:
            return list(cells)
        return [self._number(c) for c in cells]

    def _number(self, cell: str) -> str:
        text = cell
        if self._thousands and self._thousands in text:
            whole, sign, rest = text.partition(self._decimal)
            first, *groups = whole.lstrip("-").split(self._thousands)
            if not (1 <= len(first) <= 3 and all(len(g) == 3 for g in groups)):
                return cell
            text = whole.replace(self._thousands, "") + sign + rest
        if self._decimal == ",":
            if "." in text:
                return cell + "\x1e"  # a point is no decimal sign here: the cell stays text
            text = text.replace(",", ".")
        return text

    def _text(self, cell: str, raw: str) -> str | None:
        if cell:
            return cell
        return None if raw in self._nulls else self._empty

    def forced_values(self, raw: Sequence[Any]) -> tuple[list[Any], list[int]]:
        """Return the values of a slice as the type that was asked for, and the places of those that do not fit."""
        kind = self.forced or "text"
        self.cells.kind = kind
        cells = [self._number(c) for c in self._normal(raw)]
        values, wrong = [], []
        for place, cell in enumerate(cells):
            fits, value = single(cell, kind)
            if not fits:
                wrong.append(place)
            values.append(value)
        return values, wrong

    def column(self) -> Column:
        """Return what the catalogue is to know."""
        kind: Kind = "text" if self.cells.kind == "empty" else self.cells.kind
        column = Column(self.name, self.physical, KIND_TYPES[kind], kind, sample_values=self.samples)
        column.scale = self.cells.scale if kind in ("integer", "real") else None
        column.spelling = self.cells.spelling if kind == "boolean" else None
        self.statistics.fill(column)
        return column


def read_delimited(request: Request) -> Found:
    """Read a delimited file. One that began as UTF-8 and is not is looked at as a whole, and read again."""
    try:
        return _read(request, thorough=False)
    except NotUtf8:
        return _read(request, thorough=True)


def _read(request: Request, *, thorough: bool) -> Found:
    table = Delimited(request.path, request.options, thorough=thorough)
    size = request.path.stat().st_size
    with Staging(request.staging, table.width) as staging:
        columns, warnings = fill_from_text(
            table, staging, lambda rows: request.progress(rows, table.position(), size), request.most
        )
        if table.encoding.guessed:
            warnings.append(f"The file is not UTF-8; it was read as {table.encoding.name}.")
        if table.encoding.damaged:
            warnings.append("Some rows hold bytes that are not UTF-8; they were kept aside.")
        found = Found.of(request, staging, columns, [*table.notes, *warnings], table.ended)
    found.facts = {
        "dialect": table.dialect.plain(),
        "encoding": table.encoding.name,
        "header": table.header,
        "sha256": table.sha256,
    }
    return found


def fill_from_text(
    table: Delimited, staging: Staging, on_rows: Callable[[int], None], most: int | None = None
) -> tuple[list[Column], list[str]]:
    """Store all rows of a delimited file, or about `most`, and return its columns, and warnings."""
    kinds: list[Kind] = ["empty"] * table.width
    while True:
        columns = [TextColumn(name, i, table.options, kinds[i]) for i, name in enumerate(table.names)]
        slices = table.slices(staging.reject, most)
        try:
            _store(columns, slices, staging, on_rows)
            break
        except _Again:
            for piece in slices:
                _look(columns, piece)
            kinds = [column.cells.kind for column in columns]
            staging.restart()
    warnings = _mend(columns, staging)
    return [column.column() for column in columns], warnings


def _store(
    columns: list[TextColumn], slices: Iterator[Slice], staging: Staging, on_rows: Callable[[int], None]
) -> None:
    ahead: list[Slice] = []
    seen = 0
    for piece in slices:
        _look(columns, piece)
        ahead.append(piece)
        # Their lines cannot be told any more once more is read.
        piece.lines = _fixed(piece.lines()) if any(c.forced for c in columns) else piece.lines
        seen += len(piece.rows) * len(columns)
        if seen >= _AHEAD_CELLS:
            break
    for piece in _popped(ahead):
        _take(columns, piece, staging)
    for piece in slices:
        _take(columns, piece, staging)
        on_rows(staging.rows)


def _popped(pieces: list[Slice]) -> Iterator[Slice]:
    pieces.reverse()
    while pieces:
        yield pieces.pop()


def _fixed(lines: list[int]) -> Callable[[], list[int]]:
    return lambda: lines


def _look(columns: list[TextColumn], piece: Slice) -> None:
    """Widen the types of columns to what a slice holds, without storing it."""
    for column, raw in zip(columns, zip(*piece.rows, strict=True), strict=True):
        if column.forced is None and column.cells.kind != "text":
            cells = ["" if c is None else c for c in raw] if piece.padded else raw
            column.cells.take(cells if column._plain else column._numeric(column._normal(cells)))


def _take(columns: list[TextColumn], piece: Slice, staging: Staging) -> None:
    rows = piece.rows
    if any(column.forced not in (None, "text") for column in columns):
        rows = _fitting(columns, piece, staging)
        if not rows:
            return
    stored: list[Sequence[Any]] = []
    for column, raw in zip(columns, zip(*rows, strict=True), strict=True):
        cells: Sequence[Any] = raw
        padded = piece.padded and None in raw
        if padded:
            cells = ["" if c is None else c for c in raw]
        if column.forced not in (None, "text"):
            values, _ = column.forced_values(cells)
            column.statistics.see(values, values.count(None))
            column.samples = (
                column.samples if len(column.samples) > 4 else samples([*column.samples, *values])
            )
            stored.append(values)
            continue
        values = list(column.take(cells, staging.rows)) if padded else column.take(cells, staging.rows)  # type: ignore[assignment]
        if padded:
            values = [None if r is None else v for r, v in zip(raw, values, strict=True)]
        stored.append(values)
    staging.add(stored, len(rows))


def _fitting(columns: list[TextColumn], piece: Slice, staging: Staging) -> list[list[str]]:
    """Return the rows whose cells have the types that were asked for; the others are kept aside."""
    wrong: dict[int, str] = {}
    for column, raw in zip(columns, zip(*piece.rows, strict=True), strict=True):
        if column.forced not in (None, "text"):
            cells = ["" if c is None else c for c in raw]
            for place in column.forced_values(cells)[1]:
                wrong.setdefault(
                    place, f"Column {column.name!r:.80}: {cells[place]!r:.80} is no {column.forced} value."
                )
    if not wrong:
        return piece.rows
    lines = piece.lines()
    for place in sorted(wrong):
        text = ",".join("" if c is None else c for c in piece.rows[place])
        staging.reject(lines[place], wrong[place], text)
    return [row for place, row in enumerate(piece.rows) if place not in wrong]


_REBUILT = "CASE typeof({c}) WHEN 'integer' THEN {integer} WHEN 'null' THEN {empty} ELSE {c} END"


def _mend(columns: list[TextColumn], staging: Staging) -> list[str]:
    """Turn what was stored before a column widened into its last type, and count such columns anew."""
    changes, upto, warnings = [], 0, []
    for column in columns:
        kind = column.cells.kind
        if kind == "text" and column.cells.mixed is not None:
            what = {"real": "number", "integer": "number"}.get(column.cells.mixed, column.cells.mixed)
            warnings.append(f"Column {column.name!r:.80} is text: it holds {what} values and others.")
        empty = "NULL" if column._empty is None else "''"
        if kind == "empty" and staging.rows and empty == "''":
            # No cell of it has anything in it; that is an empty text, not NULL.
            column.mended_to = staging.rows
        if not column.mended_to:
            continue
        c = column.physical
        if kind == "real":
            changes.append(f"{c} = CAST({c} AS REAL)")
        else:
            integer = f"CAST({c} AS TEXT)"
            if column.was == "boolean":
                yes, no = {"title": ("True", "False"), "upper": ("TRUE", "FALSE")}.get(
                    column.cells.spelling or "", ("true", "false")
                )
                integer = f"CASE {c} WHEN 1 THEN '{yes}' ELSE '{no}' END"
            changes.append(f"{c} = {_REBUILT.format(c=c, integer=integer, empty=empty)}")
        upto = max(upto, column.mended_to)
    if changes:
        staging.execute(f"UPDATE d SET {', '.join(changes)} WHERE row_id <= ?", (upto,))
    for column in columns:
        if column.mended_to:
            _count_anew(column, staging)
    return warnings


def _count_anew(column: TextColumn, staging: Staging) -> None:
    c = column.physical
    column.statistics = Statistics()
    cursor = staging.rows_of(f"SELECT {c} FROM d")
    while slice_ := list(islice(cursor, 2_000)):
        values = [value for (value,) in slice_]
        column.statistics.see(values, values.count(None), values.count(""))
        if len(column.samples) < 5 or any(not isinstance(s, str) for s in column.samples):
            strings = [v for v in values if column.cells.kind != "text" or isinstance(v, str)]
            column.samples = samples(strings)
