"""The gate reads a statement's tokens before SQLite sees the text.

It finds the first keyword, one statement and no second, and refuses what no later layer could stop: verbs
that make no authorizer call (VACUUM, ANALYZE of an empty file), statements that take seconds or gigabytes
while they are compiled, and shapes that fault in SQLite versions in use. It never decides about tables,
columns and functions: SQLite's own reading of the statement does (see `authorizer`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from runtime.errors import InputError, LimitExceeded
from runtime.guard.dialects import keyword_hint
from runtime.guard.expansion import Outline, expansion, outline
from runtime.guard.parse import check_lists
from runtime.guard.policy import Kind, Policy, Verdict
from runtime.guard.rules import refusal
from runtime.guard.shape import calls_of, length_for, risky_formats, shape_of
from runtime.guard.tokens import OP, QUOTED, STRING, WORD, Token, name_of, tokenize

__all__ = ("FAULTY_ENGINE", "Gate", "Statement", "check_expansion", "gate_for")

FAULTY_ENGINE = sqlite3.sqlite_version_info < (3, 41, 0)
"""Whether this SQLite has memory faults that a plain SELECT can reach; `engine_findings` says which."""

_CACHED_TEXT = 4_096
_CACHED_STATEMENTS = 2_048

_KINDS: Mapping[str, Kind] = {
    "SELECT": "read",
    "VALUES": "read",
    "INSERT": "write",
    "REPLACE": "write",
    "UPDATE": "write",
    "DELETE": "write",
    "CREATE": "schema",
    "DROP": "schema",
    "ALTER": "schema",
}
_REFUSED = {
    "ATTACH": "statement.attach",
    "DETACH": "statement.attach",
    "PRAGMA": "statement.pragma",
    "BEGIN": "statement.transaction",
    "COMMIT": "statement.transaction",
    "END": "statement.transaction",
    "ROLLBACK": "statement.transaction",
    "SAVEPOINT": "statement.transaction",
    "RELEASE": "statement.transaction",
    "VACUUM": "statement.vacuum",
    "ANALYZE": "statement.maintenance",
    "REINDEX": "statement.maintenance",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A text that passed: the verdict, the names in it, and what depends on the file's views and triggers."""

    verdict: Verdict
    verb_kind: Kind
    names: frozenset[str]
    outline: Outline
    calls: tuple[int, int]
    width: int
    risky_format: bool


class Gate:
    """The gate of one policy; it keeps what it found for texts seen before."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._seen = lru_cache(maxsize=_CACHED_STATEMENTS)(self._inspect)

    def inspect(self, sql: object) -> Statement:
        """Return what the text is, or refuse it.

        Raises:
            InputError: it is not text, or not valid Unicode.
            LimitExceeded: it is too long.
            GuardRefused: a rule of the gate refuses it.
        """
        if not isinstance(sql, str):
            raise InputError(
                f"SQL must be text, not {type(sql).__name__}.",
                hint="Pass the statement as a string, and its values as params.",
            )
        if len(sql) <= _CACHED_TEXT:
            return self._seen(sql)
        return self._inspect(sql)

    def _inspect(self, sql: str) -> Statement:
        _check_text(sql, self.policy.limits.sql_length)
        tokens = tokenize(sql)
        first, last = _bounds(tokens)
        if first != 0 or last != len(tokens) - 1:
            tokens = tokens[first : last + 1]
        text = sql[tokens[0][2] : tokens[-1][3]]
        explain, main = _skip_explain(tokens)
        keyword = tokens[0][1].upper() if tokens[0][0] == WORD else ""
        verb = tokens[main][1].upper() if main < len(tokens) and tokens[main][0] == WORD else ""
        self._check_verb(keyword, verb, tokens[main:], text)
        kind = _KINDS[verb if verb != "WITH" else self._check_with(tokens, main)]
        _check_single(tokens, main)
        shape = shape_of(tokens)
        if shape.order_terms > self.policy.limits.order_terms:
            raise refusal("limit.order_terms", f"{shape.order_terms} terms")
        if shape.bare_window and FAULTY_ENGINE:
            raise refusal("engine.window")
        if verb == "CREATE":
            _check_trigram(tokens)
        check_lists(self.policy, text)
        root = outline(tokens)
        if root.nodes or root.weight > 1:
            check_expansion(root, {}, self.policy.limits.expansion)
        calls = calls_of(tokens)
        verdict = Verdict(
            sql=sql if text == sql else text,
            keyword=keyword,
            kind="read" if explain else kind,
            writes=kind != "read" and not explain,
            explain=explain,
            length=length_for(self.policy.limits.length, calls, shape.width),
        )
        return Statement(verdict, kind, _names(tokens), root, calls, shape.width, risky_formats(tokens))

    def _check_verb(self, keyword: str, verb: str, tokens: Sequence[Token], text: str) -> None:
        allowed = self.policy.statements
        if keyword in allowed and verb in allowed and (verb in _KINDS or verb == "WITH"):
            return
        blocked = verb if keyword == "EXPLAIN" and keyword in allowed else keyword
        if blocked in _REFUSED:
            raise refusal(_REFUSED[blocked], blocked)
        if blocked in _KINDS and blocked not in allowed:
            raise refusal("statement.read_only", blocked)
        raise refusal("statement.unknown", f"it begins with {text[:40]!r}", hint=keyword_hint(text))

    def _check_with(self, tokens: Sequence[Token], main: int) -> str:
        verb = _main_verb(tokens, main)
        if verb not in self.policy.statements:
            raise refusal("statement.read_only", f"WITH … {verb}")
        return verb


@lru_cache(maxsize=64)
def gate_for(policy: Policy) -> Gate:
    """Return the gate of a policy; all connections under the policy share it."""
    return Gate(policy)


# A string stands for a name only in the place of one.
_NAMES_FOLLOW = frozenset({"into", "update", "from", "join", "table", ".", "on", "exists", "ignore", "replace", "abort", "fail", "rollback"})  # fmt: skip


def _names(tokens: Sequence[Token]) -> frozenset[str]:
    """Return every name in a text that may be one of a table, in lower case."""
    names = {name_of(token) for token in tokens if token[0] in (WORD, QUOTED) and len(token[1]) <= 1_000}
    for at, token in enumerate(tokens):
        if token[0] == STRING and at and tokens[at - 1][1] in _NAMES_FOLLOW:
            names.add(name_of(token))
    return frozenset(names)


def _check_text(sql: str, limit: int) -> None:
    if len(sql) > limit or (len(sql) * 4 > limit and len(sql.encode("utf-8", "replace")) > limit):
        raise LimitExceeded(
            f"The statement is longer than {limit:,} bytes.",
            hint="Pass data as parameters, or use batch_insert.",
            limit="max_sql_bytes",
        )
    if not sql.isascii():
        try:
            sql.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"The statement is not valid Unicode: a lone surrogate at character {error.start}.",
                hint="Replace or remove the character; pass binary data as a parameter.",
            ) from None
    if "\0" in sql:
        raise refusal("text.nul")


def _bounds(tokens: Sequence[Token]) -> tuple[int, int]:
    """Return the places of the first and the last token that is no semicolon."""
    first, last = 0, len(tokens) - 1
    while first <= last and tokens[first][1] == ";":
        first += 1
    while last > first and tokens[last][1] == ";":
        last -= 1
    if first > last:
        raise refusal("statement.empty")
    return first, last


def _skip_explain(tokens: Sequence[Token]) -> tuple[bool, int]:
    """Return whether the statement is explained, and the place of the word that it explains."""
    if tokens[0][:2] != (WORD, "explain"):
        return False, 0
    if len(tokens) > 2 and tokens[1][:2] == (WORD, "query") and tokens[2][:2] == (WORD, "plan"):
        return True, 3
    return True, 1


def _main_verb(tokens: Sequence[Token], main: int) -> str:
    """Return the verb after the table expressions of a WITH."""
    depth = 0
    closed = False
    for kind, text, *_ in tokens[main:]:
        if kind == OP:
            if text == "(":
                depth += 1
            elif text == ")":
                depth -= 1
                closed = depth == 0
                continue
        elif closed and kind == WORD and depth == 0 and text.upper() in _KINDS:
            return text.upper()
        closed = False
    # SQLite calls such a text a syntax error; should it not, the authorizer lets a read change nothing.
    return "SELECT"


def _check_single(tokens: Sequence[Token], main: int) -> None:
    """Refuse a second statement; the semicolons inside a trigger's body are its own."""
    semicolons = [i for i, token in enumerate(tokens) if token[0] == OP and token[1] == ";"]
    if not semicolons:
        return
    head = [token[1] for token in tokens[main : main + 3]]
    is_trigger = head[0] == "create" and ("trigger" in head[1:2] or (head[1] in ("temp", "temporary") and head[2:3] == ["trigger"]))  # fmt: skip
    if not is_trigger or _ends_early(tokens, semicolons):
        count = 1 + sum(1 for i in semicolons if tokens[i + 1][1] != ";")
        raise refusal("statement.several", f"{count} statements in one call")


def _ends_early(tokens: Sequence[Token], semicolons: Sequence[int]) -> bool:
    """Return whether a trigger's END comes before the last token, so that something follows it."""
    return any(
        tokens[i + 1][:2] == (WORD, "end") and i + 2 < len(tokens) and tokens[i + 2][1] == ";"
        for i in semicolons
    )


def check_expansion(root: Outline, views: Mapping[str, str], limit: int, name: str | None = None) -> None:
    """Refuse a text that compiles to too much.

    Raises:
        GuardRefused: rule `limit.expansion`.
    """
    if expansion(root, views, limit) > limit:
        raise refusal("limit.expansion", name)


def _check_trigram(tokens: Sequence[Token]) -> None:
    if not any(token[1] == "virtual" for token in tokens[:5]):
        return
    for token in tokens:
        if token[0] in (STRING, QUOTED, WORD) and "trigram" in token[1].lower():
            words = re.sub(r"[\"'\[\]`]", " ", name_of(token)).split()
            for at, word in enumerate(words):
                if word == "trigram" and (len(words) - at - 1) % 2:
                    raise refusal("engine.fts5_trigram")
