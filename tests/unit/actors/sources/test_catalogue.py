"""The catalogue: what there is, by name, in the specification's shape; imports put in place whole or not at all."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
import xlsxwriter

from runtime.errors import Conflict, Forbidden, InputError, LimitExceeded, NotFound
from runtime.host import Host
from runtime.namespace import Stub
from runtime.streams import Download, Upload
from runtime.testing import ManualClock, harness, until

from .conftest import SALES, Add, Ended

pytestmark = pytest.mark.asyncio(loop_scope="module")


def database(*statements: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as raw:
        for statement in statements:
            raw.execute(statement)
        raw.commit()
        return raw.serialize()


SHOP = database(
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO customers VALUES (1, 'Ann')"
)


async def test_an_imported_file_is_a_source_in_the_specifications_shape(sources: Stub, add: Add) -> None:
    source = await add(SALES, "sales.csv")
    metadata = source.pop("metadata")
    assert source.pop("importId")
    assert source == {"id": source["id"], "name": "sales", "type": "parquet", "status": "ready"}
    assert metadata.keys() == {"path", "size", "created", "lastAccessed", "tableCount", "rowCount"}
    assert (metadata["path"], metadata["size"]) == ("sales.csv", len(SALES))
    assert (metadata["tableCount"], metadata["rowCount"]) == (1, 3)
    schema = await sources.schema("sales")
    (table,) = schema["tables"]
    kinds = {column["name"]: column["type"] for column in table["columns"]}
    assert kinds == {
        "id": "BIGINT",
        "customer": "BIGINT",
        "amount": "DOUBLE",
        "code": "VARCHAR",
        "day": "DATE",
    }
    assert (schema["dialect"], table["rows"]) == ("duckdb", 3)


async def test_an_sqlite_file_is_a_source_at_once(sources: Stub, add: Add) -> None:
    source = await add(SHOP, "shop.db")
    assert (source["type"], source["status"], source["name"]) == ("sqlite", "ready", "shop")
    assert "importId" not in source
    assert (await sources.schema("shop"))["dialect"] == "sqlite"


async def test_names_are_made_free_and_given_ones_must_be(sources: Stub, add: Add) -> None:
    names = [(await add(SALES, "sales.csv"))["name"] for _ in range(3)]
    assert names == ["sales", "sales_2", "sales_3"]
    with pytest.raises(Conflict):
        await add(SALES, "sales.csv", name="SALES")
    assert (await add(SALES, "data.csv"))["name"] == "data_source"
    for taken in ("main", "", " ", "a\nb"):
        with pytest.raises(InputError):
            await add(SALES, "sales.csv", name=taken)
    assert (await sources.list_sources())["total"] == 4


async def test_sources_are_found_by_name_path_and_table(sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    await add(SHOP, "shop.db")
    for search, found in {
        "SAL": ["sales"],
        "custom": ["shop"],
        ".db": ["shop"],
        "zzz": [],
        "": ["sales", "shop"],
    }.items():
        listed = await sources.list_sources(search=search)
        assert [source["name"] for source in listed["sources"]] == found
        assert listed["total"] == len(found)
    assert (await sources.list_sources(type="sqlite"))["total"] == 1
    assert [s["name"] for s in (await sources.list_sources(limit=1, offset=1))["sources"]] == ["shop"]


async def test_a_source_is_renamed_and_known_by_the_new_name(sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    await add(SHOP, "shop.db")
    await sources.rename("sales", "Sales 2024")
    answer = await sources.query('SELECT count(*) AS n FROM "sales 2024"', source="Sales 2024")
    assert answer["rows"] == [{"n": 3}]
    with pytest.raises(NotFound, match="no source 'sales'"):
        await sources.get("sales")
    with pytest.raises(Conflict):
        await sources.rename("shop", "sales 2024")


async def test_a_deleted_source_leaves_no_file(host: Host, sources: Stub, add: Add) -> None:
    for content, name in ((SALES, "sales.csv"), (SHOP, "shop.db")):
        source = await add(content, name)
        assert (await sources.delete(source["id"]))["deleted"]
    folder = host.path_of(sources.address).with_suffix(".files")
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFound):
        await sources.delete("sales")


async def test_deleting_the_catalogue_removes_its_files(host: Host, sources: Stub, add: Add) -> None:
    await add(SALES, "sales.csv")
    folder = host.path_of(sources.address).with_suffix(".files")
    assert list(folder.iterdir())
    await host.delete(sources.address)
    assert not folder.exists()
    assert (await sources.list_sources())["total"] == 0


async def test_two_accounts_have_nothing_in_common(host: Host, sources: Stub, add: Add) -> None:
    source = await add(SALES, "sales.csv")
    other = host.namespace("sources", "somebody_else").get("default")
    assert (await other.list_sources())["total"] == 0
    for key in (source["id"], "sales"):
        with pytest.raises(NotFound):
            await other.query("SELECT * FROM sales", source=key)


async def test_a_catalogue_is_bounded(tmp_path: Path) -> None:
    limits = {"max_sources": 1}
    async with harness(tmp_path / "data", "actors.sources:SourcesActor", limits=limits) as host:
        stub = host.namespace("sources").get("default")
        for number in range(2):
            path = tmp_path / "shop.db"
            path.write_bytes(SHOP)
            upload = Upload(path, len(SHOP), "application/octet-stream", f"{number}.db")
            if number == 0:
                await stub.create(upload)
                continue
            with pytest.raises(LimitExceeded):
                await stub.create(upload)
        assert len(list((tmp_path / "data").rglob("*.files/*"))) == 1


@pytest.mark.parametrize(("flag", "calls"), [("new_data_sources", 2), ("parquet_import", 1)])
async def test_feature_flags_switch_sources_and_imports_off(tmp_path: Path, flag: str, calls: int) -> None:
    settings: dict[str, Any] = {flag: False}
    async with harness(tmp_path / "data", "actors.sources:SourcesActor", **settings) as host:
        stub = host.namespace("sources").get("default")
        path = tmp_path / "sales.csv"
        path.write_bytes(SALES)
        with pytest.raises(Forbidden, match="switched off") as refused:
            await stub.create(Upload(path, len(SALES), "text/csv", "sales.csv"))
        assert flag in str(refused.value.hint)
        if calls == 2:
            with pytest.raises(Forbidden):
                await stub.list_sources()
        else:
            assert (await stub.list_sources())["total"] == 0


async def test_types_lose_nothing(sources: Stub, add: Add) -> None:
    """What DuckDB's own reader would get wrong: leading zeros, codes, long numbers, a late change of type."""
    rows = [f"00{n},{n}E5,{10**19 + n},{n},{n}.50,true,{n}" for n in range(3_000)]
    rows.append("x,y,1,2,3.25,false,late")
    await add(("zip,code,long,n,price,ok,late\n" + "\n".join(rows) + "\n").encode(), "odd.csv")
    kinds = {c["name"]: c["type"] for c in (await sources.schema("odd"))["tables"][0]["columns"]}
    assert kinds == {
        "zip": "VARCHAR",
        "code": "VARCHAR",
        "long": "VARCHAR",
        "n": "BIGINT",
        "price": "DOUBLE",
        "ok": "BOOLEAN",
        "late": "VARCHAR",
    }
    answer = await sources.query("SELECT * FROM odd WHERE n = 7", source="odd", row_format="arrays")
    assert answer["rows"] == [["007", "7E5", str(10**19 + 7), 7, 7.5, True, "7"]]


async def test_each_sheet_of_a_workbook_is_a_table(tmp_path: Path, sources: Stub, add: Add) -> None:
    book = io.BytesIO()
    with xlsxwriter.Workbook(book, {"in_memory": True}) as workbook:
        for name, rows in {
            "North": [["id", "v"], [1, "a"]],
            "Süd 2": [["id", "w"], [1, 2.5], [2, 3]],
        }.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    await add(book.getvalue(), "regions.xlsx")
    tables = {table["name"]: table["rows"] for table in (await sources.schema("regions"))["tables"]}
    assert tables == {"North": 1, "Süd 2": 2}
    answer = await sources.query(
        'SELECT v, w FROM north JOIN regions."Süd 2" USING (id)', source="regions", row_format="arrays"
    )
    assert answer["rows"] == [["a", 2.5]]
    one = await add(book.getvalue(), "one.xlsx", options={"sheet": "Süd 2"})
    assert one["metadata"]["tableCount"] == 1


async def test_a_parquet_file_is_taken_as_it_is(tmp_path: Path, sources: Stub, add: Add) -> None:
    path = tmp_path / "made.parquet"
    with closing(duckdb.connect()) as raw:
        raw.execute(
            f"COPY (SELECT 1 AS a, [1, 2] AS l, {{'x': 1}} AS s, 1.5::DECIMAL(9, 2) AS d) TO '{path}' (FORMAT parquet)"
        )
    await add(path.read_bytes(), "made.parquet")
    answer = await sources.query("SELECT * FROM made", source="made")
    assert answer["rows"] == [{"a": 1, "l": [1, 2], "s": {"x": 1}, "d": 1.5}]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"PAR1" + b"\0" * 200, "bad.parquet"),
        (b"PK\x03\x04" + b"\0" * 200, "bad.xlsx"),
        (b"\0\0\0\0\0\0\0\0\0\0", "bad.csv"),
    ],
)
async def test_a_file_that_cannot_be_read_leaves_an_error_and_no_trace(
    host: Host, sources: Stub, add: Add, content: bytes, name: str
) -> None:
    source = await add(content, name)
    assert source["status"] == "error"
    assert source["error"]["detail"]
    assert str(host.settings.data) not in str(source["error"])
    assert list(host.path_of(sources.address).with_suffix(".files").iterdir()) == []
    with pytest.raises(Conflict, match="no data"):
        await sources.query("SELECT * FROM bad", source="bad")
    assert (await sources.delete("bad"))["deleted"]


async def test_a_file_sent_again_takes_the_place_of_one_that_could_not_be_read(
    sources: Stub, add: Add
) -> None:
    for given in ({}, {"name": "mended"}):
        await add(b"\0" * 10, "mended.csv")
        again = await add(SALES, "mended.csv", **given)
        assert (again["name"], again["status"]) == ("mended", "ready")
        assert (await sources.list_sources(search="mended"))["total"] == 1
        with pytest.raises(Conflict):
            await add(SALES, "mended.csv", name="mended")
        await sources.delete("mended")


async def test_unknown_options_are_refused_before_anything_is_kept(sources: Stub, add: Add) -> None:
    with pytest.raises(InputError, match="nosuch"):
        await add(SALES, "sales.csv", options={"nosuch": 1})
    assert (await sources.list_sources())["total"] == 0


async def test_progress_is_streamed_in_the_specifications_shape(
    tmp_path: Path, host: Host, sources: Stub
) -> None:
    content = b"a,b\n" + b"".join(b"%d,text %d\n" % (n, n) for n in range(60_000))
    path = tmp_path / "large.csv"
    path.write_bytes(content)
    source = await sources.create(Upload(path, len(content), "text/csv", "large.csv"))
    stream = await sources.watch_import(source["importId"])
    assert isinstance(stream, Download)
    assert stream.media_type.startswith("text/event-stream")
    text = b"".join([chunk async for chunk in stream.chunks]).decode()
    import orjson

    seen = [orjson.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    for item in seen:
        assert item["phase"] in ("parsing", "converting", "writing", "complete")
        assert item.keys() <= {"phase", "progress", "rowsProcessed", "totalRows", "estimatedTimeRemaining"}
        assert isinstance(item["progress"], int)
    percents = [item["progress"] for item in seen]
    assert percents == sorted(percents)
    assert seen[-1] == {
        "phase": "complete",
        "progress": 100,
        "rowsProcessed": 60_000,
        "totalRows": 60_000,
        "estimatedTimeRemaining": 0.0,
    }
    assert (await sources.import_progress(source["id"])) == seen[-1]
    again = await sources.watch_import(source["id"])
    assert b'"complete"' in b"".join([chunk async for chunk in again.chunks])
    with pytest.raises(NotFound):
        await sources.watch_import("nosuch")


async def test_a_failed_import_ends_its_stream_with_the_error(tmp_path: Path, sources: Stub) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 99)
    source = await sources.create(Upload(path, 103, "application/octet-stream", "bad.parquet"))
    stream = await sources.watch_import(source["importId"])
    text = b"".join([chunk async for chunk in stream.chunks])
    assert b'"error"' in text.splitlines()[-2]


async def test_a_cancelled_import_leaves_an_error_and_no_file(
    tmp_path: Path, host: Host, sources: Stub
) -> None:
    content = b"a,b\n" + b"1,2\n" * 500_000
    path = tmp_path / "large.csv"
    path.write_bytes(content)
    source = await sources.create(Upload(path, len(content), "text/csv", "large.csv"))
    assert (await sources.cancel_job(source["importId"])).state == "cancelled"
    left = await sources.get("large")
    assert (left["status"], left["error"]["code"]) == ("error", "cancelled")
    folder = host.path_of(sources.address).with_suffix(".files")
    await until(lambda: not list(folder.iterdir()))


async def test_a_live_import_follows_its_file(files: Path, host: Host, sources: Stub, ended: Ended) -> None:
    path = files / "live.csv"
    path.write_text("a,b\n1,x\n")
    source = await sources.live_import(str(path))
    assert source["type"] == "live-import"
    await ended(source["importId"])
    assert (await sources.query("SELECT * FROM live", source="live"))["row_count"] == 1
    path.write_text("a,b\n1,x\n2,y\n")
    answer = await sources.query("SELECT * FROM live", source="live")
    assert answer["row_count"] == 2, (
        "a query sees what the file holds, whether or not the change was reported"
    )
    path.write_text("a,b\n1,x\n2,y\n3,z\n")
    # Nobody asks: the watch has the file read again.
    async for event in host.events.listen(sources.id):
        ready = event.type == "source" and event.data.get("status") == "ready"
        if ready and (await sources.get("live"))["metadata"].get("rowCount") == 3:
            break
    path.unlink()
    with pytest.raises(NotFound, match="gone"):
        await sources.query("SELECT * FROM live", source="live")


async def test_a_live_file_that_changed_while_the_service_was_down_is_read_at_its_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "live.csv"
    path.write_text("a\n1\n")
    data, clock = tmp_path / "data", ManualClock()
    given = {"source_folders": (tmp_path,)}
    async with harness(data, "actors.sources:SourcesActor", clock=clock, **given) as host:
        stub = host.namespace("sources").get("default")
        await stub.live_import(str(path))
        assert (await stub.query("FROM live", source="live"))["row_count"] == 1
    path.write_text("a\n1\n2\n")
    later = ManualClock(clock.now() + 1_000)
    async with harness(data, "actors.sources:SourcesActor", clock=later, **given) as host:
        # Nobody calls: the alarm that the catalogue left behind is overdue.
        await until(lambda: host.services["sources"].imports["csv", "done"] == 1)
        await until(lambda: host.alarms.at_rest)
        stub = host.namespace("sources").get("default")
        assert (await stub.get("live"))["metadata"]["rowCount"] == 2


async def test_a_live_file_that_breaks_is_told_and_mends(files: Path, sources: Stub) -> None:
    path = files / "live.json"
    path.write_text('[{"a": 1}]')
    await sources.live_import(str(path), name="live")
    assert (await sources.query("FROM live", source="live"))["rows"] == [{"a": 1}]
    path.write_text('[{"a": 1')
    with pytest.raises(InputError, match="cannot be imported"):
        await sources.query("FROM live", source="live")
    assert (await sources.get("live"))["error"]["detail"]
    path.write_text('[{"a": 2}]')
    assert (await sources.query("FROM live", source="live"))["rows"] == [{"a": 2}]
    assert "error" not in await sources.get("live")


async def test_many_queries_of_a_changed_live_file_share_one_import(files: Path, sources: Stub) -> None:
    path = files / "live.csv"
    path.write_text("a\n1\n")
    await sources.live_import(str(path))
    await sources.query("FROM live", source="live")
    path.write_text("a\n1\n2\n")
    answers = await asyncio.gather(*(sources.query("FROM live", source="live") for _ in range(5)))
    assert [answer["row_count"] for answer in answers] == [2] * 5


async def test_refresh_reads_a_registered_file_again(files: Path, sources: Stub, ended: Ended) -> None:
    path = files / "once.csv"
    path.write_text("a\n1\n")
    source = await sources.register(str(path))
    await ended(source["importId"])
    path.write_text("a\n1\n2\n")
    assert (await sources.query("FROM once", source="once"))["row_count"] == 1
    await ended((await sources.refresh("once"))["importId"])
    assert (await sources.query("FROM once", source="once"))["row_count"] == 2
    with pytest.raises(InputError):
        await sources.live_import(str(make_shop(files)))


async def test_a_registered_sqlite_file_has_nothing_to_refresh(files: Path, sources: Stub) -> None:
    await sources.register(str(make_shop(files)))
    with pytest.raises(InputError, match="read where it lies"):
        await sources.refresh("shop")


def make_shop(files: Path) -> Path:
    path = files / "shop.db"
    path.write_bytes(SHOP)
    return path


async def test_paths_outside_the_open_folders_cannot_be_registered(
    tmp_path: Path, host: Host, sources: Stub
) -> None:
    (tmp_path / "outside.csv").write_text("a\n1\n")
    for path in (tmp_path / "outside.csv", host.settings.data / "directory.sqlite", Path("/etc/passwd")):
        for call in (sources.register, sources.live_import):
            with pytest.raises(Forbidden):
                await call(str(path))


async def test_what_a_crash_left_of_uploads_goes_at_the_next_start(tmp_path: Path) -> None:
    kinds = ("actors.sources:SourcesActor",)
    async with harness(tmp_path, *kinds) as host:
        stub = host.namespace("sources").get("default")
        await stub.list_sources()
        folder = host.path_of(stub.address).with_suffix(".files")
    folder.mkdir(exist_ok=True)
    for name in ("a-1.upload", "a-1.staging", "a-1.staging-journal", "a-1.parquet"):
        (folder / name).write_bytes(b"x")
    async with harness(tmp_path, *kinds):
        assert [path.name for path in folder.iterdir()] == ["a-1.parquet"]
