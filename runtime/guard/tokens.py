"""Tokens: the words of a statement, cut exactly where SQLite cuts them.

Everything the guard reads from text stands on this file: if it saw a word where SQLite sees a comment, a
blocked verb could hide. White space is space, tab, LF, FF, CR and the byte order mark; a vertical tab
counts only after one of these. A block comment may run to the end of the text. There are four quoting
styles; quotes are doubled, never escaped by a backslash; an open one runs to the end. What SQLite would call illegal becomes an
`ILLEGAL` token: SQLite refuses such a text itself.
"""

from __future__ import annotations

import re
from typing import TypeAlias

__all__ = (
    "ILLEGAL",
    "NUMBER",
    "OP",
    "QUOTED",
    "STRING",
    "VARIABLE",
    "WORD",
    "Token",
    "name_of",
    "tokenize",
)

# The numbers are the groups of the pattern below; 1 is a blob literal, read as a string.
STRING = 2
QUOTED = 3
WORD = 4
NUMBER = 5
VARIABLE = 6
OP = 7
ILLEGAL = 8

_ID = r"A-Za-z0-9_$\x80-\U0010ffff"
_PATTERN = re.compile(
    rf"""
      [ \t\n\f\r][ \t\n\f\r\v]* | \ufeff
    | --[^\n]* | /\*[\s\S]*?\*/ | /\*[\s\S]+
    | ([xX]'[^']*')
    | ('[^']*(?:''[^']*)*')
    | ("[^"]*(?:""[^"]*)*" | `[^`]*(?:``[^`]*)*` | \[[^\]]*\])
    | ([A-Za-z_\x80-\ufefe\uff00-\U0010ffff][{_ID}]*)
    | ((?:0[xX][0-9a-fA-F]+ | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[{_ID}]*)
    | (\?[0-9]* | [@:\#$](?:(?:[{_ID}]|::)+(?:\([^\s)]{{0,200}}\))?)?)
    | (->>?|\|\||<=|<>|<<|>=|>>|==|!=|[;(),.+\-*/%=<>&~|])
    | (['"`\[][\s\S]* | [\s\S])
    """,
    re.VERBOSE,
)


# A plain tuple, because a statement has many and the gate stands in front of every new one:
# its kind, its text (words in lower case; quoted names too, with one " in front), its start and its end.
Token: TypeAlias = tuple[int, str, int, int]


def tokenize(sql: str) -> list[Token]:
    """Return the tokens of a text, without white space and comments."""
    tokens: list[Token] = []
    append = tokens.append
    for match in _PATTERN.finditer(sql):
        kind = match.lastindex
        if kind is None:
            continue
        text = match[0]
        if kind == WORD:
            text = text.lower()
        elif kind == QUOTED:
            # The mark keeps a name such as ";" or "from" apart from the operator and the keyword.
            text = '"' + _unquote(text).lower()
        elif kind == 1:
            kind = STRING
        append((kind, text, match.start(), match.end()))
    return tokens


def _unquote(text: str) -> str:
    quote = text[0]
    if quote == "[":
        return text[1:-1]
    return text[1:-1].replace(quote * 2, quote)


def name_of(token: Token) -> str:
    """Return the name that a word, a quoted name or a string literal stands for, in lower case."""
    kind, text, *_ = token
    if kind == QUOTED:
        return text[1:]
    if kind == STRING and text[0] == "'":
        return _unquote(text).lower()
    return text.lower()
