"""What the levels of a statement pass on: no cell that nobody reads later, and none that can be had where it lies.

SQLite copies each cell that passes a level. So columns that no later level reads are left out, and columns that
all levels pass as they are in the stored table are read there by the last one, by the numbers of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from .cells import column, op

__all__ = ("assemble",)

_WORTH = 6
"""Copies of cells in a row that cost about as much as finding the row again by its number."""
_AGAIN = "b"


def assemble(levels: Sequence[exp.CTE], last: exp.Select) -> exp.Select:
    """Return `last` with the levels that it reads from in its WITH. The levels are copied, `last` is used up."""
    if not levels:
        return last
    kept = [level.copy() for level in levels]
    _read_late(kept, last)
    _prune(kept, last)
    last.set("with_", exp.With(expressions=kept))
    return last


def _prune(levels: list[exp.CTE], query: exp.Select) -> None:
    """Leave out of each level what no later one reads: a column that passes a level is copied there."""
    read: dict[str, set[str]] = {}
    later: exp.Expression = query
    for level in reversed(levels):
        for c in later.find_all(exp.Column):
            read.setdefault(c.table, {"row_id"}).add(c.name)
        later = level.this
        if isinstance(later, exp.Select):
            wanted = read.get(level.alias, {"row_id"})
            later.set("expressions", [e for e in later.expressions if e.alias in wanted])


def _read_late(levels: list[exp.CTE], last: exp.Select) -> None:
    """Have the last level read from the stored table what all levels pass as it lies there."""
    alias = levels[-1].alias
    if last.args.get("joins") or not _reads(last, alias):
        return
    stored, there = _trace(levels)
    # A condition on the table found again would be tested after those of the level, and change what they count.
    tested = {c.name for c in last.args["where"].find_all(exp.Column)}
    order = last.args.get("order")
    shown = [*last.expressions, *(order.expressions if order else [])]
    wanted = there.keys() - tested
    late = [c for e in shown for c in e.find_all(exp.Column) if c.table == alias and c.name in wanted]
    if stored is None or len({c.name for c in late}) * len(levels) < _WORTH:
        return
    for c in late:
        c.replace(column(there[c.name], _AGAIN))
    table = stored.copy()
    table.set("alias", exp.TableAlias(this=exp.to_identifier(_AGAIN)))
    same = op(column("row_id", _AGAIN), "=", column("row_id", alias))
    last.set("joins", [exp.Join(this=table, kind="CROSS", on=same)])


def _trace(levels: list[exp.CTE]) -> tuple[exp.Table | None, dict[str, str]]:
    """Return the stored table under the levels, and the columns of the last one that are columns there.

    There are none if a level makes other rows, other numbers of rows or another order of what it reads.
    """
    there: dict[str, str] = {}
    before = None
    for level in levels:
        select = level.this
        if not isinstance(select, exp.Select) or (before is not None and not _reads(select, before)):
            return None, {}
        if select.args.get("joins") or select.args.get("group") or select.find(exp.Window):
            return None, {}
        plain = {e.alias: e.this.name for e in select.expressions if isinstance(e.this, exp.Column)}
        if plain.pop("row_id", "") != "row_id" or any(o.args["desc"] for o in select.find_all(exp.Ordered)):
            return None, {}
        there = plain if before is None else {k: there[v] for k, v in plain.items() if v in there}
        before = level.alias
    first = levels[0].this.args["from_"].this
    return (first, there) if isinstance(first, exp.Table) and first.args.get("db") else (None, {})


def _reads(select: exp.Select, level: str) -> bool:
    source = select.args["from_"].this
    return isinstance(source, exp.Table) and source.name == level and not source.args.get("db")
