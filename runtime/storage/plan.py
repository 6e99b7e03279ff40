"""How SQLite would run a statement, and which index would spare it a scan.

The plan is SQLite's own (EXPLAIN QUERY PLAN). The advice reads the statement with sqlglot: columns that a
scanned table is filtered or joined by, those compared with `=` first, and proposes an index nobody has yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp

from runtime.storage.schema import list_tables
from runtime.storage.transaction import Transaction, quote

__all__ = ("Plan", "PlanStep", "explain")

_MOST_COLUMNS = 4


@dataclass(slots=True)
class PlanStep:
    """One line of the plan; `parent` is the id of the step it belongs to, 0 for none."""

    id: int
    parent: int
    detail: str


@dataclass(slots=True)
class Plan:
    """The plan, the tables that are read from end to end, and proposed CREATE INDEX statements with reasons."""

    steps: list[PlanStep]
    scans: list[str]
    advice: list[dict[str, str]]


def explain(tx: Transaction, sql: str, params: Any = None) -> Plan:
    """Return the plan of a statement without running it.

    Raises:
        GuardRefused, SqlError: as running it would.
    """
    wire, tx.wire = tx.wire, False
    try:
        rows: Any = tx.query("EXPLAIN QUERY PLAN " + sql, params, row_format="arrays").rows
    finally:
        tx.wire = wire
    steps = [PlanStep(row[0], row[1], row[3]) for row in rows]
    scans = [
        d[1]
        for step in steps
        if (d := step.detail.split())[:1] == ["SCAN"] and "USING" not in d and len(d) > 1
    ]
    return Plan(steps, scans, _advise(tx, sql, scans) if scans else [])


def _advise(tx: Transaction, sql: str, scans: list[str]) -> list[dict[str, str]]:
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return []  # advice is a courtesy; the plan stands without it
    tables = {table.name.lower(): table for table in list_tables(tx, counts=True)}
    aliases = {t.alias_or_name.lower(): t.name.lower() for t in tree.find_all(exp.Table)}
    advice = []
    for scan in dict.fromkeys(name.lower() for name in scans):
        table = tables.get(aliases.get(scan, scan))
        if table is None or table.kind != "table":
            continue
        known = {c.name.lower(): c.name for c in table.columns}
        wanted = _filtered_columns(tree, scan, set(known), alone=len(aliases) == 1)
        columns = [known[c] for c in wanted][:_MOST_COLUMNS]
        present = [[c and c.lower() for c in i.columns[: len(columns)]] for i in table.indexes]
        if not columns or [c.lower() for c in columns] in present:
            continue
        name = "idx_" + "_".join([table.name, *columns])
        listed = ", ".join(map(quote, columns))
        advice.append(
            {
                "sql": f"CREATE INDEX {quote(name[:120])} ON {quote(table.name)} ({listed})",
                "reason": f"{table.name} ({table.rows or 0:,} rows) is read from end to end and filtered by {', '.join(columns)}.",
            }
        )
    return advice


def _filtered_columns(tree: exp.Expr, alias: str, known: set[str], *, alone: bool) -> list[str]:
    """Return the columns of a table that a scan is narrowed by: those with `=` or IN first, then ranges."""
    equal: list[str] = []
    ranged: list[str] = []
    for kinds, found in (
        ((exp.EQ, exp.In, exp.Is), equal),
        ((exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between), ranged),
    ):
        for comparison in tree.find_all(*kinds):
            for side in (comparison.this, comparison.args.get("expression")):
                if not isinstance(side, exp.Column) or side.name.lower() not in known:
                    continue
                if side.table.lower() == alias or (not side.table and alone):
                    found.append(side.name.lower())
    return list(dict.fromkeys([*equal, *ranged[:1]]))
