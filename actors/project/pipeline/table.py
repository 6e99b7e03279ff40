"""A table is what a step reads and makes: named, typed columns over rows in a fixed order.

Columns have a display name, which people and models use, and lie in SQLite as `c0`, `c1`, … beside
`row_id`, the order of the rows. SQL is written over the physical names alone: a display name never becomes
part of a statement.

The type of a column says what its cells hold, besides NULL, which every column may hold:

| type | in SQLite |
| --- | --- |
| `string` | TEXT |
| `integer` | INTEGER |
| `number` | INTEGER or REAL |
| `boolean` | INTEGER 0 or 1 |
| `date` | TEXT, `YYYY-MM-DD` |
| `datetime` | TEXT, `YYYY-MM-DDTHH:MM:SS` with an optional fraction |
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from runtime.errors import InputError

__all__ = (
    "NUMERIC",
    "TEXTUAL",
    "ColumnType",
    "Field",
    "StepError",
    "Table",
    "common_type",
    "nearest",
    "read_type",
)

ColumnType = Literal["string", "integer", "number", "boolean", "date", "datetime"]
"""What the cells of a column hold (see the table above)."""

NUMERIC: frozenset[ColumnType] = frozenset({"integer", "number"})
TEXTUAL: frozenset[ColumnType] = frozenset({"string", "date", "datetime"})
"""Types whose cells are text in SQLite."""

MAX_COLUMNS = 1_990
"""Columns of one table: SQLite allows 2,000 result columns, and some hidden ones are needed."""

_OTHER_NAMES: dict[str, ColumnType] = {
    "text": "string",
    "str": "string",
    "int": "integer",
    "float": "number",
    "decimal": "number",
    "double": "number",
    "real": "number",
    "numeric": "number",
    "bool": "boolean",
    "timestamp": "datetime",
    "time": "string",
}


def read_type(name: str) -> ColumnType:
    """Return the column type that a name stands for; a name that nobody knows is text."""
    lowered = name.lower()
    if lowered in get_args(ColumnType):
        return lowered  # type: ignore[return-value]
    return _OTHER_NAMES.get(lowered, "string")


@dataclass(frozen=True, slots=True)
class Field:
    """A column as the outside sees it. `scale` is how many decimals every cell shows, None where they differ."""

    name: str
    type: ColumnType = "string"
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A stored table: `name` inside the attached database `schema`, with `row_id` and `columns` in order.

    `physical` names the column in SQLite that holds each field; empty means `c0`, `c1`, …
    """

    name: str
    columns: tuple[Field, ...]
    schema: str | None = None
    physical: tuple[str, ...] = field(default=())

    def stored(self) -> tuple[str, ...]:
        """Return the names in SQLite, one for each column."""
        return self.physical or tuple(f"c{i}" for i in range(len(self.columns)))


class StepError(InputError):
    """Raised when a step cannot work on the columns it meets; `step` counts from 1."""

    code, title = "invalid_step", "A step of the pipeline cannot work"

    def __init__(
        self, message: str, *, step: int = 0, operation: str = "", hint: str | None = None, **extra: Any
    ) -> None:
        self.reason = message
        where = f"Step {step} ({operation}): " if step else ""
        super().__init__(f"{where}{message}", hint=hint, step=step, operation=operation, **extra)

    def at(self, step: int, operation: str) -> StepError:
        """Return the same error, told with its place."""
        extra = {k: v for k, v in self.extra.items() if k not in ("step", "operation")}
        return StepError(self.reason, step=step, operation=operation, hint=self.hint, **extra)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the existing name that is most like `name`, or None when none is near."""
    folded = {other.casefold(): other for other in names}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def common_type(types: Iterable[ColumnType]) -> ColumnType:
    """Return the narrowest type that holds cells of all the types given: unlike ones meet as text."""
    kinds = set(types)
    if len(kinds) == 1:
        return kinds.pop()
    if kinds and kinds <= NUMERIC:
        return "number"
    return "string"
