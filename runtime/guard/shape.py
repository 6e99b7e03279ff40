"""Shape is what the tokens tell of a statement's rows: how wide, how sorted, how many calls for each.

SQLite asks for an interrupt between rows, not inside one. What one row can cost is the number of its calls
times the longest value, so a statement with many calls may handle shorter values only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.guard.tokens import OP, QUOTED, STRING, WORD, Token

__all__ = ("Shape", "calls_of", "length_for", "risky_formats", "shape_of")

# Calls whose cost grows with the square of their arguments' lengths, and that nothing can interrupt, in
# quarters of what `instr` takes (3.5 s for 1,000,000 bytes). LIKE patterns have a limit of their own.
_QUADRATIC = {
    "instr": 4,
    "replace": 4,
    "like": 1,
    "glob": 1,
    "json_patch": 64,
    "jsonb_patch": 64,
    # With one phrase; each further phrase that hits multiplies, and the phrases are not in the text.
    "snippet": 2_000,
    "highlight": 80,
}
_TRIM = frozenset({"trim", "ltrim", "rtrim"})
_TRIM_QUADRATIC = 90
_QUADRATIC_S = 3.5e-12 / 4
_LINEAR_S = 3e-9
_CALL_BUDGET_S = 2.0
# Memory that the values of one row may take, before anybody can count it.
_ROW_BYTES = 256_000_000
_SHORTEST = 4_096

_PLAIN_FORMAT = re.compile(
    r"'(?:[^'%]|''|%[-+ 0,!#]*[0-9]{0,3}(?:\.[0-9]{0,3})?(?:l{0,2})[dusfgeEGxXoqQwi%]|%-?[0-9]{0,3}c)*'"
)


@dataclass(slots=True)
class Shape:
    """The longest ORDER BY, the widest result row, and whether a sub-select without FROM has a window."""

    order_terms: int = 0
    width: int = 0
    bare_window: bool = False


@dataclass(slots=True)
class _Level:
    """What is open between two parentheses: the clause that commas count for, and the SELECT seen so far."""

    clause: str = ""
    commas: int = 0
    select: bool = False
    from_: bool = False
    window: bool = False


# A word that ends the list before it. ORDER is told by its BY, because OVER (ORDER BY …) is one too.
_ENDS = frozenset({"select", "returning", "from", "where", "group", "limit", "values", "set"})
_COMPOUND = frozenset({"union", "except", "intersect"})


def shape_of(tokens: Sequence[Token]) -> Shape:
    """Return the shape of a statement."""
    shape = Shape()
    stack = [_Level()]
    previous = ""
    for kind, text, *_ in tokens:
        level = stack[-1]
        if kind == OP:
            if text == ",":
                level.commas += 1
            elif text == "(":
                stack.append(_Level())
            elif text == ")" and len(stack) > 1:
                _end_select(shape, stack.pop(), nested=True)
        elif kind == WORD:
            if text in _COMPOUND:
                _end_select(shape, level, nested=len(stack) > 1)
                stack[-1] = _Level()
            elif text in _ENDS or (text == "by" and previous == "order"):
                _end_clause(shape, level)
                level.clause = "order" if text == "by" else text
                level.select |= text == "select"
                level.from_ |= text == "from"
            elif text == "over":
                level.window = True
        previous = text
    for level in stack:
        _end_clause(shape, level)
    return shape


def _end_clause(shape: Shape, level: _Level) -> None:
    if level.clause == "order":
        shape.order_terms = max(shape.order_terms, level.commas + 1)
    elif level.clause in ("select", "returning"):
        shape.width = max(shape.width, level.commas + 1)
    level.commas = 0


def _end_select(shape: Shape, level: _Level, *, nested: bool) -> None:
    _end_clause(shape, level)
    if nested and level.select and level.window and not level.from_:
        shape.bare_window = True


def calls_of(tokens: Sequence[Token]) -> tuple[int, int]:
    """Return how many linear calls a text makes, and how many quadratic ones, in quarters of an instr."""
    linear = quadratic = 0
    last = len(tokens) - 1
    for at, (kind, text, *_) in enumerate(tokens):
        if kind == OP:
            if text == "||":
                linear += 1
        elif kind in (WORD, QUOTED):
            if kind == QUOTED:
                text = text[1:]
            if text in _QUADRATIC:
                quadratic += _QUADRATIC[text]
            elif at < last and tokens[at + 1][1] == "(":
                if text in _TRIM and _trims_a_set(tokens, at + 1):
                    quadratic += _TRIM_QUADRATIC
                linear += 4 if text.startswith("json") else 1
    return linear, quadratic


def _trims_a_set(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a trim call, its parenthesis at `at`, has a set of characters that may be long."""
    depth = 0
    for i in range(at, min(len(tokens), at + 64)):
        kind, text, *_ = tokens[i]
        if kind == OP:
            if text == "(":
                depth += 1
            elif text == ")":
                depth -= 1
                if depth == 0:
                    return False
            elif text == "," and depth == 1:
                # A short literal set makes the call linear.
                return not (
                    i + 2 < len(tokens)
                    and tokens[i + 1][0] == STRING
                    and len(tokens[i + 1][1]) <= 40
                    and tokens[i + 2][1] == ")"
                )
    return True


def length_for(length: int, calls: tuple[int, int], width: int) -> int:
    """Return the longest value that a statement may handle.

    SQLite asks for an interrupt between rows, not between the calls of one row: the calls of a text, each
    over the longest value, must together stay under a few seconds, and the values of a row within memory.
    """
    linear, quadratic = calls
    if quadratic:
        length = min(length, int((_CALL_BUDGET_S / (quadratic * _QUADRATIC_S)) ** 0.5))
    if linear:
        # The results of constant calls are all kept until the statement ends.
        length = min(length, int(_CALL_BUDGET_S / (linear * _LINEAR_S)), _ROW_BYTES // linear)
    if width:
        length = min(length, _ROW_BYTES // width)
    return max(_SHORTEST, length)


def risky_formats(tokens: Sequence[Token]) -> bool:
    """Return whether a printf or format call has a format that cannot be judged from the text."""
    for at, (kind, text, *_) in enumerate(tokens[:-1]):
        if kind in (WORD, QUOTED) and text.lstrip('"') in ("printf", "format") and tokens[at + 1][1] == "(":
            if at + 2 >= len(tokens):
                return False
            kind, argument, *_ = tokens[at + 2]
            if kind != STRING or _PLAIN_FORMAT.fullmatch(argument) is None:
                return True
            if at + 3 < len(tokens) and tokens[at + 3][1] not in (",", ")"):
                return True
    return False
