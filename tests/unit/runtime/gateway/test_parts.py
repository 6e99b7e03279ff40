"""The parts of the edge by themselves: logs, rates, bodies, names of hosts, metrics settings."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from runtime.accounts import Grant
from runtime.errors import InputError, RateLimited, Unavailable
from runtime.gateway.bodies import Bodies, query_arguments
from runtime.gateway.exchange import Exchange
from runtime.gateway.rates import Rates
from runtime.gateway.testing import live_server
from runtime.limits import Limits
from runtime.logs import set_up_logs
from runtime.settings import Settings
from runtime.testing import ManualClock


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    levels = {name: logging.getLogger(name).level for name in ("duralite", "uvicorn", "uvicorn.error")}
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_logs_are_json_lines_from_everybody(logs: io.StringIO, tmp_path: Path) -> None:
    set_up_logs(Settings(data=tmp_path, log_format="json"), logs)
    structlog.get_logger("duralite.test").info("actor.evicted", idle_s=61.2, actor=b"x")
    logging.getLogger("another").warning("from %s", "elsewhere")
    structlog.get_logger("duralite.test").debug("not asked for")
    own, other = (json.loads(line) for line in logs.getvalue().splitlines())
    assert (own["event"], own["idle_s"], own["level"], own["logger"]) == (
        "actor.evicted",
        61.2,
        "info",
        "duralite.test",
    )
    assert (other["event"], other["logger"]) == ("from elsewhere", "another")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_line_is_bounded_and_shows_no_values_of_variables(
    logs: io.StringIO, tmp_path: Path, form: Any
) -> None:
    set_up_logs(Settings(data=tmp_path, log_format=form), logs)
    password = "dl_secret_of_a_variable"[3:]
    try:
        raise RuntimeError(f"failed {len(password)}")
    except RuntimeError as error:
        structlog.get_logger("duralite.test").error("http.failed", exc_info=error, text="x" * 100_000)
    text = logs.getvalue()
    assert "RuntimeError: failed 20" in text
    assert "(100,000 characters)" in text
    assert "secret_of_a_variable'" not in text.replace('password = "dl_secret_of_a_variable"', "")
    assert len(text) < 10_000


def test_buckets_are_forgotten_before_they_fill_the_memory() -> None:
    clock = ManualClock()
    rates = Rates(Limits(rate_per_s=1.0, rate_burst=1), clock)
    for i in range(25_000):
        rates.charge(Grant("a", frozenset(), key=str(i)))
    assert len(rates._buckets) <= 10_000
    with pytest.raises(RateLimited):
        rates.charge(Grant("a", frozenset(), key="24999"))


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5))
def test_nobody_gets_more_than_burst_and_rate(gaps: list[float], burst: int) -> None:
    """Over any pattern of requests: at most the burst, and one more for each second."""
    clock = ManualClock(0)
    rates = Rates(Limits(rate_per_s=1.0, rate_burst=burst), clock)
    served = 0
    for gap in gaps:
        clock._now += gap
        try:
            rates.charge(Grant("a", frozenset()))
            served += 1
        except RateLimited as error:
            assert error.retry_after is not None and 0 < error.retry_after <= 1
    assert served <= burst + clock.now() + 1e-6


async def test_long_bodies_of_all_requests_together_are_bounded() -> None:
    limits = Limits(max_body_bytes=1024)
    bodies = Bodies(limits)
    go = asyncio.Event()

    def request() -> Exchange:
        left = [b"x" * 1000, b"x"]

        async def receive() -> dict[str, Any]:
            if len(left) == 1:
                await go.wait()
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message: Any) -> None: ...

        return Exchange({"headers": [], "method": "POST", "raw_path": b"/"}, receive, send)

    waiting = [asyncio.ensure_future(bodies.read(request())) for _ in range(12)]
    while sum(task.done() for task in waiting) < 4:
        await asyncio.sleep(0)
    assert all(isinstance(task.exception(), Unavailable) for task in waiting if task.done())
    go.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(body, bytes) for body in done) == 8
    assert bodies._held == 0


@given(st.recursive(st.none() | st.integers(-5, 5) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=40))  # fmt: skip
def test_the_depth_that_is_counted_is_the_depth_that_is_there(value: Any) -> None:
    def depth(item: Any) -> int:
        if isinstance(item, dict):
            return 1 + max((depth(v) for v in item.values()), default=0)
        return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0

    bodies = Bodies(Limits(max_json_depth=4))
    text = json.dumps(value).encode()
    if depth(value) <= 4:
        assert bodies.parse(text) == value
    else:
        with pytest.raises(InputError):
            bodies.parse(text)


@given(st.binary(max_size=60))
def test_any_query_string_is_read_or_refused(text: bytes) -> None:
    try:
        query_arguments(text, frozenset({"a"}))
    except InputError as error:
        assert error.hint


async def test_metrics_can_be_turned_off(tmp_path: Path, notes: Any) -> None:
    async with (
        live_server(tmp_path, notes, metrics="off") as live,
        httpx.AsyncClient(base_url=live.url) as http,
    ):
        assert (await http.get("/metrics")).status_code == 404


async def test_the_answer_of_a_call_is_the_same_with_and_without_uvicorn(tmp_path: Path, notes: Any) -> None:
    """The short cut to uvicorn's request and the way through ASGI give the same status, headers and body."""
    async with live_server(tmp_path, notes) as live:
        seen = []
        for transport in (None, httpx.ASGITransport(live.gateway)):
            async with httpx.AsyncClient(base_url=live.url, transport=transport) as http:
                answer = await http.post(
                    "/v1/notes/a/get_state", json={"key": "k"}, headers={"x-request-id": "r"}
                )
                headers = {k: v for k, v in answer.headers.items() if k != "date"}
                seen.append((answer.status_code, headers, answer.content))
        assert seen[0] == seen[1]
