"""The habits of the house that a machine can see, in every file."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("runtime", "actors", "helpers", "sandbox", "wrangler_compat")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path for folder in ("tests", "docs") for path in (ROOT / folder).rglob("*.py"))
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
NUMBERED = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b.*\?\d", re.DOTALL)
VAGUE = {
    "manager",
    "managers",
    "handler",
    "handlers",
    "util",
    "utils",
    "common",
    "base",
    "misc",
    "helper_functions",
}
MOST_LINES = 600
MOST_README_LINES = 40


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_source_file_defines_its_concept_and_its_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not tree.body, "a file opens by defining its one concept"
    assert text.count("\n") <= MOST_LINES
    assert path.stem not in VAGUE
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]:
            assert isinstance(node.value, ast.Tuple), "__all__ is a tuple"
            names = [ast.literal_eval(item) for item in node.value.elts]
            assert len(names) == len(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_module_that_defines_public_names_lists_them(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
    ]
    listed = [
        n for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign)) and "__all__" in ast.unparse(n)
    ]
    assert listed or not public


@pytest.mark.parametrize("path", [p for p in TESTS if p.name.startswith("test_")], ids=label)
def test_a_test_file_is_not_too_long_and_says_what_it_proves(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=label)
def test_nothing_is_left_for_later(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    comments = [
        t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT
    ]
    assert not [comment for comment in comments if MARKS.search(comment)]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            assert not ast.unparse(node.exc).startswith("NotImplementedError")
        assert not (isinstance(node, ast.Attribute) and node.attr == "xfail")


def test_no_statement_of_ours_numbers_its_places() -> None:
    """For Python 3.14 `?1` is a name, which wants a dict (gh-101693); `?` and `:name` are understood everywhere."""
    found = [
        f"{label(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NUMBERED.search(node.value)
    ]
    assert not found


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/README.md")), ids=label)
def test_the_readme_of_a_folder_fits_on_a_screen(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_README_LINES


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "docs"])
def test_every_top_level_folder_has_a_readme(folder: str) -> None:
    assert (ROOT / folder / "README.md").exists()


def test_no_commit_holds_what_is_made_anew() -> None:
    if not (ROOT / ".git").exists():
        return  # an archive of the sources has no commits
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [
        name for name in tracked if name.endswith((".pyc", ".sqlite", ".whl")) or "__pycache__" in name
    ]
