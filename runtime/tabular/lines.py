"""The text of a file, piece by piece, and its lines, in blocks that can be read again."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.errors import LimitExceeded
from runtime.tabular.decode import Encoding, undecodable

__all__ = ("Lines", "Pieces")

_PIECE = 1 << 16
_LINE = 16 << 20


class Pieces:
    """The text of a file in pieces of 64 KiB, decoded strictly unless the encoding says that it is damaged."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._file = path.open("rb", buffering=0)
        self._encoding = encoding
        make = codecs.getincrementaldecoder(encoding.name)
        self._decoder = make("surrogateescape" if encoding.damaged else "strict")
        self._digest = hashlib.sha256()
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self) -> str:
        """Return the next piece, empty at the end.

        Raises:
            NotUtf8: the encoding was a guess from the head of the file, and does not hold.
            InputError: the file is not text in the encoding that was asked for, or marked.
        """
        try:
            while piece := self._file.read(_PIECE):
                self._digest.update(piece)
                self._done += len(piece)
                if text := self._decoder.decode(piece):
                    return text
            return self._decoder.decode(b"", True)
        except UnicodeError as error:
            raise undecodable(self._encoding, self._done, error) from None

    def position(self) -> int:
        """Return how many bytes were read."""
        return self._done

    def digest(self) -> str:
        """Return the SHA-256 of the file, of which the rest is gone through where only a part was read."""
        while piece := self._file.read(_PIECE):
            self._digest.update(piece)
        return self._digest.hexdigest()


class _Kept:
    """Some whole lines of a text, of which the first has a number."""

    __slots__ = ("_comment", "_lines", "after", "first", "text")

    def __init__(self, first: int, text: str, comment: str | None) -> None:
        self.first = first
        self.text = text
        self.after = first + _count_lines(text)
        self._comment = comment
        self._lines: list[str] | None = None

    def since(self, number: int) -> Iterable[str]:
        """Return the lines from one on, each with its end."""
        if number <= self.first and self._lines is None and self._comment is None:
            return self._stream()
        return self.lines()[max(0, number - self.first) :]

    def _stream(self) -> io.StringIO:
        # To look for one kind of end is faster than to look for all.
        return io.StringIO(self.text, newline="" if "\r" in self.text else "\n")

    def lines(self) -> list[str]:
        """Return all lines."""
        if self._lines is None:
            self._lines = self._stream().readlines()
            if self._comment is not None:
                # A blank line in its place keeps the count of lines.
                self._lines = ["\n" if line.startswith(self._comment) else line for line in self._lines]
        return self._lines


class Lines:
    """The lines of a text, in blocks of which the last few are kept, so that a slice can be read again."""

    def __init__(self, pieces: Pieces, comment: str | None, *, keep: bool = True) -> None:
        self._pieces = pieces
        self._comment = comment
        self._keep = keep
        self._blocks: deque[_Kept] = deque()
        self._rest = ""
        self.next = 1
        """The number of the first line that was not read yet."""

    def all(self) -> Iterator[str]:
        """Yield the lines that were not read yet."""
        return self.since(self.next)

    def since(self, number: int) -> Iterator[str]:
        """Yield the kept lines from one on, and then those that follow, whoever else reads on meanwhile."""
        return chain.from_iterable(self._since(number))

    def _since(self, number: int) -> Iterator[Iterable[str]]:
        while True:
            block = next((b for b in self._blocks if number < b.after), None) or self._block()
            if block is None:
                return
            lines, number = block.since(number), block.after
            yield lines

    def more(self) -> str:
        """Read a block of whole lines and return it, empty at the end."""
        block = self._block()
        return "" if block is None else block.text

    def _block(self) -> _Kept | None:
        text = self._text()
        if not text:
            return None
        block = _Kept(self.next, text, self._comment)
        self.next = block.after
        if self._keep:
            self._blocks.append(block)
        return block

    def _text(self) -> str:
        """Return the next text that ends with a line."""
        parts, size = [self._rest], len(self._rest)
        self._rest = ""
        while text := self._pieces.read():
            parts.append(text)
            size += len(text)
            if "\n" in text or "\r" in text:
                whole = "".join(parts)
                # A lone return at the end may be the first half of an end of line.
                end = max(whole.rfind("\n"), whole.rfind("\r", 0, len(whole) - 1)) + 1
                if end:
                    self._rest = whole[end:]
                    return whole[:end]
                parts = [whole]
            if size > _LINE:
                raise LimitExceeded(
                    f"Line {self.next:,} is longer than {_LINE:,} characters.",
                    hint="The file may not be delimited text. Give its delimiter and quote, or its format.",
                )
        return "".join(parts)

    def text(self, number: int) -> str:
        """Return the text of the kept lines from one on."""
        kept = [b for b in self._blocks if number < b.after]
        if not kept:
            return ""
        begun = (
            kept[0].text if number <= kept[0].first else "".join(kept[0].lines()[number - kept[0].first :])
        )
        return begun + "".join(b.text for b in kept[1:])

    def line(self, number: int) -> str:
        """Return one kept line."""
        return next(self.since(number), "")

    def forget(self, number: int) -> None:
        """Let go of what lies wholly before a line."""
        blocks = self._blocks
        while blocks and blocks[0].after <= number:
            blocks.popleft()


def _count_lines(text: str) -> int:
    """Return the number of lines of a text, the last of which may have no end."""
    count = text.count("\n")
    if "\r" in text:
        count += text.count("\r") - text.count("\r\n")
    return count + (text != "" and not text.endswith(("\n", "\r")))
