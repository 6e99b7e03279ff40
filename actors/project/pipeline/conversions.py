"""Conversions between the types of columns, each an expression that is NULL where a cell does not convert.

SQLite's own CAST takes what it can get (`'12abc'` is 12, `'abc'` is 0.0): it is written here only behind a test
of the whole text.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from .cells import Sql, as_text, both, call, cast, either, integer, is_null, op, text, trimmed, when
from .dates import DateFormat
from .draft import Column, Values
from .table import ColumnType, StepError

__all__ = ("conversion", "empty_condition", "negate_glob", "to_number")

_YES = ("true", "t", "yes", "y", "1", "on")
_NO = ("false", "f", "no", "n", "0", "off")


def conversion(
    column: Column, target: ColumnType, values: Values, date_format: str | None = None
) -> Callable[[Sql], Sql]:
    """Return what makes, from a plain cell of the column, a cell of the target type, NULL where that fails.

    Raises:
        StepError: no cell of the one type is ever one of the other.
    """
    source = column.type
    if target == "string":
        return lambda cell: as_text(Column(column.name, source, cell, column.scale))
    if source == target or (source, target) == ("integer", "number"):
        return lambda cell: cell.copy()
    made = _CONVERSIONS.get((source, target))
    if made is not None:
        return made
    if source == "string" and target in ("date", "datetime"):
        return _to_moment(target, date_format, values)
    raise StepError(
        f'"{column.name}" holds values of type {source}; none of them is a {target}.',
        hint='Cast it to "string" first if its text is meant.',
        column=column.name,
    )


def to_number(cell: Sql) -> Sql:
    """Return the number that a text is. Plain digits are converted by SQLite, the rest by a function."""
    odd = call("dl_number", cell, text("plain"))
    usual = both(negate_glob(cell, "*[^0-9.]*"), op(call("length", cell), "<=", integer(16)))
    real = both(op(cell, "glob", text("[0-9]*.[0-9]*")), negate_glob(cell, "*.*.*"))
    digits = when(
        (
            op(call("instr", cell, text(".")), "=", integer(0)),
            cast(call("nullif", cell, text("")), "INTEGER"),
        ),
        (real, cast(cell, "REAL")),
        other=odd,
    )
    return when((usual, digits), (is_null(cell), exp.Null()), other=odd)


def negate_glob(cell: Sql, pattern: str) -> Sql:
    """Return the condition that a text does not match a glob of the compiler's own."""
    return exp.Not(this=exp.Paren(this=op(cell, "glob", text(pattern))))


def _whole(number: Sql) -> Sql:
    # Beyond 2**53 a REAL no longer tells its neighbours apart.
    exact = both(op(number, "=", cast(number, "INTEGER")), op(call("abs", number), "<=", integer(2**53)))
    return when((op(call("typeof", number), "=", text("integer")), number), (exact, cast(number, "INTEGER")))


def _text_to_integer(cell: Sql) -> Sql:
    digits = both(
        negate_glob(cell, "*[^0-9]*"), op(call("length", cell), "<=", integer(18)), op(cell, "<>", text(""))
    )
    number = call("dl_number", cell, text("plain"))
    return when((digits, cast(cell, "INTEGER")), (is_null(cell), exp.Null()), other=_whole(number))


def _text_to_boolean(cell: Sql) -> Sql:
    shown = call("lower", trimmed(cell))
    return when(
        (exp.In(this=shown, expressions=[text(w) for w in _YES]), integer(1)),
        (exp.In(this=shown.copy(), expressions=[text(w) for w in _NO]), integer(0)),
    )


def _number_to_boolean(cell: Sql) -> Sql:
    return when((op(cell, "=", integer(1)), integer(1)), (op(cell, "=", integer(0)), integer(0)))


def _date_part(cell: Sql) -> Sql:
    return call("substr", cell, integer(1), integer(10))


def _date_to_datetime(cell: Sql) -> Sql:
    return op(cell, "||", text("T00:00:00"))


_CONVERSIONS: dict[tuple[ColumnType, ColumnType], Callable[[Sql], Sql]] = {
    ("string", "integer"): _text_to_integer,
    ("string", "number"): to_number,
    ("string", "boolean"): _text_to_boolean,
    ("number", "integer"): _whole,
    ("number", "boolean"): _number_to_boolean,
    ("integer", "boolean"): _number_to_boolean,
    ("boolean", "integer"): lambda cell: cell.copy(),
    ("boolean", "number"): lambda cell: cell.copy(),
    ("datetime", "date"): _date_part,
    ("date", "datetime"): _date_to_datetime,
}


def _to_moment(target: ColumnType, pattern: str | None, values: Values) -> Callable[[Sql], Sql]:
    timed = integer(1 if target == "datetime" else 0)
    if pattern is not None:
        form = DateFormat.of(pattern)

        def made(cell: Sql) -> Sql:
            fixed = form.read_sql(trimmed(cell), values) if target == "date" else None
            return fixed if fixed is not None else call("dl_date", cell, values(pattern), timed)

        return made
    iso = DateFormat.of("YYYY-MM-DD")

    def standard(cell: Sql) -> Sql:
        day = iso.read_sql(cell, values)
        assert day is not None
        if target == "datetime":
            return call("dl_iso", cell, timed)
        short = op(call("length", cell), "=", integer(10))
        return when((short, day), (is_null(cell), exp.Null()), other=call("dl_iso", cell, timed))

    return standard


def empty_condition(column: Column) -> Callable[[Sql], Sql]:
    """Return what makes the condition that a plain cell of the column has nothing to convert."""
    if column.type != "string":
        return is_null
    return lambda cell: either(is_null(cell), op(trimmed(cell), "=", text("")))
