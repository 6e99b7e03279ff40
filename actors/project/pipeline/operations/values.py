"""Steps that convert, round, fill and group the values of cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from sqlglot import exp

from ..cells import Sql, as_text, call, integer, is_empty, is_null, op, text, when
from ..conversions import conversion, empty_condition
from ..draft import Column, Draft, Key
from ..formula import compile_formula
from ..numbers import NumberStyle, show_number
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import NUMERIC, ColumnType, StepError, common_type
from .compare import typed_value

__all__ = (
    "Bin",
    "CastColumn",
    "Compute",
    "FillAcross",
    "FillDown",
    "FillUp",
    "FillValue",
    "ParseNumber",
    "Round",
)

OnError = Literal["fail", "null", "skip"]
_ON_ERROR = (
    "What a cell does that does not convert: end the run, become empty, or drop its row; all are counted."
)


class CastColumn(BaseStep):
    """Convert a column to another type; a cell converts whole or not at all."""

    operation: Literal["cast_column"] = "cast_column"
    column: ColumnName = Field(description="The column.")
    target_type: ColumnType = Field(description="The type to convert to.")
    on_error: OnError = Field(default="fail", description=_ON_ERROR)
    date_format: str | None = Field(
        default=None,
        description="How dates are written, as DD.MM.YYYY; left out, as ISO dates.",
        max_length=100,
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "to": "target_type",
        "new_type": "target_type",
        "target": "target_type",
        "format": "date_format",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "cast_column",
        "column": "amount",
        "targetType": "number",
        "onError": "null",
    }

    @field_validator("target_type", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        names = {
            "text": "string",
            "str": "string",
            "int": "integer",
            "float": "number",
            "bool": "boolean",
            "decimal": "number",
            "timestamp": "datetime",
        }
        return names.get(value.lower(), value.lower()) if isinstance(value, str) else value

    def _apply(self, draft: Draft) -> None:
        column = draft.take(self.column)
        if column.type == "string" and self.target_type == "string":
            return
        make = conversion(column, self.target_type, draft.value, self.date_format)
        if self.target_type == "string":
            draft.replace(self.column, make(column.expr), "string")
            return
        if (column.type, self.target_type) in _SAFE:
            scale = column.scale if self.target_type == "number" else None
            draft.replace(self.column, make(column.expr), self.target_type, scale)
            return
        draft.convert(
            self.column, make, self.target_type, mode=self.on_error, empty=empty_condition(column),
            what=f"is no {_NAMES[self.target_type]}" + (f" of the form {self.date_format}" if self.date_format else ""),
        )  # fmt: skip


_NAMES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "date and time",
}
_SAFE = {
    ("integer", "number"), ("integer", "integer"), ("number", "number"), ("boolean", "boolean"), ("date", "date"),
    ("datetime", "datetime"), ("boolean", "integer"), ("boolean", "number"), ("datetime", "date"),
    ("date", "datetime"),
}  # fmt: skip


class ParseNumber(BaseStep):
    """Read numbers as people write them: 1.234,50 €, 12 %, (100); the column becomes a column of numbers."""

    operation: Literal["parse_number"] = "parse_number"
    columns: ColumnNames = Field(description="The columns.", min_length=1)
    style: NumberStyle = Field(
        default="en", description="en 1,234.5 · de 1.234,5 · fr 1 234,5 · ch 1'234.5 · plain 1234.5"
    )
    on_error: OnError = Field(default="null", description=_ON_ERROR)
    spellings: ClassVar[Mapping[str, str]] = {"column": "columns", "locale": "style", "format": "style"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "parse_number", "columns": ["price"], "style": "de"}

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns):
            column = draft.take(name)
            if column.type in NUMERIC:
                continue
            if column.type != "string":
                raise StepError(f'"{name}" holds values of type {column.type}, not text.', column=name)
            draft.convert(
                name,
                lambda cell: when(
                    (op(call("ifnull", cell, text("")), "=", text("")), exp.Null()),
                    other=call("dl_number", cell, text(self.style)),
                ),
                "number", mode=self.on_error, empty=empty_condition(column),
                what=f"is no number in the style {self.style}",
            )  # fmt: skip


class Round(BaseStep):
    """Round numbers to some decimals: to the nearest, up or down; halves go away from zero."""

    operation: Literal["round"] = "round"
    columns: ColumnNames = Field(description="The columns.", min_length=1)
    decimals: int = Field(default=0, description="How many decimals stay.", ge=0, le=12)
    direction: Literal["nearest", "up", "down"] = Field(default="nearest", description="Where to round to.")
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "digits": "decimals",
        "places": "decimals",
        "method": "direction",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "round", "columns": ["amount"], "decimals": 1}

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns):
            column = draft.take(name)
            if column.type not in NUMERIC:
                raise StepError(
                    f'"{name}" holds values of type {column.type}, which cannot be rounded.',
                    hint='Cast it to "number" first.', column=name,
                )  # fmt: skip
            if column.type == "integer":
                continue
            ways = {"nearest": "dl_round", "up": "dl_ceil", "down": "dl_floor"}
            real = op(call("typeof", column.expr), "=", text("real"))
            rounded = call(ways[self.direction], column.expr, integer(self.decimals))
            scale = self.decimals or None
            draft.replace(name, when((real, rounded), other=column.expr), "number", scale)


class _Fill(BaseStep):
    columns: ColumnNames = Field(description="The columns to fill.", min_length=1)
    treat_whitespace_as_empty: bool = Field(default=False, description="Whether white space alone is empty.")
    spellings: ClassVar[Mapping[str, str]] = {"column": "columns", "whitespace": "treat_whitespace_as_empty"}

    def _fill(self, draft: Draft, direction: int) -> None:
        row = draft.row if direction > 0 else exp.Neg(this=draft.row.copy())
        for name in draft.require(self.columns):
            column = draft.take(name, uses=1)
            blank = integer(1 if self.treat_whitespace_as_empty else 0)
            filled = call("dl_fill", integer(draft.slot()), row, column.expr, blank)
            draft.replace(name, filled, scale=column.scale)
        draft.seal()


class FillDown(_Fill):
    """Fill empty cells with the last one above that is not empty."""

    operation: Literal["fill_down"] = "fill_down"
    example: ClassVar[Mapping[str, Any]] = {"operation": "fill_down", "columns": ["region"]}

    def _apply(self, draft: Draft) -> None:
        draft.in_order()
        self._fill(draft, 1)


class FillUp(_Fill):
    """Fill empty cells with the next one below that is not empty."""

    operation: Literal["fill_up"] = "fill_up"
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "fill_up", "columns": ["region"]}

    def _apply(self, draft: Draft) -> None:
        draft.require(self.columns)
        draft.settle()
        draft.order = [Key(draft.row, descending=True)]
        reverse = draft.query(ordered=True)
        draft.over(reverse, order=False)
        self._fill(draft, -1)
        draft.push()
        draft.order = [Key(draft.row)]


class FillAcross(BaseStep):
    """Fill empty cells with the last one to the left, in the columns given, that is not empty."""

    operation: Literal["fill_across"] = "fill_across"
    columns: ColumnNames = Field(description="The columns, from left to right.", min_length=2)
    treat_whitespace_as_empty: bool = Field(default=False, description="Whether white space alone is empty.")
    spellings: ClassVar[Mapping[str, str]] = {"whitespace": "treat_whitespace_as_empty"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "fill_across", "columns": ["q1", "q2", "q3"]}

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns)
        draft.ready(names)
        chosen = [draft.columns[draft.index(name)] for name in names]
        left: list[Column] = []
        for column in chosen:
            left.append(column)
            if len(left) == 1:
                continue
            kind = common_type(c.type for c in left)
            cases = [
                (exp.Not(this=exp.Paren(this=is_empty(c.expr, c, blank=self.treat_whitespace_as_empty))),
                 _shown(c, kind)) for c in reversed(left)
            ]  # fmt: skip
            draft.replace(
                column.name,
                when(*cases, other=_shown(column, kind)),
                kind,
                column.scale if len({c.scale for c in left}) == 1 else None,
            )


def _shown(column: Column, kind: ColumnType) -> Sql:
    return as_text(column) if kind == "string" else column.expr


class FillValue(BaseStep):
    """Fill empty cells with a value."""

    operation: Literal["fill_value"] = "fill_value"
    columns: ColumnNames = Field(description="The columns to fill.", min_length=1)
    value: str | bool | int | float = Field(description="What to write into empty cells.")
    treat_whitespace_as_empty: bool = Field(default=False, description="Whether white space alone is empty.")
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "whitespace": "treat_whitespace_as_empty",
        "with": "value",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "fill_value",
        "columns": ["city"],
        "value": "unknown",
    }

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns):
            column = draft.take(name)
            value = typed_value(column, self.value)
            kind: ColumnType = (
                "number" if column.type == "integer" and isinstance(value, float) else column.type
            )
            empty = is_empty(column.expr, column, blank=self.treat_whitespace_as_empty)
            draft.replace(name, when((empty, draft.value(value)), other=column.expr), kind)


class Compute(BaseStep):
    """Compute a column by a formula, as `price * quantity` or `if(amount > 10, "big", "small")`."""

    operation: Literal["compute"] = "compute"
    new_column: str = Field(
        description="The column to write; a column of that name is replaced.", min_length=1
    )
    formula: str = Field(
        description="The formula: see the table of its functions.", min_length=1, max_length=5_000
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "expression": "formula",
        "column": "new_column",
        "name": "new_column",
        "target_column": "new_column",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "compute",
        "newColumn": "total",
        "formula": "price * quantity",
    }

    def _apply(self, draft: Draft) -> None:
        if self.new_column not in draft.names:
            draft.free(self.new_column)
        draft.ready()
        made, kind = compile_formula(self.formula, draft)
        draft.put(self.new_column, made, kind)


class Bin(BaseStep):
    """Put numbers into ranges: by limits, or by a width."""

    operation: Literal["bin"] = "bin"
    column: ColumnName = Field(description="The column of numbers.")
    new_column: str = Field(description="The column that says the range.", min_length=1)
    limits: list[float] | None = Field(
        default=None,
        description="Where one range ends and the next begins, rising.",
        min_length=1,
        max_length=500,
    )
    labels: list[str] | None = Field(default=None, description="Names of the ranges: one more than limits.")
    width: float | None = Field(
        default=None, description="The width of each range, in place of limits.", gt=0
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "breaks": "limits",
        "edges": "limits",
        "bins": "limits",
        "boundaries": "limits",
        "size": "width",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "bin",
        "column": "age",
        "newColumn": "group",
        "limits": [18, 65],
    }

    @model_validator(mode="after")
    def _whole(self) -> Bin:
        if (self.limits is None) == (self.width is None):
            raise ValueError("give either `limits` or `width`")
        if self.limits is not None and sorted(set(self.limits)) != self.limits:
            raise ValueError("`limits` has to be rising")
        if self.labels is not None and (self.limits is None or len(self.labels) != len(self.limits) + 1):
            raise ValueError("`labels` has to have one name more than `limits`")
        return self

    def _apply(self, draft: Draft) -> None:
        column = draft.take(self.column)
        if column.type not in NUMERIC:
            raise StepError(
                f'"{self.column}" holds values of type {column.type}, not numbers.',
                hint='Cast it to "number" first.', column=self.column,
            )  # fmt: skip
        draft.put(self.new_column, self._range(draft, column.expr), "string" if self.limits else "number")

    def _range(self, draft: Draft, cell: Sql) -> Sql:
        if self.limits is None:
            assert self.width is not None
            return op(
                call(
                    "dl_floor", op(cell, "/", op(draft.value(self.width), "*", draft.value(1.0))), integer(0)
                ),
                "*",
                draft.value(self.width),
            )
        shown = [show_number(limit) for limit in self.limits]
        named = self.labels or [
            f"< {shown[0]}", *(f"{a} to < {b}" for a, b in pairwise(shown)), f">= {shown[-1]}"
        ]  # fmt: skip
        cases = [
            (op(cell, "<", draft.value(limit)), draft.value(name))
            for limit, name in zip(self.limits, named, strict=False)
        ]
        return when((is_null(cell), exp.Null()), *cases, other=draft.value(named[-1]))
