"""The contract with monty 1.4.0: what the adapter relies on holds, and the engine behaves like the other one."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from runtime.errors import SqlError, Unavailable
from sandbox.engine import Encoded, Job, Limits, Outcome
from sandbox.engines._monty_gaps import gaps_text
from sandbox.engines.monty import MontyEngine
from tests.unit.sandbox.conftest import SPECS, SQL_LIBRARY, TableHost

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[MontyEngine]:
    engine = MontyEngine(libraries={"sql": SQL_LIBRARY})
    await engine.start()
    yield engine
    await engine.aclose()


async def run(engine: MontyEngine, code: str, host: TableHost | None = None, **options: Any) -> Outcome:
    limits = Limits(**{"wall_s": 20.0, **options.pop("limits", {})})
    return await engine.run(Job(code, SPECS, limits=limits, **options), host or TableHost())


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", 2),
        ("x = 5", 5),
        ("x: int = 5", 5),
        ("a, b = 1, 2", [1, 2]),
        ("n = 1\nn += 2\n# end", 3),
        ("x = {\n  'a': 1,\n}", {"a": 1}),
        ("'''\nx = 5\n'''\nNone", None),
        ("inputs['a'] + helpers.inputs['a']", 2),
        ("db.batchInsert('t', [{}], on_conflict='ignore')", 1),
        ("await tools.shop.get_item(id=3)", {"id": 3}),
        ("import asyncio\nawait asyncio.gather(*[tools.echo(i) for i in range(5)])", [0, 1, 2, 3, 4]),
        ("import asyncio\nawait asyncio.sleep(0)\n1", 1),
        ("import time\ntime.sleep(0.001)\n1", 1),
        (
            "[float('nan'), 10**30, b'x', (1, 2)]",
            [{"$float": "nan"}, {"$int": str(10**30)}, {"$bytes": "eA=="}, [1, 2]],
        ),
        ("class A:\n    def __init__(self):\n        self.x = 1\nA()", {"x": 1}),
        ("q = sql.count_by('t', 'c')\ndb.query(q)", [{"n": 1}]),
        ("db.query(sql.topN('t', 'c'))", [{"n": 1}]),
    ],
)
async def test_a_program_has_its_value(engine: MontyEngine, code: str, value: Any) -> None:
    host = TableHost(
        batch_insert=lambda table, records, on_conflict: {"inserted": len(records)},
        get_item=lambda **given: given,
        query=lambda sql, params: Encoded(b'{"columns":["n"],"rows":[[1]],"truncated":false}'),
    )
    outcome = await run(engine, code, host, inputs={"a": 1})
    assert outcome.status == "ok", outcome
    assert json.loads(json.dumps(outcome.value)) == value


async def test_errors_of_helpers_can_be_caught_with_their_message(engine: MontyEngine) -> None:
    def fail(sql: str) -> Any:
        raise SqlError("no such table: t", exception="OperationalError")

    code = "try:\n    db.query('x')\nexcept Exception as e:\n    r = str(e)\nr"
    assert (await run(engine, code, TableHost(query=fail))).value == "no such table: t"


async def test_awaited_calls_overlap(engine: MontyEngine) -> None:
    under_way = 0
    full = asyncio.Event()

    async def slow(value: int) -> int:
        nonlocal under_way
        under_way += 1
        if under_way == 8:
            full.set()
        await full.wait()
        return value

    code = "import asyncio\nsum(await asyncio.gather(*[tools.echo(i) for i in range(8)]))"
    assert (await run(engine, code, TableHost(echo=slow))).value == 28


@pytest.mark.parametrize(
    ("code", "limits", "limit"),
    [
        ("while True:\n    pass", {"cpu_s": 0.1}, "cpu_s"),
        ("import time\ntime.sleep(100)", {"wall_s": 0.1}, "wall_s"),
        ("await tools.shop.get_item(1)", {"wall_s": 0.1}, "wall_s"),
        ("db.exec('wait')", {"wall_s": 0.1}, "wall_s"),
        ("'y' * (1 << 30)", {}, "memory_bytes"),
        ("'y' * 2_000_000", {}, "result_bytes"),
        ("while True:\n    print('x' * 100)", {"output_bytes": 1000}, "output_bytes"),
        ("while True:\n    db.echo(1)", {"calls": 10}, "calls"),
        ("import asyncio\nawait asyncio.gather(*[tools.echo(i) for i in range(20)])", {"calls": 10}, "calls"),
    ],
)
async def test_each_limit_ends_a_run_and_is_named(
    engine: MontyEngine, code: str, limits: dict[str, Any], limit: str
) -> None:
    host = TableHost(get_item=lambda *_: asyncio.Event().wait(), exec=lambda sql: asyncio.Event().wait())
    outcome = await run(engine, code, host, limits=limits)
    assert (outcome.status, outcome.limit) == ("limit", limit), outcome
    assert (await run(engine, "2 + 3")).value == 5


@pytest.mark.parametrize(
    ("code", "type_name", "line"),
    [
        ("x = 1\nqurey", "NameError", 2),
        ("x = = 1", "SyntaxError", 1),
        ("class A(list):\n    pass", "NotImplementedError", 1),
        ("import pandas", "ModuleNotFoundError", 1),
        ("class Bad(Exception):\n    pass\n\nraise Bad('no')", "Bad", 4),
        ("x = {\n    'a': 1,\n}\nx['b']", "KeyError", 4),
        ("db.echo(nope=1)", "TypeError", 1),
        ("helper(0, ['SELECT 1'], {})", "NameError", 1),
        ("open('/etc/passwd')", "PermissionError", 1),
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError", 2),
        ("db.nothing()", "AttributeError", 1),
        ("db.echo(len)", "ValueError", 1),
    ],
)
async def test_an_error_names_type_and_line(
    engine: MontyEngine, code: str, type_name: str, line: int
) -> None:
    outcome = await run(engine, code)
    assert outcome.status == "error"
    assert outcome.error is not None
    assert outcome.error.type == type_name, outcome.error
    assert outcome.error.line == line
    if type_name in ("NotImplementedError", "ModuleNotFoundError"):
        assert "subset" in (outcome.error.hint or "")


@pytest.mark.parametrize(
    "code",
    [
        "x = []\nfor _ in range(100000):\n    x = [x]\nx",
        "x = []\nx.append(x)\nx",
        "10 ** 20000",
        "{1: 2, (1, 2): 3}",
        "print",
        "'\\ud800'",
        "db.echo(10 ** 20000)",
        "x = []\nfor _ in range(300):\n    x = [x]\ndb.echo(x)",
    ],
)
async def test_odd_values_come_out_plain_or_as_an_error(engine: MontyEngine, code: str) -> None:
    outcome = await run(engine, code)
    json.dumps(outcome.value, allow_nan=False)
    assert outcome.status in ("ok", "error", "limit", "crash")
    assert (await run(engine, "2 + 3")).value == 5


async def test_output_comes_in_order_and_is_cut(engine: MontyEngine) -> None:
    host = TableHost()
    outcome = await run(engine, "print('a')\nprint('b' * 50)\n1", host, limits={"output_bytes": 10})
    assert outcome.truncated
    assert outcome.output == "a\nbbbbbbbb\n[output cut at 10 bytes]\n"
    assert "".join(text for _, text in host.pieces) == outcome.output


async def test_a_cancelled_run_cancels_its_calls(engine: MontyEngine) -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def forever(sql: Any) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(run(engine, "db.exec('x')", TableHost(exec=forever)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert (await run(engine, "2 + 3")).value == 5


async def test_a_seed_and_a_moment_repeat(engine: MontyEngine) -> None:
    code = "import random, time\n[random.random(), time.time()]"
    first = await run(engine, code, seed=b"s", now=1_700_000_000.0)
    assert first.value == (await run(engine, code, seed=b"s", now=1_700_000_000.0)).value
    assert first.value[1] == 1_700_000_000.0


async def test_it_starts_only_with_the_version_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.5.0")
    engine = MontyEngine()
    with pytest.raises(Unavailable, match=r"1\.4\.0"):
        await engine.start()
    with pytest.raises(Unavailable):
        await engine.run(Job("1"), TableHost())
    await engine.aclose()


async def test_its_gaps_are_told(engine: MontyEngine) -> None:
    assert engine.capabilities.gaps == gaps_text()
    assert not engine.capabilities.full_python
    assert (await engine.start()).warnings
