"""An actor's id is a keyed hash of who it belongs to, what it is and what it is called.

Nothing that a caller writes reaches the file system: only the id, 32 hexadecimal digits, does. The key is
made with the data folder and kept in its directory file, so ids of another installation tell nothing.
The owner is part of the identity: two accounts that use one name have two actors, and neither can learn
that the other's exists.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import NamedTuple, NewType

from runtime.errors import InputError

__all__ = ("MAX_NAME_BYTES", "ActorAddress", "ActorId", "actor_id", "actor_path", "check_name", "new_token")

ActorId = NewType("ActorId", str)

MAX_NAME_BYTES = 1024


class ActorAddress(NamedTuple):
    """Where a call goes: the actor type, the account that owns the actor, and the actor's name."""

    type: str
    owner: str
    name: str


def check_name(name: object) -> str:
    """Return the name if it can be an actor's: 1 to 1,024 bytes of UTF-8 text without NUL.

    Raises:
        InputError: the name is not text, empty, too long, or not encodable.
    """
    if not isinstance(name, str):
        raise InputError(
            f"An actor name is text, not {type(name).__name__}.", hint="Send the name as a string."
        )
    if not name:
        raise InputError(
            "The actor name is empty.", hint="Use any text of 1 to 1,024 bytes, such as a chat id."
        )
    if name.isascii() and len(name) <= MAX_NAME_BYTES:
        size = len(name)
    else:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise InputError(
                "The actor name holds a lone surrogate and is not valid Unicode text.",
                hint="Encode the name as UTF-8.",
            ) from None
    if size > MAX_NAME_BYTES:
        raise InputError(
            f"The actor name has {size:,} bytes; at most {MAX_NAME_BYTES:,} are allowed.",
            hint="Use a shorter name, for instance a hash of the long one.",
            limit="max_name_bytes",
        )
    if "\0" in name:
        raise InputError("The actor name holds a NUL character.", hint="Remove the NUL character.")
    return name


def actor_id(key: bytes, address: ActorAddress) -> ActorId:
    """Return the actor's id: 32 hexadecimal digits of a keyed BLAKE2b over type, owner and name."""
    text = f"{address.type}\0{address.owner}\0{address.name}".encode()
    return ActorId(hashlib.blake2b(text, key=key, digest_size=16).hexdigest())


def actor_path(data: Path, type_name: str, actor: ActorId) -> Path:
    """Return where the actor's file lies: `{data}/actors/{type}/{id[:2]}/{id}.sqlite`."""
    return data / "actors" / type_name / actor[:2] / f"{actor}.sqlite"


def new_token(size: int = 16) -> str:
    """Return a random, URL-safe text of `size` bytes of entropy."""
    return secrets.token_hex(size)
