"""The authorizer is the lock: SQLite asks it about every table, column, function and action of a statement.

It is installed once and never toggled (that would expire every cached statement). One attribute says whose
statement is being compiled: a stranger's, judged by the policy, or the runtime's own. Even those get nothing
that comes from inside a trigger or a view, so no object that a stranger made ever runs with the runtime's
rights. SQLite asks only while it compiles; the statement cache is no way around that, because no stranger's
text can equal a text of the runtime (see `internal`).
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from runtime.guard.policy import ACTIONS, Access, Policy, is_readable, is_reserved

__all__ = ("Authorizer", "Denial", "internal", "judge")

_NONCE = secrets.token_hex(8)


def internal(sql: str) -> str:
    """Return a statement of the runtime with a comment that no stranger's statement can carry.

    The gate cuts comments off both ends of a stranger's text, and the number is random for each process.
    """
    return f"{sql} /*{_NONCE}*/"


@dataclass(frozen=True, slots=True)
class Denial:
    """The first access that was refused in a statement, and the rule that refused it."""

    rule: str
    access: Access

    @property
    def what(self) -> str:
        """What was refused, in the words of the statement."""
        access = self.access
        if access.kind == "FUNCTION":
            return f"{access.column}()"
        if access.kind == "PRAGMA":
            return f"pragma_{access.target}({access.column})" if access.column else f"pragma_{access.target}"
        if access.kind in ("READ", "UPDATE") and access.column:
            return f"{access.target}.{access.column}"
        if access.kind in ("CREATE_VTABLE", "ALTER_TABLE") or not access.target:
            return access.column or access.kind.replace("_", " ")
        return access.target


# Functions that reach outside the file or the process; not even the runtime's own SQL calls them.
_NEVER = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "sqlite_log"})

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE"})
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"})
_CREATES = frozenset(
    [
        "CREATE_TABLE",
        "CREATE_VIEW",
        "CREATE_TEMP_TABLE",
        "CREATE_TEMP_VIEW",
        "DROP_TABLE",
        "DROP_VIEW",
        "DROP_TEMP_TABLE",
        "DROP_TEMP_VIEW",
    ]
)
# The second argument is the table that the index or trigger belongs to.
_ON_TABLE = frozenset(
    [
        "CREATE_INDEX",
        "CREATE_TRIGGER",
        "CREATE_TEMP_INDEX",
        "CREATE_TEMP_TRIGGER",
        "DROP_INDEX",
        "DROP_TRIGGER",
        "DROP_TEMP_INDEX",
        "DROP_TEMP_TRIGGER",
    ]
)
# SQLite's own ALTER TABLE runs these; a stranger's text cannot call them by name.
_ALTER_FUNCTIONS = frozenset(
    [
        "sqlite_rename_table",
        "sqlite_rename_column",
        "sqlite_rename_test",
        "sqlite_rename_quotefix",
        "sqlite_drop_column",
        "sqlite_fail",
        "sqlite_add_constraint",
        "sqlite_drop_constraint",
        "sqlite_find_constraint",
    ]
)
_AUTOINDEX = re.compile(r"sqlite_autoindex_(.+)_[0-9]+")
# FTS5 and R-Tree ask these of their own connection.
_MODULE_PRAGMAS = frozenset({"data_version", "page_size"})


@dataclass(slots=True)
class Scene:
    """What the authorizer knows of the file and of the statement that runs."""

    modules: frozenset[str] = frozenset()
    shadows: frozenset[str] = frozenset()
    internal_indexes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    schema: bool = False
    may_write: bool = False


def judge(policy: Policy, scene: Scene, access: Access) -> str | None:
    """Return the rule that refuses an access, or None if the policy allows it."""
    kind = access.kind
    if kind in ("SELECT", "RECURSIVE"):
        return None
    if kind == "FUNCTION":
        name = access.column.lower()
        if name in policy.functions or (scene.schema and name in _ALTER_FUNCTIONS):
            return None
        return "function.unlisted"
    if kind == "READ":
        return _judge_read(policy, scene, access)
    if kind in _WRITES:
        return _judge_write(policy, scene, access)
    if kind == "PRAGMA":
        return _judge_pragma(policy, scene, access)
    if not scene.may_write:
        return "action.write"
    return _judge_schema(policy, scene, access)


def _judge_read(policy: Policy, scene: Scene, access: Access) -> str | None:
    table = access.target.lower()
    if is_reserved(policy, table) and not is_readable(policy, table):
        return "object.reserved"
    if table in scene.modules:
        return None if table in policy.read_modules else "object.module"
    if table.startswith("pragma_"):
        return None if table[7:] in policy.pragmas else "object.pragma_function"
    return _judge_lists(policy, scene, table, access.column.lower())


def _judge_lists(policy: Policy, scene: Scene, table: str, column: str) -> str | None:
    # SQLite reads its own schema table while it changes the schema.
    own = table in _SCHEMA_TABLES and scene.schema
    if policy.tables_allow is not None and table not in policy.tables_allow and not own:
        return "object.table_list"
    if policy.tables_block is not None and table in policy.tables_block:
        return "object.table_list"
    blocked = policy.columns_block
    if blocked is not None and (column in blocked or f"{table}.{column}" in blocked):
        return "object.column_list"
    return None


def _judge_write(policy: Policy, scene: Scene, access: Access) -> str | None:
    table = access.target.lower()
    if table in _SCHEMA_TABLES:
        # Asked even for a plain SELECT from json_each; SQLite refuses a direct change itself.
        return None
    if not scene.may_write:
        return "action.write"
    if is_reserved(policy, table):
        return "object.internal_write"
    if table.startswith("sqlite_stat"):
        return None if scene.schema and access.inner is None else "object.schema_table"
    if table in scene.shadows and (access.inner is not None or table in scene.names):
        return "object.shadow"
    if table in scene.modules:
        return "object.module"
    column = access.column.lower() if access.kind == "UPDATE" else ""
    return _judge_lists(policy, scene, table, column)


def _judge_pragma(policy: Policy, scene: Scene, access: Access) -> str | None:
    name, argument = access.target.lower(), access.column.lower()
    if name in _MODULE_PRAGMAS and not argument:
        return None
    if name not in policy.pragmas:
        return "object.pragma_function"
    table = _AUTOINDEX.sub(r"\1", argument)
    closed = is_reserved(policy, table) or argument in scene.internal_indexes
    return "object.reserved" if closed and not is_readable(policy, table) else None


def _judge_schema(policy: Policy, scene: Scene, access: Access) -> str | None:
    kind, first, second = access.kind, access.target.lower(), access.column.lower()
    if kind in _CREATES:
        return _judge_object(policy, scene, first, first)
    if kind in _ON_TABLE:
        # A trigger or index on a shadow table is never the module's own doing.
        if second in scene.shadows and kind.startswith("CREATE"):
            return "object.shadow"
        return _judge_object(policy, scene, first, second)
    if kind == "ALTER_TABLE":  # (schema, table), in this order
        return _judge_object(policy, scene, second, second)
    if kind in ("CREATE_VTABLE", "DROP_VTABLE"):
        if second not in policy.modules:
            return "object.module"
        return _judge_object(policy, scene, first, first)
    if kind == "REINDEX" and scene.schema:
        return None
    return "action.unlisted"


def _judge_object(policy: Policy, scene: Scene, name: str, table: str) -> str | None:
    if not scene.schema:
        return "action.write"
    if is_reserved(policy, name) or is_reserved(policy, table):
        return "object.reserved"
    if table in scene.shadows and table in scene.names:
        return "object.shadow"
    return _judge_lists(policy, scene, table, "")


class Authorizer:
    """The callback of one connection. `user` says whose statement is being compiled."""

    __slots__ = ("attach", "denial", "policy", "scene", "user")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.scene = Scene()
        self.user = False
        self.attach = False
        self.denial: Denial | None = None

    def callback(self) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
        """Return the function for `set_authorizer`."""
        return self._ask

    def _ask(
        self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None
    ) -> int:
        if not self.user:
            return self._ask_internal(action, second, inner)
        # The two most frequent questions without the detour through a record.
        if action == _SELECT:
            return _OK
        if action == _FUNCTION and second is not None and second in self.policy.functions:
            return _OK
        kind = ACTIONS.get(action, "")
        access = Access(kind, first or "", second or "", database or "", inner)
        rule = judge(self.policy, self.scene, access) if kind else "action.unlisted"
        if rule is None:
            return _OK
        if self.denial is None:
            self.denial = Denial(rule, access)
        return _DENY

    def _ask_internal(self, action: int, second: str | None, inner: str | None) -> int:
        if action in (_ATTACH, _DETACH):
            return _OK if self.attach and inner is None else _DENY
        # A table expression of the runtime's own carries the reserved prefix; a stranger's object cannot.
        if inner is not None and not inner.lower().startswith(self.policy.reserved_prefix):
            return _DENY
        if action == _FUNCTION and second is not None and second.lower() in _NEVER:
            return _DENY
        return _OK


_OK, _DENY = sqlite3.SQLITE_OK, sqlite3.SQLITE_DENY
_SELECT, _FUNCTION = sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION
_ATTACH, _DETACH = sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH
