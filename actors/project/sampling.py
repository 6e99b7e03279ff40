"""Sampling answers what somebody asks who has never seen the data: a few rows, what values come, what is missing.

Eight kinds (project-database.md, Phase 7): random, distribution, stats, search, range, nulls, duplicates, outliers.
Each is one SELECT on the project's views, or a few; the answer carries the one that gave its rows, so that a reader
can go on from there with `query`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors.project.catalogue import Dataset
from actors.project.fields import Field
from actors.project.filters import order_by, where
from actors.project.reading import Selected, chosen, select
from runtime.errors import InputError
from runtime.storage.transaction import Transaction, quote

__all__ = ("KINDS", "Request", "Sample", "kind_of", "take")

_SEARCHED = 100
"""Columns that one search looks through: a longer condition would be compiled too deep."""

_PRIME = 2_147_483_629


@dataclass(slots=True)
class Request:
    """What a sample is to show. `n` is the number of rows, values or groups."""

    kind: str
    column: str | None = None
    columns: Any = None
    n: int = 10
    seed: int | None = None
    pattern: str | None = None
    start: int | None = None
    end: int | None = None
    filter: Any = None
    bins: int | None = None
    k: float = 1.5


@dataclass(slots=True)
class Sample:
    """What a sample shows. `sql` and `params` are the SELECT that gave the rows; `facts` what was found besides."""

    kind: str
    columns: list[str]
    rows: list[dict[str, Any]]
    row_count: int
    sql: str
    params: list[Any]
    facts: dict[str, Any] = field(default_factory=dict)
    truncated: bool = False


def kind_of(name: str) -> str:
    """Return a kind by its name or by another that is in use for it.

    Raises:
        InputError: there is none; the hint lists them.
    """
    folded = name.strip().lower().replace("-", "_").replace(" ", "_")
    found = _OTHER_NAMES.get(folded, folded)
    if found not in KINDS:
        raise InputError(f"There is no kind of sample {name!r:.60}.", hint="Kinds: " + ", ".join(KINDS) + ".")
    return found


def take(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Return what a request asks for.

    Raises:
        InputError: an argument that the kind needs is missing or wrong.
        NotFound: it names a column that is not there.
    """
    return KINDS[kind_of(request.kind)](tx, dataset, request)


def _rows(kind: str, found: Selected, sql: str, params: list[Any], **facts: Any) -> Sample:
    return Sample(kind, found.columns, found.objects(), len(found.cells), sql, params, facts, found.truncated)


def _whole_rows(dataset: Dataset, columns: Any) -> tuple[str, list[Field | None]]:
    """Return the head of a SELECT of rows with their numbers, and what its columns are."""
    fields = chosen(dataset, columns)
    heads = ", ".join(["row_id", *(quote(f.sql_name) for f in fields)])
    # A column may be called row_id itself; then only the project's own number is left out.
    if any(f.name == "row_id" for f in fields):
        return f"SELECT {', '.join(quote(f.sql_name) for f in fields)} FROM {quote(dataset.view)}", list(
            fields
        )
    return f"SELECT {heads} FROM {quote(dataset.view)}", [None, *fields]


def _needed(dataset: Dataset, request: Request) -> Field:
    if request.column is None:
        names = ", ".join(repr(f.name) for f in dataset.fields[:20])
        raise InputError(f"{request.kind} needs a column.", hint=f"Columns: {names}.")
    return dataset.field(request.column)


def _number(dataset: Dataset, request: Request) -> Field:
    found = _needed(dataset, request)
    if found.type != "number":
        numbers = ", ".join(repr(f.name) for f in dataset.fields if f.type == "number") or "none"
        raise InputError(
            f"{request.kind} needs a column of numbers, and {found.name!r:.80} holds {found.type}s.",
            hint=f"Columns of numbers: {numbers}.",
        )
    return found


def _random(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Rows by chance: each row is as likely as any other; the same seed gives the same rows."""
    head, fields = _whole_rows(dataset, request.columns)
    seed = random.SystemRandom().randrange(2**31) if request.seed is None else request.seed
    condition, params = where(dataset, request.filter)
    if condition:
        # A quadratic polynomial over a prime field scatters the row numbers; the sort keeps n rows only.
        chance = random.Random(seed)
        one, two = chance.randrange(_PRIME), chance.randrange(_PRIME)
        scattered = f"((row_id + {one}) % {_PRIME}) * ((row_id + {two}) % {_PRIME}) % {_PRIME}"
        sql = f"{head}{condition} ORDER BY {scattered}, row_id LIMIT ?"
        params = [*params, request.n]
    else:
        numbers = _numbers_by_chance(tx, dataset, request.n, random.Random(seed))
        sql = f"{head} WHERE row_id IN ({', '.join('?' * len(numbers))}) ORDER BY row_id"
        params = list(numbers)
    return _rows("random", select(tx, sql, params, fields), sql, params, seed=seed)


def _numbers_by_chance(tx: Transaction, dataset: Dataset, n: int, chance: random.Random) -> list[int]:
    view = quote(dataset.view)
    # Each by itself is a step in the tree of rows; both at once would read them all.
    ends = f"SELECT (SELECT min(row_id) FROM {view}), (SELECT max(row_id) FROM {view})"
    low, high = select(tx, ends, []).cells[0]
    if low is None:
        return []
    span = high - low + 1
    if span == dataset.rows:
        return sorted(chance.sample(range(low, high + 1), min(n, span)))
    # There are gaps: numbers are drawn until enough of them are rows, which leaves each row as likely as any other.
    found: list[int] = []
    seen: set[int] = set()
    for _ in range(50):
        drawn = [low + chance.randrange(span) for _ in range(min(max(n * 2, 100), 5_000))]
        fresh = [number for number in dict.fromkeys(drawn) if number not in seen]
        seen.update(fresh)
        places = ", ".join("?" * len(fresh))
        there = (
            {
                row[0]
                for row in select(tx, f"SELECT row_id FROM {view} WHERE row_id IN ({places})", fresh).cells
            }
            if fresh
            else set()
        )
        found += [number for number in fresh if number in there]
        if len(found) >= min(n, dataset.rows):
            break
    return sorted(found[:n])


def _distribution(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """The most frequent values of a column; of numbers, with `bins`, how many lie in each of so many equal spans."""
    column = _number(dataset, request) if request.bins else _needed(dataset, request)
    condition, params = where(dataset, request.filter)
    if request.bins:
        return _histogram(tx, dataset, column, condition, params, request.bins)
    name, view = quote(column.sql_name), quote(dataset.view)
    sql = f"SELECT {name} AS value, count(*) AS count FROM {view}{condition} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
    total, distinct = select(
        tx, f"SELECT count(*), count(DISTINCT {name}) FROM {view}{condition}", params
    ).cells[0]
    params = [*params, request.n]
    sample = _rows("distribution", select(tx, sql, params), sql, params, total=total, distinct=distinct)
    for row in sample.rows:
        row["value"] = column.shown_value(row["value"])
        row["share"] = round(row["count"] / total, 6) if total else 0.0
    sample.columns.append("share")
    return sample


def _histogram(
    tx: Transaction, dataset: Dataset, column: Field, condition: str, params: list[Any], bins: int
) -> Sample:
    name, view = quote(column.sql_name), quote(dataset.view)
    low, high = select(tx, f"SELECT min({name}), max({name}) FROM {view}{condition}", params).cells[0]
    if low is None:
        return Sample("distribution", ["from", "to", "count"], [], 0, "", [], {"column": column.name})
    width = (high - low) / bins or 1.0
    sql = (
        f"SELECT min(CAST(({name} - ?) / ? AS INTEGER), ?) AS bin, count(*) AS count FROM {view}{condition}"
        f"{' AND' if condition else ' WHERE'} {name} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    places = [low, float(width), bins - 1, *params]
    counts = {row[0]: row[1] for row in select(tx, sql, places).cells}
    rows = [
        {
            "from": low + at * width,
            "to": high if at == bins - 1 else low + (at + 1) * width,
            "count": counts.get(at, 0),
        }
        for at in range(bins)
    ]
    return Sample(
        "distribution", ["from", "to", "count"], rows, len(rows), sql, places, {"column": column.name}
    )


def _stats(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Counts, least and greatest of columns; of numbers also sum, mean, quartiles and standard deviation."""
    fields = [_needed(dataset, request)] if request.column else chosen(dataset, request.columns)[: request.n]
    condition, params = where(dataset, request.filter)
    view = quote(dataset.view)
    rows, sql = [], ""
    for each in fields:
        name = quote(each.sql_name)
        sql = (
            f"SELECT count(*) AS rows, count(*) - count({name}) AS nulls, count(DISTINCT {name}) AS distinct_count,"
            f" min({name}) AS min, max({name}) AS max"
        )
        sql += {
            "number": f", total({name}) AS sum, avg({name}) AS mean",
            "string": f", sum(trim({name}) = '') AS empty, min(length({name})) AS shortest, max(length({name})) AS longest",
        }.get(each.type, "")
        sql += f" FROM {view}{condition}"
        facts = select(tx, sql, params).objects()[0]
        facts["min"], facts["max"] = map(each.shown_value, (facts["min"], facts["max"]))
        if each.type == "number":
            facts |= _spread(tx, dataset, each, condition, params, facts)
        rows.append({"column": each.name, "type": each.type, **facts})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Sample("stats", columns, rows, len(rows), sql, params)


def _spread(
    tx: Transaction, dataset: Dataset, column: Field, condition: str, params: list[Any], facts: dict[str, Any]
) -> dict[str, Any]:
    present = facts["rows"] - facts["nulls"]
    if not present:
        return {"sum": None, "q1": None, "median": None, "q3": None, "stddev": None}
    name, view = quote(column.sql_name), quote(dataset.view)
    mean = facts["mean"]
    variance = select(
        tx, f"SELECT avg(({name} - ?) * ({name} - ?)) FROM {view}{condition}", [mean, mean, *params]
    ).cells[0][0]
    q1, median, q3 = _quartiles(tx, dataset, column, condition, params, present)
    return {"q1": q1, "median": median, "q3": q3, "stddev": math.sqrt(variance)}


def _quartiles(
    tx: Transaction, dataset: Dataset, column: Field, condition: str, params: list[Any], present: int
) -> tuple[float, float, float]:
    """Return the quartiles, between two rows in proportion (as spreadsheets and numpy have them by default)."""
    name, view = quote(column.sql_name), quote(dataset.view)
    places = [(present - 1) * share for share in (0.25, 0.5, 0.75)]
    offsets = [bound for place in places for bound in (math.floor(place), math.ceil(place))]
    picks = ", ".join(f"(SELECT v FROM s LIMIT 1 OFFSET {offset})" for offset in offsets)
    present_only = f"{condition} AND" if condition else " WHERE"
    sql = (
        f"WITH s AS MATERIALIZED (SELECT {name} AS v FROM {view}{present_only} {name} IS NOT NULL ORDER BY 1)"
        f" SELECT {picks}"
    )
    found = select(tx, sql, params).cells[0]
    q1, median, q3 = (
        low + (high - low) * (place - math.floor(place))
        for place, low, high in zip(places, found[0::2], found[1::2], strict=True)
    )
    return q1, median, q3


def _search(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Rows in which a text comes, in one column or in any; `*` stands for any characters, `?` for one."""
    if not request.pattern:
        raise InputError("search needs a pattern.", hint='For instance "pattern": "berlin", or "B*n".')
    fields = [_needed(dataset, request)] if request.column else list(dataset.fields)
    looked = fields[:_SEARCHED]
    head, shown = _whole_rows(dataset, request.columns)
    condition, params = where(dataset, request.filter)
    like = _like(request.pattern)
    either = " OR ".join(f"{quote(f.sql_name)} LIKE ? ESCAPE '\\'" for f in looked)
    condition += f"{' AND' if condition else ' WHERE'} ({either})"
    params = [*params, *([like] * len(looked))]
    view = quote(dataset.view)
    total = select(tx, f"SELECT count(*) FROM {view}{condition}", params).cells[0][0]
    sql = f"{head}{condition} ORDER BY row_id LIMIT ?"
    params.append(request.n)
    facts: dict[str, Any] = {"total": total}
    if len(looked) < len(fields):
        facts["note"] = f"The first {_SEARCHED} columns were looked through; name a column to search another."
    return _rows("search", select(tx, sql, params, shown), sql, params, **facts)


def _like(pattern: str) -> str:
    """Return a pattern of `*` and `?` as LIKE has it; without either, a text that comes anywhere."""
    escaped = "".join(f"\\{c}" if c in "%_\\" else c for c in pattern)
    if "*" in pattern or "?" in pattern:
        return escaped.replace("*", "%").replace("?", "_")
    return f"%{escaped}%"


def _range(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Rows by their place in the file, the first being 1, both ends included."""
    start = 1 if request.start is None else request.start
    end = start + request.n - 1 if request.end is None else request.end
    if start < 1 or end < start:
        raise InputError(
            f"Rows {start} to {end} are no range.", hint="Rows count from 1, and end is not before start."
        )
    head, fields = _whole_rows(dataset, request.columns)
    sql = f"{head}{order_by(dataset, None)} LIMIT ? OFFSET ?"
    params = [end - start + 1, start - 1]
    found = select(tx, sql, params, fields, limit=end - start + 1)
    return _rows("range", found, sql, params, start=start, end=end, total=dataset.rows)


def _nulls(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """How many cells of each column are NULL, and how many are texts without visible characters."""
    fields = [_needed(dataset, request)] if request.column else chosen(dataset, request.columns)
    condition, params = where(dataset, request.filter)
    counts = ", ".join(
        f"count({name}), " + (f"total(trim({name}) = '')" if f.type == "string" else "0")
        for f in fields
        for name in (quote(f.sql_name),)
    )
    rows: list[dict[str, Any]] = []
    sql = f"SELECT count(*), {counts} FROM {quote(dataset.view)}{condition}"
    if len(fields) > 900:
        raise InputError("More than 900 columns at once.", hint="Name some in columns.")
    total, *found = select(tx, sql, params).cells[0]
    for each, present, empty in zip(fields, found[0::2], found[1::2], strict=True):
        nulls = total - present
        share = round((nulls + empty) / total, 6) if total else 0.0
        rows.append({"column": each.name, "nulls": nulls, "empty": int(empty), "share": share})
    rows.sort(key=lambda row: -row["share"])
    return Sample(
        "nulls", ["column", "nulls", "empty", "share"], rows, len(rows), sql, params, {"total": total}
    )


def _duplicates(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Rows that are alike in some columns (all, unless named), each group once with the number of its rows."""
    fields = [_needed(dataset, request)] if request.column else chosen(dataset, request.columns)
    condition, params = where(dataset, request.filter)
    names = ", ".join(quote(f.sql_name) for f in fields)
    taken = {f.name for f in fields}
    copies, first = (_free(name, taken) for name in ("copies", "first_row"))
    groups = (
        f"SELECT count(*) AS {quote(copies)}, min(row_id) AS {quote(first)}, {names}"
        f" FROM {quote(dataset.view)}{condition} GROUP BY {names} HAVING count(*) > 1"
    )
    counted = f"SELECT count(*), coalesce(sum({quote(copies)} - 1), 0) FROM ({groups})"
    number, surplus = select(tx, counted, params).cells[0]
    sql = f"{groups} ORDER BY 1 DESC, 2 LIMIT ?"
    params = [*params, request.n]
    found = select(tx, sql, params, [None, None, *fields])
    return _rows("duplicates", found, sql, params, groups=number, surplus_rows=surplus)


def _free(name: str, taken: set[str]) -> str:
    number = 1
    free = name
    while free.lower() in {each.lower() for each in taken}:
        number += 1
        free = f"{name}_{number}"
    return free


def _outliers(tx: Transaction, dataset: Dataset, request: Request) -> Sample:
    """Rows whose number lies more than `k` quartile distances outside the middle half, the farthest first."""
    column = _number(dataset, request)
    condition, params = where(dataset, request.filter)
    name, view = quote(column.sql_name), quote(dataset.view)
    present = select(tx, f"SELECT count({name}) FROM {view}{condition}", params).cells[0][0]
    head, fields = _whole_rows(dataset, request.columns)
    if not present:
        return Sample("outliers", [], [], 0, "", [], {"column": column.name, "total": 0})
    q1, median, q3 = _quartiles(tx, dataset, column, condition, params, present)
    low, high = q1 - request.k * (q3 - q1), q3 + request.k * (q3 - q1)
    outside = f"{condition}{' AND' if condition else ' WHERE'} ({name} < ? OR {name} > ?)"
    params = [*params, low, high]
    total = select(tx, f"SELECT count(*) FROM {view}{outside}", params).cells[0][0]
    sql = f"{head}{outside} ORDER BY abs({name} - ?) DESC, row_id LIMIT ?"
    params += [median, request.n]
    facts = {"column": column.name, "low": low, "high": high, "median": median, "total": total}
    return _rows("outliers", select(tx, sql, params, fields), sql, params, **facts)


KINDS: dict[str, Callable[[Transaction, Dataset, Request], Sample]] = {
    "random": _random,
    "distribution": _distribution,
    "stats": _stats,
    "search": _search,
    "range": _range,
    "nulls": _nulls,
    "duplicates": _duplicates,
    "outliers": _outliers,
}
"""The kinds of samples, each with the function that takes one."""

_OTHER_NAMES: dict[str, str] = {
    "random_sample": "random",
    "sample": "random",
    "value_distribution": "distribution",
    "column_distribution": "distribution",
    "histogram": "distribution",
    "column_stats": "stats",
    "statistics": "stats",
    "search_values": "search",
    "row_range": "range",
    "null_analysis": "nulls",
    "missing": "nulls",
    "duplicate": "duplicates",
    "outlier": "outliers",
}
