"""The bare tool is the least that the MCP library can do on our server: take the arguments, answer a row.

It shows what the library costs without any gateway, key, guard or actor.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

__all__ = ("server",)

server = MCPServer("bare")


@server.tool()
async def session_query(sql: str, params: list[Any], session: str = "") -> dict[str, Any]:
    """Answer as a point select does, with a made-up row."""
    row = {
        "id": params[0],
        "name": "name-000077",
        "email": "user000077@example.org",
        "score": 38.5,
        "qty": 77,
    }
    return {"columns": list(row), "rows": [row], "row_count": 1, "truncated": False, "duration_ms": 0.01}


def main(port: int) -> None:
    """Serve on loopback with the service's own choice of event loop and parser."""
    config = uvicorn.Config(
        server.streamable_http_app(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
