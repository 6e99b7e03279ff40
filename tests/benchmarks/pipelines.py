"""Figures of pipelines: ten steps over a table, beside plain rows in Python and beside DuckDB, and previews.

`rows` does the same with one list for each step: rows read from SQLite, changed, written to SQLite. `duckdb` runs
the same steps as one query from Parquet into a table of its own file. Both start from the same rows.
"""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from runtime.tabular.reading import load

from .bench import Bench
from .figures import Figure, Goal
from .tables import _fresh, _mixed, _Service, _service, _timed

__all__ = ("pipelines", "previews")

_STEPS: list[dict[str, Any]] = [
    {"operation": "trim", "columns": ["name"]},
    {"operation": "uppercase", "columns": ["name"]},
    {"operation": "lowercase", "columns": ["email"]},
    {"operation": "cast_column", "column": "code", "targetType": "integer", "onError": "null"},
    {"operation": "fill_down", "columns": ["qty"]},
    {"operation": "filter", "column": "amount", "operator": "greater_than", "value": 500},
    {"operation": "split_column", "column": "name", "delimiter": " ", "newColumns": ["first", "last"]},
    {"operation": "merge_columns", "columns": ["last", "first"], "newColumn": "full", "separator": ", "},
    {"operation": "deduplicate", "columns": ["email", "city", "full", "day"]},
    {"operation": "sort", "columns": [{"name": "amount", "direction": "desc"}]},
    {"operation": "remove_column", "columns": ["note"]},
]
_QUERY = """
CREATE TABLE out AS
WITH a AS (SELECT row_id, id, upper(trim(name)) AS name, lower(email) AS email, TRY_CAST(code AS BIGINT) AS code, city,
    amount, last_value(qty IGNORE NULLS) OVER (ORDER BY row_id ROWS UNBOUNDED PRECEDING) AS qty, active, day
    FROM read_parquet(?)),
b AS (SELECT * EXCLUDE name, concat_ws(', ', nullif(trim(string_split(name, ' ')[2]), ''),
    nullif(trim(string_split(name, ' ')[1]), '')) AS full FROM a WHERE amount > 500),
c AS (SELECT * FROM b QUALIFY row_number() OVER (PARTITION BY email, city, "full", day ORDER BY row_id) = 1)
SELECT * EXCLUDE row_id FROM c ORDER BY amount DESC NULLS LAST, row_id
"""


def _rows(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as raw:
        rows = [list(r) for r in raw.execute("SELECT * FROM d ORDER BY row_id")]
    rows = [[*r[:3], r[3].strip(), *r[4:]] for r in rows]
    rows = [[*r[:3], r[3].upper(), *r[4:]] for r in rows]
    rows = [[*r[:4], r[4].lower(), *r[5:]] for r in rows]
    rows = [[*r[:2], int(r[2]) if r[2].isdigit() else None, *r[3:]] for r in rows]
    last = None
    for r in rows:
        last = r[7] = last if r[7] is None else r[7]
    rows = [r for r in rows if r[6] is not None and r[6] > 500]
    rows = [[*r[:3], *(([*r[3].split(" ", 1), ""])[:2]), *r[4:]] for r in rows]
    rows = [[*r[:3], ", ".join(x for x in (r[4], r[3]) if x), *r[5:]] for r in rows]
    first: dict[tuple[Any, ...], list[Any]] = {}
    for r in rows:
        first.setdefault((r[4], r[5], r[3], r[9]), r)
    rows = sorted(first.values(), key=lambda r: -r[6])
    with closing(_fresh(target, 9)) as raw:
        raw.execute("BEGIN")
        marks = ", ".join("?" * 9)
        raw.executemany(
            f"INSERT INTO d ({', '.join(f'c{i}' for i in range(9))}) VALUES ({marks})",
            [r[1:10] for r in rows],
        )
        raw.execute("COMMIT")


def _duck(parquet: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with closing(duckdb.connect(str(target), config={"threads": 2})) as db:
        db.execute(_QUERY, [str(parquet)])


def _stored(service: _Service, bench: Bench, rows: int) -> tuple[Path, dict[str, Any], Path]:
    staging = bench.folder / f"pipeline-{rows}.sqlite"
    loaded = service.run(
        load(service.workers, _mixed(bench.folder / f"mixed-{rows}.csv", rows), None, staging)
    )
    source = {
        "file": str(staging.absolute()),
        "name": "d",
        "columns": [c.plain() for c in loaded.columns],
        "version": "1",
    }
    parquet = bench.folder / f"pipeline-{rows}.parquet"
    names = ", ".join(f"c{i} AS {c.name}" for i, c in enumerate(loaded.columns))
    with closing(sqlite3.connect(staging)) as raw, closing(duckdb.connect()) as db:
        kinds = {"integer": "BIGINT", "real": "DOUBLE", "boolean": "BIGINT"}
        listed = ", ".join(f"c{i} {kinds.get(c.kind, 'VARCHAR')}" for i, c in enumerate(loaded.columns))
        db.execute(f"CREATE TABLE t (row_id BIGINT, {listed})")
        text = bench.folder / "pipeline.tsv"
        cells = raw.execute("SELECT * FROM d ORDER BY row_id")
        _write_csv(text, cells)
        db.execute(f"COPY t FROM '{text}' (FORMAT csv, HEADER false, NULLSTR '\\N')")
        db.execute(f"COPY (SELECT row_id, {names} FROM t) TO '{parquet}' (FORMAT parquet)")
        text.unlink()
    return staging, source, parquet


def _write_csv(path: Path, rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["\\N" if c is None else c for c in row] for row in rows])


def pipelines(bench: Bench) -> Iterator[Figure]:
    """Ten steps over ten mixed columns, into a staging file with the statistics of its columns."""
    for rows in (100_000,) if bench.quick else (100_000, 1_000_000):
        with _service(bench) as service:
            staging, source, parquet = _stored(service, bench, rows)
            args = {
                "source": source,
                "steps": _STEPS,
                "staging": str((bench.folder / "made.sqlite").absolute()),
            }

            def ours(service: _Service = service, args: dict[str, Any] = args) -> None:
                service.run(service.workers.run("actors.project.pipeline.execute:execute", args))

            ours()
            memory = service.memory()
            pairs = bench.in_turn(
                {
                    "ours": partial(_timed, ours),
                    "rows": partial(_timed, partial(_rows, staging, bench.folder / "rows.sqlite")),
                    "duckdb": partial(_timed, partial(_duck, parquet, bench.folder / "out.duckdb")),
                }
            )
            most, over = (0.5, 1.0) if rows == 100_000 else (4.0, 0.5)
            goals = (
                Goal(most, at_least=False),
                Goal(over, "rows", at_least=False),
                Goal(3, "duckdb", at_least=False),
            )
            yield pairs.figure("ten steps", f"{rows:,} rows of 10 columns", "s", goals)
            yield Figure(
                "memory of ten steps", f"{rows:,} rows", "MB", memory, goals=(Goal(100, at_least=False),)
            )


def previews(bench: Bench) -> Iterator[Figure]:
    """The first hundred rows: after steps that stream, after one that does not, and from what was kept of that."""
    rows = 100_000 if bench.quick else 1_000_000
    with _service(bench) as service:
        _, source, _ = _stored(service, bench, rows)
        cache = bench.folder / "stages"

        def look(upto: int) -> None:
            args = {"source": source, "steps": _STEPS, "up_to": upto, "cache": str(cache.absolute())}
            service.run(service.workers.run("actors.project.pipeline.execute:preview", args, lane="read"))

        look(1)

        def first() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            look(9)

        pairs = bench.in_turn(
            {
                "ours": partial(_timed, partial(look, 8)),
                "blocking": partial(_timed, first),
                "kept": partial(_timed, partial(look, 9)),
            }
        )
        case = f"{rows:,} rows"
        yield pairs.figure("preview of steps that stream", case, "s", (Goal(0.005, at_least=False),))
        yield pairs.figure("preview after repeated rows went", case, "s", (), ours="blocking")
        yield pairs.figure(
            "the same from what was kept", case, "s", (Goal(0.005, at_least=False),), ours="kept"
        )
