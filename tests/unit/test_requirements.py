"""Every requirement has tests that exist, and every test of a promise stands in a requirement."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS, Requirement

TESTS = Path(__file__).resolve().parents[1]
PROMISES = ("acceptance", "conformance", "properties")


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("row", REQUIREMENTS, ids=lambda row: row.id)
def test_every_requirement_is_proved_by_tests_that_exist(row: Requirement) -> None:
    assert row.text.endswith(".")
    assert row.proofs
    for proof in row.proofs:
        path, _, name = proof.partition("::")
        assert (TESTS / path).exists(), path
        assert name in names_in(TESTS / path), proof


def test_no_two_requirements_share_an_id() -> None:
    ids = [row.id for row in REQUIREMENTS]
    assert len(ids) == len(set(ids))


def test_every_test_of_a_promise_proves_a_requirement() -> None:
    proofs = {proof for row in REQUIREMENTS for proof in row.proofs}
    idle = [
        f"{path.relative_to(TESTS)}::{name}"
        for folder in PROMISES
        for path in sorted((TESTS / folder).glob("test_*.py"))
        for name in sorted(names_in(path))
        if f"{path.relative_to(TESTS)}::{name}" not in proofs
    ]
    assert idle == [], "add these tests to rows of tests/requirements.py"
