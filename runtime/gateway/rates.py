"""A key may send so many requests a second: a bucket that fills steadily and empties by one a request.

The answer carries the headers `RateLimit-Policy` and `RateLimit` of the IETF draft (draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import math

from runtime.accounts import Grant
from runtime.clock import Clock
from runtime.errors import RateLimited
from runtime.gateway.exchange import Exchange
from runtime.limits import Limits

__all__ = ("Rates",)

_REMEMBERED = 10_000


class Rates:
    """The buckets of all keys."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.active = limits.rate_per_s > 0
        self._rate = limits.rate_per_s
        self._burst = float(limits.rate_burst)
        self._clock = clock
        # By key (or account, for the local owner): the tokens left, and when that was.
        self._buckets: dict[str, tuple[float, float]] = {}
        window = math.ceil(self._burst / self._rate) if self.active else 0
        self._policy = f'"default";q={limits.rate_burst};w={window}'.encode()

    def take(self, grant: Grant, exchange: Exchange) -> None:
        """Take one token for a request and say in its answer how many are left.

        Raises:
            RateLimited: there is none.
        """
        left, wait = self._draw(grant)
        exchange.add_header(b"ratelimit-policy", self._policy)
        exchange.add_header(b"ratelimit", f'"default";r={max(0, int(left))};t={math.ceil(wait)}'.encode())
        if left < 0:
            raise self._refusal(wait)

    def charge(self, grant: Grant) -> None:
        """Take one token for what is not a request of its own; raises as `take`."""
        left, wait = self._draw(grant)
        if left < 0:
            raise self._refusal(wait)

    def _draw(self, grant: Grant) -> tuple[float, float]:
        """Take a token; return how many are left (-1: there was none) and the seconds until the next."""
        key = grant.key or "account:" + grant.account
        now = self._clock.now()
        left, since = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - since) * self._rate)
        taken = left >= 1.0
        if taken:
            left -= 1.0
        if key not in self._buckets and len(self._buckets) >= _REMEMBERED:
            self._forget_full(now)
        self._buckets[key] = (left, now)
        wait = (1.0 - left) / self._rate if left < 1.0 else 0.0
        return (left if taken else -1.0), wait

    def _refusal(self, wait: float) -> RateLimited:
        return RateLimited(
            f"This key may send {self._rate:g} requests a second.",
            hint=f"Wait {wait:.3g} seconds, and send fewer requests.",
            limit="rate_per_s",
            retry_after=math.ceil(wait * 1000) / 1000,
        )

    def _forget_full(self, now: float) -> None:
        """Drop buckets that have filled up since: a new one starts full too."""
        full = [k for k, (left, at) in self._buckets.items() if left + (now - at) * self._rate >= self._burst]
        for key in full or list(self._buckets)[: _REMEMBERED // 2]:
            del self._buckets[key]
