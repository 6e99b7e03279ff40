"""The server: the protocol's requests, answered from tools, resources and prompts. It keeps nothing of a connection.

Who asks is read from each request anew: over HTTP from what the gateway found out of its key, elsewhere it is the
owner that the server was made for. So a session of the protocol gives no right that its key has not at that moment.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    Tool,
)

from runtime.accounts import Grant
from runtime.errors import DuraliteError
from runtime.gateway.bodies import query_arguments
from runtime.gateway.exchange import EXCHANGE, Exchange
from runtime.gateway.mcp.answers import protocol_error
from runtime.gateway.mcp.calls import Caller, Counts, ToolCalls
from runtime.gateway.mcp.changes import Changes
from runtime.gateway.mcp.prompts import get_prompt, list_prompts
from runtime.gateway.mcp.resources import Resources
from runtime.gateway.mcp.tools import CODE_TOOL, Toolset
from runtime.gateway.version import version_facts
from runtime.host import Host
from runtime.ids import ActorAddress

__all__ = ("INSTRUCTIONS", "McpServer")

INSTRUCTIONS = """\
duralite gives each session a SQLite database of its own; a name is enough, and a new name makes a new session. \
Write a program with run_code for anything that takes more than one statement: it has the database at hand as db, \
and keeps data out of the conversation. Errors say what to do instead.\
"""
"""What a client may tell its model of this server."""

# The runtime imports nothing above it; what programs have at hand is described there, and asked for by name.
_DESCRIPTIONS = "helpers.methods"
_DESCRIBE_S = 5.0
_MOST_NAMES = 50
_log = structlog.get_logger("duralite.mcp")
_Context = ServerRequestContext[Any, Any]


class McpServer:
    """One service as an MCP server.

    Args:
        host: The runtime that is served.
        owner: Who asks where no HTTP request says it; None refuses such requests.
        counts: What is counted of calls; None counts nothing.
        shown: Tools that are listed (`Toolset.page`); None: the setting `mcp_tools`.
    """

    def __init__(
        self,
        host: Host,
        *,
        owner: Grant | None = None,
        counts: Counts | None = None,
        shown: tuple[str, ...] | None = None,
    ) -> None:
        self._host = host
        self._owner = owner
        self._shown = shown or host.settings.mcp_tools
        self.tools = Toolset(host.registry)
        self.resources = Resources(host)
        self.calls = ToolCalls(host, counts)
        self.changes = Changes(host)
        self.lowlevel: Server[Any] = Server(
            "duralite",
            version=str(version_facts()["version"]),
            title="duralite",
            instructions=INSTRUCTIONS,
            # No tool takes arguments in headers, and listing them all for each call would find that out anew.
            get_tool_input_schema=lambda name: None,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_subscriptions_listen=self._listen,
        )

    # Tools

    async def _list_tools(self, ctx: _Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        caller = self._caller(ctx)
        page, following = self.tools.page(
            self._shown_to(ctx),
            caller.grant.scopes,
            None if params is None else params.cursor,
            self._host.settings.limits.page_size,
        )
        tools = [
            await self._code_tool(entry.tool, caller) if entry.name == CODE_TOOL else entry.tool
            for entry in page
        ]
        return ListToolsResult(tools=tools, next_cursor=following)

    async def _call_tool(self, ctx: _Context, params: CallToolRequestParams) -> CallToolResult:
        caller = self._caller(ctx)
        entry = self.tools.get(params.name)
        if entry is None:
            raise MCPError(
                INVALID_PARAMS, f"Unknown tool: {params.name[:100]}. tools/list shows those there are."
            )
        return await self.calls.call(entry, params.arguments or {}, caller)

    async def _code_tool(self, tool: Tool, caller: Caller) -> Tool:
        """Return `run_code` with a description of what is at hand for the caller's default actor, within the budget."""
        entry = self.tools.get(CODE_TOOL)
        assert entry is not None and self.tools.code_type is not None and entry.default is not None
        address = ActorAddress(entry.type_name, caller.grant.account, entry.default)
        describe = import_module(_DESCRIPTIONS).code_description
        try:
            async with asyncio.timeout(_DESCRIBE_S):
                text = await describe(self._host, self.tools.code_type, address)
        except (DuraliteError, TimeoutError) as error:
            # A tool server that does not answer must not keep the tools from being listed.
            _log.warning("mcp.not_described", error=str(error)[:300])
            return tool
        return tool.model_copy(update={"description": text})

    # Resources and prompts

    async def _list_resources(
        self, ctx: _Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        return await self.resources.page(self._caller(ctx), None if params is None else params.cursor)

    async def _list_templates(
        self, ctx: _Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        self._caller(ctx)
        return self.resources.templates()

    async def _read_resource(self, ctx: _Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        return await self.resources.read(self._caller(ctx), params.uri, ctx.protocol_version)

    async def _listen(
        self, ctx: _Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        caller = self._caller(ctx)
        uris = params.notifications.resource_subscriptions or ()
        return await self.changes.listen(ctx, params, self.resources.addresses(caller, uris))

    async def _list_prompts(self, ctx: _Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
        self._caller(ctx)
        return list_prompts()

    async def _get_prompt(self, ctx: _Context, params: GetPromptRequestParams) -> GetPromptResult:
        self._caller(ctx)
        return get_prompt(params.name, params.arguments or {})

    # Who asks

    def _caller(self, ctx: _Context) -> Caller:
        """Return who asks.

        Raises:
            MCPError: nobody that is known.
        """
        report = ctx.session.report_progress if ctx.meta and "progress_token" in ctx.meta else None
        exchange = _exchange(ctx)
        if exchange is not None and exchange.grant is not None:
            host = exchange.headers.get(b"host", b"localhost").decode("latin-1")
            base = f"{exchange.scope.get('scheme', 'http')}://{host}"
            return Caller(exchange.grant, exchange.request_id, base, report)
        if exchange is not None or self._owner is None:
            raise MCPError(INVALID_REQUEST, "This request needs a key.")
        return Caller(self._owner, report=report)

    def _shown_to(self, ctx: _Context) -> tuple[str, ...]:
        """Return the tools that this client is shown: those it asks for in its URL (`/mcp?tools=all`), or the usual.

        Raises:
            MCPError: the URL cannot be read, or asks for too many names.
        """
        exchange = _exchange(ctx)
        if exchange is None or not exchange.scope["query_string"]:
            return self._shown
        try:
            asked = query_arguments(exchange.scope["query_string"], frozenset({"tools"})).get("tools")
        except DuraliteError as error:
            raise protocol_error(error) from None
        if asked is None:
            return self._shown
        names = tuple(part.strip() for part in asked.split(","))
        if len(names) > _MOST_NAMES:
            raise MCPError(INVALID_PARAMS, f"A URL may name {_MOST_NAMES} tools or patterns; use tools=all.")
        return names


def _exchange(ctx: _Context) -> Exchange | None:
    if ctx.request is None:
        return None
    found: Exchange = ctx.request.scope[EXCHANGE]
    return found
