"""Builders that count rows: by value, twice the same, missing, distinct."""

from __future__ import annotations

from ._query import Columns, Query, Source, Table, compose, name_list, output_names, quote_identifier
from ._where import Order, Where, limit_clause, order_by_outputs, where_clause

__all__ = ("count_by", "distinct_values", "duplicates", "null_analysis")

MAX_COLUMNS = 200
"""Columns in one analysis; the guard allows 200 parts in a compound SELECT and 500 columns in a result."""


def count_by(
    table: Table, by: Columns, *, where: Where = None, order: Order = None, limit: int | None = None
) -> Query:
    """Count the rows for each value of a column, or each combination of several; most frequent first.

    Gives: the columns of `by`, `count`.

    Example: db.query(sql.count_by("orders", "status", where={"country": "DE"}))
    """
    return _counted(Source(table), name_list(by, "by"), "", where, order, limit)


def _counted(
    source: Source, names: list[str], having: str, where: Where, order: Order, limit: int | None
) -> Query:
    """Count the rows for each combination of values, most frequent first."""
    (count,) = output_names(names, ["count"])
    places = ", ".join(str(i + 1) for i in range(len(names)))
    return compose(
        f"SELECT {source.columns(names)}, COUNT(*) AS {quote_identifier(count)} FROM",
        source.text,
        where_clause(source, where),
        f"GROUP BY {places}{having}",
        order_by_outputs(order, [*names, count], f"{len(names) + 1} DESC, {places}"),
        limit_clause(limit),
    )


def distinct_values(
    table: Table, column: str, *, where: Where = None, order: Order = None, limit: int | None = None
) -> Query:
    """List the different values of a column in ascending order; NULL is one of them where it occurs.

    Gives: the column.

    Example: [row["status"] for row in db.query(sql.distinct_values("orders", "status"))]
    """
    source = Source(table)
    return compose(
        f"SELECT DISTINCT {source.columns(column)} FROM",
        source.text,
        where_clause(source, where),
        order_by_outputs(order, [column], "1"),
        limit_clause(limit),
    )


def duplicates(
    table: Table, columns: Columns, *, where: Where = None, order: Order = None, limit: int | None = None
) -> Query:
    """Find values (or combinations of several columns) that occur more than once; two NULLs are the same.

    Gives: the columns, `count`; most frequent first.

    Example: db.query(sql.duplicates("people", ["name", "born"]))
    """
    names = name_list(columns, "columns")
    return _counted(Source(table), names, " HAVING COUNT(*) > 1", where, order, limit)


def null_analysis(table: Table, columns: Columns, *, where: Where = None) -> Query:
    """Count what is missing in each of the columns, in one pass over the table.

    Gives a row for each column: `column`, `rows`, `nulls`, `null_percent` (None for an empty table), `empty`
    (texts of nothing but blanks).

    Example: db.query(sql.null_analysis("people", ["name", "email"]))
    """
    source, names = Source(table), name_list(columns, "columns")
    if len(names) > MAX_COLUMNS:
        raise ValueError(
            f"`columns` names {len(names)} columns, more than {MAX_COLUMNS}; ask in several queries."
        )
    counted = ", ".join(
        f"COUNT(*) - COUNT({c}) AS n{i}, "
        f"COUNT(CASE WHEN typeof({c}) = 'text' AND trim({c}) = '' THEN 1 END) AS e{i}"
        for i, c in enumerate(map(source.column, names))
    )
    lines: list[str | Query] = []
    for i, name in enumerate(names):
        lines += ["UNION ALL"] if lines else []
        line = (
            f'SELECT ? AS "column", total AS "rows", n{i} AS "nulls", '
            f'100.0 * n{i} / total AS "null_percent", e{i} AS "empty" FROM _sql_counted'
        )
        lines.append(Query(line, (name,)))
    return compose(
        f"WITH _sql_counted AS (SELECT COUNT(*) AS total, {counted} FROM",
        source.text,
        where_clause(source, where),
        ")",
        *lines,
    )
