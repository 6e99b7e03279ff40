"""`bench`: the measurements of a checkout; an installed package carries none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from runtime.cli.command import local
from runtime.cli.failure import FAILED
from runtime.cli.output import Output

__all__ = ("COMMANDS",)


@local("bench", example="duralite bench --quick", passes_on=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(out: Output, arguments: tuple[str, ...]) -> int:
    """Measure speed on this machine, each figure beside a limit measured in the same run.

    ARGUMENTS go to the benchmarks as they are; `duralite bench -- --help` lists what there is.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "benchmarks" / "__main__.py").exists():
        out.fail(
            {
                "code": "no_checkout",
                "title": "No benchmarks here",
                "detail": "The benchmarks are part of a checkout, and this is an installed package.",
                "hint": "Clone the repository and run `make bench`.",
            }
        )
        return FAILED
    flags = ("--json",) if out.as_json else ()
    command = (sys.executable, "-m", "tests.benchmarks", *flags, *arguments)
    return subprocess.run(command, cwd=root, check=False).returncode


COMMANDS = (bench,)
