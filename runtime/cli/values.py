"""Values on the command line: JSON where it is JSON, else text as it stands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click
import orjson

__all__ = ("json_object", "loose", "pairs", "statement_options")


def loose(text: str) -> Any:
    """Return `3`, `2.5`, `null`, `true`, `"3"`, `[1]` as JSON reads them, anything else as text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Return `name=value` words as a dict (a click callback)."""
    found: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{word!r}: write it as name=value.", context, option)
        found[name] = loose(value)
    return found


def json_object(context: click.Context, option: click.Parameter, given: str | None) -> dict[str, Any]:
    """Return a JSON object (a click callback); nothing given is an empty one."""
    if given is None:
        return {}
    value = loose(given)
    if not isinstance(value, dict):
        raise click.BadParameter("a JSON object is needed, such as '{\"n\": 3}'.", context, option)
    return value


def statement_options(body: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Add a statement (`-` reads it from stdin), the parameters to bind and a limit; bound values come as `params`."""

    @click.argument("statement")
    @click.option("--param", "-p", "positional", multiple=True, help="The value of the next ?; JSON or text.")
    @click.option("--params", callback=json_object, help="A JSON object for named parameters.")
    @click.option("--limit", type=click.IntRange(min=0), help="Show at most so many rows.")
    @functools.wraps(body)
    async def run(
        *given: Any, statement: str, positional: tuple[str, ...], params: dict[str, Any], **options: Any
    ) -> None:
        text = sys.stdin.read() if statement == "-" else statement
        await body(*given, statement=text, params=params or [loose(each) for each in positional], **options)

    return run
