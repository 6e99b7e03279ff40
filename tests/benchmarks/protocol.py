"""Figures of MCP: what a tool call costs beside a tool of the library alone, and beside the same call over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

from .bench import Bench
from .figures import Figure, Goal
from .load import Load, closed_loop
from .records import COLUMNS, POINT, record
from .servers import Server

__all__ = ("tool_calls",)

_VERSION = "2026-07-28"
_p50: Callable[[Load], float] = lambda load: load.p50_ms  # noqa: E731
_rate: Callable[[Load], float] = lambda load: load.rate  # noqa: E731


def tool_calls(bench: Bench) -> Iterator[Figure]:
    """Select one row by its key, as a tool call."""
    ours, bare = bench.ours(), bench.bare_tool()
    with bench.serving(ours, bare):
        ours.ask("create_table", "one", {"name": "items", "schema": COLUMNS})
        records = [record(n) for n in range(1, 1_001)]
        ours.ask("batch_insert", "one", {"table": "items", "records": records})
        arguments = {"sql": POINT, "params": [7]}
        requests = {
            "ours": (ours, _tool_call(ours, {"session": "one", **arguments})),
            bare.name: (bare, _tool_call(bare, {"session": "one", **arguments})),
            "the same over HTTP": (ours, ours.spell("query", "one", arguments)),
        }
        for connections, value, unit, goal in (
            (1, _p50, "ms", Goal(1.5, bare.name, at_least=False)),
            (8, _rate, "/s", Goal(0.7, bare.name)),
        ):
            sides = {
                side: (
                    server,
                    partial(
                        closed_loop,
                        server.address,
                        [request],
                        connections,
                        seconds=bench.seconds,
                        warm_s=0.3,
                    ),
                )
                for side, (server, request) in requests.items()
            }
            case = f"point select, {connections} connection{'s' * (connections > 1)}"
            yield bench.loads(sides, value).figure("tool call", case, unit, (goal,))


def _tool_call(server: Server, arguments: dict[str, object]) -> bytes:
    """Return the whole HTTP request of a tool call, in the revision without a handshake."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": _VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "session_query", "arguments": arguments, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "host": f"{server.address[0]}:{server.address[1]}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": _VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "session_query",
        **server.headers(),
        "content-length": str(len(body)),
    }
    lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
