"""Syntax: a program's text becomes a tree, or a finding with a hint for what models write in place of Python.

The text is hostile. Its size is bounded before, and the parser bounds its own depth: what is nested more
deeply than it can hold gives no tree and no finding, since the sandbox may still run it.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings

from .report import Finding

__all__ = ("parse",)

# Warnings of the parser are switched off for the whole process at once; two threads must not interleave that.
_PARSING = threading.Lock()

_SQL = re.compile(
    r"\s*(?:select\s+[\w'\"*(]|(?:insert\s+into|update\s+\S+\s+set|delete\s+from|create\s+table|with\s+\w+\s+as\s*\()\b)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\s*(```|~~~)")
_BY_LINE: tuple[tuple[re.Pattern[str], str], ...] = (
    (_FENCE, "Send the program alone: leave out the ``` lines of Markdown."),
    (_SQL, 'This is SQL. Put it into a call: db.query("SELECT …") or db.exec("INSERT …").'),
    (re.compile(r"\s*(const|let|var)\s+\w+\s*="), "This is JavaScript; write Python: `name = value`."),
    (re.compile(r"\s*(async\s+)?function\b|.*=>"), "This is JavaScript; write Python: `def name(…):`."),
    (re.compile(r"\s*//"), "A comment begins with #."),
    (re.compile(r".*(&&|\|\|)"), "Write `and`, `or`, `not`."),
    (re.compile(r".*(===|!==)"), "Write `==` and `!=`."),
    (re.compile(r".*(\+\+|--)\s*;?\s*$"), "Write `n += 1`."),
    (
        re.compile(r"\s*(if|for|while|else|elif|catch|try)\b.*\{\s*$"),
        "Blocks begin with a colon, not a brace.",
    ),
    (re.compile(r".*[“”‘’„]"), "Use straight quotes: \" or '."),
    (re.compile(r"\s*(>>>|\.\.\.)\s"), "Leave out the >>> of an interactive session."),
    (re.compile(r"\s*[%!]\w"), "There are no magic or shell commands here; write Python."),
    (re.compile(r"\s*print\s+[^(=\s]"), "print is a function: print(…)."),
)
_BY_MESSAGE = (
    ("unexpected indent", "Begin at the left margin; indent only what stands under a colon."),
    ("unindent does not match", "Indent the lines of one block alike, with spaces."),
    ("inconsistent use of tabs", "Indent with spaces alone."),
    ("unterminated triple-quoted", 'Close the text with the same three quotes: """.'),
    (
        "unterminated string",
        "Close the quote on the same line, or use three quotes for text of several lines.",
    ),
    (
        "unterminated f-string",
        "Close the quote on the same line, or use three quotes for text of several lines.",
    ),
    ("was never closed", "Close it; is the program cut off?"),
    ("unexpected EOF", "The program seems cut off; send it whole."),
    ("f-string", "Put what is not a plain expression into a variable first."),
)


def parse(code: str) -> ast.Module | Finding | None:
    """Return the tree, the finding that says why there is none, or None where the text is nested too deeply."""
    code = code.removeprefix("\ufeff")
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        return _finding(error, code)
    except UnicodeEncodeError as error:
        line = code.count("\n", 0, error.start) + 1
        return Finding(line, 1, "The program holds half of a character (a lone surrogate).", rule="syntax")
    except ValueError as error:
        return Finding(1, 1, f"The program cannot be read: {error}.", rule="syntax")
    except (RecursionError, MemoryError):
        return None


def _finding(error: SyntaxError, code: str) -> Finding:
    lines = code.split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    return Finding(
        line=line,
        column=max(error.offset or 1, 1),
        message=f"The program is not Python: {error.msg}.",
        hint=_hint(error.msg, lines, line),
        rule="syntax",
    )


def _hint(message: str, lines: list[str], line: int) -> str | None:
    # The line itself, then the first with anything in it: a fence or SQL there explains all that follows.
    first = next((text for text in lines if text.strip()), "")
    for text in (lines[line - 1][:500], first[:500]):
        for pattern, hint in _BY_LINE:
            if pattern.match(text):
                return hint
    return next((hint for part, hint in _BY_MESSAGE if part in message), None)
