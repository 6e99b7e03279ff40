"""Steps that make one row of many: groups and what is counted, added or picked in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from sqlglot import exp

from ..cells import Sql, as_text, both, call, cast, integer, is_empty, is_null, negate, op, when
from ..draft import Column, Draft, Key
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import NUMERIC, ColumnType, StepError

__all__ = ("Aggregate", "Function", "GroupBy", "group")

_NAMES = {
    "avg": "mean",
    "average": "mean",
    "distinct": "count_distinct",
    "nunique": "count_distinct",
    "unique": "count_distinct",
    "minimum": "min",
    "maximum": "max",
    "total": "sum",
    "concat": "join",
    "string_agg": "join",
    "size": "count_rows",
    "countDistinct": "count_distinct",
    "countRows": "count_rows",
}
Function = Annotated[
    Literal[
        "sum",
        "mean",
        "count",
        "count_rows",
        "count_distinct",
        "min",
        "max",
        "first",
        "last",
        "median",
        "join",
    ],
    BeforeValidator(lambda value: _NAMES.get(value, value) if isinstance(value, str) else value),
]


class Aggregate(BaseModel):
    """One value for each group: a function over a column; `count` counts cells that are not empty."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    function: Function = Field(description="What to make of the cells; empty ones are passed over.")
    column: ColumnName | None = Field(default=None, description="The column; not needed for `count_rows`.")
    new_column: str | None = Field(
        default=None, description="The name; left out, as `amount_sum`.", min_length=1
    )
    separator: str = Field(default=", ", description="What goes between, for `join`.", max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {
            "aggregation": "function",
            "agg": "function",
            "operation": "function",
            "as": "new_column",
            "alias": "new_column",
            "name": "new_column",
            "func": "function",
        }
        made = {names.get(k, k): v for k, v in data.items()}
        if made.get("function") == "count" and made.get("column") in (None, "*"):
            made.update(function="count_rows", column=None)
        return made

    @property
    def name(self) -> str:
        """The name of the new column."""
        return self.new_column or (f"{self.column}_{self.function}" if self.column is not None else "count")


class GroupBy(BaseStep):
    """Make one row of the rows that are alike in some columns; groups come in the order of their first rows."""

    operation: Literal["group"] = "group"
    columns: ColumnNames = Field(
        default_factory=list, description="The columns to group by; none makes one row of all."
    )
    aggregates: list[Aggregate] = Field(
        description="What to make of each group.", min_length=1, max_length=500
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "by": "columns",
        "group_by": "columns",
        "group_columns": "columns",
        "aggregations": "aggregates",
    }
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "group",
        "columns": ["city"],
        "aggregates": [{"function": "sum", "column": "amount", "newColumn": "total"}],
    }

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns)
        draft.require(a.column for a in self.aggregates if a.column is not None)
        made = [*names, *(a.name for a in self.aggregates)]
        for name in made:
            if made.count(name) > 1:
                raise StepError(
                    f'two columns would have the name "{name}".', hint="Give another `newColumn`."
                )
        group(draft, names, list(self.aggregates))


def group(draft: Draft, names: list[str], aggregates: list[Aggregate]) -> None:
    """Make one row of each group; the columns are then those of `names` and one for each aggregate."""
    for a in aggregates:
        if a.function != "count_rows" and a.column is None:
            raise StepError(f'"{a.function}" needs a column.', hint='Use "count_rows" to count rows.')
        column = draft.columns[draft.index(a.column)] if a.column is not None else None
        if column and a.function in ("sum", "mean", "median") and column.type not in (*NUMERIC, "boolean"):
            raise StepError(
                f'"{a.column}" holds values of type {column.type}, which have no {a.function}.',
                hint='Cast it to "number" first, or use count, min, max, first or last.',
                column=a.column,
            )
    picks = any(a.function in ("first", "last") for a in aggregates)
    if picks:
        # What is first or last is a row: its number is found in the group, its cell is looked up by it.
        draft.settle()
    else:
        draft.in_order()
        draft.ready()
    base, stored = draft.source, {c.name: c for c in draft.columns}
    prepared = _with_windows(draft, names, aggregates)
    keys = [draft.columns[draft.index(n)] for n in names]
    picked = [_aggregate(draft, a, i, prepared) for i, a in enumerate(aggregates)]
    draft.columns = [*keys, *picked]
    query = draft.query()
    query.set("order", None)
    query.expressions[0].set("this", call("min", draft.row))
    if keys:
        query.set("group", exp.Group(expressions=[k.expr.copy() for k in keys]))
    else:
        # Without keys SQL makes one row of no rows too, and min(row_id) of it is NULL.
        query.expressions[0].set("this", call("ifnull", call("min", draft.row), integer(1)))
    draft.over(query)
    for i, a in enumerate(aggregates, len(keys)):
        if a.column is not None and a.function in ("first", "last"):
            _look_up(draft, i, base, stored[a.column])
    draft.order = [Key(draft.row)]


def _aggregate(draft: Draft, a: Aggregate, i: int, prepared: dict[str, Column]) -> Column:
    if a.column is None or a.function == "count_rows":
        return Column(a.name, "integer", call("count", exp.Star()))
    column = prepared[a.column]
    cell = column.expr
    value: Sql = when((negate(is_empty(cell, column)), cell)) if column.type == "string" else cell
    if a.function == "count":
        return Column(a.name, "integer", call("count", value))
    if a.function == "count_distinct":
        return Column(a.name, "integer", exp.Count(this=exp.Distinct(expressions=[value.copy()])))
    if a.function in ("min", "max"):
        return Column(a.name, column.type, call(a.function, value), column.scale)
    if a.function in ("first", "last"):
        row = when((negate(is_empty(cell, column)), draft.row))
        return Column(a.name, column.type, call("min" if a.function == "first" else "max", row), column.scale)
    if a.function == "sum":
        kind: ColumnType = "number" if column.type == "number" else "integer"
        return Column(a.name, kind, call("sum", cell), column.scale)
    if a.function == "mean":
        return Column(a.name, "number", call("avg", cell))
    helper = draft.columns[draft.index(f"\0{a.function}{i}")].expr
    if a.function == "join":
        return Column(a.name, "string", call("max", helper))
    return Column(a.name, "number", call("avg", helper))


def _with_windows(draft: Draft, keys: list[str], aggregates: list[Aggregate]) -> dict[str, Column]:
    """Add what the median and the joined text of a group need; return the columns by name, plain."""
    partition = [draft.columns[draft.index(n)].expr for n in keys]
    extra: list[Column] = []
    for i, a in enumerate(aggregates):
        if a.function == "join" and a.column:
            column = draft.columns[draft.index(a.column)]
            extra.append(Column(f"\0join{i}", "string", _joined(draft, column, partition, a.separator)))
        elif a.function == "median" and a.column:
            cell = draft.columns[draft.index(a.column)].expr
            extra += [
                Column(
                    f"\0rank{i}", "integer", _window(call("row_number"), [*partition, is_null(cell)], [cell])
                ),
                Column(f"\0all{i}", "integer", _window(call("count", cell), partition, [])),
            ]
    if extra:
        draft.columns.extend(extra)
        draft.push()
        for i, a in enumerate(aggregates):
            if a.function == "median" and a.column:
                rank, count = (draft.columns[draft.index(f"\0{n}{i}")].expr for n in ("rank", "all"))
                middle = [cast(op(op(count, "+", integer(n)), "/", integer(2)), "INTEGER") for n in (1, 2)]
                cell = draft.columns[draft.index(a.column)].expr
                there = both(negate(is_null(cell)), exp.In(this=rank.copy(), expressions=middle))
                draft.columns.append(Column(f"\0median{i}", "number", when((there, cell))))
        draft.push()
    return {c.name: c for c in draft.columns}


def _window(
    function: Sql, partition: list[Sql], order: list[Sql], frame: exp.WindowSpec | None = None
) -> Sql:
    window = exp.Window(this=function, partition_by=[p.copy() for p in partition], spec=frame)
    if order:
        window.set(
            "order", exp.Order(expressions=[exp.Ordered(this=o.copy(), nulls_first=True) for o in order])
        )
    return window


def _joined(draft: Draft, column: Column, partition: list[Sql], separator: str) -> Sql:
    value = when((negate(is_empty(column.expr, column)), as_text(column)))
    whole = exp.WindowSpec(
        kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="UNBOUNDED", end_side="FOLLOWING"
    )
    return _window(call("group_concat", value, draft.value(separator)), partition, [draft.row], whole)


def _look_up(draft: Draft, i: int, base: Sql, column: Column) -> None:
    found = exp.Select(expressions=[column.expr.copy()]).from_(base.copy())
    row = exp.column("row_id", column.expr.text("table"))
    found.set("where", exp.Where(this=op(row, "=", draft.columns[i].expr)))
    old = draft.columns[i]
    draft.columns[i] = Column(old.name, column.type, exp.Subquery(this=found), column.scale)
