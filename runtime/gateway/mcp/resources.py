"""Resources are what an actor holds, at `duralite://{type}/{name}/…`: its schema, first rows of a table, a run.

A view is there for every actor type that has the method behind it. Names are percent-encoded, so that they may hold
any character; reading makes no actor.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from runtime.actor import Actor
from runtime.context import CallContext
from runtime.errors import DuraliteError, GuardRefused, InputError, NotFound, SqlError
from runtime.gateway.calls import missing_scope
from runtime.gateway.mcp.answers import protocol_error
from runtime.gateway.mcp.calls import Caller
from runtime.gateway.mcp.cursors import read_cursor, write_cursor
from runtime.host import Host
from runtime.ids import ActorAddress, check_name
from runtime.method import MethodSpec
from runtime.storage.transaction import quote as quote_name

__all__ = ("HELPER_DOCS", "Resources", "actor_uri")

SCHEME = "duralite://"
HELPER_DOCS = "duralite://docs/helpers"
"""Everything that programs have at hand, in full."""

_FIRST_ROWS = 20
_DOCS_TOKENS = 60_000
_NOT_FOUND_BEFORE_2026 = -32002
_API, _DOCS = "helpers.api", "helpers.docs"
_JSON, _MARKDOWN = "application/json", "text/markdown"


class Resources:
    """The resources of one service."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listed: list[type[Actor]] = [t for t in host.registry if _view(t, "schema") is not None]

    async def page(self, caller: Caller, cursor: str | None) -> ListResourcesResult:
        """Return one page: the docs, then the schema of each actor of the account, type by type.

        Raises:
            MCPError: the cursor is not one that a page gave, or the key may not read.
        """
        _need_read(caller)
        resources: list[Resource] = []
        names = [actor_type.type_name for actor_type in self._listed]
        start, after = 0, ""
        if cursor is None:
            resources.append(
                Resource(
                    uri=HELPER_DOCS,
                    name="helpers",
                    title="Helpers",
                    description="What a program has at hand: db, sql, tools.",
                    mime_type=_MARKDOWN,
                )
            )
        else:
            name, after = read_cursor(cursor, 2)
            if name not in names:
                raise MCPError(
                    INVALID_PARAMS, "The cursor is not one that a page gave. Use nextCursor as it is."
                )
            start = names.index(name)
        size = self._host.settings.limits.page_size
        for actor_type in self._listed[start:]:
            room = size - len(resources)
            found = await self._host.directory.find(
                actor_type.type_name, caller.grant.account, after=after, limit=room + 1
            )
            after = ""
            for record in found[:room]:
                resources.append(_schema_resource(record.address))
            if len(found) > room:
                last = found[room - 1].address.name if room else ""
                return ListResourcesResult(
                    resources=resources, next_cursor=write_cursor(actor_type.type_name, last)
                )
        return ListResourcesResult(resources=resources)

    def templates(self) -> ListResourceTemplatesResult:
        """Return the templates of all views of all types."""
        templates = []
        for actor_type in self._host.registry:
            kind = actor_type.type_name
            for view, (parameter, title) in _VIEWS.items():
                if _view(actor_type, view) is not None:
                    path = f"{view}/{{{parameter}}}" if parameter else view
                    templates.append(
                        ResourceTemplate(
                            uri_template=f"{SCHEME}{kind}/{{name}}/{path}",
                            name=f"{kind}_{view}",
                            title=f"{title} of a {kind}",
                            description=f"{title} of the {kind} `name`. Names are percent-encoded.",
                            mime_type=_JSON,
                        )
                    )
        return ListResourceTemplatesResult(resource_templates=templates)

    async def read(self, caller: Caller, uri: str, version: str) -> ReadResourceResult:
        """Return what is at a URI, as JSON or Markdown.

        Raises:
            MCPError: nothing is there, or not for this caller; with the code that the protocol version asks for.
        """
        _need_read(caller)
        try:
            if uri == HELPER_DOCS:
                return _contents(uri, _MARKDOWN, self._helper_docs())
            address, view, key = self._parsed(caller, uri)
            spec, arguments = self._call_for(address.type, view, key)
            body = await self._call(caller, address, spec, arguments)
        except (NotFound, SqlError, GuardRefused) as error:
            # A URI names tables; that SQLite or the guard does not know one is all that they can find fault with.
            _not_found(uri, error, version)
        except DuraliteError as error:
            raise protocol_error(error) from None
        return _contents(uri, _JSON, body.decode())

    def addresses(self, caller: Caller, uris: Iterable[str]) -> list[tuple[str, ActorAddress]]:
        """Return URIs with the actors of the caller that they speak of; what cannot change is left out.

        Raises:
            MCPError: one is no URI of this service, or the key may not read.
        """
        _need_read(caller)
        try:
            return [(uri, self._parsed(caller, uri)[0]) for uri in uris if uri != HELPER_DOCS]
        except DuraliteError as error:
            raise protocol_error(error) from None

    def _parsed(self, caller: Caller, uri: str) -> tuple[ActorAddress, str, str | None]:
        if not uri.startswith(SCHEME):
            raise NotFound("The URI is none of this service.", hint=f"URIs start with {SCHEME}.")
        try:
            parts = [unquote_to_bytes(part).decode() for part in uri[len(SCHEME) :].split("/")]
        except UnicodeDecodeError:
            raise InputError("The URI is not UTF-8.", hint="Percent-encode names as UTF-8.") from None
        match parts:
            case [type_name, name, view]:
                key = None
            case [type_name, name, view, key]:
                pass
            case _:
                raise NotFound("There is no such resource.", hint="resources/templates/list shows the forms.")
        if type_name not in self._host.registry:
            raise NotFound(f"There is no actor type {type_name!r:.80}.", hint="See resources/templates/list.")
        return ActorAddress(type_name, caller.grant.account, check_name(name)), view, key

    def _call_for(self, type_name: str, view: str, key: str | None) -> tuple[MethodSpec, dict[str, Any]]:
        spec = _view(self._host.registry.get(type_name), view)
        if spec is None or (key is None) == bool(_VIEWS[view][0]):
            raise NotFound(f"A {type_name} has no such resource.", hint="See resources/templates/list.")
        if key is None:
            return spec, {}
        if view == "tables":
            sql = f"SELECT * FROM {quote_name(key)} LIMIT {_FIRST_ROWS}"
            return spec, {"sql": sql}
        return spec, {"id": key}

    async def _call(
        self, caller: Caller, address: ActorAddress, spec: MethodSpec, arguments: Mapping[str, Any]
    ) -> bytes:
        if spec.scope not in caller.grant.scopes:
            raise missing_scope(spec.scope)
        limits = self._host.settings.limits
        context = CallContext(
            address.owner, time.monotonic() + limits.call_s, (), caller.request_id, caller.grant.scopes
        )
        kwargs = spec.bind(dict(arguments))
        body: bytes = await self._host.call(address, spec, kwargs, context, wire=True, create=False)
        if len(body) > limits.mcp_result_bytes:
            raise InputError(
                f"The resource has {len(body):,} bytes, more than {limits.mcp_result_bytes:,}.",
                hint="Query the columns that matter, with a tool.",
                limit="mcp_result_bytes",
            )
        return body

    def _helper_docs(self) -> str:
        api = import_module(_API)
        helpers = []
        for actor_type in self._host.registry:
            if "run" in actor_type.methods:
                helpers = [*api.db_helpers(actor_type.methods), *api.sql_helpers()]
                break
        text: str = import_module(_DOCS).model_docs(
            helpers, limits=self._host.settings.limits, budget=_DOCS_TOKENS
        )
        return text


# By view: the name of the part after it ("" for none), and a title.
_VIEWS: dict[str, tuple[str, str]] = {
    "schema": ("", "Tables and columns"),
    "tables": ("table", f"The first {_FIRST_ROWS} rows of a table"),
    "runs": ("id", "The record of a run"),
}
# By view: the method behind it, and the arguments that it is called with.
_METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "schema": ("tables", ()),
    "tables": ("query", ("sql",)),
    "runs": ("get_run", ("id",)),
}


def _view(actor_type: type[Actor], view: str) -> MethodSpec | None:
    """Return the method behind a view of a type; None where the type has no such view."""
    name, arguments = _METHODS.get(view, ("", ()))
    spec = actor_type.methods.get(name)
    if spec is None or not spec.public or not spec.read_only:
        return None
    needed = tuple(parameter.name for parameter in spec.parameters if parameter.required)
    return spec if needed == arguments else None


def actor_uri(address: ActorAddress, view: str) -> str:
    """Return the URI of a view of an actor."""
    return f"{SCHEME}{address.type}/{quote(address.name, safe='')}/{view}"


def _schema_resource(address: ActorAddress) -> Resource:
    return Resource(
        uri=actor_uri(address, "schema"),
        name=f"{address.name} schema",
        title=f"{address.type} {address.name}: tables and columns",
        mime_type=_JSON,
    )


def _contents(uri: str, kind: str, text: str) -> ReadResourceResult:
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=kind, text=text)])


def _need_read(caller: Caller) -> None:
    if "read" not in caller.grant.scopes:
        raise protocol_error(missing_scope("read"))


def _not_found(uri: str, error: DuraliteError, version: str) -> NoReturn:
    code = INVALID_PARAMS if version in MODERN_PROTOCOL_VERSIONS else _NOT_FOUND_BEFORE_2026
    text = error.message if error.hint is None else f"{error.message} {error.hint}"
    raise MCPError(code, text, {"uri": uri}) from None
