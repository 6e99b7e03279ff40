"""JSON: one object a line (NDJSON), objects over several lines, or an array of objects. Columns are the keys, in order.

A key that is missing, and null, are NULL; an empty text is an empty text. What is nested is stored as JSON text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import orjson

from runtime.errors import InputError, LimitExceeded
from runtime.tabular.cells import faithful
from runtime.tabular.columns import unique_names
from runtime.tabular.decode import Encoding, NotUtf8, detect
from runtime.tabular.fill import Slice, fill
from runtime.tabular.lines import Lines, Pieces
from runtime.tabular.request import Found, Request
from runtime.tabular.staging import MAX_COLUMNS, Staging, too_wide
from runtime.tabular.values import ValueColumn

__all__ = ("read_json", "read_ndjson")

_CELLS = 16_000
_SHOWN = 300
_ELEMENT = 64 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
# Numbers that orjson would round: these go through the slower reader, which keeps all digits.
_LONG = re.compile(rb"[0-9.]{17}")
# What is no number in JSON, and written all the same: nothing, and what no column of numbers can hold.
_CONSTANTS = {"NaN": None, "Infinity": "Infinity", "-Infinity": "-Infinity"}
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_ASIDE = object()
_HALVED = "a text in it holds half of a character"


def read_ndjson(request: Request) -> Found:
    """Read one JSON object a line, of which lines that are none are kept aside; or objects that each take several."""
    return _read(request, _objects)


def read_json(request: Request) -> Found:
    """Read an array of JSON objects, or several one after another, however large, element by element."""
    return _read(request, _elements)


class _Records:
    """One pass over a source of records: their keys become columns as they turn up."""

    def __init__(self, request: Request, source: Any, encoding: Encoding, staging: Staging) -> None:
        self.request = request
        self.source = source
        self.encoding = encoding
        self.staging = staging
        self.names: list[str] = []
        self.places: dict[str, int] = {}
        self.pieces: Pieces
        self.ended = False
        self.sha256: str | None = None

    def slices(self) -> Iterator[Slice]:
        self.ended = False
        seen = 0
        rows: list[list[Any]] = []
        numbers: list[int] = []
        top, _, last, _ = self.request.options.region()
        with Pieces(self.request.path, self.encoding) as self.pieces:
            for number, record in self.source(self):
                if number < top or (last is not None and number > last):
                    continue
                if not isinstance(record, (dict, list)):
                    self.staging.reject(
                        number, "It is neither an object nor a list.", json.dumps(record)[:_SHOWN]
                    )
                    continue
                rows.append(self._row(record))
                numbers.append(number)
                if len(rows) * max(1, len(self.names)) >= _CELLS:
                    yield self._slice(rows, numbers)
                    seen += len(rows)
                    rows, numbers = [], []
                    if self.request.most is not None and seen >= self.request.most:
                        return
            if rows:
                yield self._slice(rows, numbers)
            self.sha256 = self.pieces.digest()
        self.ended = True

    def _row(self, record: Any) -> list[Any]:
        if isinstance(record, list):
            if len(record) > len(self.names):
                self._learn([f"column_{i}" for i in range(len(self.names) + 1, len(record) + 1)])
            return record
        try:
            places = [self.places[key] for key in record]
        except KeyError:
            self._learn([key for key in record if key not in self.places])
            places = [self.places[key] for key in record]
        if places == list(range(len(places))):
            return list(record.values())
        row: list[Any] = [None] * len(self.names)
        for place, value in zip(places, record.values(), strict=True):
            row[place] = value
        return row

    def _learn(self, keys: list[str]) -> None:
        # The names before stay as they are: an added one is numbered after all of them.
        added = unique_names([*self.names, *keys])[len(self.names) :]
        for key in keys:
            self.places[key] = len(self.places)
        self.names.extend(added)
        if len(self.names) > MAX_COLUMNS:
            raise too_wide(len(self.names))

    def _slice(self, rows: list[list[Any]], numbers: list[int]) -> Slice:
        width = len(self.names)
        for row in rows:
            if len(row) < width:
                row.extend([None] * (width - len(row)))
        return Slice.of(rows, lambda: numbers)


def _read(request: Request, source: Any) -> Found:
    try:
        return _once(request, source, thorough=False)
    except NotUtf8:
        return _once(request, source, thorough=True)


def _once(request: Request, source: Any, *, thorough: bool) -> Found:
    _, left, _, right = request.options.region()
    if left != 1 or right is not None:
        raise InputError(
            "The columns of JSON have no places, so none can be the first or last that is read.",
            hint="Leave start_column, end_column and the range out; start_row and end_row count records.",
        )
    encoding = detect(request.path, request.options.encoding, thorough=thorough)
    size = request.path.stat().st_size
    with request.open() as staging:
        records = _Records(request, source, encoding, staging)
        columns, warnings = fill(
            records.names,
            lambda name, place, kind: ValueColumn(name, place, request.options, kind, dates=True),
            records.slices,
            staging,
            lambda rows: request.progress(rows, records.pieces.position(), size),
        )
        found = Found.of(request, staging, columns, warnings, records.ended)
        if not columns and records.ended and request.staging is not None:
            raise InputError(
                "The file holds no records.", hint="Send at least one object with a key.", reason="empty"
            )
    found.facts = {"encoding": encoding.name, "sha256": records.sha256}
    return found


def _objects(records: _Records) -> Iterator[tuple[int, Any]]:
    """Yield (number, value): a value a line, or values that go on over lines where the first line leaves one open."""
    with Pieces(records.request.path, records.encoding) as pieces:
        lines = map(str.strip, Lines(pieces, None, keep=False).all())
        first = next(filter(None, lines), "")
    yield from (_values if first.endswith(("{", "[", ",")) else _lines)(records)


def _lines(records: _Records) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(Lines(records.pieces, None, keep=False).all(), 1):
        text = line.strip()
        if not text:
            continue
        try:
            yield number, _value(text)
        except (ValueError, RecursionError) as error:
            records.staging.reject(number, f"It is not JSON: {_plainly(error)[:100]}.", text[:_SHOWN])


def _plainly(error: Exception) -> str:
    """Return what an error says, without what Python's programmers could do about it."""
    return str(error).partition("; use")[0]


def _value(text: str) -> Any:
    raw = text.encode("utf-8", "surrogateescape")
    if _LONG.search(raw) is None:
        try:
            return orjson.loads(raw)
        except ValueError:
            if b"NaN" not in raw and b"Infinity" not in raw:
                raise
    value = _DECODER.decode(text)
    if _halved(text, 0, len(text), value):
        raise ValueError(_HALVED)
    return value


def _number(text: str) -> float | str:
    """Return a number with a point or an exponent, or its text where a float would lose some of it."""
    value = float(text)
    if repr(value) == text or (len(text) < 17 and math.isfinite(value)):
        return value
    return value if faithful(text, value) else text


def _halved(text: str, start: int, end: int, value: Any) -> bool:
    """Tell whether a value, which stands in a text from start to end, has half of a character: no file can hold it."""
    if _HALF.search(text, start, end):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return True
    return False


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_CONSTANTS.get)


def _values(records: _Records) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of values one after another, whatever lies between them, or a comma."""
    text = _Window(records.pieces)
    number = 0
    while mark := text.next():
        if mark == "," and number:
            text.position += 1
        else:
            number += 1
            if (value := _decoded(records, text, number)) is not _ASIDE:
                yield number, value


def _elements(records: _Records) -> Iterator[tuple[int, Any]]:
    """Yield (number, element) of JSON arrays, mostly of one, that are read piece by piece."""
    text = _Window(records.pieces)
    number, found = 0, False
    while text.next() == "[":
        text.position += 1
        found, first = True, True
        while (mark := text.next()) != "]":
            if not first:
                if mark != ",":
                    raise _broken(number, "it is not followed by a comma or the end of the array")
                text.position += 1
                text.next()
            first = False
            number += 1
            if (value := _decoded(records, text, number)) is not _ASIDE:
                yield number, value
        text.position += 1
    if not found:
        raise InputError(
            "The file is not a JSON array.", hint="Send an array of objects, or one object a line."
        )
    if text.next():
        raise _broken(number, "something that is no array follows the end of the array")


def _decoded(records: _Records, text: _Window, number: int) -> Any:
    """Return the value at the position of a text, or _ASIDE for one that is kept aside, and go behind it."""
    while True:
        try:
            value, end = _DECODER.raw_decode(text.buffer, text.position)
            # A number at the very end of a piece may go on in the next.
            if end < len(text.buffer) or not text.more():
                break
        except json.JSONDecodeError as error:
            if not text.more():
                raise _broken(number, error.msg) from None
        except RecursionError:
            raise _broken(number, "it is nested too deeply") from None
        except ValueError as error:
            raise _broken(number, _plainly(error)) from None
    start, text.position = text.position, end
    if _halved(text.buffer, start, end, value):
        raw = text.buffer[start : min(end, start + _SHOWN)]
        records.staging.reject(number, f"It is not JSON: {_HALVED}.", raw)
        return _ASIDE
    return value


class _Window:
    """A part of a text that is read piece by piece, and a position in it."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.buffer = pieces.read().lstrip("\ufeff")
        self.position = 0

    def next(self) -> str:
        """Go to the next character that is no space and return it; empty at the end."""
        while True:
            self.position = _SPACE.match(self.buffer, self.position).end()  # type: ignore[union-attr]
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if not self.more():
                return ""

    def more(self) -> bool:
        """Read on, let go of what lies before the position, and tell whether there was anything."""
        kept = self.buffer[self.position :]
        if len(kept) > _ELEMENT:
            raise LimitExceeded(
                "One element of the array is longer than 64 MiB.", hint="Send one object a line."
            )
        parts, size = [kept], 0
        # As much again as is kept, so that a long element is not begun anew for each piece.
        while size <= len(kept) and (piece := self._pieces.read()):
            parts.append(piece)
            size += len(piece)
        self.buffer, self.position = "".join(parts), 0
        return size > 0


def _broken(number: int, why: str) -> InputError:
    return InputError(
        f"The file is not JSON: element {number:,}: {why[:150]}.",
        hint="Send an array of objects, or one object a line.",
    )
