"""A question is a sentence of a small grammar, read without any model; what was understood is said back.

Columns and quoted texts are found first and stand as marks in the sentence, so that a name may hold any words. Then
the first form that fits the whole sentence is taken: nothing is read half. What a form means is data (`Meaning`),
which `asking.py` turns into SQL.

| form | for instance |
| --- | --- |
| rows | `show 5 rows where city is Berlin sorted by amount descending` |
| random | `7 random rows` |
| range | `rows 100 to 120`, `last 5 rows` |
| count | `how many rows where amount > 10`, `how many different city` |
| aggregate | `average amount by city where year = 2013` |
| top | `top 5 city by total amount` |
| values | `values of city`, `most common city`, `rows per city` |
| histogram | `histogram of amount with 10 bins` |
| stats | `statistics of amount`, `describe` |
| missing | `missing values`, `missing values in city` |
| duplicates | `duplicates in city, street` |
| outliers | `outliers in amount` |
| search | `find "berlin" in city` |
| columns | `what columns are there` |

Conditions: `is`, `is not`, `>`, `at least`, `less than`, `between … and …`, `contains`, `starts with`, `ends with`,
`is one of a, b`, `is empty`, `is not empty`, joined by `and` and `or` (`and` binds tighter).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from actors.project.sentence import COLUMN as C
from actors.project.sentence import WORDS, Sentence, Unread, conditions, loose

__all__ = ("EXAMPLES", "Meaning", "NotUnderstood", "read")

_LONGEST = 1_000

EXAMPLES: tuple[tuple[str, str], ...] = (
    ("rows", "show 5 rows where {text} is x sorted by {number} descending"),
    ("random", "7 random rows"),
    ("range", "rows 100 to 120"),
    ("count", "how many rows where {number} > 10"),
    ("count", "how many different {text}"),
    ("aggregate", "average {number} by {text}"),
    ("top", "top 5 {text} by total {number}"),
    ("values", "values of {text}"),
    ("histogram", "histogram of {number} with 10 bins"),
    ("stats", "statistics of {number}"),
    ("missing", "missing values in {text}"),
    ("duplicates", "duplicates in {text}"),
    ("outliers", "outliers in {number}"),
    ("search", 'find "x" in {text}'),
    ("columns", "what columns are there"),
)
"""Each form with an example, in which the names of columns are to be filled in."""


@dataclass(slots=True)
class Meaning:
    """What a question asks for. `filter` is a filter as `filters.where` takes it; `columns` are names."""

    form: str
    columns: list[str] = field(default_factory=list)
    filter: Any = None
    n: int | None = None
    aggregate: str | None = None
    by: str | None = None
    sort: list[dict[str, str]] = field(default_factory=list)
    pattern: str | None = None
    start: int | None = None
    end: int | None = None
    distinct: bool = False
    last: bool = False


class NotUnderstood(Exception):
    """Raised when a sentence fits no form; `near` are examples of the nearest forms, `reason` what was in the way."""

    def __init__(self, reason: str, near: Sequence[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.near = list(near)


_AGGREGATES = {
    "average": "average",
    "avg": "average",
    "mean": "average",
    "sum": "sum",
    "total": "sum",
    "minimum": "minimum",
    "min": "minimum",
    "lowest": "minimum",
    "smallest": "minimum",
    "least": "minimum",
    "earliest": "minimum",
    "maximum": "maximum",
    "max": "maximum",
    "highest": "maximum",
    "largest": "maximum",
    "greatest": "maximum",
    "latest": "maximum",
    "median": "median",
}
_AGG = "(" + "|".join(_AGGREGATES) + ")"
_LIST = r"(\ue000c\d+\ue001(?:\s*(?:,|and|, and)\s*\ue000c\d+\ue001)*)"
_WHERE = r"(?:\s+(?:where|with|that have|whose|if|for which|when)\s+(?P<where>.+?))?"
_SORT = r"(?:\s+(?:sorted|ordered|order|sort)\s+by\s+(?P<sort>\ue000c\d+\ue001.*?))?"
_LIMIT = r"(?:\s+(?:limit|first|top)\s+(?P<limit>\d+))?"
_SHOW = r"(?:(?:please\s+)?(?:show|give|list|get|select|display|return)\s+(?:me\s+)?)?(?:what (?:is|are|was|were)\s+)?(?:the\s+)?"


def _sorts(sentence: Sentence, text: str | None) -> list[dict[str, str]]:
    sorts = []
    for part in re.split(r"\s*,\s*(?:then\s+)?|\s+then\s+(?:by\s+)?|\s+and\s+", text or ""):
        if not part:
            continue
        found = re.fullmatch(
            rf"{C}(?:\s+(ascending|asc|descending|desc|down|up))?", part.strip(), re.IGNORECASE
        )
        if found is None:
            raise Unread(f"the order {sentence.plain(part)!r:.80} was not understood")
        down = (found[2] or "").lower() in ("descending", "desc", "down")
        sorts.append({"column": sentence.column(found[1]), "direction": "desc" if down else "asc"})
    return sorts


def _filter(sentence: Sentence, found: re.Match[str]) -> Any:
    text = found.groupdict().get("where")
    return None if not text else conditions(sentence, text)


Reader = Callable[[Sentence, re.Match[str]], Meaning]
_FORMS: list[tuple[re.Pattern[str], Reader]] = []


def _form(*patterns: str) -> Callable[[Reader], Reader]:
    def add(reader: Reader) -> Reader:
        for pattern in patterns:
            _FORMS.append((re.compile(pattern, re.IGNORECASE), reader))
        return reader

    return add


def _n(found: re.Match[str], name: str = "n") -> int | None:
    text = found.groupdict().get(name)
    return None if text is None else min(int(text[:9]), 10_000)


@_form(
    r"(?:what|which|show|list|give me)?\s*(?:the |all |are the )?(?:columns|fields|schema)(?: are there| are in it| do you have| names)?",
    r"what does the data look like",
)
def _read_columns(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("columns")


@_form(
    rf"{_SHOW}(?:a )?random(?: sample)?(?: of)?(?: (?P<n>\d+))?(?: rows?)?{_WHERE}",
    rf"{_SHOW}(?P<n>\d+) random(?: rows?)?{_WHERE}",
    rf"{_SHOW}(?:a )?sample(?: of (?P<n>\d+)(?: rows?)?)?{_WHERE}",
)
def _read_random(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("random", n=_n(found), filter=_filter(s, found))


@_form(rf"{_SHOW}rows? (?:number )?(?P<start>\d+)(?:\s*(?:to|-|until|through)\s*(?P<end>\d+))?")
def _read_range(s: Sentence, found: re.Match[str]) -> Meaning:
    start = int(found["start"][:15])
    return Meaning("range", start=start, end=start if found["end"] is None else int(found["end"][:15]))


@_form(rf"{_SHOW}last(?: (?P<n>\d+))?(?: rows?)?")
def _read_last(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("rows", n=_n(found) or 10, last=True)


@_form(
    rf"(?:how many|count|count of|number of)(?: all)?(?: the)?(?: rows?| records?| entries)?(?: are there| have| do we have)?{_WHERE}",
)
def _read_count(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("count", filter=_filter(s, found))


@_form(
    rf"(?:how many|count|count of|number of) (?:the )?(?:different|distinct|unique)(?: values (?:of|in))? {C}(?: are there)?{_WHERE}"
)
def _read_count_distinct(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("count", [s.column(found[1])], distinct=True, filter=_filter(s, found))


@_form(
    rf"{_SHOW}top (?P<n>\d+) {C} by (?:{_AGG} (?:of )?)?{C}{_WHERE}",
    rf"{_SHOW}(?P<n>\d+) {C} with the (?:highest|most|largest|greatest) (?:{_AGG} (?:of )?)?{C}{_WHERE}",
)
def _read_top(s: Sentence, found: re.Match[str]) -> Meaning:
    group, aggregate, column = found[2], found[3], found[4]
    return Meaning(
        "top",
        [s.column(column)],
        by=s.column(group),
        n=_n(found),
        aggregate=_AGGREGATES[(aggregate or "total").lower()],
        filter=_filter(s, found),
    )


@_form(
    rf"{_SHOW}(?:count|number|number of rows|rows|count of rows|how many rows)?\s*(?:by|per|for each) {C}{_WHERE}",
    rf"{_SHOW}(?:distribution|values|frequency|frequencies|counts?)(?: of| in) {C}{_WHERE}",
    rf"{_SHOW}(?:(?P<n>\d+) )?(?:most )?(?:common|frequent)(?: values (?:of|in))? {C}{_WHERE}",
    rf"{_SHOW}(?:all )?(?:different|distinct|unique)(?: values (?:of|in))? {C}{_WHERE}",
    rf"{_SHOW}top (?P<n>\d+) {C}{_WHERE}",
)
def _read_values(s: Sentence, found: re.Match[str]) -> Meaning:
    column = s.columns(found[0].split(" where ")[0])[0]
    return Meaning("values", [column], n=_n(found), filter=_filter(s, found))


@_form(
    rf"{_SHOW}{_AGG} (?:of |value of )?(?:the )?{C}(?:,? (?:by|per|for each|grouped by|in each) {C})?{_WHERE}"
)
def _read_aggregate(s: Sentence, found: re.Match[str]) -> Meaning:
    by = None if found[3] is None else s.column(found[3])
    return Meaning(
        "aggregate",
        [s.column(found[2])],
        aggregate=_AGGREGATES[found[1].lower()],
        by=by,
        filter=_filter(s, found),
    )


@_form(rf"{_SHOW}histogram (?:of|for) {C}(?: (?:with|in) (?P<n>\d+) bins?)?{_WHERE}")
def _read_histogram(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("histogram", [s.column(found[1])], n=_n(found) or 10, filter=_filter(s, found))


@_form(
    rf"{_SHOW}(?:statistics|stats|summary|describe|summarize|summarise)(?:(?: of| for| on)? {_LIST})?{_WHERE}"
)
def _read_stats(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("stats", s.columns(found[1] or ""), filter=_filter(s, found))


@_form(
    rf"{_SHOW}(?:which columns have )?(?:how many )?(?:missing|empty|null|blank)(?: values| cells)?(?: are)?(?: there)?(?: (?:in|of|for) {_LIST})?",
)
def _read_missing(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("missing", s.columns(found[1] or ""))


@_form(
    rf"{_SHOW}(?:find |are there )?(?:any )?duplicates?(?: rows| values)?(?: (?:in|by|of|on) {_LIST})?{_WHERE}"
)
def _read_duplicates(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("duplicates", s.columns(found[1] or ""), filter=_filter(s, found))


@_form(rf"{_SHOW}(?:find )?outliers? (?:in|of|for) {C}{_WHERE}")
def _read_outliers(s: Sentence, found: re.Match[str]) -> Meaning:
    return Meaning("outliers", [s.column(found[1])], filter=_filter(s, found))


@_form(
    rf"(?:search|find|look)(?: for)?(?: rows (?:with|containing))? (?P<what>.+?)(?: in (?:column )?{C})?",
    rf"{_SHOW}(?:all )?rows (?:containing|that contain|with the text) (?P<what>.+?)(?: in (?:column )?{C})?",
)
def _read_search(s: Sentence, found: re.Match[str]) -> Meaning:
    columns = [] if found[2] is None else [s.column(found[2])]
    return Meaning("search", columns, pattern=str(s.plain(found["what"])))


@_form(
    rf"{_SHOW}(?:first |top )?(?P<n>\d+)?\s*(?:all )?(?:rows|data|records|everything|all){_WHERE}{_SORT}{_LIMIT}",
    rf"{_SHOW}(?:first |top )(?P<n>\d+){_WHERE}{_SORT}{_LIMIT}",
    rf"{_SHOW}(?:first )?(?P<n>\d+)?\s*(?P<columns>\ue000c\d+\ue001(?:\s*(?:,|and)\s*\ue000c\d+\ue001)*){_WHERE}{_SORT}{_LIMIT}",
)
def _read_rows(s: Sentence, found: re.Match[str]) -> Meaning:
    columns = s.columns(found.groupdict().get("columns") or "")
    return Meaning(
        "rows",
        columns,
        n=_n(found) or _n(found, "limit"),
        filter=_filter(s, found),
        sort=_sorts(s, found["sort"]),
    )


def read(question: str, names: Sequence[str], numbers: Sequence[str] = ()) -> Meaning:
    """Return what a question about columns of these names means. `numbers` are those that hold numbers.

    Raises:
        NotUnderstood: it fits no form.
    """
    if len(question) > _LONGEST:
        raise NotUnderstood(f"it has more than {_LONGEST:,} characters", _near("", names, numbers))
    sentence = Sentence(question, names)
    reason = ""
    for pattern, reader in _FORMS:
        found = pattern.fullmatch(sentence.text)
        if found is None:
            continue
        try:
            return reader(sentence, found)
        except Unread as unread:
            reason = reason or str(unread)
    raise NotUnderstood(reason or _strange(sentence) or "it fits no form", _near(question, names, numbers))


def _strange(sentence: Sentence) -> str:
    """Say which words may be meant as columns, and are none."""
    spoken = {loose(name): name for name in sentence.names}
    for word in re.findall(r"[^\W\d]\w{2,}", sentence.unmarked):
        if word.lower() in WORDS:
            continue
        if near := get_close_matches(word.casefold(), spoken, n=1, cutoff=0.7):
            return f"{word!r:.60} is no column, and the nearest is {spoken[near[0]]!r:.80}"
    return ""


def _near(question: str, names: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Return examples of the forms that share the most words with a question, with columns that there are."""
    texts = [name for name in names if name not in numbers] or list(names) or ["column"]
    number = _spoken((list(numbers) or list(names) or ["column"])[0])
    words = set(re.findall(r"\w+", question.casefold()))
    filled = [example.format(text=_spoken(texts[0]), number=number) for _, example in EXAMPLES]
    alike = sorted(filled, key=lambda example: -len(words & set(re.findall(r"\w+", example.casefold()))))
    return alike[:4]


def _spoken(name: str) -> str:
    """Return a column's name as it may stand in a question."""
    plain = re.fullmatch(r"[^\W\d][\w ]*", name) is not None and name.casefold() not in WORDS
    return name if plain else '"' + name.replace('"', '""') + '"'
