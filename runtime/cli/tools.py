"""`tools`: the methods of an actor type, as the tool schemas that a model's API takes."""

from __future__ import annotations

from importlib import import_module

import click

from runtime.cli.command import local
from runtime.cli.output import Output
from runtime.registry import Registry
from runtime.settings import Settings

__all__ = ("COMMANDS",)

# The runtime imports nothing above it; what a command shows of there, it asks for by name.
_SCHEMAS = "helpers.schemas"
FORMATS = ("openai", "openai-chat", "anthropic", "mcp")


@local("tools", example="duralite tools --format anthropic > tools.json")
@click.option(
    "--format", "target", type=click.Choice(FORMATS), default="openai", show_default=True, help="Whose form."
)
@click.option("--type", "type_name", default="session", show_default=True, help="The actor type.")
@click.option("--only", multiple=True, help="Only this method; may be given again.")
def tools(out: Output, target: str, type_name: str, only: tuple[str, ...]) -> None:
    """Write the tool schemas for a model, as JSON."""
    methods = Registry(Settings().types).get(type_name).methods
    if unknown := [name for name in only if name not in methods or not methods[name].public]:
        known = ", ".join(name for name, spec in methods.items() if spec.public)
        raise click.BadParameter(
            f"there is no method {unknown[0]!r}; there are {known}.", param_hint="--only"
        )
    wanted = [spec for name, spec in methods.items() if spec.public and (not only or name in only)]
    schemas = import_module(_SCHEMAS).tool_schemas(wanted, target, prefix=type_name, actor=type_name)
    out.json(schemas)


COMMANDS = (tools,)
