"""Routes come from the registry: one for each public method of each actor type.

A request's raw path is split before it is decoded, so that a name may hold any character, a slash among them.
What was found for a path is remembered, because most requests repeat a path.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from runtime.errors import BadRequest, MethodNotFound
from runtime.gateway.bodies import text_arguments
from runtime.gateway.metrics import Metrics, RouteMetrics
from runtime.host import Host
from runtime.ids import ActorAddress, check_name
from runtime.method import MethodSpec
from runtime.storage.rows import Rows
from runtime.streams import Upload

__all__ = ("RESERVED", "Route", "Routes", "Target", "decode_segment")

RESERVED = frozenset({"keys", "run"})
"""Segments after /v1/ that are no actor types."""

_REMEMBERED = 20_000
_LONGEST_REMEMBERED = 300


class Route:
    """A method as the edge serves it."""

    __slots__ = ("counts", "has_rows", "makes", "spec", "texts", "type_name", "upload")

    def __init__(
        self, type_name: str, spec: MethodSpec, counts: RouteMetrics, *, makes: bool = False
    ) -> None:
        # Whether a read makes the actor: a catalogue that nobody wrote to yet is empty, not missing.
        self.makes = makes
        self.type_name = type_name
        self.spec = spec
        self.texts = text_arguments(spec)
        self.has_rows = spec.returns is Rows
        self.upload = next((p.name for p in spec.parameters if is_upload(p.annotation)), None)
        self.counts = counts

    @property
    def allow(self) -> tuple[str, ...]:
        """The HTTP methods that the route answers."""
        return ("GET", "HEAD", "POST") if self.spec.read_only and self.upload is None else ("POST",)


class Target:
    """A route and the actor's name, as a path gave them."""

    __slots__ = ("_address", "given", "name", "route")

    def __init__(self, route: Route, name: str, given: dict[str, Any] | None = None) -> None:
        self.route = route
        self.name = name
        self.given = given
        """Arguments that stood in the path of an alias; None for the method's own path."""
        self._address: ActorAddress | None = None

    def address(self, account: str) -> ActorAddress:
        """Return the actor's address for the account that asks."""
        known = self._address
        if known is None or known.owner != account:
            known = self._address = ActorAddress(self.route.type_name, account, self.name)
        return known


class Routes:
    """All routes of a service."""

    def __init__(self, host: Host, metrics: Metrics) -> None:
        self._host = host
        self._routes: dict[tuple[str, str], Route] = {}
        self._targets: dict[bytes, Target] = {}
        for actor_type in host.registry:
            if actor_type.type_name in RESERVED:
                raise ValueError(f"The actor type name {actor_type.type_name!r} is taken by /v1/ itself.")
            for spec in actor_type.methods.values():
                if spec.public:
                    counts = metrics.route(actor_type.type_name, spec.name)
                    self._routes[actor_type.type_name, spec.name] = Route(
                        actor_type.type_name, spec, counts, makes=actor_type.default_name is not None
                    )

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._routes.values())

    def known(self, raw_path: bytes) -> Target | None:
        """Return what a path led to before."""
        return self._targets.get(raw_path)

    def find(self, raw_path: bytes, parts: list[bytes]) -> Target:
        """Return what `/v1/{type}/{name}/{method}` leads to.

        Raises:
            TypeNotFound: no such actor type.
            MethodNotFound: no such method, or not one for the outside.
            InputError: the name cannot be an actor's.
        """
        target = self.target(decode_segment(parts[2]), decode_segment(parts[3]), decode_segment(parts[4]))
        if len(raw_path) <= _LONGEST_REMEMBERED:
            if len(self._targets) >= _REMEMBERED:
                self._targets.clear()
            self._targets[raw_path] = target
        return target

    def target(self, type_name: str, name: str, method: str) -> Target:
        """Return the target of a call by its parts; raises as `find`."""
        route = self._routes.get((type_name, method))
        if route is None:
            spec = self._host.spec(type_name, method)
            raise MethodNotFound(
                f"The actor type {type_name!r} has no method {spec.name!r} for callers from outside.",
                hint=f"GET /v1 lists the methods of {type_name}.",
            )
        return Target(route, check_name(name))


def decode_segment(segment: bytes) -> str:
    """Return one segment of a path, percent-decoded.

    Raises:
        BadRequest: it is not UTF-8.
    """
    if b"%" in segment:
        segment = unquote_to_bytes(segment)
    try:
        return segment.decode()
    except UnicodeDecodeError:
        raise BadRequest(
            "The path is not UTF-8.", hint="Percent-encode the path as UTF-8; a name may be any text."
        ) from None


def is_upload(annotation: object) -> bool:
    """Tell whether a parameter takes the request's body as a file."""
    if annotation is Upload:
        return True
    return getattr(annotation, "__origin__", None) is Upload
