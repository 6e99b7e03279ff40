"""The bare echo is the least an ASGI application can do on our server: parse the JSON, answer a row of JSON.

It shows what uvicorn, the sockets and JSON cost without any database, guard, account or actor.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import uvicorn

__all__ = ("app",)

_ROW = {
    "id": 77,
    "name": "name-000077",
    "email": "user000077@example.org",
    "score": 38.5,
    "qty": 77,
    "note": "a short note 77",
}
_COLUMNS = list(_ROW)
_Message = MutableMapping[str, Any]


async def app(
    scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
) -> None:
    """Answer a point select as the service does, with a made-up row."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = orjson.loads(body)
    row = {**_ROW, "id": asked["params"][0]}
    answer = orjson.dumps(
        {"columns": _COLUMNS, "rows": [row], "row_count": 1, "truncated": False, "duration_ms": 0.01}
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def main(port: int) -> None:
    """Serve on loopback with the service's own choice of event loop and parser."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
