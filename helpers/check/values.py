"""Values: whether a literal can be what a parameter takes, told from the parameter's type text.

Only what is plainly wrong counts. A type text that is not understood takes anything, and so does every
expression that is no literal.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache

__all__ = ("Accepts", "accepts", "kind_of")

_PLAIN = {"str": ("str",), "int": ("int",), "float": ("int", "float"), "bool": ("bool",), "None": ("None",)}
_LISTS = ("list", "Sequence", "tuple", "set")
_DICTS = ("dict", "Mapping")
_SEQUENCE = ("list", "tuple", "set")
_DEEPEST = 6
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a parameter takes: kinds of literals, or one of some values; `items` and `values` of what is inside."""

    text: str
    kinds: frozenset[str]
    choices: tuple[object, ...] = ()
    items: Accepts | None = None
    values: Accepts | None = None

    def misfit(self, node: ast.expr, depth: int = 0) -> tuple[ast.expr, str] | None:
        """Return the literal that cannot be meant, with what is wrong about it; None where nothing is sure."""
        kind = kind_of(node)
        if kind is None or depth > _DEEPEST:
            return None
        if self.choices and isinstance(node, ast.Constant) and node.value is not None and kind == "str":
            if node.value not in self.choices and "str" not in self.kinds:
                return node, f"must be one of {', '.join(map(repr, self.choices))}, not {node.value!r:.60}"
            return None
        if kind not in self.kinds:
            # A bool is an int in Python, and a number may stand for a truth.
            if (kind == "bool" and "int" in self.kinds) or (self.choices and kind != "str"):
                return None
            return node, f"must be {self.text}, not {_described(node, kind)}"
        if kind in _SEQUENCE and self.items is not None:
            return self._inside(getattr(node, "elts", []), self.items, depth)
        if kind == "dict" and self.values is not None and isinstance(node, ast.Dict):
            return self._inside(node.values, self.values, depth)
        return None

    def _inside(self, nodes: list[ast.expr], accepted: Accepts, depth: int) -> tuple[ast.expr, str] | None:
        for each in nodes[:_LOOKED_AT]:
            if (found := accepted.misfit(each, depth + 1)) is not None:
                return found[0], f"holds a value that {found[1]}"
        return None


def kind_of(node: ast.expr) -> str | None:
    """Return the kind of a literal: str, int, float, bool, None, list, dict, set, tuple; None for all else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = kind_of(node.operand)
        return inner if inner in ("int", "float") else None
    if isinstance(node, ast.Constant):
        name = type(node.value).__name__
        return {"NoneType": "None"}.get(name, name if name in _PLAIN else None)
    if isinstance(node, ast.JoinedStr):
        return "str"
    for kind, types in _LITERALS.items():
        if isinstance(node, types):
            return kind
    return None


_LITERALS: dict[str, tuple[type, ...]] = {
    "list": (ast.List, ast.ListComp),
    "dict": (ast.Dict, ast.DictComp),
    "set": (ast.Set, ast.SetComp),
    "tuple": (ast.Tuple,),
}


def _described(node: ast.expr, kind: str) -> str:
    if isinstance(node, ast.Constant):
        return f"{node.value!r:.40}"
    return f"a {kind}"


@lru_cache(maxsize=4_096)
def accepts(annotation: str) -> Accepts | None:
    """Return what a type text takes, or None where it takes anything or is not understood."""
    try:
        tree = ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _read(tree, annotation)


def _read(node: ast.expr, text: str) -> Accepts | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _read(node.left, text), _read(node.right, text)
        if left is None or right is None:
            return None
        items = right.items if left.items is None else left.items if right.items is None else None
        values = right.values if left.values is None else left.values if right.values is None else None
        return Accepts(text, left.kinds | right.kinds, left.choices + right.choices, items, values)
    if isinstance(node, ast.Constant) and node.value is None:
        return Accepts(text, frozenset({"None"}))
    if isinstance(node, ast.Name):
        return _named(node.id, text)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return _generic(node.value.id, node.slice, text)
    return None


def _named(name: str, text: str) -> Accepts | None:
    if name == "Query":
        return Accepts(text, frozenset())
    if name in _LISTS:
        return Accepts(text, frozenset(_SEQUENCE))
    if name in _DICTS:
        return Accepts(text, frozenset({"dict"}))
    return Accepts(text, frozenset(_PLAIN[name])) if name in _PLAIN else None


def _generic(name: str, inside: ast.expr, text: str) -> Accepts | None:
    if name == "Literal":
        options = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        values = tuple(each.value for each in options if isinstance(each, ast.Constant))
        return Accepts(text, frozenset(), values) if len(values) == len(options) else None
    if name in _LISTS:
        return Accepts(text, frozenset(_SEQUENCE), items=_read(inside, ast.unparse(inside)))
    if name in _DICTS and isinstance(inside, ast.Tuple) and len(inside.elts) == 2:
        value = inside.elts[1]
        return Accepts(text, frozenset({"dict"}), values=_read(value, ast.unparse(value)))
    return None
