"""Figures of what is done with a program before it runs: the check, and the search over the helpers it has."""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Callable, Iterator
from statistics import median

from actors.session import SessionActor
from helpers.api import db_helpers
from helpers.check import check
from helpers.search import search
from helpers.spec import HelperSpec, ParamSpec

from .bench import Bench
from .figures import Figure, Goal

__all__ = ("checks",)

_TOOLS = 2_000
_BLOCK = """\
rows_{0} = db.query("SELECT customer, amount FROM orders WHERE amount > ?", [{0}])
totals_{0} = {{}}
for row in rows_{0}:
    totals_{0}[row["customer"]] = totals_{0}.get(row["customer"], 0) + row["amount"]
async def fetch_{0}(number):
    item = await tools.server_{0}.get_invoice(id=number)
    return {{"id": item["id"], "state": item.get("state", "open"), "total": round(item["total"], 2)}}
items_{0} = await asyncio.gather(*(fetch_{0}(each) for each in range(10)))
db.batch_insert("items", items_{0}, on_conflict="replace")
print(f"{{len(items_{0})}} items, {{sum(totals_{0}.values()):,.2f}} in all")
"""
PROGRAM = "import asyncio\n" + "".join(_BLOCK.format(number) for number in range(5))


def checks(bench: Bench) -> Iterator[Figure]:
    """A check of 51 lines beside Python's own parser; a search over 2,000 tools beside a scan of their docs."""
    helpers = (*db_helpers(SessionActor.methods), *_tools())
    if found := check(PROGRAM, helpers).errors:
        raise RuntimeError(f"the program of the benchmark is refused: {found[0]}")
    queries = ("merge invoice", "archive a contract of the tenant", "exprot calendar", "list")
    docs = [f"{helper.path} {helper.doc}".lower() for helper in helpers]

    def scan() -> None:
        for query in queries:
            sum(all(word in text for word in query.split()) for text in docs)

    def find() -> None:
        for query in queries:
            search(helpers, query)

    find()  # the index is made once for a tuple of helpers
    rounds = 20 * bench.rounds if bench.quick else 100 * bench.rounds
    with bench.on_server_core():
        yield _figure(
            "check",
            "51 lines",
            "parse alone",
            rounds,
            lambda: check(PROGRAM, helpers),
            lambda: ast.parse(PROGRAM),
            1,
            10,
        )
        yield _figure("search", f"{_TOOLS:,} tools", "scan", rounds, find, scan, len(queries), 5)


def _figure(
    name: str,
    case: str,
    limit: str,
    rounds: int,
    ours: Callable[[], object],
    other: Callable[[], object],
    each: int,
    bound: float,
) -> Figure:
    pairs = [(_ms(ours) / each, _ms(other) / each) for _ in range(rounds)]
    return Figure(
        name,
        case,
        "ms",
        median(mine for mine, _ in pairs),
        limits={limit: (median(bare for _, bare in pairs), median(mine / bare for mine, bare in pairs))},
        goals=(Goal(bound, at_least=False),),
    )


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _tools() -> list[HelperSpec]:
    chance = random.Random(3)
    verbs = ("get", "list", "create", "update", "delete", "archive", "merge", "export", "assign", "close")
    nouns = ("invoice", "issue", "customer", "ticket", "calendar", "mailbox", "contract", "shipment")
    parameters = (
        ParamSpec("id", annotation="int", doc="Its number."),
        ParamSpec("dry_run", False, False, "bool"),
    )
    return [
        HelperSpec(
            f"tools.server_{number // 80}.{verbs[number % 10]}_{nouns[number // 10 % 8]}",
            parameters,
            awaitable=True,
            doc=f"{verbs[number % 10].capitalize()} one {nouns[number // 10 % 8]} of tenant {chance.random()}.",
        )
        for number in range(_TOOLS)
    ]
