"""A draft is the statement that a pipeline has become so far: steps change it, nothing runs until it is settled.

A draft is a SELECT (a *level*) over a stored table, or over the level before, which stands in its WITH. A step changes the expressions
of its columns, or adds a condition. As long as every expression is used once, steps share a level; where one
is needed twice, `push` makes the level a subquery, so that each cell is computed once. Rows stream through all
levels without being stored. `settle` stores them: only a step that must see all rows before it gives the first
one asks for that.

Order is part of a draft. Rows come in the order of `row_id` unless `order` says otherwise; a sort is no work
of its own until a later step needs the rows in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlglot import exp

from .cells import Sql, again, both, call, column, integer, is_null, named, negate, true, when
from .levels import assemble
from .table import MAX_COLUMNS, ColumnType, Field, StepError, Table, nearest

__all__ = ("Column", "Draft", "Engine", "Key", "Note", "Values")


MAX_CELLS = 30_000
"""Columns of all levels together: what a plan may cost in memory and time before anything runs."""


class Engine(Protocol):
    """What a draft needs of the place where its statements run."""

    def stage(self, query: exp.Select, values: Values, columns: Sequence[Column]) -> Table:
        """Store the rows of a query, numbered from 1 in its order, and return where."""
        ...

    def probe(self, query: exp.Select, values: Values) -> list[tuple[Any, ...]] | None:
        """Return the rows of a small query, or None where a plan is made without data."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a draft: an expression over the inputs of the present level."""

    name: str
    type: ColumnType
    expr: Sql
    scale: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the expression costs nothing to repeat."""
        return isinstance(self.expr, exp.Column | exp.Null)

    @property
    def field(self) -> Field:
        """The column as the outside sees it."""
        return Field(self.name, self.type, self.scale)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an order that the rows do not have yet."""

    expr: Sql
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What one step counts while rows pass it. `mode` is what a counted row meets: fail, null, skip or (nothing) tell."""

    slot: int
    step: int
    operation: str
    column: str
    mode: str
    what: str


class Values:
    """The values of a statement. Whatever came from outside is bound, never written into SQL."""

    def __init__(self) -> None:
        self.bound: dict[str, Any] = {}
        self._names: dict[tuple[type, Any], str] = {}

    def __call__(self, value: str | int | float | bool | None) -> Sql:
        """Return the placeholder that stands for a value."""
        if value is None:
            return exp.Null()
        if isinstance(value, bool):
            value = int(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            value = float(value)
        key = (type(value), value)
        if key not in self._names:
            self._names[key] = f"p{len(self.bound)}"
            self.bound[self._names[key]] = value
        return exp.Placeholder(this=self._names[key])


@dataclass(slots=True)
class _Counter:
    levels: int = 0
    slots: int = 0
    cells: int = 0


class Draft:
    """The rows that have been described so far, from one source.

    `open` tells that columns may exist which only the data can name (after a pivot, in a plan without data).
    """

    def __init__(
        self,
        table: Table,
        *,
        engine: Engine,
        resolve: Callable[[str], Table],
        values: Values | None = None,
        notes: Sequence[Note] = (),
        slots: int = 0,
    ) -> None:
        self.engine = engine
        self.resolve = resolve
        self.value = values or Values()
        self.notes = list(notes)
        self.open = False
        self.step = 0
        self.operation = ""
        self._counter = _Counter(slots=slots)
        self.read(table)

    def read(self, table: Table) -> None:
        """Go on from a stored table."""
        self._number_level()
        self._with: list[exp.CTE] = []
        self._from: Sql = exp.Table(
            this=exp.to_identifier(table.name, quoted=True),
            db=exp.to_identifier(table.schema) if table.schema else None,
            alias=exp.TableAlias(this=exp.to_identifier(self.alias)),
        )
        self._stored = True
        self._reset(
            [
                Column(f.name, f.type, column(stored, self.alias), f.scale)
                for f, stored in zip(table.columns, table.stored(), strict=True)
            ]
        )

    def _number_level(self) -> None:
        self._counter.levels += 1
        self.alias = f"l{self._counter.levels}"

    def _reset(self, columns: list[Column]) -> None:
        self.columns = columns
        self.row: Sql = column("row_id", self.alias)
        self.order: list[Key] = []
        self._where: list[Sql] = []
        self._joins: list[exp.Join] = []
        self._sealed = False

    # What steps read

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [c.name for c in self.columns]

    def index(self, name: str) -> int:
        """Return the place of a column.

        Raises:
            StepError: there is none of that name; the message has the nearest.
        """
        for i, c in enumerate(self.columns):
            if c.name == name:
                return i
        near = nearest(name, self.names)
        shown = ", ".join(self.names[:30]) + (
            f" … ({len(self.columns)} in all)" if len(self.columns) > 30 else ""
        )
        raise StepError(
            f'there is no column "{name}".' + (f' The nearest name is "{near}".' if near else ""),
            hint=f"The columns at this step are: {shown or 'none'}.",
            column=name,
            nearest=near,
        )

    def require(self, names: Iterable[str]) -> list[str]:
        """Return the names given when all are columns, each once."""
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            self.index(name) if not self._unknown(name) else self._assume(name)
        return wanted

    def _unknown(self, name: str) -> bool:
        return self.open and name not in self.names

    def _assume(self, name: str) -> None:
        self.columns.append(Column(name, "string", exp.Null()))

    def take(self, name: str, uses: int = 2) -> Column:
        """Return a column whose expression may be written `uses` times without being computed twice."""
        if self._unknown(name):
            self._assume(name)
        i = self.index(name)
        if uses > 1 and not self.columns[i].plain:
            self.push()
        return self.columns[i]

    # What steps change

    def replace(self, name: str, expr: Sql, type: ColumnType | None = None, scale: int | None = None) -> None:
        """Give a column another expression."""
        i = self.index(name)
        old = self.columns[i]
        self.columns[i] = Column(old.name, type or old.type, expr, scale)

    def add(
        self, name: str, expr: Sql, type: ColumnType, *, at: int | None = None, scale: int | None = None
    ) -> None:
        """Add a column, at the end or at a place.

        Raises:
            StepError: the name is taken, or the table would get too many columns.
        """
        self.free(name)
        self.columns.insert(len(self.columns) if at is None else at, Column(name, type, expr, scale))

    def put(self, name: str, expr: Sql, type: ColumnType, *, scale: int | None = None) -> None:
        """Replace the column of that name, or add it at the end."""
        if name in self.names:
            self.replace(name, expr, type, scale)
        else:
            self.add(name, expr, type, scale=scale)

    def free(self, name: str, *, but: Iterable[str] = ()) -> None:
        """Make sure that a new column may have this name."""
        if not name.strip():
            raise StepError("a new column needs a name.", hint="Give it a name that is not blank.")
        if name in self.names and name not in but:
            raise StepError(
                f'there is a column "{name}" already.',
                hint="Choose another name, or rename or remove that column first.",
                column=name,
            )
        if len(self.columns) >= MAX_COLUMNS:
            raise StepError(
                f"the table would have more than {MAX_COLUMNS:,} columns.", hint="Remove columns first."
            )

    def remove(self, names: Iterable[str]) -> None:
        """Remove columns; at least one must stay."""
        gone = set(names)
        rest = [c for c in self.columns if c.name not in gone]
        if not rest and not self.open:
            raise StepError("no column would be left.", hint="Keep at least one column.")
        self.columns = rest

    def keep(self, condition: Sql) -> None:
        """Keep the rows for which a condition over plain columns is true."""
        if self._sealed:
            raise AssertionError("a condition over a sealed level")
        # Behind what was there before: SQLite tests the conditions of a level in order, so a cell that a step
        # counts is counted, whatever comes later.
        self._where.append(condition)

    def seal(self) -> None:
        """Have later conditions go to a level of their own, because an expression of this one must see all its rows."""
        self._sealed = True

    def ready(self, names: Iterable[str] | None = None) -> None:
        """Make the columns named (or all) plain, and the level free for a condition."""
        wanted = set(self.names if names is None else names)
        if self._sealed or not all(c.plain for c in self.columns if c.name in wanted):
            self.push()

    def convert(
        self,
        name: str,
        make: Callable[[Sql], Sql],
        type: ColumnType,
        *,
        mode: str,
        what: str,
        empty: Callable[[Sql], Sql],
    ) -> None:
        """Convert a column by an expression that is NULL where it fails, and count those cells.

        `mode` says what a cell that does not convert does: `fail` ends the run, `null` empties the cell, `skip`
        drops the row. `empty` makes the condition for cells that have nothing to convert.
        """
        old = self.take(name)
        i = self.index(name)
        self.columns.append(Column("", type, make(old.expr)))
        self.push()
        old, new = self.columns[i], self.columns.pop()
        self.columns[i] = replace(new, name=old.name)
        self.count(both(is_null(new.expr), negate(empty(old.expr))), old.expr, name, mode=mode, what=what)

    def count(self, lost: Sql, cell: Sql, name: str, *, mode: str, what: str) -> None:
        """Count the rows for which a condition over plain columns holds, with a cell as a sample."""
        slot = self.slot()
        self.notes.append(Note(slot, self.step, self.operation, name, mode, what))
        self._where.append(when((lost, call("dl_note", integer(slot), cell, self.row)), other=integer(1)))

    def slot(self) -> int:
        """Return the number of a new piece of state for functions that keep some."""
        self._counter.slots += 1
        return self._counter.slots

    @property
    def slots(self) -> int:
        """How many slots were given away."""
        return self._counter.slots

    # Levels and stages

    def push(self, *, limit: int | None = None, offset: int | None = None) -> None:
        """Make the level a subquery; then all columns are plain."""
        self._counter.cells += len(self.columns)
        if self._counter.cells > MAX_CELLS:
            raise StepError(
                f"the steps before this one compute {MAX_CELLS:,} columns in all, which is too much for one pipeline.",
                hint="Select the columns that are needed first, or make two pipelines of it.",
            )
        query = self.query(limit=limit, offset=offset)
        for i, key in enumerate(self.order):
            query.append("expressions", named(key.expr, f"k{i}"))
        self.over(query)

    def over(self, query: exp.Select | exp.Union, *, order: bool = True) -> None:
        """Go on over a query that gives `row_id`, the columns as `c0`, … and the keys of the order as `k0`, …."""
        self._number_level()
        # Side by side and not one in another: SQLite's parser bounds how deep a statement may be nested.
        self._with.append(exp.CTE(this=query, alias=exp.TableAlias(this=exp.to_identifier(self.alias))))
        self._from = exp.Table(this=exp.to_identifier(self.alias))
        self._stored = False
        keys = [replace(key, expr=column(f"k{i}", self.alias)) for i, key in enumerate(self.order)]
        self._reset([replace(c, expr=column(f"c{i}", self.alias)) for i, c in enumerate(self.columns)])
        self.order = keys if order else []

    def join(self, source: Sql, *, kind: str, on: Sql | None = None) -> None:
        """Put another source beside the level; rows come in the order of the level, then of the other.

        The level must hold no condition yet: `kind` is "cross" (also for an inner join, whose order it fixes) or "left".
        """
        self._joins.append(
            exp.Join(
                this=source,
                kind="CROSS" if kind == "cross" else None,
                side="LEFT" if kind == "left" else None,
                on=on,
            )
        )

    def number(self) -> None:
        """Give the rows numbers of their own, for a step that makes several rows of one."""
        self.row = call("dl_count", integer(self.slot()))

    def query(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordered: bool = False,
    ) -> exp.Select:
        """Return the level alone as a query: `row_id`, then `c0`, … A limit of None keeps all rows."""
        query = exp.Select(
            expressions=[
                named(self.row, "row_id"),
                *(named(c.expr, f"c{i}") for i, c in enumerate(self.columns)),
            ]
        ).from_(self._from.copy(), copy=False)
        if self._joins:
            query.set("joins", [j.copy() for j in self._joins])
        # SQLite merges a subquery into its parent unless the subquery has a LIMIT and the parent a WHERE
        # (optimization overview, subquery flattening, rule 19): without both, cells would be computed again and
        # again, and functions that keep state would see a row twice.
        condition = both(*self._where) if self._where else true()
        query.set("where", exp.Where(this=condition))
        if ordered and self.order:
            query.set("order", exp.Order(expressions=[_ordered(key) for key in self.order]))
        elif self._stored and not self.order:
            query.set("order", exp.Order(expressions=[_ordered(Key(self.row))]))
        query.set("limit", exp.Limit(expression=integer(-1 if limit is None else limit)))
        if offset:
            query.set("offset", exp.Offset(expression=integer(offset)))
        return query

    def statement(self, *, limit: int | None = None, offset: int | None = None) -> exp.Select:
        """Return all levels as one statement that gives the rows in order."""
        query = self.query(limit=limit, offset=offset, ordered=True)
        if limit is None and not offset:
            # Nothing is above to merge with, and SQLite sorts what has a LIMIT in a B-tree, not by merging runs.
            query.set("limit", None)
        return assemble(self._with, query)

    def in_order(self) -> None:
        """Make sure that the rows come in order, for a step that depends on it."""
        if self.order:
            self.settle()

    def settle(self, *, limit: int | None = None, offset: int | None = None, always: bool = False) -> None:
        """Store the rows in order and go on from there; unless `always`, a stored table that lies so is used as it is."""
        if self.untouched and limit is None and not offset and not always:
            return
        if self.order and any(not c.plain for c in self.columns):
            # Functions that keep state must see the rows before they are sorted.
            self.push()
        query = self.statement(limit=limit, offset=offset)
        opened = self.open
        self.read(self.engine.stage(query, self.value, self.columns))
        self.open = opened

    @property
    def source(self) -> Sql:
        """What the level reads from."""
        return self._from.copy()

    @property
    def untouched(self) -> bool:
        """Whether the draft is a stored table as it lies, in order: settling it again would only copy it."""
        return (
            self._stored
            and not (self.order or self._where or self._joins)
            and all(c.plain and c.expr.name == f"c{i}" for i, c in enumerate(self.columns))
        )


def _ordered(key: Key) -> exp.Ordered:
    # A row always has its number: left as SQLite has it by default, the order can be that of the table.
    first = key.nulls_first or (key.expr.name == "row_id" and not key.descending)
    return exp.Ordered(this=again(key.expr), desc=key.descending, nulls_first=first)
