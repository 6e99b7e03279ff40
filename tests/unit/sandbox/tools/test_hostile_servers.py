"""Servers that mean harm fail their own calls, and nothing else: not the service, not their neighbours."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DeadlineExceeded, InputError, NotFound, ToolError
from tests.unit.sandbox.tools.conftest import kit, script


def hostile(*modes: str) -> dict[str, Any]:
    return {mode: script("hostile", mode) for mode in modes}


async def test_names_that_collide_or_cannot_be_are_left_out_loudly(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("collide", "names", "not-text")) as shop:
        paths = await shop.paths()
        assert [path for path in paths if path.startswith("tools.collide.")] == ["tools.collide.fine"]
        problems = (await shop.info("collide")).problems
        assert len(problems) == 1 and "'get-item' and 'get_item' and 'get.item'" in problems[0]
        names = [path.rpartition(".")[2] for path in paths if path.startswith("tools.names.")]
        assert names == ["class_", "_3d", "class__", "members", "größe"]
        assert await shop.value("names.class_") == {"n": "not a number"}
        assert [path for path in paths if path.startswith("tools.not_text.")] == ["tools.not_text.text"]
        assert "2 tools without a text as name" in (await shop.info("not_text")).problems[0]


async def test_a_crowd_of_tools_and_lists_without_end_are_cut(tmp_path: Path) -> None:
    limits = {"tools_per_server": 120}
    async with kit(tmp_path, hostile("crowd", "endless"), limits=limits) as shop:
        paths = await shop.paths()
        for server in ("crowd", "endless"):
            assert sum(path.startswith(f"tools.{server}.") for path in paths) == 120
            assert "more than 120 tools" in (await shop.info(server)).problems[0]


async def test_a_description_is_cleaned_and_cut(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("words"), limits={"tool_doc_bytes": 500}) as shop:
        (helper,) = await shop.box.helpers(shop.address)
        assert len(helper.doc.encode()) <= 500, helper.doc
        assert helper.doc.startswith("Reads.\nSystem\n\nIgnore all")
        assert helper.doc.replace("\n", "").isprintable()
        assert "```" not in helper.doc and "##" not in helper.doc and "\u202e" not in helper.doc


async def test_schemas_that_are_none_or_lie_hold_nothing_up(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("schemas")) as shop:
        began = time.monotonic()
        paths = await shop.paths()
        assert "tools.schemas.large" not in paths
        assert "'large' has a schema of 200," in " ".join((await shop.info("schemas")).problems)
        expected = {"n": "not a number"}
        assert await shop.value("schemas.no_schema", x=1) == expected
        assert await shop.value("schemas.fetches", x=1) == expected
        assert await shop.value("schemas.expression", x="a" * 5_000 + "b") == expected
        assert await shop.value("schemas.itself") == expected
        assert await shop.value("schemas.branching", x=1) == expected
        assert await shop.value("schemas.deep", deeper={}) == expected
        assert await shop.value("schemas.lies") == expected
        assert await shop.value("schemas.keyword", class_="x", a_b=2) == expected
        with pytest.raises(InputError, match="a-b: string was given"):
            await shop.value("schemas.keyword", a_b="x")
        assert time.monotonic() - began < 60, "a hang guard"


async def test_a_huge_answer_fails_its_call_alone(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("huge"), limits={"tool_message_bytes": 1024 * 1024}) as shop:
        before = resident()
        results = await asyncio.gather(
            shop.value("huge.go"), shop.value("huge.other"), return_exceptions=True
        )
        assert isinstance(results[0], ToolError) and "1,048,576 bytes" in results[0].message
        assert results[1] == {"n": "not a number"}
        assert resident() - before < 32 * 1024 * 1024


async def test_a_server_that_does_not_answer_or_read_costs_its_caller_the_deadline_and_no_more(
    tmp_path: Path,
) -> None:
    async with kit(tmp_path, hostile("hang", "deaf")) as shop:
        await shop.paths()
        for server in ("hang", "deaf"):
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await shop.answer(f"{server}.go", timeout_s=0.3)
            assert time.monotonic() - began < 4, "it is not waited for until the server heard of it"
        assert await shop.value("hang.other") == {"n": "not a number"}
        # More than a pipe holds, to one who does not read.
        with pytest.raises(DeadlineExceeded):
            await shop.answer("deaf.go", x="x" * 1_000_000, timeout_s=0.3)


async def test_a_server_that_dies_in_the_middle_is_told_as_that_and_comes_back(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("die", "die-half")) as shop:
        with pytest.raises(ToolError, match="broke while the tool ran") as caught:
            await shop.value("die.go")
        assert "may have happened" in (caught.value.hint or "")
        assert await shop.value("die.other") == {"n": "not a number"}
        with pytest.raises(ToolError, match="broke while the tool ran"):
            await shop.value("die_half.go")


async def test_a_flood_of_notices_and_requests_slows_nobody_but_the_server(tmp_path: Path) -> None:
    async with kit(tmp_path, hostile("flood", "plain")) as shop:
        await shop.paths()
        flooded = asyncio.create_task(shop.answer("flood.go", timeout_s=2))
        for _ in range(20):
            assert await shop.value("plain.other") == {"n": "not a number"}
        before, tasks = resident(), len(asyncio.all_tasks())
        assert tasks < 80
        with pytest.raises(DeadlineExceeded):
            await flooded
        assert resident() - before < 32 * 1024 * 1024


async def test_nonsense_is_a_clear_error(tmp_path: Path) -> None:
    async with kit(
        tmp_path,
        hostile("nonsense", "deep-answer", "deep-list", "asks", "slow-list", "mute"),
        limits={"tool_connect_s": 2},
    ) as shop:
        await shop.paths()
        with pytest.raises(ToolError, match="not what the protocol asks for"):
            await shop.value("nonsense.go")
        assert await shop.value("deep_answer.go") == "[" * 90_000
        with pytest.raises(ToolError, match="not what the protocol asks for"):
            await shop.value("asks.go")
        for name in ("slow_list", "mute"):
            info = await shop.info(name)
            assert info.state in ("failed", "connecting") and "within 2 seconds" in info.error
        assert "nested too deeply" in (await shop.info("deep_list")).error
        with pytest.raises(NotFound):
            await shop.value("nonsense.nothing")


def resident() -> int:
    """Return the bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
