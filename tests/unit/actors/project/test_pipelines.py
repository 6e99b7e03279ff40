"""Pipelines of a project: saved, checked, looked at, run into a result that is switched like an import."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runtime.context import CallContext, use_context
from runtime.errors import Conflict, DuraliteError, Forbidden, InputError, LimitExceeded, NotFound
from runtime.host import Host
from runtime.namespace import Stub

Import = Callable[..., Awaitable[Any]]

PAID = [
    {"type": "filter", "config": {"column": "paid", "operator": "equals", "value": True}},
    {"operation": "uppercase", "columns": ["city"]},
    {"operation": "remove_column", "columns": ["paid"]},
]
PAID_ROWS = [
    {"city": "BERLIN", "amount": 10.5, "day": "2024-01-01"},
    {"city": "BERLIN", "amount": None, "day": "2024-01-03"},
    {"city": "OSLO", "amount": 5.0, "day": None},
]


async def test_a_pipeline_is_executed_into_a_result_of_its_own(sales: Stub) -> None:
    """project-database.md, Phase 4: rows and warnings are told, the result can be read, the import stays."""
    answer = await sales.execute("paid", steps=PAID)
    assert (answer["state"], answer["rowCount"], answer["warnings"]) == ("done", 3, [])
    assert answer["columns"] == [
        {"name": "city", "type": "string"},
        {"name": "amount", "type": "number"},
        {"name": "day", "type": "date"},
    ]
    assert (await sales.data(pipeline="paid")).data == PAID_ROWS
    assert (await sales.data()).pagination.total == 6
    found = await sales.query("SELECT data FROM pipeline_paid_result ORDER BY row_id")
    assert [json.loads(row["data"]) for row in found.rows] == PAID_ROWS
    typed = await sales.query("SELECT city, amount, day FROM pipeline_paid")
    assert typed.rows == PAID_ROWS
    columns = await sales.query("SELECT name, type FROM pipeline_paid_columns")
    assert columns.rows == answer["columns"]
    assert (await sales.sample(kind="distribution", column="city", pipeline="paid")).rows[0]["count"] == 2
    assert (await sales.ask("average amount", pipeline="paid")).rows == [{"average of amount": 7.75}]


async def test_a_preview_shows_each_step_and_stores_nothing(sales: Stub) -> None:
    """project-database.md, Phase 4: GET …/preview?upToStep=2."""
    await sales.save_pipeline("paid", PAID)
    first = await sales.preview_pipeline("paid", up_to_step=0)
    assert first["data"] == (await sales.data()).data
    second = await sales.preview_pipeline("paid", up_to_step=2, limit=1)
    assert second["data"] == [{"city": "BERLIN", "amount": 10.5, "paid": True, "day": "2024-01-01"}]
    assert (second["step"], second["complete"]) == (2, False)
    assert (await sales.preview_pipeline("paid"))["data"] == PAID_ROWS
    with pytest.raises(NotFound):
        await sales.data(pipeline="paid")
    with pytest.raises(InputError, match="no step 7"):
        await sales.preview_pipeline("paid", up_to_step=7)


async def test_a_saved_pipeline_can_be_read_listed_exported_and_imported(sales: Stub) -> None:
    """The document of one is what makes another."""
    saved = await sales.save_pipeline("paid", PAID, title="What was paid")
    assert [step["operation"] for step in saved["steps"]] == ["filter", "uppercase", "remove_column"]
    document = (await sales.get_pipeline("paid"))["document"]
    copy = await sales.save_pipeline("copy", json.dumps(document))
    assert (copy["steps"], copy["title"]) == (saved["steps"], "What was paid")
    assert [(p["id"], p["steps"]) for p in await sales.list_pipelines()] == [("copy", 3), ("paid", 3)]
    assert await sales.delete_pipeline("copy") == {"deleted": True}
    assert await sales.delete_pipeline("copy") == {"deleted": False}
    with pytest.raises(NotFound, match="no pipeline 'copy'"):
        await sales.get_pipeline("copy")


async def test_a_step_that_cannot_work_is_told_before_anything_runs(sales: Stub) -> None:
    """With its number and the nearest name; no job, no result."""
    wrong = [*PAID, {"operation": "trim", "columns": ["citty"]}]
    for call in (sales.check_pipeline, sales.execute, sales.preview_pipeline):
        with pytest.raises(InputError, match=r'Step 4 \(trim\).*"city"'):
            await call("wrong", steps=wrong)
    assert [job.kind for job in await sales.list_jobs()] == ["import"]


async def test_a_check_tells_columns_and_sql(sales: Stub) -> None:
    """After every step; nothing runs."""
    plan = await sales.check_pipeline("any", steps=PAID)
    assert [len(after) for after in plan["after"]] == [4, 4, 3]
    assert "SELECT" in plan["sql"][0]


async def test_a_cell_that_ends_the_run_fails_the_job_with_its_reason(host: Host, sales: Stub) -> None:
    """And leaves neither a result nor a table; what was there before stays."""
    await sales.execute("cast", steps=PAID)
    cast = [{"operation": "cast_column", "column": "city", "targetType": "number", "onError": "fail"}]
    with pytest.raises(DuraliteError, match="'Berlin' in the column"):
        await sales.execute("cast", steps=cast)
    assert (await sales.data(pipeline="cast")).data == PAID_ROWS
    lenient = [{**cast[0], "onError": "null"}]
    answer = await sales.execute("cast", steps=lenient)
    assert answer["warnings"]
    assert {row["city"] for row in (await sales.data(pipeline="cast")).data} == {None}


async def test_a_result_of_other_data_or_other_steps_is_stale(sales: Stub, load: Import) -> None:
    """The list says so; an export makes it anew."""

    async def stale() -> bool:
        (listed,) = await sales.list_pipelines()
        return bool(listed["result"]["stale"])

    await sales.execute("paid", steps=PAID)
    assert not await stale()
    await sales.save_pipeline("paid", PAID[:2])
    assert await stale()
    await sales.execute("paid")
    assert not await stale()
    await load("city,paid\nBonn,true\n")
    assert await stale()
    assert await text(await sales.export(pipeline="paid")) == "city,paid\r\nBONN,true\r\n"
    assert not await stale()


async def test_a_result_made_from_another_is_stale_when_that_changes(sales: Stub) -> None:
    """The import alone does not tell it."""
    await sales.execute("paid", steps=PAID)
    await sales.execute("twice", steps=[*PAID, {"operation": "union", "table": "paid"}])

    async def stale() -> dict[str, bool]:
        return {p["id"]: p["result"]["stale"] for p in await sales.list_pipelines()}

    assert await stale() == {"paid": False, "twice": False}
    await sales.execute("paid", steps=[*PAID, {"operation": "limit", "count": 1}])
    assert await stale() == {"paid": False, "twice": True}


async def test_a_pipeline_reads_other_results_and_other_projects(
    host: Host, sales: Stub, tmp_path: Path
) -> None:
    """By the name of a pipeline, of a project of the same account, or of both."""
    await sales.execute("paid", steps=PAID)
    other = host.namespace("project").get("places")
    file = tmp_path / "places.csv"
    file.write_text("town,country\nBERLIN,DE\nOSLO,NO\n")
    await other.import_path(str(file), wait=True)
    join = {"operation": "join", "table": "places", "on": [{"left": "city", "right": "town"}], "how": "left"}
    answer = await sales.execute("joined", steps=[*PAID, join])
    assert answer["rowCount"] == 3
    assert [row["country"] for row in (await sales.data(pipeline="joined")).data] == ["DE", "DE", "NO"]
    stacked = await sales.execute("stacked", steps=[{"operation": "union", "table": "paid"}])
    assert stacked["rowCount"] == 9
    with pytest.raises(InputError, match='no table "nowhere"'):
        await sales.execute("nope", steps=[{"operation": "union", "table": "nowhere"}])
    assert await host.acquire(host.namespace("project").get("nowhere").address, create=False) is None


@pytest.mark.parametrize("id", ["", "a b", "../x", "x_result", "X_COLUMNS", "ä", "-a", "a" * 65])
async def test_odd_ids_are_refused(sales: Stub, id: str) -> None:
    """An id is part of the names of views."""
    with pytest.raises(InputError):
        await sales.save_pipeline(id, PAID)
    with pytest.raises(InputError):
        await sales.execute(id, steps=PAID)


async def test_ids_differ_by_more_than_case(sales: Stub) -> None:
    """As the names of views do."""
    await sales.save_pipeline("Paid", PAID)
    await sales.save_pipeline("PAID", PAID[:1])
    assert [p["steps"] for p in await sales.list_pipelines()] == [1]


async def test_limits_of_pipelines_name_their_settings(sales: Stub) -> None:
    """Steps of one, and pipelines of a project."""
    with pytest.raises(LimitExceeded) as caught:
        await sales.save_pipeline("long", [{"operation": "trim", "columns": ["city"]}] * 201)
    assert caught.value.limit == "max_pipeline_steps"


async def test_a_cancelled_execution_keeps_the_result_before(sales: Stub, load: Import) -> None:
    """And lets the next one begin."""
    await load("i,k\n" + "".join(f"{i},{i % 7}\n" for i in range(100_000)))
    await sales.execute("few", steps=[{"operation": "limit", "count": 3}])
    sort = [{"operation": "sort", "columns": [{"name": "k"}]}]
    started = await sales.execute("few", steps=sort, wait=False)
    with pytest.raises(Conflict):
        await sales.execute("few", steps=sort)
    with pytest.raises(Conflict):
        await sales.delete_pipeline("few")
    assert (await sales.cancel_job(started["job"])).state == "cancelled"
    assert (await sales.data(pipeline="few")).pagination.total == 3
    assert (await sales.execute("few"))["rowCount"] == 100_000


async def test_a_table_stays_while_it_is_read(host: Host, sales: Stub, load: Import) -> None:
    """An import in between takes its place, and it is dropped when the reader is done."""
    instance = await host.acquire(sales.address)
    assert instance is not None
    names = "SELECT name FROM main.sqlite_master WHERE name GLOB '_duralite_d[0-9]*' ORDER BY name"

    async def tables() -> list[str]:
        return [n for (n,) in await instance.connection.run(lambda tx: tx.all(names), read_only=True)]

    from actors.project.catalogue import current

    dataset, let_go = await instance.actor.holds.take(current)  # type: ignore[attr-defined]
    await load("a\n1\n")
    assert await tables() == [dataset.table, f"_duralite_d{dataset.id + 1}"]
    let_go()
    async with asyncio.timeout(10):
        while len(await tables()) > 1:
            await asyncio.sleep(0)


# Exports


async def text(download: Any) -> str:
    return b"".join([piece async for piece in download.chunks]).decode()


async def test_an_export_gives_the_rows_back_as_they_came(sales: Stub) -> None:
    """Decimals, booleans, empty cells."""
    download = await sales.export()
    assert download.filename.endswith(".csv")
    assert await text(download) == (
        "city,amount,paid,day\r\nBerlin,10.50,true,2024-01-01\r\nRom,20.25,false,2024-01-02\r\n"
        "Berlin,,true,2024-01-03\r\nOslo,5.00,true,\r\nRom,100.00,false,2024-02-01\r\n,7.25,,2024-02-02\r\n"
    )


async def test_a_key_that_only_reads_exports_a_result_and_stores_none(sales: Stub) -> None:
    await sales.save_pipeline("paid", PAID)
    use_context(CallContext(sales.address.owner, scopes=frozenset({"read"})))
    with pytest.raises(Forbidden, match="may not store"):
        await sales.export(pipeline="paid", format="ndjson")
    use_context(CallContext(sales.address.owner))
    await sales.execute("paid")
    use_context(CallContext(sales.address.owner, scopes=frozenset({"read"})))
    assert len((await text(await sales.export(pipeline="paid", format="ndjson"))).splitlines()) == 3


async def test_an_export_takes_filter_sort_and_columns(sales: Stub) -> None:
    """As a page does."""
    some = await sales.export(
        format="ndjson",
        columns="city,amount",
        filter={"column": "paid", "operator": "=", "value": True},
        sort="-amount",
    )
    assert [json.loads(line) for line in (await text(some)).splitlines()] == [
        {"city": "Berlin", "amount": 10.5},
        {"city": "Oslo", "amount": 5.0},
        {"city": "Berlin", "amount": None},
    ]


async def test_cells_that_spreadsheets_would_run_are_made_safe_when_asked(
    project: Stub, load: Import
) -> None:
    """Only then: it changes the data."""
    await load("name\n=1+1\n@x\nplain\n")
    assert await text(await project.export()) == "name\r\n=1+1\r\n@x\r\nplain\r\n"
    assert await text(await project.export(safe=True)) == "name\r\n'=1+1\r\n'@x\r\nplain\r\n"


@pytest.mark.parametrize("format", ["parquet", "xlsx", "ndjson", "csv"])
async def test_what_is_exported_can_be_imported_again(
    sales: Stub, load: Import, format: str, tmp_path: Path
) -> None:
    """The same rows, with the same types."""
    before = (await sales.data()).data
    types = [c["type"] for c in (await sales.columns())["columns"]]
    content = b"".join([piece async for piece in (await sales.export(format=format)).chunks])
    job = await load(content, f"again.{format}")
    assert job.state == "done", job.error
    after = (await sales.data()).data
    if format in ("xlsx", "parquet", "ndjson"):
        for row in before + after:
            row["city"] = row["city"] or None
    assert after == before
    assert [c["type"] for c in (await sales.columns())["columns"]] == types


async def test_bytes_pass_through_a_pipeline_and_stand_in_json_as_hexadecimal(
    project: Stub, load: Import, tmp_path: Path
) -> None:
    path = tmp_path / "made.parquet"
    duckdb.connect().execute(
        "COPY (SELECT * FROM (VALUES ('ab\\xFF'::BLOB, 'x'), (NULL, 'y'), ('\\x00'::BLOB, 'z')) AS v (b, t))"
        f" TO '{path}' (FORMAT parquet)"
    )
    job = await load(path.read_bytes(), "bytes.parquet")
    assert job.state == "done", job.error
    made = await project.execute(
        "sorted", steps=[{"operation": "sort", "columns": ["t"], "direction": "desc"}]
    )
    assert made["state"] == "done", made
    for view in ("raw_data", "pipeline_sorted_result"):
        rows = (await project.query(f"SELECT data FROM {view} ORDER BY row_id")).rows
        found = [json.loads(row["data"]) for row in rows]
        assert sorted(found, key=lambda row: row["t"]) == [
            {"b": "6162FF", "t": "x"},
            {"b": None, "t": "y"},
            {"b": "00", "t": "z"},
        ]


async def test_an_export_that_nobody_reads_leaves_nothing(host: Host, sales: Stub) -> None:
    """The file is removed, and the project may close."""
    download = await sales.export()
    await download.chunks.aclose()
    del download
    instance = await host.acquire(sales.address)
    assert instance is not None
    async with asyncio.timeout(10):
        while instance.held:
            await asyncio.sleep(0)


async def test_steps_are_compiled_by_a_worker_and_never_in_the_service(
    sales: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: Any, **__: Any) -> None:
        raise AssertionError("the service itself compiled a pipeline")

    monkeypatch.setattr("actors.project.pipeline.draft.Draft.__init__", compiled)
    assert [c["name"] for c in (await sales.check_pipeline("paid", PAID))["columns"]] == [
        "city",
        "amount",
        "day",
    ]
    assert (await sales.preview_pipeline("paid", PAID))["data"] == PAID_ROWS
    assert (await sales.execute("paid", steps=PAID))["rowCount"] == 3
    with pytest.raises(InputError, match=r'Step 1 .*no column "nope"'):
        await sales.execute("paid", steps=[{"operation": "trim", "columns": ["nope"]}])
