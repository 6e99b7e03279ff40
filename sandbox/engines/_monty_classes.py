"""Classes in the subset that monty runs: classes that inherit, decorated methods, exceptions of the program's own.

monty has classes of plain methods and simple variables. A class that inherits gets copies of what it inherits.
An exception of the program's own is a plain class; what is raised is a builtin exception that carries it
(`PRELUDE`), and every handler takes it out again. A class that needs more is left as it is, and monty says so.
"""

from __future__ import annotations

import ast
import builtins
import copy

from runtime import errors

from ._monty_library import PREFIX

__all__ = ("DB_ERRORS", "HELPER_ERRORS", "PRELUDE", "helper_error", "lower_classes")

DB_ERRORS = ("DatabaseError", "DataError", "IntegrityError", "OperationalError", "ProgrammingError")
HELPER_ERRORS = ("HelperError", "ToolError", *DB_ERRORS, *errors.__all__)
"""Classes of errors that helpers raise; a program may name them without an import."""

_EXCEPTIONS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)
_MOST_COPIED = 50_000
_NO_BASE = frozenset({"object", "ABC", "Protocol"})
_CARRIED = """
    def __init__(self, *args):
        self.args = args
"""
_SHOWN = f"""
    def __str__(self):
        return {PREFIX}message(self)
    def __repr__(self):
        return type(self).__name__ + (repr(self.args) if len(self.args) != 1 else "(" + repr(self.args[0]) + ")")
"""

PRELUDE = f"""
{PREFIX}thrown = {{}}
{PREFIX}causes = {{}}

def {PREFIX}message(error):
    if len(error.args) == 1:
        return repr(error.args[0]) if error.{PREFIX}carrier is KeyError else str(error.args[0])
    return str(error.args) if error.args else ""

def {PREFIX}raise(error):
    if type(error).__name__ == "type":
        error = error()
    if not hasattr(error, "{PREFIX}carrier"):
        return error
    message = str(error)
    carrier = error.{PREFIX}carrier(message)
    {PREFIX}thrown[id(carrier)] = (carrier, error)
    {PREFIX}tell(type(error).__name__, message)
    return carrier

def {PREFIX}from(error, cause):
    error = {PREFIX}raise(error)
    {PREFIX}causes[id({PREFIX}caught(error))] = cause
    return error

def {PREFIX}cause(error):
    return {PREFIX}causes.get(id(error))

def {PREFIX}caught(error):
    return {PREFIX}thrown[id(error)][1] if id(error) in {PREFIX}thrown else error

def {PREFIX}isinstance(value, kinds):
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if isinstance(kind, tuple):
            if {PREFIX}isinstance(value, kind):
                return True
        elif hasattr(kind, "{PREFIX}lineage"):
            if hasattr(value, "{PREFIX}lineage") and kind.__name__ in value.{PREFIX}lineage:
                return True
        elif hasattr(value, "{PREFIX}carrier"):
            if isinstance(value.{PREFIX}carrier(""), kind):
                return True
        elif isinstance(value, kind):
            return True
    return False
"""


def helper_error(name: str) -> str:
    """Return the source of one class of helper errors."""
    lineage = (name, "HelperError") + (("DatabaseError",) if name in DB_ERRORS else ())
    return (
        f"class {name}:\n    {PREFIX}lineage = {lineage!r}\n    {PREFIX}carrier = RuntimeError\n"
        f"    code = None\n    hint = None{_CARRIED}{_SHOWN}"
    )


class _NotLoweredError(Exception):
    """Raised inside this module where a class needs what monty has no equal for."""


def lower_classes(tree: ast.Module) -> ast.Module:
    """Return the program with its classes lowered, those that cannot be as they were."""
    known: dict[str, _Class] = {}
    room = _Room(_MOST_COPIED)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            known[node.name] = _Class(node, known, room)
    lowered = {name: each for name, each in known.items() if each.lower()}
    properties = {name for each in lowered.values() for name in each.properties}
    lowered_tree: ast.Module = _Uses(lowered, properties).visit(tree)
    return lowered_tree


class _Room:
    """How many nodes may still be copied: inheritance of hostile depth must not make a text of any size."""

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def take(self, statement: ast.stmt) -> None:
        """Count a copy.

        Raises:
            _NotLoweredError: there is no more room.
        """
        self._left -= sum(1 for _ in ast.walk(statement))
        if self._left < 0:
            raise _NotLoweredError


class _Class:
    """One class of the program, on its way into the subset."""

    def __init__(self, node: ast.ClassDef, known: dict[str, _Class], room: _Room) -> None:
        self.node = node
        self._room = room
        self.properties: set[str] = set()
        self.outside: list[ast.stmt] = []
        self.class_methods: dict[str, str] = {}
        self.bases: list[_Class] = []
        self.carrier: str | None = None
        self._plain = not (node.bases or node.keywords)
        self._sound = not node.keywords
        for base in node.bases:
            name = (
                base.id
                if isinstance(base, ast.Name)
                else base.attr
                if isinstance(base, ast.Attribute)
                else ""
            )
            if name in known:
                self.bases.append(known[name])
            elif name in _EXCEPTIONS or name in HELPER_ERRORS:
                self.carrier = name if name in _EXCEPTIONS else "RuntimeError"
            elif name not in _NO_BASE:
                self._sound = False
        for parent in self.bases:
            self.carrier = self.carrier or parent.carrier
            self._sound = self._sound and parent._sound
        if (self.bases or self.carrier) and node.decorator_list:
            self._sound = False

    def methods(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """Return the methods by name, those that were inherited too once the class is lowered."""
        return {
            each.name: each
            for each in self.node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def lineage(self) -> list[str]:
        """Return the names of the class and of all that it inherits from."""
        return list(
            dict.fromkeys([self.node.name, *(name for base in self.bases for name in base.lineage())])
        )

    def after(self) -> list[ast.stmt]:
        """Return the statements that give the class its class methods, once it is there."""
        name = self.node.name
        text = "\n".join(
            f"{name}.{public} = lambda *args, **kwargs: {inner}({name}, *args, **kwargs)"
            for public, inner in self.class_methods.items()
        )
        return [ast.copy_location(each, self.node) for each in ast.parse(text).body]

    def lower(self) -> bool:
        """Lower the class in place; tell whether that could be done."""
        if not self._sound:
            return False
        before = self.node.body
        self.node.body = copy.deepcopy(before)
        try:
            self._lower_methods()
            self._inherit()
        except _NotLoweredError:
            self.node.body = before
            self.outside.clear()
            self.properties.clear()
            self.class_methods.clear()
            return False
        self.node.bases = []
        return True

    def _lower_methods(self) -> None:
        body: list[ast.stmt] = []
        for each in self.node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                body += self._method(each)
            elif not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
                body.append(each)
        self.node.body = body or [ast.Pass()]

    def _method(self, each: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
        names = [d.id if isinstance(d, ast.Name) else "?" for d in each.decorator_list]
        each.decorator_list = []
        _Super(self, each).visit(each)
        match names:
            case [] | ["abstractmethod"]:
                return [each]
            case ["property"] | ["cached_property"]:
                self.properties.add(each.name)
                each.name = f"{PREFIX}get_{each.name}"
                return [each]
            case ["staticmethod"] | ["classmethod"]:
                # An attribute that is a function is not bound, which is what a static method wants.
                inner = f"{PREFIX}{self.node.name}_{each.name}"
                public, each.name = each.name, inner
                self.outside.append(each)
                if names == ["classmethod"]:
                    self.class_methods[public] = inner
                    return []
                return [_assigned(public, ast.Name(inner, ast.Load()))]
            case _:
                raise _NotLoweredError

    def _inherit(self) -> None:
        own = {name for statement in self.node.body for name in _bound(statement)}
        for base in self.bases:
            for statement in base.node.body:
                names = _bound(statement)
                if names and not names & own:
                    self._room.take(statement)
                    self.node.body.append(_inherited(statement, base.node.name))
                    own |= names
            self.properties |= base.properties
            self.class_methods = base.class_methods | self.class_methods
        made: list[ast.stmt] = [_constant(f"{PREFIX}lineage", tuple(self.lineage()))]
        if self.carrier is not None:
            made.append(_assigned(f"{PREFIX}carrier", ast.Name(self.carrier, ast.Load())))
            text = ("" if "__init__" in own else _CARRIED) + ("" if "__str__" in own else _SHOWN)
            if text:
                made += ast.parse(f"class _:\n{text}").body[0].body  # type: ignore[attr-defined]
            start = self.methods().get("__init__")
            if start is not None and start.args.args:
                given = ", ".join(f"{each.arg}" for each in start.args.args[1:])
                rest = f"*{start.args.vararg.arg}," if start.args.vararg else ""
                owner = start.args.args[0].arg
                start.body[:0] = ast.parse(f"{owner}.args = ({given}{',' if given else ''}{rest})").body
        kept = [
            each for each in self.node.body if not _bound(each) & {f"{PREFIX}lineage", f"{PREFIX}carrier"}
        ]
        self.node.body = [*made, *(each for each in kept if not isinstance(each, ast.Pass))]


class _Super(ast.NodeTransformer):
    """Puts the base's own method in the place of `super().method(…)`."""

    def __init__(self, owner: _Class, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._owner = owner
        self._first = method.args.args[0].arg if method.args.args else ""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                return self._of_base(name, node)
            case ast.Name(id="super"):
                return node
        return node

    def _of_base(self, name: str, node: ast.Call) -> ast.AST:
        first = ast.Name(self._first, ast.Load())
        for base in self._owner.bases:
            if name in base.methods():
                function = ast.Attribute(ast.Name(base.node.name, ast.Load()), name, ast.Load())
                return ast.Call(function, [first, *node.args], node.keywords)
        if name == "__init__" and self._owner.carrier is not None:
            setting = [first, ast.Constant("args"), ast.Tuple(list(node.args), ast.Load())]
            return ast.Call(ast.Name("setattr", ast.Load()), setting, [])
        if name == "__init__":
            return ast.Constant(None)
        raise _NotLoweredError


class _Uses(ast.NodeTransformer):
    """Changes what stands outside classes: handlers, `raise`, `isinstance`, properties, `len`."""

    def __init__(self, lowered: dict[str, _Class], properties: set[str]) -> None:
        self._lowered = lowered
        self._properties = properties
        methods = {name for each in lowered.values() for name in each.methods()}
        self._truths = bool(methods & {"__bool__", "__len__"})
        self._errors = {name for name, each in lowered.items() if each.carrier} | set(HELPER_ERRORS)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        found = self._lowered.get(node.name)
        if found is None or found.node is not node:
            return node
        return [*found.outside, node, *found.after()]

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        self.generic_visit(node)
        if node.exc is not None and node.cause is not None:
            node.exc = _called("from", node.exc, node.cause)
            node.cause = None
        elif node.exc is not None:
            node.exc = _called("raise", node.exc)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        error = ast.Call(ast.Name("AssertionError", ast.Load()), [node.msg] if node.msg else [], [])
        failed = ast.copy_location(ast.Raise(error), node)
        return ast.copy_location(ast.If(ast.UnaryOp(ast.Not(), node.test), [failed], []), node)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        self.generic_visit(node)
        if any(_mentioned(handler.type) & self._errors for handler in node.handlers):
            node.handlers = [_one_handler(node.handlers)]
        else:
            for handler in node.handlers:
                if handler.name:
                    value = _called("caught", ast.Name(handler.name, ast.Load()))
                    handler.body.insert(0, ast.copy_location(_assigned(handler.name, value), handler))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Name(id="isinstance") if len(node.args) == 2:
                node.func = ast.Name(f"{PREFIX}isinstance", ast.Load())
            case ast.Name(id="len") if self._lowered and len(node.args) == 1:
                node.func = ast.Name(f"{PREFIX}len", ast.Load())
            case ast.Name(id="bool") if self._truths and len(node.args) == 1:
                node.func = ast.Name(f"{PREFIX}true", ast.Load())
        return node

    def _test(self, node: ast.If | ast.While | ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.test = self._truth(node.test)
        return node

    visit_If = visit_While = visit_IfExp = _test  # noqa: N815

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            node.operand = self._truth(node.operand)
        return node

    def _truth(self, node: ast.expr) -> ast.expr:
        """Return a condition in which instances are as true as their class says."""
        if isinstance(node, ast.BoolOp):
            node.values = [self._truth(value) for value in node.values]
        elif self._truths and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            return ast.copy_location(_called("true", node), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            if node.attr == "__cause__":
                return ast.copy_location(_called("cause", node.value), node)
            if node.attr in self._properties:
                return ast.copy_location(_called("get", node.value, ast.Constant(node.attr)), node)
        return node


def _one_handler(handlers: list[ast.ExceptHandler]) -> ast.ExceptHandler:
    """Return one handler for all exceptions that asks in turn for each class."""
    error = f"{PREFIX}error"
    caught = _called("caught", ast.Name(error, ast.Load()))
    last: list[ast.stmt] = [ast.copy_location(ast.Raise(), handlers[-1])]
    for handler in reversed(handlers):
        body = list(handler.body)
        if handler.name:
            body.insert(0, ast.copy_location(_assigned(handler.name, caught), handler))
        if handler.type is None:
            last = body
        else:
            asked = _called("isinstance", caught, handler.type)
            last = [ast.copy_location(ast.If(asked, body, last), handler)]
    return ast.copy_location(ast.ExceptHandler(ast.Name("Exception", ast.Load()), error, last), handlers[0])


def _inherited(statement: ast.stmt, base: str) -> ast.stmt:
    """Return what a class has of its base: a copy of a method, the very value of a variable."""
    if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
        return _assigned(target.id, ast.Attribute(ast.Name(base, ast.Load()), target.id, ast.Load()))
    return copy.deepcopy(statement)


def _mentioned(node: ast.expr | None) -> set[str]:
    if node is None:
        return set()
    return {
        n.id if isinstance(n, ast.Name) else n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Name | ast.Attribute)
    }


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def _called(function: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(f"{PREFIX}{function}", ast.Load()), list(args), [])


def _assigned(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _constant(name: str, value: tuple[str, ...]) -> ast.stmt:
    return _assigned(name, ast.Tuple([ast.Constant(each) for each in value], ast.Load()))
