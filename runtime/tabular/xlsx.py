"""Writing a workbook, row by row in bounded memory; a table that is too long for a sheet goes on in the next."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import LimitExceeded
from runtime.tabular.columns import Column

if TYPE_CHECKING:
    from runtime.tabular.write import WriteOptions

__all__ = ("SHEET_ROWS", "write_xlsx")

SHEET_ROWS = 1_048_576
"""Rows of one sheet, its header among them (the format's own limit)."""

_CELL = 32_767
_EXACT = 10**15
_FIRST_DAY = date(1900, 3, 1)


def write_xlsx(
    slices: Iterator[list[tuple[Any, ...]]],
    columns: Sequence[Column],
    target: Path,
    options: WriteOptions,
    progress: Callable[[int], None],
    *,
    sheet_rows: int = SHEET_ROWS,
) -> int:
    """Write rows as a workbook and return their number.

    Texts are never formulas or links; dates are dates, and numbers of more than 15 digits are text, because a
    workbook would round them.

    Raises:
        LimitExceeded: a text is longer than a cell can be.
    """
    from xlsxwriter import Workbook

    count = 0
    with tempfile.TemporaryDirectory(prefix="duralite-xlsx-", dir=target.parent) as folder:
        book = Workbook(
            str(target),
            {
                "constant_memory": True,
                "tmpdir": folder,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
                "nan_inf_to_errors": True,
            },
        )
        try:
            writers = [_writer(book, column, place, options) for place, column in enumerate(columns)]
            bold = book.add_format({"bold": True})
            sheet: Any = None
            used = number = 0
            for rows in slices:
                for row in rows:
                    if sheet is None or used == sheet_rows:
                        number += 1
                        sheet = _sheet(book, columns, options, number, bold)
                        used = 1
                    for place, cell in enumerate(row):
                        if cell is not None:
                            writers[place](sheet, used, cell)
                    used += 1
                    count += 1
                progress(count)
            if sheet is None:
                _sheet(book, columns, options, 1, bold)
        finally:
            book.close()
    return count


def _sheet(book: Any, columns: Sequence[Column], options: WriteOptions, number: int, bold: Any) -> Any:
    sheet = book.add_worksheet(options.sheet if number == 1 else f"{options.sheet} {number}")
    for place, column in enumerate(columns):
        sheet.write_string(0, place, column.name, bold)
    sheet.freeze_panes(1, 0)
    return sheet


def _writer(book: Any, column: Column, place: int, options: WriteOptions) -> Callable[[Any, int, Any], None]:
    """Return what writes one cell of a column."""

    def text(sheet: Any, row: int, cell: Any) -> None:
        value = cell if isinstance(cell, str) else cell.hex() if isinstance(cell, bytes) else str(cell)
        if len(value) > _CELL:
            raise LimitExceeded(
                f"Row {row:,}, column {column.name!r:.80}: a cell of a workbook holds {_CELL:,} characters.",
                hint="Export as CSV, NDJSON or Parquet, or leave the column out.",
            )
        if value:
            sheet.write_string(row, place, value)

    kind = column.kind
    if kind in ("integer", "real"):
        decimals = column.scale or 0
        form = book.add_format({"num_format": "0." + "0" * decimals}) if decimals else None

        def number(sheet: Any, row: int, cell: Any) -> None:
            if isinstance(cell, (int, float)) and abs(cell) < _EXACT:
                sheet.write_number(row, place, cell, form)
            else:
                text(sheet, row, cell)

        return number
    if kind == "boolean":

        def truth(sheet: Any, row: int, cell: Any) -> None:
            if cell in (0, 1):
                sheet.write_boolean(row, place, bool(cell))
            else:
                text(sheet, row, cell)

        return truth
    if kind in ("date", "datetime"):
        form = book.add_format({"num_format": "yyyy-mm-dd" if kind == "date" else "yyyy-mm-dd hh:mm:ss"})

        def moment(sheet: Any, row: int, cell: Any) -> None:
            found = _moment(cell)
            if found is None:
                text(sheet, row, cell)
            else:
                sheet.write_datetime(row, place, found, form)

        return moment

    return text


def _moment(cell: Any) -> datetime | None:
    """Return a moment that a workbook can hold: no time zone, no fraction below a millisecond, after 1900-03-01."""
    try:
        found = datetime.fromisoformat(cell)
    except (TypeError, ValueError):
        return None
    sound = found.tzinfo is None and found.date() >= _FIRST_DAY and not found.microsecond % 1000
    return found if sound and len(cell) <= 23 else None
