"""Delimited text on its way into a staging file: cells are text, and become what all of their column can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from runtime.tabular.cells import TextCells, single
from runtime.tabular.columns import Kind
from runtime.tabular.decode import NotUtf8
from runtime.tabular.delimited import Delimited
from runtime.tabular.fill import Filler, fill
from runtime.tabular.options import ParseOptions
from runtime.tabular.request import Found, Request

__all__ = ("TextColumn", "read_delimited")

_FEW = 1_024
# What groups digits and looks like one of the signs that can be asked for: spaces that do not break, an apostrophe.
_SPELLINGS = {
    " ": str.maketrans({"\u00a0": " ", "\u2009": " ", "\u202f": " "}),
    "'": str.maketrans({"\u2019": "'"}),
}


class TextColumn(Filler):
    """One column of a delimited file. A cell of None is one that the file does not have (a padded row)."""

    def __init__(self, name: str, place: int, options: ParseOptions, kind: Kind = "empty") -> None:
        super().__init__(name, place, options, "" if not options.empty_as_null else None)
        self.cells = TextCells("text" if self.forced == "text" else "empty" if self.forced else kind)
        self._trim = options.trim
        self._ragged = options.ragged == "pad"
        self._decimal, self._thousands = options.decimal, options.thousands
        self._plain = not (self.nulls or self._trim or self._thousands or self._decimal != ".")
        # The cells of a column of few, as they are in the file: how often each is there, and what it is stored as.
        self._counts: Counter[Any] | None = Counter()
        self._values: dict[Any, Any] = {}

    @property
    def kind(self) -> Kind:
        """What its cells are stored as."""
        return self.cells.kind

    def look(self, raw: Sequence[Any]) -> None:
        """Widen its kind to what a slice holds."""
        if self.cells.kind != "text":
            raw = _present(raw)
            self.cells.take(raw if self._plain else self._numeric(self._normal(raw)))
            self.mixed, self.odd = self.cells.mixed, self.cells.odd
            self.scale, self.spelling = self.cells.scale, self.cells.spelling

    def take(self, raw: Sequence[Any], stored: int) -> Sequence[Any]:
        """Return the values of a slice, of which `stored` rows went before."""
        values = self._looked_up(raw, stored)
        if values is None:
            values = self._read(raw, stored)
        self.sample(values, stored)
        return values

    def settle(self) -> None:
        """Bring what was counted in another way into the statistics; the last slice is stored."""
        if self._counts is not None:
            counted: Counter[Any] = Counter()
            for cell, count in self._counts.items():
                counted[self._values[cell]] += count
            self.statistics.tally(counted)
            self._counts, self._values = None, {}

    def _read(self, raw: Sequence[Any], stored: int) -> Sequence[Any]:
        """Return the values of a slice of a column with many different cells."""
        before = self.cells.kind
        values = self._converted(raw)
        self._note(before, stored)
        text = self.cells.kind == "text"
        nulls = values.count(None) if values is not raw and (text or self.cells.gaps) else 0
        self.statistics.see(values, nulls, values.count("") if text else 0)
        return values

    def _looked_up(self, raw: Sequence[Any], stored: int) -> Sequence[Any] | None:
        """Return the values of a slice of a column with few different cells, each of them read once; else None."""
        counts = self._counts
        if counts is None:
            return None
        known = len(counts)
        counts.update(raw)
        if len(counts) > _FEW:
            counts.subtract(raw)
            self._counts = +counts
            self.settle()
            return None
        if len(counts) > known:
            before = self.cells.kind
            if before == "empty":
                self.look(raw)
            new = list(islice(counts, known, None))
            values = self._converted(new)
            if before != self.cells.kind:
                new = list(counts)
                values = self._converted(new)
            self._values.update(zip(new, values, strict=True))
            self._note(before, stored)
        return list(map(self._values.__getitem__, raw))

    def _converted(self, raw: Sequence[Any]) -> Sequence[Any]:
        """Return the values of some cells, with the kind widened to what fits them."""
        missing = self._ragged and None in raw
        present = _present(raw) if missing else raw
        cells = present if self._plain else self._normal(present)
        typed = self.cells.take(cells if self._plain else self._numeric(cells))
        if typed is not None:
            return typed
        if self._plain and self.empty is not None and not missing:
            return cells
        return [self._text(c, r) for c, r in zip(cells, raw, strict=True)]

    def _note(self, before: Kind, stored: int) -> None:
        """Take note of what the last cells made of the column."""
        if before != self.cells.kind:
            self.mixed, self.odd = self.cells.mixed, self.cells.odd
            if stored:
                self.widened(before, self.cells.kind, stored)
        self.scale, self.spelling = self.cells.scale, self.cells.spelling

    def can_be_text_again(self, kind: Kind) -> bool:
        """Tell whether stored values of a kind can be turned back into their text."""
        return kind != "real" and self._plain

    def _normal(self, raw: Sequence[str]) -> Sequence[str]:
        cells = [c.strip() for c in raw] if self._trim else raw
        return cells if self.nulls.isdisjoint(cells) else ["" if c in self.nulls else c for c in cells]

    def _numeric(self, cells: Sequence[str]) -> Sequence[str]:
        """Return cells with numbers written as the expressions expect them, where they are numbers."""
        if self._decimal == "." and not self._thousands:
            return cells
        return [self._number(c) for c in cells]

    def _number(self, cell: str) -> str:
        text = cell
        if self._thousands in _SPELLINGS:
            text = text.translate(_SPELLINGS[self._thousands])
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

    def _text(self, cell: str, raw: str | None) -> str | None:
        if cell:
            return cell
        return None if raw is None or raw in self.nulls else self.empty

    def forced_values(self, raw: Sequence[Any], kind: Kind) -> tuple[list[Any], list[int]]:
        """Return the values of a slice as a kind that was asked for, and the places of those that do not fit."""
        self.cells.kind = kind
        cells = [self._number(c) for c in self._normal(_present(raw))]
        values, wrong = [], []
        for place, cell in enumerate(cells):
            fits, value = single(cell, kind)
            if not fits:
                wrong.append(place)
            values.append(value)
        return values, wrong

    def shown(self, cell: Any) -> str:
        """Return a cell as a report shows it."""
        return cell or ""


def _present(raw: Sequence[Any]) -> Sequence[str]:
    return ["" if c is None else c for c in raw] if None in raw else raw


def read_delimited(request: Request) -> Found:
    """Read a delimited file. One that began as UTF-8 and is not is looked at as a whole, and read again."""
    try:
        return _read(request, thorough=False)
    except NotUtf8:
        return _read(request, thorough=True)


def _read(request: Request, *, thorough: bool) -> Found:
    table = Delimited(request.path, request.options, thorough=thorough)
    size = request.path.stat().st_size
    with request.open(table.width) as staging:
        columns, warnings = fill(
            table.names,
            lambda name, place, kind: TextColumn(name, place, request.options, kind),
            lambda: table.slices(staging.reject, request.most),
            staging,
            lambda rows: request.progress(rows, table.position(), size),
        )
        if table.encoding.guessed:
            warnings.append(
                f"The file is not UTF-8; it was read as {table.encoding.name}. Give its encoding if letters are wrong."
            )
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
