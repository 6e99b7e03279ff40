"""Which versions run here: the service's own, and those of what it stands on."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata

__all__ = ("version_facts",)


def version_facts() -> dict[str, str]:
    """Return the versions of the service and of what it stands on."""
    try:
        own = metadata.version("duralite")
    except metadata.PackageNotFoundError:
        own = "0+unknown"
    return {
        "version": own,
        "api": "v1",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
