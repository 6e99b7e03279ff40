"""Reading a project: pages of rows in the specification's shape, columns with their statistics, rows kept aside.

Every read is a SELECT on the project's own views, run like a statement of the caller's: through the guard, within
the budgets of rows, bytes and time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field as Doc
from pydantic import WithJsonSchema

from actors.project.catalogue import Dataset, current, result
from actors.project.fields import Field
from actors.project.filters import order_by, where
from runtime.errors import Conflict, InputError, LimitExceeded, NotFound
from runtime.instance import Instance
from runtime.method import method
from runtime.storage.transaction import Transaction, quote

__all__ = (
    "DataPage",
    "Filter",
    "Pipeline",
    "ReadMethods",
    "Selected",
    "Sort",
    "chosen",
    "dataset_of",
    "select",
)

Pipeline = Annotated[
    str | None, Doc(description="A pipeline's id, to read its stored result instead of the imported rows.")
]
Filter = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "null"}],
            "description": 'Conditions, as JSON: {"column": "city", "operator": "equals", "value": "Berlin"}, '
            'or a list of them (all must hold), or {"or": […]}.',
        }
    ),
]
Sort = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array"}, {"type": "object"}, {"type": "null"}],
            "description": 'Columns to sort by: "city,-amount" (minus: descending), or [{"column": "city", '
            '"direction": "desc"}].',
        }
    ),
]


@dataclass(slots=True)
class ColumnType:
    """A column and its type: string, number, boolean or date."""

    name: str
    type: str


@dataclass(slots=True)
class Pagination:
    """Where a page stands. `next` is the cursor of the page after it, None on the last."""

    offset: int
    limit: int
    total: int
    next: str | None = None


@dataclass(slots=True)
class DataPage:
    """A page of rows (project-database.md, API Response Format).

    Rows too large for one answer make a page shorter than its limit; `pagination.next` goes on behind it.
    """

    data: list[dict[str, Any]]
    columns: list[ColumnType]
    pagination: Pagination


@dataclass(slots=True)
class Selected:
    """What a SELECT gave: the columns' names, and each row's cells in their order."""

    columns: list[str]
    cells: list[list[Any]]
    truncated: bool
    limit: str | None

    def objects(self, first: int = 0) -> list[dict[str, Any]]:
        """Return the rows as objects by column, from column number `first` on."""
        names = self.columns[first:]
        return [dict(zip(names, row[first:], strict=True)) for row in self.cells]


def select(
    tx: Transaction,
    sql: str,
    params: list[Any],
    fields: Sequence[Field | None] = (),
    *,
    limit: int | None = None,
) -> Selected:
    """Run a SELECT as the caller's own.

    `fields` tells which column of the project each column of the answer is (None: something computed): it gives
    the name, and how a value is shown.
    """
    wire, tx.wire = tx.wire, False
    try:
        rows = tx.query(sql, params, limit=limit, row_format="arrays")
    finally:
        tx.wire = wire
    names = list(rows.columns)
    cells: list[list[Any]] = rows.rows
    for at, each in enumerate(fields):
        if each is None:
            continue
        names[at] = each.name
        if each.type == "boolean":
            for row in cells:
                row[at] = each.shown_value(row[at])
    return Selected(
        names, cells, rows.truncated and rows.limit != "limit", None if rows.limit == "limit" else rows.limit
    )


def dataset_of(tx: Transaction, pipeline: str | None) -> Dataset:
    """Return the import, or the stored result of a pipeline.

    Raises:
        NotFound: nothing was imported, or the pipeline has not been executed.
    """
    if pipeline is None:
        return current(tx)
    found = result(tx, pipeline)
    if found is None:
        raise NotFound(
            f"The pipeline {pipeline!r:.80} has no stored result.",
            hint="Execute it first: POST …/execute. preview_pipeline shows rows without storing them.",
        )
    return found


def chosen(dataset: Dataset, names: Any) -> list[Field]:
    """Return the columns that a caller named (a list, or a text with commas), or all of them."""
    if names is None or names == "":
        return list(dataset.fields)
    if isinstance(names, str):
        names = [names] if any(f.name == names for f in dataset.fields) else names.split(",")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("columns is not a list of names.", hint='For instance ["city", "amount"].')
    fields: list[Field] = []
    for name in names:
        found = dataset.field(name.strip() if name not in {f.name for f in dataset.fields} else name)
        if found not in fields:
            fields.append(found)
    return fields


class ReadMethods:
    """data, columns, rejected_rows, overview."""

    _instance: Instance

    @method(read_only=True, helper="whole", aliases=("GET /api/projects/{name}/data",))
    def data(
        self,
        tx: Transaction,
        limit: Annotated[int, Doc(ge=1, le=10_000, description="Rows of the page.")] = 100,
        offset: Annotated[int, Doc(ge=0, le=2**53, description="Rows to pass over.")] = 0,
        cursor: Annotated[
            str | None, Doc(description="`pagination.next` of the page before, in place of offset.")
        ] = None,
        filter: Filter = None,
        sort: Sort = None,
        columns: Annotated[Any, Doc(description="Only these columns: a list, or names with commas.")] = None,
        pipeline: Pipeline = None,
    ) -> DataPage:
        """Return a page of rows with columns and total (project-database.md, API Response Format).

        A cursor finds any page of unsorted rows at once, where an offset counts its way to it.
        """
        dataset = dataset_of(tx, pipeline)
        fields = chosen(dataset, columns)
        condition, params = where(dataset, filter)
        after: int | None = None
        if cursor is not None:
            after, offset = _read_cursor(cursor, dataset.id)
        heads = ", ".join(["row_id", *(quote(f.sql_name) for f in fields)])
        view = quote(dataset.view)
        by_row = sort is None or sort == ""
        rest, place, places = condition, "LIMIT ? OFFSET ?", [*params, limit, offset]
        if after is not None and by_row:
            rest += (" AND" if condition else " WHERE") + " row_id > ?"
            place, places = "LIMIT ?", [*params, after, limit]
        sql = f"SELECT {heads} FROM {view}{rest}{order_by(dataset, sort)} {place}"
        page = select(tx, sql, places, [None, *fields], limit=limit)
        if page.truncated and not page.cells:
            raise LimitExceeded(
                "One row is larger than an answer may be.",
                hint="Ask for fewer columns, or export the rows.",
                limit=page.limit,
            )
        shown = len(page.cells)
        end = offset + shown
        if not condition:
            total = dataset.rows
        elif rest == condition and not page.truncated and shown < limit and (shown or not offset):
            # The page looked for more rows in vain: it is the last, and another look at all rows is spared.
            total = end
        else:
            total = _count(tx, dataset, condition, params)
        following = None
        if page.cells and end < total:
            following = _cursor(dataset.id, page.cells[-1][0] if by_row else None, end)
        return DataPage(
            page.objects(1),
            [ColumnType(f.name, f.type) for f in fields],
            Pagination(offset, limit, total, following),
        )

    @method(read_only=True, helper="whole", aliases=("GET /api/projects/{name}/columns",))
    def columns(self, tx: Transaction, pipeline: Pipeline = None) -> dict[str, Any]:
        """Return the columns: name, type, and statistics over all rows, taken when the table was filled."""
        dataset = dataset_of(tx, pipeline)
        return {"columns": [f.shown() for f in dataset.fields], "rows": dataset.rows}

    @method(read_only=True, helper="whole", aliases=("GET /api/projects/{name}/rejected",))
    def rejected_rows(
        self,
        tx: Transaction,
        limit: Annotated[int, Doc(ge=1, le=1_000, description="At most so many.")] = 100,
        offset: Annotated[int, Doc(ge=0, le=2**53, description="Rows to pass over.")] = 0,
    ) -> dict[str, Any]:
        """Return rows of the file that were kept aside: line, reason and text."""
        dataset = current(tx)
        rows = tx.all(
            "SELECT line, reason, text FROM main._duralite_rejects WHERE dataset = ? ORDER BY rowid LIMIT ? OFFSET ?",
            (dataset.id, limit, offset),
        )
        return {
            "rows": [dict(zip(("line", "reason", "text"), row, strict=True)) for row in rows],
            "total": dataset.facts.get("rejected", 0),
        }

    @method(read_only=True, helper="whole", aliases=("GET /api/projects/{name}",))
    def overview(self, tx: Transaction) -> dict[str, Any]:
        """Return what the project holds: the import with its source and warnings, and the pipelines."""
        try:
            dataset = current(tx)
        except NotFound:
            imported = None
        else:
            imported = {
                "rows": dataset.rows,
                "columns": [{"name": f.name, "type": f.type} for f in dataset.fields],
                "imported": dataset.created,
                "parse_config": dict(dataset.config),
                **dataset.facts,
            }
        pipelines = [
            {"id": number, "title": title, "result_rows": rows}
            for number, title, rows in tx.all(
                "SELECT p.id, p.title, d.rows FROM main._duralite_pipelines p LEFT JOIN main._duralite_datasets d"
                " ON d.pipeline = p.id AND d.state = 'ready' ORDER BY p.id"
            )
        ]
        return {"name": self._instance.address.name, "data": imported, "pipelines": pipelines}


def _count(tx: Transaction, dataset: Dataset, condition: str, params: list[Any]) -> int:
    counted = select(tx, f"SELECT count(*) FROM {quote(dataset.view)}{condition}", params)
    return int(counted.cells[0][0])


def _cursor(dataset: int, row_id: int | None, offset: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([dataset, row_id, offset])).decode().rstrip("=")


def _read_cursor(text: str, dataset: int) -> tuple[int | None, int]:
    try:
        number, row_id, offset = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not (type(number) is int and type(offset) is int and 0 <= offset < 2**53):
            raise ValueError("not a cursor")
        if not (row_id is None or (type(row_id) is int and abs(row_id) < 2**63)):
            raise ValueError("not a cursor")
    except (ValueError, TypeError, binascii.Error):
        raise InputError(
            "The cursor is not one of this project.",
            hint="Send `pagination.next` of the page before as it is.",
        ) from None
    if number != dataset:
        raise Conflict("The data was replaced since the page before.", hint="Begin again without a cursor.")
    return row_id, offset
