"""What is in scope of a program: the tree of its namespaces and helpers, made from specs and asked by path."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from helpers import sql
from helpers.api import sql_helpers
from helpers.spec import ROWS, HelperSpec

from .names import Binding, Scope

__all__ = ("ROOTS", "Reach", "Tree", "snake_case")

ROOTS = ("db", "sql", "tools", "helpers", "inputs")
_DEEPEST = 12
_MOST_BOUND = 4
_NAME_CHARS = 80
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])")

# What people call it elsewhere; used as a guess only where the helper exists.
_MEANT = {
    "all": "query",
    "count": "query",
    "create": "create_table",
    "execute": "exec",
    "executemany": "batch_insert",
    "execute_many": "batch_insert",
    "fetch": "query",
    "fetchall": "query",
    "fetchone": "query",
    "insert": "batch_insert",
    "insert_many": "batch_insert",
    "bulk_insert": "batch_insert",
    "list_tables": "tables",
    "get_tables": "tables",
    "schema": "tables",
    "get_schema": "tables",
    "run": "exec",
    "select": "query",
    "set_state": "save_state",
    "load_state": "get_state",
    "update": "exec",
    "delete": "exec",
}


def snake_case(name: str) -> str:
    """Return the snake_case spelling of a camelCase name: `batchInsert` is `batch_insert`."""
    return name if name.islower() else _HUMP.sub("_", name).lower()


@dataclass(slots=True)
class Tree:
    """All helpers by path, and the members of each namespace."""

    helpers: dict[str, HelperSpec] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, specs: Iterable[HelperSpec]) -> Tree:
        """Return the tree of these helpers; the sql builders, which every program has, are added."""
        tree = cls(members={name: set() for name in ROOTS if name != "inputs"})
        each = tuple(specs)
        added = () if any(spec.namespace == "sql" for spec in each) else sql_helpers()
        for spec in (*each, *added):
            tree.helpers[spec.path] = spec
            path = spec.path
            while "." in path:
                path, _, name = path.rpartition(".")
                tree.members.setdefault(path, set()).add(name)
        return tree

    def member(self, path: str, name: str) -> str | None:
        """Return the path of a member of a namespace, in either spelling, None where there is none."""
        if path == "helpers" and name in ROOTS:
            return name
        known = self.members.get(path, ())
        for spelling in (name, snake_case(name)):
            if spelling in known:
                return f"{path}.{spelling}"
        return None

    def has(self, path: str, name: str) -> bool:
        """Tell whether an attribute is there, although it is no helper."""
        if name.startswith("_"):
            return True
        if path == "sql":
            return hasattr(sql, name) or hasattr(sql, snake_case(name))
        # The classes of errors, which all have capitals.
        return path == "helpers" and name[:1].isupper()

    def nearest(self, path: str, name: str) -> str | None:
        """Return the whole path of the member that may be meant."""
        wanted = snake_case(name[:_NAME_CHARS])
        known = self.members.get(path, set())
        near = difflib.get_close_matches(wanted, known, 1, 0.6)
        if not near and _MEANT.get(wanted) in known:
            near = [_MEANT[wanted]]
        if near:
            return f"{path}.{near[0]}"
        for other in ("db", "sql", *(each for each in self.members if each.startswith("tools"))):
            if wanted in self.members.get(other, ()):
                return f"{other}.{wanted}"
        return None


@dataclass(slots=True)
class Reach:
    """Finds which helper or namespace an expression means, if it is sure."""

    tree: Tree
    inputs: Mapping[str, object] | None = None
    _known: dict[tuple[int, str], str | None] = field(default_factory=dict)

    def path(self, node: Binding, scope: Scope, depth: int = 0) -> str | None:
        """Return the path that an expression stands for (`db`, `tools.shop`, `db.query`), or None."""
        if isinstance(node, str):
            return self._imported(node)
        if depth > _DEEPEST:
            return None
        if isinstance(node, ast.Name):
            return self._name(node.id, scope, depth)
        if isinstance(node, ast.Attribute):
            base = self.path(node.value, scope, depth + 1)
            return self.tree.member(base, node.attr) if base in self.tree.members else None
        return None

    def query(self, node: ast.expr, scope: Scope) -> ast.Call | None:
        """Return the call for rows (`db.query`) that an expression is, or is bound to and to nothing else."""
        if isinstance(node, ast.Name):
            found = scope.look_up(node.id)
            if found is None or len(found[1]) != 1 or not isinstance(found[1][0], ast.expr):
                return None
            scope, node = found[0], found[1][0]
        if isinstance(node, ast.Await):
            node = node.value
        if isinstance(node, ast.Call):
            helper = self.tree.helpers.get(self.path(node.func, scope) or "")
            return node if helper is not None and helper.result == ROWS else None
        return None

    def _name(self, name: str, scope: Scope, depth: int) -> str | None:
        found = scope.look_up(name)
        if found is None:
            return name if name in ROOTS else None
        where, bound = found
        if len(bound) > _MOST_BOUND:
            return None
        if (id(where), name) in self._known:
            return self._known[id(where), name]
        # None while it is looked for: a name that is bound to itself in a circle means nothing.
        self._known[id(where), name] = None
        path = self._known[id(where), name] = self._bound(name, where, bound, depth)
        return path

    def _bound(self, name: str, where: Scope, bound: list[Binding], depth: int) -> str | None:
        paths: set[str | None] = set()
        for value in bound:
            if isinstance(value, ast.Name) and value.id == name and name in ROOTS:
                paths.add(name)  # `db = db` changes nothing
            else:
                paths.add(self.path(value, where, depth + 1) if value is not None else None)
        (only,) = paths if len(paths) == 1 else (None,)
        # Before its own assignment a root still has its first meaning.
        return only if name not in ROOTS or only == name else None

    def _imported(self, path: str) -> str | None:
        if path == "helpers":
            return path
        parent, _, name = path.rpartition(".")
        return self.tree.member(parent.rstrip(".") or "helpers", name)
