"""Steps that look at the rows around a row: ranks, neighbours, running totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from sqlglot import exp

from ..cells import Sql, call, integer
from ..draft import Draft, Key
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import NUMERIC, ColumnType, StepError
from .rows import SortKey

__all__ = ("Window",)

_RANKS = {"rank", "dense_rank", "row_number"}
_NUMBERS = {"running_total", "running_mean", "share", "difference"}


class Window(BaseStep):
    """Compute a column from the rows around each row: its rank, a neighbour, a running total; rows stay in order."""

    operation: Literal["window"] = "window"
    function: Literal["rank", "dense_rank", "row_number", "lag", "lead", "running_total", "running_mean",
                      "running_min", "running_max", "running_count", "share", "difference"] = Field(
        description="What to compute; `share` is the part of the group's sum, `difference` the change since the row before."
    )  # fmt: skip
    new_column: str = Field(description="The column to write.", min_length=1)
    column: ColumnName | None = Field(default=None, description="The column to read; ranks need none.")
    partition_by: ColumnNames = Field(
        default_factory=list, description="Columns whose values make groups of rows."
    )
    order_by: list[SortKey] = Field(
        default_factory=list, description="The order in a group; left out, the rows as they are."
    )
    offset: int = Field(
        default=1, description="How many rows away, for lag, lead and difference.", ge=1, le=1_000_000
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "target_column": "new_column",
        "group_by": "partition_by",
        "partition": "partition_by",
        "sort": "order_by",
        "by": "order_by",
        "source_column": "column",
    }
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "window",
        "function": "running_total",
        "column": "amount",
        "newColumn": "so_far",
        "partitionBy": ["city"],
        "orderBy": [{"name": "date"}],
    }

    @field_validator("function", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        names = {
            "cumulative_sum": "running_total",
            "cumsum": "running_total",
            "running_sum": "running_total",
            "running_avg": "running_mean",
            "moving_average": "running_mean",
            "percent_of_total": "share",
        }
        return names.get(value, value) if isinstance(value, str) else value

    @field_validator("partition_by", "order_by", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @model_validator(mode="after")
    def _whole(self) -> Window:
        if self.column is None and self.function not in (*_RANKS, "running_count"):
            raise ValueError(f"{self.function} needs `column`")
        if self.function in ("rank", "dense_rank") and not self.order_by:
            raise ValueError(f"{self.function} needs `orderBy`")
        return self

    def _apply(self, draft: Draft) -> None:
        draft.free(self.new_column)
        draft.require(
            [*self.partition_by, *(k.name for k in self.order_by), *([self.column] if self.column else [])]
        )
        draft.in_order()
        draft.push()
        column = draft.take(self.column) if self.column else None
        if column and self.function in _NUMBERS and column.type not in NUMERIC:
            raise StepError(
                f'"{self.column}" holds values of type {column.type}, which have no {self.function}.',
                hint='Cast it to "number" first.', column=self.column,
            )  # fmt: skip
        partition = [draft.take(name).expr for name in self.partition_by]
        order = [(draft.take(k.name).expr, k.direction == "desc") for k in self.order_by]
        sql = self._sql(draft, column.expr if column else integer(1), partition, order)
        kind: ColumnType = column.type if column else "integer"
        if self.function in (*_RANKS, "running_count"):
            kind = "integer"
        elif self.function in ("running_mean", "share"):
            kind = "number"
        draft.add(
            self.new_column,
            sql,
            kind,
            scale=column.scale if column and self.function in ("lag", "lead") else None,
        )
        draft.order = [Key(draft.row)]
        draft.seal()

    def _sql(self, draft: Draft, cell: Sql, partition: list[Sql], order: list[tuple[Sql, bool]]) -> Sql:
        ties = self.function in ("rank", "dense_rank")
        keys = [exp.Ordered(this=k.copy(), desc=down, nulls_first=False) for k, down in order]
        if not ties:
            keys.append(exp.Ordered(this=draft.row.copy(), nulls_first=True))

        def over(function: Sql, frame: bool = False) -> Sql:
            spec = exp.WindowSpec(
                kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"
            ) if frame else None  # fmt: skip
            return exp.Window(
                this=function, partition_by=[p.copy() for p in partition],
                order=exp.Order(expressions=[k.copy() for k in keys]), spec=spec,
            )  # fmt: skip

        if self.function in _RANKS:
            return over(call(self.function))
        if self.function in ("lag", "lead"):
            return over(call(self.function, cell, integer(self.offset)))
        if self.function == "difference":
            return exp.Sub(this=cell.copy(), expression=over(call("lag", cell, integer(self.offset))))
        if self.function == "share":
            whole = exp.Window(this=call("sum", cell), partition_by=[p.copy() for p in partition])
            real = exp.Mul(this=cell.copy(), expression=exp.Literal(this="1.0", is_string=False))
            return exp.Div(this=real, expression=call("nullif", whole, integer(0)), typed=True, safe=True)
        names = {
            "running_total": "sum",
            "running_mean": "avg",
            "running_min": "min",
            "running_max": "max",
            "running_count": "count",
        }
        return over(call(names[self.function], cell), frame=True)
