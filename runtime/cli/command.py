"""A command is a function with an example; options that all share, errors and exit codes are added here.

`local` commands get an `Output`; `connected` ones get a `Client` before it. What they return is their exit code
(None: 0). An error that they raise is shown as a problem, with the exit code that belongs to it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from runtime.cli.client import Place, connect
from runtime.cli.failure import FAILED, OK, USAGE, ServiceError, exit_code, problem_of
from runtime.cli.output import Output
from runtime.errors import DuraliteError
from runtime.limits import Limits
from runtime.reasons import reasons
from runtime.settings import Settings, config_file

__all__ = ("Body", "connected", "data_option", "local", "place_options")

Body = Callable[..., Any]
_SHARED = ("data", "url", "key", "as_json", "quiet")


def local(name: str, *, example: str, passes_on: bool = False) -> Callable[[Body], click.Command]:
    """Make a command of `body(out, **options)`, which works on this machine alone.

    With `passes_on`, options that it does not know are arguments for somebody else.
    """

    def make(body: Body) -> click.Command:
        @functools.wraps(body)
        def run(as_json: bool, quiet: bool, **options: Any) -> None:
            out = Output(as_json=as_json, quiet=quiet)
            _end(out, lambda: body(out, **options))

        return _command(name, example, _output_options(run), ignore_unknown_options=passes_on)

    return make


def connected(name: str, *, example: str) -> Callable[[Body], click.Command]:
    """Make a command of `async body(client, out, **options)`, which asks a service."""

    def make(body: Body) -> click.Command:
        @functools.wraps(body)
        def run(
            as_json: bool, quiet: bool, url: str | None, key: str | None, data: Path | None, **options: Any
        ) -> None:
            out = Output(as_json=as_json, quiet=quiet)
            place = Place(url, key, data)

            async def ask() -> int | None:
                async with connect(place, out.note) as client:
                    return await _typed(body(client, out, **options))

            _end(out, lambda: asyncio.run(ask()))

        return _command(name, example, _output_options(place_options(run)))

    return make


async def _typed(answer: Awaitable[int | None]) -> int | None:
    return await answer


def _command(name: str, example: str, run: Body, **settings: Any) -> click.Command:
    # The mark keeps click from filling the lines of the example into one paragraph.
    made = click.command(name, epilog=f"\b\nExample:\n  {example}", context_settings=settings)(run)
    made.params.sort(key=lambda parameter: parameter.name in _SHARED)  # its own options are shown first
    return made


def _output_options(run: Body) -> Body:
    run = click.option("--quiet", "-q", is_flag=True, help="Write no remarks and no progress.")(run)
    return click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")(run)


def data_option(run: Body) -> Body:
    """Add `--data`."""
    kind = click.Path(path_type=Path)
    return click.option("--data", type=kind, help="The data folder (setting `data`).")(run)


def place_options(run: Body) -> Body:
    """Add `--url`, `--key` and `--data`."""
    run = data_option(run)
    run = click.option("--key", envvar="DURALITE_KEY", help="The key for the service (DURALITE_KEY).")(run)
    return click.option(
        "--url", envvar="DURALITE_URL", help="A service elsewhere (DURALITE_URL), instead of the data folder."
    )(run)


def _end(out: Output, act: Callable[[], int | None]) -> None:
    """Run a command's body and end with its exit code."""
    try:
        code = act() or OK
    except (DuraliteError, ServiceError) as error:
        problem = problem_of(error)
        out.fail(problem)
        code = exit_code(problem)
    except (ValidationError, SettingsError, TOMLDecodeError) as error:
        out.fail(_settings_problem(error))
        code = USAGE
    except OSError as error:
        # The file or folder is named in the message, and it is what the person has to mend.
        known = error.strerror and error.filename
        detail = f"{error.strerror}: {error.filename}" if known else str(error)
        out.fail({"code": "os_error", "title": "The system refused", "detail": detail})
        code = FAILED
    click.get_current_context().exit(code)


def _settings_problem(error: ValidationError | SettingsError | TOMLDecodeError) -> dict[str, Any]:
    match error:
        case ValidationError():
            known = (*Settings.model_fields, *(f"limits.{name}" for name in Limits.model_fields))
            found = reasons(error, "setting", known)
            told = [f"{each['path'] or 'settings'}: {each['reason']}" for each in found]
        case TOMLDecodeError():
            told = [f"{config_file()}: {error}"]
        case _:
            told = [str(error).rstrip(".")]
    return {
        "code": "invalid_settings",
        "title": "The settings are not valid",
        "detail": "The settings are not valid. " + "; ".join(told) + ".",
        "hint": f"They come from flags, DURALITE_* variables and the file {config_file()}; docs/reference/settings.md "
        "lists all.",
    }
