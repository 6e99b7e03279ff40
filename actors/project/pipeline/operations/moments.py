"""Steps on dates and times. Cells hold ISO text, so that order and comparison are those of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from sqlglot import exp

from ..cells import Sql, call, cast, integer, op, text, when
from ..conversions import conversion, empty_condition
from ..dates import MONTHS, WEEKDAYS, DateFormat
from ..draft import Column, Draft
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import ColumnType, StepError

__all__ = ("DatePart", "FormatDate", "ParseDate")

OnError = Literal["fail", "null", "skip"]


class ParseDate(BaseStep):
    """Read dates that are written in one format, as DD.MM.YYYY; nothing is guessed."""

    operation: Literal["parse_date"] = "parse_date"
    columns: ColumnNames = Field(description="The columns.", min_length=1)
    format: str = Field(
        description="How they are written: YYYY, MM, DD, MMM, HH, mm, ss …", min_length=1, max_length=100
    )
    on_error: OnError = Field(
        default="null",
        description="What a cell does that is no date: end the run, become empty, or drop its row.",
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "date_format": "format",
        "pattern": "format",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "parse_date",
        "columns": ["born"],
        "format": "DD.MM.YYYY",
    }

    def _apply(self, draft: Draft) -> None:
        form = DateFormat.of(self.format)
        kind: ColumnType = "datetime" if form.has_time else "date"
        for name in draft.require(self.columns):
            column = draft.take(name)
            if column.type != "string":
                raise StepError(
                    f'"{name}" holds values of type {column.type}, not text.',
                    hint='A date is shown in another form by "format_date".', column=name,
                )  # fmt: skip
            make = conversion(column, kind, draft.value, self.format)
            draft.convert(
                name,
                make,
                kind,
                mode=self.on_error,
                empty=empty_condition(column),
                what=f"is no date of the form {self.format}",
            )


class FormatDate(BaseStep):
    """Write dates in another form; the column becomes text."""

    operation: Literal["format_date"] = "format_date"
    columns: ColumnNames = Field(description="The columns of dates.", min_length=1)
    format: str = Field(
        description="The form: YYYY, MM, DD, MMMM, dddd, HH, mm …", min_length=1, max_length=100
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "date_format": "format",
        "pattern": "format",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "format_date",
        "columns": ["date"],
        "format": "D MMMM YYYY",
    }

    def _apply(self, draft: Draft) -> None:
        form = DateFormat.of(self.format)
        for name in draft.require(self.columns):
            column = _dates(draft, name)
            made = form.show_sql(column.expr, draft.value)
            if made is None:
                made = call("dl_show_date", column.expr, draft.value(self.format))
            draft.replace(name, made, "string")


class DatePart(BaseStep):
    """Take a part of dates into a column: the year, the month, the weekday (Monday is 1)."""

    operation: Literal["date_part"] = "date_part"
    column: ColumnName = Field(description="The column of dates.")
    part: Literal[
        "year",
        "month",
        "day",
        "quarter",
        "week",
        "weekday",
        "day_of_year",
        "hour",
        "minute",
        "second",
        "month_name",
        "weekday_name",
        "year_month",
        "date",
    ] = Field(description="The part; weeks are those of ISO 8601.")
    new_column: str | None = Field(
        default=None, description="The column to write; left out, as `date_year`.", min_length=1
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "target_column": "new_column",
        "source_column": "column",
        "unit": "part",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "date_part", "column": "date", "part": "year"}

    @field_validator("part", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        names = {"dow": "weekday", "doy": "day_of_year", "day_of_week": "weekday", "iso_week": "week"}
        return names.get(value, value) if isinstance(value, str) else value

    def _apply(self, draft: Draft) -> None:
        column = _dates(draft, self.column)
        kind: ColumnType = "integer"
        if self.part in ("month_name", "weekday_name", "year_month"):
            kind = "string"
        elif self.part == "date":
            kind = "date"
        draft.put(self.new_column or f"{self.column}_{self.part}", _part(column.expr, self.part), kind)


def _dates(draft: Draft, name: str) -> Column:
    column = draft.take(name)
    if column.type not in ("date", "datetime"):
        raise StepError(
            f'"{name}" holds values of type {column.type}, not dates.',
            hint='Read them with "parse_date" first, or with "cast_column" when they are ISO dates.',
            column=name,
        )
    return column


def _part(cell: Sql, part: str) -> Sql:
    places = {
        "year": (1, 4),
        "month": (6, 2),
        "day": (9, 2),
        "hour": (12, 2),
        "minute": (15, 2),
        "second": (18, 2),
    }
    if part in places:
        digits = call("substr", op(cell, "||", text("T00:00:00")), *map(integer, places[part]))
        return cast(digits, "INTEGER")
    if part == "year_month":
        return call("substr", cell, integer(1), integer(7))
    if part == "date":
        return call("substr", cell, integer(1), integer(10))
    month = cast(call("substr", cell, integer(6), integer(2)), "INTEGER")
    if part == "quarter":
        return op(op(month, "+", integer(2)), "/", integer(3))
    day = call("substr", cell, integer(1), integer(10))
    if part == "day_of_year":
        return cast(call("strftime", text("%j"), day), "INTEGER")
    weekday = op(
        exp.Mod(
            this=exp.Paren(this=op(cast(call("strftime", text("%w"), day), "INTEGER"), "+", integer(6))),
            expression=integer(7),
        ),
        "+",
        integer(1),
    )
    if part == "weekday":
        return weekday
    if part == "week":
        # The week of a date is that of its Thursday (ISO 8601).
        thursday = call("date", day, text("-3 days"), text("weekday 4"))
        number = op(cast(call("strftime", text("%j"), thursday), "INTEGER"), "-", integer(1))
        return op(op(number, "/", integer(7)), "+", integer(1))
    names = MONTHS if part == "month_name" else WEEKDAYS
    of = month if part == "month_name" else weekday
    return when(*((op(of, "=", integer(i)), text(n)) for i, n in enumerate(names, 1)))
