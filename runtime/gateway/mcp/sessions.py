"""Sessions are what clients before the 2026 revision have: an id from a handshake, sent with each message.

They carry no rights. But each holds memory, and most clients never end theirs; so an account has room for a number of
them, and its least recently used one makes place for the next. Another account's are not touched.
"""

from __future__ import annotations

from collections import OrderedDict

from runtime.accounts import Grant

__all__ = ("Sessions",)


class Sessions:
    """Which sessions each account has, the least recently used first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: dict[str, OrderedDict[bytes, Grant]] = {}

    def opened(self, session: bytes, grant: Grant) -> tuple[bytes, Grant] | None:
        """Note a new session; return the one that has to make room for it, with the grant that opened that."""
        held = self._accounts.setdefault(grant.account, OrderedDict())
        held[session] = grant
        return held.popitem(last=False) if len(held) > self._most else None

    def used(self, session: bytes, grant: Grant) -> None:
        """Note that a session was used."""
        held = self._accounts.get(grant.account)
        if held is not None and session in held:
            held.move_to_end(session)

    def ended(self, session: bytes, grant: Grant) -> None:
        """Forget a session that does not exist any more."""
        held = self._accounts.get(grant.account)
        if held is not None:
            held.pop(session, None)
            if not held:
                del self._accounts[grant.account]
