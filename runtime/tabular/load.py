"""Reading a file, as the tasks of a worker: `load` fills a staging file, `preview` looks at the first rows."""

from __future__ import annotations

import base64
import gc
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.tabular.decode import MARKS, empty_file
from runtime.tabular.options import FileFormat, ParseOptions
from runtime.tabular.request import Found, Request
from runtime.values import BYTES_TAG
from runtime.workers.task import Report, task

__all__ = ("load", "preview", "recognise")

_REPORT_S = 0.2
_PREVIEW_ROWS = 10_000
_READERS: dict[FileFormat, str] = {
    "csv": "runtime.tabular.text:read_delimited",
    "excel": "runtime.tabular.sheets:read_sheet",
    "ndjson": "runtime.tabular.records:read_ndjson",
    "json": "runtime.tabular.records:read_json",
    "parquet": "runtime.tabular.parquet:read_parquet",
}
_MARKUP = (b"<!doctype html", b"<html", b"<table", b"<?xml")
_DATA_ENDS = (".csv", ".tsv", ".txt", ".json", ".ndjson", ".jsonl", ".parquet", ".xlsx", ".xls", ".ods")
_ZIPPED = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def recognise(path: Path) -> FileFormat:
    """Return the format of a file from its first bytes.

    Raises:
        InputError: it is empty, or of a kind that is not a table.
    """
    with path.open("rb") as file:
        head = file.read(4_096)
    if not head:
        raise empty_file()
    if head.startswith(_ZIPPED):
        _refuse_archive(head)
        return "excel"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SQLite format 3\0"):
        raise InputError(
            "The file is an SQLite database, not a table.",
            hint="Register it as a source, or import it into a session.",
        )
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise InputError("The file is compressed.", hint="Unpack it and send what is inside.")
    if head.startswith((b"%PDF-", b"{\\rtf")):
        raise InputError(
            "The file is a document (PDF or RTF), not a table.",
            hint="Copy its table into a spreadsheet program, save it as XLSX or CSV, and send that.",
        )
    text = _plain_text(head).lstrip()
    if text[:16].lower().startswith(_MARKUP):
        raise InputError(
            "The file is HTML or XML, not a table, whatever its name says.",
            hint="Open it in a spreadsheet program, save it as XLSX or CSV, and send that.",
        )
    if text.startswith(b"{") and (b'":' in text or b'" :' in text or text.startswith(b"{}")):
        return "ndjson"
    return _lists(text) if text.startswith(b"[") else "csv"


def _plain_text(head: bytes) -> bytes:
    """Return the first bytes of a text as UTF-8 without a mark, if they have one."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return head.decode(name, "ignore").lstrip("\ufeff").encode()
    return head


def _lists(text: bytes) -> FileFormat:
    """Return what a text is that begins with a bracket: an array, a list a line, or something that is not JSON."""
    if text[1:].lstrip()[:1] in (b"{", b"[", b"]") or text[1:].lstrip(b" \t")[:1] in (b"\r", b"\n"):
        return "json"
    first, _, rest = text.partition(b"\n")
    try:
        json.loads(first)
    except ValueError:
        return "csv"
    return "ndjson" if rest.lstrip().startswith(b"[") else "json"


def _refuse_archive(head: bytes) -> None:
    """Refuse a ZIP archive of data files: a workbook is one too, and begins with a part of its own."""
    if head.startswith(b"PK\x03\x04"):
        length = int.from_bytes(head[26:28], "little")
        name = head[30 : 30 + length].decode("utf-8", "replace")
        if name.lower().endswith(_DATA_ENDS):
            raise InputError(
                f"The file is a ZIP archive that holds {name!r:.80}.",
                hint="Unpack it and send what is inside.",
            )


@task
def load(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Read the file `path` with `options` into the staging file `staging` and return what was found."""
    path = Path(args["path"])
    told = 0.0

    def progress(rows: int, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_S:
            told = now
            report({"phase": "parsing", "rows": rows, "done": done, "total": total})

    options = ParseOptions.model_validate(args["options"])
    kind, found = _read(
        Request(path, options, Path(args["staging"]), progress, most_bytes=args.get("most_bytes"))
    )
    return {
        **_plain(kind, path, found),
        "rows": found.rows,
        "rejected": found.rejected,
        "stored_bytes": found.stored_bytes,
    }


@task
def preview(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Look at the first rows of the file `path` and return `rows` of them, with what a load would find in them."""
    path, options = Path(args["path"]), ParseOptions.model_validate(args["options"])
    head = int(args["rows"])
    kind, found = _read(Request(path, options, None, lambda *_: None, max(_PREVIEW_ROWS, head), head))
    rows = [[_plain_cell(cell) for cell in row] for row in found.head]
    return {**_plain(kind, path, found), "rows": rows, "complete": found.complete}


def _read(request: Request) -> tuple[FileFormat, Found]:
    try:
        kind = recognise(request.path) if request.options.format is None else request.options.format
        module, _, name = _READERS[kind].partition(":")
        read: Callable[[Request], Found] = getattr(import_module(module), name)
        gc.disable()  # cells make no cycles, and looking for them takes half as long again
        return kind, read(request)
    except FileNotFoundError:
        raise InputError("The file is gone.", hint="Send it again.") from None
    finally:
        gc.enable()


def _plain_cell(cell: Any) -> Any:
    return {BYTES_TAG: base64.b64encode(cell).decode()} if isinstance(cell, bytes) else cell


def _plain(kind: FileFormat, path: Path, found: Found) -> dict[str, Any]:
    return {
        "format": kind,
        "columns": [asdict(column) for column in found.columns],
        "rejects": found.rejects,
        "warnings": found.warnings,
        "bytes": path.stat().st_size,
        **found.facts,
    }
