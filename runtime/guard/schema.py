"""What the file's schema means to the guard: views that multiply, triggers that call, names that are taken.

The authorizer is not told everything (the new name of a RENAME, the target of a foreign key, the body of a
view or trigger that nobody runs yet). So the schema is read after every statement that changed it, inside
the transaction, and what must not be there makes the caller roll back.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from runtime.guard.authorizer import internal
from runtime.guard.expansion import Outline, outline_of
from runtime.guard.policy import Policy, is_reserved
from runtime.guard.rules import refusal
from runtime.guard.shape import calls_of, risky_formats
from runtime.guard.tokens import QUOTED, WORD, name_of, tokenize

__all__ = ("SHADOW_ENDS", "Schema", "read_schema", "reserved_objects", "verify")

# The tables behind a virtual table, by the ends of their names (FTS5, R-Tree, FTS3 and FTS4).
SHADOW_ENDS = (
    "data",
    "idx",
    "content",
    "docsize",
    "config",
    "node",
    "parent",
    "rowid",
    "segments",
    "segdir",
    "stat",
)

# A table or an index without any of these costs a statement nothing worth counting.
_COSTLY = re.compile(r"instr|replace|like|glob|trim|snippet|patch|\|\||(?:[^(]*\(){60}", re.IGNORECASE)
_FORMATS = re.compile(r"printf|format", re.IGNORECASE)

_OBJECTS = internal(
    "SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE sql IS NOT NULL "
    "UNION ALL SELECT type, name, tbl_name, sql FROM temp.sqlite_master WHERE sql IS NOT NULL"
)
_MODULES = internal("SELECT name FROM pragma_module_list WHERE name NOT LIKE 'pragma%'")
_RESERVED = tuple(
    internal(
        f"SELECT '{schema}', type, name, tbl_name, sql FROM {schema}.sqlite_master "
        "WHERE substr(lower(name), 1, :size) = :prefix OR substr(lower(tbl_name), 1, :size) = :prefix "
        "OR lower(name) IN (SELECT value FROM json_each(:names)) "
        "OR lower(tbl_name) IN (SELECT value FROM json_each(:names))"
    )
    for schema in ("main", "temp")
)
_FOREIGN = tuple(
    internal(
        f"SELECT m.name, f.\"table\" FROM {schema}.sqlite_master m, pragma_foreign_key_list(m.name, '{schema}') f "
        "WHERE m.type = 'table' AND m.sql LIKE '%references%'"
    )
    for schema in ("main", "temp")
)
_VIRTUAL = internal(
    "SELECT name, sql FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'create virtual%' "
    "UNION ALL SELECT name, sql FROM temp.sqlite_master WHERE type = 'table' AND sql LIKE 'create virtual%'"
)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What one stored text (view, trigger, table, index) makes a statement do that touches it."""

    calls: tuple[int, int]
    names: frozenset[str]
    risky_format: bool


@dataclass(slots=True)
class Schema:
    """The parts of a schema that matter to the guard, by lower-case name."""

    views: Mapping[str, str] = field(default_factory=dict)
    triggers: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, tuple[_Stored, ...]] = field(default_factory=dict)
    shadows: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    indexes: Mapping[str, str] = field(default_factory=dict)
    weighty: frozenset[str] = frozenset()
    risky_format: bool = False

    @property
    def quiet(self) -> bool:
        """Whether no statement needs a second look."""
        return not self.weighty

    def internal_indexes(self, policy: Policy) -> frozenset[str]:
        """Return the names of indexes on the runtime's tables."""
        return frozenset(name for name, table in self.indexes.items() if is_reserved(policy, table))

    def calls(self, names: Iterable[str]) -> tuple[int, int]:
        """Return the (linear, quadratic) calls of all stored texts that can be reached from some names."""
        linear = quadratic = 0
        seen: set[str] = set()
        rest = [name for name in names if name in self.weighty]
        while rest:
            name = rest.pop()
            if name in seen:
                continue
            seen.add(name)
            for stored in self.stored[name]:
                linear += stored.calls[0]
                quadratic += stored.calls[1]
                rest.extend(stored.names & self.weighty)
        return linear, quadratic

    def roots(self) -> Iterator[tuple[str, Outline]]:
        """Return every view and trigger, with the outline of its text."""
        for name, sql in (*self.views.items(), *self.triggers.items()):
            yield name, outline_of(sql)


@lru_cache(maxsize=512)
def _stored_of(sql: str) -> _Stored:
    tokens = tokenize(sql)
    names = frozenset(name_of(token) for token in tokens if token[0] in (WORD, QUOTED))
    return _Stored(calls_of(tokens), names, risky_formats(tokens))


@lru_cache(maxsize=4_096)
def _marks_of(sql: str) -> tuple[bool, bool]:
    """Return whether a stored text calls something costly, and something that formats."""
    return _COSTLY.search(sql) is not None, _FORMATS.search(sql) is not None


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Return the schema of an open file, temporary objects included."""
    views: dict[str, str] = {}
    triggers: dict[str, str] = {}
    indexes: dict[str, str] = {}
    stored: dict[str, list[_Stored]] = {}
    tables: set[str] = set()
    virtual: list[str] = []
    risky = False
    for kind, name, table, sql in connection.execute(_OBJECTS).fetchall():
        name, table = name.lower(), table.lower()
        if kind == "view":
            views[name] = sql
        elif kind == "trigger":
            triggers[name] = sql
        elif kind == "index":
            indexes[name] = table
        else:
            tables.add(name)
            if sql[:14].upper() == "CREATE VIRTUAL":
                virtual.append(name)
        costly, formats = _marks_of(sql)
        if costly or kind in ("view", "trigger"):
            stored.setdefault(table, []).append(_stored_of(sql))
        if formats and not risky:
            risky = _stored_of(sql).risky_format
    return Schema(
        views=views,
        triggers=triggers,
        stored={name: tuple(found) for name, found in stored.items()},
        shadows=frozenset(f"{name}_{end}" for name in virtual for end in SHADOW_ENDS) & tables,
        modules=frozenset(row[0].lower() for row in connection.execute(_MODULES)),
        indexes=indexes,
        weighty=frozenset(stored),
        risky_format=risky,
    )


def _reserved_option(policy: Policy, sql: str) -> str | None:
    """Return a reserved name that an option of a virtual table carries, such as FTS5's `content=`."""
    tokens = tokenize(sql)
    for at in range(len(tokens) - 1):
        if tokens[at][1] == "=" and is_reserved(policy, value := name_of(tokens[at + 1])):
            return value
    return None


def reserved_objects(connection: sqlite3.Connection, policy: Policy) -> frozenset[tuple[Any, ...]]:
    """Return everything in the schema that belongs to the runtime, or hangs on something that does."""
    prefix = policy.reserved_prefix
    names = "[" + ",".join(f'"{name}"' for name in sorted(policy.internal)) + "]"
    found: set[tuple[Any, ...]] = set()
    for query in _RESERVED:
        found.update(connection.execute(query, {"size": len(prefix), "prefix": prefix, "names": names}))
    return frozenset(found)


def verify(connection: sqlite3.Connection, policy: Policy, before: frozenset[tuple[Any, ...]]) -> None:
    """Check what a schema statement left behind.

    Raises:
        GuardRefused: it made, changed or removed something reserved, or refers to it by a foreign key.
    """
    changed = reserved_objects(connection, policy) ^ before
    if changed:
        raise refusal("object.reserved", min(str(row[2]) for row in changed))
    for name, sql in connection.execute(_VIRTUAL):
        if (content := _reserved_option(policy, sql)) is not None:
            raise refusal("object.reserved", f"{name} takes its content from {content}")
    for query in _FOREIGN:
        for child, parent in connection.execute(query):
            if is_reserved(policy, parent) and not is_reserved(policy, child):
                raise refusal("object.foreign_key", f"{child} refers to {parent}")
