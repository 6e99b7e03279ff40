"""Search finds helpers by words, and describe tells all about one: for a model that does not know them all.

They work over everything in scope, thousands of tools too: an index of words is made once for a tuple of specs.
In a program they are `helpers.search` and `helpers.describe`, two helpers like any other (`DISCOVERY`), which
the host answers with `discover`.
"""

from __future__ import annotations

import difflib
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helpers.api import sql_helpers
from helpers.docs import helper_doc
from helpers.kept import Kept
from helpers.spec import HelperSpec, ParamSpec
from helpers.stubs import camel_case
from runtime.errors import InputError, NotFound

__all__ = ("DISCOVERY", "MOST_FOUND", "describe", "discover", "search")

MOST_FOUND = 50

DISCOVERY = (
    HelperSpec(
        path="helpers.search",
        parameters=(
            ParamSpec("text", annotation="str", doc="Words; an empty text lists what there is."),
            ParamSpec(
                "limit", required=False, default=10, annotation="int", doc="At most so many, up to 50."
            ),
        ),
        doc="Find helpers by words, best first: `path`, `call` and `summary` of each.",
        returns="list[dict[str, str]]",
        read_only=True,
    ),
    HelperSpec(
        path="helpers.describe",
        parameters=(ParamSpec("path", annotation="str", doc="`db.query`, or a namespace: `tools.shop`."),),
        doc="Return the call and the whole doc of one helper, or what a namespace holds.",
        returns="str",
        read_only=True,
    ),
)

_WORD = re.compile(r"[a-z0-9]+")
_HUMP = re.compile(r"([a-z0-9])([A-Z])")
_SMALL = frozenset({"a", "an", "and", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with"})
_PATH, _SUMMARY, _DOC = 8, 3, 1
_EXACT, _AKIN, _TYPO = 2.0, 1.0, 0.8
_STEM = 4
_WORDS_ASKED = 32
_TEXT_CHARS = 2_000
_LINE_CHARS = 300
_DESCRIBED_CHARS = 8_000


class _Index:
    """The words of some helpers, and in which of them they stand."""

    def __init__(self, helpers: Sequence[HelperSpec]) -> None:
        self.helpers = helpers
        self.by_path: dict[str, HelperSpec] = {}
        self.by_name: dict[str, list[HelperSpec]] = {}
        # For each word the helpers that have it, with the weight of the best place where it stands.
        self._found: dict[str, dict[int, int]] = {}
        for number, helper in enumerate(helpers):
            self._add(number, helper)
        self._words = sorted(self._found)
        self._near: dict[str, list[str]] | None = None

    def _add(self, number: int, helper: HelperSpec) -> None:
        for name in {helper.name, camel_case(helper.name)}:
            self.by_path.setdefault(f"{helper.namespace}.{name}", helper)
            self.by_name.setdefault(name, []).append(helper)
        parameters = " ".join(f"{p.name} {p.doc}" for p in helper.parameters)
        texts = (
            (_DOC, f"{helper.doc[:_TEXT_CHARS]} {parameters[:_TEXT_CHARS]}"),
            (_SUMMARY, helper.summary[:_TEXT_CHARS]),
            (_PATH, helper.path),
        )
        for weight, text in texts:
            for word in _words(text):
                self._found.setdefault(word, {})[number] = weight

    def search(self, text: str, limit: int) -> list[HelperSpec]:
        """Return the helpers that fit the words, best first."""
        words = _words(text[:_TEXT_CHARS])
        words = words - _SMALL or words
        if not words:
            return list(self.helpers[:limit])
        scores: Counter[int] = Counter()
        for word in sorted(words)[:_WORDS_ASKED]:
            best: dict[int, float] = {}
            for known, fit in self._fitting(word):
                having = self._found[known]
                # A word that every second helper has says little.
                rare = math.log(1 + len(self.helpers) / len(having))
                for number, weight in having.items():
                    best[number] = max(best.get(number, 0.0), weight * fit * rare)
            scores.update(best)
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        return [self.helpers[number] for number, _ in ranked[:limit]]

    def _fitting(self, word: str) -> list[tuple[str, float]]:
        """Return the words of the index that a searched word may mean, each with how well it fits."""
        fitting = {word: _EXACT} if word in self._found else {}
        if len(word) >= _STEM:
            for at in range(bisect_left(self._words, word), len(self._words)):
                if not self._words[at].startswith(word):
                    break
                fitting.setdefault(self._words[at], _AKIN)
            for size in range(_STEM, len(word)):
                if word[:size] in self._found:
                    fitting.setdefault(word[:size], _AKIN)
            if not fitting:
                fitting = dict.fromkeys(self._misspelt(word), _TYPO)
        return list(fitting.items())

    def _misspelt(self, word: str) -> set[str]:
        """Return the words that become the same as this one with a letter less in one of them, or in both."""
        if self._near is None:
            self._near = {}
            for known in self._words:
                if len(known) >= _STEM:
                    for shape in _shapes(known):
                        self._near.setdefault(shape, []).append(known)
        return {known for shape in _shapes(word) for known in self._near.get(shape, ())}


def _words(text: str) -> set[str]:
    # camelCase falls apart like snake_case.
    return set(_WORD.findall(_HUMP.sub(r"\1 \2", text).lower()))


def _shapes(word: str) -> set[str]:
    cut = word[:40]
    return {cut, *(cut[:at] + cut[at + 1 :] for at in range(len(cut)))}


_INDEXES = Kept(_Index)


def _index(helpers: Iterable[HelperSpec]) -> _Index:
    return _INDEXES.of(helpers) if isinstance(helpers, tuple) else _Index(tuple(helpers))


def search(helpers: Iterable[HelperSpec], text: str, limit: int = 10) -> list[dict[str, str]]:
    """Return the helpers that fit the words of `text`, best first, as `{"path", "call", "summary"}`.

    A word counts most in the path, then in the summary, then in the doc, and the more the fewer helpers have
    it; a word that begins like a searched one counts as well, and a misspelt one finds its like. An empty text
    lists the helpers. At most 50 come back.

    Raises:
        InputError: `text` is not text, or `limit` no whole number above 0.
    """
    if not isinstance(text, str) or not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InputError("search takes a text and a limit above 0.", hint='Use helpers.search("average", 5).')
    found = _index(helpers).search(text, min(limit, MOST_FOUND))
    return [{"path": h.path, "call": _cut(h.call()), "summary": _cut(h.summary)} for h in found]


def describe(helpers: Iterable[HelperSpec], path: str) -> str:
    """Return the call, the result and the whole doc of one helper; of a namespace, a line for each helper.

    `path` is `db.query`, its camelCase spelling, the bare name where it is the only one, or `db`. A long doc is
    cut, and of a namespace at most 50 helpers are listed.

    Raises:
        NotFound: there is no such helper; the hint names the nearest.
    """
    index = _index(helpers)
    wanted = str(path)[:_LINE_CHARS].strip().removesuffix("()")
    for spelling in (wanted, wanted.removeprefix("helpers.")):
        if spelling in index.by_path:
            return _cut(helper_doc(index.by_path[spelling]), _DESCRIBED_CHARS)
    wanted = wanted.removeprefix("helpers.")
    bare = index.by_name.get(wanted, [])
    if len(bare) == 1:
        return _cut(helper_doc(bare[0]), _DESCRIBED_CHARS)
    inside = [h for h in index.helpers if wanted and f"{h.namespace}.".startswith(f"{wanted}.")]
    if inside:
        return _listing(inside)
    near = [h.path for h in bare[:5]] or _nearest(index, wanted)
    hint = f"The nearest are {', '.join(near)}." if near else 'Find one with helpers.search("…").'
    raise NotFound(f"There is no helper {wanted!r:.80}.", hint=hint)


def discover(
    helpers: tuple[HelperSpec, ...], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Answer a program's call of `helpers.search` or `helpers.describe` over its helpers and the sql builders.

    Raises:
        InputError, NotFound: as `search` and `describe`, or an argument is missing or unknown.
    """
    spec = next(spec for spec in DISCOVERY if spec.path == path)
    names = [parameter.name for parameter in spec.parameters]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    if len(args) > len(names) or given.keys() - set(names) or names[0] not in given:
        raise InputError(f"{path} cannot be called so.", hint=f"Call it as {spec.call()}.")
    everything = _EVERYTHING.of(helpers)
    return search(everything, **given) if path == "helpers.search" else describe(everything, **given)


def _with_builders(helpers: tuple[HelperSpec, ...]) -> tuple[HelperSpec, ...]:
    known = [helper for helper in helpers if helper.namespace not in ("helpers", "sql")]
    return (
        *(h for h in known if h.namespace == "db"),
        *sql_helpers(),
        *(h for h in known if h.namespace != "db"),
    )


_EVERYTHING = Kept(_with_builders)


def _listing(inside: list[HelperSpec]) -> str:
    shown = [_cut(f"{helper.call()}: {helper.summary}") for helper in inside[:MOST_FOUND]]
    if len(inside) > len(shown):
        counts = Counter(helper.namespace for helper in inside)
        spaces = ", ".join(f"{space} ({count:,})" for space, count in counts.most_common(MOST_FOUND))
        shown.append(
            f'… and {len(inside) - len(shown):,} more; helpers.search("…") finds them. In all: {spaces}.'
        )
    return "\n".join(shown)


def _nearest(index: _Index, wanted: str) -> list[str]:
    if not _words(wanted):
        return []
    found = [helper.path for helper in index.search(wanted.replace(".", " "), 200)]
    return difflib.get_close_matches(wanted, found, 3, 0.4) or found[:3]


def _cut(text: str, most: int = _LINE_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
