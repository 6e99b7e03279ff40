"""Thousands of tools cost a run little: it is given those that it names, and all where it looks names up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sandbox.engine import Engine, HelperSpec, Job, ParamSpec
from sandbox.engines.monty import MontyEngine
from sandbox.engines.process import ProcessEngine
from tests.unit.sandbox.conftest import SPECS, SQL_LIBRARY, TableHost

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = (
    *SPECS,
    HelperSpec("tools.big_shop.tool_5", (ParamSpec("value", False),), awaitable=True),
    *(
        HelperSpec(f"tools.my_server_{n // 10}.tool_{n}", (ParamSpec("value", False),), awaitable=True)
        for n in range(1_000)
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["process", "monty"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    kind: Any = ProcessEngine if request.param == "process" else MontyEngine
    made = kind(libraries={"sql": SQL_LIBRARY})
    await made.start()
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("await tools.my_server_3.tool_31(4)", 4),
        ("await tools.bigShop.tool_5(value=5)", 5),
        ("shop = tools.my_server_99\nawait shop.tool_999(6)", 6),
        ("everything = tools\nserver = everything.my_server_7\nawait server.tool_70(7)", 7),
        ("await getattr(getattr(tools, 'my_' + 'server_2'), 'tool_2' + '2')(8)", 8),
        ("from helpers import tools as t\nawait t.my_server_1.tool_11(9)", 9),
        ("db.echo(1)", 1),
    ],
)
async def test_every_tool_is_reached_however_it_is_named(engine: Engine, code: str, value: int) -> None:
    if engine.name == "monty":
        code = code.replace("bigShop", "big_shop")  # namespaces have one spelling there
    host = TableHost(**{f"tool_{n}": lambda value=None: value for n in range(1_000)})
    outcome = await engine.run(Job(code, MANY), host)
    assert (outcome.status, outcome.value) == ("ok", value), outcome.error


async def test_a_program_that_lists_its_tools_sees_them_all() -> None:
    engine = ProcessEngine(libraries={"sql": SQL_LIBRARY})
    await engine.start()
    try:
        outcome = await engine.run(Job("len([n for n in dir(tools) if n[:2] == 'my'])", MANY), TableHost())
        assert outcome.value == 100
    finally:
        await engine.aclose()
