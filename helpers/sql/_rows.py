"""Builders that give rows back: the highest, the matching, the joined, the turned, a few at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from ._periods import aggregated
from ._query import (
    Columns,
    Query,
    Source,
    Table,
    Value,
    check_value,
    compose,
    name_list,
    output_names,
    quote_identifier,
    whole_number,
)
from ._where import Order, Where, like_pattern, limit_clause, order_by_columns, order_by_outputs, where_clause

__all__ = ("join", "pivot", "sample", "search", "top_n")

MAX_PIVOT = 400
"""Values that become columns; the guard allows 500 columns in a result."""

MAX_WORDS = 50

_PRIME = 2**31 - 1
_JOINS = {"inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN"}


def top_n(
    table: Table,
    column: str,
    n: int = 10,
    *,
    columns: Columns | None = None,
    by: Columns | None = None,
    lowest: bool = False,
    where: Where = None,
) -> Query:
    """Give the rows with the highest values in a column, or the lowest; with `by`, so many of each group.

    Gives: `columns` (all of them for None), highest first; NULL stands last. With `by`, `_rank` (from 1)
    comes first, and the rows are in order of the groups.

    Example: db.query(sql.top_n("orders", "amount", 3, by="customer"))
    """
    source, number = Source(table), whole_number(n, "n", 1)
    ranking = f"{source.column(column)} {'ASC' if lowest else 'DESC'} NULLS LAST"
    if by is None:
        return compose(
            f"SELECT {source.columns(columns)} FROM",
            source.text,
            where_clause(source, where),
            f"ORDER BY {ranking}",
            Query("LIMIT ?", (number,)),
        )
    groups = name_list(by, "by")
    shown = columns if columns is None else list(dict.fromkeys([*groups, *name_list(columns, "columns")]))
    (rank,) = map(quote_identifier, output_names(groups if shown is None else shown, ["_rank"]))
    keys = ", ".join(map(source.column, groups))
    # The rank stands first: of two columns with one name, SQLite renames the later one.
    return compose(
        f"SELECT ranked.* FROM (SELECT ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {ranking}) AS {rank},",
        f"{source.columns(shown)} FROM",
        source.text,
        where_clause(source, where),
        Query(f") AS ranked WHERE ranked.{rank} <= ?", (number,)),
        "ORDER BY " + ", ".join(f"ranked.{quote_identifier(name)}" for name in groups) + f", ranked.{rank}",
    )


def search(
    table: Table,
    text: str,
    columns: Columns | None = None,
    *,
    match: str = "phrase",
    fts: bool = False,
    where: Where = None,
    order: Order = None,
    limit: int | None = None,
) -> Query:
    """Find the rows whose columns hold a text; upper and lower case are the same for ASCII letters.

    `match` is `phrase` (the text as it stands), `all` (each of its words, in whatever column) or `any`. With
    `fts` the table is an FTS5 table: whole words are matched, best first, and `columns` may be left out.
    Gives: all columns of the table.

    Example: db.query(sql.search("articles", "sea ice", ["title", "body"], match="all", limit=20))
    """
    source, words = Source(table), _words(text, match)
    if fts:
        if isinstance(table, Query):
            raise TypeError("`fts` needs the name of an FTS5 table, not a Query.")
        found = Query(f"{source.column(table)} MATCH ?", (_fts_text(words, match, columns),))
        ordering = order_by_columns(source.column, order) or f"ORDER BY {source.column('rank')}"
    else:
        if columns is None:
            raise ValueError(
                "`columns` names no column to look in; only an FTS5 table (fts=True) goes without."
            )
        found = _like(source, words, name_list(columns, "columns"), "OR" if match == "any" else "AND")
        ordering = order_by_columns(source.column, order)
    return compose(
        f"SELECT {source.columns(None)} FROM",
        source.text,
        where_clause(source, where, found),
        ordering,
        limit_clause(limit),
    )


def _words(text: str, match: str) -> list[str]:
    if not isinstance(text, str):
        raise TypeError(f"`text` is the text to look for, not {type(text).__name__}.")
    if match not in ("phrase", "all", "any"):
        raise ValueError(f"`match` is phrase, all or any, not {match!r:.80}.")
    if not text.strip():
        raise ValueError("`text` is blank; to get all rows, leave the search out.")
    words = [text] if match == "phrase" else list(dict.fromkeys(text.split()))
    if len(words) > MAX_WORDS:
        raise ValueError(
            f"`text` has {len(words)} words, more than {MAX_WORDS}; look for fewer, or for the phrase."
        )
    return words


def _like(source: Source, words: list[str], columns: list[str], between: str) -> Query:
    parts: list[str | Query] = []
    for word in words:
        pattern = like_pattern(word)
        held = " OR ".join(f"{source.column(name)} LIKE ? ESCAPE '\\'" for name in columns)
        parts += [between] if parts else []
        parts.append(Query(f"({held})", (pattern,) * len(columns)))
    return compose("(", *parts, ")")


def _fts_text(words: list[str], match: str, columns: Columns | None) -> str:
    """Return an FTS5 expression in which no word of the text is taken for an operator."""
    quoted = (" OR " if match == "any" else " AND ").join(
        '"' + word.replace('"', '""') + '"' for word in words
    )
    if columns is None:
        return quoted
    names = " ".join(quote_identifier(name) for name in name_list(columns, "columns"))
    return f"{{{names}}} : ({quoted})"


def pivot(
    table: Table,
    by: Columns,
    column: str,
    values: Sequence[Value],
    *,
    measure: str | None = None,
    aggregate: str | None = None,
    where: Where = None,
    order: Order = None,
    limit: int | None = None,
) -> Query:
    """Turn the given values of a column into columns of the result, one row for each group.

    A cell counts the rows; with `measure` it aggregates that column's numbers: `sum` (where nothing is said),
    `mean`, `min`, `max`, `count`. Values not named are left out; `sql.distinct_values` lists them. Gives: the
    columns of `by`, and one named by each value (None is `null`, the empty text `(empty)`).

    Example: db.query(sql.pivot("orders", "customer", "status", ["open", "paid"], measure="amount"))
    """
    source, names = Source(table), name_list(by, "by")
    if not isinstance(values, (list, tuple)) or not 0 < len(values) <= MAX_PIVOT:
        raise ValueError(
            f"`values` is a list of 1 to {MAX_PIVOT} values of {column!r:.80} that become columns; "
            "get them with db.query(sql.distinct_values(table, column)) first."
        )
    function, argument = aggregated(source, measure, aggregate)
    labels = output_names(names, [_label(check_value(value, "A value in `values`")) for value in values])
    cells = ", ".join(
        f"{function}(CASE WHEN {source.column(column)} IS ? THEN {argument} END) AS {quote_identifier(label)}"
        for label in labels
    )
    places = ", ".join(str(i + 1) for i in range(len(names)))
    return compose(
        Query(f"SELECT {source.columns(names)}, {cells} FROM", tuple(values)),
        source.text,
        where_clause(source, where),
        f"GROUP BY {places}",
        order_by_outputs(order, [*names, *labels], places),
        limit_clause(limit),
    )


def _label(value: Any) -> str:
    """Return the column name for a value: its text, where that can be a name."""
    if value is None:
        return "null"
    text = value.hex() if isinstance(value, (bytes, bytearray)) else str(value)
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        text = ascii(text)
    return text or "(empty)"


def join(
    left: Table,
    right: Table,
    on: str | Sequence[str] | Mapping[str, str],
    *,
    how: str = "inner",
    columns: Columns | None = None,
    where: Where = None,
    order: Order = None,
    limit: int | None = None,
) -> Query:
    """Join two tables: `on` is a column of both, a list of them, or `{"left column": "right column"}`.

    `how` is inner, left, right or full. In `columns`, `where` and `order` a name is the left table's; the
    right one's is written `"customers.city"`. Gives: `columns`, the right one's named `city`, or as written
    where that name is taken; for None all columns of both, of which a dict keeps only one where two that are
    not in `on` have the same name. A table joined with itself is `<name>_2` on the right, a Query `left` or
    `right`.

    Example: db.query(sql.join("orders", "customers", {"customer": "name"}, columns=["id", "customers.city"]))
    """
    first = Source(left, "left" if isinstance(left, Query) else None)
    right_name = "right" if isinstance(right, Query) else right
    twin = isinstance(left, str) and isinstance(right_name, str) and left.lower() == right_name.lower()
    second = Source(right, f"{right}_2" if twin else "right" if isinstance(right, Query) else None)
    if how not in _JOINS:
        raise ValueError(f"`how` is one of {', '.join(_JOINS)}, not {how!r:.80}.")
    shared = [] if isinstance(on, Mapping) else name_list(on, "on")
    resolve = _resolver({_plain(second): second, _plain(first): first}, first, shared)
    return compose(
        f"SELECT {_joined_columns(columns, resolve, first, second)} FROM",
        first.text,
        _JOINS[how],
        second.text,
        _matching(on, shared, first, second),
        where_clause(lambda name: resolve(name)[0], where),
        order_by_columns(lambda name: resolve(name)[0], order),
        limit_clause(limit),
    )


def _matching(
    on: str | Sequence[str] | Mapping[str, str], shared: list[str], first: Source, second: Source
) -> str:
    if shared:
        # USING makes one column of the two, with the value of whichever side has a row.
        return f"USING ({', '.join(map(quote_identifier, shared))})"
    if not isinstance(on, Mapping) or not on:
        raise ValueError("`on` names no column.")
    return "ON " + " AND ".join(f"{first.column(a)} = {second.column(b)}" for a, b in on.items())


def _plain(source: Source) -> str:
    return source.name[1:-1].replace('""', '"')


def _resolver(
    sources: Mapping[str, Source], default: Source, shared: list[str]
) -> Callable[[str], tuple[str, str]]:
    """Return a function from a name as written to its quoted column and its bare name."""

    def resolve(name: str) -> tuple[str, str]:
        if name in shared:
            return quote_identifier(name), name
        quote_identifier(name)
        for prefix, source in sources.items():
            if name.lower().startswith(f"{prefix.lower()}.") and len(name) > len(prefix) + 1:
                bare = name[len(prefix) + 1 :]
                return source.column(bare), bare
        return default.column(name), name

    return resolve


def _joined_columns(
    columns: Columns | None, resolve: Callable[[str], tuple[str, str]], first: Source, second: Source
) -> str:
    if columns is None:
        return "*"
    taken: set[str] = set()
    shown = []
    for name in name_list(columns, "columns"):
        column, bare = resolve(name)
        (label,) = output_names(taken, [name if bare.lower() in taken else bare])
        taken.add(label.lower())
        shown.append(f"{column} AS {quote_identifier(label)}")
    return ", ".join(shown)


def sample(
    table: Table,
    n: int = 100,
    *,
    columns: Columns | None = None,
    seed: int | None = None,
    where: Where = None,
) -> Query:
    """Pick rows at random, each at most once; with a `seed` the same ones while the data stays the same.

    Gives: `columns`, all of them for None, in random order.

    Example: db.query(sql.sample("orders", 50, seed=7))
    """
    source = Source(table)
    return compose(
        f"SELECT {source.columns(columns)} FROM",
        source.text,
        where_clause(source, where),
        "ORDER BY",
        Query("random()") if seed is None else _shuffled(whole_number(seed, "seed", -(2**63))),
        Query("LIMIT ?", (whole_number(n, "n"),)),
    )


def _shuffled(seed: int) -> Query:
    """Return an expression that shuffles row numbers: u = a·row + b, then u to the 5th, modulo a prime.

    Both steps are one-to-one below the prime (5 has no factor in common with it less 1), so no two rows tie;
    every product stays under 2^62, exact in SQLite. `a` and `b` come from the seed.
    """
    generator = Random(seed)
    a, b = (1 + int(generator.random() * (_PRIME - 1)) for _ in range(2))
    u = f"((ROW_NUMBER() OVER () * ? + ?) % {_PRIME})"
    square = f"({u} * {u} % {_PRIME})"
    return Query(f"{square} * {square} % {_PRIME} * {u} % {_PRIME}", (a, b) * 5)
