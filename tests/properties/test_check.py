"""The check and the sandbox agree: what is refused would have failed, and what works is not refused."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.session.actor import SessionActor
from helpers.api import db_helpers, sql_helpers
from helpers.check import Report, check
from helpers.spec import HelperSpec, ParamSpec
from sandbox.engine import Job, Limits
from sandbox.engines.process import ProcessEngine
from tests.acceptance.sandbox_support import LIBRARIES, SPECS, SqliteHost
from tests.unit.sandbox.parity_programs import PROGRAMS, SETUP

SESSION = (*db_helpers(SessionActor.methods), *sql_helpers())
_SOURCES = [code for name, code in PROGRAMS.items() if not name.startswith(("mistake", "syntax"))]

_values: dict[str, st.SearchStrategy[str]] = {
    "str": st.sampled_from(["'t'", "name", "f'{name}'", "str(1)"]),
    "int": st.sampled_from(["5", "len(name)", "-1", "True"]),
    "list[dict[str, Any]]": st.sampled_from(
        ["[]", "[{'a': 1}]", "rows", "[{**r} for r in rows]", "list(rows)"]
    ),
    "str | dict[str, str]": st.sampled_from(["'a TEXT'", "{'a': 'TEXT'}", "{k: 'TEXT' for k in name}"]),
    "str | Query": st.sampled_from(["'SELECT 1'", "sql.count_by('t', 'a')", "name", "query"]),
}
_anything = st.sampled_from(["rows", "name", "inputs", "inputs[name]", "len(name)", "1 if rows else 2"])


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A call that a spec allows, in any of the spellings that user code may use."""
    spec = draw(st.sampled_from(SESSION))
    given_by_position = spec.parameters[: draw(st.integers(0, len(spec.parameters)))]
    parts: list[str] = []
    for number, parameter in enumerate(spec.parameters):
        if not parameter.required and draw(st.booleans()):
            if number < len(given_by_position):
                given_by_position = spec.parameters[:number]
            continue
        value = draw(_values.get(parameter.annotation, _anything))
        if parameter.name == "params":
            continue
        # `params` is left out, so what follows it has no place of its own.
        skipped = any(before.name == "params" for before in spec.parameters[:number])
        by_name = (
            parameter.keyword_only
            or skipped
            or number >= len(given_by_position)
            or any("=" in p for p in parts)
        )
        parts.append(f"{parameter.name}={value}" if by_name else f"({value})")
    # A position stands for its parameter only while none before it is left out.
    names = [p.name for p in spec.parameters]
    placed = [p for p in parts if p.startswith("(")]
    if placed and names[: len(placed)] != names[: parts.index(placed[-1]) + 1]:
        return "None"
    space = draw(st.sampled_from([spec.namespace, f"helpers.{spec.namespace}", "alias"]))
    before = f"alias = {spec.namespace}\n" if space == "alias" else ""
    wait = draw(st.sampled_from(["", "await "]))
    return f"{before}{wait}{space}.{spec.name}({', '.join(parts)})"


@settings(max_examples=150, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=5))
def test_no_call_that_its_spec_allows_is_refused(written: list[str]) -> None:
    code = "name, rows, query = 'x', [], sql.Query('SELECT 1', [])\n" + "\n".join(written)
    assert check(code, SESSION).errors == (), code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(_SOURCES),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 8), st.text(max_size=6)), min_size=1, max_size=4),
)
def test_a_check_never_fails_whatever_the_text(code: str, edits: list[tuple[int, int, str]]) -> None:
    for at, gone, text in edits:
        code = code[:at] + text + code[at + gone :]
    assert isinstance(check(code, SPECS), Report)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(libraries=LIBRARIES, warm=2)
    await engine.start()
    yield engine
    await engine.aclose()


def _broken(code: str, chance: random.Random) -> str:
    """Change a program as a hasty writer would: a name misspelt, a piece lost or doubled."""
    words = code.split(" ")
    at = chance.randrange(len(words))
    match chance.randrange(5):
        case 0:
            del words[at]
        case 1:
            words.insert(at, words[chance.randrange(len(words))])
        case 2 if len(words[at]) > 1:
            letter = chance.randrange(len(words[at]) - 1)
            words[at] = (
                words[at][:letter] + words[at][letter + 1] + words[at][letter] + words[at][letter + 2 :]
            )
        case 3:
            words[at] = words[at].replace("db.", "db.x", 1).replace("(", "(1, ", 1)
        case _:
            words[at] = words[at].replace("'", "", 1).replace(")", ", 3)", 1)
    return " ".join(words)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", range(2))
async def test_what_the_check_refuses_fails_in_the_sandbox(engine: ProcessEngine, seed: int) -> None:
    """Broken programs are run: not one that the check refused may come to a good end."""
    chance = random.Random(seed)
    refused = 0
    for _ in range(150):
        code = _broken(chance.choice(_SOURCES), chance)
        report = check(code, SPECS, inputs={"year": 2024})
        if report.ok:
            continue
        refused += 1
        host = SqliteHost(SETUP)
        outcome = await engine.run(Job(code, SPECS, inputs={"year": 2024}, limits=Limits(wall_s=5)), host)
        host.close()
        assert outcome.status != "ok", (code, report.errors, outcome.value)
    assert refused > 20


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_specs_of_any_tool_give_a_report(data: Any) -> None:
    names = st.text(min_size=1, max_size=12)
    specs = tuple(
        HelperSpec(
            f"tools.{data.draw(names)}.{data.draw(names)}",
            tuple(
                ParamSpec(data.draw(names), data.draw(st.booleans()), None, data.draw(st.text(max_size=30)))
                for _ in range(data.draw(st.integers(0, 3)))
            ),
            awaitable=True,
        )
        for _ in range(data.draw(st.integers(0, 4)))
    )
    assert isinstance(check("await tools.a.b(1, x=2)\ntools['a']\ntools.a", specs), Report)
