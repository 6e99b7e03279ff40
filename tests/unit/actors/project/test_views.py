"""Views give typed tables their names: any number of columns, any names."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors.project.fields import fields_of, sql_names
from actors.project.views import json_object
from runtime.errors import Conflict, GuardRefused
from runtime.namespace import Stub
from runtime.tabular.columns import Column

Import = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "A", "b"], ["a", "A_2", "b"]),
        (["row_id", "x"], ["row_id_2", "x"]),
        (["a", "A", "a_2"], ["a", "A_3", "a_2"]),
        (["ä", "Ä"], ["ä", "Ä"]),
    ],
)
def test_names_that_sql_cannot_tell_apart_are_numbered(names: list[str], expected: list[str]) -> None:
    """As SQLite compares: ASCII letters without regard to case."""
    assert sql_names(names) == expected


@pytest.mark.parametrize("width", [1, 60, 61, 127, 500])
def test_a_json_row_holds_every_column(width: int) -> None:
    """SQLite's json_object takes 63 columns at most; the row is put together from parts."""
    fields = fields_of([Column(f"n\"{i}'}}", f"c{i}", "string", "text") for i in range(width)])
    values = [['}"', None, 1, 2.5, "}"][i % 5] for i in range(width)]
    raw = sqlite3.connect(":memory:")
    raw.execute(f"CREATE TABLE t ({', '.join(f.physical for f in fields)})")
    raw.execute(f"INSERT INTO t VALUES ({', '.join('?' * width)})", values)
    (text,) = raw.execute(f"SELECT {json_object(fields)} FROM t").fetchone()
    raw.close()
    assert json.loads(text) == {f.name: value for f, value in zip(fields, values, strict=True)}


async def test_the_names_of_the_specification_work_in_sql(sales: Stub) -> None:
    """raw_data, columns, parse_config (project-database.md, SQLite Schema Design), and the typed view data."""
    row = (await sales.query("SELECT * FROM raw_data WHERE row_id = 2")).rows[0]
    assert json.loads(row["data"]) == {"city": "Rom", "amount": 20.25, "paid": False, "day": "2024-01-02"}
    found = await sales.query(
        "SELECT json_extract(data, '$.city') AS c FROM raw_data ORDER BY row_id LIMIT 1"
    )
    assert found.rows == [{"c": "Berlin"}]
    columns = await sales.query("SELECT name, type, null_count, min_value FROM columns")
    assert [row["type"] for row in columns.rows] == ["string", "number", "boolean", "date"]
    assert columns.rows[1] == {"name": "amount", "type": "number", "null_count": 1, "min_value": "5.0"}
    config = await sales.query("SELECT config FROM parse_config")
    assert json.loads(config.rows[0]["config"])["delimiter"] == ","
    total = await sales.query(
        "SELECT city, sum(amount) AS total FROM data GROUP BY city ORDER BY 2 DESC LIMIT 1"
    )
    assert total.rows == [{"city": "Rom", "total": 120.25}]
    assert [table.name for table in await sales.tables()] == ["columns", "data", "parse_config", "raw_data"]


async def test_a_file_of_1999_columns_reads_back(project: Stub, load: Import) -> None:
    """The most that SQLite can hold beside the row's number."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([f"column {i}" for i in range(1_999)])
    writer.writerow(range(1_999))
    assert (await load(text.getvalue())).state == "done"
    row = (await project.query("SELECT data FROM raw_data")).rows[0]
    assert json.loads(row["data"])["column 1998"] == 1998
    wide = (await project.query("SELECT * FROM data")).rows[0]
    assert len(wide) == 2_000
    assert (await project.data(columns="column 7,column 1998")).data == [{"column 7": 7, "column 1998": 1998}]


async def test_a_column_may_be_called_row_id(project: Stub, load: Import) -> None:
    """Its own name shows everywhere but in SQL, where the row's number has it."""
    await load("row_id,x\n7,a\n8,b\n")
    page = await project.data(limit=1)
    assert page.data == [{"row_id": 7, "x": "a"}]
    assert (await project.data(limit=1, cursor=page.pagination.next)).data == [{"row_id": 8, "x": "b"}]
    rows = (await project.query("SELECT row_id, row_id_2 FROM data")).rows
    assert rows == [{"row_id": 1, "row_id_2": 7}, {"row_id": 2, "row_id_2": 8}]
    assert (await project.sample(kind="random", n=2)).rows[0] == {"row_id": 7, "x": "a"}


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE _duralite_d1",
        "DELETE FROM _duralite_d1",
        "UPDATE _duralite_d1 SET c0 = 1",
        "INSERT INTO _duralite_columns SELECT * FROM _duralite_columns",
        "CREATE INDEX i ON _duralite_d1 (c0)",
        "CREATE TRIGGER t AFTER INSERT ON _duralite_d1 BEGIN SELECT 1; END",
        "ALTER TABLE _duralite_d1 RENAME TO x",
        "CREATE TABLE f (a REFERENCES _duralite_d1(row_id))",
        "SELECT * FROM _duralite_pipelines",
        "SELECT * FROM _duralite_jobs",
    ],
)
async def test_sql_of_strangers_reads_data_tables_and_never_changes_them(sales: Stub, sql: str) -> None:
    """The guard's rules for the runtime's own tables hold for them; reading is all that is open."""
    with pytest.raises(GuardRefused):
        await sales.exec(sql)
    assert (await sales.data()).pagination.total == 6


async def test_a_table_of_the_users_may_stand_beside_the_data(sales: Stub) -> None:
    """A project is a session too: results of an analysis can be kept in it."""
    await sales.exec("CREATE TABLE best AS SELECT city, max(amount) AS m FROM data GROUP BY city")
    assert (await sales.query("SELECT count(*) AS n FROM best")).rows == [{"n": 4}]


async def test_a_table_with_a_views_name_is_not_dropped(project: Stub, load: Import) -> None:
    """The import says so, and what was there stays."""
    await project.exec("CREATE TABLE data (x)")
    job = await load("a\n1\n")
    assert job.state == "failed"
    assert "ALTER TABLE" in job.error["hint"]
    assert job.error["code"] == Conflict.code
    assert (await project.query("SELECT count(*) AS n FROM data")).rows == [{"n": 0}]
