"""Rows as text: CSV (RFC 4180) and NDJSON, in slices of bytes."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from typing import Any

from runtime.storage.rows import encode

__all__ = ("csv_lines", "ndjson_lines")


def csv_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]], first: bool) -> bytes:
    """Return rows as CSV lines, the first slice with a header line. NULL is empty, bytes are base64."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if first:
        writer.writerow(columns)
    writer.writerows(
        [base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell for cell in row] for row in rows
    )
    return out.getvalue().encode()


def ndjson_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]], first: bool) -> bytes:
    """Return rows as one JSON object a line."""
    return b"".join(encode(dict(zip(columns, row, strict=False))) + b"\n" for row in rows)
