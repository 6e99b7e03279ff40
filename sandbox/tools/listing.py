"""The list of a server's tools, page by page, and the notices that it changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp import Client, MCPError
from mcp_types import PaginatedRequestParams, Tool
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

__all__ = ("change_notices", "list_tools")

_AGAIN_S = 5.0
# Pages may be empty.
_MOST_PAGES = 1_000


async def list_tools(client: Client, most: int) -> list[Tool]:
    """Return a server's tools: all of them, or the first few more than `most`.

    Raises:
        MCPError: the server refused.
        pydantic.ValidationError: what it sent is no list of tools.
    """
    tools: list[Tool] = []
    seen: set[str] = set()
    cursor: str | None = None
    if client.server_capabilities.tools is None:
        return tools
    while len(tools) <= most:
        # Not client.list_tools: a list is asked for because it may have changed.
        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None or cursor in seen or len(seen) >= _MOST_PAGES:
            break
        seen.add(cursor)
    return tools


@asynccontextmanager
async def change_notices(client: Client, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Have `changed()` called when the list changed, where the protocol's revision wants to be asked for that.

    In earlier revisions a server says so unasked, and `Screen` hears it.
    """
    tools = client.server_capabilities.tools
    if tools is None or not tools.list_changed or client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        yield
        return
    task = asyncio.get_running_loop().create_task(_subscribe(client, changed))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=1)


async def _subscribe(client: Client, changed: Callable[[], None]) -> None:
    while True:
        try:
            async with client.listen(tools_list_changed=True) as subscription:
                async for _ in subscription:
                    changed()
        except (MCPError, RuntimeError, TimeoutError):
            pass  # it does not offer that, or the stream broke off: asked again, slowly
        await asyncio.sleep(_AGAIN_S)
        changed()
