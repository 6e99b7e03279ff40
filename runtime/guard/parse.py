"""The parser reads a statement's tables and columns, and rewrites other databases' SQL for SQLite.

It gives clear refusals where a policy names tables or columns, and advice after a failure. It never lets a
statement in and never keeps a good one out: what it cannot read, or calls an unknown command, is left to the
gate and the authorizer. sqlglot is loaded at first use, because most statements never need it (85 ms and
39 MB), and each of its exceptions ends here.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runtime.guard.policy import Policy
from runtime.guard.rules import refusal

__all__ = ("Reading", "check_lists", "read", "rewrites")

_LONGEST = 4_000
_DIALECTS = ("postgres", "mysql", "tsql", "duckdb")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the parser saw: the kind of statement, its tables, and (table or "", column) pairs, in lower case."""

    kind: str
    tables: frozenset[str]
    columns: frozenset[tuple[str, str]]


@lru_cache(maxsize=512)
def read(sql: str) -> Reading | None:
    """Return what a statement touches, or None if the parser cannot tell."""
    tree = _parse(sql, "sqlite")
    if tree is None:
        return None
    from sqlglot import exp

    if isinstance(tree, exp.Command):
        return None
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    aliases: dict[str, str] = {}
    tables: set[str] = set()
    for table in tree.find_all(exp.Table):
        name = table.name.lower()
        if name and (name not in own or table.db):
            tables.add(name)
            aliases[table.alias_or_name.lower()] = name
    columns = {
        (aliases.get(column.table.lower(), column.table.lower()), column.name.lower())
        for column in tree.find_all(exp.Column)
    }
    return Reading(tree.key, frozenset(tables), frozenset(columns))


def check_lists(policy: Policy, sql: str) -> None:
    """Refuse a statement whose text already shows that the policy's lists close something in it.

    Raises:
        GuardRefused: rule `object.table_list` or `object.column_list`, with what is open in the hint.
    """
    if policy.tables_allow is None and policy.tables_block is None and policy.columns_block is None:
        return
    reading = read(sql) if len(sql) <= _LONGEST else None
    if reading is None:
        return
    for name in sorted(reading.tables):
        closed = policy.tables_block is not None and name in policy.tables_block
        if closed or (policy.tables_allow is not None and not _open(policy, name)):
            hint = None
            if policy.tables_allow:
                hint = "These tables are open: " + ", ".join(sorted(policy.tables_allow)) + "."
            raise refusal("object.table_list", name, hint=hint)
    for table, column in sorted(reading.columns):
        owners = [table] if table else sorted(reading.tables)
        blocked = policy.columns_block or frozenset()
        if column in blocked or any(f"{owner}.{column}" in blocked for owner in owners if len(owners) == 1):
            raise refusal("object.column_list", f"{table}.{column}" if table else column)


def _open(policy: Policy, name: str) -> bool:
    allowed = policy.tables_allow or frozenset()
    return name in allowed or name in policy.read_modules or name.startswith("pragma_")


def rewrites(sql: str) -> Iterator[str]:
    """Yield the statement as SQLite would write it, if it reads as another database's SQL."""
    if len(sql) > _LONGEST:
        return
    seen = {sql.strip()}
    for dialect in _DIALECTS:
        text = _generate(_parse(sql, dialect))
        # What a dialect reads without a part of it (`ISNULL(a, 0)` as MySQL's of one argument) says something else.
        if text is not None and text not in seen and not Counter(_numbers(sql)) - Counter(_numbers(text)):
            seen.add(text)
            yield text


_numbers = re.compile(r"\b[0-9]+\b").findall


def _parse(sql: str, dialect: str) -> Any:
    import sqlglot
    from sqlglot.errors import SqlglotError

    # A statement that only SQLite can read is no event for the service's log.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        trees = sqlglot.parse(sql, read=dialect)
    except (SqlglotError, RecursionError, MemoryError, ValueError, TypeError, AttributeError, LookupError):
        return None  # the parser decides nothing; whatever it cannot read is left to SQLite
    return trees[0] if len(trees) == 1 else None


def _generate(tree: Any) -> str | None:
    from sqlglot import exp
    from sqlglot.errors import ErrorLevel, SqlglotError

    if tree is None or isinstance(tree, exp.Command):
        return None
    try:
        if any(table.args.get("pivots") for table in tree.find_all(exp.Table, exp.Subquery)):
            return None  # it would be left out
        text: str = tree.sql(dialect="sqlite", unsupported_level=ErrorLevel.IGNORE)
    except (SqlglotError, RecursionError, MemoryError, ValueError, TypeError, AttributeError, LookupError):
        return None
    return text or None
