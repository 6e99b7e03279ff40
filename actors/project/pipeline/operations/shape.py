"""Steps that turn columns into rows and rows into columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field, field_validator, model_validator
from sqlglot import exp

from ..cells import as_text, call, integer, is_null, op, when
from ..cells import column as sql_column
from ..draft import Column, Draft, Key
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import MAX_COLUMNS, StepError, common_type
from .columns import unique_names
from .groups import Aggregate, Function, group

__all__ = ("Pivot", "Transpose", "Unpivot")


class Unpivot(BaseStep):
    """Make a row of each of several columns: its name in one column, its cell in another."""

    operation: Literal["unpivot"] = "unpivot"
    id_columns: ColumnNames | None = Field(
        default=None,
        description="The columns that stay, repeated in each row; left out, all that are not values.",
    )
    value_columns: ColumnNames | None = Field(
        default=None, description="The columns to turn; left out, all that do not stay.", min_length=1
    )
    variable_column_name: str = Field(
        default="variable", description="The column for the names.", min_length=1
    )
    value_column_name: str = Field(default="value", description="The column for the cells.", min_length=1)
    keep_nulls: bool = Field(default=True, description="Whether empty cells make rows.")
    spellings: ClassVar[Mapping[str, str]] = {
        "variable_column": "variable_column_name",
        "value_column": "value_column_name",
        "names_to": "variable_column_name",
        "values_to": "value_column_name",
        "columns": "value_columns",
        "variable_name": "variable_column_name",
        "value_name": "value_column_name",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "unpivot",
        "idColumns": ["name"],
        "valueColumns": ["q1", "q2"],
        "variableColumnName": "quarter",
        "valueColumnName": "amount",
    }

    @model_validator(mode="after")
    def _whole(self) -> Unpivot:
        if self.id_columns is None and self.value_columns is None:
            raise ValueError("give `idColumns`, `valueColumns` or both")
        return self

    def _apply(self, draft: Draft) -> None:
        ids = draft.require(self.id_columns) if self.id_columns is not None else None
        turned = draft.require(self.value_columns) if self.value_columns is not None else None
        if turned is None:
            turned = [name for name in draft.names if name not in set(ids or ())]
        if ids is None:
            ids = [name for name in draft.names if name not in set(turned)]
        if not turned:
            raise StepError(
                "no column is left to turn into rows.", hint="Leave some columns out of `idColumns`."
            )
        if both := set(ids) & set(turned):
            raise StepError(f'"{sorted(both)[0]}" stands in both `idColumns` and `valueColumns`.')
        names = [*ids, self.variable_column_name, self.value_column_name]
        if len(set(names)) < len(names):
            raise StepError(
                f"the columns would be {', '.join(names)}: a name comes twice.",
                hint="Choose other names for `variableColumnName` and `valueColumnName`.",
            )
        draft.in_order()
        draft.push()
        self._turn(draft, ids, turned)

    def _turn(self, draft: Draft, ids: list[str], turned: list[str]) -> None:
        values = [draft.columns[draft.index(name)] for name in turned]
        kind = common_type(c.type for c in values)
        scale = values[0].scale if len({c.scale for c in values}) == 1 else None
        listed = exp.Anonymous(this="json_each", expressions=[draft.value(_json(turned))])
        draft.join(
            exp.Table(this=listed, alias=exp.TableAlias(this=exp.to_identifier("turned"))), kind="cross"
        )
        cell = exp.Case(this=sql_column("key", "turned"))
        for i, c in enumerate(values):
            shown = as_text(c) if kind == "string" else c.expr
            cell.append("ifs", exp.If(this=integer(i), true=shown.copy()))
        draft.columns = [
            *(draft.columns[draft.index(name)] for name in ids),
            Column(self.variable_column_name, "string", sql_column("value", "turned")),
            Column(self.value_column_name, kind, cell, scale),
        ]
        draft.number()
        draft.push()
        if not self.keep_nulls:
            draft.keep(exp.Not(this=exp.Paren(this=is_null(draft.columns[-1].expr))))


def _json(names: list[str]) -> str:
    return orjson.dumps(names).decode()


class Pivot(BaseStep):
    """Make a column of each value of one column, filled from another; rows are the groups of the index columns."""

    operation: Literal["pivot"] = "pivot"
    index_columns: ColumnNames = Field(description="The columns that say which row.", default_factory=list)
    column_source: ColumnName = Field(description="The column whose values become columns.")
    value_source: ColumnName = Field(description="The column that fills them.")
    aggregation: Function = Field(default="first", description="What is made of several cells that meet.")
    values: list[str] | None = Field(
        default=None, description="The values to make columns of; left out, all there are, in order.", min_length=1,
        max_length=1_900,
    )  # fmt: skip
    spellings: ClassVar[Mapping[str, str]] = {
        "index": "index_columns",
        "columns": "column_source",
        "column": "column_source",
        "value": "value_source",
        "value_column": "value_source",
        "column_column": "column_source",
        "aggregate": "aggregation",
        "id_columns": "index_columns",
    }
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "pivot",
        "indexColumns": ["name"],
        "columnSource": "quarter",
        "valueSource": "amount",
        "aggregation": "sum",
    }

    @field_validator("index_columns", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def _apply(self, draft: Draft) -> None:
        index = draft.require(self.index_columns)
        draft.require([self.column_source, self.value_source])
        for name in (self.column_source, self.value_source):
            if name in index:
                raise StepError(f'"{name}" cannot be an index column as well.', column=name)
        source = draft.take(self.column_source)
        if source.type != "string":
            draft.replace(self.column_source, as_text(source), "string")
        # Each cell is made first, one row for each; then the few rows of a group are laid side by side.
        cells = [Aggregate(column=self.value_source, function=self.aggregation, new_column=self.value_source)]
        group(draft, [*index, self.column_source], cells)
        draft.settle()
        names = self.values if self.values is not None else self._found(draft, len(index))
        if names is None:
            draft.columns, draft.open = draft.columns[: len(index)], True
            return
        self._spread(draft, index, names)

    def _found(self, draft: Draft, width: int) -> list[str] | None:
        query = draft.query(limit=MAX_COLUMNS - width + 1)
        query.set("expressions", [exp.alias_(draft.columns[width].expr.copy(), "c0")])
        query.set("distinct", exp.Distinct())
        query.set("order", exp.Order(expressions=[exp.Ordered(this=sql_column("c0"), nulls_first=True)]))
        query.set("where", exp.Where(this=exp.Not(this=exp.Paren(this=is_null(draft.columns[width].expr)))))
        rows = draft.engine.probe(query, draft.value)
        if rows is None:
            return None
        if len(rows) > MAX_COLUMNS - width:
            raise StepError(
                f'"{self.column_source}" has too many values: a table has at most {MAX_COLUMNS:,} columns.',
                hint="Pivot a column with fewer values, or name those you need in `values`.",
                column=self.column_source,
            )
        return [row[0] for row in rows]

    def _spread(self, draft: Draft, index: list[str], values: list[str]) -> None:
        names = unique_names([*index, *(v if v.strip() else "(empty)" for v in values)])
        keys = [draft.columns[i].expr for i in range(len(index))]
        by, cell = draft.columns[len(index)], draft.columns[len(index) + 1]
        made = [
            Column(n, draft.columns[i].type, keys[i], draft.columns[i].scale) for i, n in enumerate(index)
        ]
        for name, value in zip(names[len(index) :], values, strict=True):
            matched = when((op(by.expr, "=", draft.value(value)), cell.expr))
            made.append(Column(name, cell.type, call("max", matched), cell.scale))
        draft.columns = made
        query = draft.query()
        query.set("order", None)
        query.expressions[0].set("this", call("min", draft.row))
        if keys:
            query.set("group", exp.Group(expressions=[k.copy() for k in keys]))
        draft.over(query)
        draft.order = [Key(draft.row)]


class Transpose(BaseStep):
    """Make rows of columns and columns of rows; the first column gives the new names."""

    operation: Literal["transpose"] = "transpose"
    name_column: str = Field(default="column", description="The column for the old names.", min_length=1)
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "transpose", "nameColumn": "field"}
    MOST: ClassVar[int] = 1_000

    def _apply(self, draft: Draft) -> None:
        if len(draft.columns) < 2 and not draft.open:
            raise StepError("a table of one column has nothing to turn.")
        draft.settle()
        heads = draft.query(limit=self.MOST + 1)
        heads.set("expressions", [exp.alias_(as_text(c).copy(), "h") for c in draft.columns[:1]])
        rows = draft.engine.probe(heads, draft.value)
        if rows is None:
            draft.columns, draft.open = [], True
            return
        if len(rows) > self.MOST:
            raise StepError(
                f"the table has more than {self.MOST:,} rows, which would become columns.",
                hint="Filter or group it first.",
            )
        rest = draft.columns[1:]
        kind = common_type(c.type for c in rest)
        names = unique_names([self.name_column, *("" if r[0] is None else r[0] for r in rows)])
        if names[0] != self.name_column or len(set(names)) < len(names):
            raise StepError("the names of the new columns clash.")
        Unpivot(id_columns=[], value_columns=[c.name for c in rest], variable_column_name="\0n",
                value_column_name="\0v")._turn(self._with_row(draft), ["\0row"], [c.name for c in rest])  # fmt: skip
        self._spread(draft, names, kind, len(rest))

    def _with_row(self, draft: Draft) -> Draft:
        draft.columns.append(Column("\0row", "integer", call("dl_count", integer(draft.slot()))))
        draft.push()
        return draft

    def _spread(self, draft: Draft, names: list[str], kind: Any, height: int) -> None:
        draft.push()
        row, name, value = (c.expr for c in draft.columns)
        place = exp.Mod(this=exp.Paren(this=op(draft.row, "-", integer(1))), expression=integer(height))
        draft.columns = [
            Column(names[0], "string", call("max", name)),
            *(
                Column(n, kind, call("max", when((op(row, "=", integer(i)), value))))
                for i, n in enumerate(names[1:], 1)
            ),
        ]
        query = draft.query()
        query.expressions[0].set("this", op(place, "+", integer(1)))
        query.set("group", exp.Group(expressions=[place.copy()]))
        draft.over(query)
        draft.order = [Key(draft.row)]
