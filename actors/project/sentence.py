"""A sentence is a question with its columns and quoted texts found, and the conditions in it.

They stand as marks (`c0` a column, `v0` a text, between two characters that no text uses), so that a name may hold
any words, and the words around them can be read by plain patterns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ("COLUMN", "WORDS", "Sentence", "Unread", "conditions", "loose")

# Words of the grammar: a column of such a name has to be quoted to be meant.
WORDS = frozenset(
    """
    a all and any are as ascending asc average avg between bin bins by columns common containing
    contains count data describe desc descending different distinct distribution does duplicates each
    empty ends equals fields find first for frequent from get give greatest has have highest histogram
    how in is it largest last least lowest many max maximum me mean median min minimum missing more most
    not null number of one or order ordered outliers per random row rows sample schema search select
    show smallest sort sorted starts statistics stats sum summary than that the there to top total
    unique value values what where which with
    """.split()  # noqa: SIM905
)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|`([^`]*)`|\'((?:[^\']|\'\')*)\'')
_MARK = re.compile(r"\ue000([cv])(\d+)\ue001")
COLUMN = r"\ue000c(\d+)\ue001"
"""The pattern of a column's mark."""


class Sentence:
    """A question with its columns and quoted texts replaced by marks."""

    def __init__(self, question: str, names: Sequence[str]) -> None:
        self.names = list(names)
        self.values: list[str] = []
        text = question.replace("\ue000", " ").replace("\ue001", " ")
        text = _QUOTED.sub(self._quoted, text)
        self.text = re.sub(r"\s+", " ", self._mark_columns(text)).strip(" ?.!").strip()

    def _quoted(self, found: re.Match[str]) -> str:
        text = next(part for part in found.groups() if part is not None)
        text = text.replace(found[0][0] * 2, found[0][0])
        # In double quotes or backticks a column's name is that column; in single quotes a text is a text.
        if found[3] is None and (at := self._column(text)) is not None:
            return f"\ue000c{at}\ue001"
        self.values.append(text)
        return f"\ue000v{len(self.values) - 1}\ue001"

    def _column(self, text: str) -> int | None:
        for spelled in (str, str.casefold, loose):
            fitting = [at for at, name in enumerate(self.names) if spelled(name) == spelled(text)]
            if fitting:
                return fitting[0]
        return None

    def _mark_columns(self, text: str) -> str:
        spellings: dict[str, int] = {}
        for at, name in enumerate(self.names):
            for spelled in (name.casefold(), loose(name)):
                if spelled and spelled not in WORDS and not spelled.isdigit() and "\ue000" not in spelled:
                    spellings.setdefault(spelled, at)
        if not spellings:
            return text
        each = sorted(spellings, key=len, reverse=True)
        pattern = re.compile(
            r"(?<![\w\ue000])(?:" + "|".join(map(re.escape, each)) + r")(?![\w\ue001])", re.IGNORECASE
        )

        def mark(found: re.Match[str]) -> str:
            # The pattern's idea of case is not quite casefold()'s: what only one of them takes stays text.
            at = spellings.get(found[0].casefold())
            return found[0] if at is None else f"\ue000c{at}\ue001"

        return pattern.sub(mark, text)

    def column(self, digits: str) -> str:
        """Return the column of a mark, by the mark's number."""
        return self.names[int(digits)]

    def columns(self, text: str) -> list[str]:
        """Return the columns whose marks stand in a text, each once."""
        return list(dict.fromkeys(self.names[int(d)] for kind, d in _MARK.findall(text) if kind == "c"))

    @property
    def unmarked(self) -> str:
        """The sentence without its marks."""
        return _MARK.sub(" ", self.text)

    def value(self, text: str) -> Any:
        """Return a value as it was written: a quoted text, a number, true or false, else the words."""
        text = text.strip()
        if (mark := _MARK.fullmatch(text)) is not None:
            return self.values[int(mark[2])] if mark[1] == "v" else self.names[int(mark[2])]
        if re.fullmatch(r"-?\d+", text) and len(text) < 19:
            return int(text)
        if re.fullmatch(r"-?\d+\.\d+(?:[eE][+-]?\d+)?", text):
            return float(text)
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return self.plain(text)

    def plain(self, text: str) -> str:
        """Return text with its marks turned back into words."""
        return _MARK.sub(lambda m: self.values[int(m[2])] if m[1] == "v" else self.names[int(m[2])], text)


def loose(name: str) -> str:
    """Return a name as people say it: `dep_delay` and `Dep Delay` are one."""
    return re.sub(r"[\s_\-]+", " ", name).strip().casefold()


# Conditions: the longer words first, so that `is not empty` is not read as `is`.
_OPERATORS: tuple[tuple[str, str], ...] = (
    (r"(?:is|are) not (?:empty|missing|null|blank)|is present|has a value", "not_empty"),
    (r"(?:is|are) (?:empty|missing|null|blank)|has no value", "empty"),
    (r"(?:is |are )?between", "between"),
    (r"(?:is |are )?not (?:one of|in)", "not_in"),
    (r"(?:is |are )?(?:one of|in)", "in"),
    (r"(?:does not|doesn't|not) contains?", "not_contains"),
    (r"contains?|containing|includes?", "contains"),
    (r"(?:starts?|begins?|starting|beginning) with", "starts_with"),
    (r"(?:ends?|ending) (?:with|in)", "ends_with"),
    (r"(?:is |are )?(?:at least|>=|no less than|greater than or equal to|from)", "greater_than_or_equal"),
    (r"(?:is |are )?(?:at most|<=|no more than|less than or equal to|up to)", "less_than_or_equal"),
    (
        r"(?:is |are )?(?:more than|greater than|larger than|higher than|above|over|after|later than|>)",
        "greater_than",
    ),
    (
        r"(?:is |are )?(?:less than|smaller than|lower than|fewer than|below|under|before|earlier than|<)",
        "less_than",
    ),
    (r"(?:is|are) not(?: equal to)?|does not equal|isn't|!=|<>", "not_equals"),
    (r"(?:is |are )?equal to|equals|is|are|==|=", "equals"),
)
_CONDITION = re.compile(
    rf"{COLUMN}\s*(?:"
    + "|".join(f"(?P<o{at}>{words})" for at, (words, _) in enumerate(_OPERATORS))
    + r")(?![\w])\s*(?P<rest>.*)",
    re.IGNORECASE,
)


def conditions(sentence: Sentence, text: str) -> Any:
    """Return the filter that a text of conditions means."""
    either = [
        _both(sentence, part) for part in re.split(r"\s+or\s+(?=\ue000c\d+\ue001)", text, flags=re.IGNORECASE)
    ]
    return either[0] if len(either) == 1 else {"or": either}


def _both(sentence: Sentence, text: str) -> Any:
    parts = re.split(r"\s+and\s+(?=\ue000c\d+\ue001)", text, flags=re.IGNORECASE)
    found = [_condition(sentence, part.strip()) for part in parts]
    return found[0] if len(found) == 1 else {"and": found}


def _condition(sentence: Sentence, text: str) -> dict[str, Any]:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise Unread(f"the condition {sentence.plain(text)!r:.100} was not understood")
    at = next(at for at in range(len(_OPERATORS)) if found[f"o{at}"] is not None)
    operator, rest = _OPERATORS[at][1], found["rest"]
    condition: dict[str, Any] = {"column": sentence.column(found[1]), "operator": operator}
    if operator in ("empty", "not_empty"):
        if rest.strip():
            raise Unread(f"{sentence.plain(rest)!r:.80} after the condition was not understood")
        return condition
    if operator == "between":
        ends = re.split(r"\s+(?:and|to)\s+", rest, flags=re.IGNORECASE)
        if len(ends) != 2:
            raise Unread("between needs two values, as in: between 1 and 10")
        condition["value"] = [sentence.value(end) for end in ends]
    elif operator in ("in", "not_in"):
        each = [part for part in re.split(r"\s*,\s*(?:or\s+)?|\s+or\s+", rest.strip("() ")) if part]
        condition["value"] = [sentence.value(part) for part in each]
    else:
        if not rest.strip():
            raise Unread(f"a value is missing after {sentence.plain(text)!r:.80}")
        condition["value"] = sentence.value(rest)
    return condition


class Unread(Exception):
    """Raised inside a form that begins to fit and then does not."""
