"""Lists and facts: which actors an account has, what one of them is, and which keys there are.

Every list has one shape, `{items, next, next_url}`, with an opaque cursor; `next` is null on the last page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runtime.accounts import (
    ACCOUNT_PATTERN,
    LABEL_PATTERN,
    LONGEST_LIFE_S,
    Accounts,
    KeyRecord,
)
from runtime.clock import iso
from runtime.context import LOCAL_ACCOUNT
from runtime.directory import ActorRecord
from runtime.errors import ActorNotFound, BadRequest, InputError
from runtime.gateway.bodies import Bodies, check_media_type, query_arguments
from runtime.gateway.calls import missing_scope, not_allowed
from runtime.gateway.exchange import Exchange
from runtime.gateway.routes import decode_segment
from runtime.host import Host
from runtime.ids import ActorAddress, check_name
from runtime.reasons import reasons
from runtime.settings import Settings

__all__ = ("CreateKey", "Pages", "actor_facts", "key_facts")

_COUNT: TypeAdapter[int] = TypeAdapter(int)
_MAKE = "Nothing is made beforehand: the first call, POST /v1/{}/{{name}}/{{method}}, makes what it names."


class CreateKey(BaseModel):
    """What `POST /v1/keys` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    account: str = Field(
        LOCAL_ACCOUNT,
        pattern=ACCOUNT_PATTERN,
        description="The account the key speaks for; made if it is new.",
    )
    scopes: list[Literal["read", "write", "run", "approve", "admin"]] = Field(
        ["read", "write", "run"], min_length=1, description="What the key may do; admin holds the others."
    )
    label: str = Field("", max_length=200, pattern=LABEL_PATTERN, description="What the key is for.")
    expires_s: float | None = Field(
        None, gt=0, le=LONGEST_LIFE_S, description="The key's life in seconds; null: no end."
    )


class Pages:
    """Serves everything under /v1/ that is not a call or a stream of events."""

    def __init__(self, host: Host, accounts: Accounts) -> None:
        self._host = host
        self._accounts = accounts
        self._settings: Settings = host.settings
        self._bodies = Bodies(host.settings.limits)

    async def serve(self, x: Exchange, parts: list[bytes]) -> bool:
        """Answer a request for `/v1…`, given in its segments; return False where there is no such page."""
        match parts[2:]:
            case []:
                await self._index(x)
            case [b"keys"]:
                await self._keys(x)
            case [b"keys", identity]:
                await self._key(x, decode_segment(identity))
            case [type_name]:
                await self._list(x, decode_segment(type_name))
            case [type_name, name]:
                await self._actor(x, decode_segment(type_name), decode_segment(name))
            case _:
                return False
        return True

    # What there is

    async def _index(self, x: Exchange) -> None:
        _allow(x, "GET", "HEAD")
        _need(x, "read")
        types = {}
        for actor_type in self._host.registry:
            types[actor_type.type_name] = {
                "description": (actor_type.__doc__ or "").strip().split("\n")[0],
                "methods": {
                    spec.name: {
                        "summary": spec.summary,
                        "call": spec.signature(),
                        "read_only": spec.read_only,
                        "destructive": spec.destructive,
                        "scope": spec.scope,
                    }
                    for spec in actor_type.methods.values()
                    if spec.public
                },
            }
        await x.reply_json({"types": types, "docs": "/docs", "openapi": "/openapi.json"})

    # Actors

    async def _list(self, x: Exchange, type_name: str) -> None:
        actor_type = self._host.registry.get(type_name)
        _allow(x, "GET", "HEAD", advice=_MAKE.format(type_name))
        _need(x, "read")
        assert x.grant is not None
        given = query_arguments(x.scope["query_string"], frozenset({"cursor", "q"}))
        limit, after = self._page(given)
        search = str(given.pop("q", ""))
        _no_more(given, "cursor", "limit", "q")
        if len(search.encode()) > 1024 or "\0" in search:
            raise InputError("q is too long or holds a NUL.", hint="Search for at most 1,024 bytes of text.")
        found = await self._host.directory.find(
            actor_type.type_name, x.grant.account, after=after, limit=limit + 1, search=search
        )
        items = [actor_facts(self._host, record) for record in found[:limit]]
        last = found[limit - 1].address.name if len(found) > limit else None
        await self._reply_page(x, items, last, {"q": search} if search else {}, limit)

    async def _actor(self, x: Exchange, type_name: str, name: str) -> None:
        actor_type = self._host.registry.get(type_name)
        _allow(x, "GET", "HEAD", "DELETE", advice=_MAKE.format(type_name))
        _need(x, "write" if x.method == "DELETE" else "read")
        assert x.grant is not None
        query_arguments(x.scope["query_string"], frozenset())
        address = ActorAddress(actor_type.type_name, x.grant.account, check_name(name))
        if x.method != "DELETE":
            await x.reply_json(actor_facts(self._host, await self._host.facts(address)))
            return
        if not await self._host.delete(address):
            raise ActorNotFound(
                f"There is no {type_name} with this name.", hint=f"GET /v1/{type_name} lists those there are."
            )
        await self._accounts.audit_delete(address, x.grant)
        await x.begin(204)
        await x.send({"type": "http.response.body", "body": b""})

    # Keys

    async def _keys(self, x: Exchange) -> None:
        _allow(x, "GET", "HEAD", "POST")
        _need(x, "admin")
        if x.method == "POST":
            await self._create_key(x)
            return
        given = query_arguments(x.scope["query_string"], frozenset({"cursor", "account"}))
        limit, after = self._page(given)
        account = given.pop("account", None)
        _no_more(given, "account", "cursor", "limit")
        found = await self._accounts.list_keys(account, after=after, limit=limit + 1)
        last = found[limit - 1].id if len(found) > limit else None
        query = {"account": str(account)} if account is not None else {}
        await self._reply_page(x, [key_facts(record) for record in found[:limit]], last, query, limit)

    async def _create_key(self, x: Exchange) -> None:
        body = await self._bodies.read(x)
        if body:
            check_media_type(x.headers.get(b"content-type"))
        try:
            asked = CreateKey.model_validate(self._bodies.parse(body) if body else {})
        except ValidationError as error:
            wrong = reasons(error, "argument", CreateKey.model_fields)
            raise InputError(
                f"keys: {wrong[0]['path'] or '(body)'}: {wrong[0]['reason']}.",
                hint='Send {"account": "…", "scopes": ["read", "write"], "label": "…", "expires_s": 86400}.',
                errors=wrong,
            ) from None
        key, record = await self._accounts.create_key(
            asked.account, scopes=asked.scopes, label=asked.label, expires_s=asked.expires_s, by=x.grant
        )
        location = (b"location", b"/v1/keys/" + record.id.encode())
        await x.reply_json({"key": key, **key_facts(record)}, 201, location, (b"cache-control", b"no-store"))

    async def _key(self, x: Exchange, identity: str) -> None:
        _allow(x, "DELETE")
        _need(x, "admin")
        revoked = await self._accounts.revoke_key(identity, by=x.grant)
        await x.reply_json({"revoked": True, "was_revoked": not revoked})

    # Pages

    def _page(self, given: dict[str, Any]) -> tuple[int, str]:
        """Take `limit` and `cursor` out of the arguments; return the page's size and the text it starts after."""
        limits = self._settings.limits
        try:
            asked = given.pop("limit", limits.page_size)
            limit = _COUNT.validate_python("" if isinstance(asked, bool) else asked)
        except ValidationError:
            raise InputError("limit is not a whole number.", hint="Use limit=100.") from None
        if not 1 <= limit <= limits.max_page_size:
            raise InputError(
                f"limit is {limit}; a page has 1 to {limits.max_page_size:,} items.",
                hint="Ask for a smaller page, and follow next_url.",
                limit="max_page_size",
            )
        cursor = given.pop("cursor", None)
        if cursor is None:
            return limit, ""
        try:
            # Any text will do: it says after which name the page starts, and gives no right to anything.
            return limit, bytes.fromhex(cursor).decode("utf-8", "replace")
        except ValueError:
            raise BadRequest(
                "The cursor is not one that a page gave.", hint="Use `next` of the page before, as it is."
            ) from None

    async def _reply_page(
        self, x: Exchange, items: list[Any], last: str | None, query: Mapping[str, str], limit: int
    ) -> None:
        if last is None:
            await x.reply_json({"items": items, "next": None, "next_url": None})
            return
        cursor = last.encode().hex()
        path = quote(x.path, safe="/%")
        host = x.headers.get(b"host", b"localhost").decode("latin-1")
        url = f"{x.scope.get('scheme', 'http')}://{host}{path}?" + urlencode(
            {**query, "limit": limit, "cursor": cursor}
        )
        link = (b"link", f'<{url}>; rel="next"'.encode("latin-1", "replace"))
        await x.reply_json({"items": items, "next": cursor, "next_url": url}, 200, link)


def actor_facts(host: Host, record: ActorRecord) -> dict[str, Any]:
    """Return what a caller may know of its actor, with RFC 3339 times."""
    return {
        "type": record.address.type,
        "name": record.address.name,
        "id": record.id,
        "created": iso(record.created),
        "last_used": iso(record.last_used),
        "size_bytes": record.size,
        "pinned": record.pinned,
        "next_alarm": iso(record.next_alarm),
        "live": host.is_live(record.address),
    }


def key_facts(record: KeyRecord) -> dict[str, Any]:
    """Return a key as lists show it."""
    return {
        "id": record.id,
        "account": record.account,
        "label": record.label,
        "scopes": list(record.scopes),
        "created": iso(record.created),
        "expires": iso(record.expires),
        "last_used": iso(record.last_used),
        "revoked": iso(record.revoked),
    }


def _allow(x: Exchange, *methods: str, advice: str = "") -> None:
    if x.method not in methods:
        raise not_allowed(x.method, methods, advice)


def _need(x: Exchange, scope: str) -> None:
    if x.grant is None or scope not in x.grant.scopes:
        raise missing_scope(scope)


def _no_more(given: dict[str, Any], *known: str) -> None:
    if given:
        raise InputError(
            f"There is no URL parameter {sorted(given)[0]!r:.80} here.", hint="Use: " + ", ".join(known) + "."
        )
