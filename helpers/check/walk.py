"""A walk goes through a program once and keeps what the rules look at: calls, attributes, names, each in its place.

A place says in which scope a node stands, and what is sure about it: whether it runs whenever the program
does, and whether an error there could be caught. Rules refuse a program only for what is sure.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from .names import Scope

__all__ = ("Place", "Walk")

# Names through which a program can change what names mean, so that nothing about it is sure.
_WILD = frozenset(
    {"exec", "eval", "globals", "setattr", "delattr", "__builtins__", "__import__", "__dict__", "importlib"}
    | {
        "builtins",
        "modules",
        "mock",
        "inspect",
        "gc",
        "_getframe",
        "__setattr__",
        "__getattribute__",
        "_convert_",
    }
)
_CATCHING = ("__exit__", "__aexit__", "contextmanager", "suppress", "ExitStack", "raises", "assertRaises")
_EXITS = frozenset({"exit", "quit", "_exit", "SystemExit", "abort", "kill", "raise_signal"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands.

    `certain`: it runs whenever the program runs. `guarded`: an error there may be caught on the spot. `loop`:
    it stands inside a loop. `block`: what encloses it, for `await` and `return`.
    """

    scope: Scope
    certain: bool = True
    guarded: bool = False
    loop: bool = False
    block: str = "module"


@dataclass(slots=True)
class Walk:
    """All that one walk over a program kept."""

    module: Scope = field(default_factory=lambda: Scope("module"))
    loads: list[tuple[ast.Name, Place]] = field(default_factory=list)
    calls: list[tuple[ast.Call, Place]] = field(default_factory=list)
    attributes: list[tuple[ast.Attribute, Place]] = field(default_factory=list)
    subscripts: list[tuple[ast.Subscript, Place]] = field(default_factory=list)
    imports: list[tuple[ast.Import | ast.ImportFrom, Place]] = field(default_factory=list)
    loops: list[tuple[ast.expr, ast.expr, Place]] = field(default_factory=list)
    misplaced: list[tuple[ast.AST, str]] = field(default_factory=list)
    awaited: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    tried: list[ast.stmt] = field(default_factory=list)
    wild: bool = False
    star: bool = False
    may_end: bool = False
    gathers_errors: bool = False
    swallows: bool = False

    @classmethod
    def over(cls, tree: ast.Module, code: str) -> Walk:
        """Walk over a program; `swallows` is whether a `with` block may keep back what is raised in it.

        Raises:
            RecursionError: it is nested more deeply than Python's own stack allows.
        """
        walk = cls(swallows=any(word in code for word in _CATCHING))
        walk._block(tree.body, Place(walk.module))
        return walk

    @property
    def catches_calls(self) -> bool:
        """Whether an error inside a function may be caught where the function is called."""
        if self.gathers_errors or self.swallows:
            return True
        own = self.functions | self.module.names.keys() | self.parameters
        calls = (n for statement in self.tried for n in ast.walk(statement) if isinstance(n, ast.Call))
        return any(_runs_own_code(call, own) for call in calls)

    # Statements

    def _block(self, body: Iterable[ast.stmt], place: Place) -> None:
        for statement in body:
            self._visit(statement, place if not self.may_end else _unsure(place))

    def _visit(self, node: ast.AST, place: Place) -> None:
        visit = _VISITS.get(type(node))
        if visit is not None:
            visit(self, node, place)
        else:
            self._children(node, place)

    def _children(self, node: ast.AST, place: Place) -> None:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                self._visit(value, place)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self._visit(item, place)

    def _each(self, nodes: Iterable[ast.AST | None], place: Place) -> None:
        for node in nodes:
            if node is not None:
                self._visit(node, place)

    def _expression(self, node: ast.Expr, place: Place) -> None:
        self.dropped.add(id(node.value))
        self._visit(node.value, place)

    def _assign(self, node: ast.Assign, place: Place) -> None:
        self.held.add(id(node.value))
        self._visit(node.value, place)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._bind(target.id, place, node.value)
            else:
                self._visit(target, place)

    def _annotated(self, node: ast.AnnAssign, place: Place) -> None:
        if node.value is not None:
            self._visit(node.value, place)
            if isinstance(node.target, ast.Name):
                self._bind(node.target.id, place, node.value)
        elif isinstance(node.target, ast.Name):
            place.scope.names.setdefault(node.target.id, []).append(None)
        if not isinstance(node.target, ast.Name):
            self._visit(node.target, place)
        self._visit(node.annotation, _unsure(place))

    def _if(self, node: ast.If, place: Place) -> None:
        self._visit(node.test, place)
        self._each((*node.body, *node.orelse), _unsure(place))

    def _while(self, node: ast.While, place: Place) -> None:
        self._visit(node.test, place)
        self._each(node.body, replace(place, certain=False, loop=True))
        self._each(node.orelse, _unsure(place))

    def _for(self, node: ast.For | ast.AsyncFor, place: Place) -> None:
        if isinstance(node, ast.AsyncFor):
            self._asynchronous(node, "async for", place)
        self._visit(node.iter, place)
        self.loops.append((node.target, node.iter, place))
        self._visit(node.target, place)
        self._each(node.body, replace(place, certain=False, loop=True))
        self._each(node.orelse, _unsure(place))

    def _try(self, node: ast.Try, place: Place) -> None:
        inside = _unsure(place)
        if node.handlers:
            self.tried += node.body
            self._each(node.body, replace(inside, guarded=True))
        else:
            self._each(node.body, inside)
        for handler in node.handlers:
            if handler.type is not None:
                self._visit(handler.type, inside)
            if handler.name:
                self._bind(handler.name, place)
            self._each(handler.body, inside)
        self._each((*node.orelse, *node.finalbody), inside)

    def _with(self, node: ast.With | ast.AsyncWith, place: Place) -> None:
        if isinstance(node, ast.AsyncWith):
            self._asynchronous(node, "async with", place)
        for item in node.items:
            self._visit(item.context_expr, place)
            if item.optional_vars is not None:
                self._visit(item.optional_vars, place)
        self._each(node.body, replace(place, certain=False, guarded=place.guarded or self.swallows))

    def _match(self, node: ast.Match, place: Place) -> None:
        self._visit(node.subject, place)
        self._each(node.cases, _unsure(place))

    def _jump(self, node: ast.Break | ast.Continue, place: Place) -> None:
        if not place.loop:
            self.misplaced.append((node, "break" if isinstance(node, ast.Break) else "continue"))

    def _return(self, node: ast.Return, place: Place) -> None:
        if place.block in ("module", "class"):
            self.misplaced.append((node, "return"))
        self._children(node, place)

    def _scope_words(self, node: ast.Global | ast.Nonlocal, place: Place) -> None:
        place.scope.elsewhere.update(node.names)
        for name in node.names:
            place.scope.bind(name)

    def _import(self, node: ast.Import, place: Place) -> None:
        self.imports.append((node, place))
        for alias in node.names:
            top = alias.name.partition(".")[0]
            path = "helpers" if alias.name == "helpers" else None
            self._bind(alias.asname or top, place, path)
            self.wild = self.wild or top in _WILD

    def _import_from(self, node: ast.ImportFrom, place: Place) -> None:
        self.imports.append((node, place))
        inside = f"{node.module}." if node.module == "helpers" and not node.level else None
        for alias in node.names:
            if alias.name == "*":
                self.star = True
                self.wild = self.wild or inside is None
            else:
                path = f"{inside}{alias.name}" if inside else None
                self._bind(alias.asname or alias.name, place, path)
                self._remember(alias.name)

    # Definitions

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: Place) -> None:
        self._bind(node.name, place)
        self.functions.add(node.name)
        self._each(node.decorator_list, place)
        self._signature(node.args, place)
        if node.returns is not None:
            self._visit(node.returns, _unsure(place))
        block = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
        self._inner(node, node.args, node.body, place, block)

    def _lambda(self, node: ast.Lambda, place: Place) -> None:
        self._signature(node.args, place)
        self._inner(node, node.args, [node.body], place, "lambda")

    def _signature(self, args: ast.arguments, place: Place) -> None:
        self._each((*args.defaults, *args.kw_defaults), place)
        self._each((each.annotation for each in _arguments(args)), _unsure(place))

    def _inner(
        self, node: ast.AST, args: ast.arguments, body: Iterable[ast.AST], place: Place, block: str
    ) -> None:
        scope = Scope("function", place.scope)
        self._type_parameters(node, place)
        for each in _arguments(args):
            scope.bind(each.arg)
            self.parameters.add(each.arg)
        self._each(body, Place(scope, certain=False, guarded=False, block=block))

    def _class(self, node: ast.ClassDef, place: Place) -> None:
        self._bind(node.name, place)
        self.functions.add(node.name)
        self._type_parameters(node, place)
        self._each((*node.decorator_list, *node.bases, *node.keywords), place)
        scope = Scope("class", place.scope)
        for name in ("__module__", "__qualname__"):
            scope.bind(name)
        self._each(node.body, replace(place, scope=scope, block="class"))

    def _type_parameters(self, node: ast.AST, place: Place) -> None:
        for each in getattr(node, "type_params", ()):
            place.scope.bind(each.name)

    def _comprehension(self, node: ast.AST, place: Place) -> None:
        scope = Scope("comprehension", place.scope)
        inner = replace(place, scope=scope, certain=False, loop=True)
        if isinstance(node, ast.GeneratorExp):
            # Its body runs where it is consumed.
            inner = replace(inner, block="generator" if inner.block in ("def", "lambda") else inner.block)
        for number, each in enumerate(node.generators):  # type: ignore[attr-defined]
            self._visit(each.iter, inner if number else place)
            self.loops.append((each.target, each.iter, inner))
            self._visit(each.target, inner)
            self._each(each.ifs, inner)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)  # type: ignore[attr-defined]
        self._each(parts, inner)

    # Expressions

    def _name(self, node: ast.Name, place: Place) -> None:
        if isinstance(node.ctx, ast.Load):
            self.loads.append((node, place))
            self._remember(node.id)
        else:
            self._bind(node.id, place)

    def _attribute(self, node: ast.Attribute, place: Place) -> None:
        if isinstance(node.ctx, ast.Load):
            self.attributes.append((node, place))
        else:
            self.stored.add(node.attr)
        self._remember(node.attr)
        self._visit(node.value, place)

    def _subscript(self, node: ast.Subscript, place: Place) -> None:
        self.subscripts.append((node, place))
        self._children(node, place)

    def _call(self, node: ast.Call, place: Place) -> None:
        self.calls.append((node, place))
        self.gathers_errors = self.gathers_errors or any(k.arg == "return_exceptions" for k in node.keywords)
        self._children(node, place)

    def _await(self, node: ast.Await, place: Place) -> None:
        self.awaited.add(id(node.value))
        self._asynchronous(node, "await", place)
        self._visit(node.value, place)

    def _asynchronous(self, node: ast.AST, word: str, place: Place) -> None:
        if place.block in ("def", "lambda", "class"):
            self.misplaced.append((node, word))

    def _yield(self, node: ast.Yield | ast.YieldFrom, place: Place) -> None:
        if place.block in ("module", "class"):
            self.misplaced.append((node, "yield"))
        self._children(node, place)

    def _walrus(self, node: ast.NamedExpr, place: Place) -> None:
        self._visit(node.value, place)
        self._bind(node.target.id, replace(place, scope=place.scope.function()), node.value)

    def _either(self, node: ast.BoolOp, place: Place) -> None:
        self._visit(node.values[0], place)
        self._each(node.values[1:], _unsure(place))

    def _conditional(self, node: ast.IfExp, place: Place) -> None:
        self._visit(node.test, place)
        self._each((node.body, node.orelse), _unsure(place))

    def _compare(self, node: ast.Compare, place: Place) -> None:
        self._each((node.left, node.comparators[0]), place)
        self._each(node.comparators[1:], _unsure(place))

    def _capture(self, node: ast.MatchAs | ast.MatchStar, place: Place) -> None:
        if node.name:
            self._bind(node.name, place)
        self._children(node, place)

    def _mapping(self, node: ast.MatchMapping, place: Place) -> None:
        if node.rest:
            self._bind(node.rest, place)
        self._children(node, place)

    def _type_alias(self, node: ast.AST, place: Place) -> None:
        name = getattr(node, "name", None)
        if isinstance(name, ast.Name):
            self._bind(name.id, place)
        self._type_parameters(node, place)
        self._visit(node.value, _unsure(place))  # type: ignore[attr-defined]

    def _bind(self, name: str, place: Place, value: ast.expr | str | None = None) -> None:
        place.scope.bind(name, value)
        if isinstance(value, ast.Lambda):
            self.functions.add(name)

    def _remember(self, name: str) -> None:
        self.wild = self.wild or name in _WILD
        self.may_end = self.may_end or name in _EXITS


def _runs_own_code(call: ast.Call, own: set[str]) -> bool:
    match call.func:
        case ast.Name(id=name):
            called = name in own
        case ast.Attribute(attr=name):
            called = name in own
        case _:
            called = True
    given = (*call.args, *(keyword.value for keyword in call.keywords))
    return called or any(isinstance(each, ast.Name) and each.id in own for each in given)


def _unsure(place: Place) -> Place:
    return replace(place, certain=False) if place.certain else place


def _arguments(args: ast.arguments) -> list[ast.arg]:
    given = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return [*given, *(each for each in (args.vararg, args.kwarg) if each is not None)]


_VISITS: dict[type, Callable[[Walk, ast.AST, Place], None]] = {
    getattr(ast, name): getattr(Walk, method)
    for name, method in {
        "Expr": "_expression",
        "Assign": "_assign",
        "AnnAssign": "_annotated",
        "If": "_if",
        "While": "_while",
        "For": "_for",
        "AsyncFor": "_for",
        "Try": "_try",
        "TryStar": "_try",
        "With": "_with",
        "AsyncWith": "_with",
        "Match": "_match",
        "Break": "_jump",
        "Continue": "_jump",
        "Return": "_return",
        "Global": "_scope_words",
        "Nonlocal": "_scope_words",
        "Import": "_import",
        "ImportFrom": "_import_from",
        "FunctionDef": "_function",
        "AsyncFunctionDef": "_function",
        "Lambda": "_lambda",
        "ClassDef": "_class",
        "ListComp": "_comprehension",
        "SetComp": "_comprehension",
        "DictComp": "_comprehension",
        "GeneratorExp": "_comprehension",
        "Name": "_name",
        "Attribute": "_attribute",
        "Subscript": "_subscript",
        "Call": "_call",
        "Await": "_await",
        "Yield": "_yield",
        "YieldFrom": "_yield",
        "NamedExpr": "_walrus",
        "BoolOp": "_either",
        "IfExp": "_conditional",
        "Compare": "_compare",
        "MatchAs": "_capture",
        "MatchStar": "_capture",
        "MatchMapping": "_mapping",
        "TypeAlias": "_type_alias",
    }.items()
    if hasattr(ast, name)
}
