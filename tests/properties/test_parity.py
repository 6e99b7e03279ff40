"""Programs joined and broken by chance: where both engines come to a good end, they come to the same one."""

from __future__ import annotations

import json
import random

import pytest

from runtime.errors import InputError
from sandbox.engine import Job, Limits
from sandbox.engines.monty import MontyEngine
from sandbox.engines.process import ProcessEngine
from tests.acceptance.sandbox_support import LIBRARIES, SPECS, SqliteHost
from tests.unit.sandbox.parity_programs import PROGRAMS, SETUP
from tests.unit.sandbox.test_parity import MEETS

_SOURCES = [code for name, code in PROGRAMS.items() if name not in MEETS and "random" not in code]
# Text forms of what is no data, and warnings that CPython prints, are each engine's own.
_OWN_FORMS = ("<function", "<class", "<type", " at 0x", "never awaited")


class _Host(SqliteHost):
    async def call(self, *call: object) -> object:
        try:
            return await super().call(*call)  # type: ignore[arg-type]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"bad call: {error}") from None


def _changed(chance: random.Random) -> str:
    first = chance.choice(_SOURCES)
    lines = first.split("\n")
    at = chance.randrange(len(lines))
    match chance.randrange(3):
        case 0:
            return f"{first}\n{chance.choice(_SOURCES)}"
        case 1:
            del lines[at]
        case _:
            lines.insert(at, lines[chance.randrange(len(lines))])
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(2))
async def test_two_good_ends_of_one_program_are_the_same(seed: int) -> None:
    chance = random.Random(seed)
    engines = (ProcessEngine(libraries=LIBRARIES), MontyEngine(libraries=LIBRARIES))
    compared = 0
    for engine in engines:
        await engine.start()
    try:
        for _ in range(50):
            job = Job(_changed(chance), SPECS, inputs={"year": 2024}, limits=Limits(wall_s=5, cpu_s=3))
            ends = []
            for engine in engines:
                host = _Host(SETUP)
                ends.append(await engine.run(job, host))
                host.close()
            told = [json.dumps([end.value, end.output]) for end in ends]
            if all(end.status == "ok" for end in ends) and not any(form in told[0] for form in _OWN_FORMS):
                compared += 1
                assert told[0] == told[1], job.code
    finally:
        for engine in engines:
            await engine.aclose()
    assert compared > 15
