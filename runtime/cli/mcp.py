"""`mcp`: an MCP server over stdin and stdout, as desktop clients start one."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.client import Place, own_name, own_settings, running_service
from runtime.cli.command import local, place_options
from runtime.cli.output import Output
from runtime.logs import set_up_logs

__all__ = ("COMMANDS",)


@local("mcp", example="duralite mcp --data ~/duralite --tools all")
@click.option(
    "--tools",
    multiple=True,
    help="Tools to list: code, all, a name or a pattern such as session_*; may be given again (setting mcp_tools).",
)
@place_options
def mcp(out: Output, url: str | None, key: str | None, data: Path | None, tools: tuple[str, ...]) -> int:
    """Serve MCP over stdin and stdout, until the client closes them.

    Requests go to the service at --url, or to the one that runs on the data folder. Without either this process
    opens the folder itself, as its owner.
    """
    place = Place(url, key, data)
    settings = own_settings(place.settings())
    set_up_logs(settings)
    # The protocol's SDK is loaded by this command alone: it costs every other one a third of a second.
    from runtime.gateway.mcp.forward import forward_stdio
    from runtime.gateway.mcp.stdio import run, serve_local

    target = url or running_service(settings.data)
    name = None if url else own_name(settings.data)
    shown = tools or None
    run(serve_local(settings, shown) if target is None else forward_stdio(target, key, shown, name))
    return 0


COMMANDS = (mcp,)
