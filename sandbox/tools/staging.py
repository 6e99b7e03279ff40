"""Staging turns a tool's result into a table of the session, so that data of several servers meet in SQL.

A value is read as columns and rows where it has them: a list of objects, an object around one list, a list of lists
or of plain values, columns side by side, CSV text; anything else is one row. Nothing is lost: a column gets a type
only where SQLite keeps all of its values as they are under it, what is nested is kept as JSON text, integers
beyond 64 bits as text. The table is made, or rows are added to one with the same columns; all of them, or none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from runtime.errors import InputError, LimitExceeded
from runtime.storage.transaction import Transaction, quote
from sandbox.tools.names import identifier

__all__ = ("Staged", "stage", "table_of")

_INT64 = 1 << 63
_EXACT_FLOAT = 1 << 53
_DELIMITERS = ",;\t|"
_SAMPLE_ROWS, _SAMPLE_CHARS, _REST_CHARS = 3, 200, 2_000
_MOST_COLUMNS = 1_000
_MOST_NUMBERED = 10_000
_VALUE = "value"
_SCALARS = (str, int, float, type(None))


@dataclass(slots=True)
class _Column:
    """One column: its name, the declared type (empty: any value stays as it is), and its values as SQLite takes them."""

    name: str
    kind: str
    values: list[Any]


@dataclass(slots=True)
class Staged:
    """A result, ready to be written. `table` None: a new table is named after the tool, `origin`."""

    columns: list[_Column]
    rows: int
    table: str | None
    origin: str
    rest: str = ""

    @property
    def nothing(self) -> bool:
        """Whether there are no rows, and so no columns that are known."""
        return self.rows == 0 and [column.name for column in self.columns] == [_VALUE]

    def write(self, tx: Transaction) -> dict[str, Any]:
        """Write the rows inside a unit, through the guard, and return the handle that a program gets.

        The handle: `table`, `rows` written, `columns`, `sample` (the first three rows), `note`.

        Raises:
            InputError: the table exists with other columns, or under types that would change values.
            GuardRefused: the table's name is not allowed.
        """
        if len(self.columns) > _MOST_COLUMNS:
            raise LimitExceeded(
                f"The result has {len(self.columns):,} columns; a table takes {_MOST_COLUMNS:,}.",
                hint="Take what is needed from the result, and insert that.",
            )
        table = self.table or _free_name(tx, self.origin)
        there = _columns_of(tx, table)
        if there is not None and self.nothing:
            return self._handle(table, [name for name, _ in there.values()], [], True)
        if there is not None and _is_blank(tx, table, there):
            tx.exec(f"DROP TABLE {quote(table, 'table')}")
            there = None
        if there is None:
            declared = ", ".join(f"{quote(c.name, 'column')} {c.kind}".rstrip() for c in self.columns)
            tx.exec(f"CREATE TABLE {quote(table, 'table')} ({declared})")
        else:
            self._fit(table, there)
        names = [column.name for column in self.columns]
        records = [
            dict(zip(names, row, strict=True)) for row in zip(*(c.values for c in self.columns), strict=True)
        ]
        if records:
            tx.insert_many(table, names, records, None)
        return self._handle(table, names, records[:_SAMPLE_ROWS], there is not None)

    def _fit(self, table: str, there: Mapping[bytes, tuple[str, str]]) -> None:
        """Refuse rows that do not belong into the table that is there."""
        ours = {_folded(column.name): column for column in self.columns}
        lacking = [name for key, (name, _) in there.items() if key not in ours]
        more = [column.name for key, column in ours.items() if key not in there]
        if lacking or more:
            parts = [f"the table has {_listed(lacking)} besides"] * bool(lacking)
            parts += [f"the result has {_listed(more)} besides"] * bool(more)
            raise InputError(
                f"The result does not fit the table {table!r:.100}: {', and '.join(parts)}.",
                hint="Give another name, and join or copy in SQL.",
            )
        for key, column in ours.items():
            declared = there[key][1]
            if not _keeps(declared, column):
                raise InputError(
                    f"The column {column.name!r:.100} of {table!r:.100} is declared {declared}, which would change "
                    f"values of the result ({column.kind or 'mixed'}).",
                    hint="Give another name for the table, and convert in SQL.",
                )

    def _handle(
        self, table: str, names: list[str], sample: list[dict[str, Any]], added: bool
    ) -> dict[str, Any]:
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        written = table if table.isidentifier() and table.isascii() else quote(table)
        note = f"{rows} {'added to' if added else 'in'} the table {table}: db.query('SELECT … FROM {written} LIMIT 10')."
        if self.rest:
            note += f" Beside the rows the result had: {self.rest}"
        shown = [{name: _short(value) for name, value in row.items()} for row in sample]
        return {"table": table, "rows": self.rows, "columns": names, "sample": shown, "note": note}


def stage(value: Any, *, table: str | None, origin: str) -> Staged:
    """Return a value as columns and rows; `origin` is the path of the tool (`tools.shop.list_items`)."""
    names, columns, rest = table_of(value)
    rows = len(columns[0]) if columns else 0
    made = [_column(name, cells) for name, cells in zip(_distinct(names), columns, strict=True)]
    return Staged(made, rows, table, origin, rest)


def table_of(value: Any) -> tuple[list[str], list[list[Any]], str]:
    """Return names, the values of each column, and a text of what stands beside the rows."""
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        # Many servers put their one text into an object.
        inner = _read(text)
        value = value if inner is text else inner
    elif isinstance(value, str):
        value = _read(value)
    if isinstance(value, Mapping):
        if (found := _named_columns(value)) is not None:
            return *found, ""
        lists = [key for key, item in value.items() if isinstance(item, list)]
        if len(lists) == 1 and _is_wrapper(value, value[lists[0]]):
            names, columns, _ = table_of(value[lists[0]])
            beside = {key: item for key, item in value.items() if key != lists[0]}
            return names, columns, json.dumps(beside, ensure_ascii=False)[:_REST_CHARS] if beside else ""
        value = [value]
    if not isinstance(value, list):
        return [_VALUE], [[value]], ""
    if not value:
        return [_VALUE], [[]], ""
    return *_rows(value), ""


def _is_wrapper(value: Mapping[str, Any], items: list[Any]) -> bool:
    """Tell whether an object stands around its one list (`{"items": […], "total": 5}`), or is a record that has one."""
    if len(value) == 1:
        return True
    plain = not any(isinstance(item, Mapping) and item for item in value.values())
    return plain and all(isinstance(item, dict | list) for item in items)


def _rows(items: list[Any]) -> tuple[list[str], list[list[Any]]]:
    kinds = set(map(type, items))
    if kinds == {dict}:
        first = items[0].keys()
        alike = all(map(first.__eq__, map(dict.keys, items)))
        names = list(first) if alike else list(dict.fromkeys(chain.from_iterable(items)))
        if names:
            return names, [[item.get(name) for item in items] for name in names]
        return [_VALUE], [items]
    if kinds == {list} and (width := max(map(len, items))):
        padded = (
            items
            if min(map(len, items)) == width
            else [[*row, *[None] * (width - len(row))] for row in items]
        )
        return [f"c{number}" for number in range(1, width + 1)], [
            list(column) for column in zip(*padded, strict=True)
        ]
    return [_VALUE], [items]


def _named_columns(value: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]] | None:
    """Return the columns of `{"columns": […], "rows"|"data": [[…]]}` or of `{"a": […], "b": […]}`."""
    names = value.get("columns")
    rows = value.get("rows", value.get("data"))
    if isinstance(names, list) and isinstance(rows, list) and names and _is_grid(names, rows):
        return names, [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    columns = list(value.values())
    plain = len(columns) > 1 and all(
        isinstance(c, list) and all(isinstance(i, _SCALARS) for i in c) for c in columns
    )
    if plain and len(set(map(len, columns))) == 1 and columns[0]:
        return list(value), [list(column) for column in columns]
    return None


def _is_grid(names: list[Any], rows: list[Any]) -> bool:
    return all(isinstance(name, str) for name in names) and all(
        isinstance(row, list) and len(row) == len(names) for row in rows
    )


def _read(text: str) -> Any:
    """Return what a text holds, if it is a JSON list or object, or CSV; else the text itself."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return _csv(text)


def _csv(text: str) -> Any:
    """Return CSV text with a header and rows of one width as a list of lists of texts under names; else the text."""
    head = text.lstrip("\ufeff").split("\n", 1)[0]
    for delimiter in sorted(_DELIMITERS, key=head.count, reverse=True):
        if delimiter not in head:
            break
        try:
            rows = [
                row
                for row in csv.reader(text.lstrip("\ufeff").splitlines(keepends=True), delimiter=delimiter)
                if row
            ]
        except csv.Error:
            continue
        names = rows[0] if rows else []
        even = len(rows) > 1 and len(set(map(len, rows))) == 1
        if even and all(name.strip() for name in names) and len(set(names)) == len(names):
            columns = [_numbers(list(column)) for column in zip(*rows[1:], strict=True)]
            return {"columns": names, "rows": [list(row) for row in zip(*columns, strict=True)]}
    return text


def _numbers(cells: list[str]) -> list[Any]:
    """Return a column of texts as integers where every text is exactly that of its integer; else as it is."""
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError:
        return list(cells)
    return list(numbers) if all(map(str.__eq__, map(str, numbers), cells)) else list(cells)


def _column(name: str, cells: Sequence[Any]) -> _Column:
    kinds = set(map(type, cells)) - {type(None)}
    if not kinds <= {str, int, float, bool}:
        cells = [
            cell if isinstance(cell, _SCALARS) else json.dumps(cell, ensure_ascii=False) for cell in cells
        ]
        kinds = set(map(type, cells)) - {type(None)}
    if bool in kinds:
        cells = [int(cell) if cell is True or cell is False else cell for cell in cells]
        kinds = kinds - {bool} | {int}
    if int in kinds and not all(-_INT64 <= cell < _INT64 for cell in cells if type(cell) is int):
        cells = [str(c) if type(c) is int and not -_INT64 <= c < _INT64 else c for c in cells]
        kinds = set(map(type, cells)) - {type(None)}
    return _Column(name, _kind(kinds, cells), list(cells))


def _kind(kinds: set[type], cells: Sequence[Any]) -> str:
    """Return the type under which SQLite keeps all of these values as they are."""
    if kinds == {int}:
        return "INTEGER"
    if kinds == {str}:
        return "TEXT"
    if kinds == {float} or (kinds == {int, float} and _exact(cells)):
        return "REAL"
    return ""


def _exact(cells: Sequence[Any]) -> bool:
    return all(-_EXACT_FLOAT <= cell <= _EXACT_FLOAT for cell in cells if type(cell) is int)


def _keeps(declared: str, column: _Column) -> bool:
    """Tell whether values of a column stay as they are under a declared type (SQLite's rules of affinity).

    A float without a fraction may become the integer that is equal to it.
    """
    kinds = set(map(type, column.values)) - {type(None)}
    word = declared.upper()
    if "INT" not in word:
        if any(part in word for part in ("CHAR", "CLOB", "TEXT")):
            return kinds <= {str}
        if not word or "BLOB" in word:
            return True
        if any(part in word for part in ("REAL", "FLOA", "DOUB")) and not _exact(column.values):
            return False
    return str not in kinds or not any(map(_is_number, column.values))


def _is_number(value: Any) -> bool:
    """Tell whether a value is a text that reads as a number: "007" would become 7."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names that SQLite takes beside one another: no two alike but for case, none empty."""
    seen: set[bytes] = set()
    found = []
    for number, given in enumerate(names, 1):
        name = candidate = given.replace("\0", " ").strip()[:200] or f"c{number}"
        again = 2
        while _folded(candidate) in seen:
            candidate, again = f"{name}_{again}", again + 1
        seen.add(_folded(candidate))
        found.append(candidate)
    return found


def _free_name(tx: Transaction, origin: str) -> str:
    base = identifier("_".join(origin.split(".")[1:]) or "result")
    taken = {_folded(str(name)) for (name,) in tx.all("SELECT name FROM main.sqlite_master")}
    for number in range(1, _MOST_NUMBERED):
        name = base if number == 1 else f"{base}_{number}"
        if _folded(name) not in taken:
            return name
    raise LimitExceeded(
        f"There are {_MOST_NUMBERED:,} tables for results of {origin} already.",
        hint="Drop some, or give into=.",
    )


def _columns_of(tx: Transaction, table: str) -> dict[bytes, tuple[str, str]] | None:
    """Return name and declared type of a table's columns; None if there is no such table."""
    quote(table, "table")
    rows = tx.all("SELECT name, type FROM pragma_table_xinfo(?, 'main') WHERE hidden IN (0, 1)", (table,))
    return {_folded(str(name)): (str(name), str(kind or "")) for name, kind in rows} or None


def _is_blank(tx: Transaction, table: str, columns: Mapping[bytes, tuple[str, str]]) -> bool:
    """Tell whether a table was made of a result without rows: the next one says what its columns are."""
    if list(columns.values()) != [(_VALUE, "")]:
        return False
    return tx.one(f"SELECT 1 FROM main.{quote(table)} LIMIT 1") is None


def _folded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass").lower()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SAMPLE_CHARS:
        return f"{value[:_SAMPLE_CHARS]}… ({len(value):,} characters)"
    return value
