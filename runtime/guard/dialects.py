"""How SQLite writes what MySQL and PostgreSQL write: one table of hints, by what the error says."""

from __future__ import annotations

import re

__all__ = ("dialect_hint", "keyword_hint")

_BY_MESSAGE = (
    (
        r"no such table: (main\.)?information_schema\b|unknown database information_schema|no such table: pg_|no such table: SHOW",
        "Tables are listed by SELECT name FROM sqlite_master WHERE type = 'table'; columns by SELECT * FROM pragma_table_info('t').",
    ),
    (
        r"no such function: (NOW|GETDATE|SYSDATE|CURDATE|CURTIME)\b",
        "Use datetime('now'), date('now') or CURRENT_TIMESTAMP.",
    ),
    (
        r"no such function: (DATE_TRUNC|DATE_FORMAT|TO_CHAR|EXTRACT|DATEPART|YEAR|MONTH|DAY|HOUR)\b",
        "Use strftime('%Y-%m', column) and its like: %Y year, %m month, %d day, %H hour.",
    ),
    (
        r"no such function: (DATEDIFF|DATE_DIFF|AGE)\b",
        "Use julianday(a) - julianday(b) for days, unixepoch(a) - unixepoch(b) for seconds.",
    ),
    (r"no such function: (DATE_ADD|DATE_SUB|DATEADD)\b", "Use date(column, '+1 day')."),
    (r"no such function: (CONCAT|CONCAT_WS)\b", "Use the || operator."),
    (
        r"no such function: (STRING_AGG|ARRAY_AGG|LISTAGG)\b",
        "Use group_concat(x, ', ') or json_group_array(x).",
    ),
    (r"no such function: (IF|NVL|ISNULL)\b", "Use iif(condition, a, b), ifnull(a, b) or coalesce(a, b, …)."),
    (
        r"no such function: (LEFT|RIGHT|MID|SUBSTRING_INDEX)\b",
        "Use substr(x, start, length); substr(x, -n) for the end.",
    ),
    (r"no such function: (POSITION|STRPOS|LOCATE|CHARINDEX)\b", "Use instr(x, part)."),
    (r"no such function: (LEN|CHAR_LENGTH)\b", "Use length(x)."),
    (r"no such function: (GREATEST|LEAST)\b", "Use max(a, b) or min(a, b) with several arguments."),
    (
        r"no such function: (STDDEV|STDDEV_SAMP|STDDEV_POP|STDEV|VARIANCE|VAR_POP|VAR_SAMP)\b",
        "Use sqrt(avg(x*x) - avg(x)*avg(x)) for the population's standard deviation.",
    ),
    (
        r"no such function: (MEDIAN|PERCENTILE|PERCENTILE_CONT|QUANTILE)\b",
        "Order the values and take one by OFFSET (SELECT count(*)/2 FROM t).",
    ),
    (
        r"no such function: (REGEXP|REGEXP_LIKE|REGEXP_REPLACE|REGEXP_MATCHES)\b",
        "Use LIKE or GLOB, or match in code.",
    ),
    (
        r"no such function: (GENERATE_SERIES|UNNEST)\b|no such table: generate_series",
        "Use WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 10), or json_each.",
    ),
    (r"no such function: (RAND)\b", "Use random(); abs(random()) % n for 0 to n-1."),
    (r"no such function: (UUID|GEN_RANDOM_UUID|NEWID)\b", "Use lower(hex(randomblob(16)))."),
    (
        r"no such function: (JSON_VALUE|JSON_QUERY|JSONB_EXTRACT_PATH)\b",
        "Use json_extract(x, '$.path') or x ->> 'path'.",
    ),
    (r'near "AUTO_INCREMENT"|near "IDENTITY"', "Use INTEGER PRIMARY KEY, which numbers rows by itself."),
    (r'near "(ENGINE|CHARSET|COMMENT|UNSIGNED)"', "Leave MySQL's table options out."),
    (r'near "ILIKE"|near "RLIKE"|near "SIMILAR"', "Use LIKE, which ignores case for ASCII letters."),
    (r'unrecognized token: ":|near "::"', "Use CAST(x AS type) in place of x::type."),
    (r'near "(TOP|FETCH)"', "Use LIMIT n at the end."),
    (r'near "INTERVAL"', "Use date(column, '+1 day') in place of INTERVAL."),
    (
        r'near "(MODIFY|CHANGE|ALTER|TYPE)"',
        "ALTER TABLE renames, adds or drops columns; for other changes make a new table and copy.",
    ),
    (r'near "(TRUNCATE)"', "Use DELETE FROM t."),
    (r'near "(DUPLICATE)"', "Use ON CONFLICT (key) DO UPDATE SET column = excluded.column."),
    (
        r'near "(QUALIFY|PIVOT|UNPIVOT|LATERAL|GROUPING|ROLLUP)"',
        "SQLite lacks this clause: use a sub-select, CASE or UNION ALL.",
    ),
    (
        r'near "(FUNCTION|PROCEDURE|DATABASE|SCHEMA|ROLE|USER|EXTENSION|SEQUENCE)"',
        "SQLite has tables, indexes, views and triggers; there is one database, without schemas and procedures.",
    ),
    (
        r'near "CONSTRAINT"',
        "Constraints are part of CREATE TABLE: make a new table with it, and copy the rows.",
    ),
    (r'near "INTO"', "Use CREATE TABLE t AS SELECT …."),
    (r'near "USING"', "In DELETE use WHERE … IN (SELECT …); UPDATE knows FROM."),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), hint) for pattern, hint in _BY_MESSAGE)


# What SQLite reads up to some point behind the word that it lacks: the text says more than the message.
_BY_TEXT = (
    (
        r"\bextract\s*\(\s*\w+\s+from\b",
        "Use strftime('%Y', column) and its like: %Y year, %m month, %d day, %H hour.",
    ),
    (r"\b(left|right)\s*\(", "Use substr(x, start, length); substr(x, -n) for the end."),
    (r"\bwithin\s+group\b", "Order the values and take one by OFFSET (SELECT count(*)/2 FROM t)."),
    (
        r"\barray\s*\[|\bunnest\s*\(|\bany\s*\(",
        "There are no arrays: use IN (…), or json_each('[1, 2]') as a table.",
    ),
    (r"\b(un)?pivot\s*\(", "SQLite lacks this clause: use CASE inside an aggregate, or UNION ALL."),
    (r"^\s*create\s+or\s+replace\b", "Send DROP … IF EXISTS first, and then CREATE."),
    (r"^\s*create\s+index\s+concurrently\b", "Leave CONCURRENTLY out."),
    (r"^\s*update\b.*\bjoin\b", "Use UPDATE t SET … FROM other WHERE other.id = t.id."),
    (r"^\s*delete\s+(?!from\b)", "Use DELETE FROM t WHERE … IN (SELECT …)."),
)
_COMPILED_TEXT = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), hint) for pattern, hint in _BY_TEXT)
_LONGEST = 10_000


def dialect_hint(message: str, sql: str | None) -> str | None:
    """Return how to write it for SQLite, if an error looks like another database's SQL."""
    for pattern, hint in _COMPILED:
        if pattern.search(message):
            return hint
    if sql is None or "syntax error" not in message or len(sql) > _LONGEST:
        return None
    return next((hint for pattern, hint in _COMPILED_TEXT if pattern.search(sql)), None)


_LISTING = (
    "Tables: SELECT name FROM sqlite_master WHERE type = 'table'. Columns: SELECT * FROM pragma_table_info('t'). "
    "Indexes: SELECT * FROM pragma_index_list('t')."
)
_BY_KEYWORD = {
    "show": _LISTING,
    "describe": _LISTING,
    "desc": _LISTING,
    ".tables": _LISTING,
    ".schema": _LISTING,
    "truncate": "Use DELETE FROM t.",
    "merge": "Use INSERT … ON CONFLICT (key) DO UPDATE SET column = excluded.column.",
    "upsert": "Use INSERT … ON CONFLICT (key) DO UPDATE SET column = excluded.column.",
    "copy": "Use batch_insert for many rows.",
    "load": "Use batch_insert for many rows.",
    "import": "Use batch_insert for many rows.",
    "use": "There is one database; name its tables without a database in front.",
    "set": "There are no session variables; pass values as parameters.",
    "declare": "There are no variables; pass values as parameters.",
    "call": "There are no stored procedures; write the statements themselves.",
    "exec": "There are no stored procedures; write the statements themselves.",
    "execute": "There are no stored procedures; write the statements themselves.",
    "grant": "There are no users in the database; leave it out.",
    "revoke": "There are no users in the database; leave it out.",
    "comment": "Comments on tables are not stored; write them as -- in the CREATE statement.",
    "rename": "Use ALTER TABLE t RENAME TO u.",
    "from": "Begin with SELECT: SELECT * FROM t.",
    "start": "Every call already is one transaction; leave the statement out.",
    "lock": "Every call already is one transaction; leave the statement out.",
    "```": "Send the bare statement, without Markdown fences around it.",
}


def keyword_hint(text: str) -> str | None:
    """Return what to write in place of a statement that SQLite does not have, by how the text begins."""
    match = re.match(r"\W?[A-Za-z]+|```", text)
    return _BY_KEYWORD.get(match[0].lower()) if match else None
