"""A pipeline compiles to SQL: every step is checked against the columns it meets before anything runs.

`compile_pipeline` makes a plan without data. Where only the data can tell (which columns a pivot makes) the
plan is open from there on, and the rest is checked when it runs. Running is the same walk over the steps, by an
engine that stores stages and answers questions (actors/project/pipeline/execute.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from runtime.errors import InputError

from .draft import Column, Draft, Note, Values
from .step import BaseStep
from .table import Field, StepError, Table, nearest

__all__ = (
    "Plan",
    "Resolve",
    "apply_steps",
    "check_order",
    "compile_pipeline",
    "named_tables",
    "resolver",
    "show_sql",
    "unresolved",
)

Resolve = Callable[[str], Table]
"""What finds another table by the name that a step gives it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pipeline will do.

    `statements` are the SELECTs in the order in which they run; all but the last store their rows as a stage.
    `columns` has the columns after each step, `result` those at the end. `open_from` is the first step whose
    columns only the data can tell, None when all are known.
    """

    steps: tuple[BaseStep, ...]
    result: tuple[Field, ...]
    columns: tuple[tuple[Field, ...], ...]
    statements: tuple[exp.Select, ...]
    values: Values
    notes: tuple[Note, ...]
    open_from: int | None = None

    def sql(self) -> list[str]:
        """Return the statements as text to read, with their values written in."""
        return [show_sql(statement, self.values) for statement in self.statements]


@dataclass(slots=True)
class _Planner:
    """An engine that runs nothing and remembers what would have run."""

    stages: list[exp.Select] = field(default_factory=list)

    def stage(self, query: exp.Select, values: Values, columns: Sequence[Column]) -> Table:
        self.stages.append(query)
        return Table(f"s{len(self.stages)}", tuple(c.field for c in columns), "stages")

    def probe(self, query: exp.Select, values: Values) -> list[tuple[Any, ...]] | None:
        return None


def unresolved(name: str) -> Table:
    """Refuse other tables, where there are none."""
    raise StepError(f'there is no table "{name}".', hint="This pipeline has no other tables to join.")


def resolver(tables: dict[str, Table]) -> Resolve:
    """Return what finds tables in a dictionary, and names the nearest where there is none."""

    def find(name: str) -> Table:
        if name in tables:
            return tables[name]
        near = nearest(name, tables)
        raise StepError(
            f'there is no table "{name}".' + (f' The nearest name is "{near}".' if near else ""),
            hint=f"The tables are: {', '.join(sorted(tables)[:50]) or 'none'}.",
        )

    return find


def compile_pipeline(steps: Sequence[BaseStep], source: Table, resolve: Resolve = unresolved) -> Plan:
    """Check all steps against the columns of a table and return the plan.

    Raises:
        StepError: a step cannot work; the message has its number, what is wrong, and the nearest name.
    """
    planner = _Planner()
    draft = Draft(source, engine=planner, resolve=resolve)
    after: list[tuple[Field, ...]] = []
    open_from: list[int] = []

    def seen(number: int, step: BaseStep) -> None:
        after.append(tuple(c.field for c in draft.columns))
        if draft.open and not open_from:
            open_from.append(number)

    apply_steps(draft, steps, seen=seen)
    final = draft.statement()
    return Plan(
        steps=tuple(steps),
        result=tuple(c.field for c in draft.columns),
        columns=tuple(after),
        statements=(*planner.stages, final),
        values=draft.value,
        notes=tuple(draft.notes),
        open_from=open_from[0] if open_from else None,
    )


def apply_steps(
    draft: Draft,
    steps: Sequence[BaseStep],
    *,
    start: int = 0,
    seen: Callable[[int, BaseStep], None] = lambda number, step: None,
) -> None:
    """Apply steps to a draft, from the one at index `start` on; `seen` is told of each after it was applied.

    Raises:
        StepError: told with the number of the step, counted from 1.
    """
    for number, step in enumerate(steps[start:], start + 1):
        draft.step, draft.operation = number, step.name
        if step.enabled:
            try:
                step.apply(draft)
                if not draft.columns and not draft.open:
                    raise StepError("no column would be left.", hint="Keep at least one column.")
            except StepError as e:
                raise e if e.extra.get("step") else e.at(number, step.name) from None
            except RecursionError:
                raise StepError(
                    "the conditions are nested too deep.", step=number, operation=step.name
                ) from None
        seen(number, step)


def named_tables(steps: Sequence[BaseStep]) -> list[str]:
    """Return the names of the other tables that steps read, each once."""
    return list(dict.fromkeys(step.table for step in steps if isinstance(getattr(step, "table", None), str)))  # type: ignore[attr-defined]


def show_sql(statement: exp.Expression, values: Values) -> str:
    """Return a statement as text to read: its values stand where they are bound."""

    def shown(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Placeholder) and node.name in values.bound:
            value = values.bound[node.name]
            return (
                exp.Literal.string(value.replace("\0", ""))
                if isinstance(value, str)
                else exp.Literal.number(value)
            )
        return node

    return statement.copy().transform(shown).sql("sqlite", pretty=True)


def check_order(steps: Sequence[BaseStep], order: Sequence[int]) -> tuple[BaseStep, ...]:
    """Return the steps in another order, given as their numbers from 1.

    Raises:
        InputError: a number is missing, or comes twice.
    """
    if sorted(order) != list(range(1, len(steps) + 1)):
        raise InputError(f"The order has to name each of the steps 1 to {len(steps)} once.")
    return tuple(steps[number - 1] for number in order)
