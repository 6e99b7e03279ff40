"""`python -m runtime` is the `duralite` command."""

from __future__ import annotations

from runtime.cli import main

main()
