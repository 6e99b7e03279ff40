"""`config`: which settings hold, and where each comes from."""

from __future__ import annotations

import os
from typing import Any

import click
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from runtime.cli.command import local
from runtime.cli.output import Output
from runtime.settings import Settings, config_file

__all__ = ("COMMANDS", "origins")


def origins() -> dict[str, tuple[Any, str]]:
    """Return each setting and limit by its name in the file, with its value and where that comes from."""
    values = Settings().model_dump(mode="json")
    # The sources in the order in which they win; what none gives is the default.
    sources = (
        (_environment, EnvSettingsSource(Settings)()),
        (_file, TomlConfigSettingsSource(Settings, config_file())()),
    )
    found: dict[str, tuple[Any, str]] = {}
    for path, value in _flat(values):
        origin = next((name(path) for name, given in sources if _has(given, path)), "default")
        found[".".join(path)] = (value, origin)
    return found


def _environment(path: tuple[str, ...]) -> str:
    return f"DURALITE_{'__'.join(path).upper()}"


def _file(path: tuple[str, ...]) -> str:
    return str(config_file())


def _flat(values: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    pairs: list[tuple[tuple[str, ...], Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += [((name, inner), each) for inner, each in value.items()]
        else:
            pairs.append(((name,), value))
    return pairs


def _has(given: dict[str, Any], path: tuple[str, ...]) -> bool:
    value: Any = given
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


@click.group("config", epilog="\b\nExample:\n  duralite config show --origin")
def config() -> None:
    """Look at the settings."""


@local("show", example="duralite config show --origin")
@click.option("--origin", is_flag=True, help="Tell where each value comes from.")
def show(out: Output, origin: bool) -> None:
    """Show the settings and limits that hold here."""
    found = origins()
    if out.as_json:
        out.json({n: {"value": v, "origin": o} if origin else v for n, (v, o) in found.items()})
        return
    columns = ("setting", "value", "origin") if origin else ("setting", "value")
    out.table(columns, [(n, v, o)[: len(columns)] for n, (v, o) in found.items()])
    out.note(
        f"file: {config_file()}{'' if config_file().exists() else ' (not there)'}; environment: DURALITE_*"
    )
    _warn_of_strays(out)


def _warn_of_strays(out: Output) -> None:
    """Name variables that look like settings and are none: a misspelt one would be ignored in silence."""
    known = {_environment(tuple(name.split("."))) for name in origins()}
    known |= {"DURALITE_CONFIG", "DURALITE_URL", "DURALITE_KEY", "DURALITE_LIMITS"}
    for name in sorted(os.environ):
        if name.upper().startswith("DURALITE_") and name.upper() not in known:
            out.note(f"{name} is no setting and has no effect", style="yellow")


config.add_command(show)
COMMANDS = (config,)
