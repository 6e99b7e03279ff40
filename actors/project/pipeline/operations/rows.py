"""Steps that choose, order or count rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from sqlglot import exp

from ..cells import call, either, integer, is_empty, is_null, negate, op, trimmed, when
from ..cells import column as sql_column
from ..draft import Draft, Key
from ..step import BaseStep, ColumnName, ColumnNames, Scalar
from ..table import StepError
from .compare import Condition, Match, Operator, name_lists

__all__ = (
    "Deduplicate",
    "Filter",
    "Limit",
    "RemoveEmptyRows",
    "RowNumber",
    "Sample",
    "Skip",
    "Sort",
    "SortKey",
    "SplitToRows",
)


class Filter(BaseStep):
    """Keep the rows that meet a condition, or remove them; a comparison with an empty cell is never met."""

    operation: Literal["filter"] = "filter"
    column: ColumnName | None = Field(default=None, description="The column to compare.")
    operator: Operator | None = Field(default=None, description="How to compare.")
    value: Scalar | list[Scalar] = Field(default=None, description="What to compare with.")
    case_sensitive: bool = Field(default=True, description="Whether capitals count.")
    conditions: list[Condition] | None = Field(
        default=None,
        description="Several conditions, which may hold conditions in turn.",
        min_length=1,
        max_length=200,
    )
    match: Match = Field(default="all", description="Whether all or any of `conditions` must hold.")
    mode: Literal["keep", "remove"] = Field(
        default="keep", description="What happens to the rows that meet it."
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "combine": "match",
        "logic": "match",
        "action": "mode",
        "values": "value",
        "op": "operator",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "filter",
        "column": "amount",
        "operator": "greater_than",
        "value": 100,
    }

    @model_validator(mode="before")
    @classmethod
    def _joined(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        made = dict(data)
        name_lists(made)
        if isinstance(made.get("mode"), str):
            made["mode"] = {"include": "keep", "exclude": "remove", "drop": "remove"}.get(
                made["mode"], made["mode"]
            )
        return made

    @model_validator(mode="after")
    def _whole(self) -> Filter:
        self.condition()
        return self

    def condition(self) -> Condition:
        """Return what rows are compared by."""
        if self.conditions is not None:
            if self.column is not None or self.operator is not None:
                raise ValueError("give either `column` and `operator`, or `conditions`")
            return Condition(conditions=self.conditions, match=self.match)
        return Condition(
            column=self.column, operator=self.operator, value=self.value, case_sensitive=self.case_sensitive
        )

    def _apply(self, draft: Draft) -> None:
        condition = self.condition()
        draft.ready(draft.require(sorted(condition.columns())))
        met = condition.sql(draft)
        draft.keep(met if self.mode == "keep" else op(call("ifnull", met, integer(0)), "=", integer(0)))


class Deduplicate(BaseStep):
    """Keep the first of the rows that are alike in the columns given, or in all; two empty cells are alike."""

    operation: Literal["deduplicate"] = "deduplicate"
    columns: ColumnNames | None = Field(default=None, description="The columns to compare; left out, all.")
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "deduplicate", "columns": ["email"]}

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns) if self.columns else draft.names
        draft.settle()
        keys = [draft.columns[draft.index(name)].expr for name in names]
        # Groups of more than one row are listed by sorting the keys alone, and of those the first row stays.
        alike = exp.Select(
            expressions=[
                exp.alias_(call("min", draft.row), "row_id"),
                *(exp.alias_(key.copy(), f"k{i}") for i, key in enumerate(keys)),
            ]
        ).from_(draft.source)
        alike.set("group", exp.Group(expressions=[key.copy() for key in keys]))
        alike.set("having", exp.Having(this=op(call("count", exp.Star()), ">", integer(1))))
        alike.set("limit", exp.Limit(expression=integer(-1)))
        # One comparison of two lists, not a condition for each column: SQLite bounds the depth of expressions.
        same = exp.Is(
            this=exp.Tuple(expressions=[sql_column(f"k{i}", "alike") for i in range(len(keys))]),
            expression=exp.Tuple(expressions=[key.copy() for key in keys]),
        )
        draft.join(
            exp.Subquery(this=alike, alias=exp.TableAlias(this=exp.to_identifier("alike"))),
            kind="left",
            on=same,
        )
        first = sql_column("row_id", "alike")
        draft.keep(either(is_null(first), op(first, "=", draft.row)))


_DIRECTIONS = frozenset({"direction", "order", "descending"})


class SortKey(BaseModel):
    """A column to sort by."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: ColumnName = Field(description="The column.")
    direction: Literal["asc", "desc"] = Field(default="asc", description="Upwards or downwards.")

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict):
            return data
        made = {("name" if k == "column" else "direction" if k == "order" else k): v for k, v in data.items()}
        if "descending" in made:
            made["direction"] = "desc" if made.pop("descending") else "asc"
        if isinstance(made.get("direction"), str):
            word = made["direction"].lower()
            made["direction"] = {"ascending": "asc", "descending": "desc"}.get(word, word)
        return made


class Sort(BaseStep):
    """Order the rows by columns; rows that are alike keep their order."""

    operation: Literal["sort"] = "sort"
    columns: list[SortKey] = Field(
        description="The columns to sort by, the most important first.", min_length=1
    )
    nulls_position: Literal["first", "last"] = Field(default="last", description="Where empty cells go.")
    spellings: ClassVar[Mapping[str, str]] = {
        "by": "columns",
        "keys": "columns",
        "nulls": "nulls_position",
        "column": "columns",
    }
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "sort",
        "columns": [{"name": "amount", "direction": "desc"}],
    }

    @model_validator(mode="before")
    @classmethod
    def _one_direction(cls, data: Any) -> Any:
        """Let a direction beside the columns be that of each that has none of its own."""
        if not isinstance(data, dict) or not data.keys() & _DIRECTIONS:
            return data
        way = {name: value for name, value in data.items() if name in _DIRECTIONS}
        made = {name: value for name, value in data.items() if name not in way}
        for name in made.keys() & {"columns", "by", "keys", "column"}:
            named = made[name] if isinstance(made[name], list) else [made[name]]
            keys = [key if isinstance(key, dict) else {"name": key} for key in named]
            made[name] = [key if key.keys() & _DIRECTIONS else way | key for key in keys]
        return made

    def _apply(self, draft: Draft) -> None:
        draft.require(key.name for key in self.columns)
        draft.ready(key.name for key in self.columns)
        first = self.nulls_position == "first"
        keys = [Key(draft.take(key.name).expr, key.direction == "desc", first) for key in self.columns]
        draft.order = [*keys, *(draft.order or [Key(draft.row)])]


class Limit(BaseStep):
    """Keep the first rows."""

    operation: Literal["limit"] = "limit"
    count: int = Field(description="How many rows to keep.", ge=0, le=2**53)
    offset: int = Field(default=0, description="How many rows to pass over first.", ge=0, le=2**53)
    spellings: ClassVar[Mapping[str, str]] = {
        "limit": "count",
        "rows": "count",
        "n": "count",
        "skip": "offset",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "limit", "count": 1000}

    def _apply(self, draft: Draft) -> None:
        _cut(draft, self.count, self.offset)


class Skip(BaseStep):
    """Leave out the first rows."""

    operation: Literal["skip"] = "skip"
    count: int = Field(description="How many rows to leave out.", ge=0, le=2**53)
    spellings: ClassVar[Mapping[str, str]] = {
        "rows": "count",
        "n": "count",
        "skip": "count",
        "offset": "count",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "skip", "count": 2}

    def _apply(self, draft: Draft) -> None:
        _cut(draft, None, self.count)


def _cut(draft: Draft, limit: int | None, offset: int) -> None:
    # SQLite passes over the first rows without computing them, and what counts or fills must see them.
    draft.ready()
    if draft.order:
        draft.settle(limit=limit, offset=offset)
    else:
        draft.push(limit=limit, offset=offset)


class Sample(BaseStep):
    """Keep a random choice of rows, in their order; the same seed chooses the same rows."""

    operation: Literal["sample"] = "sample"
    count: int | None = Field(default=None, description="How many rows.", ge=0, le=2**53)
    fraction: float | None = Field(
        default=None, description="Which part of the rows, between 0 and 1.", ge=0, le=1
    )
    seed: int = Field(default=0, description="Another seed chooses other rows.", ge=0, lt=2**31)
    spellings: ClassVar[Mapping[str, str]] = {
        "size": "count",
        "n": "count",
        "rows": "count",
        "percent": "fraction",
    }
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "sample", "count": 100, "seed": 7}

    @model_validator(mode="after")
    def _one(self) -> Sample:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give either `count` or `fraction`")
        return self

    def _apply(self, draft: Draft) -> None:
        draft.settle()
        chance = random.Random(self.seed)
        factor, shift = chance.randrange(2**30, 2**31) | 1, chance.randrange(2**31)
        mixed = draft.row
        for _ in range(2):
            # A linear step, then its high half is mixed into the low one: small numbers, no overflow.
            mixed = exp.Mod(
                this=exp.Paren(this=op(op(mixed, "*", integer(factor)), "+", integer(shift))),
                expression=integer(2**31 - 1),
            )
        if self.fraction is not None:
            draft.keep(op(mixed, "<", integer(int(self.fraction * (2**31 - 1)))))
            return
        draft.order = [Key(mixed), Key(draft.row)]
        draft.add("\0row", draft.row, "integer")
        draft.settle(limit=self.count)
        row = draft.columns.pop()
        draft.row = row.expr
        draft.order = [Key(row.expr)]


class RemoveEmptyRows(BaseStep):
    """Remove the rows whose cells are all empty, in the columns given or in all."""

    operation: Literal["remove_empty_rows"] = "remove_empty_rows"
    columns: ColumnNames | None = Field(
        default=None, description="The columns to look at; left out, all.", min_length=1
    )
    match: Literal["all", "any"] = Field(
        default="all", description="Whether all or any of the cells must be empty."
    )
    whitespace: bool = Field(default=True, description="Whether white space alone is empty.")
    spellings: ClassVar[Mapping[str, str]] = {"treat_whitespace_as_empty": "whitespace", "how": "match"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "remove_empty_rows"}

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns) if self.columns else draft.names
        draft.ready(names)
        empties = [is_empty(c.expr, c, blank=self.whitespace) for c in draft.columns if c.name in set(names)]
        # All are empty when none is filled.
        empty = either(*empties) if self.match == "any" else negate(either(*map(negate, empties)))
        draft.keep(negate(empty))


class RowNumber(BaseStep):
    """Add a column that numbers the rows."""

    operation: Literal["row_number"] = "row_number"
    new_column: str = Field(default="row_number", description="The name of the column.")
    start: int = Field(default=1, description="The first number.", ge=-(2**53), le=2**53)
    position: Literal["first", "last"] = Field(default="first", description="Where the column goes.")
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "new_column",
        "name": "new_column",
        "target_column": "new_column",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "row_number", "newColumn": "no"}

    def _apply(self, draft: Draft) -> None:
        draft.free(self.new_column)
        draft.in_order()
        number = op(call("dl_count", integer(draft.slot())), "+", integer(self.start - 1))
        draft.add(self.new_column, number, "integer", at=0 if self.position == "first" else None)
        draft.seal()


class SplitToRows(BaseStep):
    """Make a row of each part of a text, as "a; b" to two rows; the other cells are repeated."""

    operation: Literal["split_to_rows"] = "split_to_rows"
    column: ColumnName = Field(description="The column to split.")
    delimiter: str = Field(
        default=",", description="What stands between the parts.", min_length=1, max_length=100
    )
    trim: bool = Field(default=True, description="Whether white space around the parts is removed.")
    spellings: ClassVar[Mapping[str, str]] = {
        "separator": "delimiter",
        "trim_results": "trim",
        "source_column": "column",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "split_to_rows", "column": "tags", "delimiter": ";"}

    def _apply(self, draft: Draft) -> None:
        column = draft.take(self.column)
        if column.type != "string":
            raise StepError(
                f'"{self.column}" holds values of type {column.type}, which have no parts.',
                hint='Cast it to "string" first if its text is meant.',
                column=self.column,
            )
        draft.in_order()
        draft.push()
        i = draft.index(self.column)
        cell, mark = draft.columns[i].expr, draft.value(self.delimiter)
        many = op(call("instr", cell, mark), ">", integer(0))
        pieces = when((many, call("dl_pieces", cell, mark)), other=call("json_array", cell))
        source = exp.Table(
            this=call("json_each", pieces), alias=exp.TableAlias(this=exp.to_identifier("part"))
        )
        draft.join(source, kind="cross")
        draft.number()
        value: Any = exp.column("value", "part")
        if self.trim:
            value = trimmed(value)
        draft.replace(self.column, value, "string")
        draft.push()
