"""Time is injected: everything that waits for a moment asks a `Clock`, so that tests can move it.

`now()` is civil time (seconds since 1970, UTC) for what is stored: alarms, TTLs, log rows.
`sleep_until()` waits for such a moment. Deadlines of SQL statements are not on this clock: they protect the
machine from work that runs in physical time, and use `time.monotonic()` directly.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ("Clock", "SystemClock", "iso")

# asyncio refuses waits of more than a day on some loops, and a changed civil clock must be noticed.
_LONGEST_NAP_S = 60.0


class Clock(Protocol):
    """What the runtime asks about time."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment`; at once when it has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        """Return when the civil clock has reached `moment`."""
        # In naps, because somebody may set the machine's clock meanwhile.
        while (left := moment - time.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, _LONGEST_NAP_S))


def iso(moment: float | None) -> str | None:
    """Return a moment as RFC 3339 text in UTC with milliseconds; None stays None."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
