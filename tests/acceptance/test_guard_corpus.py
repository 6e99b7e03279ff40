"""Every case of the two guard corpora ends as it says, driven through the real session actor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.guard_own_attacks import ATTACKS

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
RUNNER = Path(__file__).with_name("guard_runner.py")
CATEGORIES = (
    "verb", "pragma_tvf", "function", "vtab", "internal", "transaction", "memory", "cpu", "disk", "parser",
    "params", "crash", "llm_noise",
)  # fmt: skip


def load(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"the shared cases are not beside the repository: {path.name}")
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    return cases


def failures(corpus: str, cases: list[dict[str, Any]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(RUNNER)],
        input=json.dumps({"corpus": corpus, "cases": cases}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=110,
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(cases), done.stderr
    return [f"{r['name']}: {r['why']} ({r['seconds']} s, {r['rss_mb']} MiB)" for r in results if not r["ok"]]


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_attack_is_blocked_or_bounded_as_it_says(category: str) -> None:
    cases = [case for case in load(CASES / "guard_attacks.json") if case["category"] == category]
    assert cases
    assert failures("attacks", cases) == []


def test_the_categories_cover_the_whole_corpus() -> None:
    assert {case["category"] for case in load(CASES / "guard_attacks.json")} <= set(CATEGORIES)


@pytest.mark.parametrize("part", range(6))
def test_every_attack_of_our_own_is_blocked_or_bounded(part: int) -> None:
    assert failures("attacks", ATTACKS[part::6]) == []


@pytest.mark.parametrize("part", range(3))
def test_every_legitimate_statement_gives_the_recorded_rows(part: int) -> None:
    assert failures("legit", load(CASES / "guard_legit.json")[part::3]) == []
