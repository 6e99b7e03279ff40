"""Workbooks (XLSX, XLSM, XLSB, XLS, ODS): one sheet of one becomes a table.

What a workbook is and is not: numbers are floats, so whole ones become integers; an error cell is empty; a cell's
format may show zeros that the number does not have. A compressed workbook is measured before it is opened.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from runtime.errors import InputError, LimitExceeded
from runtime.tabular.columns import unique_names
from runtime.tabular.fill import Slice, fill
from runtime.tabular.request import Found, Request
from runtime.tabular.sniff import is_header, table_start
from runtime.tabular.staging import MAX_COLUMNS, Staging, too_wide
from runtime.tabular.values import ValueColumn, value_text

__all__ = ("read_sheet",)

_UNZIPPED = 2 << 30
_ENTRIES = 10_000
_ROWS = 1 << 20
_CELLS = 3_000
_LOOK = 200


def read_sheet(request: Request) -> Found:
    """Read one sheet of a workbook."""
    from python_calamine import (
        CalamineError,
        CalamineWorkbook,
        PasswordError,
        SheetTypeEnum,
        SheetVisibleEnum,
    )

    uncomputed = _measure(request.path)
    try:
        with CalamineWorkbook.from_path(str(request.path)) as book:
            sheets = [
                {"name": m.name, "visible": m.visible == SheetVisibleEnum.Visible}
                for m in book.sheets_metadata
                if m.typ == SheetTypeEnum.WorkSheet
            ]
            name = _chosen(sheets, request.options.sheet)
            sheet = book.get_sheet_by_name(name)
    except PasswordError:
        raise InputError(
            "The workbook is protected by a password.", hint="Save it without one and send it again."
        ) from None
    except (CalamineError, ValueError, OSError) as error:
        raise InputError(
            f"The workbook cannot be read: {str(error)[:200]}.",
            hint="Open it, save it again as XLSX or CSV, and send that.",
        ) from None
    found = _Sheet(request, sheet, name, sheets).read()
    if uncomputed:
        found.warnings.append(
            "Formulas of the workbook have no values, because no spreadsheet program has computed them: their cells"
            " are empty. Open it in one, save it, and send that."
        )
    return found


def _chosen(sheets: list[dict[str, Any]], asked: str | int | None) -> str:
    names = [sheet["name"] for sheet in sheets]
    if not names:
        raise InputError(
            "The workbook has no sheets with cells.", hint="Send one with a table on a sheet.", reason="empty"
        )
    if asked is None:
        return next((str(sheet["name"]) for sheet in sheets if sheet["visible"]), str(names[0]))
    if isinstance(asked, int) and 1 <= asked <= len(names):
        return str(names[asked - 1])
    word = str(asked).strip()
    # A sheet may be named by a number, of a year for instance; else a number is a place.
    for name in names:
        if name == asked or name.casefold() == word.casefold():
            return str(name)
    if word.isascii() and word.isdigit() and 1 <= int(word) <= len(names):
        return str(names[int(word) - 1])
    raise InputError(
        f"The workbook has no sheet {asked!r:.80}.", hint="Sheets: " + ", ".join(names[:20]) + "."
    )


class _Sheet:
    """The cells of a sheet on their way into a staging file."""

    def __init__(self, request: Request, sheet: Any, name: str, sheets: list[dict[str, Any]]) -> None:
        self._request = request
        self._options = request.options
        self._sheet = sheet
        self._facts: dict[str, Any] = {"sheet": name, "sheets": sheets}
        self._notes: list[str] = []
        self._top, left, self._last, right = request.options.region()
        # The reader leaves out the empty columns on the left, and keeps the empty rows at the top.
        first = 0 if sheet.start is None else int(sheet.start[1])
        self._pad = max(0, first - left + 1) if self._options.bounded else 0
        self._from = max(0, left - 1 - first)
        self._to = None if right is None else max(0, right - first)
        self._ended = False

    def read(self) -> Found:
        if self._sheet.start is None:
            raise InputError(
                f"The sheet {self._facts['sheet']!r:.80} is empty.",
                hint=f"Sheets: {', '.join(s['name'] for s in self._facts['sheets'][:20])}.",
                reason="empty",
            )
        if int(self._sheet.total_height) > _ROWS:
            # The reader makes an empty row of each one that is not there: a made-up number is billions of them.
            raise InputError(
                f"The sheet {self._facts['sheet']!r:.80} has a cell below row {_ROWS:,}, the last that a sheet can have.",
                hint="Open it, save it again, and send that.",
            )
        head = [row for _, row in islice(self._rows(), _LOOK)]
        start = self._start(head)
        self._name(head[start:])
        with self._request.open(len(self._names)) as staging:
            height = int(self._sheet.total_height) + 1
            columns, warnings = fill(
                self._names,
                lambda name, place, kind: ValueColumn(name, place, self._options, kind, empty="", whole=True),
                lambda: self._slices(start + self._header, staging),
                staging,
                lambda rows: self._request.progress(rows, rows, height),
            )
            found = Found.of(self._request, staging, columns, [*self._notes, *warnings], self._ended)
        found.facts = {**self._facts, "header": self._header, "sha256": _digest(self._request)}
        return found

    def _rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield (number in the sheet, cells) of the rows that are asked for, blank ones left out; '' is an empty cell."""
        cut = self._pad or self._from or self._to is not None
        for number, cells in enumerate(self._sheet.iter_rows(), 1):
            if number < self._top:
                continue
            if self._last is not None and number > self._last:
                return
            row = [""] * self._pad + cells[self._from : self._to] if cut else cells
            if row.count("") < len(row):
                yield number, row

    def _start(self, head: list[list[Any]]) -> int:
        if self._options.bounded or not head:
            return 0
        texts = [[value_text(c) for c in row] for row in head]
        start = table_start(texts)
        if start:
            self._notes.append(f"{start} rows above the table were left out.")
        return start

    def _name(self, rows: list[list[Any]]) -> None:
        if not rows:
            raise InputError(
                "The sheet has no rows where it was to be read.",
                hint="Check start_row, end_row and the range.",
                reason="empty",
            )
        texts = [[value_text(c) for c in row] for row in rows]
        asked = self._options.header
        self._header = _is_header(rows[0], texts) if asked is None else asked
        width = len(rows[0])
        if width > MAX_COLUMNS:
            raise too_wide(width)
        self._names = unique_names(texts[0]) if self._header else [f"column_{i}" for i in range(1, width + 1)]

    def _slices(self, skip: int, staging: Staging) -> Iterator[Slice]:
        count = max(20, min(2_000, _CELLS // len(self._names)))
        rows = islice(self._rows(), skip, None)
        seen = 0
        self._ended = False
        while piece := list(islice(rows, count)):
            numbers = [number for number, _ in piece]
            columns = [_empty(cells) for cells in zip(*[row for _, row in piece], strict=True)]
            yield Slice(columns, len(piece), lambda numbers=numbers: numbers)  # type: ignore[misc]
            seen += len(piece)
            if self._request.most is not None and seen >= self._request.most:
                return
        self._ended = True


def _empty(cells: Sequence[Any]) -> Sequence[Any]:
    """Return a slice of a column with None for its empty cells, unless it holds other texts, among which they are one."""
    types = set(map(type, cells))
    if str not in types or (len(types) == 1 and any(cells)):
        return cells
    return [None if c == "" else c for c in cells]


def _is_header(first: Sequence[Any], texts: list[list[str]]) -> bool:
    if any(cell is not None and not isinstance(cell, str) for cell in first):
        return is_header(texts[0], texts[1:])
    return True


def _measure(path: Path) -> bool:
    """Refuse a compressed workbook that is far larger than it looks, by what it says and by what comes out of it.

    Returns whether it has formulas without a value, as programs write them that cannot compute.

    Raises:
        LimitExceeded: more than 2 GiB, or 10,000 files.
        InputError: it is damaged.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return False
    uncomputed = _Uncomputed()
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entries = archive.infolist()
            if len(entries) > _ENTRIES or sum(e.file_size for e in entries) > _UNZIPPED:
                raise _bomb()
            total = 0
            for entry in entries:
                sheet = entry.filename.startswith("xl/worksheets/")
                total += _inflated(file, entry, _UNZIPPED - total, uncomputed.see if sheet else None)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"The workbook is damaged: {str(error)[:200]}.", hint="Open it, save it again, and send that."
        ) from None
    return uncomputed.found


class _Uncomputed:
    """Looks for a formula without a value in the text of sheets; one whose value is an empty text has type `str`."""

    _FORMULA = re.compile(
        rb'<c (?![^<>]*\bt="str")[^<>]*>(?:<f[^<>]*/>|<f[^<>]*>[^<]*</f>)(?:<v ?/>|<v></v>)?</c>'
    )
    _OVERLAP = 4_096

    def __init__(self) -> None:
        self.found = False
        self._rest = b""

    def see(self, piece: bytes) -> None:
        """Look at the next piece of a sheet."""
        if not self.found:
            text = self._rest + piece
            self.found = b"<f" in text and self._FORMULA.search(text) is not None
            self._rest = text[-self._OVERLAP :]


def _inflated(
    file: Any, entry: zipfile.ZipInfo, most: int, see: Callable[[bytes], None] | None = None
) -> int:
    """Return the bytes that an entry really has, and show them; its own word is not taken for it."""
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        return entry.compress_size
    file.seek(entry.header_offset)
    names, extra = struct.unpack("<26xHH", file.read(30))
    file.seek(names + extra, 1)
    inflate, left, total = zlib.decompressobj(-15), entry.compress_size, 0
    while left > 0 and not inflate.eof:
        piece = file.read(min(left, 1 << 16))
        if not piece:
            break
        left -= len(piece)
        while piece:
            text = inflate.decompress(piece, 1 << 20)
            total += len(text)
            if total > most:
                raise _bomb()
            if see is not None:
                see(text)
            piece = inflate.unconsumed_tail
    return total


def _bomb() -> LimitExceeded:
    return LimitExceeded(
        "The workbook unpacks to more than 2 GiB.",
        hint="Split it, or save its sheets as CSV.",
        limit="max_upload_bytes",
    )


def _digest(request: Request) -> str | None:
    if request.staging is None:
        return None
    with request.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
