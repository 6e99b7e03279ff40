"""Search and describe let a program find helpers while it runs, so that the prompt need not list them all.

Both are pure functions over helper specs: `search` ranks by the words of a text, `describe` gives one helper.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from helpers.docs import helper_doc
from helpers.spec import HelperSpec
from helpers.stubs import camel_case
from runtime.errors import InputError, NotFound

__all__ = ("describe", "search")

_WORD = re.compile(r"[a-z0-9]+")
_SMALL = frozenset({"a", "an", "and", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with"})
_PATH, _SUMMARY, _DOC = 8, 3, 1


def search(helpers: Iterable[HelperSpec], text: str, limit: int = 10) -> list[dict[str, str]]:
    """Return the helpers that fit the words of `text`, best first, as `{"path", "call", "summary"}`.

    A word counts most in the path, then in the summary, then in the doc; a word that begins like a searched
    one counts as well. An empty text lists all helpers.

    Raises:
        InputError: `text` is not text, or `limit` no whole number above 0.
    """
    if not isinstance(text, str) or not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InputError("search takes a text and a limit above 0.", hint='Use helpers.search("average", 5).')
    words = _words(text)
    words = words - _SMALL or words
    scored = [(_score(helper, words), place, helper) for place, helper in enumerate(helpers)]
    found = sorted(
        (-score, place, helper.path, helper) for score, place, helper in scored if score or not words
    )
    return [
        {"path": helper.path, "call": helper.call(), "summary": helper.summary}
        for *_, helper in found[:limit]
    ]


def _words(text: str) -> set[str]:
    # camelCase falls apart like snake_case.
    return set(_WORD.findall(re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).lower()))


def _score(helper: HelperSpec, words: set[str]) -> int:
    parameters = " ".join(f"{p.name} {p.doc}" for p in helper.parameters)
    texts = ((_PATH, helper.path), (_SUMMARY, helper.summary), (_DOC, f"{helper.doc} {parameters}"))
    fields = [(weight, _words(text)) for weight, text in texts]
    return sum(max(weight * _fit(word, own) for weight, own in fields) for word in words)


def _fit(word: str, own: set[str]) -> int:
    if word in own:
        return 2
    return int(any(_akin(word, other) for other in own))


def _akin(word: str, other: str) -> bool:
    shorter, longer = sorted((word, other), key=len)
    return len(shorter) >= 4 and longer.startswith(shorter)


def describe(helpers: Iterable[HelperSpec], path: str) -> str:
    """Return the call, the result and the whole doc of one helper; of a namespace, a line for each helper.

    `path` is `db.query`, its camelCase spelling, the bare name where it is the only one, or `db`.

    Raises:
        NotFound: there is no such helper; the hint names the nearest.
    """
    each = tuple(helpers)
    wanted = str(path).removeprefix("helpers.").strip()
    exact = [h for h in each if wanted in (h.path, f"{h.namespace}.{camel_case(h.name)}")]
    bare = [h for h in each if wanted in (h.name, camel_case(h.name))]
    if exact or len(bare) == 1:
        return helper_doc((exact or bare)[0])
    inside = [h for h in each if f"{h.namespace}.".startswith(f"{wanted}.")]
    if wanted and inside:
        return "\n".join(f"{helper.call()}: {helper.summary}" for helper in inside)
    paths = [helper.path for helper in each]
    near = [h.path for h in bare] or difflib.get_close_matches(wanted, paths, 3, 0.4)
    hint = f"The nearest are {', '.join(near)}." if near else 'Find one with helpers.search("…").'
    raise NotFound(f"There is no helper {wanted!r:.80}.", hint=hint)
