"""Data goes out as a file, CSV or NDJSON, and comes in from files that may be hostile."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Conflict, DuraliteError, InputError, LimitExceeded
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.streams import Download, Upload
from runtime.testing import harness
from tests.scratch import Scratch, column


async def body(download: Download) -> bytes:
    return b"".join([chunk async for chunk in download.chunks])


def make(path: Path, *statements: str | tuple[str, Any]) -> Upload:
    with closing(sqlite3.connect(path)) as raw:
        for statement in statements:
            if isinstance(statement, str):
                raw.execute(statement)
            else:
                raw.executemany(*statement)
        raw.commit()
    return Upload(path, path.stat().st_size, "application/vnd.sqlite3")


async def filled(scratch: Stub) -> Stub:
    await scratch.create_table("t", "id INTEGER PRIMARY KEY, v")
    await scratch.exec("CREATE INDEX by_v ON t (v)")
    await scratch.batch_insert(
        "t", [{"id": i, "v": v} for i, v in enumerate([1, 'a,"b"\n', b"\0\xff", None, 1.5, "é"])]
    )
    await scratch.save_state("k", {"a": 1})
    return scratch


async def test_an_exported_file_holds_what_the_user_made_and_nothing_of_the_runtime(
    scratch: Stub, tmp_path: Path
) -> None:
    await filled(scratch)
    download = await scratch.export()
    (tmp_path / "out.sqlite").write_bytes(await body(download))
    with closing(sqlite3.connect(tmp_path / "out.sqlite")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
        assert not [n for n in names if n.startswith("_duralite")]
        assert raw.execute("SELECT count(*) FROM t").fetchone() == (6,)
    assert download.filename == "one.sqlite"


async def test_rows_come_as_csv_and_ndjson(scratch: Stub) -> None:
    await filled(scratch)
    text = (await body(await scratch.export("csv", "SELECT * FROM t ORDER BY id"))).decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", "v"], ["0", "1"], ["1", 'a,"b"\n'], ["2", "AP8="], ["3", ""], ["4", "1.5"], ["5", "é"],
    ]  # fmt: skip
    lines = (await body(await scratch.export("ndjson", "SELECT v FROM t ORDER BY id"))).splitlines()
    assert [json.loads(line)["v"] for line in lines] == [1, 'a,"b"\n', {"$bytes": "AP8="}, None, 1.5, "é"]
    assert (await body(await scratch.export("csv", "SELECT 1 AS a WHERE 0"))) == b"a\r\n"


async def test_an_export_of_rows_has_no_row_limit_and_only_reads(scratch: Stub) -> None:
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000) SELECT i FROM n"
    assert (await body(await scratch.export("csv", sql))).count(b"\n") == 30_001
    await scratch.create_table("t", "a")
    for bad in ("DELETE FROM t", "SELECT nope", None):
        with pytest.raises(DuraliteError):
            await scratch.export("csv", bad)


@pytest.mark.parametrize("name", ["../../x", "a\r\nb: c", 'a"b', "é💥", "x" * 500])
async def test_a_filename_that_is_offered_is_harmless(host: Host, name: str) -> None:
    download = await host.namespace("scratch").get(name).export()
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in download.filename)
    assert len(download.filename) < 80
    await body(download)


async def test_exports_leave_no_files_behind(
    scratch: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    await filled(scratch)
    read = await scratch.export()
    await body(read)
    begun = await scratch.export()
    await anext(begun.chunks)
    await begun.chunks.aclose()
    never = await scratch.export()
    del never, begun, read
    with pytest.raises(DuraliteError):
        await scratch.export("csv", "SELECT nope")
    await scratch.clone("copy")
    assert list(folder.iterdir()) == []


async def test_a_file_comes_in_with_rows_indexes_and_keys_in_any_order(scratch: Stub, tmp_path: Path) -> None:
    upload = make(
        tmp_path / "in.sqlite",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent (id))",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, d GENERATED ALWAYS AS (id * 2))",
        "CREATE INDEX by_p ON child (p)",
        "CREATE VIEW v AS SELECT * FROM child",
        "CREATE TRIGGER tr AFTER INSERT ON child BEGIN DELETE FROM parent; END",
        "CREATE TABLE _hidden (a)",
        ("INSERT INTO child VALUES (?, ?)", [(i, i) for i in range(1200)]),
        ("INSERT INTO parent (id) VALUES (?)", [(i,) for i in range(1200)]),
    )
    answer = await scratch.import_file(upload)
    assert answer == {
        "tables": {"child": 1200, "parent": 1200},
        "rows": 2400,
        "skipped": ["_hidden", "tr", "v"],
    }
    assert await column(scratch, "SELECT sum(d) FROM parent") == [1200 * 1199]
    assert [i.name for i in (await scratch.describe("child")).indexes] == ["by_p"]
    with pytest.raises(DuraliteError):
        await scratch.exec("INSERT INTO child VALUES (5000, 5000)")


async def test_an_import_that_breaks_a_foreign_key_brings_nothing(scratch: Stub, tmp_path: Path) -> None:
    upload = make(
        tmp_path / "in.sqlite",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (p REFERENCES parent (id))",
        "INSERT INTO child VALUES (7)",
    )
    with pytest.raises(DuraliteError):
        await scratch.import_file(upload)
    assert await scratch.tables() == []


async def test_an_import_replaces_tables_only_when_told_to(scratch: Stub, tmp_path: Path) -> None:
    await scratch.create_table("t", "old")
    upload = make(tmp_path / "in.sqlite", "CREATE TABLE t (new)", "INSERT INTO t VALUES (1)")
    with pytest.raises(DuraliteError):
        await scratch.import_file(upload)
    assert [c.name for c in (await scratch.describe("t")).columns] == ["old"]
    await scratch.import_file(upload, replace=True)
    assert [c.name for c in (await scratch.describe("t")).columns] == ["new"]


def torn(data: bytes) -> bytes:
    return data[:8192] + bytes(len(data) - 8192)


@pytest.mark.parametrize(
    "spoil",
    [
        torn,
        lambda d: d[:5000],
        lambda d: d[:100],
        lambda d: b"",
        lambda d: b"PK" + d,
        lambda d: d[:30] + b"\xff" * 60 + d[90:],
    ],
)
async def test_a_damaged_file_is_refused_and_changes_nothing(
    scratch: Stub, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    await filled(scratch)
    path = tmp_path / "in.sqlite"
    make(path, "CREATE TABLE x (a)", ("INSERT INTO x VALUES (?)", [("v" * 100,) for _ in range(5000)]))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError):
        await scratch.import_file(Upload(path, path.stat().st_size, ""))
    assert [t.name for t in await scratch.tables()] == ["t"]


async def test_a_file_with_a_value_too_long_is_refused(scratch: Stub, tmp_path: Path) -> None:
    upload = make(tmp_path / "in.sqlite", "CREATE TABLE x (a)", "INSERT INTO x VALUES (zeroblob(30000000))")
    with pytest.raises(LimitExceeded) as refused:
        await scratch.import_file(upload)
    assert refused.value.limit == "max_value_bytes"


async def test_what_runs_inside_a_hostile_file_ends_by_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "in.sqlite"
    sleepy = "length(replace(hex(zeroblob(200000)), '00', a)) >= 0"
    upload = make(path, "CREATE TABLE x (a)", ("INSERT INTO x VALUES (?)", [("v",) for _ in range(20_000)]))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute("UPDATE sqlite_master SET sql = ?", (f"CREATE TABLE x (a CHECK ({sleepy}))",))
        raw.commit()
    async with harness(tmp_path / "data", Scratch, limits=Limits(call_s=0.3)) as host:
        started = time.monotonic()
        with pytest.raises(DuraliteError):
            await host.namespace("scratch").get("one").import_file(upload)
        assert time.monotonic() - started < 20, "a hang guard, not a measure"
        assert await host.namespace("scratch").get("one").tables() == []


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE x (a, b AS (load_extension('x')))",
        "CREATE TABLE x (a CHECK (writefile('/tmp/x', a)))",
        "CREATE TABLE x (a DEFAULT (readfile('/etc/passwd')))",
        "CREATE TABLE session_state (key, value)",
        "CREATE TABLE _duralite_meta (key, value)",
    ],
)
async def test_a_hostile_schema_gets_the_rights_of_a_user_only(
    scratch: Stub, tmp_path: Path, schema: str
) -> None:
    await scratch.save_state("k", "mine")
    path = tmp_path / "in.sqlite"
    upload = make(path, "CREATE TABLE x (a)", "INSERT INTO x VALUES ('k')")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA writable_schema=ON")
        name = schema.split()[2]
        raw.execute("UPDATE sqlite_master SET sql = ?, name = ?, tbl_name = ?", (schema, name, name))
        raw.commit()
    try:
        await scratch.import_file(upload)
    except DuraliteError as refused:
        assert refused.status < 500
    assert (await scratch.get_state("k"))["value"] == "mine"
    assert len(await scratch.list_state()) == 1


async def test_a_clone_is_a_session_of_its_own(host: Host, scratch: Stub) -> None:
    await filled(scratch)
    assert await scratch.clone("copy") == {"type": scratch.address.type, "name": "copy", "cloned_from": "one"}
    copy = host.namespace("scratch").get("copy")
    await scratch.exec("DELETE FROM t")
    await scratch.save_state("k", "changed")
    assert await column(copy, "SELECT count(*) FROM t") == [6]
    assert (await copy.get_state("k"))["value"] == {"a": 1}
    assert await copy.execution_logs() != []
    assert {r.address.name for r in await host.directory.find("scratch", "local")} == {"one", "copy"}
    await host.delete(scratch.address)
    assert await column(copy, "SELECT count(*) FROM t") == [6]


@pytest.mark.parametrize("name", ["one", "taken", "", "x" * 2000])
async def test_a_clone_needs_a_free_name(host: Host, scratch: Stub, name: str) -> None:
    await host.namespace("scratch").get("taken").save_state("k", 1)
    with pytest.raises((Conflict, InputError)):
        await scratch.clone(name)
    assert (await host.namespace("scratch").get("taken").get_state("k"))["found"]
