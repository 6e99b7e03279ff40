"""`tools`: what to give a model with its request, in the form that its API takes."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import click

from runtime.cli.client import Place, connect, session_path
from runtime.cli.command import local, place_options
from runtime.cli.output import Output
from runtime.registry import Registry
from runtime.settings import Settings

__all__ = ("COMMANDS",)

# The runtime imports nothing above it; what a command shows of there, it asks for by name.
_API, _DOCS, _SCHEMAS = "helpers.api", "helpers.docs", "helpers.schemas"
FORMATS = ("openai", "openai-chat", "anthropic", "mcp")


@local("tools", example="duralite tools --format anthropic > tools.json")
@click.option(
    "--format", "target", type=click.Choice(FORMATS), default="openai", show_default=True, help="Whose form."
)
@click.option("--type", "type_name", default="session", show_default=True, help="The actor type.")
@click.option("--session", "-s", help="Ask a service, so that this session's tool servers are told of too.")
@click.option("--methods", is_flag=True, help="Also a tool for each method, beside run_code.")
@click.option("--only", multiple=True, help="Only this method, without run_code; may be given again.")
@click.option("--budget", type=click.IntRange(200, 100_000), help="Tokens for the description of run_code.")
@place_options
def tools(
    out: Output,
    target: str,
    type_name: str,
    session: str | None,
    methods: bool,
    only: tuple[str, ...],
    budget: int | None,
    **place: Any,
) -> None:
    """Write the tools for a model, as JSON: run_code, which takes a program, or single methods."""
    if session is None:
        out.json(_known_here(target, type_name, methods, only, budget))
        return
    if only:
        raise click.UsageError("--only lists methods of a type, and --session asks for what a session has.")
    asked = {"format": target, "methods": methods, "budget": budget}
    out.json(asyncio.run(_asked(Place(**place), out, session, asked)))


async def _asked(place: Place, out: Output, session: str, body: dict[str, Any]) -> Any:
    async with connect(place, out.note) as client:
        return await client.call("POST", session_path(session, "tools"), body)


def _known_here(
    target: str, type_name: str, methods: bool, only: tuple[str, ...], budget: int | None
) -> list[dict[str, Any]]:
    """Return the tools as a service would, as far as they are known without one: no tool servers."""
    settings = Settings()
    found = Registry(settings.types).get(type_name).methods
    if unknown := [name for name in only if name not in found or not found[name].public]:
        known = ", ".join(name for name, spec in found.items() if spec.public)
        raise click.BadParameter(
            f"there is no method {unknown[0]!r}; there are {known}.", param_hint="--only"
        )
    schemas, api = import_module(_SCHEMAS), import_module(_API)
    made: list[dict[str, Any]] = []
    if not only and "run" in found:
        limits = settings.limits
        text = import_module(_DOCS).model_docs(
            [*api.db_helpers(found), *api.sql_helpers()],
            limits=limits,
            budget=budget or limits.mcp_docs_tokens,
            discovery=True,
        )
        made.append(schemas.code_tool(found["run"], target, description=text, actor=type_name))
    if only or methods or not made:
        wanted = [spec for name, spec in found.items() if spec.public and (not only or name in only)]
        made += schemas.tool_schemas(wanted, target, prefix=type_name, actor=type_name)
    return made


COMMANDS = (tools,)
