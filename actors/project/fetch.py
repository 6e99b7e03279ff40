"""A file is fetched from a URL only where the operator allows the host, from the very address that was checked.

One GET over one connection: no proxy, no cookies, no credentials. A redirect is followed within the same host only.
Size and time are bounded, and what arrives goes to the disk piece by piece.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httptools

from runtime.errors import Forbidden, InputError, PayloadTooLarge, Unavailable
from runtime.outbound import AllowedHosts

__all__ = ("Fetched", "fetch")

_PIECE = 256 * 1024
_HEAD_BYTES = 64 * 1024
_REDIRECTS = 5
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL gave: the bytes written, and the file's name as the URL has it."""

    size: int
    filename: str


class _Answer:
    """An HTTP answer as it is read; its body is held until it is written."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[bytes, bytes] = {}
        self.head_done = self.done = False
        self.waiting: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.waiting.append(body)

    def on_message_complete(self) -> None:
        self.done = True

    @property
    def status(self) -> int:
        return int(self.parser.get_status_code())

    @property
    def length(self) -> int | None:
        text = self.headers.get(b"content-length", b"")
        return int(text) if text.isdigit() and len(text) < 19 else None


async def fetch(
    url: str, target: Path, hosts: AllowedHosts, *, most: int, seconds: float, progress: Progress
) -> Fetched:
    """Write what a URL gives to `target`, a new file.

    Raises:
        Forbidden: the operator does not allow the host, or it leads elsewhere.
        InputError: it is no http or https URL, or answers with anything but a file.
        PayloadTooLarge: it is longer than `most` bytes.
        Unavailable: the host does not answer, or not in time.
    """
    try:
        async with asyncio.timeout(seconds):
            for _ in range(_REDIRECTS):
                parts = hosts.check(url)
                found = await _get(parts, target, hosts, most, progress)
                if isinstance(found, Fetched):
                    return found
                url = _followed(parts, urljoin(url, found))
        raise InputError("The URL redirects again and again.", hint="Use the URL that the file itself has.")
    except TimeoutError:
        raise Unavailable(
            f"The file did not arrive within {seconds:g} seconds.",
            hint="Try again, or download it and send it as an upload.",
            limit="import_fetch_s",
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(
            f"The host cannot be reached: {error.strerror or type(error).__name__}.",
            hint="See that the URL is right and the host answers.",
        ) from None


def _followed(before: SplitResult, url: str) -> str:
    after = urlsplit(url)
    if after.hostname != before.hostname or (before.scheme == "https" and after.scheme != "https"):
        raise Forbidden(
            "The URL redirects to another host.", hint="Use the URL that it leads to, if its host is allowed."
        )
    return url


async def _get(
    parts: SplitResult, target: Path, hosts: AllowedHosts, most: int, progress: Progress
) -> Fetched | str:
    """Send one GET; return what was written, or where a redirect leads."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = (await hosts.addresses(host, port))[0]
    secure = None
    if parts.scheme == "https":  # it reads the trusted certificates from the disk
        secure = await asyncio.get_running_loop().run_in_executor(None, ssl.create_default_context)
    reader, writer = await asyncio.open_connection(
        address, port, ssl=secure, server_hostname=host if secure else None
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        named = f"[{host}]" if ":" in host else host
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {named}{f':{parts.port}' if parts.port else ''}\r\n"
            "User-Agent: duralite\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii"))
        await writer.drain()
        answer = await _head(reader)
        if answer.status in (301, 302, 303, 307, 308) and b"location" in answer.headers:
            return answer.headers[b"location"].decode("latin-1")
        if answer.status != 200:
            raise InputError(
                f"The URL answered {answer.status}.", hint="Use a URL that gives the file without a login."
            )
        coding = answer.headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b""):
            raise InputError(
                f"The URL gives the file with the content encoding {coding[:40].decode('latin-1')!r}, though it was asked for it as it is.",
                hint="Use a URL that gives the file itself, or download and upload it.",
            )
        if (answer.length or 0) > most:
            raise _too_large(most)
        size = await _body(reader, answer, target, most, progress)
        return Fetched(size, unquote(parts.path.rpartition("/")[2])[:255])
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> _Answer:
    answer = _Answer()
    size = 0
    while not answer.head_done:
        size += await _feed(reader, answer)
        if size > _HEAD_BYTES and not answer.head_done:
            raise InputError("The URL's answer has a head without end.", hint="Use another URL.")
    return answer


async def _feed(reader: asyncio.StreamReader, answer: _Answer) -> int:
    piece = await reader.read(_PIECE)
    try:
        if piece:
            answer.parser.feed_data(piece)
        elif answer.length is None and answer.head_done and b"transfer-encoding" not in answer.headers:
            answer.done = True  # a body of no declared length ends with the connection
        elif not answer.done:
            raise Unavailable("The host broke off in the middle of the file.", hint="Try again.")
    except httptools.HttpParserError:
        raise InputError("The URL does not answer in HTTP.", hint="Use another URL.") from None
    return len(piece)


async def _body(
    reader: asyncio.StreamReader, answer: _Answer, target: Path, most: int, progress: Progress
) -> int:
    loop = asyncio.get_running_loop()
    size = 0
    file: BinaryIO = await loop.run_in_executor(None, target.open, "xb")
    try:
        while True:
            pieces, answer.waiting = answer.waiting, []
            if pieces:
                size += sum(map(len, pieces))
                if size > most:
                    raise _too_large(most)
                await loop.run_in_executor(None, file.writelines, pieces)
                progress(size, answer.length)
            if answer.done:
                return size
            await _feed(reader, answer)
    finally:
        await loop.run_in_executor(None, file.close)


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The file has more than {most:,} bytes.",
        hint="Import a smaller file, or have the operator raise max_upload_bytes.",
        limit="max_upload_bytes",
    )
