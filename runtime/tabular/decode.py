"""The encoding of a text file: a byte order mark, else strict UTF-8 over the whole file, else a guess that is told.

A file that is UTF-8 but for a few bytes stays UTF-8; the rows with those bytes are kept aside. A file that is
not text is refused.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError

__all__ = ("MARKS", "Encoding", "NotUtf8", "detect", "empty_file", "undecodable")

_PIECE = 1 << 20
_BLANK = b"\r\n\t \xef\xbb\xbf\xff\xfe"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encodings that read past them."""

# Not among them: what separates cells and records in some files (1, 28 to 31), an old end of a file (26), an escape.
_CONTROL = bytes(b for b in range(32) if b not in b"\x01\t\n\v\f\r\x1a\x1b\x1c\x1d\x1e\x1f") + b"\x7f"
_STRANGE = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
"""Bytes that Windows-1252 has no character for."""

_BROKEN = re.compile("[\udc80-\udcff]")
_BEYOND = re.compile("[^\x00-\x7f\udc80-\udcff]")


class NotUtf8(Exception):
    """Raised in the middle of a file that began as UTF-8 and is not: look at all of it, and begin again."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes are read. `damaged` is UTF-8 with some bytes that are not; `told` by a mark or an option."""

    name: str
    damaged: bool = False
    guessed: bool = False
    told: bool = False


def detect(path: Path, asked: str | None = None, *, thorough: bool = False) -> Encoding:
    """Return the encoding of a file from its first MiB, or from all of it.

    UTF-8 that is found in the first MiB only has to be proved by reading on strictly (`NotUtf8`).

    Raises:
        InputError: it is empty, or it is not text.
    """
    with path.open("rb") as file:
        head = file.read(_PIECE)
        whole = not file.read(1)
    if whole and not head.strip(_BLANK):
        raise empty_file()
    if asked:
        return Encoding(_asked(asked), told=True)
    name = _marked(head)
    if name is None and b"\0" in head[:65536]:
        name = _wide(head[:65536])
    if name is not None:
        return Encoding(name, told=True)
    look = _Look()
    look.see(head)
    if thorough or look.broken:
        with path.open("rb") as file:
            file.seek(len(head))
            while piece := file.read(_PIECE):
                look.see(piece)
        look.end()
    return look.verdict()


def empty_file() -> InputError:
    """Return the error for a file with nothing in it."""
    return InputError("The file is empty.", hint="Send a file with at least a row of names.", reason="empty")


def undecodable(encoding: Encoding, done: int, error: UnicodeError) -> Exception:
    """Return what to raise for bytes that are not in an encoding."""
    if not encoding.told:
        return NotUtf8()
    return InputError(
        f"The file is not text in {encoding.name} (near byte {done:,}: {getattr(error, 'reason', error)}).",
        hint="Save it as UTF-8, or give its encoding.",
        reason="not text",
    )


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
    return next((name for bom, name in MARKS if head.startswith(bom)), None)


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


class _Look:
    """What is counted while a file goes by: bytes that are not UTF-8, characters beyond ASCII, control bytes."""

    def __init__(self) -> None:
        self.done = self.broken = self.beyond = self.control = self.nuls = 0
        self.strange = False
        self._rest = b""

    def see(self, piece: bytes) -> None:
        self.done += len(piece)
        self.nuls += piece.count(0)
        self.control += len(piece) - len(piece.translate(None, _CONTROL))
        if not self._rest and piece.isascii():
            return
        self.strange = self.strange or any(byte in piece for byte in _STRANGE)
        piece = self._rest + piece
        try:
            text, used = codecs.utf_8_decode(piece, "strict", False)
            self.beyond += 1
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(piece, "surrogateescape", False)
            found = len(_BROKEN.findall(text))
            self.broken += found
            self.beyond += len(_BEYOND.findall(text))
        self._rest = piece[used:]

    def end(self) -> None:
        self.broken += bool(self._rest)

    def verdict(self) -> Encoding:
        # A NUL here and there may be in text; beside bytes that no encoding of text has it is something else.
        odd = self.nuls or self.control * 200 > self.done
        if self.nuls * 1000 > self.done or self.control * 20 > self.done or (odd and self.broken):
            raise _not_text()
        if not self.broken:
            return Encoding("utf-8")
        if self.beyond > self.broken:
            return Encoding("utf-8", damaged=True)
        return Encoding("latin-1" if self.strange else "cp1252", guessed=True)


def _not_text() -> InputError:
    return InputError(
        "The file is not text: it has bytes that no text has.",
        hint="Send CSV, NDJSON, JSON, Parquet or a workbook; give the encoding if it is text all the same.",
        reason="not text",
    )
