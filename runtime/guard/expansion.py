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


def planning(tables: int) -> int:
    """Return the weight of one FROM with this many tables."""
    return 0 if tables < _CHEAP_JOIN else tables * tables // 4


def outline(tokens: Sequence[Token]) -> Outline:
    """Return the root node of a text: what stands outside all table expressions."""
    root = Outline("", 0, parents=[-1])
    owners, scopes = [root], [0]
    froms = [0]
    previous = ""
    for at, (kind, text, *_) in enumerate(tokens):
        if kind == OP:
            if text == "(":
                body = _body_name(tokens, at)
                owner = owners[-1]
                if body is not None:
                    owner = Outline(body, scopes[-1])
                    twin = root.nodes.setdefault((owner.scope, body), owner)
                    owner = twin
                root.parents.append(scopes[-1])
                owners.append(owner)
                scopes.append(len(root.parents) - 1)
                # `FROM (a, b)` goes on counting; a sub-select starts anew at its own FROM.
                froms.append(1 if froms[-1] and previous in ("from", ",", "join", "(") else 0)
            elif text == ")" and len(owners) > 1:
                owners[-1].weight += planning(froms.pop())
                owners.pop()
                scopes.pop()
            elif text == "," and froms[-1]:
                froms[-1] += 1
        elif kind == WORD and text in _CLAUSES:
            if text == "from":
                froms[-1] = 1
            elif text == "join":
                froms[-1] += 1
            else:
                owners[-1].weight += planning(froms[-1])
                froms[-1] = 0
        elif previous in _BEFORE_TABLE and kind in (WORD, QUOTED, STRING):
            owners[-1].uses.append((name_of(tokens[at]), scopes[-1]))
        previous = text
    root.weight += planning(froms[-1])
    return root


_CLAUSES = frozenset({"from", "join", "where", "group", "order", "limit", "union", "except", "intersect", "select", "having", "set", "returning", "window"})  # fmt: skip


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
