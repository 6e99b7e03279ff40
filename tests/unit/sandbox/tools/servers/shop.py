"""A tool server as one would write it with the SDK: by stdio, or with a port as argument by Streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)
server = MCPServer("shop", version="1.2.3")


@server.tool(annotations=READS)
def get_item(id: int) -> dict[str, Any]:
    """Return one item of the shop."""
    return {"id": id, "name": f"item {id}", "tags": ["a", "b"]}


@server.tool(name="list-items", annotations=READS)
def list_items(count: int = 3, first: int = 1) -> list[dict[str, Any]]:
    """Return items as rows."""
    return [{"id": n, "name": f"item {n}", "price": n / 4} for n in range(first, first + count)]


@server.tool(annotations=READS)
def total(amounts: list[float]) -> float:
    """Add up amounts."""
    return sum(amounts)


@server.tool(annotations=READS, structured_output=False)
def say(text: str) -> str:
    """Return a text as it is."""
    return text


@server.tool(structured_output=False)
def mixed() -> CallToolResult:
    """Return a text and an image."""
    image = ImageContent(type="image", data="aGVsbG8=", mime_type="image/png")
    return CallToolResult(content=[TextContent(type="text", text="hello"), image])


@server.tool()
def fail(message: str) -> str:
    """Fail."""
    raise ToolError(message)


@server.tool(annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True))
def remove(id: int) -> bool:
    """Remove an item."""
    return True


@server.tool(annotations=READS)
async def wait(marker: str) -> str:
    """Wait until somebody cancels; leave a file that says so."""
    Path(f"{marker}.begun").touch()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        Path(f"{marker}.cancelled").touch()
        raise
    return "never"


@server.tool()
def process() -> dict[str, Any]:
    """Return the process's number and its parent's."""
    return {"pid": os.getpid(), "parent": os.getppid()}


@server.tool(structured_output=False)
def environment() -> str:
    """Say the whole environment aloud: in the answer and on standard error."""
    print(dict(os.environ), file=sys.stderr, flush=True)
    return "\n".join(f"{name}={value}" for name, value in os.environ.items())


@server.tool()
def complain() -> str:
    """Fail with the whole environment in the message."""
    raise ToolError(str(dict(os.environ)))


@server.tool()
def request_headers(context: Context) -> dict[str, str]:
    """Return the headers that came with the request."""
    return dict(context.headers or {})


@server.tool()
async def grow(name: str, context: Context) -> str:
    """Add a tool, and say that the list changed."""
    server.add_tool(lambda: name, name=name, description="Grown.")
    await context.notify_tools_changed()
    return name


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
