"""Names that servers give become names that a program can write: `my-shop` is `tools.my_shop`.

What cannot stand in an identifier becomes an underscore; a leading digit and Python's own words get one. Two names
that come out alike are refused, both of them: a program must never reach another tool than the one it means.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from keyword import iskeyword, issoftkeyword

__all__ = ("clean_text", "distinct", "identifier")

_LONGEST = 128
# Read left to right as written; what turns text around or hides in it has no place in a description.
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
_LEADERS = "#>`~=|"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def identifier(name: str) -> str:
    """Return the identifier for a name; two names may share one.

    Leading underscores go: such names belong to Python's own attributes.
    """
    # Python reads identifiers in this form, so an attribute must be stored in it.
    text = unicodedata.normalize("NFKC", name)
    text = "".join(c if f"_{c}".isidentifier() else "_" for c in text)[:_LONGEST].lstrip("_")
    if not text or not text[0].isidentifier() or iskeyword(text) or issoftkeyword(text):
        # A word that is taken keeps its look; a digit cannot come first.
        text = f"{text}_" if text and text[0].isidentifier() else f"_{text}"
    return text


def distinct(names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names by identifier, and what is wrong with each name that shares its identifier with another."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(identifier(name), []).append(name)
    good = {key: group[0] for key, group in groups.items() if len(group) == 1}
    refused = {}
    for key, group in groups.items():
        if len(group) > 1:
            alike = " and ".join(f"{name!r:.80}" for name in group[:5])
            refused.update(
                dict.fromkeys(group, f"The names {alike} would all be {key!r:.80}: none of them is offered.")
            )
    return good, refused


def clean_text(text: str, most_bytes: int) -> str:
    """Return text of a stranger as plain paragraphs of at most so many bytes.

    Control, bidirectional and invisible characters go, and so do the marks with which a line would pose as a
    heading, a quotation or the end of a code block of the document that it is shown in.
    """
    text = _ESCAPE.sub("", text[: most_bytes * 4]).replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else " " for c in text)
    paragraphs: list[list[str]] = [[]]
    for line in kept.split("\n"):
        words = " ".join(line.split()).lstrip(_LEADERS).strip()
        if words:
            paragraphs[-1].append(words.replace("```", "'''"))
        elif paragraphs[-1]:
            paragraphs.append([])
    joined = "\n\n".join("\n".join(lines) for lines in paragraphs if lines)
    if len(joined.encode()) > most_bytes:
        joined = joined.encode()[: most_bytes - 4].decode("utf-8", "ignore").rstrip() + " …"
    return joined
