"""Builders that compute with the numbers in a column, in plain SQL, with no aggregate that SQLite lacks.

Only integers and reals count as numbers: SQLite would take the text 'n/a' for 0. What is left out is counted
where the result has room for it. The median and all percentiles interpolate between neighbours (numpy's
default): with the sorted values numbered 0…m, the percentile p sits at m·p/100, and every value weighs
max(0, 1 - its distance from there), which only the two neighbours survive.

`sqrt` is the one function used beyond SQLite's core: part of its math functions since 3.35, where the build
has them on (SQLITE_ENABLE_MATH_FUNCTIONS), as the common ones do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._query import (
    Columns,
    Query,
    Source,
    Table,
    compose,
    name_list,
    output_names,
    quote_identifier,
    whole_number,
)
from ._where import Order, Where, limit_clause, order_by_outputs, where_clause

__all__ = (
    "correlation",
    "group_stats",
    "histogram",
    "moving_average",
    "number_or_null",
    "percentile",
    "statistics",
)

MAX_BINS = 1_000
MAX_WINDOW = 1_000_000


def number_or_null(column: str) -> str:
    """Return SQL text for the column's value where it is a number, and NULL where it is not."""
    return f"CASE WHEN typeof({column}) IN ('integer', 'real') THEN {column} END"


def _is_number(column: str) -> str:
    return f"typeof({column}) IN ('integer', 'real')"


def _group_by(names: list[str]) -> tuple[str, str, str]:
    """Return `PARTITION BY …`, `GROUP BY …` and the places of the group columns; empty for no group."""
    if not names:
        return "", "", ""
    keys = ", ".join(f"g{i}" for i in range(len(names)))
    return f"PARTITION BY {keys}", f"GROUP BY {keys}", ", ".join(str(i + 1) for i in range(len(names)))


def _picked(source: Source, names: list[str], column: str) -> str:
    """Return the select list that names the group columns g0… and the number num."""
    groups = "".join(f"{source.column(name)} AS g{i}, " for i, name in enumerate(names))
    return f"{groups}{number_or_null(source.column(column))} AS num"


def _group_outputs(names: list[str]) -> str:
    return "".join(f"g{i} AS {quote_identifier(name)}, " for i, name in enumerate(names))


def _aliases(expressions: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(f"{e} AS {quote_identifier(n)}" for e, n in zip(expressions, names, strict=True))


def _points(values: float | Sequence[float], parameter: str) -> list[float]:
    points: list[Any] = list(values) if isinstance(values, (list, tuple)) else [values]
    if not points or len(points) > 100:
        raise ValueError(f"`{parameter}` is 1 to 100 percentiles, not {len(points)}.")
    for point in points:
        if not isinstance(point, (int, float)) or isinstance(point, bool):
            raise TypeError(f"`{parameter}` is a number from 0 to 100, not {point!r:.80}.")
        if not 0 <= point <= 100:
            raise ValueError(f"`{parameter}` is a number from 0 to 100, not {point!r}; the median is 50.")
    if len(set(points)) < len(points):
        raise ValueError(f"`{parameter}` names a percentile twice: {points!r:.200}")
    return [float(point) for point in points]


def _point_name(point: float) -> str:
    return f"p{int(point)}" if point.is_integer() else f"p{point!r}"


# The weight of each value in a percentile; needs i (place from 0) and m (the last place) beside the value.
_WEIGHED = "SUM(num * max(0.0, 1.0 - abs(i - m * ? / 100.0)))"


def statistics(
    table: Table, column: str, *, percentiles: Sequence[float] = (25, 75, 90, 95, 99), where: Where = None
) -> Query:
    """Describe a column in one row: how much is there, where it lies, how far it spreads.

    Gives: `rows`, `count` (not NULL), `nulls`, `non_numeric` (values that are no numbers, left out of what
    follows), `distinct`, `min`, `max`, `mean`, `median`, `stddev` (of a sample, n - 1), and `p25`, … for each
    of the percentiles.

    Example: db.query(sql.statistics("orders", "amount"))[0]["median"]
    """
    source, points = Source(table), _points(percentiles, "percentiles") if percentiles else []
    expressions = {
        "rows": "COUNT(*)",
        "count": "COUNT(v)",
        "nulls": "COUNT(*) - COUNT(v)",
        "non_numeric": "COUNT(v) - COUNT(num)",
        "distinct": "COUNT(DISTINCT v)",
        "min": "MIN(num)",
        "max": "MAX(num)",
        "mean": "AVG(num)",
        "median": _WEIGHED,
        "stddev": "sqrt(SUM((num - mu) * (num - mu)) / (COUNT(num) - 1))",
        **{_point_name(point): _WEIGHED for point in points},
    }
    head = "SELECT " + _aliases(list(expressions.values()), list(expressions))
    return compose(
        Query(head, (50.0, *points)),
        "FROM (SELECT v, num, ROW_NUMBER() OVER (ORDER BY num NULLS LAST) - 1 AS i, "
        "COUNT(num) OVER () - 1 AS m, AVG(num) OVER () AS mu",
        f"FROM (SELECT {source.column(column)} AS v, {number_or_null(source.column(column))} AS num FROM",
        source.text,
        where_clause(source, where),
        "))",
    )


def group_stats(
    table: Table,
    by: Columns,
    column: str,
    *,
    where: Where = None,
    order: Order = None,
    limit: int | None = None,
) -> Query:
    """Summarise the numbers of a column for each group.

    Gives: the columns of `by`, `rows`, `count` (numbers), `sum`, `mean`, `min`, `max`, `stddev` (of a sample,
    n - 1; None for a single number); in order of the groups.

    Example: db.query(sql.group_stats("orders", "customer", "amount", order="-sum", limit=5))
    """
    source, names = Source(table), name_list(by, "by")
    partition, grouping, places = _group_by(names)
    own = output_names(names, ["rows", "count", "sum", "mean", "min", "max", "stddev"])
    spread = "sqrt(SUM((num - mu) * (num - mu)) / (COUNT(num) - 1))"
    figures = ["COUNT(*)", "COUNT(num)", "SUM(num)", "AVG(num)", "MIN(num)", "MAX(num)", spread]
    return compose(
        f"SELECT {_group_outputs(names)}{_aliases(figures, own)}",
        f"FROM (SELECT *, AVG(num) OVER ({partition}) AS mu",
        f"FROM (SELECT {_picked(source, names, column)} FROM",
        source.text,
        where_clause(source, where),
        "))",
        grouping,
        order_by_outputs(order, [*names, *own], places),
        limit_clause(limit),
    )


def percentile(
    table: Table,
    column: str,
    p: float | Sequence[float] = 50,
    *,
    by: Columns | None = None,
    where: Where = None,
    limit: int | None = None,
) -> Query:
    """Compute one percentile or several, of the whole column or of each group.

    Gives: the columns of `by`, `count` (numbers), `p50`, … named by the percentile; None without numbers.

    Example: db.query(sql.percentile("orders", "amount", [50, 95], by="customer"))
    """
    source, points = Source(table), _points(p, "p")
    names = [] if by is None else name_list(by, "by")
    partition, grouping, places = _group_by(names)
    own = output_names(names, ["count", *(_point_name(point) for point in points)])
    figures = _aliases(["COUNT(num)", *[_WEIGHED] * len(points)], own)
    return compose(
        Query(f"SELECT {_group_outputs(names)}{figures}", tuple(points)),
        f"FROM (SELECT *, ROW_NUMBER() OVER ({partition} ORDER BY num NULLS LAST) - 1 AS i,",
        f"COUNT(num) OVER ({partition}) - 1 AS m",
        f"FROM (SELECT {_picked(source, names, column)} FROM",
        source.text,
        where_clause(source, where),
        "))",
        grouping,
        f"ORDER BY {places}" if places else "",
        limit_clause(limit),
    )


def histogram(table: Table, column: str, bins: int = 10, *, where: Where = None) -> Query:
    """Count the numbers of a column in equal intervals from the lowest to the highest; empty ones included.

    Gives: `bin` (from 0), `low`, `high`, `count`. An interval holds its low end; the last one its high end
    too. One row where all numbers are the same, none where there is no number.

    Example: db.query(sql.histogram("orders", "amount", 20))
    """
    source = Source(table)
    value = source.column(column)
    last = whole_number(bins, "bins", 1, MAX_BINS) - 1
    return compose(
        f"WITH RECURSIVE _sql_numbers AS (SELECT {value} AS v FROM",
        source.text,
        where_clause(source, where, _is_number(value)),
        "), _sql_range AS (SELECT MIN(v) AS low, MAX(v) AS high,",
        Query("(MAX(v) - MIN(v)) * 1.0 / ? AS width FROM _sql_numbers),", (bins,)),
        Query(
            "_sql_counted AS (SELECT CASE WHEN width > 0 THEN min(CAST((v - low) / width AS INTEGER), ?)",
            (last,),
        ),
        "ELSE 0 END AS bin, COUNT(*) AS n FROM _sql_numbers, _sql_range GROUP BY 1),",
        "_sql_bins(bin) AS (SELECT 0 FROM _sql_range WHERE low IS NOT NULL UNION ALL",
        Query("SELECT bin + 1 FROM _sql_bins, _sql_range WHERE bin < ? AND width > 0)", (last,)),
        'SELECT b.bin AS "bin", r.low + b.bin * r.width AS "low",',
        Query('CASE WHEN b.bin = ? THEN r.high ELSE r.low + (b.bin + 1) * r.width END AS "high",', (last,)),
        'coalesce(c.n, 0) AS "count" FROM _sql_bins AS b, _sql_range AS r',
        "LEFT JOIN _sql_counted AS c ON c.bin = b.bin ORDER BY 1",
    )


def correlation(table: Table, x: str, y: str, *, where: Where = None) -> Query:
    """Measure how two columns move together, over the rows where both are numbers.

    Gives one row: `count`, `mean_x`, `mean_y`, `correlation` (Pearson, -1 to 1; None where a column is
    constant), `slope` and `intercept` of the least-squares line y = slope·x + intercept.

    Example: db.query(sql.correlation("penguins", "flipper_length_mm", "body_mass_g"))
    """
    source = Source(table)
    a, b = source.column(x), source.column(y)
    # The deviations of a constant column are rounding noise, not 0: constant is decided by min and max.
    return compose(
        'SELECT n AS "count", mx AS "mean_x", my AS "mean_y",',
        'CASE WHEN vx AND vy THEN max(-1.0, min(1.0, sxy / (sqrt(sxx) * sqrt(syy)))) END AS "correlation",',
        'CASE WHEN vx THEN sxy / sxx END AS "slope",',
        'CASE WHEN vx THEN my - sxy / sxx * mx END AS "intercept"',
        "FROM (SELECT COUNT(*) AS n, MAX(mx) AS mx, MAX(my) AS my,",
        "MIN(x) < MAX(x) AS vx, MIN(y) < MAX(y) AS vy,",
        "SUM((x - mx) * (y - my)) AS sxy, SUM((x - mx) * (x - mx)) AS sxx, SUM((y - my) * (y - my)) AS syy",
        "FROM (SELECT x, y, AVG(x) OVER () AS mx, AVG(y) OVER () AS my",
        f"FROM (SELECT {a} AS x, {b} AS y FROM",
        source.text,
        where_clause(source, where, _is_number(a), _is_number(b)),
        ")))",
    )


def moving_average(
    table: Table,
    column: str,
    order: str,
    window: int = 7,
    *,
    by: Columns | None = None,
    where: Where = None,
    limit: int | None = None,
) -> Query:
    """Average each row's number with those of the rows before it, `window` rows in all, in the given order.

    Gives: the columns of `by` (each group is averaged for itself), the order column, the column,
    `moving_average`. The first rows average what there is; what is no number counts as missing.

    Example: db.query(sql.moving_average("daily_sales", "total", "day", 7, by="shop"))
    """
    source = Source(table)
    names = [] if by is None else name_list(by, "by")
    before = whole_number(window, "window", 1, MAX_WINDOW) - 1
    groups = [name for name in names if name != order]
    shown = list(dict.fromkeys([*groups, order, column]))
    (average,) = output_names(shown, ["moving_average"])
    partition = "PARTITION BY " + ", ".join(map(source.column, names)) if names else ""
    places = ", ".join(str(i + 1) for i in range(len(groups) + 1))
    return compose(
        f"SELECT {source.columns(shown)}, AVG({number_or_null(source.column(column))}) OVER ({partition}",
        Query(f"ORDER BY {source.column(order)} ROWS BETWEEN ? PRECEDING AND CURRENT ROW)", (before,)),
        f"AS {quote_identifier(average)} FROM",
        source.text,
        where_clause(source, where),
        f"ORDER BY {places}",
        limit_clause(limit),
    )
