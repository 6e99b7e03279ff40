"""`tools`: an actor that runs code gives the tools with which a model can call it, in the form of the model's API.

The one tool is `run_code`; its description tells what a program has at hand in this very actor, the connected
tool servers included, within a budget of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from helpers.api import db_helpers, sql_helpers
from helpers.docs import model_docs
from helpers.schemas import Target, code_tool, tool_schemas
from runtime.instance import Instance
from runtime.method import method

if TYPE_CHECKING:
    from runtime.actor import Actor
    from runtime.host import Host
    from runtime.ids import ActorAddress

__all__ = ("ToolMethods", "code_description")


async def code_description(
    host: Host, actor_type: type[Actor], address: ActorAddress, budget: int | None = None
) -> str:
    """Return what a program in an actor has at hand, its tool servers included; the actor need not exist.

    `budget` is in tokens; None: the limit `mcp_docs_tokens`.
    """
    helpers = [*db_helpers(actor_type.methods), *sql_helpers()]
    toolbox = host.services.get("tools")
    if toolbox is not None:
        helpers += await toolbox.helpers(address)
    engine = host.services.get("sandbox")
    limits = host.settings.limits
    return model_docs(
        helpers,
        limits=limits,
        budget=budget or limits.mcp_docs_tokens,
        discovery=True,
        gaps=engine.capabilities.gaps if engine is not None else "",
    )


class ToolMethods:
    """tools, for any actor type that has `run`."""

    _instance: Instance

    @method(read_only=True, concurrent=True)
    async def tools(
        self,
        format: Annotated[Target, Field(description="Whose form the tools have.")] = "openai",
        methods: Annotated[
            bool, Field(description="Also one tool for each method, beside the one that takes a program.")
        ] = False,
        budget: Annotated[
            int | None, Field(ge=200, le=100_000, description="Tokens that the description may take.")
        ] = None,
    ) -> list[dict[str, Any]]:
        """Return the tools to give a model with its request: `run_code`, and how programs are written here."""
        instance = self._instance
        actor_type = type(instance.actor)
        description = await code_description(instance.host, actor_type, instance.address, budget)
        name = actor_type.type_name
        made = [code_tool(actor_type.methods["run"], format, description=description, actor=name)]
        if methods:
            made += tool_schemas(actor_type.methods, format, prefix=name, actor=name)
        return made
