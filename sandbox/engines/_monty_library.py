"""The part of the standard library that monty lacks, as text that it runs: read from `monty_library/`, prefixed, fed.

All that a session runs shares one scope with the program. So each name at the top of a library file gets a
prefix that no program uses, and the public ones are gathered in a namespace that stands for the module.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ("PREFIX", "Library", "libraries")

PREFIX = "_dl_"
"""Begins every name that is not the program's own."""

_FOLDER = Path(__file__).parent / "monty_library"


@dataclass(frozen=True, slots=True)
class Library:
    """One module: its source for a session, the name of its namespace, and what it has."""

    module: str
    source: str
    names: frozenset[str]

    @property
    def namespace(self) -> str:
        """The name in a session that stands for the module."""
        return f"{PREFIX}module_{self.module}"

    def name(self, public: str) -> str:
        """Return the name in a session of something that the module has."""
        return f"{PREFIX}{self.module}_{public}"


@cache
def libraries() -> dict[str, Library]:
    """Return all libraries by module."""
    found = (_read(path) for path in sorted(_FOLDER.glob("*.monty")))
    return {library.module: library for library in found}


def _read(path: Path) -> Library:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    own |= {
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    body = [node for node in tree.body if not _is_text(node)]
    module = path.stem
    prefixed = _Prefix(own, f"{PREFIX}{module}_").visit(ast.Module(body, []))
    public = sorted(name for name in own if not name.startswith("_"))
    library = Library(module, "", frozenset(public))
    lines = [ast.unparse(prefixed), f"{library.namespace} = _Namespace()"]
    lines += [f"{library.namespace}.{name} = {library.name(name)}" for name in public]
    return Library(module, "\n".join(lines), library.names)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Prefix(ast.NodeTransformer):
    def __init__(self, own: set[str], prefix: str) -> None:
        self._own = own
        self._prefix = prefix

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._own:
            node.id = self._prefix + node.id
        return node

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        if node.name in self._own:
            node.name = self._prefix + node.name
        self.generic_visit(node)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition  # noqa: N815
