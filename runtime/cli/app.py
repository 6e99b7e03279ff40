"""The command line: `duralite NOUN VERB`, put together from the files beside this one."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version

import click

from runtime.cli.bench import COMMANDS as BENCH
from runtime.cli.code import COMMANDS as CODE
from runtime.cli.config import COMMANDS as CONFIG
from runtime.cli.demo import COMMANDS as DEMO
from runtime.cli.doctor import COMMANDS as DOCTOR
from runtime.cli.keys import COMMANDS as KEYS
from runtime.cli.mcp import COMMANDS as MCP
from runtime.cli.projects import COMMANDS as PROJECTS
from runtime.cli.runs import COMMANDS as RUNS
from runtime.cli.serve import COMMANDS as SERVE
from runtime.cli.sessions import COMMANDS as SESSIONS
from runtime.cli.sources import COMMANDS as SOURCES
from runtime.cli.tools import COMMANDS as TOOLS

__all__ = ("cli", "installed_version", "main")


def installed_version() -> str:
    """Return the version that is installed; `0` from a folder that was never installed."""
    try:
        return version("duralite")
    except PackageNotFoundError:
        return "0"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExample:\n  duralite sql chat-42 'SELECT count(*) FROM orders'",
)
@click.version_option(
    installed_version(),
    message=f"duralite %(version)s, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
)
def cli() -> None:
    """Give every session, project and user a small SQLite database of its own.

    Commands speak to the service that runs on the data folder, or to the one that their option --url names.
    Without either they open the data folder themselves. Exit codes: 0 ok, 1 failed, 2 usage, 3 refused by the guard, 4 not found, 5 a limit.
    """


for _command in (
    *SERVE,
    *CODE,
    *RUNS,
    *SESSIONS,
    *PROJECTS,
    *SOURCES,
    *KEYS,
    *TOOLS,
    *MCP,
    *CONFIG,
    *DOCTOR,
    *DEMO,
    *BENCH,
):
    cli.add_command(_command)


def _show_whole(group: click.Group) -> None:
    """Have lists of commands show whole sentences; click would cut them in the middle."""
    for command in group.commands.values():
        command.short_help = (command.help or "").partition("\n\n")[0]
        if isinstance(command, click.Group):
            _show_whole(command)


_show_whole(cli)


def main() -> None:
    """Run the command line."""
    cli(prog_name="duralite")
