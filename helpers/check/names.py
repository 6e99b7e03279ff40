"""Names: what each name of a program means, told from everything that the program ever binds it to.

The order of statements is not followed. A name means a helper where all that is bound to it, anywhere in its
scope, is that helper; whatever else is bound to it makes it the program's own, of which nothing is claimed.
So an alias (`q = db.query`) is seen through, and a parameter named `tools` is left alone.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field

from runtime import errors

__all__ = ("BUILTINS", "Binding", "Scope", "known_name")

Binding = ast.expr | str | None
"""What is bound: an expression, the path of a helper by import (`db.query`), or None for anything else."""

BUILTINS = frozenset(dir(builtins)) | {"__file__", "__annotations__"}
_ERRORS = frozenset(errors.__all__)


def known_name(name: str) -> bool:
    """Tell whether a name is there without being bound: a builtin, or an error class of the helpers."""
    return name in BUILTINS or name in _ERRORS or name.endswith("Error")


@dataclass(slots=True, eq=False)
class Scope:
    """One scope: module, function, class or comprehension, with all that is ever bound in it."""

    kind: str
    parent: Scope | None = None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)

    @property
    def in_function(self) -> bool:
        """Whether code here runs when a function is called, if ever."""
        scope: Scope | None = self
        while scope is not None:
            if scope.kind == "function":
                return True
            scope = scope.parent
        return False

    def bind(self, name: str, value: Binding = None) -> None:
        """Note that a name is bound here, or where a `global` or `nonlocal` statement says."""
        self.names.setdefault(name, []).append(value)
        if name in self.elsewhere:
            # Which of the outer scopes is meant does not matter: in each the name is no longer sure.
            scope = self.parent
            while scope is not None:
                scope.names.setdefault(name, []).append(value)
                scope = scope.parent

    def function(self) -> Scope:
        """Return the scope that a walrus binds in: not that of a comprehension."""
        scope = self
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        return scope

    def look_up(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """Return the scope where a name is bound, seen from here, and what is bound to it."""
        scope: Scope | None = self
        own = True
        while scope is not None:
            # What a class binds, the functions in it do not see.
            if (own or scope.kind != "class") and name in scope.names:
                return scope, scope.names[name]
            own = own and scope.kind == "comprehension"
            scope = scope.parent
        return None
