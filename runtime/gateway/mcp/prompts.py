"""Prompts are starts of conversations that a person picks in a client."""

from __future__ import annotations

from collections.abc import Mapping

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    GetPromptResult,
    ListPromptsResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

__all__ = ("get_prompt", "list_prompts")

_ANALYSE = Prompt(
    name="analyse_session",
    title="Analyse a session",
    description="Look at the tables of a session, answer a question from them, and say what to look at next.",
    arguments=[
        PromptArgument(name="session", description="The session's name.", required=True),
        PromptArgument(name="question", description="What you want to know.", required=False),
    ],
)
_TEXT = """\
Analyse the data in the duralite session {session!r}.
First see its tables and columns. Then answer with run_code, in as few programs as you can: aggregate in SQL, \
return summaries, and never print whole tables. State each figure with the query that gives it.
{task}"""
_OPEN = "Find the three most telling facts in the data, and one thing that looks wrong in it."


def list_prompts() -> ListPromptsResult:
    """Return all prompts."""
    return ListPromptsResult(prompts=[_ANALYSE])


def get_prompt(name: str, arguments: Mapping[str, str]) -> GetPromptResult:
    """Return a prompt with its arguments filled in.

    Raises:
        MCPError: no such prompt, or an argument is missing.
    """
    if name != _ANALYSE.name:
        raise MCPError(INVALID_PARAMS, f"Unknown prompt: {name[:100]}. prompts/list shows those there are.")
    session = arguments.get("session")
    if not session:
        raise MCPError(INVALID_PARAMS, "The prompt needs the argument session, the name of a session.")
    question = arguments.get("question")
    task = f"The question: {question}" if question else _OPEN
    text = _TEXT.format(session=session, task=task)
    return GetPromptResult(
        description=_ANALYSE.description,
        messages=[PromptMessage(role="user", content=TextContent(text=text))],
    )
