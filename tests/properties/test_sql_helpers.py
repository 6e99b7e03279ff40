"""Every sql builder gives what plain Python computes from the same rows, whatever the rows and the names."""

from __future__ import annotations

import math
import random
import sqlite3
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import sql
from runtime.guard import SESSION, Guard

HOSTILE = [
    "select",
    'a"b',
    "two words",
    "é ü 表",
    "`x`",
    "[y]",
    "x.y",
    "--",
    "%s",
    "?1",
    "O'Neil",
    ";",
    "/*",
    "*",
]
INNER = ["count", "bin", "v", "num", "g0", "m", "n0", "rows", "ranked", "source", "moment", "_rank", "left"]
NAMES = st.sampled_from([*HOSTILE, *INNER])
NUMBERS = st.one_of(
    st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
)
TEXTS = st.text(alphabet="aAbB%_\\' \"é1", max_size=4)
VALUES = st.one_of(st.none(), NUMBERS, TEXTS, st.integers(0, 3))
KEYS = st.one_of(st.none(), st.integers(0, 2), st.sampled_from(["a", "b", "1", ""]))

Row = tuple[Any, ...]

# A shared machine may be slow; what is tested here is the answer.
patient = settings(deadline=None, max_examples=60)


@st.composite
def tables(draw: st.DrawFn, *columns: st.SearchStrategy[Any]) -> tuple[str, list[str], list[Row]]:
    """A table name, its column names, and rows."""
    # Tables whose names begin with an underscore belong to the runtime.
    table = draw(NAMES.filter(lambda name: not name.startswith("_")))
    names = draw(
        st.lists(NAMES, min_size=len(columns), max_size=len(columns), unique_by=lambda name: name.lower())
    )
    return table, names, draw(st.lists(st.tuples(*columns), max_size=25))


def load(connection: sqlite3.Connection, table: str, names: Sequence[str], rows: Iterable[Row]) -> None:
    """Make the table by hand: the quoting here is not the one under test."""
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    quoted = '"' + table.replace('"', '""') + '"'
    connection.execute(f"CREATE TABLE {quoted} ({columns})")
    connection.executemany(f"INSERT INTO {quoted} VALUES ({', '.join('?' * len(names))})", rows)


def ask(given_table: tuple[str, list[str], list[Row]], query: sql.Query) -> list[dict[str, Any]]:
    """Run a query on a fresh database under the session guard, and return dicts; no column may get lost."""
    connection = sqlite3.connect(":memory:")
    try:
        load(connection, *given_table)
        connection.commit()
        guard = Guard(SESSION)
        guard.install(connection)
        verdict = guard.check(query.sql)
        assert verdict.kind == "read"
        guard.enter()
        cursor = connection.execute(verdict.sql, query.params)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        guard.leave()
    finally:
        connection.close()
    assert len({*names}) == len(names)
    return [dict(zip(names, row, strict=True)) for row in rows]


def order(value: Any) -> tuple[int, Any]:
    """SQLite's order: NULL, numbers, texts."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def interpolated(values: Sequence[float], p: float) -> float | None:
    """The percentile by linear interpolation between the closest ranks."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * p / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def close(expected: float | None) -> Any:
    return expected if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-6)


def deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def taken(name: str, *others: str) -> str:
    """The name of an own output column: it gives way to the caller's columns."""
    while name.lower() in {other.lower() for other in others}:
        name += "_"
    return name


@patient
@given(tables(KEYS, KEYS))
def test_count_by_counts_each_value_most_frequent_first(data: Any) -> None:
    table, (a, b), rows = data
    result = ask(data, sql.count_by(table, a))
    count = taken("count", a)
    assert {row[a]: row[count] for row in result} == Counter(row[0] for row in rows)
    assert result == sorted(result, key=lambda row: (-row[count], order(row[a])))
    both = ask(data, sql.count_by(table, [a, b]))
    assert {(row[a], row[b]): row[taken("count", a, b)] for row in both} == Counter(rows)


@patient
@given(tables(VALUES, KEYS), st.integers(0, 5))
def test_distinct_values_are_each_value_once_in_order(data: Any, limit: int) -> None:
    table, (a, _), rows = data
    expected = sorted({row[0] for row in rows}, key=order)
    assert [row[a] for row in ask(data, sql.distinct_values(table, a))] == expected
    assert [
        row[a] for row in ask(data, sql.distinct_values(table, a, order=f"-{a}", limit=limit))
    ] == expected[::-1][:limit]


@patient
@given(tables(KEYS, KEYS))
def test_duplicates_are_the_combinations_that_occur_again(data: Any) -> None:
    table, (a, b), rows = data
    result = ask(data, sql.duplicates(table, [a, b]))
    found = {(row[a], row[b]): row[taken("count", a, b)] for row in result}
    assert found == {key: n for key, n in Counter(rows).items() if n > 1}


@patient
@given(tables(VALUES, VALUES))
def test_null_analysis_counts_what_is_missing(data: Any) -> None:
    table, names, rows = data
    for place, line in enumerate(ask(data, sql.null_analysis(table, names))):
        values = [row[place] for row in rows]
        nulls = sum(value is None for value in values)
        assert line == {
            "column": names[place],
            "rows": len(rows),
            "nulls": nulls,
            "null_percent": close(100 * nulls / len(rows) if rows else None),
            "empty": sum(isinstance(value, str) and not value.strip(" ") for value in values),
        }


@patient
@given(tables(VALUES))
def test_statistics_agree_with_the_statistics_module(data: Any) -> None:
    table, (a,), rows = data
    values = [row[0] for row in rows]
    numbers = [value for value in values if is_number(value)]
    present = [value for value in values if value is not None]
    (result,) = ask(data, sql.statistics(table, a, percentiles=[0, 12.5, 99.9]))
    assert result == {
        "rows": len(rows),
        "count": len(present),
        "nulls": len(rows) - len(present),
        "non_numeric": len(present) - len(numbers),
        "distinct": len(set(present)),
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
        "mean": close(statistics.mean(numbers) if numbers else None),
        "median": close(statistics.median(numbers) if numbers else None),
        "stddev": close(deviation(numbers)),
        "p0": close(min(numbers, default=None)),
        "p12.5": close(interpolated(numbers, 12.5)),
        "p99.9": close(interpolated(numbers, 99.9)),
    }


@patient
@given(tables(KEYS, VALUES))
def test_group_stats_summarise_each_group(data: Any) -> None:
    table, (a, b), rows = data
    groups: dict[Any, list[Any]] = defaultdict(list)
    for key, value in rows:
        groups[key].append(value)
    result = ask(data, sql.group_stats(table, a, b))
    assert [row[a] for row in result] == sorted(groups, key=order)
    for row in result:
        numbers = [value for value in groups[row[a]] if is_number(value)]
        figures = {
            "rows": len(groups[row[a]]),
            "count": len(numbers),
            "sum": close(math.fsum(numbers) if numbers else None),
            "mean": close(statistics.mean(numbers) if numbers else None),
            "min": min(numbers, default=None),
            "max": max(numbers, default=None),
            "stddev": close(deviation(numbers)),
        }
        assert row == {a: row[a]} | {taken(name, a): figure for name, figure in figures.items()}


@patient
@given(tables(KEYS, VALUES), st.lists(st.floats(0, 100), min_size=1, max_size=3, unique=True))
def test_percentiles_interpolate_in_each_group(data: Any, points: list[float]) -> None:
    table, (a, b), rows = data
    groups: dict[Any, list[Any]] = defaultdict(list)
    for key, value in rows:
        groups[key] += [value] if is_number(value) else []
    result = ask(data, sql.percentile(table, b, points, by=a))
    assert [row[a] for row in result] == sorted(groups, key=order)
    for row in result:
        own = [value for name, value in row.items() if name != a]
        assert own == [len(groups[row[a]]), *(close(interpolated(groups[row[a]], p)) for p in points)]


@patient
@given(tables(VALUES), st.integers(1, 7))
def test_a_histogram_holds_every_number_once(data: Any, bins: int) -> None:
    table, (a,), rows = data
    numbers = [row[0] for row in rows if is_number(row[0])]
    result = ask(data, sql.histogram(table, a, bins))
    assert sum(row["count"] for row in result) == len(numbers)
    if not numbers:
        assert result == []
        return
    assert len(result) == (bins if min(numbers) < max(numbers) else 1)
    assert (result[0]["low"], result[-1]["high"]) == (min(numbers), max(numbers))
    width = (max(numbers) - min(numbers)) * 1.0 / bins
    places = [min(int((n - min(numbers)) / width), bins - 1) if width else 0 for n in numbers]
    assert {row["bin"]: row["count"] for row in result if row["count"]} == Counter(places)


@patient
@given(tables(VALUES, VALUES))
def test_correlation_and_line_agree_with_the_statistics_module(data: Any) -> None:
    table, (a, b), rows = data
    pairs = [row for row in rows if is_number(row[0]) and is_number(row[1])]
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    (result,) = ask(data, sql.correlation(table, a, b))
    assert result["count"] == len(pairs)
    if len(set(x)) < 2:
        assert result["slope"] is result["intercept"] is result["correlation"] is None
        return
    line = statistics.linear_regression(x, y)
    assert result["slope"] == pytest.approx(line.slope, rel=1e-6, abs=1e-6)
    if len(set(y)) < 2:
        assert result["correlation"] is None
    else:
        assert result["correlation"] == pytest.approx(statistics.correlation(x, y), rel=1e-6, abs=1e-6)


@patient
@given(tables(KEYS, VALUES, st.integers(0, 10**9)), st.integers(1, 5))
def test_moving_average_looks_back_in_its_group(data: Any, window: int) -> None:
    table, (a, b, c), rows = data
    assume(len({row[2] for row in rows}) == len(rows))
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[2]):
        groups[row[0]].append(row)
    expected = []
    for key in sorted(groups, key=order):
        for place, row in enumerate(groups[key]):
            seen = [r[1] for r in groups[key][max(0, place - window + 1) : place + 1] if is_number(r[1])]
            expected.append((key, row[2], row[1], close(statistics.mean(seen) if seen else None)))
    result = ask(data, sql.moving_average(table, b, c, window, by=a))
    assert [tuple(row.values()) for row in result] == expected


@patient
@given(tables(KEYS, VALUES), st.integers(1, 4), st.booleans())
def test_top_n_gives_the_extremes_of_the_table_and_of_each_group(data: Any, n: int, lowest: bool) -> None:
    table, (a, b), rows = data

    def extremes(values: list[Any]) -> list[Any]:
        present = sorted((v for v in values if v is not None), key=order, reverse=not lowest)
        return (present + [None] * (len(values) - len(present)))[:n]

    result = ask(data, sql.top_n(table, b, n, lowest=lowest))
    assert [row[b] for row in result] == extremes([row[1] for row in rows])
    grouped = ask(data, sql.top_n(table, b, n, by=a, columns=b, lowest=lowest))
    expected = [
        (key, value)
        for key in sorted({row[0] for row in rows}, key=order)
        for value in extremes([row[1] for row in rows if row[0] == key])
    ]
    assert [(row[a], row[b]) for row in grouped] == expected


@patient
@given(tables(KEYS, KEYS, VALUES), st.lists(KEYS, min_size=1, max_size=4, unique=True))
def test_pivot_has_a_column_for_each_value(data: Any, values: list[Any]) -> None:
    table, (a, b, c), rows = data
    counts, sums = Counter(row[:2] for row in rows), defaultdict(list)
    for key, value, number in rows:
        sums[key, value] += [number] if is_number(number) else []
    keys = sorted({row[0] for row in rows}, key=order)
    counted = [tuple(row.values()) for row in ask(data, sql.pivot(table, a, b, values))]
    assert counted == [(key, *(counts[key, value] for value in values)) for key in keys]
    summed = [tuple(row.values()) for row in ask(data, sql.pivot(table, a, b, values, measure=c))]
    expected = [
        (key, *(close(math.fsum(sums[key, v]) if sums[key, v] else None) for v in values)) for key in keys
    ]
    assert summed == expected


@patient
@given(tables(TEXTS, TEXTS), st.text(alphabet="aAb%_\\' \"é", min_size=1, max_size=3))
def test_search_finds_the_text_as_it_stands(data: Any, text: str) -> None:
    table, names, rows = data
    assume(text.strip())

    def holds(row: Row, part: str) -> bool:
        return any(lower(part) in lower(value) for value in row)

    def lower(value: str) -> str:
        return "".join(c.lower() if c.isascii() else c for c in value)

    def found(match: str) -> list[Row]:
        return [tuple(row.values()) for row in ask(data, sql.search(table, text, names, match=match))]

    assert found("phrase") == [row for row in rows if holds(row, text)]
    assert found("all") == [row for row in rows if all(holds(row, word) for word in text.split())]
    assert found("any") == [row for row in rows if any(holds(row, word) for word in text.split())]


@patient
@given(tables(VALUES, KEYS), st.integers(0, 30), st.integers(0, 3))
def test_a_sample_takes_each_row_at_most_once_and_repeats_with_its_seed(data: Any, n: int, seed: int) -> None:
    table, _, rows = data
    for query in (sql.sample(table, n), sql.sample(table, n, seed=seed)):
        drawn = Counter(tuple(row.values()) for row in ask(data, query))
        assert drawn.total() == min(n, len(rows))
        assert drawn <= Counter(rows)
    assert ask(data, sql.sample(table, n, seed=seed)) == ask(data, sql.sample(table, n, seed=seed))


MOMENTS = st.datetimes(datetime(1901, 1, 1), datetime(2099, 12, 31))
LABELS = {
    "hour": lambda m: f"{m:%Y-%m-%d %H}:00",
    "day": lambda m: f"{m:%Y-%m-%d}",
    "week": lambda m: "{}-W{:02}".format(*m.isocalendar()[:2]),
    "month": lambda m: f"{m:%Y-%m}",
    "quarter": lambda m: f"{m.year}-Q{(m.month + 2) // 3}",
    "year": lambda m: f"{m.year}",
}


def written(moment: datetime, form: int) -> Any:
    """The same moment as text or as a number; numbers have no sub-second part."""
    seconds = (moment.replace(microsecond=0) - datetime(1970, 1, 1)) // timedelta(seconds=1)
    in_milliseconds = seconds * 1000 if abs(seconds) > 10**8 else seconds
    return [moment.isoformat(), moment.isoformat(" ", "seconds"), seconds, in_milliseconds][form]


@patient
@given(st.lists(st.tuples(MOMENTS, st.integers(0, 3), VALUES), max_size=15), st.sampled_from(sorted(LABELS)))
def test_temporal_cuts_time_like_the_calendar(events: list[Any], unit: str) -> None:
    rows = [(written(moment, form), value) for moment, form, value in events] + [("no date", 1), (None, 2)]
    expected: dict[Any, list[Any]] = defaultdict(list)
    for moment, _, value in events:
        expected[LABELS[unit](moment)].append(value)
    result = ask(("t", ["at", "n"], rows), sql.temporal("t", "at", unit, measure="n"))
    assert result[0] == {"period": None, "count": 2, "value": 3}
    assert [row["period"] for row in result[1:]] == sorted(expected)
    for row in result[1:]:
        numbers = [value for value in expected[row["period"]] if is_number(value)]
        assert row["count"] == len(expected[row["period"]])
        assert row["value"] == close(math.fsum(numbers) if numbers else None)


def period_number(day: date, unit: str) -> int:
    monday = day.toordinal() - day.weekday()
    numbers = {
        "day": day.toordinal(),
        "week": monday // 7,
        "month": day.year * 12 + day.month,
        "quarter": day.year * 4 + (day.month + 2) // 3,
        "year": day.year,
    }
    return numbers[unit]


@patient
@given(
    tables(st.one_of(st.none(), st.integers(0, 5)), MOMENTS.map(lambda moment: moment.isoformat())),
    st.sampled_from(["day", "week", "month", "quarter", "year"]),
)
def test_cohorts_follow_who_came_back(data: Any, unit: str) -> None:
    table, (who, at), rows = data
    seen: dict[Any, set[date]] = defaultdict(set)
    for key, moment in rows:
        if key is not None:
            seen[key].add(datetime.fromisoformat(moment).replace(tzinfo=UTC).date())
    active: Counter[tuple[int, int]] = Counter()
    for days in seen.values():
        first = period_number(min(days), unit)
        active.update({(first, period_number(day, unit) - first) for day in days})
    labels = {period_number(min(days), unit): LABELS[unit](min(days)) for days in seen.values()}
    sizes = {first: n for (first, offset), n in active.items() if offset == 0}
    expected = [
        (labels[first], offset, n, sizes[first], n / sizes[first])
        for (first, offset), n in sorted(active.items())
    ]
    result = ask(data, sql.cohort(table, who, at, unit))
    assert [tuple(row.values()) for row in result] == expected


@patient
@given(st.lists(st.tuples(KEYS, VALUES), max_size=12), st.lists(st.tuples(KEYS, VALUES), max_size=12))
def test_join_matches_rows_of_equal_keys(left: list[Row], right: list[Row]) -> None:
    rows = [("l", *row) for row in left] + [("r", *row) for row in right]
    first, second = (sql.Query("SELECT k, v FROM t WHERE side = ?", [side]) for side in "lr")
    pairs = Counter((a[0], a[1], b[1]) for a in left for b in right if a[0] is not None and a[0] == b[0])
    lonely = Counter(
        (a[0], a[1], None) for a in left if not any(a[0] is not None and a[0] == b[0] for b in right)
    )
    missed = Counter(
        (b[0], None, b[1]) for b in right if not any(b[0] is not None and a[0] == b[0] for a in left)
    )
    wanted = {
        "inner": pairs,
        "left": pairs + lonely,
        "right": pairs + missed,
        "full": pairs + lonely + missed,
    }
    for how, expected in wanted.items():
        query = sql.join(first, second, "k", how=how, columns=["k", "v", "right.v"])
        result = ask(("t", ["side", "k", "v"], rows), query)
        assert Counter(tuple(row.values()) for row in result) == expected
        assert all(list(row) == ["k", "v", "right.v"] for row in result)


@patient
@given(tables(VALUES, VALUES), VALUES, st.lists(VALUES, max_size=4), NUMBERS)
def test_conditions_say_what_sql_says(data: Any, value: Any, several: list[Any], bound: float) -> None:
    table, (a, b), rows = data

    def kept(where: Any) -> list[Row]:
        return sorted((tuple(r.values()) for r in ask(data, sql.top_n(table, a, 100, where=where))), key=repr)

    def those(keep: Any) -> list[Row]:
        return sorted((row for row in rows if keep(*row)), key=repr)

    assert kept({a: value}) == those(lambda x, y: x == value)
    assert kept({a: several}) == those(lambda x, y: x in several)
    assert kept({a: {"not in": several}}) == those(
        lambda x, y: x not in several and (x is not None or not several)
    )
    assert kept({a: {"!=": value}}) == those(
        lambda x, y: x is not None if value is None else x is not None and x != value
    )
    assert kept({a: {">=": bound}, b: {"is not": None}}) == those(
        lambda x, y: x is not None and order(x) >= order(bound) and y is not None
    )
    assert kept([{a: {">": bound}}, sql.Query("? = ? -- as it is", [1, 2])]) == []


def test_seeds_choose_different_rows_and_each_row_about_equally_often() -> None:
    data = ("t", ["n"], [(n,) for n in range(40)])
    drawn: Counter[int] = Counter()
    generator = random.Random(1)
    for _ in range(200):
        drawn.update(row["n"] for row in ask(data, sql.sample("t", 10, seed=generator.getrandbits(32))))
    # 200 draws of 10 in 40: 50 expected, standard deviation about 6.
    assert len(drawn) == 40
    assert all(20 <= count <= 80 for count in drawn.values())
