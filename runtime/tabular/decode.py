"""The encoding of a text file: a byte order mark, else strict UTF-8 over the whole file, else a guess that is told.

A file that is UTF-8 but for a few bytes stays UTF-8; the rows with those bytes are kept aside. A file that is
not text is refused.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from runtime.errors import InputError

__all__ = ("Encoding", "detect", "open_text")

_PIECE = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\v\f\r\x1a\x1b\x1c\x1d\x1e\x1f") + b"\x7f"
_BROKEN = re.compile("[\udc80-\udcff]")
_BEYOND = re.compile("[^\x00-\x7f\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes are read. `damaged` is UTF-8 with some bytes that are not; `sha256` None for a part."""

    name: str
    damaged: bool = False
    guessed: bool = False
    sha256: str | None = None


def detect(path: Path, asked: str | None = None, most: int | None = None) -> Encoding:
    """Return the encoding of a file, after reading all of it, or `most` bytes.

    Raises:
        InputError: it is empty, it is not text, or it is not in the encoding that was asked for.
    """
    with path.open("rb") as file:
        head = file.read(_PIECE if most is None else min(most, _PIECE))
        if not head.strip(b"\x00\r\n\t \xef\xbb\xbf\xff\xfe") and not file.read(1):
            if head.strip(b"\r\n\t \xef\xbb\xbf\xff\xfe"):
                raise _not_text()
            raise InputError(
                "The file is empty.", hint="Send a file with at least a row of names.", reason="empty"
            )
    name = _asked(asked) if asked else _marked(head)
    if name is None and b"\0" in head[:65536]:
        name = _wide(head[:65536])
    if name is None:
        return _utf8_or_guess(path, most)
    return Encoding(name, sha256=_check(path, name, most, told=asked is not None))


def open_text(path: Path, encoding: Encoding) -> TextIO:
    """Open a file as text, with its ends of line as they are."""
    errors = "surrogateescape" if encoding.damaged else "strict"
    # Undone by the reader, which holds it for as long as it reads.
    return io.TextIOWrapper(path.open("rb", buffering=1 << 18), encoding.name, errors, newline="")


def _asked(name: str) -> str:
    try:
        info = codecs.lookup(name)
        "".encode(info.name)
    except (LookupError, TypeError, ValueError):
        raise InputError(
            f"There is no encoding {name!r:.40}.", hint="Use utf-8, utf-16, cp1252, latin-1 or the like."
        ) from None
    return "utf-8-sig" if info.name == "utf-8" else info.name


def _marked(head: bytes) -> str | None:
    return next((name for bom, name in _BOMS if head.startswith(bom)), None)


def _wide(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 for text of that kind without a mark, by where its NULs are."""
    even, odd = head[0::2], head[1::2]
    quads = [head[i::4].count(0) * 4 / len(head) for i in range(4)] if len(head) >= 8 else [0.0] * 4
    if quads[0] < 0.2 and min(quads[2], quads[3]) > 0.95:
        return "utf-32-le"
    if quads[3] < 0.2 and min(quads[0], quads[1]) > 0.95:
        return "utf-32-be"
    if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.05 * len(odd):
        return "utf-16-be"
    return None


def _check(path: Path, name: str, most: int | None, *, told: bool) -> str | None:
    """Decode everything once, so that no row is stored from a file that cannot be read to its end."""
    decoder = codecs.getincrementaldecoder(name)()
    digest, done = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE if most is None else min(_PIECE, most - done)):
                digest.update(piece)
                decoder.decode(piece)
                done += len(piece)
            if most is None:
                decoder.decode(b"", True)
    except UnicodeError as error:
        where = f"near byte {done:,}: {getattr(error, 'reason', error)}"
        raise InputError(
            f"The file is not text in {name} ({where}).",
            hint="Give its encoding." if told else "Save it as UTF-8, or give its encoding.",
            reason="not text",
        ) from None
    return digest.hexdigest() if most is None else None


def _utf8_or_guess(path: Path, most: int | None) -> Encoding:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    digest, done, broken, beyond, control, nuls = hashlib.sha256(), 0, 0, 0, 0, 0
    strange: set[int] = set()
    with path.open("rb") as file:
        while piece := file.read(_PIECE if most is None else min(_PIECE, most - done)):
            done += len(piece)
            digest.update(piece)
            text = decoder.decode(piece)
            if not piece.isascii():
                found = len(_BROKEN.findall(text))
                broken += found
                beyond += len(_BEYOND.findall(text)) if found or broken else len(text) != len(piece)
                if found:
                    strange |= set(piece) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}
            nuls += piece.count(0)
            control += len(piece) - len(piece.translate(None, _CONTROL))
    if most is None:
        broken += len(_BROKEN.findall(decoder.decode(b"", True)))
    # A NUL here and there may be in text; beside bytes that no encoding of text has it is something else.
    if nuls * 1000 > done or control * 20 > done or ((nuls or control * 200 > done) and broken):
        raise _not_text()
    sha256 = digest.hexdigest() if most is None else None
    if not broken:
        return Encoding("utf-8", sha256=sha256)
    if beyond > broken:
        return Encoding("utf-8", damaged=True, sha256=sha256)
    return Encoding("latin-1" if strange else "cp1252", guessed=True, sha256=sha256)


def _not_text() -> InputError:
    return InputError(
        "The file is not text: it has bytes that no text has.",
        hint="Send CSV, NDJSON, JSON, Parquet or a workbook; give the encoding if it is text all the same.",
        reason="not text",
    )
