"""A field is one column of a data table: what it is called, where it lies, what is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtime.tabular.columns import Column

__all__ = ("Field", "fields_of", "sql_names")


@dataclass(frozen=True, slots=True)
class Field:
    """A column with its name in SQL, which differs where SQL could not tell two names apart."""

    column: Column
    sql_name: str

    @property
    def name(self) -> str:
        """The name that people use."""
        return self.column.name

    @property
    def type(self) -> str:
        """string, number, boolean or date (project-database.md)."""
        return self.column.type

    @property
    def physical(self) -> str:
        """The column's name in the data table."""
        return self.column.physical

    def shown(self) -> dict[str, Any]:
        """Return the column as callers see it, statistics and all."""
        column, show = self.column, self.shown_value
        return {
            "name": column.name,
            "sql_name": self.sql_name,
            "type": column.type,
            "kind": column.kind,
            "scale": column.scale,
            "null_count": column.null_count,
            "empty_count": column.empty_count,
            "distinct_count": column.distinct,
            "min_value": show(column.min),
            "max_value": show(column.max),
            "sample_values": [show(value) for value in column.sample_values],
            "top": None
            if column.top is None
            else [{"value": show(value), "count": count} for value, count in column.top],
        }

    def shown_value(self, value: Any) -> Any:
        """Return a stored value as JSON shows it: booleans are stored as 0 and 1."""
        return bool(value) if self.column.type == "boolean" and value in (0, 1) else value


def fields_of(columns: Iterable[Column]) -> tuple[Field, ...]:
    """Return columns with their names in SQL."""
    given = list(columns)
    names = sql_names(column.name for column in given)
    return tuple(Field(column, name) for column, name in zip(given, names, strict=True))


def sql_names(names: Iterable[str]) -> list[str]:
    """Return names under which columns can stand side by side in SQL, where `a` and `A` are one, and `row_id` is taken."""
    given = list(names)
    taken = {b"row_id"}
    # A name that is whole keeps its spelling, whichever came first with a number behind it.
    whole = {_folded(name) for name in given}
    found = []
    for name in given:
        candidate, number = name, 1
        while _folded(candidate) in taken or (number > 1 and _folded(candidate) in whole):
            number += 1
            candidate = f"{name}_{number}"
        taken.add(_folded(candidate))
        found.append(candidate)
    return found


def _folded(name: str) -> bytes:
    # SQLite compares names without regard to the case of ASCII letters only.
    return name.encode("utf-8", "surrogatepass").lower()
