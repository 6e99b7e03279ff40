"""The functions of formulas: what each takes, what it gives, and the SQL that it becomes.

Every function writes each of its arguments once, so that formulas within formulas stay as long as they were
written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from .cells import Sql, as_text, call, cast, integer, op, text, trimmed, when
from .draft import Column, Values
from .table import NUMERIC, ColumnType, StepError, common_type

__all__ = ("FUNCTIONS", "Function", "Node", "boolean", "number", "shown")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a formula: its SQL and its type; None is the type of `null`, which goes with any."""

    sql: Sql
    type: ColumnType | None
    scale: int | None = None


Maker = Callable[[list[Node], Values], Node]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how many arguments it takes (`most` None: any number), what it does, and its maker."""

    signature: str
    summary: str
    least: int
    most: int | None
    make: Maker


def shown(node: Node) -> Sql:
    """Return the text of a value of any type."""
    if node.type is None or node.type in ("string", "date", "datetime"):
        return node.sql
    if isinstance(node.sql, exp.Column):
        return as_text(Column("", node.type, node.sql, node.scale))
    if node.type == "boolean":
        case = exp.Case(this=node.sql.copy())
        for value, word in ((1, "true"), (0, "false")):
            case.append("ifs", exp.If(this=integer(value), true=text(word)))
        return case
    return call("dl_text", node.sql)


def number(node: Node, what: str) -> Sql:
    """Return a value that has to be a number."""
    if node.type is not None and node.type not in NUMERIC and node.type != "boolean":
        raise StepError(
            f"{what} needs a number, and was given a {node.type}.",
            hint="Turn text into a number with number(x), or cast the column first.",
        )
    return node.sql


def boolean(node: Node, what: str) -> Sql:
    """Return a value that has to be true or false."""
    if node.type not in ("boolean", None):
        raise StepError(
            f"{what} needs a condition, and was given a {node.type}.",
            hint="Compare it, as in `x > 0` or `x = 'a'`.",
        )
    return node.sql


def _text(name: str, *, ours: str | None = None) -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        return Node(call(ours or name, *(shown(a) for a in args)), "string")

    return make


def _math(name: str, kind: ColumnType | None = "number") -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        sql = call(name, *(number(a, f"{name}()") for a in args))
        return Node(sql, kind or args[0].type or "number")

    return make


def _if(args: list[Node], values: Values) -> Node:
    cases = [(boolean(c, "if()"), v) for c, v in zip(args[:-1:2], args[1::2], strict=False)]
    other = args[-1] if len(args) % 2 else Node(exp.Null(), None)
    alike = _alike([v for _, v in cases] + [other])
    return Node(
        when(*((c, v) for (c, _), v in zip(cases, alike[0], strict=False)), other=alike[0][-1]), alike[1]
    )


def _alike(nodes: list[Node]) -> tuple[list[Sql], ColumnType | None]:
    kinds = {n.type for n in nodes if n.type is not None}
    if not kinds:
        return [n.sql for n in nodes], None
    kind = common_type(kinds)
    if kind == "string":
        return [shown(n) for n in nodes], kind
    return [n.sql for n in nodes], kind


def _coalesce(args: list[Node], values: Values) -> Node:
    sqls, kind = _alike(args)
    if kind == "string":
        sqls = [call("nullif", s, text("")) for s in sqls[:-1]] + sqls[-1:]
    return Node(call("coalesce", *sqls), kind)


def _extreme(name: str) -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        sqls, kind = _alike(args)
        return Node(call(name, *sqls), kind)

    return make


def _is_empty(args: list[Node], values: Values) -> Node:
    return Node(op(call("ifnull", shown(args[0]), text("")), "=", text("")), "boolean")


def _found(kind: str) -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        return Node(call("dl_found", text(kind), shown(args[0]), shown(args[1])), "boolean")

    return make


def _matches(args: list[Node], values: Values) -> Node:
    return Node(call("dl_match", op(text("c"), "||", shown(args[1])), shown(args[0])), "boolean")


def _concat(args: list[Node], values: Values) -> Node:
    made = [call("ifnull", shown(a), text("")) for a in args]
    result = made[0]
    for piece in made[1:]:
        result = exp.DPipe(this=result, expression=piece)
    return Node(exp.Paren(this=result), "string")


def _slice(args: list[Node], values: Values) -> Node:
    rest = [number(a, "mid()") for a in args[1:]]
    return Node(call("substr", shown(args[0]), *rest), "string")


def _left(args: list[Node], values: Values) -> Node:
    return Node(
        call("substr", shown(args[0]), integer(1), call("max", number(args[1], "left()"), integer(0))),
        "string",
    )


def _right(args: list[Node], values: Values) -> Node:
    return Node(call("dl_right", shown(args[0]), number(args[1], "right()")), "string")


def _length(args: list[Node], values: Values) -> Node:
    return Node(call("length", shown(args[0])), "integer")


def _round(args: list[Node], values: Values) -> Node:
    places = number(args[1], "round()") if len(args) > 1 else integer(0)
    return Node(call("dl_round", number(args[0], "round()"), places), args[0].type or "number")


def _whole(name: str) -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        return Node(call("dl_whole", text(name), number(args[0], f"{name}()")), "number")

    return make


def _number(args: list[Node], values: Values) -> Node:
    if args[0].type in NUMERIC or args[0].type == "boolean":
        return args[0]
    return Node(call("dl_number", shown(args[0]), text("plain")), "number")


def _moment_part(name: str, start: int, length: int) -> Maker:
    def make(args: list[Node], values: Values) -> Node:
        digits = call(
            "nullif", call("substr", _moment(args[0], name), integer(start), integer(length)), text("")
        )
        return Node(cast(digits, "INTEGER"), "integer")

    return make


def _moment(node: Node, name: str) -> Sql:
    if node.type not in ("date", "datetime", "string", None):
        raise StepError(f"{name}() needs a date, and was given a {node.type}.")
    return node.sql if node.type in ("date", "datetime") else call("dl_iso", node.sql, integer(1))


def _days(args: list[Node], values: Values) -> Node:
    first, last = (call("julianday", call("date", _moment(a, "days_between"))) for a in args)
    return Node(cast(op(last, "-", first), "INTEGER"), "integer")


def _add_days(args: list[Node], values: Values) -> Node:
    days = op(cast(number(args[1], "add_days()"), "INTEGER"), "||", text(" days"))
    return Node(call("date", _moment(args[0], "add_days"), days), "date")


def _sign(args: list[Node], values: Values) -> Node:
    return Node(call("sign", number(args[0], "sign()")), "integer")


def _one(signature: str, summary: str, make: Maker) -> Function:
    return Function(signature, summary, 1, 1, make)


FUNCTIONS: dict[str, Function] = {
    "if": Function("if(condition, then, …, else)", "The value after the first condition that holds.", 2, None, _if),
    "coalesce": Function("coalesce(a, b, …)", "The first value that is not empty.", 1, None, _coalesce),
    "is_empty": _one("is_empty(x)", "Whether a cell is NULL or an empty text.", _is_empty),
    "concat": Function("concat(a, b, …)", "The texts one after another; empty ones as nothing.", 1, None, _concat),
    "length": _one("length(text)", "The number of characters.", _length),
    "upper": _one("upper(text)", "In capitals.", _text("dl_upper")),
    "lower": _one("lower(text)", "In small letters.", _text("dl_lower")),
    "title": _one("title(text)", "Each word with a capital.", _text("dl_title")),
    "trim": _one("trim(text)", "Without white space around it.",
                 lambda a, v: Node(trimmed(shown(a[0])), "string")),
    "left": Function("left(text, n)", "The first n characters.", 2, 2, _left),
    "right": Function("right(text, n)", "The last n characters.", 2, 2, _right),
    "mid": Function("mid(text, start, n)", "n characters from `start` on; the first is 1.", 2, 3, _slice),
    "replace": Function("replace(text, old, new)", "With each `old` replaced.", 3, 3, _text("replace")),
    "contains": Function("contains(text, part)", "Whether the part is in the text.", 2, 2, _found("contains")),
    "starts_with": Function("starts_with(text, part)", "Whether it begins so.", 2, 2, _found("starts_with")),
    "ends_with": Function("ends_with(text, part)", "Whether it ends so.", 2, 2, _found("ends_with")),
    "matches": Function("matches(text, pattern)", "Whether a pattern is found in it.", 2, 2, _matches),
    "text": _one("text(x)", "A value as text.", lambda a, v: Node(shown(a[0]), "string")),
    "number": _one("number(text)", "The number that a text is; NULL where it is none.", _number),
    "abs": _one("abs(x)", "Without its sign.", _math("abs", None)),
    "sign": _one("sign(x)", "-1, 0 or 1.", _sign),
    "round": Function("round(x, decimals)", "To the nearest; halves away from zero.", 1, 2, _round),
    "floor": _one("floor(x)", "The whole number below.", _whole("floor")),
    "ceil": _one("ceil(x)", "The whole number above.", _whole("ceil")),
    "sqrt": _one("sqrt(x)", "The square root; NULL below zero.", _math("dl_sqrt")),
    "power": Function("power(x, y)", "x to the power of y.", 2, 2, _math("dl_power")),
    "ln": _one("ln(x)", "The natural logarithm; NULL up to zero.", _math("dl_ln")),
    "min": Function("min(a, b, …)", "The least; NULL when one is.", 2, 100, _extreme("min")),
    "max": Function("max(a, b, …)", "The greatest; NULL when one is.", 2, 100, _extreme("max")),
    "year": _one("year(date)", "The year.", _moment_part("year", 1, 4)),
    "month": _one("month(date)", "The month, 1 to 12.", _moment_part("month", 6, 2)),
    "day": _one("day(date)", "The day of the month.", _moment_part("day", 9, 2)),
    "hour": _one("hour(datetime)", "The hour, 0 to 23.", _moment_part("hour", 12, 2)),
    "days_between": Function("days_between(first, last)", "The days from one date to another.", 2, 2, _days),
    "add_days": Function("add_days(date, n)", "The date n days later.", 2, 2, _add_days),
}  # fmt: skip
"""All functions of formulas, by name."""
