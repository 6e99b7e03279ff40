"""The registry knows actor types by name. The runtime reaches them through import strings only."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from runtime.actor import Actor
from runtime.errors import InputError, MethodNotFound, TypeNotFound
from runtime.method import MethodSpec
from runtime.settings import DEFAULT_TYPES

__all__ = ("Registry",)


class Registry:
    """Actor types by name."""

    def __init__(self, types: Iterable[str | type[Actor]] = DEFAULT_TYPES) -> None:
        self._types: dict[str, type[Actor]] = {}
        for entry in types:
            self.add(self._load(entry) if isinstance(entry, str) else entry)

    def add(self, actor_type: type[Actor]) -> None:
        """Register a type under its `type_name`.

        Raises:
            ValueError: another class holds the name.
        """
        held = self._types.setdefault(actor_type.type_name, actor_type)
        if held is not actor_type:
            raise ValueError(
                f"The actor type {actor_type.type_name!r} is registered twice: {held} and {actor_type}."
            )

    def get(self, name: str) -> type[Actor]:
        """Return a type.

        Raises:
            TypeNotFound: no such type; the hint lists those there are.
        """
        found = self._types.get(name)
        if found is None:
            raise TypeNotFound(
                f"There is no actor type {name[:64]!r}.",
                hint="Known types: " + ", ".join(sorted(self._types)) + ".",
            )
        return found

    def spec(self, type_name: str, method: str) -> MethodSpec:
        """Return the spec of a method of a type.

        Raises:
            TypeNotFound: no such type.
            MethodNotFound: no such method; the hint names the nearest, and lists those there are.
        """
        methods = self.get(type_name).methods
        spec = methods.get(method)
        if spec is None:
            public = sorted(name for name, s in methods.items() if s.public)
            near = get_close_matches(method[:64], public, n=1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise MethodNotFound(
                f"The actor type {type_name!r} has no method {method[:64]!r}.",
                hint=f"{meant}Methods: {', '.join(public)}.",
            )
        return spec

    def __iter__(self) -> Iterator[type[Actor]]:
        return iter(self._types.values())

    def __contains__(self, name: object) -> bool:
        return name in self._types

    @staticmethod
    def _load(path: str) -> type[Actor]:
        module, _, name = path.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"The actor type {path!r:.200} cannot be loaded: {error}.",
                hint="Name it in the setting types as module:Class, and see that Python finds the module.",
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, Actor)):
            raise InputError(
                f"{path!r:.200} is not an actor type.", hint="A type is a subclass of runtime.actor.Actor."
            )
        return loaded
