"""`serve` runs the gateway on uvicorn until a signal, then drains: nothing new, what runs may end, files are closed.

A second signal ends at once. A drain that cannot end (a C call that nobody can interrupt) is cut off a few seconds
after its time: what was answered is on the disk in any case, and SQLite recovers the rest at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
import uvloop

from runtime.errors import DuraliteError
from runtime.gateway.access import is_loopback
from runtime.gateway.app import Gateway, create_app
from runtime.gateway.protocol import protocol_class, sweep
from runtime.logs import set_up_logs
from runtime.settings import Settings
from runtime.values import dumps

__all__ = ("SERVER_FILE", "serve", "uvicorn_config")

SERVER_FILE = "server.json"
"""Where a service says, in its data folder, at which URL it is."""

_GRACE_S = 3.0
_BACKLOG = 2_048
_GC_THRESHOLD = 20_000
"""New objects between two looks at the youngest; a request leaves no cycles behind."""
_log = structlog.get_logger("duralite.server")


class _Server(uvicorn.Server):
    """uvicorn's server, with a drain of ours and an exit code of 0 after a signal."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._sweeper: asyncio.Task[None] | None = None
        self._cut_off: threading.Timer | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self) -> None:
        """Call off the cut-off: everything is closed."""
        if self._cut_off is not None:
            self._cut_off.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain; at the second signal, end."""
        if self.should_exit:
            self._leave(128 + sig)
        self.should_exit = True
        limits = self._gateway.settings.limits
        self._cut_off = threading.Timer(limits.drain_s + _GRACE_S, self._leave, (0,))
        self._cut_off.daemon = True
        self._cut_off.start()

    def _leave(self, code: int) -> None:
        """End the process here and now."""
        (self._gateway.settings.data / SERVER_FILE).unlink(missing_ok=True)
        _complain("ended before everything was closed; the files recover by themselves at the next start")
        os._exit(code)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _log.info("service.draining", drain_s=self._gateway.settings.limits.drain_s)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self.servers:
            server.close()
        draining = asyncio.ensure_future(self._gateway.drain(self._gateway.settings.limits.drain_s))
        await super().shutdown(sockets)
        await draining

    async def _sweep(self) -> None:
        limits = self._gateway.settings.limits
        while True:
            await asyncio.sleep(limits.body_s / 2)
            sweep(self.server_state, limits)


def serve(settings: Settings) -> int:
    """Run the service until a signal; return the exit code: 0 after a drain, 1 when it could not start."""
    set_up_logs(settings)
    try:
        listener = _listen(settings)
    except OSError as error:
        _complain(
            f"Cannot listen on {settings.bind}:{settings.port}: {error.strerror or error}. "
            "Another service may have the port: choose one with --port, or 0 for a free one."
        )
        return 1
    try:
        with contextlib.closing(listener), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listener))
    except KeyboardInterrupt:  # before the server took the signals over
        return 130


async def _serve(settings: Settings, listener: socket.socket) -> int:
    gateway = create_app(settings)
    server: _Server | None = None
    try:
        await gateway.start()
    except (DuraliteError, OSError, RuntimeError) as error:
        _complain(f"The service cannot start: {error}")
        return 1
    url = _url(listener)
    try:
        if not is_loopback(settings.bind) and not await gateway.parts.accounts.any_keys():
            _complain(
                f"The address {settings.bind} can be reached from outside, and there is no key yet. "
                "Make one with `duralite keys create --scope admin`, then start again."
            )
            return 1
        with _server_file(settings.data / SERVER_FILE, url, next(iter(settings.allowed_hosts), None)):
            _log.info("service.ready", url=url, data=str(settings.data), pid=os.getpid())
            print(f"duralite is at {url}", file=sys.stderr, flush=True)  # noqa: T201
            _settle_memory()
            server = _Server(uvicorn_config(gateway), gateway)
            await server.serve([listener])
    finally:
        await gateway.stop()
        if server is not None:
            server.end()
    _log.info("service.stopped")
    return 0


def _settle_memory() -> None:
    """Keep the garbage collector off what lives as long as the service, and from looking at every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


def uvicorn_config(gateway: Gateway) -> uvicorn.Config:
    """Return how uvicorn serves the gateway: our protocol, no log of every request, no headers of its own."""
    limits = gateway.settings.limits
    return uvicorn.Config(
        gateway,
        http=protocol_class(limits),
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        ws_max_size=limits.max_body_bytes,
        timeout_graceful_shutdown=max(1, round(limits.drain_s + 1)),
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    # With the protocol named: asyncio turns Nagle's delay off only for sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.bind, settings.port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _server_file(path: Path, url: str, host: str | None) -> Iterator[None]:
    """Tell other processes where the service is, and a name that it answers for, as long as it is there."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(dumps({"url": url, "pid": os.getpid(), "host": host}))
    fresh.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _complain(text: str) -> None:
    print(f"duralite: {text}", file=sys.stderr, flush=True)  # noqa: T201
