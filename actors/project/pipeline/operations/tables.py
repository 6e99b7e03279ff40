"""Steps that bring in another table: of the project, of another pipeline, or of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel
from sqlglot import exp

from ..cells import Sql, as_text, both, call, integer, op
from ..cells import column as sql_column
from ..draft import Column, Draft, Key
from ..step import BaseStep, ColumnName, ColumnNames
from ..table import NUMERIC, StepError, Table, common_type, nearest

__all__ = ("Join", "JoinKey", "Lookup", "Union")


class JoinKey(BaseModel):
    """A pair of columns that must be equal."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    left: ColumnName = Field(description="The column here.")
    right: ColumnName = Field(description="The column of the other table.")

    @model_validator(mode="before")
    @classmethod
    def _same(cls, data: Any) -> Any:
        return {"left": data, "right": data} if isinstance(data, str) else data


class _Matching(BaseStep):
    table: str = Field(description="The other table, by the name that the project knows it by.", min_length=1)
    on: list[JoinKey] = Field(
        description="The columns that must be equal; one name stands for both.", min_length=1, max_length=20
    )
    columns: ColumnNames | None = Field(
        default=None,
        description="The columns to take from the other table; left out, all but the keys.",
        min_length=1,
    )
    prefix: str = Field(default="", description="Goes before the names of the columns taken.", max_length=100)
    spellings: ClassVar[Mapping[str, str]] = {
        "keys": "on",
        "source": "table",
        "with": "table",
        "right": "table",
        "other": "table",
        "take": "columns",
    }

    @field_validator("on", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, dict) and not {"left", "right"} >= set(value):
            return [{"left": k, "right": v} for k, v in value.items()]
        return value if isinstance(value, list) else [value]

    def _match(self, draft: Draft, *, kind: str, first: bool) -> None:
        table = draft.resolve(self.table)
        other = _OtherTable(table, self.table)
        left = [draft.take(key.left) for key in self.on]
        right = [other.column(key.right) for key in self.on]
        keys = {key.right for key in self.on}
        taken = [other.column(name) for name in (self.columns or [n for n in other.names if n not in keys])]
        for c in taken:
            draft.free(self.prefix + c.name)
        if twice := [c.name for c in taken if [t.name for t in taken].count(c.name) > 1]:
            raise StepError(f'"{twice[0]}" stands twice in `columns`.')
        draft.in_order()
        draft.push()
        left = [draft.columns[draft.index(c.name)] for c in left]
        pairs = [_alike(a, b) for a, b in zip(left, right, strict=True)]
        source: Sql = other.sql
        if first or any(not isinstance(b, exp.Column) for _, b in pairs):
            source, rights, cells = other.prepared([b for _, b in pairs], taken, first=first)
            pairs = [(a, b) for (a, _), b in zip(pairs, rights, strict=True)]
            taken = [Column(c.name, c.type, e, c.scale) for c, e in zip(taken, cells, strict=True)]
        draft.join(source, kind=kind, on=both(*(op(a, "=", b) for a, b in pairs)))
        draft.columns += [Column(self.prefix + c.name, c.type, c.expr, c.scale) for c in taken]
        if not first and not _unique(draft, other.sql, right):
            # An index that SQLite makes for itself does not keep the order of rows that match alike.
            draft.order = [Key(draft.row), Key(sql_column("row_id", "o"))]
        draft.push()


class Join(_Matching):
    """Put the columns of another table beside the rows that match it; several matches make several rows."""

    operation: Literal["join"] = "join"
    kind: Literal["inner", "left"] = Field(
        default="inner",
        description="Whether rows without a match go away (inner) or stay with empty cells (left).",
    )
    spellings: ClassVar[Mapping[str, str]] = {**_Matching.spellings, "how": "kind", "join_type": "kind"}
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "join",
        "table": "cities",
        "on": [{"left": "city", "right": "name"}],
        "kind": "left",
    }

    def _apply(self, draft: Draft) -> None:
        self._match(draft, kind="cross" if self.kind == "inner" else "left", first=False)


class Lookup(_Matching):
    """Take columns from the first row of another table that matches; rows stay as many as they are."""

    operation: Literal["lookup"] = "lookup"
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "lookup",
        "table": "cities",
        "on": [{"left": "city", "right": "city"}],
        "columns": ["country"],
    }

    def _apply(self, draft: Draft) -> None:
        self._match(draft, kind="left", first=True)


class Union(BaseStep):
    """Append the rows of another table; columns of the same name go together, missing cells are empty."""

    operation: Literal["union"] = "union"
    table: str = Field(description="The other table, by the name that the project knows it by.", min_length=1)
    columns: Literal["all", "common", "left"] = Field(
        default="all", description="Which columns stay: all of both, those that both have, or those here."
    )
    spellings: ClassVar[Mapping[str, str]] = {"source": "table", "with": "table", "other": "table"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "union", "table": "archive"}

    def _apply(self, draft: Draft) -> None:
        other = _OtherTable(draft.resolve(self.table), self.table)
        draft.in_order()
        draft.push()
        here = {c.name: c for c in draft.columns}
        names = [n for n in draft.names if self.columns != "common" or n in other.names]
        names += [n for n in other.names if self.columns == "all" and n not in here]
        if not names:
            raise StepError(f'no column of "{self.table}" has the name of a column here.')
        made, theirs = [], []
        for name in names:
            a = here.get(name)
            b = other.column(name) if name in other.names else None
            kind = common_type(c.type for c in (a, b) if c is not None)
            scale = a.scale if a and b and a.scale == b.scale else None
            made.append(Column(name, kind, _shown(a, kind), scale))
            theirs.append(_shown(b, kind))
        draft.columns = made
        upper = draft.query()
        lower = exp.Select(
            expressions=[sql_column("row_id", "o"), *(exp.alias_(e, f"c{i}") for i, e in enumerate(theirs))]
        ).from_(other.sql)
        lower.set(
            "order", exp.Order(expressions=[exp.Ordered(this=sql_column("row_id", "o"), nulls_first=True)])
        )
        lower.set("limit", exp.Limit(expression=integer(-1)))
        halves = [exp.Select(expressions=[exp.Star()]).from_(exp.Subquery(this=q)) for q in (upper, lower)]
        whole = exp.Union(this=halves[0], expression=halves[1], distinct=False)
        whole.set("limit", exp.Limit(expression=integer(-1)))
        draft.over(whole)
        draft.number()
        draft.push()


def _unique(draft: Draft, table: Sql, keys: list[Column]) -> bool:
    """Tell whether no two rows of a table have the same keys, so that no row here has two matches."""
    twice = exp.Select(expressions=[integer(1)]).from_(table)
    twice.set("group", exp.Group(expressions=[k.expr.copy() for k in keys]))
    twice.set("having", exp.Having(this=op(call("count", exp.Star()), ">", integer(1))))
    twice.set("limit", exp.Limit(expression=integer(1)))
    return draft.engine.probe(twice, draft.value) == []


class _OtherTable:
    """Another table under the alias `o`."""

    def __init__(self, table: Table, shown: str) -> None:
        self._table, self._shown = table, shown
        self.names = [f.name for f in table.columns]

    @property
    def sql(self) -> Sql:
        """The table, to read from."""
        schema = exp.to_identifier(self._table.schema) if self._table.schema else None
        return exp.Table(
            this=exp.to_identifier(self._table.name, quoted=True), db=schema,
            alias=exp.TableAlias(this=exp.to_identifier("o")),
        )  # fmt: skip

    def prepared(
        self, keys: list[Sql], taken: list[Column], *, first: bool
    ) -> tuple[Sql, list[Sql], list[Sql]]:
        """Return the table with its keys ready to compare, one row for each key when `first`, and its columns there."""
        row = sql_column("row_id", "o")
        query = exp.Select(
            expressions=[
                exp.alias_(call("min", row) if first else row, "row_id"),
                *(exp.alias_(k.copy(), f"j{i}") for i, k in enumerate(keys)),
                *(exp.alias_(c.expr.copy(), f"t{i}") for i, c in enumerate(taken)),
            ]
        ).from_(self.sql)
        if first:
            # The other columns come from the row that has min(row_id).
            query.set("group", exp.Group(expressions=[k.copy() for k in keys]))
        query.set("limit", exp.Limit(expression=integer(-1)))
        named = exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier("o")))
        return (
            named,
            [sql_column(f"j{i}", "o") for i in range(len(keys))],
            [sql_column(f"t{i}", "o") for i in range(len(taken))],
        )

    def column(self, name: str) -> Column:
        """Return a column of the table.

        Raises:
            StepError: there is none of that name.
        """
        if name not in self.names:
            near = nearest(name, self.names)
            raise StepError(
                f'"{self._shown}" has no column "{name}".' + (f' The nearest name is "{near}".' if near else ""),
                hint=f"Its columns are: {', '.join(self.names[:30])}.", column=name, nearest=near,
            )  # fmt: skip
        i = self.names.index(name)
        f = self._table.columns[i]
        return Column(f.name, f.type, sql_column(self._table.stored()[i], "o"), f.scale)


def _alike(a: Column, b: Column) -> tuple[Sql, Sql]:
    if a.type == b.type or {a.type, b.type} <= NUMERIC:
        return a.expr, b.expr
    return as_text(a), as_text(b)


def _shown(column: Column | None, kind: str) -> Sql:
    if column is None:
        return exp.Null()
    return as_text(column) if kind == "string" else column.expr
