"""A report is what a check found: errors, which would end the run, and warnings, which would not.

Each finding has its place in the program, says what is wrong and what to write instead, and names the rule
that found it. A report is plain data and bounded, whatever the program looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

__all__ = ("Finding", "Findings", "Report")

_MOST = 20
_MESSAGE_CHARS = 400


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake. `line` counts from 1, `column` from 1 in characters; `nearest` is the name that may be meant."""

    line: int
    column: int
    message: str
    hint: str | None = None
    nearest: str | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, in the order of the program; at most 20 errors and 20 warnings.

    `complete` is false where the program was too large or too deeply nested to be looked at: it may run.
    """

    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    complete: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would end the run."""
        return not self.errors


@dataclass(slots=True)
class Findings:
    """A report in the making. A finding of one rule at one place is kept once."""

    errors: dict[tuple[int, int, str], Finding] = field(default_factory=dict)
    warnings: dict[tuple[int, int, str], Finding] = field(default_factory=dict)

    def add(self, finding: Finding, *, certain: bool) -> None:
        """Keep a finding: as an error where it is certain, else as a warning."""
        kept = self.errors if certain else self.warnings
        kept.setdefault((finding.line, finding.column, finding.rule), finding)

    def report(self, code: str) -> Report:
        """Return what was found, sorted and bounded; columns in bytes become columns in characters."""
        lines = None if code.isascii() else re.split("\r\n|\r|\n", code)
        return Report(_sorted(self.errors, lines), _sorted(self.warnings, lines))


def _sorted(found: dict[tuple[int, int, str], Finding], lines: list[str] | None) -> tuple[Finding, ...]:
    return tuple(_finished(found[key], lines) for key in sorted(found)[:_MOST])


def _finished(finding: Finding, lines: list[str] | None) -> Finding:
    if lines is not None and finding.line <= len(lines):
        before = lines[finding.line - 1].encode("utf-8", "replace")[: finding.column - 1]
        finding = replace(finding, column=len(before.decode("utf-8", "ignore")) + 1)
    if len(finding.message) > _MESSAGE_CHARS:
        finding = replace(finding, message=f"{finding.message[:_MESSAGE_CHARS]}…")
    return finding
