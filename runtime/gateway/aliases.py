"""An alias is a path that a specification names for a method: `GET /api/projects/{name}/data`.

`{name}` is the actor's name, any other part in braces an argument of the method. A path without `{name}` leads to
the actor that the type calls its default (`Actor.default_name`), one for each account. The rest of the arguments
comes as with any call; camelCase spellings are taken for the snake_case names that the methods have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.actor import Actor
from runtime.errors import InputError
from runtime.gateway.bodies import json_or_text
from runtime.gateway.routes import Route, Target, decode_segment
from runtime.ids import check_name
from runtime.method import MethodSpec

__all__ = ("Alias", "Aliases", "snake_case", "spelled_as_declared")

_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Alias:
    """One declared path."""

    __slots__ = ("default", "parts", "path", "route", "verb")

    def __init__(self, declared: str, route: Route, default: str | None) -> None:
        self.verb, _, self.path = declared.partition(" ")
        self.parts = self.path.split("/")[1:]
        self.route = route
        self.default = default
        self._check(declared)

    def _check(self, declared: str) -> None:
        names = {part[1:-1] for part in self.parts if part[:1] == "{"}
        spec = self.route.spec
        known = {parameter.name for parameter in spec.parameters}
        unknown = {name for name in names - {"name"} if snake_case(name) not in known}
        if self.verb not in _VERBS or self.path[:1] != "/" or self.parts[0] in ("", "v1"):
            raise ValueError(f"{spec.name}: the alias {declared!r} is not of the form `GET /api/…`")
        if unknown:
            raise ValueError(f"{spec.name}: the alias {declared!r} has no argument for {sorted(unknown)}")
        if self.verb == "GET" and not spec.read_only:
            raise ValueError(f"{spec.name}: the alias {declared!r} answers GET, and the method writes")
        if "name" not in names and self.default is None:
            raise ValueError(
                f"{spec.name}: the alias {declared!r} names no actor, and its type has no default"
            )

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return the parts in braces of a path that fits, else None."""
        if len(segments) != len(self.parts):
            return None
        found = {}
        for part, segment in zip(self.parts, segments, strict=True):
            if part[:1] == "{":
                if not segment:
                    return None
                found[part[1:-1]] = segment
            elif part != segment:
                return None
        return found


class Aliases:
    """All aliases of a service."""

    def __init__(self, declared: Iterator[tuple[type[Actor], Route]]) -> None:
        self._by_first: dict[bytes, list[Alias]] = {}
        seen: set[tuple[str, str]] = set()
        for actor_type, route in declared:
            for text in route.spec.aliases:
                alias = Alias(text, route, actor_type.default_name)
                shape = (alias.verb, re.sub(r"\{[^}]*\}", "{}", alias.path))
                if shape in seen:
                    raise ValueError(f"Two methods declare the path {text!r}.")
                seen.add(shape)
                self._by_first.setdefault(alias.parts[0].encode(), []).append(alias)
        for each in self._by_first.values():
            # A literal part goes before one in braces: /sources/search is not a source of that name.
            each.sort(key=lambda alias: [part[:1] == "{" for part in alias.parts])

    def __contains__(self, first: bytes) -> bool:
        return first in self._by_first

    def find(self, verb: str, segments: list[bytes]) -> Target | tuple[str, ...]:
        """Return where a path (without its leading empty segment) leads, or the verbs that it answers: none, if it is unknown.

        Raises:
            BadRequest: the path is not UTF-8.
            InputError: the name cannot be an actor's.
        """
        texts = [decode_segment(segment) for segment in segments]
        allowed: list[str] = []
        for alias in self._by_first.get(segments[0], ()):
            if (found := alias.match(texts)) is None:
                continue
            if verb != alias.verb and not (verb == "HEAD" and alias.verb == "GET"):
                allowed.append(alias.verb)
                continue
            name = found.pop("name", None) or alias.default or ""
            return Target(alias.route, check_name(name), _arguments(alias.route, found))
        return tuple(allowed)


def _arguments(route: Route, found: Mapping[str, str]) -> dict[str, Any]:
    given = {}
    for name, text in found.items():
        key = snake_case(name)
        given[key] = text if key in route.texts else json_or_text(text)
    return given


def snake_case(name: str) -> str:
    """Return `upToStep` as `up_to_step`."""
    return _HUMP.sub(r"_\1", name).lower()


def spelled_as_declared(spec: MethodSpec, given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments under the names that the method has, camelCase ones turned.

    Raises:
        InputError: one is given in both spellings.
    """
    known = {parameter.name for parameter in spec.parameters}
    named: dict[str, Any] = {}
    for name, value in given.items():
        key = name if name in known or snake_case(name) not in known else snake_case(name)
        if key in named:
            raise InputError(f"The argument {key!r} comes twice.", hint="Send each argument once.")
        named[key] = value
    return named
