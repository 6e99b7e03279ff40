"""Writing a table as a file, as a task of a worker: CSV, NDJSON, Parquet, XLSX.

The worker reads the live file of an actor (opened shared) or a staging file, read only, and writes as it reads, so
that memory is bounded and the reader of a text file can follow while it grows. Numbers are written with the
decimals they came with (48.30), booleans as they were spelled, NULL as an empty cell.
"""

from __future__ import annotations

import base64
import csv
import io
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from runtime.errors import Unavailable
from runtime.tabular.columns import Column
from runtime.workers.task import Report, task

__all__ = ("MEDIA_TYPES", "WriteFormat", "WriteOptions", "open_to_read", "write")

WriteFormat = Literal["csv", "ndjson", "parquet", "xlsx"]
MEDIA_TYPES: dict[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_CELLS = 50_000
_FIRST_ROWS = 200
_REPORT_S = 0.1
_RISKY = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_WORDS = {
    None: ("false", "true"),
    "lower": ("false", "true"),
    "title": ("False", "True"),
    "upper": ("FALSE", "TRUE"),
}


class WriteOptions(BaseModel):
    """How a file is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    formula_safe: bool = Field(
        False,
        description="Put ' before texts that a spreadsheet would run as a formula; this changes the data.",
    )
    bom: bool = Field(False, description="Begin a CSV file with a byte order mark, as Excel likes it.")
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="What separates the cells of a CSV file."
    )
    header: bool = Field(True, description="Begin a CSV file with the names of the columns.")
    sheet: str = Field("Data", min_length=1, max_length=25, description="Name of the sheet of an XLSX file.")


def open_to_read(path: Path | str, *, live: bool = True, wait_s: float = 10.0) -> sqlite3.Connection:
    """Open an actor's shared file, or a staging file, in a worker: read only, with a small cache.

    A live file must be held open by its actor meanwhile, in another process than this; a lock on it is waited for
    so long.
    """
    mode = "mode=ro" if live else "mode=ro&immutable=1"
    raw = sqlite3.connect(f"{Path(path).as_uri()}?{mode}", uri=True, isolation_level=None, timeout=wait_s)
    raw.execute("PRAGMA query_only=ON")
    raw.execute("PRAGMA cache_size=-4000")
    return raw


@task
def write(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write what `sql` reads from the SQLite file `file` to `target` and return {rows, bytes}.

    `sql` is a SELECT of our own with one result column for each of `columns` (`Column` as plain data). Reports are
    {phase "writing", rows, bytes}: so many bytes of the file are final.
    """
    columns = [Column.from_plain(column) for column in args["columns"]]
    options = WriteOptions.model_validate(args.get("options") or {})
    target = Path(args["target"])
    told = 0.0

    def progress(rows: int, done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _REPORT_S:
            told = now
            report({"phase": "writing", "rows": rows, "bytes": done})

    with closing(open_to_read(args["file"], live=args.get("live", True))) as raw:
        raw.execute("BEGIN")  # one state of the file, from the first row to the last
        with closing(raw.execute(args["sql"], args.get("parameters") or ())) as cursor:
            slices = _slices(cursor, len(columns))
            kind: WriteFormat = args["format"]
            if kind in ("csv", "ndjson"):
                rows = _write_text(kind, slices, columns, target, options, progress)
            elif kind == "xlsx":
                from runtime.tabular.xlsx import write_xlsx

                rows = write_xlsx(slices, columns, target, options, lambda n: progress(n, 0))
            elif kind == "parquet":
                from runtime.tabular.parquet import write_parquet

                rows = write_parquet(slices, columns, target, lambda n: progress(n, 0))
            else:
                raise Unavailable(
                    f"There is no writer for {kind!r}.", hint="Formats: csv, ndjson, parquet, xlsx."
                )
    return {"rows": rows, "bytes": target.stat().st_size}


def _slices(cursor: sqlite3.Cursor, width: int) -> Iterator[list[tuple[Any, ...]]]:
    # The first is small, so that whoever waits for the file sees its beginning at once.
    step = min(_FIRST_ROWS, max(1, _CELLS // max(1, width)))
    while rows := cursor.fetchmany(step):
        yield rows
        step = max(1, _CELLS // max(1, width))


def _write_text(
    kind: str,
    slices: Iterator[list[tuple[Any, ...]]],
    columns: Sequence[Column],
    target: Path,
    options: WriteOptions,
    progress: Callable[[int, int], None],
) -> int:
    count = done = 0
    make = _csv_slice(columns, options) if kind == "csv" else _ndjson_slice(columns)
    with target.open("wb", buffering=0) as file:
        if kind == "csv":
            head = _csv_text([[_safe(c.name) if options.formula_safe else c.name for c in columns]], options)
            done += file.write((b"\xef\xbb\xbf" if options.bom else b"") + (head if options.header else b""))
        for rows in slices:
            done += file.write(make(rows))
            count += len(rows)
            progress(count, done)
    return count


def _csv_slice(columns: Sequence[Column], options: WriteOptions) -> Callable[[list[tuple[Any, ...]]], bytes]:
    makers = [(place, maker) for place, c in enumerate(columns) if (maker := _maker(c, options)) is not None]

    def make(rows: list[tuple[Any, ...]]) -> bytes:
        if not makers:
            return _csv_text(rows, options)
        cells: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, maker in makers:
            cells[place] = maker(cells[place])
        return _csv_text(zip(*cells, strict=True), options)

    return make


def _csv_text(rows: Any, options: WriteOptions) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=options.delimiter, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _maker(column: Column, options: WriteOptions) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """Return what turns a slice of a column's values into what is written; None where that is the same."""
    if column.kind == "real" and column.scale is not None:
        form = f"%.{column.scale}f"
        return lambda cells: [form % c if type(c) is float else c for c in cells]
    if column.kind == "boolean":
        words = _WORDS[column.spelling]
        return lambda cells: [words[c] if c in (0, 1) else c for c in cells]
    if column.kind == "blob":
        return lambda cells: [base64.b64encode(c).decode() if isinstance(c, bytes) else c for c in cells]
    if options.formula_safe and column.kind in ("text", "empty"):
        return lambda cells: [_safe(c) for c in cells]
    return None


def _safe(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell.startswith(_RISKY) else cell


def _ndjson_slice(columns: Sequence[Column]) -> Callable[[list[tuple[Any, ...]]], bytes]:
    names = [column.name for column in columns]
    truths = [place for place, column in enumerate(columns) if column.kind == "boolean"]
    dumps, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE

    def make(rows: list[tuple[Any, ...]]) -> bytes:
        if truths:
            cells: list[Sequence[Any]] = list(zip(*rows, strict=True))
            for place in truths:
                cells[place] = [bool(c) if c in (0, 1) else c for c in cells[place]]
            rows = list(zip(*cells, strict=True))
        return b"".join([dumps(dict(zip(names, row)), _plain, option) for row in rows])  # noqa: B905 - the hot path

    return make


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
