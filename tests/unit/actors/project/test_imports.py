"""Imports: whole or not at all, one at a time, and nothing left lying about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.project import ProjectActor
from runtime.clock import SystemClock
from runtime.errors import Conflict, Forbidden, InputError, NotFound, PayloadTooLarge, Unavailable
from runtime.host import Host
from runtime.namespace import Stub
from runtime.streams import Upload
from runtime.testing import harness
from tests.unit.actors.project.parts import Quiet

Import = Callable[..., Awaitable[Any]]
ROWS = "".join(f"{i},name {i},{i / 7:.3f}\n" for i in range(20_000))


def left(host: Host) -> list[str]:
    """Return what lies in the folder for temporary files."""
    folder = host.settings.data / "tmp"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) if folder.exists() else []


def upload(tmp_path: Path, content: bytes, name: str = "u.csv") -> Upload:
    path = tmp_path / f"upload-{name}"
    path.write_bytes(content)
    return Upload(path, len(content), "text/csv", name)


async def test_an_upload_is_imported_as_a_job(host: Host, project: Stub, tmp_path: Path) -> None:
    """Its record comes back at once; the rows are there when it is done."""
    record = await project.import_file(upload(tmp_path, b"a;b\n1;x\n"))
    assert (record.kind, record.state) == ("import", "running")
    done = await _ended(project, record.id)
    assert (done.state, done.result["rowCount"], done.result["filename"]) == ("done", 1, "u.csv")
    assert done.result["config"]["delimiter"] == ";"
    assert left(host) == []


async def _ended(project: Stub, job: str) -> Any:
    async with asyncio.timeout(60):
        while (record := await project.get_job(job)).state == "running":
            await asyncio.sleep(0.01)
    return record


async def test_parse_answers_with_the_columns(project: Stub, tmp_path: Path) -> None:
    """project-database.md, Phase 2: return column metadata."""
    answer = await project.parse(upload(tmp_path, b"a,b\n1,x\n"), options='{"types": {"a": "text"}}')
    assert [(c["name"], c["type"]) for c in answer["columns"]] == [("a", "string"), ("b", "string")]
    assert answer["rowCount"] == 1


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 10], ids=["empty", "binary"])
async def test_a_file_that_cannot_be_read_leaves_no_trace(
    host: Host, sales: Stub, tmp_path: Path, content: bytes
) -> None:
    """One clear error, the old data, no temporary file, no table."""
    with pytest.raises(InputError):
        await sales.parse(upload(tmp_path, content))
    assert left(host) == []
    assert (await sales.data()).pagination.total == 6
    assert await _tables(host, sales) == 1


async def _tables(host: Host, project: Stub) -> int:
    instance = await host.acquire(project.address)
    assert instance is not None
    sql = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name GLOB '_duralite_d[0-9]*'"
    (count,) = await instance.connection.run(lambda tx: tx.one(sql), read_only=True)  # type: ignore[misc]
    return int(count)


async def test_wrong_options_are_refused_before_anything_happens(project: Stub, tmp_path: Path) -> None:
    """With the options that there are."""
    with pytest.raises(InputError) as caught:
        await project.import_file(upload(tmp_path, b"a\n1\n"), options={"delimter": ";"})
    assert "delimiter" in str(caught.value.hint)
    assert await project.list_jobs() == []


async def test_readers_see_the_old_data_or_the_new(host: Host, sales: Stub, tmp_path: Path) -> None:
    """While a large file comes in, every page is of one of the two, whole."""
    file = tmp_path / "big.csv"
    file.write_text("i,name,v\n" + ROWS)
    record = await sales.import_path(str(file))
    seen = set()
    while (await sales.get_job(record.id)).state == "running":
        page = await sales.data(limit=1)
        seen.add((page.pagination.total, tuple(c.name for c in page.columns)))
    assert seen <= {(6, ("city", "amount", "paid", "day")), (20_000, ("i", "name", "v"))}
    assert (await sales.data(limit=1)).pagination.total == 20_000
    assert await _tables(host, sales) == 1


async def test_one_import_at_a_time(project: Stub, tmp_path: Path) -> None:
    """A second one is refused, not queued in secret; after the first it may come."""
    file = tmp_path / "big.csv"
    file.write_text("i,name,v\n" + ROWS)
    record = await project.import_path(str(file))
    with pytest.raises(Conflict):
        await project.import_path(str(file))
    assert (await _ended(project, record.id)).state == "done"
    assert (await project.import_path(str(file), wait=True)).state == "done"


async def test_a_cancelled_import_leaves_what_was(host: Host, sales: Stub, tmp_path: Path) -> None:
    """The worker is ended, the temporary files are gone, another import may begin."""
    file = tmp_path / "big.csv"
    file.write_text("i,name,v\n" + ROWS * 10)
    record = await sales.import_path(str(file))
    assert (await sales.cancel_job(record.id)).state == "cancelled"
    assert left(host) == []
    assert (await sales.data()).pagination.total == 6
    assert (await sales.import_path(str(file), wait=True)).state == "done"


async def test_what_a_crash_left_half_filled_is_gone_at_the_next_opening(tmp_path: Path) -> None:
    """And its number in the catalogue too."""
    async with harness(tmp_path / "data", Quiet, clock=SystemClock()) as host:
        project = host.namespace("project").get("p")
        instance = await host.acquire(project.address)
        assert instance is not None

        def half(tx: Any) -> None:
            tx.execute("INSERT INTO main._duralite_datasets (state, created) VALUES ('filling', 0)")
            tx.execute("CREATE TABLE main._duralite_d1 (row_id INTEGER PRIMARY KEY, c0)")

        await instance.connection.run(half)
    async with harness(tmp_path / "data", Quiet, clock=SystemClock()) as host:
        project = host.namespace("project").get("p")
        assert await _tables(host, project) == 0
        file = tmp_path / "x.csv"
        file.write_text("a\n1\n")
        assert (await project.import_path(str(file), wait=True)).state == "done"


async def test_views_that_were_dropped_come_back_at_the_next_opening(tmp_path: Path) -> None:
    """They belong to the project, whatever its user's SQL did."""
    async with harness(tmp_path / "data", Quiet, clock=SystemClock()) as host:
        project = host.namespace("project").get("p")
        file = tmp_path / "x.csv"
        file.write_text("a\n1\n")
        await project.import_path(str(file), wait=True)
        await project.exec("DROP VIEW raw_data")
        await project.exec("DROP VIEW columns")
    async with harness(tmp_path / "data", Quiet, clock=SystemClock()) as host:
        project = host.namespace("project").get("p")
        assert (await project.query("SELECT data FROM raw_data")).rows == [{"data": '{"a":1}'}]


async def test_the_original_can_be_parsed_again(host: Host, project: Stub, tmp_path: Path) -> None:
    """With other options, without being sent again; it is deleted with the project."""
    with pytest.raises(NotFound):
        await project.parse_again()
    await project.parse(upload(tmp_path, b"007,x\n008,y\n"))
    job = await project.parse_again(options={"header": False}, wait=True)
    assert job.result["rowCount"] == 2
    assert (await project.data(limit=1)).data == [{"column_1": "007", "column_2": "x"}]
    assert (await project.overview())["data"]["filename"] == "u.csv"
    path = host.path_of(project.address)
    assert len(list(path.parent.glob(f"{path.stem}*"))) > 1
    await host.delete(project.address)
    assert list(path.parent.glob(f"{path.stem}*")) == []


async def test_an_original_over_the_limit_is_not_kept(tmp_path: Path) -> None:
    """Nor is one from before, which is not the project's data any more."""
    limits = {"max_original_bytes": 100}
    async with harness(tmp_path / "d", Quiet, clock=SystemClock(), limits=limits) as host:
        project = host.namespace("project").get("p")
        await project.parse(upload(tmp_path, b"a\n1\n"))
        await project.parse(upload(tmp_path, b"a\n" + b"1\n" * 200))
        with pytest.raises(NotFound):
            await project.parse_again()


async def test_a_preview_imports_nothing(project: Stub, tmp_path: Path) -> None:
    """It tells what an import would find."""
    found = await project.preview_file(upload(tmp_path, b"\xef\xbb\xbfa;b\n1;x\n2;y\n"), rows=1)
    assert (found["dialect"]["delimiter"], found["rows"]) == (";", [[1, "x"]])
    assert [c["type"] for c in found["columns"]] == ["number", "string"]
    with pytest.raises(NotFound):
        await project.data()


async def test_a_preview_shows_booleans_as_the_data_will(project: Stub, tmp_path: Path) -> None:
    found = await project.preview_file(upload(tmp_path, b"name,paid\nann,true\nbob,false\n"))
    assert found["rows"] == [["ann", True], ["bob", False]]


async def test_types_that_fit_no_row_are_told_with_the_first_reason(project: Stub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"None of the 2 rows .*line 2: Column 'name': 'ann'"):
        await project.parse(upload(tmp_path, b"name\nann\nbob\n"), options={"types": {"name": "integer"}})


async def test_a_type_for_a_column_that_is_not_there_is_told(project: Stub, tmp_path: Path) -> None:
    done = await project.parse(upload(tmp_path, b"name\nann\n"), options={"types": {"nme": "integer"}})
    assert done["warnings"] == ["There is no column 'nme' to give a type."]


# By URL


@asynccontextmanager
async def web(answer: bytes, *more: bytes) -> AsyncIterator[int]:
    """A web server on loopback that gives these answers, one a connection, and its port."""
    answers = iter((answer, *more))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers, b""))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


@asynccontextmanager
async def fetching(tmp_path: Path, *hosts: str, **limits: Any) -> AsyncIterator[Stub]:
    async with harness(
        tmp_path / "data", Quiet, clock=SystemClock(), import_hosts=hosts, limits=limits
    ) as host:
        yield host.namespace("project").get("p")
        assert left(host) == []


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"a,b\n1,2\n", b"Content-Length: 8"),
        ok(b"a,b\n1,2\n"),
        ok(b"4\r\na,b\n\r\n4\r\n1,2\n\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
    ],
    ids=["length", "to the end", "chunked"],
)
async def test_a_file_is_fetched_from_an_allowed_host(tmp_path: Path, answer: bytes) -> None:
    """However the host tells where it ends."""
    async with fetching(tmp_path, "127.0.0.1") as project, web(answer) as port:
        job = await project.import_url(f"http://127.0.0.1:{port}/some/sales%20of%20may.csv?x=1", wait=True)
        assert (job.state, job.result["rowCount"]) == ("done", 1)
        assert job.result["filename"] == "sales of may.csv"


async def test_a_host_that_is_not_allowed_is_not_asked(tmp_path: Path) -> None:
    """None is, unless the operator says so; nor is a URL with a password taken."""
    async with fetching(tmp_path, "files.example.com") as project:
        for url in ("http://127.0.0.1/x", "http://169.254.169.254/latest", "https://example.com/x"):
            with pytest.raises(Forbidden):
                await project.import_url(url)
        for url in ("file:///etc/passwd", "ftp://files.example.com/x", "http://me:pw@files.example.com/"):
            with pytest.raises(InputError):
                await project.import_url(url)


@pytest.mark.parametrize(
    ("answer", "limits", "error"),
    [
        (ok(b"x" * 3_000), {"max_upload_bytes": 1_024}, PayloadTooLarge),
        (ok(b"", b"Content-Length: 99999999"), {"max_upload_bytes": 1_024}, PayloadTooLarge),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", {}, InputError),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", {}, Forbidden),
        (ok(b"a,b", b"Content-Length: 50"), {}, Unavailable),
        (ok(b"\x1f\x8b", b"Content-Encoding: gzip"), {}, InputError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", {}, InputError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000, {}, InputError),
        (b"", {}, Unavailable),
    ],
    ids=[
        "too long",
        "says too long",
        "404",
        "elsewhere",
        "broken off",
        "packed",
        "no http",
        "endless head",
        "nothing",
    ],
)
async def test_what_goes_wrong_on_the_way_is_the_jobs_error(
    tmp_path: Path, answer: bytes, limits: Any, error: type[Exception]
) -> None:
    """Told with its reason; nothing of the file stays."""
    async with fetching(tmp_path, "127.0.0.1", **limits) as project, web(answer) as port:
        job = await project.import_url(f"http://127.0.0.1:{port}/x", wait=True)
        assert job.state == "failed"
        assert job.error["code"] == error.code  # type: ignore[attr-defined]


async def test_a_redirect_within_the_host_is_followed(tmp_path: Path) -> None:
    """Once more with the whole check."""
    moved = b"HTTP/1.1 301 Moved\r\nLocation: /there.csv\r\n\r\n"
    async with fetching(tmp_path, "127.0.0.1") as project, web(moved, ok(b"a\n1\n")) as port:
        job = await project.import_url(f"http://127.0.0.1:{port}/x", wait=True)
        assert (job.state, job.result["filename"]) == ("done", "there.csv")


async def test_a_project_deleted_in_the_middle_of_an_import_leaves_nothing(
    host: Host, project: Stub, tmp_path: Path
) -> None:
    """Neither the file, nor what the worker was writing; the name is free."""
    file = tmp_path / "big.csv"
    file.write_text("i,name,v\n" + ROWS * 10)
    await project.import_path(str(file))
    assert await host.delete(project.address)
    assert left(host) == []
    path = host.path_of(project.address)
    assert list(path.parent.glob(f"{path.stem}*")) == []
    await project.save_state("k", 1)
    assert await project.list_jobs() == []


async def test_an_import_that_is_given_up_before_it_began_leaves_nothing(
    host: Host, project: Stub, tmp_path: Path
) -> None:
    """A project that is deleted in the moment in which its job is made."""
    file = tmp_path / "x.csv"
    file.write_text("a\n1\n")
    for turns in range(12):
        begun = asyncio.ensure_future(project.import_path(str(file)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await host.delete(project.address)
        await asyncio.gather(begun, return_exceptions=True)
        await host.delete(project.address)
    assert left(host) == []


async def test_a_service_that_ends_in_the_middle_of_an_import_says_so_afterwards(tmp_path: Path) -> None:
    """The job is not left running, and the next import may begin."""
    file = tmp_path / "big.csv"
    file.write_text("i,name,v\n" + ROWS * 10)
    limits = {"drain_s": 0.05}
    async with harness(tmp_path / "d", Quiet, clock=SystemClock(), limits=limits) as host:
        record = await host.namespace("project").get("p").import_path(str(file))
    assert list((tmp_path / "d" / "tmp").iterdir()) == []
    async with harness(tmp_path / "d", Quiet, clock=SystemClock()) as host:
        project = host.namespace("project").get("p")
        job = await project.get_job(record.id)
        assert (job.state, job.error["code"]) == ("failed", "interrupted")
        assert (await project.import_path(str(file), wait=True)).state == "done"


async def test_files_that_a_crash_left_are_gone_at_the_next_start(tmp_path: Path) -> None:
    """Also where no gateway runs, which empties the whole folder."""
    for kind in ("import", "pipeline", "export"):
        folder = tmp_path / "d" / "tmp" / f"{kind}-abc"
        folder.mkdir(parents=True)
        (folder / "staging.sqlite").write_bytes(b"half")
    async with harness(tmp_path / "d", ProjectActor, clock=SystemClock()):
        assert list((tmp_path / "d" / "tmp").iterdir()) == []
