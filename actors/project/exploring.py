"""Exploring a project: samples by kind, and questions in words. Both answer with the SELECT that they ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Annotated, Any

from pydantic import Field as Doc

from actors.project.ask import Meaning, NotUnderstood, read
from actors.project.catalogue import Dataset
from actors.project.filters import order_by, where
from actors.project.reading import Filter, Pipeline, chosen, dataset_of, select
from actors.project.sampling import KINDS, Request, Sample, kind_of, take
from runtime.errors import InputError, Unavailable
from runtime.instance import Instance
from runtime.method import method
from runtime.storage.transaction import Transaction, quote

__all__ = ("ExploreMethods", "Understood")

_SELECTS = ("select", "with", "values")


@dataclass(slots=True)
class Understood:
    """An answer to a question: what was understood, the rows, and the SELECT that gave them.

    `by` tells who understood it: the grammar, or the operator's hook (setting `ask_hook`).
    """

    question: str
    understood: str
    by: str
    columns: list[str]
    rows: list[dict[str, Any]]
    row_count: int
    sql: str
    params: list[Any]
    truncated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class ExploreMethods:
    """sample and ask."""

    _instance: Instance

    @method(read_only=True, helper="whole", aliases=("POST /api/projects/{name}/sample",))
    def sample(
        self,
        tx: Transaction,
        kind: Annotated[str, Doc(description="One of: " + ", ".join(KINDS) + ".")] = "random",
        column: Annotated[str | None, Doc(description="The column, for kinds that look at one.")] = None,
        columns: Annotated[Any, Doc(description="Only these columns: a list, or names with commas.")] = None,
        n: Annotated[int, Doc(ge=1, le=1_000, description="Rows, values or groups, at most.")] = 10,
        seed: Annotated[
            int | None, Doc(ge=0, lt=2**63, description="The same seed gives the same rows.")
        ] = None,
        pattern: Annotated[
            str | None,
            Doc(
                max_length=400, description="Text to search for; * stands for anything, ? for one character."
            ),
        ] = None,
        start_row: Annotated[
            int | None, Doc(ge=1, le=2**53, description="First row of a range, from 1.")
        ] = None,
        end_row: Annotated[int | None, Doc(ge=1, le=2**53, description="Last row of a range.")] = None,
        filter: Filter = None,
        bins: Annotated[
            int | None, Doc(ge=1, le=1_000, description="For a distribution of numbers: equal spans.")
        ] = None,
        k: Annotated[float, Doc(ge=0, le=1e6, description="For outliers: quartile distances.")] = 1.5,
        pipeline: Pipeline = None,
    ) -> Sample:
        """Look into the data without knowing it: a sample of some kind, with the SELECT that gave it.

        Kinds: random rows, the distribution of a column's values, stats, search for a text, a range of rows, nulls,
        duplicates, outliers (project-database.md, Phase 7).
        """
        request = Request(
            kind_of(kind), column, columns, n, seed, pattern, start_row, end_row, filter, bins, k
        )
        return take(tx, dataset_of(tx, pipeline), request)

    @method(read_only=True, concurrent=True, helper="whole", aliases=("POST /api/projects/{name}/ask",))
    async def ask(
        self,
        question: Annotated[
            str, Doc(min_length=1, max_length=1_000, description="A question about the data.")
        ],
        pipeline: Pipeline = None,
    ) -> Understood:
        """Answer a question in words: `average amount by city where year = 2013`.

        Sentences of a documented grammar are read without a model, and what was understood is said back; one that
        is not gets the nearest forms. An operator may plug a model in (setting `ask_hook`).
        """
        run = self._instance.connection.run
        try:
            return await run(
                partial(_ask, question=question, pipeline=pipeline), read_only=True, method="ask"
            )
        except _Misunderstood as error:
            hook = self._instance.host.settings.ask_hook
            if hook is None:
                raise error.refusal() from None
            dataset = await run(lambda tx: dataset_of(tx, pipeline), read_only=True)
        said = await _consult(hook, question, dataset)
        return await run(
            partial(_ask_again, question=question, said=said, pipeline=pipeline), read_only=True, method="ask"
        )


class _Misunderstood(Exception):
    def __init__(self, question: str, error: NotUnderstood) -> None:
        super().__init__(question)
        self.question = question
        self.error = error

    def refusal(self) -> InputError:
        forms = self.error.near
        return InputError(
            f"The question {self.question!r:.120} was not understood: {self.error.reason}.",
            hint="The nearest forms: " + "; ".join(forms) + ".",
            forms=forms,
        )


def _ask(tx: Transaction, *, question: str, pipeline: str | None, by: str = "grammar") -> Understood:
    dataset = dataset_of(tx, pipeline)
    numbers = [f.name for f in dataset.fields if f.type == "number"]
    try:
        meaning = read(question, [f.name for f in dataset.fields], numbers)
    except NotUnderstood as error:
        raise _Misunderstood(question, error) from None
    return _answer(tx, dataset, question, meaning, by)


def _ask_again(tx: Transaction, *, question: str, said: str, pipeline: str | None) -> Understood:
    """Answer by what the hook said: a SELECT, or a sentence of the grammar."""
    if said.lstrip().lower().startswith(_SELECTS):
        found = select(tx, said, [])
        return Understood(
            question,
            said,
            "hook",
            found.columns,
            found.objects(),
            len(found.cells),
            said,
            [],
            found.truncated,
        )
    try:
        answer = _ask(tx, question=said, pipeline=pipeline, by="hook")
    except _Misunderstood as error:
        raise error.refusal() from None
    answer.question = question
    return answer


async def _consult(hook: str, question: str, dataset: Dataset) -> str:
    """Return what the operator's hook makes of a question: a SELECT, or a sentence of the grammar."""
    module, _, name = hook.partition(":")
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Unavailable(
            f"The hook of ask cannot be loaded: {error}.", hint="Set ask_hook to module:function."
        ) from None
    columns = [{"name": f.name, "sql_name": f.sql_name, "type": f.type} for f in dataset.fields]
    said = function(question, columns, dataset.view)
    if inspect.isawaitable(said):
        said = await said
    if not isinstance(said, str):
        raise Unavailable("The hook of ask gave no text.", hint="It must return a SELECT or a sentence.")
    return said


_SQL_AGGREGATES = {"average": "avg", "sum": "sum", "minimum": "min", "maximum": "max"}
_SAMPLED = {
    "random": "random",
    "range": "range",
    "values": "distribution",
    "histogram": "distribution",
    "stats": "stats",
    "missing": "nulls",
    "duplicates": "duplicates",
    "outliers": "outliers",
    "search": "search",
}


def _answer(tx: Transaction, dataset: Dataset, question: str, meaning: Meaning, by: str) -> Understood:
    said = _said(meaning)
    if meaning.form in _SAMPLED:
        sample = take(tx, dataset, _request(meaning))
        return Understood(
            question, said, by, sample.columns, sample.rows, sample.row_count, sample.sql, sample.params,
            sample.truncated, sample.facts,
        )  # fmt: skip
    if meaning.form == "columns":
        rows = [{"name": f.name, "type": f.type, "null_count": f.column.null_count} for f in dataset.fields]
        sql = f"SELECT name, type, null_count FROM {_columns_view(dataset)}"
        return Understood(question, said, by, ["name", "type", "null_count"], rows, len(rows), sql, [])
    sql, params, shown = _select(dataset, meaning)
    found = select(tx, sql, params, shown)
    rows = found.objects()
    return Understood(question, said, by, found.columns, rows, len(rows), sql, params, found.truncated)


def _columns_view(dataset: Dataset) -> str:
    return "columns" if dataset.pipeline is None else quote(f"pipeline_{dataset.pipeline}_columns")


def _request(meaning: Meaning) -> Request:
    column = meaning.columns[0] if len(meaning.columns) == 1 else None
    return Request(
        kind=_SAMPLED[meaning.form],
        column=None if meaning.form == "duplicates" else column,
        columns=meaning.columns if meaning.form == "duplicates" and meaning.columns else None,
        n=meaning.n or (1_000 if meaning.form == "stats" else 20),
        pattern=meaning.pattern,
        start=meaning.start,
        end=meaning.end,
        filter=meaning.filter,
        bins=min(meaning.n or 10, 1_000) if meaning.form == "histogram" else None,
    )


def _select(dataset: Dataset, meaning: Meaning) -> tuple[str, list[Any], list[Any]]:
    """Return the SELECT of a count, an aggregate, a top list or rows; with what its columns are."""
    condition, params = where(dataset, meaning.filter)
    view = quote(dataset.view)
    if meaning.form == "count":
        counted = f"DISTINCT {quote(dataset.field(meaning.columns[0]).sql_name)}" if meaning.distinct else "*"
        return f"SELECT count({counted}) AS count FROM {view}{condition}", params, []
    if meaning.form in ("aggregate", "top"):
        return _aggregate(dataset, meaning, condition, params)
    fields = chosen(dataset, meaning.columns or None)
    heads = ", ".join(quote(f.sql_name) for f in fields)
    limit = meaning.n or 100
    order = order_by(dataset, meaning.sort or None)
    if meaning.last:
        inner = f"SELECT row_id, {heads} FROM {view}{condition} ORDER BY row_id DESC LIMIT ?"
        return f"SELECT {heads} FROM ({inner}) ORDER BY row_id", [*params, limit], list(fields)
    return f"SELECT {heads} FROM {view}{condition}{order} LIMIT ?", [*params, limit], list(fields)


def _aggregate(
    dataset: Dataset, meaning: Meaning, condition: str, params: list[Any]
) -> tuple[str, list[Any], list[Any]]:
    column = dataset.field(meaning.columns[0])
    aggregate = meaning.aggregate or "average"
    if aggregate in ("average", "sum", "median") and column.type not in ("number", "boolean"):
        raise InputError(
            f"{column.name!r:.80} holds {column.type}s, which have no {aggregate}.",
            hint="Ask for the minimum, the maximum or the values of it, or name a column of numbers.",
        )
    name, view = quote(column.sql_name), quote(dataset.view)
    label = quote(f"{aggregate} of {column.name}"[:200])
    shown = column if aggregate in ("minimum", "maximum") and column.type == "boolean" else None
    if meaning.by is None:
        if aggregate == "median":
            return _median(view, name, label, condition, params), [*params, *params, *params], []
        return f"SELECT {_SQL_AGGREGATES[aggregate]}({name}) AS {label} FROM {view}{condition}", params, []
    by = dataset.field(meaning.by)
    key = quote(by.sql_name)
    if aggregate == "median":
        raise InputError(
            "A median by groups is more than one SELECT can do here.",
            hint="Ask for the average, or use a pipeline.",
        )
    order = (
        "2 DESC NULLS LAST, 1" if meaning.form == "top" or meaning.aggregate in ("sum", "maximum") else "1"
    )
    sql = (
        f"SELECT {key}, {_SQL_AGGREGATES[aggregate]}({name}) AS {label}, count(*) AS rows FROM {view}{condition}"
        f" GROUP BY 1 ORDER BY {order} LIMIT ?"
    )
    return sql, [*params, meaning.n or 1_000], [by, shown and None]


def _median(view: str, name: str, label: str, condition: str, params: list[Any]) -> str:
    present = f"{condition}{' AND' if condition else ' WHERE'} {name} IS NOT NULL"
    half = f"(SELECT count(*) FROM {view}{present})"
    return (
        f"SELECT avg({name}) AS {label} FROM (SELECT {name} FROM {view}{present} ORDER BY {name}"
        f" LIMIT 2 - {half} % 2 OFFSET ({half} - 1) / 2)"
    )


def _said(meaning: Meaning) -> str:
    """Say a meaning in words, so that the asker can see whether it is the one that was meant."""
    columns = ", ".join(meaning.columns) or "all columns"
    n = meaning.n
    text = {
        "rows": f"the {'last' if meaning.last else 'first'} {n or 100} rows, {columns}",
        "random": f"{n or 20} rows by chance",
        "range": f"the rows {meaning.start} to {meaning.end}",
        "count": f"how many different values {columns} has"
        if meaning.distinct
        else "how many rows there are",
        "aggregate": f"the {meaning.aggregate} of {columns}"
        + (f" for each {meaning.by}" if meaning.by else ""),
        "top": f"the {n} values of {meaning.by} with the greatest {meaning.aggregate} of {columns}",
        "values": f"the values of {columns} with how often each comes",
        "histogram": f"how many values of {columns} lie in each of {n or 10} equal spans",
        "stats": f"statistics of {columns}",
        "missing": f"how many cells are missing in {columns}",
        "duplicates": f"rows that are alike in {columns}",
        "outliers": f"rows whose {columns} lies far from the others",
        "search": f"rows in which {meaning.pattern!r} comes in {columns}",
        "columns": "which columns there are",
    }[meaning.form]
    if meaning.filter is not None:
        text += ", where " + _condition_said(meaning.filter)
    if meaning.sort:
        text += ", sorted by " + ", ".join(f"{s['column']} {s['direction']}ending" for s in meaning.sort)
    return text


def _condition_said(given: Any) -> str:
    for word in ("and", "or"):
        if word in given:
            return f" {word} ".join(_condition_said(each) for each in given[word])
    value = f" {given['value']!r}" if "value" in given else ""
    return f"{given['column']} {given['operator'].replace('_', ' ')}{value}"
