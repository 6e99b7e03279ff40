"""Reach is what of thousands of tools a program is given: those of the servers that it names.

A helper costs a little in each run, whether it is called or not. What a program cannot name it cannot call: so the
tools of a server that its text does not mention are left out, unless it looks names up while it runs.
"""

from __future__ import annotations

import re

from helpers.stubs import camel_case

__all__ = ("looks_up", "names")

_LOOKS_UP = re.compile(r"getattr|dir\(|vars\(|__dict__|exec|eval|globals|\btools\b(?!\s*\.\s*\w)")


def looks_up(code: str) -> bool:
    """Tell whether a program may reach tools that its text does not name."""
    return _LOOKS_UP.search(code) is not None


def names(namespace: str, code: str) -> bool:
    """Tell whether a program's text names a namespace; what is no tool server always counts as named."""
    if not namespace.startswith("tools."):
        return True
    last = namespace.rpartition(".")[2]
    return last in code or camel_case(last) in code
