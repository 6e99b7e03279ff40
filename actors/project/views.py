"""Views give a project's typed tables the names and shapes that SQL of its users knows.

A data table holds its columns as `c0`, `c1`, … without declared types, so that nothing is converted on the way in.
Two views stand before it: one with the columns under their own names (`data`, `pipeline_{id}`), and one with each
row as a JSON object (`raw_data(row_id, data)`, `pipeline_{id}_result`), as the specification writes them
(project-database.md, SQLite Schema Design). All functions here are pure: they make text.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.project.fields import Field
from runtime.storage.transaction import quote

__all__ = ("RAW_VIEWS", "json_object", "result_views", "view_statements")

RAW_VIEWS = ("data", "raw_data", "columns", "parse_config")
"""The views of an import: typed, JSON, columns, parse config."""

_PART = 60
"""Columns of one json_object(): it takes at most 127 arguments."""


def result_views(pipeline: str) -> tuple[str, str, str]:
    """Return the names of the views of a pipeline's result: typed, JSON, columns."""
    return f"pipeline_{pipeline}", f"pipeline_{pipeline}_result", f"pipeline_{pipeline}_columns"


def json_object(fields: Sequence[Field]) -> str:
    """Return the SQL expression of a row as a JSON object by column name, however many columns there are."""
    parts = [_json_part(fields[at : at + _PART]) for at in range(0, len(fields), _PART)] or ["json_object()"]
    if len(parts) == 1:
        return parts[0]
    # A part is made twice for its length: the guard cannot tell what it costs to trim a brace off so long a call.
    return "'{' || " + " || ',' || ".join(f"substr({p}, 2, length({p}) - 2)" for p in parts) + " || '}'"


def _json_part(fields: Sequence[Field]) -> str:
    return "json_object(" + ", ".join(f"{_text(f.name)}, {_json_value(f)}" for f in fields) + ")"


def _json_value(field: Field) -> str:
    if field.type == "boolean":
        return f"json(CASE {field.physical} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END)"
    if field.column.kind == "blob":  # JSON has no bytes, and hex() makes an empty text of NULL
        return f"CASE WHEN {field.physical} IS NOT NULL THEN hex({field.physical}) END"
    return field.physical


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def view_statements(
    table: str, dataset: int, fields: Sequence[Field], pipeline: str | None
) -> list[tuple[str, str]]:
    """Return the (name, CREATE VIEW statement) of every view of a data table: an import's, or a pipeline's."""
    names = RAW_VIEWS if pipeline is None else result_views(pipeline)
    typed, rows, columns = names[:3]
    heads = ", ".join(["row_id", *(quote(field.sql_name) for field in fields)])
    cells = ", ".join(["row_id", *(field.physical for field in fields)])
    facts = "name, type, null_count, sample_values"
    if pipeline is None:
        facts += ", min_value, max_value"
    made = [
        (typed, f"CREATE VIEW main.{quote(typed)} ({heads}) AS SELECT {cells} FROM {table}"),
        (
            rows,
            f"CREATE VIEW main.{quote(rows)} (row_id, data) AS SELECT row_id, {json_object(fields)} FROM {table}",
        ),
        (
            columns,
            f"CREATE VIEW main.{quote(columns)} ({facts}) AS SELECT {facts} FROM _duralite_columns"
            f" WHERE dataset = {dataset:d} ORDER BY idx",
        ),
    ]
    if pipeline is None:
        made.append(
            (
                "parse_config",
                "CREATE VIEW main.parse_config (config) AS SELECT config FROM _duralite_datasets"
                f" WHERE id = {dataset:d}",
            )
        )
    return made
