"""What was read from a file becomes Parquet, in a worker process: the tasks of an import.

A file is read by runtime/tabular, whose types lose nothing, into a staging file; from there each column goes to the
type of DuckDB that holds all its cells. A file that is Parquet already is looked at, and taken as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Any

from actors.sources.duck import Table, open_engine, quoted
from actors.sources.parquet import write_parquet
from actors.sources.statement import load_duckdb, without_paths
from runtime.errors import InputError
from runtime.tabular.columns import Column
from runtime.workers.task import Report, task

__all__ = ("convert", "examine", "unique")


@task
def convert(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write the table of a staging file as Parquet and return its rows and columns.

    Args: staging, columns (as a load returned them), target, memory_bytes.
    """
    columns = [Column.from_plain(column) for column in args["columns"]]
    if not columns:
        raise InputError(
            "The file holds no columns.", hint="Check where the table begins (start_row, sheet)."
        )
    with closing(sqlite3.connect(f"file:{args['staging']}?mode=ro&immutable=1", uri=True)) as raw:
        named = [
            dataclass_replace(column, name=name)
            for column, name in zip(columns, unique([column.name for column in columns]), strict=True)
        ]
        listed = ", ".join(column.physical for column in columns)
        cursor = raw.execute(f"SELECT {listed} FROM d ORDER BY row_id")
        written = write_parquet(
            cursor, named, Path(args["target"]), report, memory_bytes=args["memory_bytes"]
        )
    return written.plain()


def unique(names: Sequence[str]) -> list[str]:
    """Return names that differ also without regard to case, as a table's columns must; blank ones are numbered."""
    taken: set[str] = set()
    found = []
    for number, name in enumerate(names, 1):
        base = name.strip() or f"column_{number}"
        made, count = base, 2
        while made.casefold() in taken:
            made, count = f"{base}_{count}", count + 1
        taken.add(made.casefold())
        found.append(made)
    return found


@task
def examine(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Read a Parquet file from end to end and return its rows and columns.

    Args: path, memory_bytes, threads, temp, seconds.
    """
    module = load_duckdb()
    report({"phase": "parsing", "rows": 0})
    with open_engine(
        memory_bytes=args["memory_bytes"],
        threads=args["threads"],
        temp=args["temp"],
        temp_bytes=0,
        seconds=args["seconds"],
    ) as engine:
        try:
            engine.grant([Table("", "t", args["path"])])
            described = engine.connection.execute("DESCRIBE t").fetchall()
            # Every page is decoded once here, so that a damaged file is no source.
            sums = ", ".join(f"count({quoted(str(row[0]))})" for row in described)
            count = engine.connection.execute(f"SELECT count(*), {sums} FROM t").fetchone() or (0,)
        except module.Error as error:
            raise InputError(
                f"The file cannot be read as Parquet: {without_paths(error)}.",
                hint="Send the file as it was written; export it anew if it is damaged.",
            ) from None
    return {
        "rows": int(count[0]),
        "columns": [[str(row[0]), str(row[1])] for row in described],
        "size": Path(args["path"]).stat().st_size,
    }
