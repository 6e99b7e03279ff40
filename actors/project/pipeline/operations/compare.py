"""Conditions on cells, typed: numbers compare as numbers, text by code points, dates by time.

A comparison with NULL is never true, whichever way it is asked: neither `equals` nor `not_equals` finds an empty
cell, and a filter that removes rows leaves those alone. `contains` and its like look for the text as it stands.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from sqlglot import exp

from ..cells import Sql, as_text, both, call, either, integer, is_empty, negate, only_text, op, text
from ..conversions import to_number
from ..draft import Column, Draft
from ..functions import compile_pattern, iso_text
from ..numbers import parse_number
from ..step import ColumnName, Scalar, snake_case
from ..table import NUMERIC, StepError

__all__ = ("Condition", "Match", "Operator", "name_lists", "typed_value")

MAX_DEPTH = 10
"""Conditions within conditions: SQLite's parser bounds the depth of a statement."""

_NAMES = {
    "=": "equals", "==": "equals", "eq": "equals", "is": "equals", "equal": "equals",
    "!=": "not_equals", "<>": "not_equals", "ne": "not_equals", "neq": "not_equals", "not_equal": "not_equals",
    ">": "greater_than", "gt": "greater_than", "<": "less_than", "lt": "less_than",
    ">=": "greater_than_or_equal", "gte": "greater_than_or_equal", "ge": "greater_than_or_equal",
    "<=": "less_than_or_equal", "lte": "less_than_or_equal", "le": "less_than_or_equal",
    "greater_than_or_equals": "greater_than_or_equal", "less_than_or_equals": "less_than_or_equal",
    "empty": "is_empty", "not_empty": "is_not_empty", "is_null": "is_empty", "not_null": "is_not_empty",
    "is_not_null": "is_not_empty", "regex": "matches", "matches_regex": "matches", "not_regex": "not_matches",
    "begins_with": "starts_with",
}  # fmt: skip


def _operator(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    named = snake_case(value.strip()).replace(" ", "_")
    return _NAMES.get(named, named)


Operator = Annotated[
    Literal[
        "equals", "not_equals", "contains", "not_contains", "starts_with", "ends_with",
        "greater_than", "greater_than_or_equal", "less_than", "less_than_or_equal",
        "in", "not_in", "between", "is_empty", "is_not_empty", "matches", "not_matches",
    ],
    BeforeValidator(_operator),
]  # fmt: skip
Match = Annotated[
    Literal["all", "any"],
    BeforeValidator(
        lambda given: _JOINED.get(given.lower(), given.lower()) if isinstance(given, str) else given
    ),
]
_JOINED = {"and": "all", "or": "any"}
_SIGNS = {
    "equals": "=", "not_equals": "<>", "greater_than": ">", "greater_than_or_equal": ">=",
    "less_than": "<", "less_than_or_equal": "<=",
}  # fmt: skip
_NOT = {"not_contains": "contains", "not_matches": "matches", "not_in": "in"}


def name_lists(made: dict[str, Any]) -> None:
    """Turn `{"and": […]}` and `{"or": […]}` into `conditions` and `match`, in place."""
    for word, match in _JOINED.items():
        if isinstance(made.get(word), list):
            made.setdefault("conditions", made.pop(word))
            made["match"] = match


class Condition(BaseModel):
    """One comparison, or several joined by `match`: conditions within conditions say and/or in any depth."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, str_max_length=10_000
    )

    column: ColumnName | None = Field(default=None, description="The column to compare.")
    operator: Operator | None = Field(default=None, description="How to compare.")
    value: Scalar | list[Scalar] = Field(
        default=None,
        description="What to compare with; a list for `in` and for `between` (both ends belong).",
    )
    case_sensitive: bool = Field(default=True, description="Whether capitals count.")
    conditions: list[Condition] | None = Field(
        default=None,
        description="Conditions to join, in place of a comparison.",
        min_length=1,
        max_length=200,
    )
    match: Match = Field(default="all", description="Whether all or any of them must hold.")

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        made = dict(data)
        name_lists(made)
        for key in ("logic", "combine"):
            if isinstance(made.get(key), str):
                made["match"] = made.pop(key)
        if "values" in made:
            made.setdefault("value", made.pop("values"))
        return made

    @model_validator(mode="after")
    def _whole(self) -> Condition:
        if self.conditions is not None:
            if self.column is not None or self.operator is not None:
                raise ValueError("give either `column` and `operator`, or `conditions`")
        elif self.column is None or self.operator is None:
            raise ValueError("a comparison needs `column` and `operator`")
        return self

    def columns(self) -> set[str]:
        """Return the names of the columns that are read."""
        if self.conditions is not None:
            return set().union(*(c.columns() for c in self.conditions))
        assert self.column is not None
        return {self.column}

    def sql(self, draft: Draft, depth: int = 0) -> Sql:
        """Return the condition over plain columns.

        Raises:
            StepError: it does not fit the columns, or is nested too deep.
        """
        if depth > MAX_DEPTH:
            raise StepError(
                f"the conditions are nested deeper than {MAX_DEPTH}.", hint="Use several filters."
            )
        if self.conditions is not None:
            parts = [c.sql(draft, depth + 1) for c in self.conditions]
            return both(*parts) if self.match == "all" else either(*parts)
        assert self.column is not None and self.operator is not None
        column = draft.take(self.column)
        if self.operator == "is_empty":
            return is_empty(column.expr, column)
        if self.operator == "is_not_empty":
            return negate(is_empty(column.expr, column))
        if self.operator in _NOT:
            return negate(self._compare(draft, column, _NOT[self.operator]))
        return self._compare(draft, column, self.operator)

    def _compare(self, draft: Draft, column: Column, operator: str) -> Sql:
        if operator == "in":
            return self._among(draft, column)
        if operator == "between":
            low, high = self._pair()
            return both(self._ordered(draft, column, ">=", low), self._ordered(draft, column, "<=", high))
        if isinstance(self.value, list):
            raise StepError(
                f'"{self.operator}" compares with one value, not a list.', hint='Use the operator "in".'
            )
        if self.value is None:
            raise StepError(
                f'"{self.operator}" with null is never true.',
                hint='Use the operator "is_empty" or "is_not_empty".',
            )
        if operator in _SIGNS:
            return self._ordered(draft, column, _SIGNS[operator], self.value)
        return self._looked_for(draft, column, operator)

    def _pair(self) -> tuple[Scalar, Scalar]:
        if not isinstance(self.value, list) or len(self.value) != 2 or None in self.value:
            raise StepError('"between" needs a list of two values.', hint='For example "value": [10, 20].')
        return self.value[0], self.value[1]

    def _among(self, draft: Draft, column: Column) -> Sql:
        if not isinstance(self.value, list):
            raise StepError('"in" needs a list of values.', hint='For example "value": ["a", "b"].')
        values = [v for v in self.value if v is not None]
        if not values:
            return exp.Boolean(this=False)
        numbers = [v for v in values if _is_number(v)] if column.type == "string" else []
        words = [v for v in values if v not in numbers or not _is_number(v)]
        parts: list[Sql] = []
        if words:
            cell, fold = self._folded(column)
            listed = [_moment(column, draft.value(fold(typed_value(column, v)))) for v in words]
            parts.append(exp.In(this=cell, expressions=listed))
        if numbers:
            parts.append(exp.In(this=to_number(column.expr), expressions=[draft.value(n) for n in numbers]))
        return either(*parts)

    def _ordered(self, draft: Draft, column: Column, sign: str, value: Scalar) -> Sql:
        if column.type == "string" and _is_number(value):
            return op(to_number(column.expr), sign, draft.value(value))
        cell, fold = self._folded(column)
        return op(cell, sign, _moment(column, draft.value(fold(typed_value(column, value)))))

    def _folded(self, column: Column) -> tuple[Sql, Any]:
        if self.case_sensitive or column.type != "string":
            return _moment(column, column.expr), lambda value: value
        return (
            only_text(column.expr, call("lower", column.expr), "dl_fold"),
            lambda value: value.casefold() if isinstance(value, str) else value,
        )

    def _looked_for(self, draft: Draft, column: Column, operator: str) -> Sql:
        wanted = _shown(self.value)
        cell = as_text(column)
        if operator == "matches":
            compile_pattern(wanted, not self.case_sensitive)
            return call("dl_match", draft.value(("c" if self.case_sensitive else "i") + wanted), cell)
        if not self.case_sensitive:
            cell, wanted = only_text(cell, call("lower", cell), "dl_fold"), wanted.casefold()
        value = draft.value(wanted)
        if operator == "contains":
            return op(call("instr", cell, value), ">", integer(0))
        if operator == "starts_with":
            return op(call("substr", cell, integer(1), integer(len(wanted))), "=", value)
        tail = (
            call("substr", cell, integer(-len(wanted)))
            if wanted
            else call("substr", cell, integer(1), integer(0))
        )
        return both(op(tail, "=", value), op(call("length", cell), ">=", integer(len(wanted))))


def _moment(column: Column, sql: Sql) -> Sql:
    # Moments may be written with a space or a T, with or without seconds: they compare as SQLite reads them.
    if column.type != "datetime":
        return sql.copy()
    return call("strftime", text("%Y-%m-%dT%H:%M:%f"), sql)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def typed_value(column: Column, value: Scalar) -> str | int | float:
    """Return a value as cells of the column hold it.

    Raises:
        StepError: no cell of the column can ever be this value.
    """
    if column.type == "string":
        return _shown(value)
    if column.type in NUMERIC:
        number = value if isinstance(value, int | float) else parse_number(str(value))
        if number is not None:
            return int(number) if isinstance(number, bool) else number
    elif column.type == "boolean":
        word = _shown(value).strip().lower()
        if word in ("true", "1", "yes", "1.0"):
            return 1
        if word in ("false", "0", "no", "0.0"):
            return 0
    elif isinstance(value, str) and (moment := iso_text(value, int(column.type == "datetime"))):
        return moment
    examples = {"boolean": "true or false", "date": '"2024-01-31"', "datetime": '"2024-01-31T12:00:00"'}
    raise StepError(
        f'"{column.name}" holds values of type {column.type}; {value!r} is none.',
        hint=f"Give {examples.get(column.type, 'a number')}, or cast the column to another type first.",
        column=column.name,
    )
