"""Parquet files, read and written through DuckDB in the worker, which serves as nothing but a codec.

DuckDB may open the files at hand and nothing else, loads no extension, and holds to a bound of memory. What it
reads are typed values, which pass the same way as those of a workbook; what it writes passes as lines of JSON,
whose numbers and texts are exact.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import InputError, LimitExceeded
from runtime.tabular.cells import is_date
from runtime.tabular.columns import Column, unique_names
from runtime.tabular.fill import Slice, fill
from runtime.tabular.request import Found, Request
from runtime.tabular.staging import MAX_COLUMNS, too_wide
from runtime.tabular.values import ValueColumn

__all__ = ("locked_duckdb", "read_parquet", "write_parquet")

_CELLS = 16_000


def locked_duckdb(*files: Path, memory: str = "512MB", threads: int = 1) -> Any:
    """Return an in-memory DuckDB that may touch the given files only, and whose settings cannot be changed."""
    import duckdb

    raw = duckdb.connect(
        ":memory:", config={"threads": threads, "memory_limit": memory, "temp_directory": ""}
    )
    paths = ", ".join(_text(str(file)) for file in files)
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
    with _errors("The Parquet file cannot be read", "Write it again, and send that."):
        raw = locked_duckdb(request.path)
        try:
            return _read(request, raw)
        finally:
            raw.close()


_PATH = re.compile(r"""['"][^'"]*/[^'"]*['"]|/[^'",\s]*""")


@contextmanager
def _errors(what: str, hint: str) -> Iterator[None]:
    """Turn DuckDB's errors into ours, without the paths that they name."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise LimitExceeded(
            f"{what}: its rows are too long, or its columns too many, for the memory there is.",
            hint="Leave out columns with very long values.",
            limit="worker_memory_bytes",
        ) from None
    except duckdb.Error as error:
        first = _PATH.sub("the file", str(error).splitlines()[0])
        raise InputError(f"{what}: {first[:200]}.", hint=hint) from None


_TYPES = {
    "integer": "BIGINT",
    "real": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP",
    "blob": "BLOB",
}
_PLAIN_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:]{5,8}(?:\.[0-9]{1,6})?)?")
_OBJECT = 32 * 1024 * 1024
_GROUP_ROWS = 122_880


def write_parquet(
    slices: Iterator[list[tuple[Any, ...]]],
    columns: Sequence[Column],
    target: Path,
    progress: Callable[[int], None],
    *,
    memory: str = "512MB",
) -> int:
    """Write rows as a Parquet file and return their number.

    A column whose cells are not all of its kind, and moments with a zone or nanoseconds, are written as text.
    """
    lines = target.with_suffix(".lines")
    try:
        count, odd = _write_lines(slices, columns, lines, progress)
        types = [
            "VARCHAR" if place in odd else _TYPES.get(c.kind, "VARCHAR") for place, c in enumerate(columns)
        ]
        _copy(lines, [c.name for c in columns], types, target, count, memory)
    finally:
        lines.unlink(missing_ok=True)
    return count


def _write_lines(
    slices: Iterator[list[tuple[Any, ...]]],
    columns: Sequence[Column],
    lines: Path,
    progress: Callable[[int], None],
) -> tuple[int, set[int]]:
    """Write rows as JSON and return their number, and the places of the columns that have to be text."""
    keys = [f"c{place}" for place in range(len(columns))]
    odd: set[int] = set()
    count = 0
    with lines.open("wb") as file:
        for rows in slices:
            cells: list[Sequence[Any]] = list(zip(*rows, strict=True))
            for place, column in enumerate(columns):
                cells[place] = _cooked(column.kind, cells[place], place, odd)
            objects = map(dict, map(zip, repeat(keys), zip(*cells, strict=True)))
            file.write(b"".join([orjson.dumps(o, option=orjson.OPT_APPEND_NEWLINE) for o in objects]))
            count += len(rows)
            progress(count)
    return count, odd


_NONE = type(None)
_FITTING: dict[str, set[type]] = {
    "integer": {int, _NONE},
    "real": {int, float, _NONE},
    "boolean": {int, _NONE},
    "date": {str, _NONE},
    "datetime": {str, _NONE},
    "text": {str, _NONE},
    "empty": {str, _NONE},
}


def _cooked(kind: str, cells: Sequence[Any], place: int, odd: set[int]) -> Sequence[Any]:
    """Return a slice of a column as JSON takes it; a column that does not keep to its kind is noted as odd."""
    types = set(map(type, cells))
    if kind == "blob" and types <= {bytes, _NONE}:
        return [None if c is None else c.hex() for c in cells]
    fits = types <= _FITTING.get(kind, set())
    if fits and kind == "date":
        fits = is_date(cells)
    if fits and kind == "datetime":
        fits = all(c is None or _PLAIN_MOMENT.fullmatch(c) for c in cells)
    if fits and kind == "boolean":
        return [None if c is None else bool(c) for c in cells]
    if fits:
        return (
            [repr(c) if type(c) is float and math.isinf(c) else c for c in cells] if kind == "real" else cells
        )
    odd.add(place)
    return [c if c is None or type(c) is str else c.hex() if type(c) is bytes else repr(c) for c in cells]


def _copy(lines: Path, names: list[str], types: list[str], target: Path, count: int, memory: str) -> None:
    shape = {f"c{place}": "VARCHAR" if kind == "BLOB" else kind for place, kind in enumerate(types)}
    fields = ", ".join(
        f"{f'unhex(c{place})' if kind == 'BLOB' else f'c{place}'} AS {_quoted(name)}"
        for place, (name, kind) in enumerate(zip(unique_names(names), types, strict=True))
    )
    struct = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in shape.items()) + "}"
    source = f"read_json(?, format='newline_delimited', columns={struct}, maximum_object_size={_OBJECT})"
    if count == 0:
        source = (
            "(SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in shape.items()) + " LIMIT 0)"
        )
    failed = _errors("The table cannot be written as Parquet", "Export it as NDJSON or CSV.")
    with failed, closing(locked_duckdb(lines, target, memory=memory)) as raw:
        raw.execute(
            f"COPY (SELECT {fields} FROM {source}) TO {_text(str(target))}"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_GROUP_ROWS}, USE_TMP_FILE false)",
            [str(lines)] if count else [],
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _read(request: Request, raw: Any) -> Found:
    path = str(request.path)
    described = raw.execute("SELECT * FROM read_parquet(?) LIMIT 0", [path]).description
    _, left, _, right = request.options.region()
    places = range(len(described))[left - 1 : right]
    if not places:
        raise InputError("The file has no such columns.", hint="Check start_column and the range.")
    if len(places) > MAX_COLUMNS:
        raise too_wide(len(places))
    names = unique_names([described[place][0] for place in places])
    types = [str(described[place][1]) for place in places]
    (total,) = raw.execute("SELECT count(*) FROM read_parquet(?)", [path]).fetchone()
    wanted = ", ".join(
        _wanted(raw, path, len(described), place, kind) for place, kind in zip(places, types, strict=True)
    )
    zoned = [place for place, kind in enumerate(types) if kind == _ZONED]
    ended = False

    def slices() -> Iterator[Slice]:
        nonlocal ended
        ended = False
        top, _, last, _ = request.options.region()
        count = "NULL" if last is None else str(max(0, last - top + 1))
        cursor = raw.execute(f"{_source(len(described), wanted)} LIMIT {count} OFFSET {top - 1}", [path])
        step = max(20, min(2_000, _CELLS // max(1, len(names))))
        seen = 0
        while rows := cursor.fetchmany(step):
            first = top + seen
            found = Slice.of(rows, lambda first=first, n=len(rows): range(first, first + n))  # type: ignore[misc]
            for place in zoned:
                found.columns[place] = list(map(_in_utc, found.columns[place]))  # type: ignore[index]
            yield found
            seen += len(rows)
            if request.most is not None and seen >= request.most:
                return
        ended = True

    with request.open(len(names)) as staging:
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


_ZONED = "TIMESTAMP WITH TIME ZONE"


def _source(width: int, wanted: str) -> str:
    """Return a query of a file, whose columns are named by their places: two of a file may have one name."""
    names = ", ".join(f"p{place}" for place in range(width))
    return f"SELECT {wanted} FROM read_parquet(?) AS f({names})"


def _wanted(raw: Any, path: str, width: int, place: int, kind: str) -> str:
    """Return the expression that reads a column without a loss, and without a package that knows of time zones."""
    name = f"p{place}"
    if kind == _ZONED:
        return f"timezone('UTC', {name})"
    if "WITH TIME ZONE" in kind and kind != "TIME WITH TIME ZONE":
        return f"to_json({name})::VARCHAR"
    if kind == "TIMESTAMP_NS":
        # A moment in Python has microseconds: where there are more digits, all of them are kept as text.
        finer = f"count(*) FILTER (epoch_ns({name}) % 1000 <> 0)"
        if raw.execute(_source(width, finer), [path]).fetchone()[0]:
            return f"replace({name}::VARCHAR, ' ', 'T')"
    return name


def _in_utc(moment: Any) -> Any:
    """Return a moment of UTC that says so; one that Python has no date for is a text already."""
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=UTC)
    return moment if moment is None else f"{moment}+00:00"
