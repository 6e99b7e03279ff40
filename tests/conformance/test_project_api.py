"""Every HTTP shape that project-database.md names, on a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.project import ProjectActor
from runtime.gateway.testing import live_server

ROWS = b"name,age,joined,active\nJohn,30,2024-01-01,true\nJane,25,2024-02-01,false\nAnn,,2024-03-01,true\n"
STEPS = [
    {"type": "uppercase", "config": {"columns": ["name"]}},
    {"type": "filter", "config": {"column": "active", "operator": "equals", "value": True, "mode": "keep"}},
    {"type": "rename_column", "config": {"oldName": "age", "newName": "years"}},
]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with one project, `people`."""
    async with (
        live_server(tmp_path / "data", ProjectActor) as server,
        httpx.AsyncClient(base_url=f"{server.url}/api/projects/people", timeout=30) as client,
    ):
        answer = await client.post("/parse", content=ROWS, headers={"content-type": "text/csv"})
        assert answer.status_code == 200, answer.text
        yield client


async def got(answer: Any) -> Any:
    response: httpx.Response = await answer
    assert response.status_code == 200, response.text
    return response.json()


async def test_parse_returns_column_metadata(api: httpx.AsyncClient) -> None:
    """Phase 2: store the parsed data, return the columns."""
    answer = await got(
        api.post("/parse", content=ROWS, params={"options": '{"hasHeaders": true, "endRow": 3}'})
    )
    assert answer["rowCount"] == 2
    assert [(c["name"], c["type"]) for c in answer["columns"]] == [
        ("name", "string"),
        ("age", "number"),
        ("joined", "date"),
        ("active", "boolean"),
    ]
    assert {"null_count", "sample_values", "min_value", "max_value"} <= set(answer["columns"][0])
    assert answer["config"]["end_row"] == 3


async def test_data_has_the_shape_of_the_specification(api: httpx.AsyncClient) -> None:
    """Phase 3 and API Response Format: GET /data?limit=100&offset=0."""
    page = await got(api.get("/data", params={"limit": 2, "offset": 0}))
    assert page == {
        "data": [
            {"name": "John", "age": 30, "joined": "2024-01-01", "active": True},
            {"name": "Jane", "age": 25, "joined": "2024-02-01", "active": False},
        ],
        "columns": [
            {"name": "name", "type": "string"},
            {"name": "age", "type": "number"},
            {"name": "joined", "type": "date"},
            {"name": "active", "type": "boolean"},
        ],
        "pagination": {"offset": 0, "limit": 2, "total": 3, "next": page["pagination"]["next"]},
    }
    last = await got(api.get("/data", params={"limit": 2, "cursor": page["pagination"]["next"]}))
    assert last["data"] == [{"name": "Ann", "age": None, "joined": "2024-03-01", "active": True}]
    assert last["pagination"] == {"offset": 2, "limit": 2, "total": 3, "next": None}
    usual = await got(api.get("/data"))
    assert (usual["pagination"]["limit"], usual["pagination"]["offset"]) == (100, 0)


async def test_columns_tell_names_types_and_statistics(api: httpx.AsyncClient) -> None:
    """Phase 3: GET /columns."""
    age = (await got(api.get("/columns")))["columns"][1]
    assert (age["name"], age["type"], age["null_count"]) == ("age", "number", 1)
    assert (age["min_value"], age["max_value"], age["sample_values"]) == (25, 30, [30, 25])


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "random", "n": 2},
        {"kind": "distribution", "column": "active"},
        {"kind": "stats", "column": "age"},
        {"kind": "search", "column": "name", "pattern": "J*"},
        {"kind": "range", "startRow": 1, "endRow": 2},
        {"kind": "nulls"},
        {"kind": "duplicates", "columns": ["active"]},
        {"kind": "outliers", "column": "age"},
    ],
    ids=lambda body: body["kind"],
)
async def test_every_kind_of_sample_has_one_shape(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Phase 7: POST /sample; rows by column, the count, and the SELECT."""
    sample = await got(api.post("/sample", json=body))
    assert sample["kind"] == body["kind"]
    assert sample["row_count"] == len(sample["rows"])
    assert all(set(row) <= set(sample["columns"]) for row in sample["rows"])
    assert sample["sql"].startswith("SELECT")


async def test_a_question_says_what_was_understood(api: httpx.AsyncClient) -> None:
    """Phase 7: parse natural language, execute the query, return the rows; else the nearest forms."""
    answer = await got(api.post("/ask", json={"question": "average age by active"}))
    assert answer["rows"] == [
        {"active": False, "average of age": 25.0, "rows": 1},
        {"active": True, "average of age": 30.0, "rows": 2},
    ]
    assert answer["understood"]
    refused = await api.post("/ask", json={"question": "tell me a story"})
    assert refused.status_code == 422
    assert refused.json()["forms"]


async def test_execute_stores_and_tells_what_it_did(api: httpx.AsyncClient) -> None:
    """Phase 4: POST /pipelines/{pipelineId}/execute with a steps array."""
    answer = await got(api.post("/pipelines/clean/execute", json={"steps": STEPS}))
    assert (answer["pipelineId"], answer["state"], answer["rowCount"], answer["warnings"]) == (
        "clean",
        "done",
        2,
        [],
    )
    stored = await got(api.get("/data", params={"pipeline": "clean"}))
    assert [row["years"] for row in stored["data"]] == [30, None]
    again = await got(api.post("/pipelines/clean/execute"))
    assert again["rowCount"] == 2
    wrong = await api.post(
        "/pipelines/clean/execute", json={"steps": [{"type": "trim", "config": {"columns": ["nam"]}}]}
    )
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["step"]) == (422, "invalid_step", 1)


async def test_preview_stops_after_a_step(api: httpx.AsyncClient) -> None:
    """Phase 4: GET /pipelines/{pipelineId}/preview?upToStep=1, at most 100 rows, nothing stored."""
    assert (await api.put("/pipelines/clean", json={"steps": STEPS, "title": "Clean"})).status_code == 200
    page = await got(api.get("/pipelines/clean/preview", params={"upToStep": 1}))
    assert [row["name"] for row in page["data"]] == ["JOHN", "JANE", "ANN"]
    assert page["columns"][0] == {"name": "name", "type": "string"}
    given = await got(api.get("/pipelines/draft/preview", params={"steps": json.dumps(STEPS), "upToStep": 2}))
    assert len(given["data"]) == 2
    assert (await api.get("/data", params={"pipeline": "clean"})).status_code == 404
    assert (await api.get("/pipelines/clean/preview", params={"upToStep": 9})).status_code == 422


async def test_export_is_a_file_to_download(api: httpx.AsyncClient) -> None:
    """Phase 6: GET /pipelines/{pipelineId}/export executes the pipeline and streams CSV with its headers."""
    await api.put("/pipelines/clean", json={"steps": STEPS})
    answer = await api.get("/pipelines/clean/export")
    assert answer.text == "name,years,joined,active\r\nJOHN,30,2024-01-01,true\r\nANN,,2024-03-01,true\r\n"
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="clean.csv"' in answer.headers["content-disposition"]
    whole = await api.get("/export", params={"format": "ndjson"})
    assert json.loads(whole.text.splitlines()[0])["active"] is True
    assert (await api.get("/export", params={"format": "docx"})).status_code == 422


async def test_pipelines_are_saved_listed_read_and_deleted(api: httpx.AsyncClient) -> None:
    """By the same paths; what is read can be sent again."""
    await api.put("/pipelines/clean", json={"steps": STEPS})
    document = (await got(api.get("/pipelines/clean")))["document"]
    await got(api.put("/pipelines/copy", json={"steps": document}))
    assert [p["id"] for p in await got(api.get("/pipelines"))] == ["clean", "copy"]
    assert await got(api.request("DELETE", "/pipelines/copy")) == {"deleted": True}
    assert (await api.get("/pipelines/copy")).status_code == 404


async def test_an_import_is_a_job_that_can_be_followed_and_cancelled(api: httpx.AsyncClient) -> None:
    """Its record is the one shape of all jobs; one that ended stays as it is."""
    job = await got(api.post("/import", content=ROWS))
    assert (job["kind"], job["state"]) == ("import", "running")
    while (record := await got(api.get(f"/jobs/{job['id']}")))["state"] == "running":
        pass
    assert (record["state"], record["result"]["rowCount"]) == ("done", 3)
    assert await got(api.request("DELETE", f"/jobs/{job['id']}")) == record
    assert [j["id"] for j in await got(api.get("/jobs", params={"limit": 1}))] == [job["id"]]


async def test_paths_that_are_not_there_and_verbs_that_are_not_answered(api: httpx.AsyncClient) -> None:
    """One error shape for all."""
    for verb, path, status in (
        ("POST", "/data", 405),
        ("GET", "/sample", 405),
        ("GET", "/nothing", 404),
        ("GET", "/pipelines/none", 404),
        ("GET", "/data?limit=0", 422),
        ("GET", "/data?colour=red", 422),
        ("POST", "/parse", 422),
    ):
        answer = await api.request(verb, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
            path
        )
        assert {"type", "title", "status", "detail", "code", "request_id"} <= set(answer.json())


async def test_a_file_over_the_limit_is_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    """413, before the body is read where its length is told; and nothing of it stays."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"1\n"

    data = tmp_path / "data"
    async with (
        live_server(data, ProjectActor, limits={"max_upload_bytes": 10_000}) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for body in (b"a\n" + b"1\n" * 10_000, pieces()):
            answer = await client.post("/api/projects/p/import", content=body)
            assert (answer.status_code, answer.json()["limit"]) == (413, "max_upload_bytes")
        assert list((data / "tmp").iterdir()) == []
