"""Calls of helpers against their specs: names that are not there, arguments that are missing, unknown or of the wrong kind.

The rules are those by which the sandbox binds a call, so that what is refused here would fail there.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from helpers.spec import HelperSpec, ParamSpec

from .names import known_name
from .report import Finding, Findings
from .scope import ROOTS, Reach, snake_case
from .values import accepts, kind_of
from .walk import Place, Walk

__all__ = ("HelperRules",)

_JSON = {"true": "True", "false": "False", "null": "None", "undefined": "None", "nil": "None", "NULL": "None"}
_MOST_GUESSES = 20
_ROWS = frozenset((*dir(list), "columns", "truncated"))
_PATCHED = ("hasattr", "getattr", "dir")
_MISPLACED = {
    "return": ("return stands outside a function", "End with the value as the last line, without return."),
    "yield": ("yield stands outside a function", "Collect the values in a list."),
    "await": ("await stands in a function that is not async", "Make it `async def`, and await its call."),
    "async for": ("async for stands in a function that is not async", "Make it `async def`."),
    "async with": ("async with stands in a function that is not async", "Make it `async def`."),
    "break": ("break stands outside a loop", "Use if and else instead."),
    "continue": ("continue stands outside a loop", "Use if and else instead."),
}


class HelperRules:
    """Everything that a program asks of its helpers, judged."""

    def __init__(self, walk: Walk, reach: Reach, found: Findings) -> None:
        self._walk = walk
        self._reach = reach
        self._tree = reach.tree
        self._found = found
        self._catches = walk.catches_calls
        self._guesses = _MOST_GUESSES
        self._asked = {
            reach.path(call.args[0], place.scope)
            for call, place in walk.calls
            if isinstance(call.func, ast.Name) and call.func.id in _PATCHED and call.args
        }

    def apply(self) -> None:
        """Judge the whole program."""
        for node, word in self._walk.misplaced:
            message, hint = _MISPLACED[word]
            self._found.add(_at(node, f"{message}.", hint, rule=f"syntax.{word}"), certain=True)
        for statement, place in self._walk.imports:
            self._import(statement, place)
        for node, place in self._walk.attributes:
            self._attribute(node, place)
        for call, place in self._walk.calls:
            self._call(call, place)
        for node, place in self._walk.subscripts:
            self._subscript(node, place)
        for name, place in self._walk.loads:
            self._name(name, place)

    def _sure(self, place: Place) -> bool:
        """Tell whether a mistake at this place ends the run, if it is reached at all."""
        walk = self._walk
        return not (walk.wild or place.guarded or (self._catches and place.scope.in_function))

    def _add(self, node: ast.AST, place: Place, message: str, hint: str, near: str | None, rule: str) -> None:
        self._found.add(_at(node, message, hint, near, rule=rule), certain=self._sure(place))

    # Names

    def _import(self, node: ast.Import | ast.ImportFrom, place: Place) -> None:
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif node.level:
            return
        else:
            modules = [node.module or ""]
        for module in modules:
            top, dot, _ = module.partition(".")
            if module != "helpers" and top in ROOTS:
                inner = ", ".join(alias.name for alias in node.names) if dot else top
                hint = (
                    f"Write `from helpers import {module.partition('.')[2]}`."
                    if top == "helpers" and inner
                    else f"{top} is in scope without an import; leave the line out."
                )
                self._add(node, place, f"There is no module {module!r}.", hint, None, "helper.import")
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            for alias in node.names:
                if alias.name not in (*ROOTS, "*"):
                    self._member(node, "helpers", alias.name, place)

    def _attribute(self, node: ast.Attribute, place: Place) -> None:
        base = self._reach.path(node.value, place.scope)
        if base is None:
            self._of_rows(node, place)
        elif base in self._tree.members:
            self._member(node, base, node.attr, place)
        elif base in self._tree.helpers:
            if not node.attr.startswith("_") and node.attr not in self._walk.stored:
                message = f"{base} is a function, and has no {node.attr!r}."
                hint = f"Call it first: {self._tree.helpers[base].call()}."
                self._add(node, place, message, hint, None, "helper.unknown")
        elif base == "inputs" and not hasattr(dict, node.attr):
            message = f"inputs is a dict, and has no attribute {node.attr!r}."
            self._add(node, place, message, f'Write inputs["{node.attr}"].', None, "inputs.attribute")

    def _of_rows(self, node: ast.Attribute, place: Place) -> None:
        if node.attr in _ROWS or node.attr in self._walk.stored or node.attr.startswith("__"):
            return
        if self._reach.query(node.value, place.scope) is not None:
            message = f"The rows of a query have no {node.attr!r}."
            hint = "They are a list of dicts: go through them as they are; .columns and .truncated are there."
            self._add(node, place, message, hint, None, "rows.attribute")

    def _member(self, node: ast.AST, base: str, name: str, place: Place) -> None:
        if self._tree.member(base, name) or self._tree.has(base, name) or name in self._walk.stored:
            return
        near = self._tree.nearest(base, name) if self._may_guess() else None
        members = sorted(self._tree.members[base])
        if near is not None:
            hint = f"Did you mean {near}?"
            if near.startswith("sql.") and base == "db":
                hint = f"{near} builds the statement: db.query({near}(…))."
        elif not members:
            hint = "No tool server is connected here." if base == "tools" else "It is empty."
        else:
            more = ", …" if len(members) > 30 else ""
            hint = f"It has: {', '.join(members[:30])}{more}."
        certain = self._sure(place) and base not in self._asked
        self._found.add(
            _at(node, f"{base} has no {name!r}.", hint, near, rule="helper.unknown"), certain=certain
        )

    def _subscript(self, node: ast.Subscript, place: Place) -> None:
        base = self._reach.path(node.value, place.scope)
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if base is None:
            return
        if base == "inputs":
            self._input(node, key, place)
        elif base in self._tree.members or base in self._tree.helpers:
            inner = self._tree.member(base, _identifier(key)) if isinstance(key, str) else None
            if base in self._tree.helpers:
                hint = f"Call it with parentheses: {self._tree.helpers[base].call()}."
            else:
                hint = f"Write {inner or f'{base}.<name>'}, with a dot."
            self._add(node, place, f"{base} takes no [ ].", hint, inner, "helper.subscript")

    def _input(self, node: ast.Subscript, key: object, place: Place) -> None:
        given = self._reach.inputs
        if given is None or not isinstance(key, str) or key in given or not isinstance(node.ctx, ast.Load):
            return
        near = next(iter(difflib.get_close_matches(key[:80], given, 1)), None) if self._may_guess() else None
        names = ", ".join(map(repr, list(given)[:20])) or "nothing"
        hint = f"Did you mean inputs[{near!r}]?" if near else f"The inputs of this run are: {names}."
        finding = _at(node, f"This run has no input {key!r:.60}.", hint, near, rule="inputs.key")
        self._found.add(finding, certain=False)

    def _name(self, node: ast.Name, place: Place) -> None:
        name = node.id
        if self._walk.star or name in ROOTS or known_name(name) or place.scope.look_up(name) is not None:
            return
        near: str | None = _JSON.get(name)
        if near is not None:
            hint = f"In Python it is {near}."
        else:
            near = self._near_name(name, place)
            hint = f"Did you mean {near}?" if near else "It is bound nowhere; is an import missing?"
        self._found.add(
            _at(node, f"The name {name!r} is not defined.", hint, near, rule="name.undefined"),
            certain=place.certain and self._sure(place) and not self._walk.may_end,
        )

    def _may_guess(self) -> bool:
        """Tell whether there is time for another guess: each compares a name with all that are known."""
        self._guesses -= 1
        return self._guesses >= 0

    def _near_name(self, name: str, place: Place) -> str | None:
        if not self._may_guess():
            return None
        for space in ("db", "sql"):
            if found := self._tree.member(space, name):
                return found
        known = {*ROOTS}
        scope = place.scope
        while scope is not None:
            known |= scope.names.keys()
            if scope.parent is None:
                break
            scope = scope.parent
        near = difflib.get_close_matches(name[:80], known, 1, 0.75)
        return near[0] if near else None

    # Calls

    def _call(self, call: ast.Call, place: Place) -> None:
        path = self._reach.path(call.func, place.scope)
        if path is None:
            return
        spec = self._tree.helpers.get(path)
        if spec is not None:
            certain = self._sure(place) and (not spec.awaitable or self._is_awaited(call))
            for node, message, near in self._mistakes(spec, call):
                finding = _at(node, message, f"Call it as {spec.call()}.", near, rule="helper.arguments")
                self._found.add(finding, certain=certain)
        elif path in self._tree.members:
            names = ", ".join(sorted(self._tree.members[path])[:30]) or "nothing"
            hint = f"Call one of its functions; it has: {names}."
            self._add(call, place, f"{path} is no function.", hint, None, "helper.call")

    def _is_awaited(self, call: ast.Call) -> bool:
        """Tell whether the mistakes of an awaitable call, which fails only where it is awaited, are met for sure."""
        walk = self._walk
        if id(call) in walk.awaited:
            return True
        kept = id(call) in walk.dropped or id(call) in walk.held
        return not (kept or walk.tried or walk.gathers_errors or walk.swallows)

    def _mistakes(self, spec: HelperSpec, call: ast.Call) -> Iterator[tuple[ast.AST, str, str | None]]:
        builder = spec.namespace == "sql"
        parameters = {parameter.name: parameter for parameter in spec.parameters}
        names = [p.name for p in spec.parameters if not (builder and p.keyword_only)]
        open_ended = any(isinstance(arg, ast.Starred) for arg in call.args)
        given = dict(zip(names, call.args, strict=False)) if not open_ended else {}
        if not open_ended and len(call.args) > len(names):
            many = f"{len(names)} argument{'s' if len(names) != 1 else ''}"
            said = " by position" if len(names) < len(parameters) else ""
            yield call.args[len(names)], f"{spec.path} takes {many}{said}, {len(call.args)} are given.", None
        by_name: dict[str, ast.keyword] = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                open_ended = True
                continue
            known = keyword.arg
            if known not in parameters and not builder:
                known = snake_case(known)
            if known not in parameters:
                near = difflib.get_close_matches(known[:80], parameters, 1) if self._may_guess() else []
                guess = f" Did you mean {near[0]}?" if near else ""
                found = near[0] if near else None
                yield keyword, f"{spec.path} has no parameter {keyword.arg!r}.{guess}", found
            elif known in given or known in by_name:
                yield keyword, f"{spec.path} is given {known!r} twice.", None
            else:
                by_name[known] = keyword
        query = self._brings_parameters(spec, call)
        if not open_ended:
            missing = [
                p.name
                for p in spec.parameters
                if p.required and p.name not in given and p.name not in by_name
            ]
            if missing:
                yield call, f"{spec.path} lacks {', '.join(missing)}.", None
            if query and ("params" in given or "params" in by_name):
                yield call, f"{spec.path}: a built query brings its own params.", None
        values = given | {name: keyword.value for name, keyword in by_name.items()}
        for name, value in values.items():
            yield from _misfits(spec, parameters[name], value)

    def _brings_parameters(self, spec: HelperSpec, call: ast.Call) -> bool:
        if [p.name for p in spec.parameters[:2]] != ["sql", "params"] or not call.args:
            return False
        first = call.args[0]
        # A builder that is called on the spot; what a name holds is not followed.
        return (
            isinstance(first, ast.Call)
            and isinstance(first.func, ast.Attribute)
            and isinstance(first.func.value, ast.Name)
            and first.func.value.id == "sql"
            and snake_case(first.func.attr) in self._tree.members["sql"]
        )


def _misfits(
    spec: HelperSpec, parameter: ParamSpec, value: ast.expr
) -> Iterator[tuple[ast.AST, str, str | None]]:
    if spec.namespace == "sql" and kind_of(value) != "str":
        return
    accepted = accepts(parameter.annotation)
    if accepted is None or (kind_of(value) == "None" and not parameter.required):
        return
    if (wrong := accepted.misfit(value)) is not None:
        node, text = wrong
        choices = [each for each in accepted.choices if isinstance(each, str)]
        written = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
        near = difflib.get_close_matches(written[:80], choices, 1)
        yield node, f"{spec.path}: {parameter.name} {text}.", near[0] if near else None


def _identifier(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)


def _at(node: ast.AST, message: str, hint: str | None, near: str | None = None, *, rule: str) -> Finding:
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
    return Finding(line, column, message, hint, near, rule)
