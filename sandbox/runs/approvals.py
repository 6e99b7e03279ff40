"""An approval is asked before a marked call is made: the run pauses, and goes on when somebody decided.

A mark is the path of a helper, in which `*` stands for any characters, and for SQL a verb after a colon:
`tools.git.git_commit`, `tools.shop.*`, `db.exec:DROP`. The operator's marks (setting `approvals`) hold for every
run; a caller can add marks, and take none away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from runtime.errors import Conflict, InputError, NotFound
from runtime.guard.tokens import OP, WORD, tokenize
from runtime.storage.transaction import Transaction
from runtime.values import dumps
from sandbox.runs.history import waiting_of
from sandbox.runs.records import is_made

__all__ = ("check_marks", "decide", "expire", "verbs_of", "why_ask")

_MARKS = 100
_LONGEST_MARK = 200
_MOST_ASKED = 1_000_000
_VERBS = frozenset(
    {"ALTER", "ANALYZE", "CREATE", "DELETE", "DROP", "INSERT", "REINDEX", "REPLACE", "SELECT", "UPDATE"}
)


def check_marks(marks: Sequence[str]) -> tuple[str, ...]:
    """Return the marks if they can be such.

    Raises:
        InputError: too many, too long, or with a verb that no statement has.
    """
    for mark in marks:
        path, colon, verb = mark.partition(":")
        if not path or len(mark) > _LONGEST_MARK or (colon and verb.upper() not in _VERBS):
            raise InputError(
                f"{mark[:80]!r} marks no helper call.",
                hint="Write a path such as tools.shop.*, or db.exec:DROP; verbs: "
                + ", ".join(sorted(_VERBS))
                + ".",
            )
    if len(marks) > _MARKS:
        raise InputError(
            f"{len(marks)} marks are given.", hint=f"Use at most {_MARKS}, with * for many helpers."
        )
    return tuple(marks)


def verbs_of(sql: str) -> frozenset[str]:
    """Return the verbs of a statement, in capitals: also those of a WITH, an upsert, a trigger's body.

    More than it does is possible, less is not: words in quotes and inside parentheses are names or parts of
    expressions, and a word before a parenthesis is a function.
    """
    verbs = set()
    depth = 0
    tokens = tokenize(sql)
    for place, (kind, text, *_) in enumerate(tokens):
        if kind == OP and text in "()":
            depth += 1 if text == "(" else -1
        elif kind == WORD and depth <= 0 and text.upper() in _VERBS:
            called = place + 1 < len(tokens) and tokens[place + 1][1] == "("
            if not called:
                verbs.add(text.upper())
    return frozenset(verbs)


def why_ask(marks: Iterable[str], path: str, arguments: Any) -> str | None:
    """Return the mark that a call falls under, None for a call that may be made.

    `arguments` are those by name; a text under `sql` is the statement.
    """
    verbs: frozenset[str] | None = None
    for mark in marks:
        wanted, _, verb = mark.partition(":")
        if not fnmatchcase(path, wanted):
            continue
        if not verb:
            return mark
        if verbs is None:
            sql = arguments.get("sql")
            verbs = verbs_of(sql) if isinstance(sql, str) else _VERBS
        if verb.upper() in verbs:
            return mark
    return None


def expire(tx: Transaction) -> tuple[list[str], float | None]:
    """Cancel paused runs that nobody decided about in `run_approval_s`.

    Return their ids, and the moment when the next one is late (None: no other waits).
    """
    waiting = tx.all("SELECT id, paused FROM main._duralite_runs WHERE state = 'paused' ORDER BY paused")
    most = tx.limits.run_approval_s
    late = [str(run) for run, since in waiting if since + most <= tx.now]
    following = waiting[len(late)][1] + most if len(late) < len(waiting) else None
    error = {
        "type": "Expired",
        "message": f"Nobody approved or rejected a call of the run within {tx.limits.run_approval_s:,.0f} s.",
        "hint": "Run the program again.",
        "line": None,
        "traceback": "",
        "code": "expired",
    }
    ended: dict[str, Any] = {
        "status": "cancelled",
        "value": None,
        "error": error,
        "logs": [],
        "usage": {},
        "effects": {},
        "note": None,
        "limit": None,
        "warnings": [],
    }
    for run in late:
        tx.execute(
            "UPDATE main._duralite_runs SET state = 'cancelled', ended = ?, result = ? WHERE id = ?",
            (tx.now, dumps(ended), run),
        )
    return late, following


def decide(tx: Transaction, which: str, approved: bool, reason: str) -> tuple[str, bool]:
    """Decide about one call (`run:call`) or all that a run waits for; return the run's id and whether it goes on.

    Raises:
        NotFound: nothing waits under this id.
        Conflict: the run does not wait any more.
    """
    run = which.partition(":")[0]
    waiting = waiting_of(tx, run, _MOST_ASKED) if is_made(tx) else []
    wanted = [each for each in waiting if which in (run, each["id"])]
    if not wanted:
        row = tx.one("SELECT state FROM main._duralite_runs WHERE id = ?", (run,)) if is_made(tx) else None
        if row is None:
            raise NotFound(
                f"There is no approval {which!r:.80}.", hint="list_approvals shows what waits for one."
            )
        raise Conflict(
            f"The run does not wait for this approval: it is {row[0]}.",
            hint="list_approvals shows what waits for one.",
        )
    for each in wanted:
        tx.execute(
            "UPDATE main._duralite_run_calls SET state = ?, result = ? WHERE run = ? AND id = ?",
            (
                "approved" if approved else "rejected",
                dumps({"why": each["why"], "reason": reason}),
                run,
                int(each["id"].rpartition(":")[2]),
            ),
        )
    if len(wanted) < len(waiting):
        return run, False
    # Somebody wants it to go on: what it was taken up before does not count.
    tx.execute(
        "UPDATE main._duralite_runs SET state = 'running', paused = NULL, attempts = 0 WHERE id = ?", (run,)
    )
    return run, True
