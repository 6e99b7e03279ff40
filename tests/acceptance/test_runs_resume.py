"""A run that kill -9 of the service cut off goes on after the restart: nothing happens twice, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.ledger import ledger, open_gate
from tests.acceptance.service import Service, service

TYPES = {"DURALITE_TYPES": '["tests.acceptance.ledger:LedgerSession"]'}
SESSION = "/v1/session/a"


class Caller:
    """Speaks to a service that is killed and comes back."""

    def __init__(self, folder: Path, http: httpx.Client) -> None:
        self._folder = folder
        self._http = http

    def call(self, served: Service, method: str, **arguments: Any) -> Any:
        answer = self._http.post(f"{served.url}{SESSION}/{method}", json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def service(self) -> Any:
        return service(self._folder / "data", LEDGER=str(self._folder), **TYPES)

    def ended(self, served: Service, run: str) -> Any:
        """Return a run's record when it is neither running nor paused any more."""
        return wait_for(
            lambda: self.call(served, "get_run", id=run),
            lambda record: record["state"] not in ("running", "paused"),
        )


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """A caller of services over a folder of their own."""
    with httpx.Client(timeout=60) as http:
        yield Caller(tmp_path, http)


def wait_for(look: Callable[[], Any], wanted: Callable[[Any], bool] = bool) -> Any:
    """Look until it is as wanted: what another process does sets no event here."""
    end = time.monotonic() + 60
    while not wanted(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(0.005)
    return seen


INSERTS = """
import random, uuid, time
db.create_table("t", {"n": "INTEGER", "who": "TEXT"})
total = 0
for n in range(1500):
    before = db.query("SELECT count(*) AS c FROM t")[0]["c"]
    assert before == n, (before, n)
    total += db.exec("INSERT INTO t VALUES (?, ?)", [n, f"{random.random()} {uuid.uuid4()} {time.time()}"])
[total, random.random()]
"""


def test_inserts_happen_once(tmp_path: Path, caller: Caller) -> None:
    with caller.service() as served:
        run = start(caller, served, INSERTS)
        wait_for(lambda: count(caller, served, "t"), lambda rows: rows > 200)
        served.kill()
    with caller.service() as served:
        record = caller.ended(served, run)
        assert (record["state"], record["attempts"]) == ("ok", 2), record["error"]
        assert record["value"][0] == 1500
        assert record["effects"]["write_calls"] == 1501
        rows = caller.call(
            served,
            "query",
            sql="SELECT count(*) AS c, count(DISTINCT n) AS d, count(DISTINCT who) AS w FROM t",
        )
        assert rows["rows"] == [{"c": 1500, "d": 1500, "w": 1500}]
        served.stop()


def start(caller: Caller, served: Service, code: str) -> str:
    """Begin a run in the background and return its id."""
    caller.call(served, "run", code=code, background=True)
    return str(caller.call(served, "list_runs", limit=1)["items"][0]["id"])


def count(caller: Caller, served: Service, table: str) -> int:
    """Return the rows of a table, 0 while there is none."""
    tables = {each["name"]: each["rows"] for each in caller.call(served, "tables")}
    return int(tables.get(table, 0))


GATHER = """
import asyncio
db.create_table("seen", {"n": "INTEGER", "how": "TEXT"})
async def one(n):
    try:
        answer = await tools.shop.order(n, "late" if n >= 6 else None)
        how = answer["done"]
    except Exception as error:
        how = error.code
    db.exec("INSERT INTO seen VALUES (?, ?)", [n, how])
    return how
hows = await asyncio.gather(*(one(n) for n in range(8)), tools.shop.look(100, "late"), tools.shop.put(200, "late"))
print("the end")
[hows[:8], hows[8]["n"], hows[9]["n"]]
"""


def test_a_gather_of_tool_calls_goes_on(tmp_path: Path, caller: Caller) -> None:
    with caller.service() as served:
        run = start(caller, served, GATHER)
        wait_for(lambda: ledger(tmp_path), lambda done: len(done) == 10)
        wait_for(lambda: count(caller, served, "seen"), lambda rows: rows == 6)
        served.kill()
    before = ledger(tmp_path)
    open_gate(tmp_path, "late")
    with caller.service() as served:
        record = caller.ended(served, run)
        assert record["state"] == "ok", record["error"]
        # The two that were under way may have happened: they are told apart, and not made again.
        assert record["value"] == [["order"] * 6 + ["interrupted"] * 2, 100, 200]
        assert record["logs"] == ["the end"]
        assert sorted(ledger(tmp_path)[len(before) :]) == ["look 100", "put 200"]
        seen = caller.call(served, "query", sql="SELECT n, how FROM seen ORDER BY n", row_format="arrays")[
            "rows"
        ]
        assert seen == [[n, "order"] for n in range(6)] + [[6, "interrupted"], [7, "interrupted"]]
        served.stop()


WAITING = """
import asyncio
db.create_table("t", {"n": "INTEGER"})
db.exec("INSERT INTO t VALUES (1)")
ordered = await asyncio.gather(tools.shop.order(1), tools.shop.order(2), tools.shop.look(3))
try:
    db.exec("DELETE FROM t")
    gone = True
except Exception as error:
    gone = error.code
[[each["n"] for each in ordered], gone, db.query("SELECT count(*) AS c FROM t")[0]["c"]]
"""


def test_a_pause_for_approval_outlives_the_service(tmp_path: Path, caller: Caller) -> None:
    marks = ["tools.shop.order", "db.exec:DELETE"]
    with caller.service() as served:
        paused = caller.call(served, "run", code=WAITING, ask=marks)
        assert paused["status"] == "paused"
        assert [each["arguments"] for each in paused["waiting"]] == [[[1], {}], [[2], {}]]
        assert ledger(tmp_path) == ["look 3"]
        served.kill()
    with caller.service() as served:
        waiting = caller.call(served, "list_approvals")
        assert waiting == paused["waiting"]
        assert caller.call(served, "approve", id=waiting[0]["id"])["state"] == "paused"
        served.kill()
    with caller.service() as served:
        caller.call(served, "approve", id=paused["id"])
        record = wait_for(
            lambda: caller.call(served, "get_run", id=paused["id"]), lambda r: r["state"] == "paused"
        )
        assert [each["call"] for each in record["waiting"]] == ["db.exec"]
        assert sorted(ledger(tmp_path)) == ["look 3", "order 1", "order 2"]
        served.kill()
    with caller.service() as served:
        caller.call(served, "reject", id=paused["id"], reason="keep it")
        record = caller.ended(served, paused["id"])
        assert record["state"] == "ok", record["error"]
        assert record["value"] == [[1, 2, 3], "rejected", 1]
        assert sorted(ledger(tmp_path)) == ["look 3", "order 1", "order 2"]
        assert caller.call(served, "list_approvals") == []
        served.stop()
