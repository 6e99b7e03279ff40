"""Logs are events with fields (`actor.evicted`, `idle_s=61.2`), one a line: for a person in a terminal, else JSON.

What other libraries log through the standard library comes out in the same form. Values are bounded, so that no
request can write a novel into the log.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from runtime.settings import Settings

__all__ = ("set_up_logs",)

_LONGEST = 2_000
_LONGEST_TRACE = 20_000


def set_up_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logs of the process to standard error (or `stream`) in the form that the settings ask for."""
    out = sys.stderr if stream is None else stream
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not out.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A trace without the values of variables: a key could be among them.
    last: list[Any] = (
        [structlog.processors.format_exc_info, _bounded, structlog.processors.JSONRenderer(default=repr)]
        if as_json
        else [
            _bounded,
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    # Debug lines of other libraries are theirs to read, not an operator's.
    logging.getLogger("duralite").setLevel(level)
    for noisy in ("uvicorn", "uvicorn.error", "mcp", "sse_starlette", "httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def _bounded(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            most = _LONGEST_TRACE if key == "exception" else _LONGEST
            if len(value) > most:
                event[key] = f"{value[:most]}… ({len(value):,} characters)"
    return event
