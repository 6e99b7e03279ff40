"""Expansion is how much SQLite compiles for a text: every use of a table expression or view is a copy.

`WITH a1 AS (SELECT * FROM a0 p, a0 q), a2 AS (SELECT * FROM a1 p, a1 q), …` doubles with each step; 860 bytes
of it take seconds and gigabytes before the first row, and neither deadline nor progress call reaches into
that. So the copies are counted here first, in units of about one millisecond at worst. The count follows
SQLite's scoping (a name belongs to the parentheses that hold its WITH) and stops as soon as it is too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from runtime.guard.tokens import OP, QUOTED, STRING, WORD, Token, name_of, tokenize

__all__ = ("Outline", "expansion", "outline", "outline_of", "planning")

# A wide join costs its planner more than a narrow one; measured up to 134 ms at 20 tables, 10 ms at 8.
_CHEAP_JOIN = 6

# A name in table position follows one of these; `a.total` and `sum(total)` name columns.
_BEFORE_TABLE = frozenset({"from", "join", "in", "into", "update", ",", "(", ".", "or", "exists", "not"})


@dataclass(slots=True)
class Outline:
    """A text, or the body of one table expression, as a node: its own weight and the names that it uses."""

    name: str
    scope: int
    weight: int = 1
    uses: list[tuple[str, int]] = field(default_factory=list)
    # Only the root has these two: every node by (scope, name), and the parent of each scope.
    nodes: dict[tuple[int, str], Outline] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)


def planning(tables: int, terms: int) -> int:
    """Return the weight of one SELECT that joins so many tables by so many terms."""
    return 0 if tables < _CHEAP_JOIN else tables * min(terms, tables * tables) // 25


@dataclass(slots=True)
class _Scope:
    """What is open between two parentheses: the tables of the present SELECT, and the terms that tie them."""

    number: int
    owner: Outline
    tables: int = 0
    terms: int = 0
    in_from: bool = False

    def end_select(self) -> None:
        self.owner.weight += planning(self.tables, self.terms)
        self.tables = self.terms = 0
        self.in_from = False


def outline(tokens: Sequence[Token]) -> Outline:
    """Return the root node of a text: what stands outside all table expressions."""
    root = Outline("", 0, parents=[-1])
    stack = [_Scope(0, root)]
    previous = ""
    for at, token in enumerate(tokens):
        kind, text, *_ = token
        scope = stack[-1]
        if kind == OP:
            if text == "(":
                stack.append(_open(root, scope, tokens, at, previous))
            elif text == ")" and len(stack) > 1:
                _close(stack)
            elif text != ".":
                scope.terms += 1
                scope.tables += text == "," and scope.in_from
        elif kind == WORD and text in _CLAUSES:
            _clause(scope, text)
        elif previous in _BEFORE_TABLE and kind in (WORD, QUOTED, STRING) and not _is_header(tokens, at):
            scope.owner.uses.append((name_of(token), scope.number))
        previous = text
    for scope in stack:
        scope.end_select()
    return root


def _open(root: Outline, scope: _Scope, tokens: Sequence[Token], at: int, previous: str) -> _Scope:
    owner = scope.owner
    body = _body_name(tokens, at)
    if body is not None:
        # Two bodies of one name in one scope are an error to SQLite; here they count together.
        owner = root.nodes.setdefault((scope.number, body), Outline(body, scope.number))
    root.parents.append(scope.number)
    inner = _Scope(len(root.parents) - 1, owner)
    # `FROM (a, b)` goes on counting; a sub-select starts anew at its own SELECT.
    if scope.in_from and previous in ("from", ",", "join", "("):
        inner.in_from, inner.tables = True, 1
    return inner


def _close(stack: list[_Scope]) -> None:
    inner, outer = stack.pop(), stack[-1]
    if inner.owner is outer.owner:
        # Terms in parentheses tie the tables around them, unless they belong to a sub-select's own.
        outer.terms += inner.terms
        if inner.in_from and outer.in_from:
            outer.tables += inner.tables - 1
    inner.end_select()


def _is_header(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a name stands where it is defined or called: `a AS (…)`, `a(x) AS (…)`, `sum(…)`."""
    following = [token[1] for token in tokens[at + 1 : at + 3]]
    return following[:1] == ["("] or (
        following[:1] == ["as"] and following[1:] != [] and following[1] in ("(", "not", "materialized")
    )


def _clause(scope: _Scope, word: str) -> None:
    if word == "from":
        scope.in_from, scope.tables = True, 1
    elif word == "join":
        scope.tables += 1
    elif word == "natural":
        scope.terms += 20  # one term for each common column, whose number the text does not tell
    elif word in ("select", "union", "except", "intersect"):
        scope.end_select()
    else:
        scope.in_from = False


_CLAUSES = frozenset(
    "from join natural where group order limit union except intersect select having set returning window".split()  # noqa: SIM905
)


@lru_cache(maxsize=256)
def outline_of(sql: str) -> Outline:
    """Return the outline of a stored view's text."""
    return outline(tokenize(sql))


def _body_name(tokens: Sequence[Token], at: int) -> str | None:
    """Return the name in `name [(columns)] AS [NOT] [MATERIALIZED] (` before the parenthesis at `at`."""
    i = at - 1
    if i >= 0 and tokens[i][1] == "materialized":
        i -= 1
        if i >= 0 and tokens[i][1] == "not":
            i -= 1
    if i < 1 or tokens[i][0] != WORD or tokens[i][1] != "as":
        return None
    i -= 1
    if tokens[i][1] == ")":
        depth = 0
        while i >= 0:
            if tokens[i][0] == OP:
                depth += (tokens[i][1] == ")") - (tokens[i][1] == "(")
            i -= 1
            if depth == 0:
                break
    return name_of(tokens[i]) if i >= 0 and tokens[i][0] in (WORD, QUOTED, STRING) else None


def expansion(root: Outline, views: Mapping[str, str], limit: int) -> int:
    """Return the weight of a text with every use expanded; it stops counting above `limit`."""
    total = 0
    # Each entry: the root that gives the scopes, the node, and the path that leads to it.
    stack: list[tuple[Outline, Outline, frozenset[int]]] = [(root, root, frozenset({id(root)}))]
    while stack and total <= limit:
        base, node, path = stack.pop()
        total += node.weight
        for name, scope in node.uses:
            found = _resolve(base, name, scope)
            if found is not None:
                following = (base, found)
            elif name in views:
                stored = outline_of(views[name])
                following = (stored, stored)
            else:
                continue
            # A name on its own path is a recursive step, which SQLite compiles once.
            if id(following[1]) not in path:
                stack.append((*following, path | {id(following[1])}))
                if len(stack) > limit:
                    return limit + 1
    return total


def _resolve(base: Outline, name: str, scope: int) -> Outline | None:
    nodes = base.nodes
    if not nodes:
        return None
    while scope >= 0:
        node = nodes.get((scope, name))
        if node is not None:
            return node
        scope = base.parents[scope]
    return None
