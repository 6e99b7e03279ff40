"""Builders over time: a date column is cut into periods, and each period has a text that sorts in order.

A moment is ISO 8601 text as SQLite reads it (`2024-01-10`, `2024-01-10 10:00:00`, with `T`, `Z` or an offset,
which is taken to UTC) or a number: seconds since 1970, or milliseconds from 100,000,000,000 on. What is
neither has the period None. Weeks are those of ISO 8601: they begin on Monday, and week 1 of a year holds its
first Thursday, so that 2024-12-30 lies in 2025-W01.
"""

from __future__ import annotations

from ._numbers import number_or_null
from ._query import Query, Source, Table, compose
from ._where import Order, Where, limit_clause, order_by_outputs, where_clause

__all__ = ("aggregated", "cohort", "temporal")

_AGGREGATES = {"sum": "SUM", "mean": "AVG", "avg": "AVG", "min": "MIN", "max": "MAX", "count": "COUNT"}

# The Thursday of a week lies in the year that ISO 8601 counts the week to.
_THURSDAY = "date({0}, 'weekday 0', '-3 days')"
_LABELS = {
    "hour": "strftime('%Y-%m-%d %H:00', {0})",
    "day": "date({0})",
    "week": f"strftime('%Y', {_THURSDAY}) || '-W' || "
    f"substr('0' || ((strftime('%j', {_THURSDAY}) + 6) / 7), -2)",
    "month": "strftime('%Y-%m', {0})",
    "quarter": "strftime('%Y', {0}) || '-Q' || ((strftime('%m', {0}) + 2) / 3)",
    "year": "strftime('%Y', {0})",
}
# The number of a period: neighbours differ by 1. A Julian day number that 7 divides is a Monday.
_DAY = "CAST(julianday(date({0})) + 0.5 AS INTEGER)"
_NUMBERS = {
    "day": _DAY,
    "week": f"{_DAY} / 7",
    "month": "strftime('%Y', {0}) * 12 + strftime('%m', {0}) - 1",
    "quarter": "strftime('%Y', {0}) * 4 + (strftime('%m', {0}) - 1) / 3",
    "year": "strftime('%Y', {0}) + 0",
}


def _moment(column: str) -> str:
    """Return SQL text for a moment that SQLite's date functions read, from text or a number."""
    milliseconds = f"{column} NOT BETWEEN -99999999999 AND 99999999999"
    seconds = f"CASE WHEN {milliseconds} THEN {column} / 1000.0 ELSE {column} END"
    numeric = f"typeof({column}) IN ('integer', 'real')"
    return f"CASE WHEN {numeric} THEN datetime({seconds}, 'unixepoch') ELSE {column} END"


def _unit(by: str, units: dict[str, str]) -> str:
    if isinstance(by, str) and by.lower() in units:
        return units[by.lower()]
    raise ValueError(f"`by` is one of {', '.join(units)}, not {by!r:.80}.")


def aggregated(source: Source, measure: str | None, aggregate: str | None) -> tuple[str, str]:
    """Return the function and its argument: rows are counted where no measure is named, summed where one is.

    Raises:
        ValueError: the aggregate is unknown, or there is nothing for it to work on.
    """
    name = aggregate or ("count" if measure is None else "sum")
    if not isinstance(name, str) or name.lower() not in _AGGREGATES:
        raise ValueError(f"`aggregate` is one of {', '.join(_AGGREGATES)}, not {name!r:.80}.")
    if measure is None:
        if name.lower() != "count":
            raise ValueError(f"`aggregate` {name!r} needs `measure`, the column that it works on.")
        return "COUNT", "1"
    column = source.column(measure)
    return _AGGREGATES[name.lower()], column if name.lower() == "count" else number_or_null(column)


def temporal(
    table: Table,
    column: str,
    by: str = "day",
    *,
    measure: str | None = None,
    aggregate: str | None = None,
    where: Where = None,
    order: Order = None,
    limit: int | None = None,
) -> Query:
    """Count rows for each hour, day, week, month, quarter or year of a date column.

    With `measure`, a column's numbers are aggregated too: `sum` (where nothing is said), `mean`, `min`,
    `max`, `count`. Gives: `period` (`2024-01-10 10:00`, `2024-01-10`, `2024-W02`, `2024-01`, `2024-Q1`,
    `2024`), `count`, and `value` with a measure; in order of time, without the periods that have no rows.

    Example: db.query(sql.temporal("orders", "created_at", "month", measure="amount"))
    """
    source = Source(table)
    label = _unit(by, _LABELS).format("moment")
    outputs = ["period", "count"]
    figure = argument = ""
    if measure is not None or aggregate is not None:
        function, argument = aggregated(source, measure, aggregate)
        figure, argument = f', {function}(measured) AS "value"', f", {argument} AS measured"
        outputs.append("value")
    return compose(
        f'SELECT {label} AS "period", COUNT(*) AS "count"{figure}',
        f"FROM (SELECT {_moment(source.column(column))} AS moment{argument} FROM",
        source.text,
        where_clause(source, where),
        ") GROUP BY 1",
        order_by_outputs(order, outputs, "1"),
        limit_clause(limit),
    )


def cohort(
    table: Table,
    entity: str,
    column: str,
    by: str = "month",
    *,
    where: Where = None,
    limit: int | None = None,
) -> Query:
    """Follow groups that began together: who was first seen in a period, and how many came back later.

    `entity` says who (a customer), `column` when; `by` is day, week, month, quarter or year. Rows without
    either are left out. Gives: `cohort` (the period of the first event), `offset` (periods since, from 0),
    `active` (different entities), `size` (of the cohort), `retention` (active / size).

    Example: db.query(sql.cohort("orders", "customer", "created_at", "month"))
    """
    source = Source(table)
    number, label = _unit(by, _NUMBERS).format("moment"), _LABELS[by.lower()].format("moment")
    return compose(
        "WITH _sql_seen AS (SELECT DISTINCT who,",
        f"{number} AS number, {label} AS label",
        f"FROM (SELECT {source.column(entity)} AS who, {_moment(source.column(column))} AS moment FROM",
        source.text,
        where_clause(source, where),
        ") WHERE who IS NOT NULL AND julianday(moment) IS NOT NULL),",
        # SQLite gives `label` from the row that has the minimum.
        "_sql_first AS (SELECT who, MIN(number) AS number, label FROM _sql_seen GROUP BY who)",
        'SELECT f.label AS "cohort", s.number - f.number AS "offset", COUNT(*) AS "active",',
        'first_value(COUNT(*)) OVER begun AS "size",',
        '1.0 * COUNT(*) / first_value(COUNT(*)) OVER begun AS "retention"',
        "FROM _sql_seen AS s JOIN _sql_first AS f ON f.who = s.who GROUP BY f.number, s.number",
        "WINDOW begun AS (PARTITION BY f.number ORDER BY s.number - f.number)",
        "ORDER BY f.number, 2",
        limit_clause(limit),
    )
