"""Tasks that the tests of the workers run."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from runtime.errors import GuardRefused
from runtime.workers.task import Report, task


@task
def echo(args: dict[str, Any], report: Report) -> Any:
    return args


@task
def count(args: dict[str, Any], report: Report) -> int:
    for number in range(args["to"]):
        report({"rows": number})
    return int(args["to"])


@task
def facts(args: dict[str, Any], report: Report) -> dict[str, Any]:
    return {"pid": os.getpid(), "environment": dict(os.environ), "nice": os.nice(0), "path": sys.path}


@task
def raw(args: dict[str, Any], report: Report) -> bytes:
    return b"\x00\xff" * args["times"]


@task
def refuse(args: dict[str, Any], report: Report) -> None:
    raise GuardRefused("Not this.", rule="some.rule", hint="Write that.")


@task
def fail(args: dict[str, Any], report: Report) -> None:
    raise ZeroDivisionError("by hand")


@task
def grow(args: dict[str, Any], report: Report) -> int:
    return len(bytearray(args["bytes"]))


@task
def die(args: dict[str, Any], report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def give_up(args: dict[str, Any], report: Report) -> None:
    os.abort()


@task
def hang(args: dict[str, Any], report: Report) -> None:
    report({"pid": os.getpid()})
    while True:
        time.sleep(60)


@task
def gated(args: dict[str, Any], report: Report) -> str:
    """Go on when a file is there."""
    report({"pid": os.getpid()})
    while not Path(args["gate"]).exists():
        time.sleep(0.005)
    return str(args["name"])


def unmarked(args: dict[str, Any], report: Report) -> None:
    """Not a task."""
