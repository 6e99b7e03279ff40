"""Rows leave as JSON unless the caller asks otherwise, by `?format=` or by `Accept`: CSV or NDJSON."""

from __future__ import annotations

from runtime.errors import InputError
from runtime.storage.delimited import csv_lines, ndjson_lines
from runtime.storage.rows import Rows

__all__ = ("MEDIA", "choose_format", "render_rows")

MEDIA = {
    "json": b"application/json",
    "csv": b"text/csv; charset=utf-8",
    "ndjson": b"application/x-ndjson",
}
_ACCEPTED = {
    "*/*": "json",
    "application/*": "json",
    "application/json": "json",
    "text/csv": "csv",
    "text/*": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
}


def choose_format(asked: object, accept: bytes | None) -> str:
    """Return `json`, `csv` or `ndjson`. What Accept names and nobody knows is passed over; the last resort is JSON.

    Raises:
        InputError: `?format=` names another.
    """
    if asked is not None:
        if asked not in MEDIA:
            raise InputError(
                f"There is no format {str(asked)!r:.60}.", hint="Formats: " + ", ".join(MEDIA) + "."
            )
        return str(asked)
    best, weight = "json", 0.0
    for part in (accept or b"").decode("latin-1").lower().split(",")[:50]:
        kind, *options = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    quality = float(option[2:])
                except ValueError:
                    quality = 0.0
        if kind in _ACCEPTED and quality > weight:
            best, weight = _ACCEPTED[kind], quality
    return best


def render_rows(rows: Rows, name: str) -> bytes:
    """Return rows (fetched as arrays) as CSV with a header line, or as one JSON object a line."""
    if name == "csv":
        return csv_lines(rows.columns, rows.rows, True)
    return ndjson_lines(rows.columns, rows.rows, True)
