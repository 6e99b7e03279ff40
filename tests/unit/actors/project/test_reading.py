"""Pages, filters, sorts, columns: as the specification writes them, and for rows that change in between."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runtime.clock import SystemClock
from runtime.errors import Conflict, DuraliteError, InputError, NotFound
from runtime.namespace import Stub
from runtime.testing import harness
from tests.unit.actors.project.parts import SALES, Quiet

Import = Callable[..., Awaitable[Any]]


async def test_a_page_has_the_shape_of_the_specification(sales: Stub) -> None:
    """project-database.md, API Response Format; booleans are booleans, not 0 and 1."""
    page = await sales.data(limit=2, offset=1)
    assert page.data == [
        {"city": "Rom", "amount": 20.25, "paid": False, "day": "2024-01-02"},
        {"city": "Berlin", "amount": None, "paid": True, "day": "2024-01-03"},
    ]
    assert [(c.name, c.type) for c in page.columns] == [
        ("city", "string"),
        ("amount", "number"),
        ("paid", "boolean"),
        ("day", "date"),
    ]
    assert (page.pagination.offset, page.pagination.limit, page.pagination.total) == (1, 2, 6)


@pytest.mark.parametrize("sort", [None, "city,-amount", "-day"])
@pytest.mark.parametrize("filter", [None, {"column": "paid", "operator": "equals", "value": True}])
async def test_cursors_walk_every_row_once(sales: Stub, sort: str | None, filter: Any) -> None:
    """In the order of one long page, and to an end."""
    whole = (await sales.data(sort=sort, filter=filter)).data
    walked: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await sales.data(limit=2, cursor=cursor, sort=sort, filter=filter)
        walked += page.data
        cursor = page.pagination.next
        if cursor is None:
            break
    assert walked == whole
    assert len(walked) == (6 if filter is None else 3)


@pytest.mark.parametrize("sort", [None, "-amount"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0, 1, 3, 5])
async def test_every_page_of_a_filter_tells_the_same_total(
    sales: Stub, offset: int, limit: int, sort: str | None
) -> None:
    """Pages that are full, that end early and that lie behind the end, by offset and by cursor."""
    paid = {"column": "paid", "operator": "equals", "value": True}
    page = await sales.data(offset=offset, limit=limit, filter=paid, sort=sort)
    assert len(page.data) == max(0, min(limit, 3 - offset))
    assert page.pagination.total == 3
    if page.pagination.next is not None:
        after = await sales.data(cursor=page.pagination.next, limit=limit, filter=paid, sort=sort)
        assert after.pagination.total == 3
    none = {"column": "city", "operator": "equals", "value": "nowhere"}
    assert (await sales.data(offset=offset, limit=limit, filter=none, sort=sort)).pagination.total == 0


async def test_a_cursor_of_other_data_is_told(sales: Stub, load: Import) -> None:
    """After an import in between, a page of the old rows cannot go on in the new."""
    cursor = (await sales.data(limit=2)).pagination.next
    await load("a\n1\n2\n3\n")
    with pytest.raises(Conflict):
        await sales.data(cursor=cursor)
    with pytest.raises(InputError):
        await sales.data(cursor="bm90IG9uZQ")


CONDITIONS: list[tuple[Any, Callable[[dict[str, Any]], bool]]] = [
    ({"column": "city", "operator": "equals", "value": "Rom"}, lambda r: r["city"] == "Rom"),
    ({"column": "city", "operator": "!=", "value": "Rom"}, lambda r: r["city"] != "Rom"),
    ({"column": "amount", "operator": ">", "value": 10}, lambda r: r["amount"] is not None and r["amount"] > 10),
    ({"column": "amount", "operator": "<=", "value": "10.5"}, lambda r: r["amount"] is not None and r["amount"] <= 10.5),
    ({"column": "amount", "operator": "equals", "value": None}, lambda r: r["amount"] is None),
    ({"column": "amount", "operator": "is_not_null"}, lambda r: r["amount"] is not None),
    ({"column": "city", "operator": "empty"}, lambda r: r["city"] == ""),
    ({"column": "city", "operator": "contains", "value": "erl"}, lambda r: "erl" in r["city"]),
    ({"column": "city", "operator": "contains", "value": "%"}, lambda r: False),
    ({"column": "city", "operator": "not_contains", "value": "o"}, lambda r: "o" not in r["city"]),
    ({"column": "city", "operator": "starts_with", "value": "B"}, lambda r: r["city"].startswith("B")),
    ({"column": "city", "operator": "ends_with", "value": "lo"}, lambda r: r["city"].endswith("lo")),
    ({"column": "amount", "operator": "between", "value": [5, 20.25]}, lambda r: r["amount"] is not None and 5 <= r["amount"] <= 20.25),
    ({"column": "city", "operator": "in", "value": ["Rom", "Oslo"]}, lambda r: r["city"] in ("Rom", "Oslo")),
    ({"column": "paid", "operator": "equals", "value": False}, lambda r: r["paid"] is False),
    ({"column": "day", "operator": ">=", "value": "2024-02-01"}, lambda r: (r["day"] or "") >= "2024-02-01"),
    ({"or": [{"column": "city", "operator": "=", "value": "Oslo"}, {"column": "amount", "operator": ">", "value": 50}]}, lambda r: r["city"] == "Oslo" or (r["amount"] or 0) > 50),
    ({"not": {"column": "amount", "operator": ">", "value": 10}}, lambda r: not (r["amount"] is not None and r["amount"] > 10)),
    ([{"column": "city", "operator": "=", "value": "Rom"}, {"column": "amount", "operator": "<", "value": 50}], lambda r: r["city"] == "Rom" and r["amount"] < 50),
]  # fmt: skip


@pytest.mark.parametrize(("filter", "holds"), CONDITIONS, ids=[str(c)[:60] for c, _ in CONDITIONS])
async def test_a_filter_keeps_what_it_says(
    sales: Stub, filter: Any, holds: Callable[[dict[str, Any]], bool]
) -> None:
    """Compared with the rows themselves; a NULL matches no comparison."""
    every = (await sales.data()).data
    page = await sales.data(filter=filter)
    assert page.data == [row for row in every if holds(row)]
    assert page.pagination.total == len(page.data)


@pytest.mark.parametrize(
    "filter",
    [
        "not json",
        {"column": "city"} | {"operator": "like"},
        {"column": 3},
        {"column": "amount", "operator": ">", "value": "many"},
        {"column": "amount", "operator": "between", "value": [1]},
        {"column": "city", "operator": "in", "value": []},
        {"column": "paid", "operator": "=", "value": "maybe"},
        {"column": "amount", "operator": ">", "value": None},
        {"both": []},
        {"column": "amount", "operator": "=", "value": 1e400},
    ],
)
async def test_a_filter_that_means_nothing_is_refused(sales: Stub, filter: Any) -> None:
    """With what to write instead."""
    with pytest.raises(InputError) as caught:
        await sales.data(filter=filter)
    assert caught.value.hint


async def test_a_filter_that_is_no_json_is_told_as_the_filter(sales: Stub) -> None:
    with pytest.raises(InputError, match="The filter is not valid JSON") as caught:
        await sales.data(filter="city=Rom")
    assert '"operator"' in str(caught.value.hint)


async def test_a_column_that_is_not_there_is_named_with_the_nearest(sales: Stub) -> None:
    """SQLite would take it for a text, and find nothing."""
    with pytest.raises(NotFound) as caught:
        await sales.data(filter={"column": "citty", "operator": "equals", "value": "Rom"})
    assert "'city'" in str(caught.value.hint)
    assert (await sales.data(columns=" CITY ", limit=1)).data == [{"city": "Berlin"}]


async def test_a_columns_own_signs_are_no_signs_of_a_sort(project: Stub, load: Import) -> None:
    """A name that begins with a minus or holds a comma is that column."""
    await load('-a,+b,"c,d"\n1,2,3\n2,1,4\n')
    for sort, first in (("-a", "1"), ("--a", "2"), ("+b", "2"), ("-+b", "1"), ("c,d", "1"), ("-c,d", "2")):
        assert str((await project.data(sort=sort, limit=1)).data[0]["-a"]) == first, sort


async def test_columns_tell_types_and_statistics(sales: Stub) -> None:
    """From the catalogue: nothing is counted when they are asked for."""
    found = {c["name"]: c for c in (await sales.columns())["columns"]}
    assert found["amount"]["null_count"] == 1
    assert (found["amount"]["min_value"], found["amount"]["max_value"], found["amount"]["scale"]) == (
        5.0,
        100.0,
        2,
    )
    assert found["paid"]["top"][0] == {"value": True, "count": 3}
    assert found["day"]["min_value"] == "2024-01-01"


async def test_a_project_without_data_says_so(project: Stub) -> None:
    """And what to do about it."""
    await project.save_state("k", 1)
    for call in (project.data(), project.columns(), project.sample(), project.ask("how many rows")):
        with pytest.raises(NotFound, match="no data yet"):
            await call
    assert (await project.overview())["data"] is None


async def test_rows_kept_aside_are_listed(project: Stub, load: Import) -> None:
    """With line and reason, and counted."""
    await load("a,b\n1,2\n3\n4,5\n6,7,8\n")
    aside = await project.rejected_rows()
    assert [row["line"] for row in aside["rows"]] == [3, 5]
    assert aside["total"] == 2
    assert (await project.overview())["data"]["rejected"] == 2


# Samples


@pytest_asyncio.fixture(loop_scope="module")
async def numbers(project: Stub, load: Import) -> tuple[Stub, list[tuple[str, int | None]]]:
    """A project of a thousand rows, and the rows."""
    chance = random.Random(7)
    rows = [(chance.choice("abcd"), chance.randrange(100) if i % 9 else None) for i in range(1, 1_001)]
    rows[500] = ("a", 5_000)
    text = "k,v\n" + "".join(f"{k},{'' if v is None else v}\n" for k, v in rows)
    assert (await load(text)).state == "done"
    return project, rows


async def test_random_rows_come_from_the_data_and_again_by_their_seed(numbers: Any) -> None:
    """With a filter and without one."""
    project, rows = numbers
    for condition in (None, {"column": "k", "operator": "equals", "value": "b"}):
        one, again, other = [
            await project.sample(kind="random", n=20, seed=seed, filter=condition) for seed in (1, 1, 2)
        ]
        assert one.rows == again.rows != other.rows
        assert len(one.rows) == 20
        for row in one.rows:
            assert rows[row["row_id"] - 1] == (row["k"], row["v"])
    assert (await project.sample(kind="random", n=1_000)).row_count == 1_000


async def test_a_distribution_counts_values(numbers: Any) -> None:
    """The most frequent first; of numbers also in equal spans."""
    project, rows = numbers
    found = await project.sample(kind="value distribution", column="k", n=4)
    counts = {key: sum(k == key for k, _ in rows) for key in "abcd"}
    assert {row["value"]: row["count"] for row in found.rows} == counts
    assert found.facts == {"total": 1_000, "distinct": 4}
    spans = await project.sample(kind="distribution", column="v", bins=5)
    assert sum(row["count"] for row in spans.rows) == sum(v is not None for _, v in rows)
    assert (spans.rows[0]["from"], spans.rows[-1]["to"], spans.rows[-1]["count"]) == (0, 5_000, 1)


async def test_statistics_are_those_of_the_rows(numbers: Any) -> None:
    """Quartiles as spreadsheets have them."""
    import statistics

    project, rows = numbers
    (row,) = (await project.sample(kind="stats", column="v")).rows
    values = [v for _, v in rows if v is not None]
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    assert (row["q1"], row["median"], row["q3"]) == pytest.approx((q1, median, q3))
    assert row["mean"] == pytest.approx(statistics.fmean(values))
    assert row["stddev"] == pytest.approx(statistics.pstdev(values))
    assert (row["min"], row["max"], row["nulls"], row["rows"]) == (0, 5_000, 1_000 - len(values), 1_000)


async def test_outliers_are_the_far_ones(numbers: Any) -> None:
    """The farthest first."""
    project, _ = numbers
    found = await project.sample(kind="outliers", column="v")
    assert found.rows == [{"row_id": 501, "k": "a", "v": 5_000}]


async def test_search_takes_a_text_as_it_stands(project: Stub, load: Import) -> None:
    """Only * and ? stand for other characters."""
    await load("t,u\n100%,x\n100 percent,y\nabc,100%\n")

    async def rows(pattern: str, column: str | None = None) -> list[int]:
        found = await project.sample(kind="search", pattern=pattern, column=column)
        return [row["row_id"] for row in found.rows]

    assert await rows("0%") == [1, 3]
    assert await rows("0%", "t") == [1]
    assert await rows("a?c") == [3]
    assert await rows("100*T") == [2]


async def test_ranges_nulls_and_duplicates(sales: Stub) -> None:
    """By place in the file, by what is missing, by what is alike."""
    ranged = await sales.sample(kind="range", start_row=2, end_row=3)
    assert [row["row_id"] for row in ranged.rows] == [2, 3]
    missing = {row["column"]: row for row in (await sales.sample(kind="nulls")).rows}
    assert (missing["amount"]["nulls"], missing["city"]["empty"], missing["day"]["nulls"]) == (1, 1, 1)
    alike = await sales.sample(kind="duplicates", columns="city,paid")
    assert alike.rows == [
        {"copies": 2, "first_row": 1, "city": "Berlin", "paid": True},
        {"copies": 2, "first_row": 2, "city": "Rom", "paid": False},
    ]
    assert alike.facts == {"groups": 2, "surplus_rows": 2}


async def test_the_sql_of_an_answer_gives_the_same_rows(numbers: Any) -> None:
    """A reader can go on from there with query."""
    project, _ = numbers
    for kind in ("random", "distribution", "search", "range", "duplicates", "outliers"):
        column = {"distribution": "k", "outliers": "v", "duplicates": "k"}.get(kind)
        found = await project.sample(kind=kind, column=column, pattern="a", n=5)
        again = await project.query(found.sql, found.params)
        assert [list(row.values()) for row in again.rows] == [
            list(r.values())[: len(again.columns)] for r in found.rows
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "vibes"}, "no kind of sample"),
        ({"kind": "distribution"}, "needs a column"),
        ({"kind": "outliers", "column": "city"}, "needs a column of numbers"),
        ({"kind": "search"}, "needs a pattern"),
        ({"kind": "range", "start_row": 5, "end_row": 2}, "no range"),
    ],
)
async def test_a_sample_that_lacks_something_says_what(sales: Stub, arguments: Any, message: str) -> None:
    """And what there is."""
    with pytest.raises(InputError, match=message):
        await sales.sample(**arguments)


async def test_questions_are_answered_with_what_was_understood(sales: Stub) -> None:
    """And with the SELECT."""
    answer = await sales.ask("total amount by city where paid is false")
    assert answer.rows == [{"city": "Rom", "sum of amount": 120.25, "rows": 2}]
    assert answer.understood == "the sum of amount for each city, where paid equals False"
    assert (await sales.query(answer.sql, answer.params)).row_count == 1
    assert (await sales.ask("median amount")).rows == [{"median of amount": 10.5}]
    assert [row["row_id"] for row in (await sales.ask("find oslo")).rows] == [4]
    with pytest.raises(InputError) as caught:
        await sales.ask("do you like it here?")
    assert caught.value.extra["forms"]


async def as_select(question: str, columns: list[dict[str, str]], view: str) -> str:
    """Answer as a model would that writes SQL."""
    return f"SELECT count(*) AS n FROM \"{view}\" WHERE city = '{columns[0]['name'] and 'Rom'}'"


def as_sentence(question: str, columns: list[dict[str, str]], view: str) -> str:
    """Answer as a model would that knows the grammar."""
    return "how many different city"


async def as_harm(question: str, columns: list[dict[str, str]], view: str) -> str:
    """Answer as nobody should."""
    return "WITH x AS (SELECT 1) DELETE FROM _duralite_columns"


@pytest.mark.parametrize(
    ("hook", "rows"),
    [("as_select", [{"n": 2}]), ("as_sentence", [{"count": 4}]), ("as_harm", None), ("gone", None)],
)
async def test_a_hook_is_asked_for_what_was_not_understood(tmp_path: Path, hook: str, rows: Any) -> None:
    """What it says runs like SQL of a caller: read only, and through the guard."""
    async with harness(
        tmp_path / "d", Quiet, clock=SystemClock(), ask_hook=f"tests.unit.actors.project.test_reading:{hook}"
    ) as host:
        project = host.namespace("project").get("p")
        file = tmp_path / "s.csv"
        file.write_text(SALES)
        await project.import_path(str(file), wait=True)
        assert (await project.ask("how many rows")).by == "grammar"
        if rows is None:
            with pytest.raises(DuraliteError):
                await project.ask("what do you think?")
        else:
            answer = await project.ask("what do you think?")
            assert (answer.rows, answer.by, answer.question) == (rows, "hook", "what do you think?")
