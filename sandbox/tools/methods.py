"""Methods by which a session, or any actor with code mode, connects to tool servers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from runtime.actor import Actor
from runtime.method import method
from sandbox.tools.info import ServerInfo
from sandbox.tools.toolbox import ToolBox, start_tools, stop_tools

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("ServerMethods",)

ServerName = Annotated[str, Field(min_length=1, max_length=64, description="The server's name.")]


class ServerMethods(Actor):
    """connect_server, disconnect_server, list_servers."""

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Begin to connect the operator's tool servers."""
        await super().start_type(host)
        await start_tools(host)

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """End all connections to tool servers."""
        await stop_tools(host)
        await super().stop_type(host)

    async def on_close(self) -> None:
        """Close the connections of this actor."""
        if (box := self.host.services.get("tools")) is not None:
            await box.release(self.address)
        await super().on_close()

    @property
    def _tools(self) -> ToolBox:
        box: ToolBox = self.host.services["tools"]
        return box

    @method(concurrent=True, scope="run")
    async def connect_server(
        self,
        name: ServerName,
        url: Annotated[str, Field(max_length=2048, description="Its Streamable HTTP URL.")],
        headers: Annotated[
            dict[str, str] | None,
            Field(description="Headers of each request, such as Authorization. They are never shown again."),
        ] = None,
    ) -> ServerInfo:
        """Connect to an MCP server; its tools are `tools.<name>.…` in programs from here on.

        Only hosts that the operator allows (setting `tool_hosts`). The connection is remembered until
        `disconnect_server`, or until this actor is deleted. The answer is as in `list_servers`.
        """
        return await self._tools.connect(self.address, name, url, headers or {})

    @method(idempotent=True, concurrent=True, scope="run")
    async def disconnect_server(self, name: ServerName) -> dict[str, bool]:
        """End a connection that `connect_server` made, and forget its headers."""
        return {"disconnected": await self._tools.disconnect(self.address, name)}

    @method(read_only=True, concurrent=True)
    async def list_servers(self) -> list[ServerInfo]:
        """Return the tool servers that programs here can use, with the state and the number of tools of each.

        `scope` is `service` for those of the operator. `error` says why one cannot be used now, `problems` which
        tools were left out.
        """
        return await self._tools.servers(self.address)
