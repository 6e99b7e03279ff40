"""A check reads a program before it runs, and tells the mistakes that would end it, with line, hint and nearest name.

It stands on the helper specs from which the stubs are made. It never runs anything, is bounded whatever the
text, and refuses only what is sure: a program that would have worked has no errors. What is likely a mistake,
or costs more than it needs, is a warning (`lint`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from helpers.kept import Kept
from helpers.spec import HelperSpec

from .calls import HelperRules
from .lint import Lint
from .report import Finding, Findings, Report
from .scope import Reach, Tree
from .syntax import parse
from .walk import Walk

__all__ = ("CHECKED_CHARS", "Finding", "Report", "check")

CHECKED_CHARS = 64 * 1024
"""A longer program is run without a check: reading it would hold up the service."""

_TREES = Kept(Tree.of)


def check(
    code: str, helpers: tuple[HelperSpec, ...], *, inputs: Mapping[str, object] | None = None
) -> Report:
    """Return what is wrong with a program, or would be better otherwise.

    Args:
        code: The program.
        helpers: What it has in scope; the sql builders are added. What depends on them alone is remembered for
            the tuple itself: give the same object each time.
        inputs: The inputs of this run, if they are known.

    About 0.1 ms for a line; a caller on an event loop gives a program of more than 8 KiB to a thread.
    """
    if len(code) > CHECKED_CHARS:
        return _unread(f"The program has more than {CHECKED_CHARS:,} characters, and was not checked.")
    tree = parse(code)
    if isinstance(tree, Finding):
        return Report(errors=(tree,))
    if not isinstance(tree, ast.Module):
        return _unread("The program is nested too deeply to be checked.")
    found = Findings()
    try:
        walk = Walk.over(tree, code)
        reach = Reach(_TREES.of(helpers), inputs)
        HelperRules(walk, reach, found).apply()
        Lint(walk, reach, found).apply(tree)
    except RecursionError:
        return _unread("The program is nested too deeply to be checked.")
    return found.report(code)


def _unread(message: str) -> Report:
    finding = Finding(1, 1, message, "Put data into tables or inputs, and parts into functions.", rule="size")
    return Report(warnings=(finding,), complete=False)
