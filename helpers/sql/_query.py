"""A query is SQL text and the values bound to it; it is composed of parts whose values stay in text order.

Builders never put a value into the text and never put a name there unquoted. Columns are always written
with their table (`"orders"."amount"`): SQLite reads an unknown `"amonut"` alone as the text 'amonut' and
would answer nonsense, where `"orders"."amonut"` is the error that it should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

__all__ = (
    "Columns",
    "Query",
    "Source",
    "Table",
    "Value",
    "check_value",
    "compose",
    "name_list",
    "output_names",
    "quote_identifier",
    "whole_number",
)


class Query(NamedTuple):
    """SQL text with `?` marks, and the values for them in order. `db.query(q)` takes it as it is."""

    sql: str
    params: tuple[Any, ...] | list[Any] = ()


Value: TypeAlias = bool | int | float | str | bytes | date | datetime | time | Decimal | None
Columns: TypeAlias = str | Sequence[str]
Table: TypeAlias = str | Query

_SCALARS = (bool, int, float, str, bytes, bytearray, date, time, Decimal)


def quote_identifier(name: str) -> str:
    """Return a table or column name in double quotes, fit for SQL text.

    Raises:
        TypeError: the name is not text.
        ValueError: the name is empty, holds a NUL character, or is not valid Unicode.
    """
    if not isinstance(name, str):
        raise TypeError(f"A table or column name is text, not {type(name).__name__}: {name!r:.80}")
    if not name:
        raise ValueError("A table or column name is empty.")
    if "\x00" in name:
        raise ValueError(f"A table or column name holds a NUL character: {name!r:.80}")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"A table or column name holds half a surrogate pair: {name!r:.80}")
    return '"' + name.replace('"', '""') + '"'


def compose(*parts: str | Query) -> Query:
    """Join text and queries with blanks; values stay in the order of the text."""
    texts: list[str] = []
    params: list[Any] = []
    for part in parts:
        if isinstance(part, Query):
            params.extend(_positional(part))
            part = part.sql
        if part:
            texts.append(part)
    return Query(" ".join(texts), tuple(params))


def _positional(query: Query) -> Sequence[Any]:
    if isinstance(query.params, (tuple, list)):
        return query.params
    raise TypeError(
        f"A Query used inside another one has its values in a list, not {type(query.params).__name__}; "
        "write ? in its text, not :name."
    )


class Source:
    """What stands after FROM: a table, or a query in parentheses that the builder reads like one."""

    __slots__ = ("name", "text")

    def __init__(self, table: Table, alias: str | None = None) -> None:
        if isinstance(table, Query):
            self.name = quote_identifier(alias or "source")
            # The line break ends a comment that the inner text may end with.
            inner = Query(table.sql.rstrip("; \t\r\n"), table.params)
            self.text = compose("(", inner, f"\n) AS {self.name}")
        else:
            self.name = quote_identifier(alias or table)
            self.text = Query(quote_identifier(table) + (f" AS {self.name}" if alias else ""))

    def column(self, name: str) -> str:
        """Return the quoted column, written with its table."""
        return f"{self.name}.{quote_identifier(name)}"

    def columns(self, names: Columns | None) -> str:
        """Return the select list for these columns; all columns for None."""
        if names is None:
            return f"{self.name}.*"
        return ", ".join(f"{self.column(n)} AS {quote_identifier(n)}" for n in name_list(names, "columns"))


def name_list(names: Columns, parameter: str) -> list[str]:
    """Return one name or many as a list of different names, at least one.

    Raises:
        TypeError: `names` is neither text nor a list of texts.
        ValueError: the list is empty or names one twice.
    """
    if isinstance(names, str):
        return [names]
    if not isinstance(names, (list, tuple)):
        raise TypeError(f"`{parameter}` is a name or a list of names, not {type(names).__name__}.")
    if not names:
        raise ValueError(f"`{parameter}` names no column; give at least one.")
    for name in names:
        quote_identifier(name)
    if len(set(names)) < len(names):
        raise ValueError(f"`{parameter}` names a column twice: {list(names)!r:.200}")
    return list(names)


def output_names(given: Iterable[str], own: Iterable[str]) -> list[str]:
    """Return the names of a builder's own output columns, none of them in `given`.

    Rows become dicts, so two columns of one name would lose one: a name already taken by one of the caller's
    columns gets a trailing underscore (`count_`).
    """
    taken = {name.lower() for name in given}
    names: list[str] = []
    for name in own:
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names.append(name)
    return names


def check_value(value: Value, where: str) -> Value:
    """Return a value that SQLite can bind.

    Raises:
        TypeError: it is a list, a dict or something else that is no single value.
    """
    if value is None or isinstance(value, _SCALARS):
        return value
    raise TypeError(
        f"{where} is {type(value).__name__}, which is not one value; "
        "use None, a number, text, bytes, a date or a datetime."
    )


def whole_number(value: int, parameter: str, lowest: int = 0, highest: int = 2**63 - 1) -> int:
    """Return an int within bounds.

    Raises:
        TypeError: it is not an int.
        ValueError: it is out of bounds.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"`{parameter}` is a whole number, not {type(value).__name__}: {value!r:.80}")
    if not lowest <= value <= highest:
        raise ValueError(f"`{parameter}` is {value:,}; it goes from {lowest:,} to {highest:,}.")
    return value
