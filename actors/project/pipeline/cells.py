"""Expressions over cells, as nodes of SQL: every operation is written with these and with nothing else.

The functions take and return nodes, and copy what stands somewhere already, so that a node may be used again.
Operands are put in parentheses, and functions are called by name as they stand: nothing is translated on the way to
SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sqlglot import exp

if TYPE_CHECKING:
    from .draft import Column

__all__ = (
    "SPACES",
    "Sql",
    "again",
    "as_text",
    "both",
    "call",
    "cast",
    "column",
    "either",
    "integer",
    "is_empty",
    "is_foreign",
    "is_null",
    "named",
    "negate",
    "only_text",
    "op",
    "text",
    "trimmed",
    "true",
    "when",
)

Sql: TypeAlias = exp.Expression
"""A node of SQL."""

SPACES = "".join(chr(i) for i in range(0x3001) if chr(i).isspace())
"""What trimming removes: everything that Unicode calls white space."""


def column(name: str, alias: str | None = None) -> Sql:
    """Return a column of SQLite."""
    quoted = not name.isalnum() and name != "row_id"
    table = None if alias is None else exp.Identifier(this=alias, quoted=False)
    return exp.Column(this=exp.Identifier(this=name, quoted=quoted), table=table)


_TAKEN = exp.Null()


def again(node: Sql) -> Sql:
    """Return a node to put somewhere: itself if it stands nowhere yet, else a copy. A node of SQL has one place."""
    if isinstance(node, exp.Column):
        # Most are plain columns, and a new one is made faster than any copy.
        return column(node.name, node.table or None)
    if node.parent is not None:
        return node.copy()
    # Taken before it stands there: what it is given to may be given it twice.
    node.parent = _TAKEN
    return node


def named(node: Sql, name: str) -> Sql:
    """Return `node AS name`, where the name is one of the compiler's own."""
    return exp.Alias(this=again(node), alias=exp.Identifier(this=name, quoted=False))


def integer(value: int) -> Sql:
    """Return a whole number of the compiler's own; values from outside are bound instead."""
    literal = exp.Literal(this=str(abs(value)), is_string=False)
    return exp.Neg(this=literal) if value < 0 else literal


def text(value: str) -> Sql:
    """Return a text of the compiler's own; values from outside are bound instead."""
    return exp.Literal(this=value, is_string=True)


def true() -> Sql:
    """Return a condition that always holds."""
    return exp.Boolean(this=True)


def call(name: str, *arguments: Sql) -> Sql:
    """Return the call of a function of SQLite, or of ours (`dl_…`)."""
    return exp.Anonymous(this=name, expressions=[again(a) for a in arguments])


_ALONE = (
    exp.Column,
    exp.Literal,
    exp.Placeholder,
    exp.Anonymous,
    exp.Null,
    exp.Paren,
    exp.Cast,
    exp.Case,
)
"""Nodes that need no parentheses beside an operator."""


def _operand(node: Sql) -> Sql:
    return again(node) if isinstance(node, _ALONE) else exp.Paren(this=again(node))


_OPERATORS: dict[str, type[exp.Expression]] = {
    "=": exp.EQ,
    "<>": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
    "+": exp.Add,
    "-": exp.Sub,
    "*": exp.Mul,
    "||": exp.DPipe,
    "is": exp.Is,
    "glob": exp.Glob,
}


def op(left: Sql, operator: str, right: Sql) -> Sql:
    """Return `left operator right`."""
    if operator == "/":
        return exp.Div(this=_operand(left), expression=_operand(right), typed=True, safe=True)
    return _OPERATORS[operator](this=_operand(left), expression=_operand(right))


def both(*conditions: Sql) -> Sql:
    """Return the condition that all hold."""
    result = _operand(conditions[0])
    for condition in conditions[1:]:
        result = exp.And(this=result, expression=_operand(condition))
    return result


def either(*conditions: Sql) -> Sql:
    """Return the condition that one holds, as a balanced tree: SQLite bounds the depth of expressions."""
    if len(conditions) == 1:
        return _operand(conditions[0])
    middle = len(conditions) // 2
    return exp.Paren(this=exp.Or(this=either(*conditions[:middle]), expression=either(*conditions[middle:])))


def negate(condition: Sql) -> Sql:
    """Return `NOT condition`; unknown stays unknown."""
    return exp.Not(this=exp.Paren(this=again(condition)))


def when(*cases: tuple[Sql, Sql], other: Sql | None = None) -> Sql:
    """Return a CASE; without `other` it is NULL where no case holds."""
    node = exp.Case()
    for condition, value in cases:
        node.append("ifs", exp.If(this=again(condition), true=again(value)))
    if other is not None:
        node.set("default", again(other))
    return node


def cast(node: Sql, to: str) -> Sql:
    """Return a CAST to INTEGER, REAL, TEXT or BLOB. The caller has proved that the cell converts without loss."""
    kinds = {"INTEGER": "BIGINT", "REAL": "DOUBLE", "TEXT": "TEXT", "BLOB": "VARBINARY"}
    return exp.Cast(this=again(node), to=exp.DataType(this=exp.DataType.Type[kinds[to]]))


def is_null(node: Sql) -> Sql:
    """Return `node IS NULL`."""
    return exp.Is(this=_operand(node), expression=exp.Null())


def is_empty(node: Sql, column: Column | None = None, *, blank: bool = False) -> Sql:
    """Return the condition that a cell is NULL or, in a column of text, ''. With `blank` white space is empty too."""
    if column is not None and column.type != "string":
        return is_null(node)
    shown = trimmed(node) if blank else node
    return op(call("ifnull", shown, text("")), "=", text(""))


def is_foreign(node: Sql) -> Sql:
    """Return the condition that a text has characters outside ASCII, for which SQLite's own functions are wrong."""
    return op(call("length", cast(node, "BLOB")), ">", call("length", node))


def trimmed(node: Sql) -> Sql:
    """Return a text without the white space around it."""
    short = call("trim", node, text(SPACES))
    if not isinstance(node, exp.Column):
        return short
    # Trimming takes time for each character of the set: most texts begin and end with a printed one of ASCII. The
    # last is looked at as a byte, because SQLite ends a text of characters at the first NUL.
    last = call("substr", cast(node, "BLOB"), integer(-1))
    firm = both(
        exp.Between(this=again(node), low=text("!"), high=text("~")),
        exp.Between(this=last, low=exp.HexString(this="21"), high=exp.HexString(this="7e")),
    )
    return when((firm, node), other=short)


def only_text(node: Sql, ascii: Sql, function: str) -> Sql:
    """Return `ascii` for cells of ASCII, and a function of ours for the others: those alone cost a call.

    What is not a plain column is computed once, and given to the function whatever it is.
    """
    if not isinstance(node, exp.Column):
        return call(function, node)
    return when((is_foreign(node), call(function, node)), other=ascii)


def as_text(column: Column) -> Sql:
    """Return the text of a cell as people write it: 48 for 48.0, 48.30 where the column has two decimals, true."""
    cell = column.expr
    if column.type in ("string", "date", "datetime"):
        return again(cell)
    if column.type == "boolean":
        return when((is_null(cell), exp.Null()), (cell, text("true")), other=text("false"))
    if column.type == "integer":
        return cast(cell, "TEXT")
    if column.scale is not None and 0 < column.scale <= 12:
        shown = call("printf", text(f"%.{column.scale}f"), cell)
        return when(
            (is_null(cell), exp.Null()),
            (op(call("abs", cell), "<", integer(10**9)), shown),
            other=call("dl_text", cell),
        )
    whole = op(call("typeof", cell), "=", text("integer"))
    return when((is_null(cell), exp.Null()), (whole, cast(cell, "TEXT")), other=call("dl_text", cell))
