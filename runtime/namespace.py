"""A namespace gives stubs; a stub is an actor seen from outside: its methods, awaited.

A stub call looks the same wherever the actor lives: arguments and answers are plain data, checked against the
method's spec on the way in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from runtime.ids import ActorAddress, ActorId, check_name

if TYPE_CHECKING:
    from runtime.actor import Actor
    from runtime.host import Host

__all__ = ("Namespace", "Stub")


class Namespace:
    """The actors of one type that one account owns."""

    def __init__(self, host: Host, actor_type: type[Actor], owner: str) -> None:
        self._host = host
        self._type = actor_type
        self._owner = owner

    def get(self, name: str) -> Stub:
        """Return the stub of an actor; the actor itself is made by the first call.

        Raises:
            InputError: the name cannot be an actor's.
        """
        return Stub(self._host, ActorAddress(self._type.type_name, self._owner, check_name(name)))

    async def delete(self, name: str) -> bool:
        """Delete an actor and return whether there was one."""
        return await self._host.delete(ActorAddress(self._type.type_name, self._owner, check_name(name)))


class Stub:
    """An actor seen from outside: `await stub.query("SELECT 1")`."""

    __slots__ = ("_address", "_host")

    def __init__(self, host: Host, address: ActorAddress) -> None:
        self._host = host
        self._address = address

    @property
    def address(self) -> ActorAddress:
        """The actor's type, owner and name."""
        return self._address

    @property
    def id(self) -> ActorId:
        """The actor's id."""
        return self._host.id_of(self._address)

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)
        spec = self._host.spec(self._address.type, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._host.call(self._address, spec, spec.bind_call(args, kwargs))

        return call
