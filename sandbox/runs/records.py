"""A record is what is kept of a run, in the actor's own file: the program, what it was given, each call, its end.

The tables are made at the first run, so that an actor which never ran a program does without. A record is
bounded: `run_record_bytes` when the run has ended (large results are cut, and say so), `runs_kept` of them.
All functions here belong into a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import orjson

from runtime.clock import iso
from runtime.errors import InputError, NotFound
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads
from sandbox import codec
from sandbox.engine import Limits
from sandbox.runs.result import RunCall, RunError, RunResult

__all__ = (
    "CallRecord",
    "CallRow",
    "Program",
    "RunPage",
    "RunRecord",
    "RunSummary",
    "end",
    "end_bare",
    "forget",
    "insert",
    "is_made",
    "list_page",
    "load",
    "program_of",
    "prune",
    "put_calls",
    "result_of",
    "waiting_of",
)

_TABLES = (
    "CREATE TABLE IF NOT EXISTS main._duralite_runs ("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, code TEXT NOT NULL, inputs BLOB,"
    " limits TEXT NOT NULL, ask TEXT NOT NULL, seed BLOB NOT NULL, now REAL NOT NULL, created REAL NOT NULL,"
    " paused REAL, ended REAL, attempts INTEGER NOT NULL, resumable INTEGER NOT NULL DEFAULT 1, result BLOB,"
    " cut TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS main._duralite_run_calls ("
    " run TEXT NOT NULL, id INTEGER NOT NULL, key BLOB NOT NULL, nth INTEGER NOT NULL, name TEXT NOT NULL,"
    " args TEXT NOT NULL, state TEXT NOT NULL, done INTEGER, result BLOB, ms REAL NOT NULL, at REAL NOT NULL,"
    " cut INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, id)) STRICT, WITHOUT ROWID",
)
_CALL_SQL = (
    "INSERT OR REPLACE INTO main._duralite_run_calls (run, id, key, nth, name, args, state, done, result, ms, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ROW_BYTES = 150
"""What a call costs in a record besides its arguments and its result."""
_EACH = 4
"""Inputs, value and output may each take this part of a record; the calls have the rest."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a run is made of: the same again gives the same run. `ask` are the patterns of its caller."""

    id: str
    code: str
    inputs: dict[str, Any]
    limits: Limits
    ask: tuple[str, ...]
    seed: bytes
    now: float
    attempts: int = 1
    resumable: bool = True


class CallRow(NamedTuple):
    """One call in the journal, as its row is written.

    `key` is the hash of path and arguments, `nth` counts the calls with that key from 0, `done` the calls that
    ended, in order. `state`: started, ok, error, cancelled, asked, approved, rejected. `result` is JSON.
    """

    run: str
    id: int
    key: bytes
    nth: int
    name: str
    args: str
    state: str
    done: int | None
    result: bytes | None
    ms: float
    at: float

    @property
    def size(self) -> int:
        """What the row counts for, in bytes."""
        return _ROW_BYTES + len(self.args) + (len(self.result) if self.result is not None else 0)


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


def is_made(tx: Transaction) -> bool:
    """Tell whether the actor ever ran a program."""
    return tx.one("SELECT 1 FROM main.sqlite_master WHERE name = '_duralite_runs'") is not None


def insert(tx: Transaction, program: Program, inputs: bytes) -> None:
    """Write the record of a run that begins, making the tables if need be; forget the oldest ended ones."""
    if not is_made(tx):
        for statement in _TABLES:
            tx.execute(statement)
    tx.execute(
        "INSERT INTO main._duralite_runs (id, state, code, inputs, limits, ask, seed, now, created, attempts)"
        " VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            program.id,
            program.code,
            inputs,
            dumps(asdict(program.limits)).decode(),
            dumps(program.ask).decode(),
            program.seed,
            program.now,
            tx.now,
            program.attempts,
        ),
    )
    prune(tx)


def prune(tx: Transaction) -> None:
    """Forget the oldest ended runs over `runs_kept`."""
    old = tx.all(
        "SELECT id FROM main._duralite_runs WHERE state NOT IN ('running', 'paused')"
        " ORDER BY n DESC LIMIT -1 OFFSET ?",
        (tx.limits.runs_kept,),
    )
    for (run,) in old:
        forget(tx, run)


def forget(tx: Transaction, run: str) -> None:
    """Delete a run's record."""
    tx.execute("DELETE FROM main._duralite_run_calls WHERE run = ?", (run,))
    tx.execute("DELETE FROM main._duralite_runs WHERE id = ?", (run,))


def put_calls(tx: Transaction, rows: Sequence[CallRow]) -> None:
    """Write calls into the journal; a call that is there already is replaced."""
    if rows:
        tx.executemany(_CALL_SQL, rows)


def end(
    tx: Transaction, run: str, result: RunResult, rows: Iterable[CallRow], written: int, inputs: int
) -> None:
    """Write how a run ended, and bring its record down to `run_record_bytes`.

    `rows` are calls that are not in the file yet, `written` the bytes of those that are, `inputs` the bytes of
    the run's inputs.
    """
    budget = tx.limits.run_record_bytes
    cut: list[str] = []
    kept = asdict(result)
    del kept["calls"], kept["id"]
    for name in ("value", "logs"):
        if len(dumps(kept[name])) > budget // _EACH:
            kept[name] = None if name == "value" else _cut_lines(kept[name], budget // _EACH)
            cut.append(name)
    if inputs > budget // _EACH:
        tx.execute("UPDATE main._duralite_runs SET inputs = NULL WHERE id = ?", (run,))
        cut.append("inputs")
        inputs = 0
    text = dumps(kept)
    left = max(budget // _EACH, budget - inputs - len(text))
    pending = list(rows)
    if written + sum(row.size for row in pending) > left:
        cut.append("calls")
    put_calls(tx, pending)
    if "calls" in cut:
        _cut_calls(tx, run, left)
    tx.execute(
        "UPDATE main._duralite_runs SET state = ?, ended = ?, result = ?, cut = ? WHERE id = ?",
        (result.status, tx.now, text, ",".join(cut) or None, run),
    )


def end_bare(tx: Transaction, run: str, state: str) -> None:
    """Write that a run ended, where its result cannot be kept."""
    tx.execute("UPDATE main._duralite_runs SET state = ?, ended = ? WHERE id = ?", (state, tx.now, run))


def _cut_lines(lines: list[str], budget: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        budget -= len(line) + 4
        if budget < 0:
            break
        kept.append(line)
    return kept


def _cut_calls(tx: Transaction, run: str, budget: int) -> None:
    """Cut results that are large, and forget calls that come after the budget is used up."""
    largest = max(256, budget // 16)
    sizes = tx.all(
        "SELECT id, length(args), coalesce(length(result), 0) FROM main._duralite_run_calls WHERE run = ? ORDER BY id",
        (run,),
    )
    for call, args, size in sizes:
        budget -= _ROW_BYTES + args
        if budget < 0:
            tx.execute("DELETE FROM main._duralite_run_calls WHERE run = ? AND id >= ?", (run, call))
            return
        if size > min(budget, largest):
            tx.execute(
                "UPDATE main._duralite_run_calls SET result = NULL, cut = 1 WHERE run = ? AND id = ?",
                (run, call),
            )
        else:
            budget -= size


# Reading

_COLUMNS = "id, state, code, inputs, limits, ask, seed, now, created, paused, ended, attempts, resumable, result, cut"


def _row(tx: Transaction, run: str) -> tuple[Any, ...]:
    row = tx.one(f"SELECT {_COLUMNS} FROM main._duralite_runs WHERE id = ?", (run,)) if is_made(tx) else None
    if row is None:
        raise NotFound(f"There is no run {run!r:.60}.", hint="list_runs shows those that are remembered.")
    return row


def program_of(tx: Transaction, run: str) -> tuple[Program, str]:
    """Return the program of a run, and the run's state.

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
    program = Program(
        row[0], row[2], inputs, limits, ask, bytes(row[6]), float(row[7]), row[11], bool(row[12])
    )
    return program, str(row[1])


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
        for each in tx.all(
            "SELECT name, args, state, result, ms, cut FROM main._duralite_run_calls WHERE run = ?"
            " ORDER BY done IS NULL, done, id",
            (run,),
        )
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


def waiting_of(tx: Transaction, run: str | None = None) -> list[dict[str, Any]]:
    """Return the calls that wait for an approval, of one run or of all, the longest waiting first."""
    rows = tx.all(
        "SELECT c.run, c.id, c.name, c.args, c.result, c.at FROM main._duralite_run_calls AS c"
        " JOIN main._duralite_runs AS r ON r.id = c.run"
        " WHERE r.state = 'paused' AND c.state = 'asked' AND (? IS NULL OR c.run = ?) ORDER BY c.at, c.run, c.id",
        (run, run),
    )
    return [
        {
            "id": f"{owner}:{call}",
            "run": owner,
            "call": name,
            "arguments": _arguments(args),
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
        [RunCall(c.name, c.ms, None) for c in record.calls[:200]],
        record.usage,
        record.effects,
        limit=record.limit,
        note=record.note,
        id=record.id,
        waiting=record.waiting,
        warnings=record.warnings,
    )
