"""A query over sources, in a worker process: find which tables the statement names, open those, run it.

A table is called by its name in the source that is asked, and as `source.table` in any other; a source of one table
also by the source's own name (and as `data` when it is the one asked). Tables of SQLite sources that are joined here
are written to Parquet first, once for each state of their file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.sources.duck import Engine, Table, open_engine
from actors.sources.functions import VOLATILE
from actors.sources.lite import answer, open_file
from actors.sources.parquet import column_kinds, write_parquet
from actors.sources.statement import Parsed
from runtime.errors import SqlError
from runtime.guard import internal
from runtime.limits import Limits
from runtime.storage.rows import RowFormat, Rows, fetch
from runtime.storage.transaction import quote
from runtime.workers.task import Report, task

__all__ = ("ask", "granted", "resolve")

_CELL = 256 * 1024
_SHOWN = 20
# Words without brackets that name the moment, or a choice by chance.
_MOMENT = re.compile(
    r"\b(?:current_\w+|localtime|localtimestamp|now|today|tomorrow|yesterday|sample|tablesample)\b",
    re.IGNORECASE,
)


@task
def ask(args: dict[str, Any], report: Report) -> bytes:
    """Run one statement of DuckDB's SQL over sources and return the answer as JSON.

    Args: sources (name → {main, tables: {name: file, or {path, private, to}}}), sql, params, limit, row_format,
    limits, seconds, memory_bytes, threads, temp, temp_bytes.
    """
    limits = Limits.model_validate(args["limits"])
    with granted(args, limits) as (engine, parsed):
        rows, fields = _rows(engine, args, limits)
    return answer(rows, fields=fields, lasting=_lasts(parsed, args["sql"]))


@contextmanager
def granted(args: Mapping[str, Any], limits: Limits) -> Iterator[tuple[Engine, Parsed]]:
    """Open an engine that may read the tables which the statement names, and nothing else; args as `ask` takes them."""
    with open_engine(
        memory_bytes=args["memory_bytes"],
        threads=args["threads"],
        temp=args["temp"],
        temp_bytes=args["temp_bytes"],
        seconds=args["seconds"],
    ) as engine:
        parsed = engine.parse(args["sql"], limits.max_sql_bytes)
        engine.grant(resolve(parsed, args["sources"], limits, args))
        yield engine, parsed


def _lasts(parsed: Parsed, sql: str) -> bool:
    """Tell whether a statement gives the same answer until a file changes; in doubt it does not."""
    return parsed.functions.isdisjoint(VOLATILE) and _MOMENT.search(sql) is None


def _rows(engine: Engine, args: dict[str, Any], limits: Limits) -> tuple[Rows, list[dict[str, str]]]:
    row_format: RowFormat = args["row_format"]
    limit = args["limit"]
    own = limit is not None and limit < limits.max_rows
    cursor = engine.run(args["sql"], args["params"])
    rows = fetch(
        cursor,  # type: ignore[arg-type]  # it gives what `fetch` asks of a cursor
        max_rows=limit if own else limits.max_rows,
        row_limit_name="limit" if own else "max_rows",
        max_bytes=limits.max_result_bytes,
        max_cell=_CELL,
        row_format=row_format,
        wire=True,
    )
    fields = [{"name": name, "type": kind} for name, kind in zip(rows.columns, cursor.types, strict=True)]
    return rows, fields


def resolve(
    parsed: Parsed, sources: Mapping[str, Any], limits: Limits, args: Mapping[str, Any]
) -> list[Table]:
    """Return the tables that a statement names, each with its file.

    Raises:
        SqlError: there is no such table; the hint lists those there are.
    """
    by_name = {name.casefold(): source for name, source in sources.items()}
    main = next((source for source in by_name.values() if source["main"]), None)
    found = []
    for schema, name in sorted(parsed.tables):
        place = _find(schema, name, by_name, main)
        if place is None:
            shown = f"{schema}.{name}" if schema else name
            raise SqlError(
                f"There is no table {shown!r:.200} in the sources.",
                hint=_tables_hint(sources),
                dialect="duckdb",
            )
        file = place if isinstance(place, str) else _exported(place, limits, args)
        found.append(Table(schema, name, file))
    return found


def _find(schema: str, name: str, sources: Mapping[str, Any], main: Any) -> Any:
    def table_of(source: Any, wanted: str) -> Any:
        return next((t for n, t in source["tables"].items() if n.casefold() == wanted), None)

    if schema:
        source = sources.get(schema)
        return None if source is None else table_of(source, name) or _only(source, name == "data")
    if main is not None and (found := table_of(main, name) or _only(main, name == "data")) is not None:
        return found
    return None if (other := sources.get(name)) is None else _only(other, True)


def _only(source: Any, wanted: bool) -> Any:
    tables = source["tables"]
    return next(iter(tables.values())) if wanted and len(tables) == 1 else None


def _tables_hint(sources: Mapping[str, Any]) -> str:
    names = []
    for name, source in sources.items():
        for table in source["tables"]:
            names.append(table if source["main"] else f"{quote(name)}.{quote(table)}")
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"Tables: {shown}." if names else "List the sources to see what there is."


def _exported(place: Mapping[str, Any], limits: Limits, args: Mapping[str, Any]) -> str:
    """Return the Parquet file of a table of an SQLite source, written if it is not there."""
    target = Path(place["to"])
    if target.exists():
        target.touch()  # in use: not to be cleared away
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_file(place["path"], private=place["private"], limits=limits, seconds=args["seconds"]) as tx:
        connection = tx.connection
        names = [
            str(row[0])
            for row in connection.execute(
                internal("SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1"), (place["table"],)
            )
        ]
        table = f"main.{quote(place['table'])}"
        listed = ", ".join(map(quote, names))
        guard = tx.guard
        assert guard is not None
        # A view of the file may hold anything: it is read under the guard, like a statement of its owner.
        verdict = guard.check(f"SELECT {listed} FROM {table}")
        guard.enter()
        try:
            columns = column_kinds(connection, table, names)
            cursor = connection.execute(verdict.sql)
            write_parquet(cursor, columns, target, lambda _: None, memory_bytes=args["memory_bytes"])
        finally:
            guard.leave()
    return str(target)
