"""Rows come out of a cursor within two budgets: a count and a size, and say which of them cut.

Memory is bounded before the rows are seen: a slice is fetched only if its worst case (columns times the
largest cell that the policy lets exist) stays under `_SLICE_BYTES`. The size is that of the JSON, measured by
making it (orjson, in C); on the way to the wire that work is not done twice.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from runtime.values import FLOAT_TAG, dumps_rows

__all__ = ("RowFormat", "Rows", "encode", "fetch", "slice_rows")

RowFormat = Literal["objects", "arrays"]

_SLICE_BYTES = 128 * 1024 * 1024
_SLICE_ROWS = 500


@dataclass(slots=True)
class Rows:
    """The answer of a query.

    `rows` holds dicts by column name ("objects"; of two columns with one name the later wins), or lists in the
    order of `columns` ("arrays"). On the wire it is JSON text already. `truncated` tells that there were more;
    `limit` is then the name of the limit that cut, `limit` (the caller's own) among them.
    """

    columns: list[str]
    rows: Any
    row_count: int
    truncated: bool
    duration_ms: float
    limit: str | None = None


def fetch(
    cursor: sqlite3.Cursor,
    *,
    max_rows: int,
    row_limit_name: str,
    max_bytes: int,
    max_cell: int,
    row_format: RowFormat,
    wire: bool,
) -> Rows:
    """Read a cursor to its end or to a limit. `duration_ms` is left 0 for the caller.

    Raises:
        sqlite3.Error: what SQLite finds while it steps.
    """
    description = cursor.description
    columns = [d[0] for d in description] if description else []
    objects = row_format == "objects"
    step = slice_rows(len(columns), max_cell)
    parts: list[bytes] = []
    out: list[Any] = []
    count = size = 0
    limit: str | None = None
    while True:
        wanted = min(step, max_rows - count + 1)
        slice_ = cursor.fetchmany(wanted)
        if not slice_:
            break
        last = len(slice_) < wanted
        if count + len(slice_) > max_rows:
            slice_ = slice_[: max_rows - count]
            limit = row_limit_name
        shaped: list[Any] = (
            [dict(zip(columns, row)) for row in slice_]  # noqa: B905 - as long as each other, and on the hot path
            if objects
            else slice_
            if wire
            else [list(row) for row in slice_]
        )
        text = encode(shaped)
        if size + len(text) > max_bytes:
            shaped, text = _fit(shaped, max_bytes - size)
            limit = "max_result_bytes"
        size += len(text)
        count += len(shaped)
        if wire:
            if shaped:
                parts.append(text[1:-1])
        else:
            out.extend(shaped)
        if last or limit is not None:
            break
    rows = orjson.Fragment(b"[" + b",".join(parts) + b"]") if wire else out
    return Rows(columns, rows, count, limit is not None, 0.0, limit)


def slice_rows(columns: int, max_cell: int) -> int:
    """Return how many rows may be fetched at once without knowing what is in them."""
    return max(1, min(_SLICE_ROWS, _SLICE_BYTES // (max_cell * max(1, columns))))


def _fit(rows: list[Any], room: int) -> tuple[list[Any], bytes]:
    """Return as many leading rows as their JSON fits into `room` bytes, and that JSON."""
    used, keep = 2, 0
    for row in rows:
        used += len(encode(row)) + 1
        if used > room:
            break
        keep += 1
    return rows[:keep], encode(rows[:keep])


def encode(value: Any) -> bytes:
    """Return a row, or a list of rows, as JSON, with infinities tagged."""
    text = dumps_rows(value)
    # orjson writes an infinity as null. Only text with a null in it can hide one.
    if b"null" in text and (tagged := _tag_infinities(value)) is not None:
        return dumps_rows(tagged)
    return text


def _tag_infinities(value: Any) -> Any | None:
    """Return the rows with infinities tagged, or None when there are none."""
    found = False

    def cell(item: Any) -> Any:
        nonlocal found
        if type(item) is float and math.isinf(item):
            found = True
            return {FLOAT_TAG: "Infinity" if item > 0 else "-Infinity"}
        return item

    def row(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: cell(v) for key, v in item.items()}
        return [cell(v) for v in item]

    is_row = isinstance(value, (dict, tuple)) or not (value and isinstance(value[0], (dict, list, tuple)))
    tagged = row(value) if is_row else [row(item) for item in value]
    return tagged if found else None
