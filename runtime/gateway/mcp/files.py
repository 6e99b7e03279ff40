"""Files in a tool call: an upload comes inside the arguments, a download goes out as text or as a link.

A path is never taken: a client is somewhere else, and a model that can name any file of this machine could have it read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from mcp_types import BlobResourceContents, CallToolResult, EmbeddedResource, ResourceLink, TextContent

from runtime.errors import InputError, PayloadTooLarge
from runtime.gateway.mcp.tools import ToolEntry
from runtime.gateway.transfers import close_download
from runtime.ids import new_token
from runtime.settings import Settings
from runtime.streams import Download, Upload
from runtime.values import dumps

__all__ = ("download_link", "downloaded", "uploaded")

_TEXTS = ("text/", "application/json", "application/x-ndjson", "application/sql", "application/xml")


@asynccontextmanager
async def uploaded(settings: Settings, given: Any, name: str) -> AsyncIterator[Upload]:
    """Give the file that came as the argument `name`, written to the service's temporary folder.

    Raises:
        InputError: it is not one of text and base64.
        PayloadTooLarge: it is over `max_upload_bytes`.
    """
    content, media_type, filename = _content(given, name)
    if len(content) > settings.limits.max_upload_bytes:
        raise PayloadTooLarge(
            f"The file has more than {settings.limits.max_upload_bytes:,} bytes.",
            hint="Send a smaller file.",
            limit="max_upload_bytes",
        )
    path = settings.data / "tmp" / f"upload-{new_token(8)}"
    in_thread = partial(asyncio.get_running_loop().run_in_executor, None)
    try:
        await in_thread(_write, path, content)
        yield Upload(path, len(content), media_type, filename)
    finally:
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _content(given: Any, name: str) -> tuple[bytes, str, str | None]:
    texts = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
    if not texts or not given.keys() <= {"text", "base64", "filename", "media_type"}:
        raise _bad(name, "an object with text or base64 is needed")
    if ("text" in given) == ("base64" in given):
        raise _bad(name, "one of text and base64 is needed")
    filename = given.get("filename")
    if "text" in given:
        return given["text"].encode(), given.get("media_type", "text/plain"), filename
    try:
        content = base64.b64decode(given["base64"], validate=True)
    except (binascii.Error, ValueError):
        raise _bad(f"{name}.base64", "it is not valid base64") from None
    return content, given.get("media_type", "application/octet-stream"), filename


def _bad(path: str, reason: str) -> InputError:
    return InputError(
        f"{path}: {reason}.",
        hint='Send {"text": "…"} or {"base64": "…"}, with filename and media_type if they matter.',
        errors=[{"path": path, "reason": reason}],
    )


async def downloaded(download: Download, link: str | None, most: int) -> CallToolResult:
    """Return a download: its text where it is short text, else a link to it, else (no link, and short) its bytes.

    Raises:
        PayloadTooLarge: it is long, and there is no link.
    """
    is_text = download.media_type.startswith(_TEXTS)
    facts: dict[str, Any] = {"media_type": download.media_type, "filename": download.filename}
    try:
        content = None if link is not None and not is_text else await _read(download, most)
    finally:
        await close_download(download)
    if content is not None:
        facts["bytes"] = len(content)
        if is_text:
            text = TextContent(text=content.decode("utf-8", "replace"))
            return CallToolResult(content=[text], structured_content={"result": facts})
        blob = BlobResourceContents(
            uri=f"file:///{quote(download.filename or 'download')}",
            mime_type=download.media_type,
            blob=base64.b64encode(content).decode(),
        )
        return CallToolResult(content=[EmbeddedResource(resource=blob)], structured_content={"result": facts})
    if link is None:
        raise PayloadTooLarge(
            f"The file is over the {most:,} bytes of one tool answer.",
            hint="Ask for less, with a query and LIMIT; or get it over HTTP or with the duralite command.",
            limit="mcp_result_bytes",
            done=True,
        )
    name = download.filename or "download"
    said = TextContent(text=f"The file {name} is at {link}; get it with the same key.")
    linked = ResourceLink(uri=link, name=name, mime_type=download.media_type)
    return CallToolResult(content=[said, linked], structured_content={"result": {**facts, "link": link}})


async def _read(download: Download, most: int) -> bytes | None:
    """Return the whole of a download, None where it is longer than `most` bytes."""
    pieces, size = [], 0
    async for piece in download.chunks:
        size += len(piece)
        if size > most:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def download_link(base: str | None, entry: ToolEntry, name: str, arguments: dict[str, Any]) -> str | None:
    """Return the URL that gives a method's file over HTTP; None where there is none."""
    if base is None or not entry.spec.read_only:
        return None
    query = urlencode(
        {key: value if isinstance(value, str) else dumps(value).decode() for key, value in arguments.items()}
    )
    path = f"{base}/v1/{entry.type_name}/{quote(name, safe='')}/{entry.spec.name}"
    return f"{path}?{query}" if query else path
