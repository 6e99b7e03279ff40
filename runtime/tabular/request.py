"""What a reader of files is asked for, and what it found: the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.tabular.columns import Column
from runtime.tabular.options import ParseOptions
from runtime.tabular.staging import Staging

__all__ = ("Found", "Request")

_REJECTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read. `staging` is None for a preview, which looks at about `most` rows and shows `head` of them.

    `most_bytes` bounds the staging file. `progress(rows, done, total)` takes note of how far it is; done and total in bytes or in rows.
    """

    path: Path
    options: ParseOptions
    staging: Path | None
    progress: Callable[[int, int, int], None]
    most: int | None = None
    head: int = 0
    most_bytes: int | None = None

    def open(self, width: int = 0) -> Staging:
        """Begin the staging file, in memory for a preview."""
        return Staging(self.staging, width, most=self.most_bytes)


def _hint(reason: str) -> str:
    """Return what to do about rows none of which fits, of which the first did not for a reason."""
    if "JSON" in reason or "object" in reason:
        return "Send one object a line, or an array of objects; or give the format of the file."
    told = "Give the delimiter, the quote, the types, or where the table begins (start_row)"
    return f"{told}; ragged='pad' fills short rows with NULL." if "cells where" in reason else f"{told}."


@dataclass(slots=True)
class Found:
    """What came of reading a file."""

    columns: list[Column]
    rows: int
    rejected: int
    rejects: list[dict[str, Any]]
    warnings: list[str]
    stored_bytes: int
    head: list[list[Any]]
    complete: bool
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, request: Request, staging: Staging, columns: list[Column], warnings: Sequence[str], ended: bool
    ) -> Found:
        """Take what a filled staging file holds, and finish it.

        Raises:
            InputError: all rows of the file were kept aside.
        """
        if staging.rejected and not staging.rows and request.staging is not None:
            line, reason = staging.execute("SELECT line, reason FROM rejects ORDER BY rowid LIMIT 1")[0]
            raise InputError(
                f"None of the {staging.rejected:,} rows can be read as a row of the table; line {line}: {reason.rstrip('.')}.",
                hint=_hint(reason),
            )
        told = list(warnings)
        names = {column.name for column in columns}
        told += [
            f"There is no column {name!r:.80} to give a type."
            for name in request.options.types
            if name not in names
        ]
        if staging.rejected:
            told.append(f"{staging.rejected:,} rows did not fit and were kept aside.")
        shown = staging.execute(
            "SELECT line, reason, text FROM rejects ORDER BY rowid LIMIT ?", (_REJECTS_SHOWN,)
        )
        head = (
            staging.execute("SELECT * FROM d ORDER BY row_id LIMIT ?", (request.head,))
            if request.head
            else []
        )
        return cls(
            columns,
            staging.rows,
            staging.rejected,
            [{"line": line, "reason": reason, "text": text} for line, reason, text in shown],
            told,
            staging.finish(),
            [list(row[1:]) for row in head],
            ended and staging.rows <= request.head,
        )
