"""A path that a specification names leads to the method that declares it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import httpx
import pytest
from pydantic import Field

from runtime.actor import Actor
from runtime.gateway.testing import live_server
from runtime.method import method
from runtime.storage.transaction import Transaction


class Shelf(Actor, type_name="shelf"):
    """Things with places."""

    @method(
        read_only=True, aliases=("GET /api/shelves/{name}/things", "GET /api/shelves/{name}/from/{firstRow}")
    )
    def things(
        self,
        tx: Transaction,
        first_row: Annotated[int, Field(ge=0)] = 0,
        label: str = "",
    ) -> dict[str, Any]:
        """List things."""
        return {"shelf": self.name, "first_row": first_row, "label": label}

    @method(aliases=("POST /api/shelves/{name}/things/{thingId}", "PUT /api/shelves/{name}/things/{thingId}"))
    def put(self, tx: Transaction, thing_id: str, weight: int = 1) -> dict[str, Any]:
        """Put a thing."""
        return {"shelf": self.name, "thing": thing_id, "weight": weight}

    @method(destructive=True, idempotent=True, aliases=("DELETE /api/shelves/{name}/things/{thing_id}",))
    def take(self, tx: Transaction, thing_id: str, force: bool = False) -> dict[str, Any]:
        """Take a thing away."""
        return {"taken": thing_id, "force": force}


class Hall(Actor, type_name="hall"):
    """One for each account."""

    default_name: ClassVar[str | None] = "main"

    @method(read_only=True, aliases=("GET /api/halls",))
    def seats(self, tx: Transaction) -> dict[str, Any]:
        """Count the seats."""
        return {"hall": self.name}

    @method(read_only=True, aliases=("GET /api/halls/{row}",))
    def row(self, tx: Transaction, row: str) -> dict[str, Any]:
        """Return a row."""
        return {"row": row}


@pytest.fixture
async def web(tmp_path: Path) -> Any:
    async with live_server(tmp_path, Shelf, Hall) as server, httpx.AsyncClient(base_url=server.url) as client:
        yield client


async def test_the_name_and_the_arguments_come_from_the_path(web: httpx.AsyncClient) -> None:
    await web.post("/v1/shelf/a%2Fb/put", json={"thing_id": "x"})
    assert (await web.get("/api/shelves/a%2Fb/from/7?label=12")).json() == {
        "shelf": "a/b",
        "first_row": 7,
        "label": "12",
    }
    put = await web.post("/api/shelves/s/things/007", json={"weight": 3})
    assert put.json() == {"shelf": "s", "thing": "007", "weight": 3}
    assert (await web.put("/api/shelves/s/things/1", json={})).json()["thing"] == "1"


async def test_camel_case_is_taken_for_the_declared_name(web: httpx.AsyncClient) -> None:
    await web.post("/api/shelves/s/things/1")
    assert (await web.get("/api/shelves/s/things?firstRow=2")).json()["first_row"] == 2
    both = await web.get("/api/shelves/s/things?firstRow=2&first_row=2")
    assert both.status_code == 400 or both.status_code == 422
    assert "twice" in both.json()["detail"]


async def test_a_delete_takes_its_arguments_from_path_and_query(web: httpx.AsyncClient) -> None:
    gone = await web.delete("/api/shelves/s/things/5?force=true")
    assert gone.json() == {"taken": "5", "force": True}


async def test_a_path_without_a_name_means_the_default_actor(web: httpx.AsyncClient) -> None:
    assert (await web.get("/api/halls")).json() == {"hall": "main"}
    assert (await web.get("/api/halls/9")).json() == {"row": "9"}


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/api/shelves/nobody/things", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/api/shelves//things", 404),
        ("DELETE", "/api/shelves/s/things", 405),
        ("GET", "/api/shelves/%FF/things", 400),
        ("GET", "/api/shelves/s/from/x", 422),
        ("GET", "/api/shelves/s/from/-1", 422),
    ],
)
async def test_what_does_not_fit_is_a_problem(
    web: httpx.AsyncClient, verb: str, path: str, status: int
) -> None:
    await web.post("/api/shelves/s/things/1")
    answer = await web.request(verb, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_path_and_body_may_not_differ(web: httpx.AsyncClient) -> None:
    answer = await web.post("/api/shelves/s/things/1", json={"thing_id": "2"})
    assert answer.status_code == 422
    assert "differ" in answer.json()["detail"]


async def test_the_document_describes_the_path(web: httpx.AsyncClient) -> None:
    paths = (await web.get("/openapi.json")).json()["paths"]
    operation = paths["/api/shelves/{name}/things/{thingId}"]["post"]
    assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == {"name", "thingId"}
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == ["weight"]


@pytest.mark.parametrize(
    "alias",
    ["GET /v1/x", "LOOK /api/x/{name}", "GET /api/{name}/{other}", "GET /api/x", "POST nowhere/{name}"],
)
def test_an_alias_that_cannot_work_is_refused_at_the_start(alias: str) -> None:
    from runtime.gateway.aliases import Aliases
    from runtime.gateway.metrics import RouteMetrics
    from runtime.gateway.routes import Route

    class Odd(Actor, type_name="odd"):
        @method(read_only=True, aliases=(alias,))
        def look(self, tx: Transaction) -> dict[str, Any]:
            """Look."""
            return {}

    counts: RouteMetrics = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="alias"):
        Aliases(iter([(Odd, Route("odd", Odd.methods["look"], counts))]))
