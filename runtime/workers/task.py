"""A task is a function that a worker process runs: plain data in, plain data out, reports on the way.

Only functions marked here can be called in a worker, by their name `package.module:function`. A task holds no
state between calls that matters: its process may be ended at any moment, and another one takes the next task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ("Report", "Task", "is_task", "task")

Report = Callable[[Mapping[str, Any]], None]
"""Send one report (plain data, small) to the caller, in order and before the answer."""

Task = Callable[[dict[str, Any], Report], Any]
F = TypeVar("F", bound=Task)
_MARK = "__duralite_task__"


def task(function: F) -> F:
    """Mark `function(args, report)` as one that workers may run.

    It returns plain data, or bytes, which reach the caller as they are.
    """
    setattr(function, _MARK, True)
    return function


def is_task(function: object) -> bool:
    """Tell whether a function was marked."""
    return getattr(function, _MARK, False) is True
