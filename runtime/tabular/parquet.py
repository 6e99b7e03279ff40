"""Parquet files, read through DuckDB in the worker: a reader of files only, never of anything else.

DuckDB may open this one file and nothing else, loads no extension, and holds to a bound of memory; what it gives
are typed values, which pass the same way as those of a workbook.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.tabular.columns import unique_names
from runtime.tabular.fill import Slice, fill
from runtime.tabular.request import Found, Request
from runtime.tabular.staging import MAX_COLUMNS, Staging, too_wide
from runtime.tabular.values import ValueColumn

__all__ = ("locked_duckdb", "read_parquet")

_CELLS = 16_000


def locked_duckdb(*files: Path, memory: str = "512MB", threads: int = 1) -> Any:
    """Return an in-memory DuckDB that may touch the given files only, and whose settings cannot be changed."""
    import duckdb

    raw = duckdb.connect(
        ":memory:", config={"threads": threads, "memory_limit": memory, "temp_directory": ""}
    )
    paths = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    raw.execute("SET autoinstall_known_extensions=false")
    raw.execute("SET autoload_known_extensions=false")
    raw.execute("SET preserve_insertion_order=true")
    raw.execute("SET TimeZone='UTC'")
    raw.execute(f"SET allowed_paths=[{paths}]")
    raw.execute("SET enable_external_access=false")
    raw.execute("SET lock_configuration=true")
    return raw


def read_parquet(request: Request) -> Found:
    """Read a Parquet file."""
    import duckdb

    try:
        raw = locked_duckdb(request.path)
        try:
            return _read(request, raw)
        finally:
            raw.close()
    except duckdb.Error as error:
        first = str(error).splitlines()[0].replace(str(request.path), "the file")
        raise InputError(
            f"The Parquet file cannot be read: {first[:200]}.", hint="Write it again, and send that."
        ) from None


def _read(request: Request, raw: Any) -> Found:
    path = str(request.path)
    described = raw.execute("SELECT * FROM read_parquet(?) LIMIT 0", [path]).description
    _, left, _, right = request.options.region()
    places = range(len(described))[left - 1 : right]
    if len(places) > MAX_COLUMNS:
        raise too_wide(len(places))
    names = unique_names([described[place][0] for place in places])
    (total,) = raw.execute("SELECT count(*) FROM read_parquet(?)", [path]).fetchone()
    ended = False

    def slices() -> Iterator[Slice]:
        nonlocal ended
        ended = False
        top, _, last, _ = request.options.region()
        count = "NULL" if last is None else str(max(0, last - top + 1))
        cursor = raw.execute(f"SELECT * FROM read_parquet(?) LIMIT {count} OFFSET {top - 1}", [path])
        step = max(20, min(2_000, _CELLS // max(1, len(described))))
        seen = 0
        while rows := cursor.fetchmany(step):
            if len(places) != len(described):
                rows = [row[places.start : places.stop] for row in rows]
            first = top + seen
            yield Slice(rows, lambda first=first, n=len(rows): range(first, first + n))  # type: ignore[misc]
            seen += len(rows)
            if request.most is not None and seen >= request.most:
                return
        ended = True

    with Staging(request.staging, len(names)) as staging:
        columns, warnings = fill(
            names,
            lambda name, place, kind: ValueColumn(name, place, request.options, kind),
            slices,
            staging,
            lambda rows: request.progress(rows, rows, int(total)),
        )
        found = Found.of(request, staging, columns, warnings, ended)
    if request.staging is not None:
        with request.path.open("rb") as file:
            found.facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
