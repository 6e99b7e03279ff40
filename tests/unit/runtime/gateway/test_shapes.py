"""Every route obeys one error shape and one page shape; every metric, error and route is documented."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from runtime.gateway.metrics import METRICS
from runtime.gateway.schemas import error_classes
from runtime.gateway.testing import LiveServer
from runtime.host import Host
from runtime.idempotency import Once

MEMBERS = {"type", "title", "status", "detail", "code", "hint", "instance", "request_id"}
VERBS = ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE")


async def test_every_route_refuses_in_the_one_error_shape(client: httpx.AsyncClient) -> None:
    """Each path of the OpenAPI document, with each HTTP method, without what it needs."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    seen = 0
    for template, item in paths.items():
        if template.endswith("/broken"):
            continue  # it is there to fail
        path = template.replace("{name}", "absent").replace("{id}", "absent")
        for verb in VERBS:
            answer = await client.request(verb, path, content=b"" if verb in ("GET", "DELETE") else b"[1]")
            if answer.status_code < 300:
                assert verb.lower() in item, (verb, path)
                continue
            seen += 1
            body = answer.json()
            assert answer.headers["content-type"] == "application/problem+json", (verb, path)
            assert body.keys() >= MEMBERS, (verb, path, body)
            assert body["status"] == answer.status_code < 500
            assert body["type"] == f"/docs/errors#{body['code']}"
            assert body["instance"] == path
            if verb.lower() not in item:
                assert answer.status_code == 405, (verb, path, body)
                assert verb not in answer.headers["allow"]
    assert seen > 100


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/keys"])
async def test_every_list_has_the_one_page_shape(client: httpx.AsyncClient, path: str) -> None:
    for i in range(5):
        await client.post(f"/v1/notes/n%2F{i}%20%26/add", json={"text": "x"})
        await client.post("/v1/keys", json={})
    url: str | None = f"{path}?limit=2"
    sizes, found = [], []
    while url is not None:
        page = await client.get(url)
        body = page.json()
        assert body.keys() == {"items", "next", "next_url"}
        sizes.append(len(body["items"]))
        found += [str(item) for item in body["items"]]
        url = body["next_url"]
        assert ("link" in page.headers) is (url is not None) is (body["next"] is not None)
        if url is not None:
            assert page.headers["link"] == f'<{url}>; rel="next"'
    assert sizes == [2, 2, 1]
    assert len(set(found)) == 5


async def test_a_list_can_be_searched_page_by_page(client: httpx.AsyncClient) -> None:
    for name in ("Apple", "pineapple", "pear", "apple pie"):
        await client.post(f"/v1/notes/{name}/add", json={"text": "x"})
    url: str | None = "/v1/notes?q=apple&limit=1"
    names = []
    while url is not None:
        body = (await client.get(url)).json()
        names += [item["name"] for item in body["items"]]
        url = body["next_url"]
    assert names == ["Apple", "apple pie", "pineapple"]


async def test_facts_tell_times_as_rfc_3339(client: httpx.AsyncClient) -> None:
    await client.post("/v1/notes/a/add", json={"text": "x"})
    facts = (await client.get("/v1/notes/a")).json()
    assert facts.keys() == {
        "type",
        "name",
        "id",
        "created",
        "last_used",
        "size_bytes",
        "pinned",
        "next_alarm",
        "live",
    }
    for key in ("created", "last_used", "next_alarm"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts[key])
    assert facts["live"] is True


async def test_the_index_lists_types_and_public_methods(client: httpx.AsyncClient) -> None:
    types = (await client.get("/v1")).json()["types"]
    assert types["notes"]["methods"]["query"]["read_only"] is True
    assert "hidden" not in types["notes"]["methods"]


async def test_the_document_names_every_public_method(client: httpx.AsyncClient, notes: Any) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for spec in notes.methods.values():
        path = document["paths"].get(f"/v1/notes/{{name}}/{spec.name}")
        assert (path is not None) is spec.public
        if path is not None:
            assert path["post"]["summary"] == spec.summary
            assert ("get" in path) is spec.read_only
    text = (await client.get("/openapi.json")).text
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"], reference


async def test_the_pages_for_people_need_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/docs/errors"):
        page = await client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "<script" not in page.text
        assert not re.search(r'(?:src|href)="https?:', page.text)
    for cls in error_classes():
        assert f'id="{cls.code}"' in page.text


async def test_metrics_are_documented_and_their_labels_bounded(client: httpx.AsyncClient) -> None:
    await client.post("/v1/notes/a/add", json={"text": "x"})
    await client.post("/v1/notes/a/exec", json={"sql": "ATTACH 'x' AS y"})
    for i in range(20):
        await client.post(f"/v1/evil{i}/a/evil{i}", json={})
        await client.get(f"/evil{i}")
    text = (await client.get("/metrics")).text
    assert "evil" not in text
    families = set(re.findall(r"# TYPE (\S+)", text))
    assert families <= set(METRICS), families - set(METRICS)
    assert 'duralite_requests_total{method="add",status="2xx",type="notes"} 1.0' in text
    assert re.search(r'duralite_guard_refusals_total\{rule="[a-z_.]+"\} 1\.0', text)
    assert "duralite_actors_open 1.0" in text
    for name in METRICS:
        assert name.removesuffix("_total") in text, name


async def test_ready_means_that_calls_are_taken(client: httpx.AsyncClient, live: LiveServer) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    live.gateway.parts.draining = True
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    refused = await client.post("/v1/notes/a/add", json={"text": "x"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"


def test_what_the_parts_promise_is_documented() -> None:
    assert Once.call.__doc__ and Host.call.__doc__
