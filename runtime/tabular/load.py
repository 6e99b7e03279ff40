"""Reading a file, as the tasks of a worker: `load` fills a staging file, `preview` looks at the first rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import InputError, Unavailable
from runtime.tabular.delimited import Delimited
from runtime.tabular.fill import fill_from_text
from runtime.tabular.options import FileFormat, ParseOptions
from runtime.tabular.staging import Staging
from runtime.workers.task import Report, task

__all__ = ("load", "preview", "recognise")

_REPORT_S = 0.2
_PREVIEW_BYTES = 1 << 20
_PREVIEW_ROWS = 10_000


def recognise(path: Path) -> FileFormat:
    """Return the format of a file from its first bytes."""
    with path.open("rb") as file:
        head = file.read(4_096)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
        return "excel"
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{") and (b'":' in text or b'" :' in text or text.startswith(b"{}")):
        return "ndjson"
    if text.startswith(b"[") and text[1:].lstrip()[:1] in (b"{", b"[", b"]"):
        return "json"
    return "csv"


@task
def load(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Read the file `path` with `options` into the staging file `staging` and return what was found."""
    path, options = Path(args["path"]), ParseOptions.model_validate(args["options"])
    kind = _format(path, options)
    size = path.stat().st_size
    told = 0.0

    def progress(rows: int, done: Callable[[], int]) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_S:
            told = now
            report({"phase": "parsing", "rows": rows, "bytes": done(), "total_bytes": size})

    if kind != "csv":
        raise Unavailable(f"Files of the format {kind} cannot be read yet.")
    table = Delimited(path, options)
    with Staging(Path(args["staging"]), table.width) as staging:
        columns, warnings = fill_from_text(table, staging, lambda rows: progress(rows, table.position))
        if staging.rejected and not staging.rows:
            raise InputError(
                f"None of the {staging.rejected:,} rows can be read as a row of the table.",
                hint="Give the delimiter, the quote and where the table begins (start_row).",
            )
        stored = staging.finish()
        rows, rejected = staging.rows, staging.rejected
        sample = staging.execute("SELECT line, reason, text FROM rejects ORDER BY rowid LIMIT 20")
    if table.encoding.guessed:
        warnings.append(f"The file is not UTF-8; it was read as {table.encoding.name}.")
    if table.encoding.damaged:
        warnings.append("Some rows hold bytes that are not UTF-8; they were kept aside.")
    if rejected:
        warnings.append(f"{rejected:,} rows did not fit and were kept aside.")
    return {
        "format": kind,
        "rows": rows,
        "columns": [column.plain() for column in columns],
        "rejected": rejected,
        "rejects": [{"line": line, "reason": reason, "text": text} for line, reason, text in sample],
        "warnings": [*table.notes, *warnings],
        "dialect": table.dialect.plain(),
        "encoding": table.encoding.name,
        "header": table.header,
        "sheet": None,
        "sheets": [],
        "sha256": table.encoding.sha256,
        "bytes": size,
        "stored_bytes": stored,
    }


@task
def preview(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Look at the first rows of the file `path` and return them with what a load would find in them."""
    path, options = Path(args["path"]), ParseOptions.model_validate(args["options"])
    most = int(args.get("rows", 100))
    kind = _format(path, options)
    if kind != "csv":
        raise Unavailable(f"Files of the format {kind} cannot be read yet.")
    table = Delimited(path, options, most=_PREVIEW_BYTES)
    with Staging(None, table.width) as staging:
        columns, warnings = fill_from_text(table, staging, lambda rows: None, most=_PREVIEW_ROWS)
        rows = staging.execute("SELECT * FROM d ORDER BY row_id LIMIT ?", (most,))
        sample = staging.execute("SELECT line, reason, text FROM rejects ORDER BY rowid LIMIT 20")
        complete = staging.rows <= most and table.ended
    return {
        "format": kind,
        "columns": [column.plain() for column in columns],
        "rows": [row[1:] for row in rows],
        "complete": complete,
        "rejects": [{"line": line, "reason": reason, "text": text} for line, reason, text in sample],
        "warnings": [*table.notes, *warnings],
        "dialect": table.dialect.plain(),
        "encoding": table.encoding.name,
        "header": table.header,
        "bytes": path.stat().st_size,
    }


def _format(path: Path, options: ParseOptions) -> FileFormat:
    try:
        if path.stat().st_size == 0:
            raise InputError(
                "The file is empty.", hint="Send a file with at least a row of names.", reason="empty"
            )
        return options.format or recognise(path)
    except OSError as error:
        raise InputError(f"The file cannot be read: {error.strerror}.", hint="Send it again.") from None
