"""The text of a file, piece by piece, and its lines, in blocks that can be read again."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.errors import LimitExceeded
from runtime.tabular.decode import Encoding, undecodable

__all__ = ("Lines", "Pieces")

_PIECE = 1 << 18
_LINE = 16 << 20


class Pieces:
    """The text of a file in pieces of 256 KiB, decoded strictly unless the encoding says that it is damaged."""

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
        """Return the SHA-256 of what was read."""
        return self._digest.hexdigest()


class Lines:
    """The lines of a text, in blocks of which the last few are kept, so that a slice can be read again."""

    def __init__(self, pieces: Pieces, comment: str | None) -> None:
        self._pieces = pieces
        self._comment = comment
        self._blocks: deque[tuple[int, list[str]]] = deque()
        self._next = 1
        self._rest = ""

    def all(self) -> Iterator[str]:
        """Yield lines from where the last reading of all stopped."""
        return chain.from_iterable(self._read())

    def _read(self) -> Iterator[list[str]]:
        while lines := self._block():
            self._blocks.append((self._next, lines))
            self._next += len(lines)
            yield lines

    def _block(self) -> list[str]:
        parts, size, ended = [self._rest], len(self._rest), False
        while not ended:
            text = self._pieces.read()
            ended = not text
            parts.append(text)
            size += len(text)
            if "\n" in text or "\r" in text:
                break
            if size > _LINE:
                raise LimitExceeded(
                    f"Line {self._next:,} is longer than {_LINE:,} characters.",
                    hint="The file may not be delimited text. Give its delimiter and quote, or its format.",
                )
        lines = io.StringIO("".join(parts), newline="").readlines()
        self._rest = ""
        # A lone return at the end may be the first half of an end of line.
        if lines and not ended and not lines[-1].endswith("\n"):
            self._rest = lines.pop()
            if not lines:
                return self._block()
        if self._comment is not None:
            # A blank line in its place keeps the count of lines.
            lines = ["\n" if line.startswith(self._comment) else line for line in lines]
        return lines

    def since(self, number: int) -> Iterator[str]:
        """Yield the kept lines from one on, and then those that follow."""
        kept = [
            lines[max(0, number - first) :] for first, lines in self._blocks if number < first + len(lines)
        ]
        return chain(chain.from_iterable(kept), self.all())

    def line(self, number: int) -> str:
        """Return one kept line."""
        return next(self.since(number), "")

    def forget(self, number: int) -> None:
        """Let go of what lies wholly before a line."""
        blocks = self._blocks
        while blocks and blocks[0][0] + len(blocks[0][1]) <= number:
            blocks.popleft()
