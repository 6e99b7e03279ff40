"""A screen stands between a server's messages and the session: what nobody asked for is counted, and mostly dropped.

Answers pass. Of notifications only two matter to a client of tools: that the list of tools changed, which becomes a
mark here, and the acknowledgement of a subscription. Requests of the server pass at a slow rate, since each is
answered. A server that floods is read more slowly, and its own pipe fills up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

__all__ = ("Screen",)

_MESSAGES_PER_S = 2_000
_REQUESTS_PER_S = 10
_CHANGED = "notifications/tools/list_changed"
_PASSED = frozenset({"notifications/subscriptions/acknowledged"})


class Screen:
    """The reading side of a connection, as the SDK's session takes it.

    `changed()` is called when the list of tools changed, `lost()` when the connection is over. Of a list of tools,
    no more than `most_tools` pass at once; `odd` counts those that were none.
    """

    def __init__(
        self, stream: Any, changed: Callable[[], None], lost: Callable[[], None], most_tools: int
    ) -> None:
        self._stream = stream
        self._changed = changed
        self._lost = lost
        self._most_tools = most_tools
        self._since = 0.0
        self._messages = self._requests = 0
        self.odd = 0

    async def receive(self) -> SessionMessage:
        """Return the next message that passes.

        Raises:
            anyio.EndOfStream: the connection is over.
        """
        while True:
            try:
                item = await self._stream.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._lost()
                raise
            await self._keep_pace()
            if isinstance(item, SessionMessage) and self._passes(item):
                return item

    def _passes(self, item: SessionMessage) -> bool:
        message = item.message
        if isinstance(message, JSONRPCNotification):
            if message.method == _CHANGED:
                self._changed()
            return message.method in _PASSED
        if isinstance(message, JSONRPCRequest):
            self._requests += 1
            return self._requests <= _REQUESTS_PER_S
        if isinstance(message, JSONRPCResponse) and isinstance(tools := message.result.get("tools"), list):
            # Before anything looks at them one by one: a tool that is none must not cost the others.
            first = tools[: self._most_tools + 1]
            message.result["tools"] = kept = [tool for tool in first if _is_tool(tool)]
            self.odd += len(first) - len(kept)
        return True

    async def _keep_pace(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._since >= 1.0:
            self._since, self._messages, self._requests = now, 0, 0
        self._messages += 1
        if self._messages > _MESSAGES_PER_S:
            await asyncio.sleep(self._since + 1.0 - now)

    async def aclose(self) -> None:
        """Close the stream behind."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _is_tool(tool: Any) -> bool:
    """Tell whether something of a list has what makes a tool: a name, and a schema of an object."""
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return False
    schema = tool.get("inputSchema")
    return isinstance(schema, dict) and schema.setdefault("type", "object") == "object"
