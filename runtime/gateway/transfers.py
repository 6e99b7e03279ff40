"""Files go in and out in pieces: an upload is written to `{data}/tmp` while it arrives, a download is sent as it is made.

A temporary file lives as long as its request; what a crash leaves is removed at the next start (`clean_tmp`).
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from runtime.errors import BadRequest, InputError, PayloadTooLarge
from runtime.gateway.exchange import NOSNIFF, Exchange
from runtime.ids import new_token
from runtime.settings import Settings
from runtime.streams import Download, Upload

__all__ = ("clean_tmp", "close_download", "send_download", "take_upload")

_WRITE_FROM = 1024 * 1024
_MAX_FIELD = 64 * 1024
_MAX_FIELDS = 100


def clean_tmp(data: Path) -> None:
    """Remove what a crash left of uploads."""
    shutil.rmtree(data / "tmp", ignore_errors=True)


class _Sink:
    """A file that grows in a thread, within a limit, and is hashed on the way."""

    def __init__(self, path: Path, most: int) -> None:
        self.size = 0
        self._most = most
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    def add(self, data: bytes) -> None:
        """Take a piece."""
        self.size += len(data)
        if self.size > self._most:
            raise PayloadTooLarge(
                f"The file has more than {self._most:,} bytes.",
                hint="Send a smaller file, or have the operator raise max_upload_bytes.",
                limit="max_upload_bytes",
            )
        self._waiting.append(data)
        self._waiting_size += len(data)

    async def write(self, *, last: bool = False) -> None:
        """Write what has come, in a thread, once it is worth the way."""
        if not last and self._waiting_size < _WRITE_FROM:
            return
        pieces, self._waiting, self._waiting_size = self._waiting, [], 0
        await asyncio.get_running_loop().run_in_executor(None, self._write, pieces)

    def _write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._hash.update(piece)
            self._file.write(piece)
        self._file.flush()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    @property
    def content(self) -> str:
        """The SHA-256 of what was written."""
        return self._hash.hexdigest()


class _Form:
    """A multipart body: one file, and small fields beside it."""

    def __init__(self, boundary: bytes, sink: _Sink) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.media_type = "application/octet-stream"
        self._sink = sink
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._field: str | None = None
        self._text = b""
        self._files = 0
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end,
            },
        )

    @property
    def has_file(self) -> bool:
        """Whether the file part was seen."""
        return self._files == 1

    def _begin(self) -> None:
        self._headers = {}
        self._field, self._text = None, b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in options:
            self._files += 1
            if self._files > 1:
                raise InputError("The form holds more than one file.", hint="Send one file a request.")
            self.filename = options[b"filename"].decode("utf-8", "replace")[:255]
            kind = self._headers.get(b"content-type", b"application/octet-stream")
            self.media_type = kind[:200].decode("latin-1")
            return
        if len(self.fields) >= _MAX_FIELDS:
            raise InputError(f"The form has more than {_MAX_FIELDS} fields.", hint="Send the arguments only.")
        self._field = options.get(b"name", b"").decode("utf-8", "replace")[:200]
        if self._field in self.fields:
            raise InputError(f"The field {self._field!r:.80} comes twice.", hint="Send each argument once.")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._sink.add(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD:
            raise PayloadTooLarge(
                f"The field {self._field!r:.80} has more than {_MAX_FIELD:,} bytes.",
                hint="Only the file may be large.",
                limit="max_body_bytes",
            )

    def _end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._text.decode("utf-8", "replace")


@asynccontextmanager
async def take_upload(
    exchange: Exchange, settings: Settings
) -> AsyncIterator[tuple[Upload, dict[str, Any], str]]:
    """Write the body, raw or multipart, to a temporary file; give it with the form's fields and the file's SHA-256.

    Raises:
        PayloadTooLarge: the file is over `max_upload_bytes`.
        InputError: there is no file, or more than one.
    """
    most = settings.limits.max_upload_bytes
    length = exchange.headers.get(b"content-length", b"0")
    folder = settings.data / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"upload-{new_token(8)}"
    sink = _Sink(path, most)
    try:
        if length.isdigit() and int(length) > most + _MAX_FIELD * 2:
            sink.add(b"")
            sink.size = int(length)
            sink.add(b"")
        form = _form(exchange, sink)
        await _receive(exchange, sink, form)
        if sink.size == 0 or (form is not None and not form.has_file):
            raise InputError(
                "The request holds no file, or an empty one.",
                hint="Send the file as the raw body, or as multipart/form-data with one file part.",
            )
        kind = exchange.headers.get(b"content-type", b"application/octet-stream").decode("latin-1")[:200]
        upload = Upload(path, sink.size, form.media_type if form else kind, form.filename if form else None)
        yield upload, form.fields if form else {}, sink.content
    finally:
        sink.close()
        path.unlink(missing_ok=True)


def _form(exchange: Exchange, sink: _Sink) -> _Form | None:
    kind, options = parse_options_header(exchange.headers.get(b"content-type", b""))
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequest(
            "The multipart body names no boundary.", hint="Let the HTTP client set Content-Type."
        )
    try:
        return _Form(boundary, sink)
    except FormParserError as error:
        raise BadRequest(
            f"The multipart body cannot be read: {error}.", hint="Use another boundary."
        ) from None


async def _receive(exchange: Exchange, sink: _Sink, form: _Form | None) -> None:
    exchange.reading_since = exchange.started
    more = True
    while more:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client went away before its body was read.")
        data: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        exchange.received += len(data)
        if form is None:
            sink.add(data)
        else:
            try:
                form.parser.write(data)
            except FormParserError as error:
                raise BadRequest(
                    f"The multipart body cannot be read: {str(error)[:200]}.",
                    hint="Send the file as the raw body instead.",
                ) from None
        await sink.write()
    await sink.write(last=True)
    exchange.reading_since = None
    exchange.body_done = True


async def send_download(exchange: Exchange, download: Download) -> None:
    """Send a download piece by piece; it is closed on every way out."""
    # The first piece is made before the head is sent, so that what fails at once is still a proper problem.
    chunks = download.chunks
    try:
        first = await anext(chunks, b"")
        headers = [(b"content-type", download.media_type.encode("latin-1")), NOSNIFF]
        if download.filename is not None:
            headers.append((b"content-disposition", _disposition(download.filename)))
        await exchange.begin(200, *headers)
        await exchange.send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in chunks:
            await exchange.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b""})
    finally:
        await close_download(download)


async def close_download(download: Download) -> None:
    """Let go of what a download holds, whether or not it was sent."""
    close = getattr(download.chunks, "aclose", None)
    if close is not None:
        with suppress(RuntimeError):
            await close()


def _disposition(name: str) -> bytes:
    """Return a Content-Disposition (RFC 6266) whose name no client can mistake for a path or a header."""
    plain = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)[:200] or "download"
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:200], safe='')}".encode()
