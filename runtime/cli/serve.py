"""`serve`: run the service. Its flags are the settings themselves; a flag wins over environment and file."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Literal

import click

from runtime.cli.command import local
from runtime.cli.output import Output
from runtime.cli.values import pairs
from runtime.gateway.server import serve as serve_forever
from runtime.settings import Settings

__all__ = ("COMMANDS", "setting_options")


def setting_options(function: Any) -> Any:
    """Add a flag for every setting, and `--limit NAME=VALUE` for the limits."""
    function = click.option(
        "--limit", multiple=True, callback=pairs, help="NAME=VALUE, a limit; may be given again."
    )(function)
    for name, field in reversed(Settings.model_fields.items()):
        if name == "limits":
            continue
        flag = f"--{name.replace('_', '-')}"
        kind, multiple = _click_type(field.annotation)
        function = click.option(flag, name, type=kind, multiple=multiple, help=field.description)(function)
    return function


def _click_type(annotation: Any) -> tuple[Any, bool]:
    if type(None) in (options := typing.get_args(annotation)):
        # A setting that may be left out: the flag takes what it may be set to.
        annotation = next(option for option in options if option is not type(None))
    if typing.get_origin(annotation) is Literal:
        return click.Choice(typing.get_args(annotation)), False
    if typing.get_origin(annotation) is tuple:
        return str, True
    return (click.Path(path_type=Path) if annotation is Path else annotation), False


def settings_from(flags: dict[str, Any], limits: dict[str, Any]) -> Settings:
    """Return the settings that hold with these flags."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if limits:
        given["limits"] = limits
    return Settings(**given)


@local("serve", example="duralite serve --port 8484 --durability full --limit max_open=500")
@setting_options
def serve(out: Output, limit: dict[str, Any], **flags: Any) -> int:
    """Run the service until SIGTERM or Ctrl-C, which let running calls end first."""
    return serve_forever(settings_from(flags, limit))


COMMANDS = (serve,)
