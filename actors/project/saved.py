"""Saved pipelines: their steps as JSON, and what is known of each one's result. Units of the project's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from actors.project import catalogue
from actors.project.pipeline import Step, dump_steps, parse_steps
from runtime.clock import iso
from runtime.errors import Conflict, InputError, LimitExceeded, NotFound
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads

__all__ = (
    "checked_id",
    "delete",
    "listed",
    "parsed_steps",
    "reserve",
    "saved",
    "steps_hash",
    "store",
    "title_in",
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TAKEN = ("_result", "_columns")


def checked_id(pipeline: str) -> str:
    """Return the id of a pipeline, which is part of the names of views.

    Raises:
        InputError: it cannot be one.
    """
    if _ID.fullmatch(pipeline) is None or pipeline.lower().endswith(_TAKEN):
        raise InputError(
            f"{pipeline!r:.80} cannot be the id of a pipeline.",
            hint="Use 1 to 64 letters, digits, underscores and hyphens, and no end in _result or _columns.",
        )
    return pipeline


def parsed_steps(tx: Transaction, steps: Any) -> tuple[Step, ...]:
    """Return steps out of a list, an exported document, or the JSON text of one.

    Raises:
        StepError: a step is not valid.
        LimitExceeded: there are too many.
    """
    if isinstance(steps, str):
        steps = loads(steps)
    parsed = parse_steps(steps)
    if len(parsed) > tx.limits.max_pipeline_steps:
        raise LimitExceeded(
            f"The pipeline has {len(parsed):,} steps, more than {tx.limits.max_pipeline_steps:,}.",
            hint="Split it: a step can read the result of another pipeline.",
            limit="max_pipeline_steps",
        )
    return parsed


def title_in(steps: Any) -> str | None:
    """Return the name that an exported document carries, or None."""
    steps = loads(steps) if isinstance(steps, str) else steps
    title = steps.get("name") if isinstance(steps, Mapping) else None
    return title[:200] if isinstance(title, str) else None


def store(tx: Transaction, pipeline: str, steps: Sequence[Step], title: str | None) -> None:
    """Save steps in place of those that a pipeline had; a title of None leaves the one there is.

    Raises:
        LimitExceeded: the project holds too many pipelines.
    """
    row = tx.one("SELECT count(*) FROM main._duralite_pipelines WHERE id <> ?", (pipeline,))
    if row is not None and row[0] >= tx.limits.max_pipelines:
        raise LimitExceeded(
            f"The project holds {tx.limits.max_pipelines:,} pipelines already.",
            hint="Delete some of them.",
            limit="max_pipelines",
        )
    text = dumps(dump_steps(steps)).decode()
    tx.execute(
        "INSERT INTO main._duralite_pipelines (id, title, steps, created, updated) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET steps = excluded.steps, updated = excluded.updated,"
        " title = coalesce(excluded.title, title)",
        (pipeline, title, text, tx.now, tx.now),
    )


def saved(tx: Transaction, pipeline: str) -> dict[str, Any]:
    """Return a saved pipeline: its steps, and the state of its result (None: it has none).

    A result is `stale` when the steps have changed since, or a table of this project that they read.

    Raises:
        NotFound: there is no such pipeline; the hint lists those there are.
    """
    row = tx.one(
        "SELECT id, title, steps, created, updated FROM main._duralite_pipelines WHERE id = ?", (pipeline,)
    )
    if row is None:
        names = [n for (n,) in tx.all("SELECT id FROM main._duralite_pipelines ORDER BY id LIMIT 20")]
        raise NotFound(
            f"There is no pipeline {pipeline!r:.80}.",
            hint="Pipelines: " + ", ".join(names) + "." if names else "Save one, or send steps.",
        )
    number, title, steps, created, updated = row
    return {
        "id": number,
        "title": title,
        "steps": loads(steps),
        "created": iso(created),
        "updated": iso(updated),
        "result": _result_facts(tx, number, loads(steps)),
    }


def _result_facts(tx: Transaction, pipeline: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    found = catalogue.result(tx, pipeline)
    if found is None:
        return None
    read = found.facts.get("read", {})
    changed = any(_version(tx, name) not in (version, None) for name, version in read.items())
    stale = changed or not read or found.facts.get("steps") != steps_hash(steps)
    return {
        "rows": found.rows,
        "columns": [{"name": f.name, "type": f.type} for f in found.fields],
        "executed": found.created,
        "warnings": found.facts.get("warnings", []),
        "stale": stale,
    }


def _version(tx: Transaction, name: str) -> Any:
    """Return the version of a table of this project; None for one of another, which is not looked into."""
    return catalogue.version(tx, None if name == "data" else name)


def listed(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved pipeline in short, as a list shows it."""
    result = saved["result"]
    facts = None if result is None else {k: result[k] for k in ("rows", "executed", "stale")}
    return {**saved, "steps": len(saved["steps"]), "result": facts}


def steps_hash(steps: list[dict[str, Any]]) -> str:
    """Return what changes when steps do."""
    return hashlib.sha256(orjson.dumps(steps, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def reserve(tx: Transaction, *, pipeline: str, steps: Sequence[Step] | None, title: str | None) -> int:
    """Return the number of a new data table for a pipeline's result, with its steps saved first if they are given.

    Raises:
        Conflict: the pipeline is being executed already.
    """
    if _is_filling(tx, pipeline):
        raise Conflict(
            "This pipeline is being executed.", hint="Wait for its job to end, or cancel it (list_jobs)."
        )
    if steps is not None:
        store(tx, pipeline, steps, title)
    return catalogue.reserve(tx, pipeline)


def _is_filling(tx: Transaction, pipeline: str) -> bool:
    sql = "SELECT 1 FROM main._duralite_datasets WHERE state = 'filling' AND pipeline = ?"
    return tx.one(sql, (pipeline,)) is not None


def delete(tx: Transaction, *, pipeline: str) -> tuple[bool, list[int]]:
    """Delete a pipeline; return whether there was one, and the numbers of data tables that are left over.

    Raises:
        Conflict: it is being executed.
    """
    if _is_filling(tx, pipeline):
        raise Conflict("This pipeline is being executed.", hint="Cancel its job first (list_jobs).")
    count = tx.execute("DELETE FROM main._duralite_pipelines WHERE id = ?", (pipeline,)).rowcount
    return count > 0, catalogue.discard(tx, pipeline)
