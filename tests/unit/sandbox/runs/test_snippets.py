"""Programs that worked are kept, found by words and run by name."""

from __future__ import annotations

import pytest

from runtime.errors import Conflict, InputError, LimitExceeded, NotFound
from runtime.limits import Limits
from runtime.namespace import Stub
from tests.unit.sandbox.runs.conftest import Ground

YEAR = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}


async def test_a_run_that_worked_is_kept_and_run_again_with_inputs(session: Stub) -> None:
    run = await session.run("inputs['year'] + 1", inputs={"year": 1})
    saved = await session.save_snippet("next_year", run=run.id, description="the year after", inputs=YEAR)
    assert (saved.code, saved.run, saved.inputs) == ("inputs['year'] + 1", run.id, YEAR)
    assert (await session.run_snippet("next_year", {"year": 2012})).value == 2013
    for wrong in ({}, {"year": "2012"}, None):
        with pytest.raises(InputError, match="year"):
            await session.run_snippet("next_year", wrong)
    job = await session.run_snippet("next_year", {"year": 1}, background=True)
    assert job.kind == "run"


async def test_what_did_not_work_is_not_kept(session: Stub) -> None:
    run = await session.run("1 / 0")
    with pytest.raises(Conflict, match="error"):
        await session.save_snippet("bad", run=run.id)
    for given in ({}, {"run": run.id, "code": "1"}):
        with pytest.raises(InputError):
            await session.save_snippet("bad", **given)
    with pytest.raises(NotFound):
        await session.save_snippet("bad", run="nothing")
    with pytest.raises(InputError):
        await session.save_snippet("bad", code="1", inputs={"type": "array"})
    with pytest.raises(NotFound):
        await session.run_snippet("bad")
    assert await session.list_snippets() == []


async def test_snippets_are_found_by_their_words(session: Stub) -> None:
    await session.save_snippet(
        "revenue_by_month", code="db.query('SELECT 1')", description="Sum of orders a month"
    )
    await session.save_snippet(
        "late", code="db.query('SELECT * FROM shipments')", description="Orders not sent"
    )
    await session.save_snippet("clean", code="1", description="Remove what is empty")

    async def found(text: str) -> list[str]:
        return [each.name for each in await session.search_snippets(text)]

    assert (await found("revenue"))[0] == "revenue_by_month"
    assert set(await found("orders")) == {"revenue_by_month", "late"}
    assert await found("shipments") == ["late"]
    assert await found("revenu") == ["revenue_by_month"]
    assert await found("giraffe") == []
    assert [each.name for each in await session.list_snippets(limit=2)] == ["clean", "late"]
    assert [each.name for each in await session.list_snippets(after="late")] == ["revenue_by_month"]


async def test_a_snippet_is_replaced_and_deleted(session: Stub) -> None:
    first = await session.save_snippet("one", code="1")
    second = await session.save_snippet("one", code="2", description="two")
    assert (second.code, second.description, second.created) == ("2", "two", first.created)
    assert await session.delete_snippet("one") == {"deleted": True}
    assert await session.delete_snippet("one") == {"deleted": False}


async def test_snippets_are_bounded(ground: Ground) -> None:
    async with ground.host(limits=Limits(snippets_kept=2)) as host:
        session = host.namespace("session").get("a")
        for name in ("a", "b", "a"):
            await session.save_snippet(name, code="1")
        with pytest.raises(LimitExceeded):
            await session.save_snippet("c", code="1")
        with pytest.raises(LimitExceeded):
            await session.save_snippet("a", code="#" * 300_000)
