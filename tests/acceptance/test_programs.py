"""Programs as models write them give the value and the output that plain CPython gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sandbox.engine import Job
from sandbox.engines.monty import MontyEngine
from sandbox.engines.process import ProcessEngine
from tests.acceptance.sandbox_support import CASES, LIBRARIES, SPECS, SqliteHost, shared

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PATH = CASES / "programs.json"
_NAMES = [case["name"] for case in json.loads(_PATH.read_text())["cases"]] if _PATH.exists() else ["absent"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(libraries=LIBRARIES)
    await engine.start()
    yield engine
    await engine.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def monty() -> AsyncIterator[MontyEngine]:
    engine = MontyEngine(libraries=LIBRARIES)
    await engine.start()
    yield engine
    await engine.aclose()


@pytest.mark.parametrize("name", _NAMES)
async def test_a_program_gives_its_value_and_output(engine: ProcessEngine, name: str) -> None:
    programs: dict[str, Any] = shared("programs.json")
    case = next(each for each in programs["cases"] if each["name"] == name)
    host = SqliteHost(programs["meta"]["setup"])
    outcome = await engine.run(Job(case["code"], SPECS), host)
    host.close()
    assert outcome.status == "ok", outcome.error
    assert json.loads(json.dumps(outcome.value)) == case["value"]
    assert outcome.output == "".join(f"{line}\n" for line in case["logs"])


@pytest.mark.parametrize("name", _NAMES)
async def test_monty_gives_the_same_or_says_what_it_lacks(monty: MontyEngine, name: str) -> None:
    programs: dict[str, Any] = shared("programs.json")
    case = next(each for each in programs["cases"] if each["name"] == name)
    host = SqliteHost(programs["meta"]["setup"])
    outcome = await monty.run(Job(case["code"], SPECS), host)
    host.close()
    if outcome.status == "ok":
        assert json.loads(json.dumps(outcome.value)) == case["value"]
        assert outcome.output == "".join(f"{line}\n" for line in case["logs"])
    else:
        assert outcome.error is not None
        assert "subset of Python" in (outcome.error.hint or ""), outcome.error
