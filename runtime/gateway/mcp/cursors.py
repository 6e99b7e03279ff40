"""A cursor says where the next page of a list starts. It gives no right to anything, so it need not be signed.

Whatever a client sends back is read as a position in what its own account may see; what cannot be read is refused.
"""

from __future__ import annotations

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from runtime.errors import InputError
from runtime.values import dumps, loads

__all__ = ("read_cursor", "write_cursor")

_LONGEST = 8_192


def write_cursor(*place: str) -> str:
    """Return the cursor of a place in a list."""
    return dumps(place).hex()


def read_cursor(cursor: str, parts: int) -> list[str]:
    """Return the place that a cursor names, in so many parts.

    Raises:
        MCPError: no page gave it (-32602, as the specification asks).
    """
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        place = loads(bytes.fromhex(cursor))
    except (ValueError, InputError):
        place = None
    if not isinstance(place, list) or len(place) != parts or not all(isinstance(p, str) for p in place):
        raise MCPError(INVALID_PARAMS, "The cursor is not one that a page gave. Use nextCursor as it is.")
    return place
