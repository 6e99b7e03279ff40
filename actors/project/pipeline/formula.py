"""Formulas compute a cell from the other cells of its row, in a language that can do nothing else.

    price * quantity                                 numbers: + - * / %, with parentheses
    first & " " & last                               text is joined with &
    if(amount >= 100 and not paid, "due", "fine")    = <> < <= > >=, and, or, not
    [unit price] * 1.19                              a name with spaces stands in [ ] or ` `

Text stands in single or double quotes; `true`, `false` and `null` are values. What is computed with NULL is
NULL, division by zero too. A formula is checked against the types of the columns before anything runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from .cells import Sql, both, call, either, integer, op, text
from .draft import Draft
from .formula_functions import FUNCTIONS, Node, boolean, number, shown
from .numbers import parse_number
from .table import NUMERIC, ColumnType, StepError, nearest

__all__ = ("compile_formula",)

MAX_DEPTH, MAX_TOKENS = 15, 1_500

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<text>"(?:[^"\\]|\\.|"")*"|'(?:[^'\\]|\\.|'')*')
    |(?P<column>\[[^\]]+\]|`[^`]+`)
    |(?P<name>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|==|\|\||&&|[-+*/%&(),<>=!])
    )""",
    re.VERBOSE,
)
_COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_CALCULATIONS: dict[str, type[Sql]] = {"+": exp.Add, "-": exp.Sub, "*": exp.Mul}
_WORDS = {"&&": "and", "||": "or", "!": "not"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def compile_formula(formula: str, draft: Draft) -> tuple[Sql, ColumnType]:
    """Return the SQL of a formula over the plain columns of a draft, and the type of what it gives.

    Raises:
        StepError: it cannot be read, or does not fit the columns; the message says where.
    """
    node = _Reader(formula, draft).whole()
    return node.sql, node.type or "string"


def _tokens(formula: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(formula.rstrip())
    while at < end:
        found = _TOKEN.match(formula, at)
        if not found or not found.lastgroup:
            rest = formula[at:].lstrip()
            raise StepError(
                f"the formula cannot be read from {rest[:20]!r} on.",
                hint="Text stands in quotes, a column with spaces in its name in [ ].",
            )
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        at = found.end()
        if len(tokens) > MAX_TOKENS:
            raise StepError(
                f"the formula has more than {MAX_TOKENS:,} parts.", hint="Compute it in several steps."
            )
    return tokens


class _Reader:
    """Reads a formula by going down from what binds least to what binds most."""

    def __init__(self, formula: str, draft: Draft) -> None:
        self._tokens = _tokens(formula)
        self._draft = draft
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._or()
        if self._at < len(self._tokens):
            raise self._unexpected("an operator or the end")
        return node

    # Tokens

    def _peek(self) -> str:
        """The sign or word that comes next, in small letters; "" for anything else."""
        if self._at >= len(self._tokens):
            return ""
        token = self._tokens[self._at]
        if token.kind == "sign":
            return _WORDS.get(token.text, token.text)
        return token.text.lower() if token.kind == "name" else ""

    def _take(self, *wanted: str) -> str | None:
        found = self._peek()
        if found and found in wanted:
            self._at += 1
            return found
        return None

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unexpected(f'"{sign}"')

    def _unexpected(self, wanted: str) -> StepError:
        if self._at >= len(self._tokens):
            return StepError(f"the formula ends where {wanted} was expected.")
        token = self._tokens[self._at]
        return StepError(
            f'the formula has "{token.text}" at character {token.at + 1} where {wanted} was expected.'
        )

    # The grammar

    def _or(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise StepError(
                f"the formula is nested deeper than {MAX_DEPTH}.", hint="Compute it in several steps."
            )
        parts = [self._and()]
        while self._take("or"):
            parts.append(self._and())
        self._depth -= 1
        if len(parts) == 1:
            return parts[0]
        return Node(either(*(boolean(p, "or") for p in parts)), "boolean")

    def _and(self) -> Node:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        if len(parts) == 1:
            return parts[0]
        return Node(both(*(boolean(p, "and") for p in parts)), "boolean")

    def _not(self) -> Node:
        turns = 0
        while self._take("not"):
            turns += 1
        node = self._comparison()
        if turns:
            sql = boolean(node, "not")
            node = Node(exp.Paren(this=exp.Not(this=_wrapped(sql))) if turns % 2 else sql, "boolean")
        return node

    def _comparison(self) -> Node:
        left = self._joined()
        if sign := self._take(*_COMPARISONS):
            right = self._joined()
            return Node(exp.Paren(this=_compared(left, _COMPARISONS[sign], right)), "boolean")
        return left

    def _joined(self) -> Node:
        node = self._sum()
        made = False
        while self._take("&"):
            right = self._sum()
            # A chain is one expression from left to right, without parentheses within parentheses.
            if not isinstance(node.sql, exp.DPipe):
                left = call("ifnull", shown(node), text(""))
            else:
                left = node.sql if made else node.sql.copy()
            piece = call("ifnull", shown(right), text(""))
            node, made = Node(exp.DPipe(this=left, expression=piece), "string"), True
        return node

    def _sum(self) -> Node:
        node = self._product()
        made = False
        while sign := self._take("+", "-"):
            node, made = _calculated(node, sign, self._product(), made=made), True
        return node

    def _product(self) -> Node:
        node = self._signed()
        made = False
        nested = 0
        while sign := self._take("*", "/", "%"):
            nested += sign != "*"
            if nested > MAX_DEPTH:
                raise StepError(
                    f"the formula divides more than {MAX_DEPTH} times in a row.",
                    hint="Compute it in several steps.",
                )
            node, made = _calculated(node, sign, self._signed(), made=made), True
        return node

    def _signed(self) -> Node:
        turns = 0
        while sign := self._take("-", "+"):
            turns += sign == "-"
        node = self._atom()
        if turns % 2:
            node = Node(exp.Paren(this=exp.Neg(this=_wrapped(number(node, "-")))), node.type or "number")
        return node

    def _atom(self) -> Node:
        if self._at >= len(self._tokens):
            raise self._unexpected("a value")
        token = self._tokens[self._at]
        if self._take("("):
            node = self._or()
            self._need(")")
            return node
        if token.kind == "sign":
            raise self._unexpected("a value")
        self._at += 1
        if token.kind == "number":
            value = parse_number(token.text)
            if value is None:
                raise StepError(f"{token.text} is too large a number.")
            return Node(self._draft.value(value), "integer" if isinstance(value, int) else "number")
        if token.kind == "text":
            return Node(self._draft.value(_unquoted(token.text)), "string")
        if token.kind == "column":
            return self._column(token.text[1:-1])
        return self._named(token)

    def _named(self, token: _Token) -> Node:
        lowered = token.text.lower()
        if self._peek() == "(":
            return self._called(lowered)
        if token.text not in self._draft.names and lowered in ("true", "false"):
            return Node(integer(1 if lowered == "true" else 0), "boolean")
        if token.text not in self._draft.names and lowered == "null":
            return Node(exp.Null(), None)
        return self._column(token.text)

    def _column(self, name: str) -> Node:
        column = self._draft.take(name)
        return Node(column.expr, column.type, column.scale)

    def _called(self, name: str) -> Node:
        function = FUNCTIONS.get(name)
        if function is None:
            near = nearest(name, FUNCTIONS)
            raise StepError(
                f'there is no function "{name}".' + (f' The nearest is "{near}".' if near else ""),
                hint="Functions: " + ", ".join(sorted(FUNCTIONS)) + ".",
            )
        self._need("(")
        arguments: list[Node] = []
        if not self._take(")"):
            arguments.append(self._or())
            while self._take(","):
                arguments.append(self._or())
            self._need(")")
        if len(arguments) < function.least or (function.most is not None and len(arguments) > function.most):
            raise StepError(f"{name}() was given {len(arguments)} values; it is {function.signature}.")
        return function.make(arguments, self._draft.value)


def _unquoted(quoted: str) -> str:
    quote = quoted[0]
    plain = {"n": "\n", "t": "\t"}
    inner = quoted[1:-1].replace(quote * 2, quote)
    return re.sub(r"\\(.)", lambda m: plain.get(m[1], m[1]), inner, flags=re.DOTALL)


def _operand(sql: Sql) -> Sql:
    alone = exp.Column | exp.Placeholder | exp.Anonymous | exp.Paren | exp.Null
    return sql.copy() if isinstance(sql, alone) else _wrapped(sql)


def _wrapped(sql: Sql) -> Sql:
    return exp.Paren(this=sql.copy())


def _calculated(left: Node, sign: str, right: Node, *, made: bool) -> Node:
    # `made` tells that the left side is this chain's own, and need not be copied: a copy for each sign would take
    # time with the square of its length.
    if sign == "+" and "string" in (left.type, right.type):
        raise StepError("+ adds numbers, and was given text.", hint="Join text with &, as in first & last.")
    a, b = number(left, sign), number(right, sign)
    whole = left.type in ("integer", "boolean") and right.type in ("integer", "boolean")
    if sign == "/":
        return Node(
            exp.Paren(
                this=op(
                    op(a, "*", exp.Literal(this="1.0", is_string=False)), "/", call("nullif", b, integer(0))
                )
            ),
            "number",
        )
    if sign == "%":
        return Node(call("dl_modulo", a, b), "integer" if whole else "number")
    chain = (exp.Add, exp.Sub, exp.Mul) if sign != "*" else (exp.Mul,)
    first = (a if made else a.copy()) if isinstance(a, chain) else _operand(a)
    # Not "integer", even of two: what is beyond 64 bits becomes a REAL.
    return Node(_CALCULATIONS[sign](this=first, expression=_operand(b)), "number")


def _compared(left: Node, sign: str, right: Node) -> Sql:
    if left.type is None or right.type is None:
        # Formulas have no other way to ask for it, so that = null means what it seems to.
        if sign in ("=", "<>"):
            operator = exp.Is(this=_wrapped(left.sql), expression=_wrapped(right.sql))
            return operator if sign == "=" else exp.Not(this=exp.Paren(this=operator))
        return op(left.sql, sign, right.sql)
    kinds = {left.type, right.type}
    if kinds <= NUMERIC | {"boolean"} or len(kinds) == 1 or kinds <= {"string", "date", "datetime"}:
        return op(left.sql, sign, right.sql)
    raise StepError(
        f"a {left.type} is compared with a {right.type}.",
        hint="Turn text into a number with number(x), or a number into text with text(x).",
    )
