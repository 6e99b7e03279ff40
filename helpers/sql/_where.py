"""A condition says which rows count: written as data, it becomes a WHERE clause with bound values.

`{"status": "open"}` is equality, `{"status": None}` IS NULL, `{"id": [1, 2]}` IN,
`{"price": {">=": 5, "<": 9}}` operators, `Query("a > b")` any SQL condition; several entries, or a list of
conditions, must all hold.
`order` and `limit` are here too: with `where` they are the options that most builders share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ._query import Query, Source, check_value, compose, quote_identifier, whole_number

__all__ = (
    "MAX_VALUES",
    "Order",
    "Where",
    "like_pattern",
    "limit_clause",
    "order_by_columns",
    "order_by_outputs",
    "where_clause",
)

Where: TypeAlias = Mapping[str, Any] | Query | Sequence[Any] | None
Order: TypeAlias = str | Sequence[str] | None

MAX_VALUES = 10_000
"""Values in one list; SQLite binds at most 32,766 in a statement."""

MAX_PATTERN_BYTES = 500
"""Length of a LIKE pattern; the guard's limit (SQLITE_LIMIT_LIKE_PATTERN_LENGTH) is not below it."""

_COMPARISONS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_PATTERNS = {"contains": "%{}%", "startswith": "{}%", "endswith": "%{}"}
_PLAIN = {"like": "LIKE", "notlike": "NOT LIKE", "glob": "GLOB"}
_OPERATORS = "=, !=, <, <=, >, >=, in, not in, between, is, is not, like, not like, glob, contains, starts_with, ends_with"


def where_clause(
    source: Source | Callable[[str], str], where: Where, *extra: str | Query, keyword: str = "WHERE"
) -> Query:
    """Return `WHERE …`, or an empty query where nothing is asked. `extra` conditions are added to `where`."""
    column = source.column if isinstance(source, Source) else source
    conditions: list[str | Query] = [*_conditions(column, where), *extra]
    parts: list[str | Query] = []
    for condition in conditions:
        parts += [keyword if not parts else "AND", condition]
    return compose(*parts)


def _conditions(column: Callable[[str], str], where: Where) -> list[Query]:
    if where is None:
        return []
    if isinstance(where, Query):
        return [compose("(", where, "\n)")]
    if isinstance(where, Mapping):
        return [_condition(column(name), name, wanted) for name, wanted in where.items()]
    if isinstance(where, (list, tuple)):
        return [condition for item in where for condition in _conditions(column, item)]
    raise TypeError(
        f"`where` is a dict such as {{'status': 'open', 'price': {{'>=': 5}}}}, not {type(where).__name__}; "
        "a condition in SQL is sql.Query('price > ? * 2', [5])."
    )


def _condition(column: str, name: str, wanted: Any) -> Query:
    if isinstance(wanted, Mapping):
        if not wanted:
            raise ValueError(
                f"The condition on {name!r} is an empty dict; name an operator, e.g. {{'>=': 5}}."
            )
        parts: list[str | Query] = []
        for operator, value in wanted.items():
            parts += ["AND"] if parts else []
            parts.append(_operation(column, name, operator, value))
        return compose(*parts)
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return _membership(column, name, list(wanted), negated=False)
    return _equality(column, name, wanted, negated=False)


def _operation(column: str, name: str, operator: str, value: Any) -> Query:
    # Blanks, underscores and capitals make no difference: `starts_with`, `startsWith`, `NOT IN`.
    sign = "".join(operator.lower().replace("_", " ").split()) if isinstance(operator, str) else ""
    place = f"The value for {name!r} {operator}"
    if sign in ("=", "==", "is", "!=", "<>", "isnot"):
        return _equality(column, name, value, negated=sign in ("!=", "<>", "isnot"))
    if sign in _COMPARISONS or sign in _PLAIN:
        text = _COMPARISONS.get(sign) or _PLAIN[sign]
        return Query(f"{column} {text} ?", (check_value(value, place),))
    if sign in _PATTERNS:
        if not isinstance(value, str):
            raise TypeError(f"{place} is text, not {type(value).__name__}.")
        return Query(f"{column} LIKE ? ESCAPE '\\'", (like_pattern(value, _PATTERNS[sign]),))
    if sign in ("in", "notin") and isinstance(value, (list, tuple, set, frozenset)):
        return _membership(column, name, list(value), negated=sign == "notin")
    if sign == "between" and isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = (check_value(bound, place) for bound in value)
        return Query(f"{column} BETWEEN ? AND ?", (low, high))
    if sign in ("in", "not in", "between"):
        raise TypeError(f"{place} is a list{' of two values' if sign == 'between' else ''}.")
    raise ValueError(f"{operator!r:.40} is no operator for {name!r}; the operators are {_OPERATORS}.")


def _equality(column: str, name: str, value: Any, *, negated: bool) -> Query:
    value = check_value(value, f"The value for {name!r}")
    if value is None:
        return Query(f"{column} IS {'NOT ' if negated else ''}NULL")
    return Query(f"{column} {'<>' if negated else '='} ?", (value,))


def _membership(column: str, name: str, values: list[Any], *, negated: bool) -> Query:
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"The list for {name!r} has {len(values):,} values, more than {MAX_VALUES:,}; "
            "insert them into a table and use sql.join."
        )
    known = tuple(check_value(v, f"A value for {name!r}") for v in values if v is not None)
    has_null = len(known) < len(values)
    # An empty list is legal in SQLite: nothing is in it. NULL has to be asked for by name.
    marks = ", ".join("?" * len(known))
    if negated:
        return Query(f"{column} NOT IN ({marks})" + (f" AND {column} IS NOT NULL" if has_null else ""), known)
    text = f"{column} IN ({marks})"
    return Query(f"({text} OR {column} IS NULL)" if has_null else text, known)


def like_pattern(text: str, form: str = "%{}%") -> str:
    r"""Return a LIKE pattern (with `ESCAPE '\'`) in which `%`, `_` and `\` of the text stand for themselves.

    Raises:
        ValueError: the pattern is longer than SQLite is allowed to match.
    """
    if "\x00" in text:
        raise ValueError("The text to look for holds a NUL character, where SQLite's LIKE stops.")
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = form.replace("{}", escaped)
    size = len(pattern.encode("utf-8", "surrogatepass"))
    if size > MAX_PATTERN_BYTES:
        raise ValueError(
            f"The text to look for makes a pattern of {size:,} bytes, more than {MAX_PATTERN_BYTES}; "
            "look for a shorter part, or use sql.Query('instr(column, ?) > 0', [text]) as `where`."
        )
    return pattern


def order_by_outputs(order: Order, outputs: Sequence[str], default: str) -> str:
    """Return `ORDER BY` over a builder's output columns, by their places; `default` for None.

    Raises:
        ValueError: `order` names a column that the builder does not give.
    """
    if order is None:
        return f"ORDER BY {default}" if default else ""
    terms = []
    for entry in _order_entries(order):
        name, direction = _split(entry, outputs)
        if name not in outputs:
            raise ValueError(
                f"`order` names {name!r}, and the result has only {', '.join(map(repr, outputs))}."
            )
        terms.append(f"{outputs.index(name) + 1}{direction}")
    return "ORDER BY " + ", ".join(terms)


def order_by_columns(column: Callable[[str], str], order: Order) -> str:
    """Return `ORDER BY` over columns of the table; nothing for None."""
    if order is None:
        return ""
    split = (_split(entry, ()) for entry in _order_entries(order))
    return "ORDER BY " + ", ".join(column(name) + direction for name, direction in split)


def _order_entries(order: str | Sequence[str]) -> Sequence[str]:
    entries = [order] if isinstance(order, str) else order
    if not isinstance(entries, (list, tuple)) or not entries:
        raise TypeError("`order` is a column name, or a list of them; descending is '-name' or 'name desc'.")
    for entry in entries:
        quote_identifier(entry)
    return entries


def _split(entry: str, known: Sequence[str]) -> tuple[str, str]:
    """Split `-name` or `name desc` into the name and the direction; a known name is never taken apart."""
    if entry in known:
        return entry, ""
    if entry.startswith("-") and len(entry) > 1:
        return entry[1:], " DESC"
    head, _, tail = entry.rpartition(" ")
    if head.strip() and tail.lower() in ("asc", "desc"):
        return head.strip(), " DESC" if tail.lower() == "desc" else ""
    return entry, ""


def limit_clause(limit: int | None) -> Query:
    """Return `LIMIT ?`, or an empty query for None."""
    return Query("") if limit is None else Query("LIMIT ?", (whole_number(limit, "limit"),))
