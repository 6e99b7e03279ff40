"""The tasks of worker processes: check a pipeline, run it into a staging file, or show the first rows of it.

All take plain data. `source` and each of `tables` are `{"file", "name", "columns", "version"}`: a file that is
opened read-only, the data table in it, its columns as the catalogue has them (`name`, `type` or `kind`, `scale`,
`physical`), and any text that changes when its rows do. `steps` is a list as `parse_steps` reads it. `most_bytes`
bounds each file that is written (2 GiB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from sqlglot import exp

from runtime.errors import InputError
from runtime.tabular.columns import KIND_TYPES, TYPE_KINDS, shortened
from runtime.tabular.columns import Column as Described
from runtime.tabular.staging import remove_staging
from runtime.workers.task import Report, task

from .cells import call, column, op, text
from .compile import apply_steps, compile_pipeline, resolver
from .draft import Draft, Note
from .engine import RunningEngine, read_table
from .stages import StageFolder, stage_keys
from .step import BaseStep
from .steps import parse_steps
from .table import Field, Table

__all__ = ("PREVIEW_ROWS", "check", "execute", "preview")

PREVIEW_ROWS = 100
_SHOWN = 10_000
"""Characters of a cell that a preview shows."""
_COUNTED_ROWS, _COUNTED_CELLS = 50_000, 1_000_000
"""Values of a column are counted in results up to this size: each column costs a look at all rows."""
_MOST_DISTINCT = 1_000


@task
def check(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Compile `steps` over the columns of the tables; no file is opened. `sql` asks for the statements as text.

    Returns `{"columns", "after", "sql", "open_from"}`: (name, type) of each column at the end and after each step.
    It is work for a worker, because a pipeline at its bounds takes seconds, and holds up whatever shares the process.

    Raises:
        StepError: a step cannot work.
    """
    others = {name: read_table(data, None) for name, data in (args.get("tables") or {}).items()}
    plan = compile_pipeline(parse_steps(args["steps"]), read_table(args["source"], None), resolver(others))
    return {
        "columns": [(f.name, f.type) for f in plan.result],
        "after": [[(f.name, f.type) for f in fields] for fields in plan.columns],
        "sql": plan.sql() if args.get("sql") else [],
        "open_from": plan.open_from,
    }


@task
def execute(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Run `steps` on `source` and write the rows to the file `staging`, as a table `d` ready to be adopted.

    Returns `{"rows", "columns", "warnings"}`: the columns with their statistics, as the catalogue keeps them.

    Raises:
        StepError: a step does not fit the columns, or a cell did not convert where that ends the run.
    """
    steps = parse_steps(args["steps"])
    staging = Path(args["staging"])
    remove_staging(staging)
    try:
        with closing(
            RunningEngine(staging, report, staging.with_name(staging.name + ".stages"), _most(args))
        ) as engine:
            source, find = _tables(engine, args)
            draft = Draft(source, engine=engine, resolve=find)

            def seen(number: int, step: BaseStep) -> None:
                engine.expect(draft.notes)
                report({"phase": "step", "step": number, "of": len(steps), "operation": step.name})

            apply_steps(draft, steps, seen=seen)
            if draft.order:
                # Functions that keep state must see the rows before they are sorted.
                draft.ready()
            table = Table("d", tuple(c.field for c in draft.columns), "main")
            report({"phase": "rows", "step": len(steps), "of": len(steps)})
            rows = engine.store(draft.statement(), draft.value, table)
            report({"phase": "statistics", "rows": rows})
            columns = describe(engine, table, rows)
            return {"rows": rows, "columns": columns, "warnings": engine.notices(draft.notes)}
    except BaseException:
        remove_staging(staging)
        raise


@task
def preview(args: dict[str, Any], report: Report) -> dict[str, Any]:
    """Show the first rows after step `up_to` (None: all steps), 100 unless `limit` asks for fewer; store nothing.

    `cache` is a folder for the rows after steps that must see all of them, bounded by `cache_bytes`.

    Returns `{"columns", "rows", "step", "complete", "warnings"}`: rows as lists; `complete` tells that there are
    no more; warnings count what was met on the way to these rows.
    """
    steps = parse_steps(args["steps"])
    upto = len(steps) if args.get("up_to") is None else int(args["up_to"])
    if not 0 <= upto <= len(steps):
        raise InputError(f"There is no step {upto}: the pipeline has {len(steps)} steps.")
    limit = max(0, min(int(args.get("limit") or PREVIEW_ROWS), PREVIEW_ROWS))
    folder = StageFolder(Path(args["cache"]), int(args.get("cache_bytes") or 512 * 1024 * 1024))
    with closing(RunningEngine(None, report, folder.scratch(), _most(args))) as engine:
        shown = _Preview(engine, folder, args, steps[:upto])
        draft = shown.draft()
        shown.finish(draft)
        rows = engine.first_rows(draft.statement(limit=limit + 1), draft.value, len(draft.columns))
        folder.trim()
        return {
            "columns": [{"name": c.name, "type": c.type, "scale": c.scale} for c in draft.columns],
            "rows": [_shown(row) for row in rows[:limit]],
            "step": upto,
            "complete": len(rows) <= limit,
            "warnings": engine.notices(draft.notes),
        }


def _most(args: Mapping[str, Any]) -> int:
    return int(args.get("most_bytes") or 2**31)


def _shown(row: list[Any]) -> list[Any]:
    return [c[:_SHOWN] + "…" if isinstance(c, str) and len(c) > _SHOWN else c for c in row]


class _Preview:
    """One preview: it starts from the last kept stage, and keeps those that it has to make."""

    def __init__(
        self, engine: RunningEngine, folder: StageFolder, args: Mapping[str, Any], steps: Sequence[BaseStep]
    ) -> None:
        self.engine, self.folder, self.steps = engine, folder, steps
        self.source, self.find = _tables(engine, args)
        self.keys = stage_keys({"source": args["source"], "tables": args.get("tables") or {}}, steps)

    def draft(self) -> Draft:
        """Return the draft after all steps."""
        draft, start = self._begin()
        for i in range(start, len(self.steps)):
            apply_steps(draft, self.steps[: i + 1], start=i)
            self.engine.expect(draft.notes)
            if self.steps[i].blocking and self.steps[i].enabled:
                self._keep(draft, self.keys[i])
        return draft

    def finish(self, draft: Draft) -> None:
        """Make the last level fit to be cut after some rows."""
        if draft.order:
            draft.ready()

    def _begin(self) -> tuple[Draft, int]:
        for i in range(len(self.steps) - 1, -1, -1):
            if self.steps[i].blocking and self.steps[i].enabled and self.folder.found(self.keys[i]):
                schema = self.engine.attach_stage(self.folder.path(self.keys[i]))
                facts = orjson.loads(self.engine.fact(schema))
                table = Table("s", tuple(Field(**f) for f in facts["columns"]), schema)
                notes = [Note(**n) for n in facts["notes"]]
                self.engine.functions.counts.update({int(k): v for k, v in facts["counts"].items()})
                self.engine.functions.samples.update(
                    {int(k): [tuple(s) for s in v] for k, v in facts["samples"].items()}
                )
                self.engine.expect(notes)
                return Draft(
                    table, engine=self.engine, resolve=self.find, notes=notes, slots=facts["slots"]
                ), i + 1
        return Draft(self.source, engine=self.engine, resolve=self.find), 0

    def _keep(self, draft: Draft, key: str) -> None:
        part = self.folder.begin(key)
        with self.engine.writing(part):
            draft.settle(always=True)
            self.engine.remember(
                orjson.dumps(
                    {
                        "columns": [
                            {"name": c.name, "type": c.type, "scale": c.scale} for c in draft.columns
                        ],
                        "notes": [{f: getattr(n, f) for f in Note.__slots__} for n in draft.notes],
                        "counts": {str(k): v for k, v in self.engine.functions.counts.items()},
                        "samples": {str(k): v for k, v in self.engine.functions.samples.items()},
                        "slots": draft.slots,
                    }
                ).decode()
            )
        schema = self.engine.attach_stage(self.folder.finish(key, part))
        draft.read(Table("s", tuple(c.field for c in draft.columns), schema))


def _tables(engine: RunningEngine, args: Mapping[str, Any]) -> tuple[Table, Any]:
    source = read_table(args["source"], engine.attach(args["source"]["file"]))
    others = {
        name: read_table(data, engine.attach(data["file"]))
        for name, data in (args.get("tables") or {}).items()
    }
    return source, resolver(others)


def describe(engine: RunningEngine, table: Table, rows: int) -> list[dict[str, Any]]:
    """Return the columns of a stored table with what one look at all cells tells of them."""
    described: list[Described] = []
    for first in range(0, len(table.columns), 100):
        described += _described(engine, table, first, table.columns[first : first + 100])
    for i, made in enumerate(described):
        _values(engine, table, i, made, rows)
    return [made.plain() for made in described]


def _described(engine: RunningEngine, table: Table, first: int, fields: Sequence[Field]) -> list[Described]:
    parts: list[exp.Expression] = [call("count", exp.Star())]
    for i in range(first, first + len(fields)):
        cell = column(f"c{i}")
        parts += [call("count", cell), call("min", cell), call("max", cell)]
    rows, *seen = engine.statistics(table, parts)[0]
    facts = list(zip(seen[::3], seen[1::3], seen[2::3], strict=True))
    odd = _odd_cells(
        engine, table, first, [(f.type, *ends) for f, (_, *ends) in zip(fields, facts, strict=True)]
    )
    made = []
    for i, (f, (filled, low, high)) in enumerate(zip(fields, facts, strict=True)):
        kind = TYPE_KINDS[f.type]
        if f.type in ("number", "integer"):
            kind = "real" if odd[i] or (f.type == "number" and not filled) else "integer"
        elif isinstance(high, bytes):  # which SQLite puts behind every text
            kind = "blob"
        made.append(
            Described(
                name=f.name,
                physical=f"c{first + i}",
                type=KIND_TYPES[kind],
                kind=kind,
                scale=f.scale if kind == "real" else None,
                null_count=rows - filled,
                empty_count=odd[i] if f.type == "string" else 0,
                min=shortened(low),
                max=shortened(high),
            )
        )
    return made


def _odd_cells(
    engine: RunningEngine, table: Table, first: int, columns: Sequence[tuple[str, Any, Any]]
) -> list[int]:
    """Count empty texts, and numbers with decimals, in columns given as type, least and greatest cell.

    These tell enough of most columns; the others are looked at once more.
    """
    odd, looked = [0] * len(columns), {}
    for i, (kind, low, high) in enumerate(columns):
        cell = column(f"c{first + i}")
        # No text comes before the empty one.
        if kind == "string" and low is not None and (low == "" or not isinstance(low, str)):
            looked[i] = call("sum", op(cell, "=", text("")))
        elif kind in ("number", "integer") and low is not None:
            odd[i] = int(isinstance(low, float) or isinstance(high, float))
            if not odd[i]:
                looked[i] = call("sum", op(call("typeof", cell), "=", text("real")))
    if looked:
        counted = engine.statistics(table, list(looked.values()))[0]
        for i, count in zip(looked, counted, strict=True):
            odd[i] = count
    return odd


def _values(engine: RunningEngine, table: Table, i: int, made: Described, rows: int) -> None:
    cell, where = f"c{i}", f'"{table.name}"'
    seen = engine.connection.execute(
        f"SELECT DISTINCT {cell} FROM (SELECT {cell} FROM {where} LIMIT 1000)"
        f" WHERE {cell} IS NOT NULL AND {cell} <> '' LIMIT 5"
    )
    made.sample_values = [shortened(value) for (value,) in seen]
    if rows > _COUNTED_ROWS or rows * len(table.columns) > _COUNTED_CELLS:
        return
    counted = engine.connection.execute(
        f"SELECT {cell}, count(*) FROM {where} WHERE {cell} IS NOT NULL GROUP BY 1 LIMIT {_MOST_DISTINCT + 1}"
    ).fetchall()
    if len(counted) <= _MOST_DISTINCT:
        made.distinct = len(counted)
        made.top = [[shortened(value), n] for value, n in sorted(counted, key=lambda pair: -pair[1])[:10]]
