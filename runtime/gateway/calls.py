"""A call over HTTP is one method of one actor: arguments in, one answer out.

This is the hot path. What most requests do not ask for (another format, a tag, an idempotency key) is looked at
only when a header or the query string speaks of it.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

from runtime.context import CallContext
from runtime.errors import Forbidden, InputError, MethodNotAllowed
from runtime.gateway.access import Access
from runtime.gateway.aliases import spelled_as_declared
from runtime.gateway.bodies import Bodies, Shape, check_media_type, query_arguments
from runtime.gateway.exchange import JSON, NOSNIFF, Exchange
from runtime.gateway.formats import MEDIA, choose_format, render_rows
from runtime.gateway.metrics import Metrics
from runtime.gateway.rates import Rates
from runtime.gateway.routes import Route, Routes, Target
from runtime.gateway.transfers import send_download, take_upload
from runtime.host import Host
from runtime.idempotency import Keyed, Once, check_key, fingerprint
from runtime.ids import ActorAddress, check_name
from runtime.instance import Wrap
from runtime.method import MethodSpec
from runtime.storage.transaction import Transaction
from runtime.streams import Download

__all__ = ("Calls",)

_PLAIN_ACCEPT = frozenset({None, b"*/*", b"application/json"})
_VOLATILE = re.compile(rb'"duration_ms":[0-9.e+-]+')
_TAGGED_UP_TO = 1024 * 1024
_WRITING = frozenset({"PUT", "PATCH", "DELETE"})


class Calls:
    """Serves calls."""

    def __init__(self, host: Host, access: Access, rates: Rates, metrics: Metrics) -> None:
        self._host = host
        self._access = access
        self._rates = rates
        self._metrics = metrics
        self._limits = host.settings.limits
        self._bodies = Bodies(self._limits)
        self._once = Once(host)

    async def serve(self, x: Exchange, target: Target) -> None:
        """Answer one call; raises what becomes a problem."""
        route = target.route
        spec = route.spec
        x.label = route.counts
        grant = x.grant
        if grant is None:
            grant = x.grant = self._access.quick(x.headers, x.scope) or await self._access.ask(
                x.headers, x.scope
            )
            if self._rates.active:
                self._rates.take(grant, x)
        if spec.scope not in grant.scopes:
            raise missing_scope(spec.scope)
        context = CallContext(grant.account, self._deadline(x), (), x.request_id, grant.scopes)
        address = target.address(grant.account)
        if x.method == "POST" or (target.given is not None and x.method in _WRITING):
            shape = None if target.given is None else _Shape(spec, target.given)
            if route.upload is not None:
                await self._serve_upload(x, route, address, context, shape)
                return
            body = await self._bodies.read(x)
            if shape is not None and x.method == "DELETE":
                shape.given.update(query_arguments(x.scope["query_string"], route.texts))
            kwargs = await self._bodies.arguments(x, spec, body, shape)
            if b"idempotency-key" in x.headers and not spec.idempotent:
                await self._serve_once(x, route, address, kwargs, context)
                return
            if not route.has_rows or (
                x.headers.get(b"accept") in _PLAIN_ACCEPT and not x.scope["query_string"]
            ):
                answer = await self._host.call(address, spec, kwargs, context, wire=True)
                if type(answer) is bytes:
                    if spec.scope == "run":
                        self._metrics.ran(answer)
                    await x.reply(200, answer, JSON)
                else:
                    await self._serve_stream(x, answer)
                return
            await self._serve_formatted(x, route, address, kwargs, context, {})
        elif x.method in route.allow:
            await self._serve_get(
                x, route, address, context, None if target.given is None else _Shape(spec, target.given)
            )
        else:
            raise not_allowed(x.method, route.allow)

    async def serve_run(self, x: Exchange, routes: Routes, type_name: str, default: str) -> None:
        """Answer a call of `run` that names its actor in the body, as `session`, or not at all."""
        body = await self._bodies.read(x)
        if body:
            check_media_type(x.headers.get(b"content-type"))
        given = self._bodies.parse(body) if body else {}
        if not isinstance(given, dict):
            raise InputError("The body must be an object.", hint='Send {"code": "…", "session": "…"}.')
        name = given.pop("session", default)
        target = routes.target(type_name, check_name(name), "run")
        route = target.route
        x.label = route.counts
        assert x.grant is not None
        if route.spec.scope not in x.grant.scopes:
            raise missing_scope(route.spec.scope)
        context = CallContext(x.grant.account, self._deadline(x), (), x.request_id, x.grant.scopes)
        kwargs = route.spec.bind(given)
        address = target.address(x.grant.account)
        if b"idempotency-key" in x.headers:
            await self._serve_once(x, route, address, kwargs, context)
            return
        answer = await self._host.call(address, route.spec, kwargs, context, wire=True)
        self._metrics.ran(answer)
        await x.reply(200, answer, JSON)

    def _deadline(self, x: Exchange) -> float:
        most = self._limits.call_s
        asked = x.headers.get(b"x-request-timeout")
        if asked is not None:
            try:
                seconds = float(asked)
            except ValueError:
                seconds = -1.0
            if not 0 < seconds < 1e9:
                raise InputError(
                    "X-Request-Timeout is not a positive number.",
                    hint=f"Send seconds, such as 2.5; at most {most:g} are given.",
                    limit="call_s",
                )
            most = min(most, seconds)
        return time.monotonic() + most

    # Reads by GET

    async def _serve_get(
        self, x: Exchange, route: Route, address: ActorAddress, context: CallContext, shape: Shape | None
    ) -> None:
        x.body_done = True
        given = query_arguments(x.scope["query_string"], route.texts)
        if shape is not None:
            given = shape(given)
        if route.has_rows:
            wanted = {"format": given.pop("format")} if "format" in given else {}
            kwargs = route.spec.bind(given, lax=True)
            await self._serve_formatted(x, route, address, kwargs, context, wanted)
            return
        kwargs = route.spec.bind(given, lax=True)
        await self._serve_tagged(x, route, address, kwargs, context)

    async def _serve_tagged(
        self,
        x: Exchange,
        route: Route,
        address: ActorAddress,
        kwargs: dict[str, Any],
        context: CallContext,
    ) -> None:
        """Answer a GET in JSON, with a tag; a read does not make an actor."""
        version: list[str] = []
        wrap = await self._versioned(address, route, version)
        answer = await self._host.call(
            address, route.spec, kwargs, context, wire=True, wrap=wrap, create=route.makes
        )
        if type(answer) is not bytes:
            await self._serve_stream(x, answer)
            return
        await self._reply_tagged(x, answer, JSON, version)

    async def _versioned(self, address: ActorAddress, route: Route, out: list[str]) -> Wrap | None:
        """Return a wrap that notes the file's version inside the unit; None where the method is not one unit."""
        if route.spec.kind != "unit":
            return None
        instance = await self._host.acquire(address, create=False)
        if instance is None:
            return None

        def wrap(run: Any, tx: Transaction) -> Any:
            out.append(instance.version)
            return run(tx)

        return wrap

    async def _reply_tagged(
        self, x: Exchange, body: bytes, kind: tuple[bytes, bytes], version: list[str]
    ) -> None:
        """Send a body with a weak tag of the file's version and of what is in the body, or 304.

        The version alone would not do: an answer may also depend on the time, or on counters in memory.
        """
        headers = [kind, NOSNIFF, (b"cache-control", b"private, no-cache"), (b"vary", b"accept")]
        if version and len(body) <= _TAGGED_UP_TO:
            content = hashlib.blake2b(kind[1] + _VOLATILE.sub(b"", body), digest_size=9).hexdigest()
            tag = f'W/"{version[0]}-{content}"'.encode()
            headers.append((b"etag", tag))
            asked = x.headers.get(b"if-none-match")
            if asked is not None and tag[2:] in {t.strip().removeprefix(b"W/") for t in asked.split(b",")}:
                await x.begin(304, *headers[2:])
                await x.send({"type": "http.response.body", "body": b""})
                return
        await x.reply(200, body, *headers)

    # Rows in other formats

    async def _serve_formatted(
        self,
        x: Exchange,
        route: Route,
        address: ActorAddress,
        kwargs: dict[str, Any],
        context: CallContext,
        wanted: dict[str, Any],
    ) -> None:
        if x.method == "POST":
            wanted = query_arguments(x.scope["query_string"], frozenset({"format"}))
            if unknown := wanted.keys() - {"format"}:
                raise InputError(
                    f"There is no URL parameter {sorted(unknown)[0]!r:.80} here.",
                    hint="A POST takes its arguments in the body; only `format` goes into the URL.",
                )
        name = choose_format(wanted.get("format"), x.headers.get(b"accept"))
        is_get = x.method != "POST"
        if name == "json":
            if is_get:
                await self._serve_tagged(x, route, address, kwargs, context)
            else:
                answer = await self._host.call(address, route.spec, kwargs, context, wire=True)
                await x.reply(200, answer, JSON)
            return
        version: list[str] = []
        cut: list[str] = []
        outer = await self._versioned(address, route, version) if is_get else None

        def wrap(run: Any, tx: Transaction) -> bytes:
            # Rendered in the actor's thread: ten thousand rows would hold up the event loop.
            rows = run(tx) if outer is None else outer(run, tx)
            if rows.truncated:
                cut.append(rows.limit or "true")
            return render_rows(rows, name)

        kwargs["row_format"] = "arrays"
        body = await self._host.call(
            address, route.spec, kwargs, context, wrap=wrap, create=not is_get or route.makes
        )
        if cut:
            x.add_header(b"x-truncated", cut[0].encode())
        kind = (b"content-type", MEDIA[name])
        if is_get:
            await self._reply_tagged(x, body, kind, version)
        else:
            await x.reply(200, body, kind, NOSNIFF)

    # Once

    async def _serve_once(
        self,
        x: Exchange,
        route: Route,
        address: ActorAddress,
        kwargs: dict[str, Any],
        context: CallContext,
        content: str = "",
    ) -> None:
        key = check_key(x.headers[b"idempotency-key"])
        request = fingerprint(
            route.spec.name, {k: v for k, v in kwargs.items() if k != route.upload}, content
        )
        answer, replayed = await self._once.call(Keyed(address, route.spec, kwargs, context, key, request))
        if replayed:
            x.add_header(b"idempotent-replay", b"true")
        elif route.spec.scope == "run":
            self._metrics.ran(answer)
        await x.reply(200, answer, JSON)

    # Files

    async def _serve_upload(
        self, x: Exchange, route: Route, address: ActorAddress, context: CallContext, shape: Shape | None
    ) -> None:
        given = query_arguments(x.scope["query_string"], route.texts)
        async with take_upload(x, self._host.settings) as (upload, fields, content):
            assert route.upload is not None
            named = {**given, **fields} if shape is None else shape({**given, **fields})
            kwargs = route.spec.bind({**named, route.upload: upload}, lax=True)
            # The time that the body took is not the call's.
            fresh = CallContext(context.account, self._deadline(x), (), x.request_id, context.scopes)
            if b"idempotency-key" in x.headers and not route.spec.idempotent:
                await self._serve_once(x, route, address, kwargs, fresh, content)
                return
            answer = await self._host.call(address, route.spec, kwargs, fresh, wire=True)
            if type(answer) is bytes:
                await x.reply(200, answer, JSON)
            else:
                await self._serve_stream(x, answer)

    async def _serve_stream(self, x: Exchange, answer: Any) -> None:
        if not isinstance(answer, Download):
            raise TypeError(f"a method answered {type(answer).__name__} where bytes or a Download is needed")
        await send_download(x, answer)


class _Shape:
    """Makes the arguments of a call that came by an alias."""

    __slots__ = ("given", "spec")

    def __init__(self, spec: MethodSpec, given: dict[str, Any]) -> None:
        self.spec = spec
        self.given = dict(given)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        named = spelled_as_declared(self.spec, data)
        for name in self.given.keys() & named.keys():
            if named[name] != self.given[name]:
                raise InputError(
                    f"The argument {name!r} is in the path and in the request, and they differ.",
                    hint="Leave it out of the request.",
                )
        return {**named, **spelled_as_declared(self.spec, self.given)}


def missing_scope(scope: str) -> Forbidden:
    """Return the error of a key that lacks a scope."""
    return Forbidden(
        f"The key lacks the scope {scope!r}.",
        hint=f"Use a key with the scope {scope!r} (or admin): duralite keys create --scope {scope}.",
        scope=scope,
    )


def not_allowed(method: str, allow: tuple[str, ...], advice: str = "") -> MethodNotAllowed:
    """Return the error of an HTTP method that a path does not answer; `advice` is added to its hint."""
    hint = f"Use {' or '.join(allow)}. {advice}".strip()
    return MethodNotAllowed(f"This path does not answer {method[:20]}.", hint=hint, allow=list(allow))
