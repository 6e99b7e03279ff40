"""The `duralite` command: every verb is a call to the HTTP interface, wherever the service runs."""

from __future__ import annotations

from runtime.cli.app import cli, main

__all__ = ("cli", "main")
