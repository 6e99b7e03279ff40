"""The registry knows actor types by name. The runtime reaches them through import strings only."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator

from runtime.actor import Actor
from runtime.errors import InputError, TypeNotFound
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
