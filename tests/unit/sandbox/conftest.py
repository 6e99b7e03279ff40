"""One process engine for the module under test, and a host that answers from a table of functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest_asyncio

from sandbox.engine import HelperSpec, Job, Limits, Outcome, ParamSpec
from sandbox.engines.process import ProcessEngine

SQL_LIBRARY = Path(__file__).resolve().parents[3] / "helpers" / "sql"
SPECS = (
    HelperSpec("db.query", (ParamSpec("sql"), ParamSpec("params", False)), "rows"),
    HelperSpec("db.exec", (ParamSpec("sql"), ParamSpec("params", False)), "rows_affected"),
    HelperSpec(
        "db.batch_insert",
        (ParamSpec("table"), ParamSpec("records"), ParamSpec("on_conflict", False)),
        "inserted",
    ),
    HelperSpec("db.echo", (ParamSpec("value", False),), doc="Give back what came."),
    HelperSpec("tools.echo", (ParamSpec("value", False),), awaitable=True),
    HelperSpec("tools.shop.get_item", (ParamSpec("id"),), awaitable=True),
)


class TableHost:
    """A host whose answers are functions by name; `echo` is always there."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self.calls: list[tuple[int, str, list[Any], dict[str, Any]]] = []
        self.pieces: list[tuple[str, str]] = []
        self._answers = answers

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self.calls.append((index, name, args, kwargs))
        answer = self._answers.get(name.rpartition(".")[2])
        if answer is None:
            return args[0] if args else kwargs.get("value")
        made = answer(*args, **kwargs)
        return await made if hasattr(made, "__await__") else made

    def output(self, stream: str, text: str) -> None:
        self.pieces.append((stream, text))


class Bench:
    """An engine with the shortest way to run a piece of code."""

    def __init__(self, engine: ProcessEngine) -> None:
        self.engine = engine

    async def run(self, code: str, host: TableHost | None = None, **options: Any) -> Outcome:
        limits = Limits(**{"wall_s": 20.0, **options.pop("limits", {})})
        return await self.engine.run(Job(code, SPECS, limits=limits, **options), host or TableHost())

    async def value(self, code: str, host: TableHost | None = None, **options: Any) -> Any:
        outcome = await self.run(code, host, **options)
        assert outcome.status == "ok", outcome
        return outcome.value


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def bench() -> AsyncIterator[Bench]:
    engine = ProcessEngine(libraries={"sql": SQL_LIBRARY}, warm=2)
    await engine.start()
    yield Bench(engine)
    await engine.aclose()
