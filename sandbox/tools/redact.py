"""A server's secrets are known to the service, and leave it on the way to that server alone.

A server may say its secrets aloud: in an error, a log line, an answer that echoes its environment. So whatever
comes from a server passes its `Redactor`, which puts `[secret]` in the place of each. That catches accidents. A
server that wants to give its secret away can write it backwards; it has the secret by the operator's will.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ("Redactor", "env_secrets", "header_secrets", "url_secrets")

_MARK = "[secret]"
_WITHHELD = "[withheld: it holds a piece of a secret]"
_PIECE = 8
_SHORTEST, _SHORTEST_UNNAMED, _TOKEN_LENGTH = 4, 8, 16
_TELLING = re.compile(r"key|token|secret|pass|pwd|auth|cred|cookie|private|signature|dsn", re.IGNORECASE)
_PLAIN_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent", "cache-control"})


class Redactor:
    """Takes the secrets of one server out of texts and values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        # As they stand in a JSON text too: an answer is often JSON inside a text.
        forms = known | {json.dumps(secret)[1:-1] for secret in known}
        forms |= {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in known}
        # The longer first: a token must not leave the rest of the header that it stands in.
        self._forms = sorted(forms, key=len, reverse=True)
        self._pieces = {
            letters[at : at + _PIECE]
            for letters in map(_letters, known)
            for at in range(len(letters) - _PIECE + 1)
        }

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, _MARK)
        return text

    def safe(self, text: str) -> str:
        """Return a text fit for the log and for errors: without secrets, and withheld where it holds a piece of one.

        What servers write for people is broken into lines, in boxes, in the middle of a word.
        """
        text = self.text(text)
        letters = _letters(text)
        return _WITHHELD if any(piece in letters for piece in self._pieces) else text

    def value(self, value: Any, text: str | None = None) -> Any:
        """Return JSON data without secrets, in texts and keys alike; the same object where there are none.

        `text` is the JSON of the value, where the caller has it.
        """
        if not self._forms:
            return value
        if text is None:
            text = json.dumps(value, ensure_ascii=False)
        return self._walk(value) if any(form in text for form in self._forms) else value

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._walk(item) for key, item in value.items()}
        return value


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def env_secrets(env: Mapping[str, str]) -> list[str]:
    """Return which values of an environment are secrets: those whose name says so, and those that look like one.

    What is plainly ordinary stays readable in answers: words, short values, paths, zones, addresses of services.
    """
    return [value for name, value in env.items() if _TELLING.search(name) or not _ordinary(value)]


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the secrets of request headers: the value, and what follows its scheme (`Bearer …`).

    Of headers whose name does not tell, plain words are none: `X-Tenant: acme` stays readable.
    """
    values = [
        value
        for name, value in headers.items()
        if _TELLING.search(name) or (name.lower() not in _PLAIN_HEADERS and not _ordinary(value))
    ]
    tokens = [value.partition(" ")[2].strip() for value in values if " " in value]
    basic = [_basic(value.partition(" ")[2]) for value in values if value.lower().startswith("basic ")]
    return [*values, *tokens, *basic, *(pair.partition(":")[2] for pair in basic)]


def url_secrets(url: str) -> list[str]:
    """Return the secrets of a URL: its password, and what looks like a secret in its path and query."""
    parts = urlsplit(url)
    found = [parts.password, unquote(parts.password)] if parts.password else []
    found += [part for part in parts.path.split("/") if len(part) >= _TOKEN_LENGTH and not _ordinary(part)]
    return [*found, *(v for k, v in parse_qsl(parts.query) if _TELLING.search(k) or not _ordinary(v))]


def _basic(text: str) -> str:
    """Return the name and password of a Basic header; empty where it is none."""
    try:
        return base64.b64decode(text.strip(), validate=True).decode()
    except (ValueError, UnicodeDecodeError):
        return ""


def _ordinary(value: str) -> bool:
    if "://" in value:
        return "@" not in value
    return (
        len(value) < _SHORTEST_UNNAMED
        or value.isalpha()
        or value.startswith(("/", "./", "../", "~"))
        or ("/" in value and not any(c.isdigit() for c in value))
    )
