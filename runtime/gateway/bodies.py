"""A body is read whole within its limits, and becomes the named arguments of a call.

Nothing of a body that is too large stays in memory; what waits in memory for all requests together has a bound of
its own. Arguments come as one JSON object, or, for reads, from the query string.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from runtime.errors import BadRequest, InputError, PayloadTooLarge, Unavailable, UnsupportedMediaType
from runtime.gateway.exchange import Exchange
from runtime.gateway.protocol import take_body
from runtime.limits import Limits
from runtime.method import MethodSpec
from runtime.values import loads

__all__ = ("Bodies", "Shape", "bind_json", "json_or_text", "query_arguments", "text_arguments")

Shape = Callable[[dict[str, Any]], dict[str, Any]]

_THREAD_FROM = 256 * 1024
_BODIES_AT_ONCE = 8
_MAX_ARGUMENTS = 200
_EXACT = 2.0**53
_CONTAINERS = (dict, list)
_HOLDERS = frozenset(_CONTAINERS)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"\\'))
_AS_BRACES = bytes.maketrans(b"[]", b"{}")


class Bodies:
    """Reads JSON bodies within the limits of one service; `limit` names the one for their size."""

    def __init__(self, limits: Limits, limit: str = "max_body_bytes") -> None:
        self._limit = limit
        self._most: int = min(getattr(limits, limit), limits.max_body_bytes)
        self._depth = limits.max_json_depth
        # Chunks of long bodies that wait in memory, over all requests.
        self._held = 0

    async def read(self, exchange: Exchange) -> bytes:
        """Return the whole body.

        Raises:
            PayloadTooLarge: it is longer than `max_body_bytes`.
            Unavailable: too many long bodies arrive at once.
        """
        length = exchange.headers.get(b"content-length")
        if length is not None and len(length) > 5 and _number(length) > self._most:
            raise self._too_large()
        cycle = exchange.cycle
        if cycle is not None and (whole := take_body(cycle)) is not None:
            exchange.body_done = True
            if len(whole) > self._most:
                raise self._too_large()
            return whole
        exchange.reading_since = exchange.started
        message = await exchange.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            body = await self._read_rest(exchange, body)
        elif message["type"] == "http.disconnect":
            raise BadRequest("The client went away before its body was read.")
        exchange.reading_since = None
        exchange.body_done = True
        if len(body) > self._most:
            raise self._too_large()
        return body

    async def _read_rest(self, exchange: Exchange, first: bytes) -> bytes:
        chunks = [first]
        held = 0
        try:
            while True:
                size = len(chunks[-1])
                exchange.received += size
                if exchange.received > self._most:
                    raise self._too_large()
                held += size
                self._held += size
                if self._held > self._most * _BODIES_AT_ONCE:
                    raise Unavailable(
                        "Too many large bodies arrive at once.",
                        hint="Retry in a second.",
                        retry_after=1,
                        limit=self._limit,
                    )
                message = await exchange.receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The client went away before its body was read.")
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(chunks)
        finally:
            self._held -= held

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The body has more than {self._most:,} bytes.",
            hint="Send the data in several calls; files go through a method that takes an upload.",
            limit=self._limit,
        )

    async def arguments(
        self, exchange: Exchange, spec: MethodSpec, body: bytes, shape: Shape | None = None
    ) -> dict[str, Any]:
        """Return checked arguments out of a JSON body; `shape` may add to the object, or rename in it, before the check.

        Raises:
            UnsupportedMediaType: it is declared as something else.
            BadRequest: it is not JSON.
            InputError: the arguments do not fit the method.
        """
        if not body:
            return spec.bind({} if shape is None else shape({}))
        kind = exchange.headers.get(b"content-type")
        if kind != b"application/json":
            check_media_type(kind)
        if b"content-encoding" in exchange.headers:
            raise UnsupportedMediaType(
                "Compressed bodies are not read.", hint="Send the body without Content-Encoding."
            )
        if len(body) > _THREAD_FROM:
            return await asyncio.get_running_loop().run_in_executor(None, self._bound, spec, body, shape)
        return self._bound(spec, body, shape)

    def _bound(self, spec: MethodSpec, body: bytes, shape: Shape | None) -> dict[str, Any]:
        data = self.parse(body)
        if shape is not None and type(data) is dict:
            data = shape(data)
        return bind_json(spec, data)

    def parse(self, body: bytes) -> Any:
        """Return the value of a JSON text that is not too deep.

        Raises:
            BadRequest: it is not JSON.
            InputError: it is nested too deep.
        """
        try:
            value = loads(body)
        except InputError as error:
            if "depth limit" in error.message or "recursion" in error.message:
                raise self._too_deep() from None
            raise BadRequest(error.message, hint=_json_hint(body, error.hint)) from None
        if len(body) > self._depth and _may_be_deeper(body, self._depth):
            self._check_depth(value)
        return value

    def _check_depth(self, value: Any) -> None:
        # Level by level, without recursion: the depth is the attacker's to choose.
        level = [value] if type(value) in _CONTAINERS else []
        for _ in range(self._depth):
            if not level:
                return
            dicts = [holder for holder in level if type(holder) is dict]
            lists = level if not dicts else [holder for holder in level if type(holder) is list]
            items = list(chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists)))
            # Most levels are the last one, which this finds without looking at each value in Python.
            if _HOLDERS.isdisjoint(map(type, items)):
                return
            level = [item for item in items if type(item) in _CONTAINERS]
        if level:
            raise self._too_deep()

    def _too_deep(self) -> InputError:
        return InputError(
            f"The JSON is nested deeper than {self._depth} levels.",
            hint="Flatten it, or send nested data as JSON text.",
            limit="max_json_depth",
        )


def bind_json(spec: MethodSpec, data: Any) -> dict[str, Any]:
    """Return checked arguments out of a JSON value, for which `10.0` is a whole number too.

    Raises:
        InputError: the arguments do not fit the method.
    """
    try:
        return spec.bind(data)
    except InputError:
        if not _whole_floats(spec, data):
            raise
        return spec.bind(data)


def _may_be_deeper(body: bytes, depth: int) -> bool:
    """Tell whether a JSON text may be nested deeper: False is certain, True is to be looked into."""
    left = body.translate(_AS_BRACES, _NOT_STRUCTURE).replace(b'""', b"")
    # What is left of a quote, or an escape, may belong to a string that holds brackets. Of a run of quotes before
    # the first such bracket one stays, because whole strings have two.
    if b'"' in left or b"\\" in left:
        return True
    for _ in range(depth):
        if not left:
            return False
        left = left.replace(b"{}", b"")
    return bool(left)


def _whole_floats(spec: MethodSpec, data: Any) -> bool:
    """Turn `10.0` into `10` for whole-number arguments, and tell whether there were any: to JSON they are the same."""
    if type(data) is not dict:
        return False
    found = False
    for parameter in spec.parameters:
        value = data.get(parameter.name)
        if (
            type(value) is float
            and value.is_integer()
            and abs(value) < _EXACT
            and "integer" in _types_of(parameter.schema)
        ):
            data[parameter.name] = int(value)
            found = True
    return found


def check_media_type(kind: bytes | None) -> None:
    """Refuse a body that is not declared as JSON: a web form must not pass for a call.

    Raises:
        UnsupportedMediaType: it is declared as something else, or not at all.
    """
    plain = (kind or b"").split(b";", 1)[0].strip().lower()
    if plain == b"application/json" or (plain.startswith(b"application/") and plain.endswith(b"+json")):
        return
    given = plain[:80].decode("latin-1")
    raise UnsupportedMediaType(
        f"The body has the content type {given!r}." if given else "The body has no content type.",
        hint="Send JSON with the header `Content-Type: application/json`.",
    )


def text_arguments(spec: MethodSpec) -> frozenset[str]:
    """Return the arguments that a query string gives as they are; all others may be JSON text."""
    return frozenset(p.name for p in spec.parameters if _types_of(p.schema) <= {"string", "null"})


def _types_of(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema names; `any` where it does not say."""
    if "anyOf" in schema:
        return set().union(*(_types_of(option) for option in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return {"string"} if all(isinstance(v, str) for v in values) else {"any"}
    kind = schema.get("type", "any")
    return set(kind) if isinstance(kind, list) else {kind}


def query_arguments(query: bytes, texts: frozenset[str]) -> dict[str, Any]:
    """Return named values out of a query string.

    Raises:
        BadRequest: it is not URL-encoded UTF-8.
        InputError: a name comes twice, or too many come.
    """
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=_MAX_ARGUMENTS,
        )
    except ValueError as error:
        raise BadRequest(
            "The query string cannot be read.", hint="Use name=value pairs, percent-encoded as UTF-8."
        ) from error
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise InputError(
                f"The argument {name!r:.80} comes twice.",
                hint='Send each argument once; lists as JSON text: params=["a", 1].',
            )
        values[name] = text if name in texts else json_or_text(text)
    return values


def json_or_text(text: str) -> Any:
    """Return the value of a text that is JSON, else the text."""
    if text[:1] in '[{"-0123456789tfn' and text:
        try:
            return loads(text)
        except InputError:
            return text
    return text


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRequest("Content-Length is not a number.", hint="Send the body's length in bytes.") from None


def _json_hint(body: bytes, usual: str | None) -> str | None:
    if b"NaN" in body or b"Infinity" in body:
        return 'JSON has no NaN and no Infinity: send null, or {"$float": "Infinity"}.'
    if b"\\ud" in body.lower():
        return "A lone surrogate (\\ud800 to \\udfff without its partner) is not Unicode text: leave it out."
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"The body is not UTF-8 at byte {error.start}: encode it as UTF-8."
    if body.lstrip()[:1] == b"'" or b"{'" in body:
        return 'JSON uses double quotes: {"sql": "SELECT 1"}.'
    return usual
