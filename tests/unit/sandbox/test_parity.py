"""Both engines make the same of a program; what monty lacks is named, and each name is a real gap."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from sandbox.engine import Job, Outcome
from sandbox.engines._monty_gaps import GAPS, MODULES, gaps_text
from sandbox.engines._monty_library import libraries
from sandbox.engines._monty_rewrite import rewrite
from sandbox.engines.monty import MontyEngine
from sandbox.engines.process import ProcessEngine
from tests.acceptance.sandbox_support import LIBRARIES, SPECS, SqliteHost

from .parity_programs import PROGRAMS, SETUP

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Programs that monty cannot run, each by the words of the gap that it meets.
MEETS = {
    "generator stops early": "generator functions that",
    "generator interleave": "generator functions that",
    "generator lazy error": "generator functions that",
    "contextlib": "`@contextmanager`",
    "async generator": "async generators",
    "async comp": "async comprehensions",
    "enum": "Enum classes",
    "namedtuple class": "NamedTuple classes",
    "typeddict": "TypedDict classes",
    "dataclass inherit": "dataclasses that inherit",
    "property setter": "property setters",
    "class with order": "`__lt__` of own classes",
    "decorator": "`__name__` of functions",
    "hasattr": "`issubclass`",
    "unicode": "`ascii`",
    "json default": "`json.dumps(default=)`",
    "taskgroup": "`asyncio.TaskGroup`",
    "partial sort": "`functools.cmp_to_key`",
    "total_ordering": "`functools.total_ordering`",
    "isocalendar": "`isocalendar` and `toordinal` of dates",
    "datetime more": "`isocalendar` and `toordinal` of dates",
    "regex more": "`re.subn`",
    "bytes more": "bytes of a list",
    "int methods": "`bit_length` and `as_integer_ratio`",
    "float methods": "`bit_length` and `as_integer_ratio`",
    "str methods": "encodings but UTF-8",
    "any lazy": "enerator expressions, map, filter and zip are lists, made whole",
    "type errors": "the words of some errors differ",
    "uuid": "Of the standard library only",
    "urllib.parse": "Of the standard library only",
}


@dataclass(frozen=True)
class Both:
    """The two engines, and one program on both."""

    process: ProcessEngine
    monty: MontyEngine

    async def run(self, code: str) -> tuple[Outcome, Outcome]:
        made = []
        for engine in (self.process, self.monty):
            host = SqliteHost(SETUP)
            made.append(await engine.run(Job(code, SPECS, inputs={"year": 2024}), host))
            host.close()
        return made[0], made[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[Both]:
    process, monty = ProcessEngine(libraries=LIBRARIES), MontyEngine(libraries=LIBRARIES)
    await process.start()
    await monty.start()
    yield Both(process, monty)
    await process.aclose()
    await monty.aclose()


def told(outcome: Outcome) -> Any:
    """What a caller is told of a run: status, value, output, and the error's class."""
    error = outcome.error and outcome.error.type
    return json.loads(json.dumps([outcome.status, outcome.value, outcome.output, error]))


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_is_the_same_on_both_engines_or_meets_a_gap(both: Both, name: str) -> None:
    process, monty = await both.run(PROGRAMS[name])
    if name in MEETS:
        assert told(process) != told(monty), "the gap has closed: take it out of MEETS"
        assert MEETS[name] in gaps_text()
    else:
        assert told(process) == told(monty), monty.error


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.words[:40])
async def test_a_gap_that_is_told_is_there(both: Both, gap: Any) -> None:
    process, monty = await both.run(gap.code)
    assert process.status == "ok", process.error
    if gap.silent:
        assert monty.status == "ok" and told(monty) != told(process)
    else:
        assert monty.error is not None and "subset of Python" in (monty.error.hint or ""), monty
        assert gap.words in (monty.error.hint or "")


async def test_the_modules_that_are_told_are_there(both: Both) -> None:
    for module in MODULES:
        _, monty = await both.run(f"import {module}\n1")
        assert monty.status == "ok", module
    _, monty = await both.run("import uuid")
    assert monty.status == "error"


@pytest.mark.parametrize("module", sorted(set(libraries()) - {"asyncio", "abc"}))
async def test_a_library_module_has_nothing_that_the_real_one_has_not(module: str) -> None:
    real = importlib.import_module(module)
    assert [name for name in libraries()[module].names if not hasattr(real, name)] == []


async def test_the_library_answers_as_the_standard_library_does(both: Both) -> None:
    """Exact to the last bit, over values of every size."""
    chance = random.Random(11)
    whole = [chance.randrange(-50, 50) for _ in range(9)]
    small = [chance.uniform(-1, 1) * 10 ** chance.randrange(-8, 9) for _ in range(20)]
    words = " ".join("".join(chance.choices("abcdefg", k=chance.randrange(1, 9))) for _ in range(30))
    code = f"""
import heapq, operator, statistics as s, string, textwrap
whole, small, words = {whole!r}, {small!r}, {words!r}
out = []
for data in (whole, small, whole + small, [7], [1e-300, 1e3], [0.1] * 10, [1, 2, 2, 3, 3]):
    for f in (s.mean, s.fmean, s.median, s.median_low, s.median_high, s.mode, s.multimode, s.pvariance, s.pstdev):
        out.append(f(data))
    if len(data) > 1:
        out += [s.variance(data), s.stdev(data), s.quantiles(data), s.quantiles(data, n=7, method="inclusive")]
out += [round(x, n) for x in small for n in (0, 1, 2, 5)]
heap = []
for x in small:
    heapq.heappush(heap, x)
out += [list(heap), heapq.heappop(heap), heapq.heapreplace(heap, 0.5), heapq.heappushpop(heap, -9.0), heap]
heapq.heapify(whole)
out += [whole, heapq.nlargest(3, small), heapq.nsmallest(3, words.split(), key=len), list(heapq.merge([1, 4], [2, 3]))]
out += [textwrap.wrap(words, w) for w in (5, 11, 40)] + [textwrap.shorten(words, w) for w in (6, 20, 400)]
out += [textwrap.dedent("  a\\n   b\\n\\n  c"), textwrap.indent("a\\n\\nb", "> "), string.capwords(words)]
out += [operator.itemgetter(1, 0)("xy"), operator.floordiv(7, 2), string.punctuation]
out
"""
    process, monty = await both.run(code)
    assert process.status == "ok", process.error
    assert told(process) == told(monty), monty.error


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x = = 1",
        "\0",
        "'\ud800'",
        "(" * 5_000,
        "-" * 60_000 + "1",
        "a;" * 40_000,
        "class A(A): pass",
        "del x.y",
    ],
)
async def test_what_cannot_be_read_goes_on_unchanged_or_in_order(code: str) -> None:
    made = rewrite(code)
    assert isinstance(made.code, str)
    assert made.line(1) == 1 and made.line(10**9) == 10**9


async def test_inheritance_without_end_makes_no_text_without_end() -> None:
    methods = "".join(f"    def m{n}(self):\n        return {n}\n" for n in range(300))
    code = f"class A0:\n{methods}" + "".join(f"class A{n}(A{n - 1}): pass\n" for n in range(1, 1_500))
    assert len(rewrite(code).code) < 40 * len(code)


async def test_an_error_has_the_line_of_the_program_that_was_sent(both: Both) -> None:
    code = "import statistics\n\n\ndef f(x):\n    # a comment\n    del x[0]\n\n    return x[5]\n\n\nf([1,\n   2])\n"
    for outcome in await both.run(code):
        assert outcome.error is not None
        assert (outcome.error.type, outcome.error.line) == ("IndexError", 8)
        assert "return x[5]" in outcome.error.traceback
