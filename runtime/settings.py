"""Settings come from `duralite.toml`, then `DURALITE_*` variables, then command-line flags; the later wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from runtime.limits import Limits

__all__ = ("DEFAULT_TYPES", "Settings", "config_file")

DEFAULT_TYPES = ("actors.session:SessionActor", "actors.project:ProjectActor", "actors.sources:SourcesActor")
"""Import strings of the built-in actor types, `module:class`."""


def config_file() -> Path:
    """Return the configuration file: `DURALITE_CONFIG`, else `duralite.toml` in the working folder."""
    return Path(os.environ.get("DURALITE_CONFIG", "duralite.toml"))


class Settings(BaseSettings):
    """Everything an operator can set. Limits are in a table of their own (`runtime/limits.py`)."""

    model_config = SettingsConfigDict(
        env_prefix="DURALITE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data: Path = Field(Path(".duralite"), description="Folder of all files of the service.")
    bind: str = Field(
        "127.0.0.1", description="Address to listen on; a public one is refused while there are no keys."
    )
    port: int = Field(8484, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    types: tuple[str, ...] = Field(DEFAULT_TYPES, description="Actor types as `module:class`.")
    durability: Literal["normal", "full"] = Field(
        "normal",
        description="`normal`: a commit survives kill -9. `full`: it is on the disk before the answer (group commit).",
    )
    auth: Literal["auto", "required"] = Field(
        "auto",
        description="`auto`: loopback without a key is the local owner. `required`: every request needs a key.",
    )
    engine: Literal["process", "monty"] = Field("process", description="What runs user code.")
    approvals: tuple[str, ...] = Field(
        (),
        description="Helper calls of programs that wait for an approval: `tools.git.git_commit`, `tools.shop.*`, `db.exec:DROP`; none by default.",
    )
    session_ttl_s: float = Field(
        86_400.0, ge=1, description="A session that nobody used for so long is deleted."
    )
    mcp_servers: Path | None = Field(
        None,
        description="File of tool servers for all sessions, in the `mcpServers` form of desktop clients.",
    )
    tool_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that sessions may connect to for tools: names, `*.example.com`, addresses, networks, each with `:port` if only one; none by default.",
    )
    mcp_tools: tuple[str, ...] = Field(
        ("code",),
        description="Tools that MCP clients are shown: `code` (run_code and what goes with it), `all`, or names and patterns such as `session_*`.",
    )
    source_folders: tuple[Path, ...] = Field(
        (),
        description="Folders whose files may be registered as sources by their path, with all folders in them; none by default.",
    )
    new_data_sources: bool = Field(
        True, description="Feature flag: data sources (the actor type `sources`, /api/sources)."
    )
    parquet_import: bool = Field(
        True, description="Feature flag: import of CSV, XLSX and the like into sources of Parquet."
    )
    promote_size_bytes: int = Field(
        0, ge=0, description="A session whose file is this large becomes a project by itself; 0: never."
    )
    promote_age_s: float = Field(
        0.0,
        ge=0,
        description="A session that is still used at this age becomes a project by itself; 0: never.",
    )
    promote_uses: int = Field(
        0, ge=0, description="A session that was called so often becomes a project by itself; 0: never."
    )
    import_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that projects may import files from by URL: names, `*.example.com`, addresses, networks, each with `:port` if only one; none by default.",
    )
    ask_hook: str | None = Field(
        None,
        description="`module:function` that turns a question which `ask` did not understand into a SELECT or a sentence that it does; none by default.",
    )
    cors_origins: tuple[str, ...] = Field((), description="Web origins that may call; none by default.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Host names that are answered; empty: those of the bind address (and localhost on loopback).",
    )
    metrics: Literal["auto", "on", "off"] = Field(
        "auto", description="`/metrics`; `auto` shows it on loopback binds only."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console in a terminal, else JSON."
    )
    limits: Limits = Field(default_factory=Limits, description="See the table of limits.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, file.

        Raises:
            SettingsError: `DURALITE_CONFIG` names a file that is not there.
        """
        if "DURALITE_CONFIG" in os.environ and not config_file().is_file():
            raise SettingsError(f"DURALITE_CONFIG names the file {config_file()}, which is not there.")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @classmethod
    def for_data(cls, data: Path, **values: Any) -> Settings:
        """Return settings for a data folder, as tests and embedding programs use them."""
        return cls(data=data, **values)
