"""Filling a staging file: cells are typed slice by slice, and a column's type only ever widens.

The first slices are looked at before anything is stored, so that most columns have their type from the start. One
that widens later is mended by one UPDATE at the end where SQLite can rebuild the text exactly (integers,
booleans, dates); where it cannot (48.30 as a float), the rest of the file is only looked at, and then all of it
read once more with the types then known. So a file is read three times at most, whatever it holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any

from runtime.tabular.columns import KIND_TYPES, TYPE_KINDS, Column, Kind, Statistics, samples
from runtime.tabular.options import ParseOptions
from runtime.tabular.staging import Staging

__all__ = ("Again", "Filler", "Slice", "fill")

_AHEAD_CELLS = 50_000
_SAMPLE_ROWS = 20_000


class Again(Exception):
    """A column widened to what the rows stored so far cannot be turned into."""


@dataclass(slots=True)
class Slice:
    """Some rows, column by column. `lines` tells where each row stands in the file, when somebody asks.

    Rows before a source found another column are narrower than those after.
    """

    columns: Sequence[Sequence[Any]]
    count: int
    lines: Callable[[], Sequence[int]]

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], lines: Callable[[], Sequence[int]]) -> Slice:
        """Make a slice of rows that are all of one width."""
        return cls(list(zip(*rows, strict=True)), len(rows), lines)


class Filler(ABC):
    """One column on its way into a staging file.

    `empty` is what an empty cell of a text column is stored as ('' or None). `mended_to` is the number of rows
    that were stored before the column widened, and `was` what it was then; `mixed`
    what most cells are of a column that is text because of the others, such as `odd`.
    """

    def __init__(self, name: str, place: int, options: ParseOptions, empty: str | None) -> None:
        asked = options.types.get(name)
        self.name = name
        self.physical = f"c{place}"
        self.forced: Kind | None = None if asked is None else TYPE_KINDS[asked]
        self.empty = empty
        self.nulls = frozenset(options.null_values)
        self.statistics = Statistics()
        self.samples: list[Any] = []
        self.mended_to = 0
        self.was: Kind | None = None
        self.mixed: Kind | None = None
        self.odd: str | None = None
        self.scale: int | None = None
        self.spelling: str | None = None

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What its cells are stored as."""

    @abstractmethod
    def look(self, raw: Sequence[Any]) -> None:
        """Widen its kind to what a slice holds."""

    @abstractmethod
    def take(self, raw: Sequence[Any], stored: int) -> Sequence[Any]:
        """Return the values of a slice, of which `stored` rows went before.

        Raises:
            Again: the column became text, and what is stored of it cannot be turned back into its text.
        """

    @abstractmethod
    def settle(self) -> None:
        """Bring what was counted in another way into the statistics; the last slice is stored."""

    @abstractmethod
    def forced_values(self, raw: Sequence[Any], kind: Kind) -> tuple[list[Any], list[int]]:
        """Return the values of a slice as a kind that was asked for, and the places of those that do not fit."""

    @abstractmethod
    def can_be_text_again(self, kind: Kind) -> bool:
        """Tell whether stored values of a kind can be turned back into their text."""

    @abstractmethod
    def shown(self, cell: Any) -> str:
        """Return a cell as a report shows it."""

    @property
    def must_fit(self) -> bool:
        """Whether a type was asked for that not every cell has."""
        return self.forced is not None and self.forced != "text"

    def widened(self, before: Kind, kind: Kind, stored: int) -> None:
        """Take note that rows were stored as another kind."""
        # Of what is missing in a column of nothing else, nobody knows afterwards what was '' and what a null word.
        if kind == "text" and (self.nulls if before == "empty" else not self.can_be_text_again(before)):
            raise Again
        if kind == "text" or (kind == "real" and before == "integer"):
            self.was = before if self.was in (None, "empty") else self.was
            self.mended_to = stored
            # Values of two types have no order among them; all are counted anew once they are mended.
            self.statistics = Statistics()

    def see(self, values: Sequence[Any], nulls: int, empty: int, stored: int) -> None:
        """Count the values of a slice."""
        self.statistics.see(values, nulls, empty)
        self.sample(values, stored)

    def sample(self, values: Sequence[Any], stored: int) -> None:
        """Take samples from a slice, until there are enough."""
        # A column with fewer different values must not be searched for more to its end.
        if len(self.samples) < 5 and stored < _SAMPLE_ROWS:
            self.samples = samples([*self.samples, *values])

    def column(self) -> Column:
        """Return what the catalogue is to know."""
        kind: Kind = "text" if self.kind == "empty" else self.kind
        column = Column(self.name, self.physical, KIND_TYPES[kind], kind, sample_values=self.samples)
        column.scale = self.scale if kind in ("integer", "real") else None
        column.spelling = self.spelling if kind == "boolean" else None
        self.statistics.fill(column)
        return column


def fill(
    names: Sequence[str],
    make: Callable[[str, int, Kind], Filler],
    slices: Callable[[], Iterator[Slice]],
    staging: Staging,
    on_rows: Callable[[int], None],
) -> tuple[list[Column], list[str]]:
    """Store all rows of a source and return its columns, and warnings.

    `names` may grow while the source is read. `make(name, place, kind)` makes the filler of a column; `slices`
    begins to read from the start.
    """
    kinds: list[Kind] = []
    while True:
        table = _Table(names, make, staging, kinds)
        pieces = slices()
        try:
            table.store(pieces, on_rows)
            break
        except Again:
            table.look(table.taking)
            for piece in pieces:
                table.look(table.fitting(piece))
            kinds = ["text" if column.kind == "empty" else column.kind for column in table.columns]
            mixed = [(column.mixed, column.odd) for column in table.columns]
            staging.restart()
    if kinds:
        for column, was in zip(table.columns, mixed, strict=True):
            column.mixed, column.odd = (column.mixed, column.odd) if column.mixed else was
    for column in table.columns:
        column.settle()
    warnings = _mend(table.columns, staging)
    return [column.column() for column in table.columns], warnings


class _Table:
    """The columns of one pass over a source."""

    def __init__(
        self,
        names: Sequence[str],
        make: Callable[[str, int, Kind], Filler],
        staging: Staging,
        kinds: Sequence[Kind],
    ) -> None:
        self._names = names
        self._make = make
        self._staging = staging
        self._kinds = kinds
        self.columns: list[Filler] = []
        self.taking = Slice((), 0, tuple)
        """The slice that is being stored: where one column cannot go on, the others have not seen all of it."""
        self._grow()

    def _grow(self) -> None:
        """Add the columns that the source has found in the meantime."""
        for place in range(len(self.columns), len(self._names)):
            kind: Kind = self._kinds[place] if place < len(self._kinds) else "empty"
            self.columns.append(self._make(self._names[place], place, kind))
        if self._staging.width < len(self.columns):
            self._staging.widen(len(self.columns))

    def store(self, pieces: Iterator[Slice], on_rows: Callable[[int], None]) -> None:
        """Look at the first slices, and then store those and all others."""
        ahead: list[Slice] = []
        seen = 0
        for piece in pieces:
            ahead.append(self.fitting(piece))
            self.look(ahead[-1])
            seen += piece.count * len(self.columns)
            if seen >= _AHEAD_CELLS:
                break
        ahead.reverse()
        while ahead:
            self._take(ahead.pop())
        for piece in pieces:
            self._take(self.fitting(piece))
            on_rows(self._staging.rows)
        if any(column.kind == "empty" and column.nulls for column in self.columns):
            raise Again

    def look(self, piece: Slice) -> None:
        """Widen the kinds of all columns to what a slice holds, without storing it."""
        for column, raw in zip(self.columns, piece.columns, strict=False):
            if column.forced is None:
                column.look(raw)

    def _take(self, piece: Slice) -> None:
        if not piece.count:
            return
        self.taking = piece
        stored: list[Sequence[Any]] = []
        for column, raw in zip(self.columns, piece.columns, strict=False):
            if column.must_fit and column.forced is not None:
                values, _ = column.forced_values(raw, column.forced)
                column.see(values, values.count(None), 0, self._staging.rows)
                stored.append(values)
            else:
                stored.append(column.take(raw, self._staging.rows))
        for column in self.columns[len(stored) :]:
            stored.append(column.take([None] * piece.count, self._staging.rows))
        self._staging.add(stored, piece.count)

    def fitting(self, piece: Slice) -> Slice:
        """Return the rows whose cells have the types that were asked for; the others are kept aside."""
        self._grow()
        wrong: dict[int, str] = {}
        for column, raw in zip(self.columns, piece.columns, strict=False):
            if column.must_fit and column.forced is not None:
                for place in column.forced_values(raw, column.forced)[1]:
                    cell, what = column.shown(raw[place]), KIND_TYPES[column.forced]
                    wrong.setdefault(place, f"Column {column.name!r:.80}: {cell!r:.80} is no {what}.")
        if not wrong:
            return piece
        lines = piece.lines()
        for place in sorted(wrong):
            cells = zip(self.columns, piece.columns, strict=False)
            text = ",".join(column.shown(raw[place]) for column, raw in cells)
            self._staging.reject(lines[place], wrong[place], text)
        kept = [place not in wrong for place in range(piece.count)]
        fitting = [list(compress(raw, kept)) for raw in piece.columns]
        return Slice(fitting, piece.count - len(wrong), lambda: list(compress(lines, kept)))


def _mixed(column: Filler) -> str:
    what = {"real": "number", "integer": "number"}.get(column.mixed or "", column.mixed)
    such = "" if column.odd is None else f", such as {column.odd!r:.40}"
    told = f"Column {column.name!r:.80} is text: it holds {what} values and others{such}."
    word = column.odd is not None and len(column.odd) <= 8 and not any(c.isdigit() for c in column.odd)
    return f"{told} null_values can have it read as NULL." if word else told


_REBUILT = "CASE typeof({c}) WHEN 'integer' THEN {integer} WHEN 'null' THEN {empty} ELSE {c} END"


def _mend(columns: list[Filler], staging: Staging) -> list[str]:
    """Turn what was stored before a column widened into its last type, and count such columns anew."""
    changes, upto, warnings = [], 0, []
    for column in columns:
        kind = column.kind
        if kind == "text" and column.mixed not in (None, "empty"):
            warnings.append(_mixed(column))
        empty = "NULL" if column.empty is None else "''"
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
                    column.spelling or "", ("true", "false")
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


def _count_anew(column: Filler, staging: Staging) -> None:
    c = column.physical
    column.statistics = Statistics()
    cursor = staging.rows_of(f"SELECT {c} FROM d")
    while slice_ := list(islice(cursor, 2_000)):
        values = [value for (value,) in slice_]
        column.statistics.see(values, values.count(None), values.count(""))
        if len(column.samples) < 5 or any(not isinstance(s, str) for s in column.samples):
            strings = [v for v in values if column.kind != "text" or isinstance(v, str)]
            column.samples = samples(strings)
