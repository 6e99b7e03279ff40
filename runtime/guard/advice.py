"""Advice turns what SQLite says into what the writer of the statement should do.

The message of an ordinary error stays SQLite's own, word for word, because people and models know it. The
hint beside it names the nearest table or column, or how SQLite writes what another database writes. Nothing
here decides anything: a statement is refused by the gate and the authorizer only.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from difflib import get_close_matches

from runtime.errors import (
    Cancelled,
    CorruptDatabase,
    DuraliteError,
    InputError,
    InternalError,
    LimitExceeded,
    SqlError,
    StorageFull,
    Unavailable,
)
from runtime.guard.authorizer import Denial, internal
from runtime.guard.dialects import dialect_hint
from runtime.guard.parse import rewrites
from runtime.guard.policy import Policy, is_reserved
from runtime.guard.rules import refusal
from runtime.guard.schema import SHADOW_ENDS

__all__ = ("temp_full", "translate")

_TABLES = internal(
    "SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' "
    "UNION SELECT name FROM temp.sqlite_master WHERE type IN ('table', 'view')"
)
_COLUMNS = internal(
    "SELECT m.name, c.name FROM main.sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
)
_SHOWN = 12


def temp_full(limit: int) -> LimitExceeded:
    """Return the error for a statement that ended because temporary files took too much room."""
    return LimitExceeded(
        f"Temporary files for sorting and grouping reached {limit:,} bytes.",
        hint="Filter or aggregate before sorting, or add an index on the ORDER BY columns.",
        limit="temp_bytes",
    )


def translate(
    error: BaseException,
    sql: str | None,
    *,
    policy: Policy,
    connection: sqlite3.Connection | None,
    denial: Denial | None,
    complaint: DuraliteError | None,
    compiles: Callable[[str], bool],
) -> DuraliteError:
    """Return the error to show for one that running a statement raised.

    `compiles` tells whether a text passes the guard and SQLite's parser; a rewrite is offered only then.
    """
    if isinstance(error, DuraliteError):
        return error
    if complaint is not None:
        return complaint
    if denial is not None:
        described = denial.rule == "object.reserved" and denial.access.kind == "PRAGMA"
        return refusal(denial.rule, denial.what, hint=_leave_out(policy) if described else None)
    if isinstance(error, sqlite3.Error):
        found = _sqlite_error(error, sql, policy, connection)
        if isinstance(found, SqlError) and sql is not None:
            _offer_rewrite(found, sql, compiles)
        return found
    return _python_error(error)


def _leave_out(policy: Policy) -> str:
    """Return what to write where a statement describes all tables of the schema, the runtime's among them."""
    names = ", ".join(f"'{name}'" for name in sorted(policy.internal))
    return (
        "Leave the runtime's tables out before their columns are asked for: "
        f"WHERE type = 'table' AND name NOT GLOB '{policy.reserved_prefix}*' AND name NOT IN ({names})."
    )


def _offer_rewrite(error: SqlError, sql: str, compiles: Callable[[str], bool]) -> None:
    """Put the statement as SQLite writes it beside an error that another database's SQL caused."""
    if not _FOREIGN_SQL.search(error.message):
        return
    for text in rewrites(sql):
        if len(text) <= _LONGEST_REWRITE and compiles(text):
            error.extra["rewrite"] = text
            error.hint = f"{error.hint} For SQLite: {text}" if error.hint else f"For SQLite: {text}"
            return


_FOREIGN_SQL = re.compile(
    r"syntax error|no such function|unrecognized token|no such column: (?:INTERVAL|TRUE|FALSE)"
)
_LONGEST_REWRITE = 1_000


def _python_error(error: BaseException) -> DuraliteError:
    if isinstance(error, UnicodeEncodeError):
        return InputError(
            f"A text is not valid Unicode: a lone surrogate at character {error.start}.",
            hint="Replace or remove the character, or pass the value as bytes.",
        )
    if isinstance(error, OverflowError):
        return InputError(
            "An integer does not fit into 64 bits.",
            hint="Pass it as text, or as a float if its digits do not matter.",
        )
    if isinstance(error, MemoryError):
        return LimitExceeded(
            "The statement needs more memory than the service may use.",
            hint="Work on fewer or shorter values at once.",
            limit="heap_bytes",
        )
    if isinstance(error, sqlite3.Warning):  # Python 3.11 calls several statements a warning
        return refusal("statement.several")
    if isinstance(error, (TypeError, ValueError)):
        return InputError(f"{error}", hint="Pass a list for ? parameters, or an object for :named ones.")
    return InternalError(f"The statement failed: {type(error).__name__}.")


def _sqlite_error(
    error: sqlite3.Error, sql: str | None, policy: Policy, connection: sqlite3.Connection | None
) -> DuraliteError:
    message = str(error)
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", None)
    if "one statement at a time" in message:
        return refusal("statement.several")
    primary = None if code is None else code & 0xFF
    match primary:
        case sqlite3.SQLITE_FULL:
            return StorageFull(
                f"The database reached its limit of {policy.max_file_bytes:,} bytes.",
                hint="Delete rows or drop tables that are no longer needed.",
                limit="max_file_bytes",
            )
        case sqlite3.SQLITE_TOOBIG:
            return _too_big(policy, sql)
        case sqlite3.SQLITE_NOMEM:
            return _python_error(MemoryError())
        case sqlite3.SQLITE_INTERRUPT:
            return Cancelled("The statement was interrupted; its transaction was rolled back.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("The database is busy.", hint="Try again in a moment.", retry_after=1.0)
        case sqlite3.SQLITE_NOTADB:
            return CorruptDatabase("The file is not an SQLite database.")
        case sqlite3.SQLITE_CORRUPT if code == sqlite3.SQLITE_CORRUPT:
            return CorruptDatabase(
                "The database file is damaged.", hint="Restore it from a backup or an export."
            )
        case sqlite3.SQLITE_AUTH:
            return refusal("action.unlisted")
    if (own := _OWN_TABLE.search(message)) is not None:
        # DEFENSIVE (Python 3.12 and newer) speaks before the authorizer does.
        rule = "object.schema_table" if own[1].startswith("sqlite_") else "object.shadow"
        return refusal(rule, own[1])
    return SqlError(
        message,
        hint=_hint(message, sql, policy, connection),
        exception=type(error).__name__,
        sqlite_name=name,
    )


_OWN_TABLE = re.compile(
    rf"table (sqlite_\w+|.+_(?:{'|'.join(SHADOW_ENDS)})) may not be (?:modified|dropped|altered|indexed)"
)


def _too_big(policy: Policy, sql: str | None) -> LimitExceeded:
    if sql is not None and len(sql) > policy.limits.sql_length // 2:
        return LimitExceeded(
            f"The statement is longer than {policy.limits.sql_length:,} bytes.",
            hint="Pass data as parameters, or use batch_insert.",
            limit="max_sql_bytes",
        )
    return LimitExceeded(
        f"A value or a row is longer than {policy.limits.length:,} bytes, or shorter ones were too long for the "
        "number of calls that the statement makes on them.",
        hint="Use shorter values, or split the statement into steps.",
        limit="max_value_bytes",
    )


def _hint(message: str, sql: str | None, policy: Policy, connection: sqlite3.Connection | None) -> str | None:
    try:
        return (
            _name_hint(message, policy, connection) or dialect_hint(message, sql) or _constraint_hint(message)
        )
    except (sqlite3.Error, RecursionError, MemoryError):
        return None  # advice is a courtesy; it must not cover the error


def _name_hint(message: str, policy: Policy, connection: sqlite3.Connection | None) -> str | None:
    if connection is None:
        return None
    if match := re.match(r"no such (?:table|view): (?:main\.|temp\.)?(.+)", message):
        names = [row[0] for row in connection.execute(_TABLES) if not is_reserved(policy, row[0])]
        dialect = dialect_hint(message, None)
        if dialect is not None:
            return dialect
        if not names:
            return "The database has no tables yet; make one with CREATE TABLE."
        return _nearest(match[1], names, "table", "Tables")
    if match := re.match(r"(?:no such column: |table .+ has no column named )(?:.*\.)?(.+)", message):
        wanted = match[1].strip("\"'` ")
        rows = [row for row in connection.execute(_COLUMNS).fetchall() if not is_reserved(policy, row[0])]
        owner = re.match(r"table (.+) has no column", message)
        names = [column for table, column in rows if owner is None or table.lower() == owner[1].lower()]
        return _nearest(wanted, list(dict.fromkeys(names)), "column", "Columns")
    return None


def _nearest(wanted: str, names: list[str], noun: str, plural: str) -> str | None:
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(wanted.lower(), list(lowered), n=1, cutoff=0.6)
    if near:
        return f"Did you mean the {noun} {lowered[near[0]]!r}?"
    if not names:
        return None
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{plural} here: {shown}."


_CONSTRAINTS = (
    (
        r"UNIQUE constraint failed",
        "A row with this key exists already: use INSERT OR REPLACE, INSERT OR IGNORE, or ON CONFLICT (…) DO UPDATE.",
    ),
    (r"NOT NULL constraint failed: (\S+)", "Give {0} a value, or declare the column without NOT NULL."),
    (r"FOREIGN KEY constraint failed", "Insert the row that is referred to first, and delete it last."),
    (
        r"CHECK constraint failed",
        "Give a value that satisfies the CHECK of the table; see its SQL in sqlite_master.",
    ),
    (r"table (.+) already exists", "Use CREATE TABLE IF NOT EXISTS, or DROP TABLE first."),
    (r"index (.+) already exists", "Use CREATE INDEX IF NOT EXISTS."),
    (r"ambiguous column name: (.+)", "Write table.column: more than one table has {0}."),
    (
        r"datatype mismatch",
        "An INTEGER PRIMARY KEY takes integers only, a STRICT table only values of its types.",
    ),
    (
        r"\d+ values for \d+ columns|has \d+ columns but \d+ values",
        "Name the columns: INSERT INTO t (a, b) VALUES (?, ?).",
    ),
    (r"misuse of aggregate", "Use HAVING for conditions on aggregates, or a sub-select."),
    (
        r"misuse of (?:aliased )?window function",
        "Put the window function into a sub-select, and filter outside: SELECT * FROM (SELECT …) WHERE ….",
    ),
    (r"HAVING clause on a non-aggregate", "Use WHERE for rows; HAVING is for groups, behind GROUP BY."),
    (r"SELECTs to the left and right of", "Give every SELECT of the compound the same number of columns."),
    (r"sub-select returns \d+ columns", "In the place of a value a sub-select gives one column."),
    (
        r"row value misused",
        "Leave out the parentheses around several columns; compare rows with = or IN only.",
    ),
    (
        r"unrecognized token: \"[\"']",
        "A quote is not closed. Double a quote inside a text ('it''s'), or pass the text as a parameter.",
    ),
    (
        r"Could not decode to UTF-8",
        "The text holds bytes that are not UTF-8: read it as CAST(x AS BLOB), or as hex(x).",
    ),
    (
        r"integer overflow",
        "The result does not fit into 64 bits: use CAST(x AS REAL), or total() in place of sum().",
    ),
    (
        r"Incorrect number of bindings|did not supply a value for binding|bindings? supplied",
        "Give one value for every ?, or an object with every :name.",
    ),
    (
        r"has no name, but you supplied",
        "One statement has one kind of parameters: ? with a list of values, or :name with an object.",
    ),
    (
        r"type '(.+)' is not supported|Error binding parameter",
        "Values are text, numbers, booleans, null and bytes; encode others as JSON text.",
    ),
    (
        r"cannot modify (.+) because it is a view",
        "A view only shows rows: change what it is made of, or copy them: CREATE TABLE t AS SELECT * FROM {0}.",
    ),
    (
        r'near "((?i:order|group|index|table|transaction|references|default|check))": syntax error',
        'If {0} is meant as a name, write it in double quotes: "{0}".',
    ),
    (r"no such function: (.+)", "SQLite has no function {0}."),
    (r"incomplete input", "The statement ends too early: a parenthesis, a quote or a clause is open."),
)


def _constraint_hint(message: str) -> str | None:
    for pattern, hint in _CONSTRAINTS:
        if match := re.search(pattern, message):
            return hint.format(*match.groups())
    return None
