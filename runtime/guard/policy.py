"""A policy says what a stranger's SQL may do; the layers of the guard only carry it out.

A policy is plain data: an actor type takes `SESSION` or `READ_ONLY`, or derives its own with
`dataclasses.replace`. What SQLite asks while it compiles a statement arrives as an `Access`, and
`judge(policy, access)` is the whole decision: None, or the id of the rule that refuses. Whatever is not
listed is refused.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from typing import Literal

from runtime.limits import Limits

__all__ = (
    "FUNCTIONS",
    "READ_ONLY",
    "SESSION",
    "Access",
    "Kind",
    "Policy",
    "SqlLimits",
    "Verdict",
    "is_readable",
    "is_reserved",
    "narrowed",
)

Kind = Literal["read", "write", "schema"]

MIB = 1024 * 1024

_CORE = """
-> ->> abs changes char coalesce concat concat_ws format glob hex if ifnull iif instr last_insert_rowid length
like likelihood likely lower ltrim max min nullif octet_length printf quote random randomblob replace round
rtrim sign soundex sqlite_version substr substring total_changes trim typeof unhex unicode unistr unistr_quote
unlikely upper zeroblob
current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch
"""
_MATH = """
acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow
power radians sin sinh sqrt tan tanh trunc
"""
_AGGREGATES = """
avg count group_concat median percentile percentile_cont percentile_disc string_agg sum total
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""
_JSON = """
json json_array json_array_insert json_array_length json_error_position json_extract json_group_array
json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object
jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set
"""
_FULL_TEXT = "bm25 highlight match snippet"

FUNCTIONS = frozenset(f"{_CORE} {_MATH} {_AGGREGATES} {_JSON} {_FULL_TEXT}".split())
"""Functions that a stranger's SQL may call: none of them reaches outside the file or the process."""

_READS = frozenset({"SELECT", "WITH", "VALUES", "EXPLAIN"})
_WRITES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_SCHEMA = frozenset({"CREATE", "DROP", "ALTER"})

# Pragma functions that describe tables; the argument of all but the last names a table or an index.
_PRAGMAS = frozenset(
    {
        "table_info",
        "table_xinfo",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "table_list",
    }
)
_READ_MODULES = frozenset({"json_each", "json_tree"})


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """SQLite's own run-time limits for a policy (`sqlite3_limit`), and those of the gate.

    `length` bounds one value and one row, and so the time of one call that nothing can interrupt: `instr`
    over 1,000,000 bytes takes about 3.5 s, over 2,000,000 about 16 s. A statement with such calls may handle
    shorter values only (`Verdict.length`).
    """

    length: int = 1_000_000
    sql_length: int = 256_000
    columns: int = 500
    expression_depth: int = 500
    compound_select: int = 200
    vdbe_ops: int = 250_000
    function_args: int = 127
    like_pattern: int = 500
    variables: int = 32_766
    trigger_depth: int = 16
    order_terms: int = 60
    expansion: int = 4_096


@dataclass(frozen=True, slots=True)
class Policy:
    """What the SQL of strangers may do on a connection.

    `internal` are tables of the runtime that do not carry `reserved_prefix`; nobody but the runtime writes
    them. Those in `readable_internal`, or that begin with `readable_prefix`, may be read. `tables_allow` (None:
    all), `tables_block` and `columns_block` (`"column"` or `"table.column"`) narrow it further; all names in
    lower case.
    """

    name: str
    statements: frozenset[str] = _READS | _WRITES | _SCHEMA
    functions: frozenset[str] = FUNCTIONS
    modules: frozenset[str] = frozenset({"fts5", "rtree", "rtree_i32"})
    read_modules: frozenset[str] = _READ_MODULES
    pragmas: frozenset[str] = _PRAGMAS
    internal: frozenset[str] = frozenset({"session_state", "execution_logs"})
    readable_internal: frozenset[str] = frozenset()
    readable_prefix: str | None = None
    reserved_prefix: str = "_"
    tables_allow: frozenset[str] | None = None
    tables_block: frozenset[str] | None = None
    columns_block: frozenset[str] | None = None
    limits: SqlLimits = field(default_factory=SqlLimits)
    max_rows: int = 10_000
    max_result_bytes: int = 16 * MIB
    max_file_bytes: int = 1024 * MIB
    heap_bytes: int = 512 * MIB
    temp_bytes: int = 2048 * MIB


SESSION = Policy("session")
"""A scratch database of one's own: queries, writes and schema changes."""

READ_ONLY = Policy("read_only", statements=_READS)
"""Queries only; the authorizer refuses every write."""


@dataclass(frozen=True, slots=True)
class Access:
    """One question of SQLite's authorizer, as data.

    `kind` is the action's name ("READ", "CREATE_TABLE", …), `target` the object (or function, or pragma),
    `column` the second argument, `database` the schema, `inner` the trigger, view or table expression from
    which the access comes.
    """

    kind: str
    target: str
    column: str
    database: str
    inner: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate read from a text that it lets pass.

    `sql` is the statement without the white space, comments and semicolons around it. `keyword` is its first
    word, in capitals; with EXPLAIN the word after it decides `kind` no more: it reads. `length` is the
    longest value that it may handle: shorter than the policy's when it makes many calls at once.
    """

    sql: str
    keyword: str
    kind: Kind
    writes: bool
    explain: bool
    length: int


def is_reserved(policy: Policy, name: str) -> bool:
    """Return whether a name belongs to the runtime, in any case."""
    lowered = name.lower()
    return lowered.startswith(policy.reserved_prefix) or lowered in policy.internal


def is_readable(policy: Policy, name: str) -> bool:
    """Return whether a name that belongs to the runtime may be read all the same."""
    lowered = name.lower()
    prefix = policy.readable_prefix
    return lowered in policy.readable_internal or (prefix is not None and lowered.startswith(prefix))


ACTIONS: dict[int, str] = {
    getattr(sqlite3, f"SQLITE_{name}"): name
    for name in [
        "CREATE_INDEX",
        "CREATE_TABLE",
        "CREATE_TEMP_INDEX",
        "CREATE_TEMP_TABLE",
        "CREATE_TEMP_TRIGGER",
        "CREATE_TEMP_VIEW",
        "CREATE_TRIGGER",
        "CREATE_VIEW",
        "DELETE",
        "DROP_INDEX",
        "DROP_TABLE",
        "DROP_TEMP_INDEX",
        "DROP_TEMP_TABLE",
        "DROP_TEMP_TRIGGER",
        "DROP_TEMP_VIEW",
        "DROP_TRIGGER",
        "DROP_VIEW",
        "INSERT",
        "PRAGMA",
        "READ",
        "SELECT",
        "TRANSACTION",
        "UPDATE",
        "ATTACH",
        "DETACH",
        "ALTER_TABLE",
        "REINDEX",
        "ANALYZE",
        "CREATE_VTABLE",
        "DROP_VTABLE",
        "FUNCTION",
        "SAVEPOINT",
        "RECURSIVE",
    ]
}
"""The names of SQLite's action codes; a code that is not here is refused."""


def narrowed(policy: Policy | None, limits: Limits) -> Policy | None:
    """Return a policy within what the operator allows (`runtime/limits.py`); None stays None."""
    if policy is None:
        return None
    return replace(
        policy,
        max_file_bytes=min(policy.max_file_bytes, limits.max_file_bytes),
        heap_bytes=min(policy.heap_bytes, limits.heap_bytes),
        temp_bytes=min(policy.temp_bytes, limits.temp_bytes),
        max_rows=min(policy.max_rows, limits.max_rows),
        max_result_bytes=min(policy.max_result_bytes, limits.max_result_bytes),
    )
