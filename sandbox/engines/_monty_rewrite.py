"""Programs are put into the subset of Python that monty runs: what has an equal there is written so, line for line.

Only forms with the same meaning are changed: `del` of an item, generator functions (made lists first), `async
with` of locks, decorated methods, imports of modules that `monty_library` has, an await of a plain value. What
has no equal stays, and monty says itself that it lacks it. A program that cannot be read here goes on unchanged.

The text is hostile: it is bounded before it is parsed, and never run on this side.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from dataclasses import dataclass

from helpers.check.syntax import parse

from ._monty_classes import PRELUDE as _CLASSES
from ._monty_classes import lower_classes
from ._monty_library import PREFIX, Library, libraries

__all__ = ("PRELUDE", "Rewritten", "rewrite")

_READ_CHARS = 24 * 1024
"""A longer program goes on as it is: to put it into the subset would take a second and more."""

PRELUDE = f"""{_CLASSES}
_AWAITABLE = ("coroutine", "Future", "Task")

_CALLABLE = ("function", "builtin_function_or_method", "type", "method", "partial")

async def {PREFIX}await(value):
    return await value if type(value).__name__ in _AWAITABLE else value

def {PREFIX}value(value):
    if type(value).__name__ in ("dict_keys", "dict_values", "dict_items", "range"):
        return list(value)
    return repr(value) if hasattr(value, "{PREFIX}carrier") else value

def {PREFIX}delete(container, key):
    container.pop(key)

{PREFIX}facts = {{}}

def {PREFIX}noted(rows):
    made, columns, truncated = rows
    {PREFIX}facts[id(made)] = (made, columns, truncated)
    return made

def {PREFIX}get(value, name):
    if hasattr(value, "{PREFIX}get_" + name):
        return getattr(value, "{PREFIX}get_" + name)()
    return getattr(value, name)

def {PREFIX}len(value):
    return value.__len__() if hasattr(value, "__len__") else len(value)

def {PREFIX}true(value):
    if hasattr(value, "__bool__"):
        return value.__bool__()
    return value.__len__() > 0 if hasattr(value, "__len__") else bool(value)

{PREFIX}round = round

def round(number, ndigits=None):
    if isinstance(number, float) and isinstance(ndigits, int) and ndigits >= 0 and abs(number) < 1e300:
        return float(f"{{number:.{{min(ndigits, 340)}}f}}")
    return {PREFIX}round(number) if ndigits is None else {PREFIX}round(number, ndigits)

def callable(value):
    return type(value).__name__ in _CALLABLE or hasattr(value, "__call__")

def {PREFIX}columns(value):
    return {PREFIX}facts[id(value)][1] if id(value) in {PREFIX}facts else value.columns

def {PREFIX}truncated(value):
    return {PREFIX}facts[id(value)][2] if id(value) in {PREFIX}facts else value.truncated
"""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A program for monty: its text, what it imports of the library, and for each line the line it came from."""

    code: str
    imported: tuple[Library, ...] = ()
    lines: tuple[int, ...] = ()

    def line(self, number: int) -> int:
        """Return the line of the program as it was sent."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else number


def rewrite(code: str) -> Rewritten:
    """Return a program as monty runs it; unchanged where it cannot be read."""
    tree = parse(code) if len(code) <= _READ_CHARS else None
    if not isinstance(tree, ast.Module):
        return Rewritten(code)
    ends = type(tree.body[-1]) if tree.body else ast.Pass
    try:
        tree = lower_classes(tree)
        lowering = _Lowering(tree)
        tree = lowering.visit(tree)
        _give_value(tree, ends)
        text = ast.unparse(ast.fix_missing_locations(tree))
        return Rewritten(text, tuple(lowering.used.values()), _line_map(tree, text))
    except (RecursionError, MemoryError, SyntaxError, ValueError):
        # What Python itself cannot write down again: numbers of thousands of digits, some nested f-strings.
        return Rewritten(code)


def _line_map(tree: ast.Module, text: str) -> tuple[int, ...]:
    """Tell for each line of the text from which line of the program it comes; both have the same statements."""
    lines = [1] * (text.count("\n") + 1)
    for old, new in zip(_statements(tree.body), _statements(ast.parse(text).body), strict=False):
        for number in range(new.lineno, (new.end_lineno or new.lineno) + 1):
            lines[number - 1] = old.lineno
    return tuple(lines)


def _statements(body: Iterable[ast.AST]) -> Iterable[ast.stmt]:
    for node in body:
        if isinstance(node, ast.stmt):
            yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            yield from _statements(getattr(node, name, ()))


def _name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def _call(function: str, *args: ast.expr) -> ast.Call:
    return ast.Call(_name(f"{PREFIX}{function}"), list(args), [])


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Lowering(ast.NodeTransformer):
    """Changes statements and expressions in place."""

    def __init__(self, tree: ast.Module) -> None:
        self.used: dict[str, Library] = {}
        self._modules: dict[str, Library] = {}
        self._own = {node.name for node in ast.walk(tree) if isinstance(node, _DEFINITIONS)}
        self._enters = "__aenter__" in self._own

    # Imports

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.stmt]:
        kept, made = [], list[ast.stmt]()
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            library = libraries().get(alias.name)
            if alias.name == "sqlite3":
                made.append(_assign(bound, _name(f"{PREFIX}module_sqlite3"), node))
            elif alias.name == "helpers":
                made += [] if bound == "helpers" else [_assign(bound, _name("helpers"), node)]
            elif library is None:
                kept.append(alias)
            elif alias.name in _PARTIAL:
                kept.append(alias)
                self.used[alias.name] = self._modules[bound] = library
            else:
                self.used[alias.name] = library
                made.append(_assign(bound, _name(library.namespace), node))
        if kept:
            made.insert(0, ast.copy_location(ast.Import(kept), node))
        return made or ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        kept, made = [], list[ast.stmt]()
        library = libraries().get(node.module or "") if not node.level else None
        for alias in node.names:
            bound = alias.asname or alias.name
            if node.module == "helpers" and alias.name != "*":
                inner = alias.name if alias.name == "inputs" else f"helpers.{alias.name}"
                made.append(_assign(bound, ast.parse(inner, mode="eval").body, node))
            elif library is not None and alias.name in library.names:
                self.used[library.module] = library
                made.append(_assign(bound, _name(library.name(alias.name)), node))
            else:
                kept.append(alias)
        if kept:
            made.insert(0, ast.copy_location(ast.ImportFrom(node.module, kept, node.level), node))
        return made or ast.copy_location(ast.Pass(), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
            library = self._modules.get(node.value.id)
            if library is not None and node.attr in library.names:
                return ast.copy_location(_name(library.name(node.attr)), node)
            if node.value.id == "str" and "str" not in self._own:
                return _text_method(node)
        self.generic_visit(node)
        if node.attr in ("columns", "truncated") and isinstance(node.ctx, ast.Load):
            return ast.copy_location(_call(node.attr, node.value), node)
        return node

    # Expressions

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        node.value = _call("await", node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "next" and node.args:
            node.args[0] = _iterator(node.args[0])
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        node.value = _iterator(node.value)
        return node

    # Statements

    def visit_Delete(self, node: ast.Delete) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        made: list[ast.stmt] = []
        for target in node.targets:
            match target:
                case ast.Name(id=name):
                    made.append(_assign(name, ast.Constant(None), node))
                case ast.Subscript(value=value, slice=ast.Slice() as part):
                    whole = ast.Subscript(value, part, ast.Store())
                    made.append(ast.copy_location(ast.Assign([whole], ast.List([], ast.Load())), node))
                case ast.Subscript(value=value, slice=key):
                    made.append(ast.copy_location(ast.Expr(_call("delete", value, key)), node))
                case _:
                    return node
        return made

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        if self._enters:
            return node
        return ast.copy_location(ast.With(node.items, node.body), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if not node.decorator_list:
            _lower_generator(node)
        return node


_PARTIAL = frozenset({"asyncio", "collections", "dataclasses", "functools", "re"})
"""Modules that monty has, of which the library holds what is missing."""


def _assign(name: str, value: ast.expr, like: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], value), like)


def _iterator(node: ast.expr) -> ast.expr:
    """Return a generator expression, which is a list in monty, as an iterator again."""
    return ast.Call(_name("iter"), [node], []) if isinstance(node, ast.GeneratorExp) else node


def _text_method(node: ast.Attribute) -> ast.AST:
    """Return `str.lower` as a function: monty has the methods, and not their class's."""
    body = ast.parse(f"lambda text, *rest: text.{node.attr}(*rest)", mode="eval").body
    return ast.copy_location(body, node)


class _Yields(ast.NodeTransformer):
    """Puts `append` in the place of `yield`, in one function and not in those inside it."""

    def __init__(self) -> None:
        self.found = 0
        self.whole = True

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Yield | ast.YieldFrom):
            self.found += 1
            value: ast.expr = node.value.value or ast.Constant(None)
            self.generic_visit(value)
            verb = "append" if isinstance(node.value, ast.Yield) else "extend"
            made = ast.Call(ast.Attribute(_name(f"{PREFIX}made"), verb, ast.Load()), [value], [])
            return ast.copy_location(ast.Expr(made), node)
        self.generic_visit(node)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return ast.copy_location(ast.Return(_made()), node)

    def visit_Yield(self, node: ast.Yield) -> ast.AST:
        self.whole = False
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        self.whole = False
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        # It might never end by itself: a generator waits at each yield, a list does not.
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        if endless and not any(isinstance(inner, ast.Break | ast.Return) for inner in ast.walk(node)):
            self.whole = False
        self.generic_visit(node)
        return node

    def _inner(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _inner  # noqa: N815


def _made() -> ast.expr:
    return ast.Call(_name("iter"), [_name(f"{PREFIX}made")], [])


def _lower_generator(node: ast.FunctionDef) -> None:
    """Make a generator function return an iterator over all that it would yield, if nobody can tell the difference."""
    if not any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)) or not _is_quiet(
        node
    ):
        return
    lowering = _Yields()
    changed = [lowering.visit(statement) for statement in copy.deepcopy(node.body)]
    if not lowering.found or not lowering.whole:
        return
    first, last = node.body[0], node.body[-1]
    start = _assign(f"{PREFIX}made", ast.List([], ast.Load()), first)
    end = ast.copy_location(ast.Return(_made()), last)
    node.body = [start, *changed, end]


_QUIET = frozenset(
    {
        "range",
        "len",
        "enumerate",
        "zip",
        "sorted",
        "reversed",
        "min",
        "max",
        "sum",
        "list",
        "dict",
        "set",
        "tuple",
    }
    | {
        "str",
        "int",
        "float",
        "bool",
        "isinstance",
        "abs",
        "round",
        "iter",
        "map",
        "filter",
        "any",
        "all",
        "divmod",
    }
    | {
        f"{PREFIX}{name}"
        for name in ("await", "columns", "truncated", "get", "len", "true", "isinstance", "delete")
    }
)


def _is_quiet(node: ast.FunctionDef) -> bool:
    """Tell whether nothing that a generator does is seen from outside: it touches what is its own, and reads."""
    own = {each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    own |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise | ast.Global | ast.Nonlocal | ast.Try | ast.With):
            return False
        if isinstance(inner, ast.Call) and not _is_quiet_call(inner.func, own | {node.name}):
            return False
        if isinstance(inner, ast.Attribute | ast.Subscript) and not isinstance(inner.ctx, ast.Load):
            root = inner.value
            if not (isinstance(root, ast.Name) and root.id in own):
                return False
    return True


def _is_quiet_call(function: ast.expr, own: set[str]) -> bool:
    match function:
        case ast.Name(id=name):
            return name in _QUIET or name in own
        case ast.Attribute(value=ast.Name(id="db"), attr="query"):
            return True
        case ast.Attribute(value=ast.Name(id=name)):
            return name in own or name in ("json", "re", "math", "itertools", "datetime", "sql")
        case ast.Attribute(value=ast.Constant() | ast.JoinedStr()):
            return True
        case ast.Attribute(value=inner):
            return isinstance(inner, ast.Call | ast.Attribute | ast.Subscript) and _is_quiet_call(inner, own)
        case ast.Call(func=inner):
            return _is_quiet_call(inner, own)
        case ast.Subscript(value=inner):
            return _is_quiet_call(inner, own)
    return False


def _give_value(tree: ast.Module, ends: type[ast.stmt]) -> None:
    """Let the program end with the expression that is its value, awaited where that was forgotten.

    `ends` is what its last statement was as it was sent; only an expression or an assignment has a value.
    """
    if not tree.body:
        return
    last = tree.body[-1]
    value: ast.expr | None = None
    if not issubclass(ends, ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign):
        pass
    elif isinstance(last, ast.Expr):
        value = last.value
        tree.body.pop()
    elif isinstance(last, ast.Assign):
        value = _load(last.targets[0])
    elif isinstance(last, ast.AugAssign) or (isinstance(last, ast.AnnAssign) and last.value is not None):
        value = _load(last.target)
    if value is not None:
        given = _call("value", ast.Await(_call("await", value)))
        tree.body.append(ast.copy_location(ast.Expr(given), last))
    else:
        tree.body.append(ast.copy_location(ast.Expr(ast.Constant(None)), last))


def _load(target: ast.expr) -> ast.expr | None:
    """Return the expression that reads a target back, None where reading could have effects."""
    match target:
        case ast.Name(id=name):
            return _name(name)
        case ast.Starred(value=value):
            return _load(value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            items = [item for item in map(_load, elements) if item is not None]
            return ast.Tuple(items, ast.Load()) if len(items) == len(elements) else None
        case ast.Attribute(value=value, attr=attr):
            base = _load(value)
            return ast.Attribute(base, attr, ast.Load()) if base else None
        case ast.Subscript(value=value, slice=ast.Constant() | ast.Name() as key):
            base = _load(value)
            return ast.Subscript(base, key, ast.Load()) if base else None
    return None
