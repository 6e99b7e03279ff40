"""A record is what is kept of a run, in the actor's own file: the program, what it was given, each call, its end.

The tables are made at the first run, so that an actor which never ran a program does without. A record is
bounded: `run_record_bytes` when the run has ended (large results are cut, and say so), `runs_kept` of them.
All functions here belong into a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from runtime.storage.transaction import Transaction
from runtime.values import dumps
from sandbox.engine import Limits
from sandbox.runs.result import RunResult

__all__ = ("ROW_BYTES", "CallRow", "Program", "end", "end_bare", "forget", "insert", "is_made", "put_calls")

_TABLES = (
    "CREATE TABLE IF NOT EXISTS main._duralite_runs ("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, code TEXT NOT NULL, inputs BLOB,"
    " limits TEXT NOT NULL, ask TEXT NOT NULL, seed BLOB NOT NULL, now REAL NOT NULL, created REAL NOT NULL,"
    " paused REAL, ended REAL, attempts INTEGER NOT NULL, resumable INTEGER NOT NULL DEFAULT 1, result BLOB,"
    " cut TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS main._duralite_run_calls ("
    " run TEXT NOT NULL, id INTEGER NOT NULL, key BLOB NOT NULL, nth INTEGER NOT NULL, name TEXT NOT NULL,"
    " args TEXT NOT NULL, state TEXT NOT NULL, done INTEGER, result BLOB, ms REAL NOT NULL, at REAL NOT NULL,"
    " wrote INTEGER NOT NULL, cut INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, id)) STRICT, WITHOUT ROWID",
)
_CALL_SQL = (
    "INSERT OR REPLACE INTO main._duralite_run_calls (run, id, key, nth, name, args, state, done, result, ms, at, wrote)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ROW_BYTES = 150
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

    `key` is the hash of path and arguments, `nth` counts the calls with that key from 0, `done` the awaited
    calls that ended, in order. `state`: started, ok, error, cancelled, asked, approved, rejected. `result` is JSON.
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
    wrote: bool

    @property
    def size(self) -> int:
        """What the row counts for, in bytes."""
        return ROW_BYTES + len(self.args) + (len(self.result) if self.result is not None else 0)


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
            dumps(program.limits).decode(),
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


def count_attempt(tx: Transaction, run: str, by: int) -> None:
    """Count that a run was begun (1), or that it was not (-1)."""
    tx.execute("UPDATE main._duralite_runs SET attempts = attempts + ? WHERE id = ?", (by, run))


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
    row = tx.one("SELECT state FROM main._duralite_runs WHERE id = ?", (run,))
    if row is None or row[0] != "running":
        return  # it has paused in the same moment, or is forgotten
    budget = tx.limits.run_record_bytes
    each = budget // _EACH
    cut: list[str] = []
    value, logs = dumps(result.value), result.logs
    if len(value) > each:
        value = b"null"
        cut.append("value")
    if sum(map(len, logs)) + 4 * len(logs) > each:
        logs = _cut_lines(logs, each)
        cut.append("logs")
    if inputs > each:
        tx.execute("UPDATE main._duralite_runs SET inputs = NULL WHERE id = ?", (run,))
        cut.append("inputs")
        inputs = 0
    text = dumps(_kept(result, value, logs))
    left = max(each, budget - inputs - len(text))
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


def _kept(result: RunResult, value: bytes, logs: list[str]) -> dict[str, Any]:
    # By hand: `asdict` would copy the value, which may be large.
    return {
        "value": orjson.Fragment(value),
        "error": result.error,
        "logs": logs,
        "usage": result.usage,
        "effects": result.effects,
        "note": result.note,
        "limit": result.limit,
        "warnings": result.warnings,
    }


def end_bare(tx: Transaction, run: str, state: str) -> None:
    """Write that a run ended, where its result cannot be kept."""
    if is_made(tx):
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
        budget -= ROW_BYTES + args
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
