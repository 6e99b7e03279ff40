"""The history of an actor's runs, as its views show it: pages, whole records, what waits for an approval.

All functions here belong into a unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from runtime.clock import iso
from runtime.errors import InputError, NotFound
from runtime.storage.transaction import Transaction
from runtime.values import loads
from sandbox import codec
from sandbox.engine import Limits
from sandbox.runs.records import Program, is_made
from sandbox.runs.result import CALLS_LISTED, RunCall, RunError, RunResult

__all__ = (
    "CallRecord",
    "RunPage",
    "RunRecord",
    "RunSummary",
    "code_of",
    "list_page",
    "load",
    "program_of",
    "result_of",
    "waiting_of",
)


@dataclass(slots=True)
class RunSummary:
    """A run in a list: `code` is cut after 200 characters. Moments are RFC 3339 text."""

    id: str
    state: str
    created: str
    ended: str | None
    code: str
    error: str | None


@dataclass(slots=True)
class RunPage:
    """Runs, the newest first; `next` is the cursor of the next page, None on the last."""

    items: list[RunSummary]
    next: str | None


@dataclass(slots=True)
class CallRecord:
    """A helper call of a run: arguments (cut when long), result or error; `cut` says that the result was too large."""

    name: str
    arguments: Any
    state: str
    result: Any
    error: Any
    ms: float
    cut: bool = False


@dataclass(slots=True)
class RunRecord:
    """All that is kept of a run.

    `state` is running, paused, or how it ended: ok, error, limit, crash, protocol, cancelled. `cut` names what
    was too large to keep. `waiting` are the calls that need an approval. `attempts` counts how often it was begun.
    """

    id: str
    state: str
    code: str
    inputs: Any
    limits: dict[str, Any]
    ask: list[str]
    seed: str
    now: float
    created: str
    paused: str | None
    ended: str | None
    attempts: int
    value: Any = None
    error: RunError | None = None
    logs: list[str] = field(default_factory=list)
    calls: list[CallRecord] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    effects: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    limit: str | None = None
    waiting: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


_COLUMNS = "id, state, code, inputs, limits, ask, seed, now, created, paused, ended, attempts, resumable, result, cut"


def _row(tx: Transaction, run: str) -> tuple[Any, ...]:
    row = tx.one(f"SELECT {_COLUMNS} FROM main._duralite_runs WHERE id = ?", (run,)) if is_made(tx) else None
    if row is None:
        raise NotFound(f"There is no run {run!r:.60}.", hint="list_runs shows those that are remembered.")
    return row


def code_of(tx: Transaction, run: str) -> tuple[str, str]:
    """Return a run's program text, and its state.

    Raises:
        NotFound: no such run, or it is forgotten.
    """
    row = _row(tx, run)
    return str(row[2]), str(row[1])


def program_of(tx: Transaction, run: str) -> Program:
    """Return the program of a run.

    Raises:
        NotFound: no such run, or it is forgotten; or its inputs were too large to keep.
    """
    row = _row(tx, run)
    if row[3] is None:
        raise NotFound(
            f"The inputs of run {run} were too large to keep.", hint="Run the program again with its inputs."
        )
    limits = Limits(**loads(row[4]))
    inputs = codec.decode(row[3], limits.depth + 8)
    ask = tuple(loads(row[5]))
    return Program(row[0], row[2], inputs, limits, ask, bytes(row[6]), float(row[7]), row[11], bool(row[12]))


# A run that goes on may have a journal far larger than a record: what is too much is cut in what is shown.
_CALLS = """
SELECT name, iif(total <= :most, args, substr(args, 1, 100)), state, iif(total <= :most, result, NULL), ms,
    cut OR total > :most
FROM (
    SELECT *, sum(length(args) + coalesce(length(result), 0)) OVER (ORDER BY id) AS total
    FROM main._duralite_run_calls WHERE run = :run)
ORDER BY id"""


def load(tx: Transaction, run: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        NotFound: no such run, or it is forgotten.
    """
    row = _row(tx, run)
    record = RunRecord(
        id=row[0],
        state=row[1],
        code=row[2],
        inputs=None if row[3] is None else orjson.loads(row[3]),
        limits=loads(row[4]),
        ask=loads(row[5]),
        seed=bytes(row[6]).hex(),
        now=row[7],
        created=iso(row[8]) or "",
        paused=iso(row[9]),
        ended=iso(row[10]),
        attempts=row[11],
        cut=row[14].split(",") if row[14] else [],
    )
    if row[13] is not None:
        kept = loads(row[13])
        for name in ("value", "logs", "usage", "effects", "note", "limit", "warnings"):
            setattr(record, name, kept[name])
        record.error = None if kept["error"] is None else RunError(**kept["error"])
    record.calls = [
        _call_record(*each)
        for each in tx.execute(_CALLS, {"run": run, "most": tx.limits.run_record_bytes}).fetchall()
    ]
    if record.state == "paused":
        record.waiting = waiting_of(tx, run)
    return record


def _call_record(name: str, args: str, state: str, result: bytes | None, ms: float, cut: int) -> CallRecord:
    answer = None if result is None else orjson.loads(result)
    failed = state in ("error", "asked", "approved", "rejected")
    return CallRecord(
        name,
        _arguments(args),
        state,
        None if failed else answer,
        answer if failed else None,
        round(ms, 3),
        bool(cut),
    )


def _arguments(text: str) -> Any:
    """Return what is kept of a call's arguments: a list and an object, or text that was cut."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


_MOST_WAITING = 200


def waiting_of(tx: Transaction, run: str | None = None, most: int = _MOST_WAITING) -> list[dict[str, Any]]:
    """Return the calls that wait for an approval, of one run or of all, the longest waiting first."""
    rows = tx.all(
        "SELECT c.run, c.id, c.name, c.args, c.result, c.at FROM main._duralite_run_calls AS c"
        " JOIN main._duralite_runs AS r ON r.id = c.run"
        " WHERE r.state = 'paused' AND c.state = 'asked' AND (? IS NULL OR c.run = ?) ORDER BY c.at, c.run, c.id LIMIT ?",
        (run, run, most),
    )
    return [
        {
            "id": f"{owner}:{call}",
            "run": owner,
            "call": name,
            "arguments": _arguments(args),
            "cut": args.endswith(" …"),
            "why": orjson.loads(why)["why"],
            "since": iso(at),
        }
        for owner, call, name, args, why, at in rows
    ]


def list_page(tx: Transaction, cursor: str | None, limit: int, state: str | None) -> RunPage:
    """Return a page of runs, the newest first.

    Raises:
        InputError: the cursor is not one that a page gave.
    """
    if not is_made(tx):
        return RunPage([], None)
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InputError("The cursor is not one that a page gave.", hint="Use `next` of the page before.")
    rows = tx.all(
        "SELECT n, id, state, created, ended, substr(code, 1, 200), result FROM main._duralite_runs"
        " WHERE n < ? AND (? IS NULL OR state = ?) ORDER BY n DESC LIMIT ?",
        (int(cursor) if cursor else 1 << 62, state, state, limit + 1),
    )
    items = [
        RunSummary(run, shown, iso(created) or "", iso(ended), code, _error_text(result))
        for _, run, shown, created, ended, code, result in rows[:limit]
    ]
    return RunPage(items, str(rows[limit - 1][0]) if len(rows) > limit else None)


def _error_text(result: bytes | None) -> str | None:
    error = None if result is None else loads(result)["error"]
    return None if error is None else f"{error['type']}: {error['message']}"[:300]


def result_of(record: RunRecord) -> RunResult:
    """Return a record's end as the result that its caller would have had."""
    status: Any = record.state if record.state != "running" else "cancelled"
    return RunResult(
        status,
        record.value,
        record.error,
        record.logs,
        [RunCall(c.name, c.ms, None) for c in record.calls[:CALLS_LISTED]],
        record.usage,
        record.effects,
        limit=record.limit,
        note=record.note,
        id=record.id,
        waiting=record.waiting,
        warnings=record.warnings,
    )
