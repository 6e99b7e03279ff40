"""A connection holds one tool server: it opens it, keeps the list of its tools, and opens it again when it is lost.

One task owns it from start to close; calls are made beside that task. A call that finds the server gone waits for it
to come back, within its own deadline. What is under way when the server dies fails, and is sent again by itself only
where the tool says that doing it twice is doing it once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import mcp_types as types
import structlog
from mcp import Client, MCPError
from pydantic import TypeAdapter, ValidationError

from runtime.errors import (
    DeadlineExceeded,
    DuraliteError,
    Forbidden,
    LimitExceeded,
    ToolError,
    Unavailable,
)
from runtime.limits import Limits
from sandbox.tools.config import Command, ServerConfig
from sandbox.tools.info import ServerInfo, State
from sandbox.tools.listing import change_notices, list_tools
from sandbox.tools.names import clean_text
from sandbox.tools.screen import Screen
from sandbox.tools.specs import BoundTool, ToolSet, tool_set
from sandbox.tools.stdio import stdio_streams
from sandbox.tools.streamable import NOT_SENT, http_streams

__all__ = ("Connection",)

_RETRY_S, _RETRY_MOST_S, _STEADY_S = 0.2, 30.0, 30.0
_RELIST_S = 0.5
_CLOSE_S = 10.0
_ERROR_BYTES = 500
_SESSION_OVER = "Session terminated"
_Answer: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)
_log = structlog.get_logger("duralite.tools")


class _LostError(Exception):
    """Raised inside the owner when the server went away."""


class Connection:
    """One tool server. `start()` it once, `close()` it once; calls in between."""

    def __init__(self, config: ServerConfig, limits: Limits, *, shared: bool) -> None:
        self.config = config
        self.name = config.name
        self.state: State = "connecting" if config.problem is None else "failed"
        self.error = config.problem
        self.tools = ToolSet()
        self._limits = limits
        self._shared = shared
        self._client: Client | None = None
        self._screen: Screen | None = None
        self._version: str | None = None
        self._owner: asyncio.Task[None] | None = None
        self._sent: set[asyncio.Task[Any]] = set()
        self._slots = asyncio.Semaphore(limits.tool_calls_at_once)
        self._waiting = 0
        self._closing = False
        self._lost = asyncio.Event()
        self._stale = asyncio.Event()
        self._kick = asyncio.Event()
        # Clear while an attempt to connect is under way; and whether the first of them has ended.
        self._settled = asyncio.Event()
        self._tried = asyncio.Event()

    # Life

    def start(self) -> None:
        """Begin to connect, and go on until `close()`."""
        if self.config.reach is not None and self._owner is None:
            self._owner = asyncio.get_running_loop().create_task(self._own())
        elif self.config.reach is None:
            self._settled.set()
            self._tried.set()

    async def close(self) -> None:
        """End the connection and the server's process. Idempotent."""
        self._closing, self.state = True, "closed"
        self._settled.set()
        self._tried.set()
        tasks = [*self._sent, *([self._owner] if self._owner is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)

    async def tried(self, seconds: float) -> None:
        """Return when the first attempt to connect ended, well or badly, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._tried.wait()
        except TimeoutError:
            pass

    @property
    def known(self) -> bool:
        """Whether the first attempt to connect has ended."""
        return self._tried.is_set()

    def info(self) -> ServerInfo:
        """Return a snapshot."""
        reach = self.config.reach
        return ServerInfo(
            name=self.name,
            title=self.config.title,
            scope="service" if self._shared else "session",
            transport=None if reach is None else "stdio" if isinstance(reach, Command) else "http",
            state=self.state,
            tools=len(self.tools.specs),
            error=self.error,
            problems=self.tools.problems,
            version=self._version,
        )

    async def _own(self) -> None:
        """Connect, serve, and connect again, with longer and longer pauses while it fails."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._settled.clear()
            self._kick.clear()
            self.state, since = "connecting", loop.time()
            # The bridge to a stranger: whatever it brings about is told, and tried again.
            try:
                await self._serve()
            except asyncio.CancelledError as error:
                if self._closing or _is_cancelled():
                    raise
                self.error = self._why(error)
            except (Exception, BaseExceptionGroup) as error:
                if self._closing:
                    return
                self.error = self._why(error)
            failures = 0 if loop.time() - since > _STEADY_S else failures + 1
            self.state = "failed"
            self._settled.set()
            self._tried.set()
            log = _log.warning if failures <= 1 else _log.debug
            log("tools.server_failed", server=self.name, error=self.error, failures=failures)
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        # Also where somebody waits: a server that dies at once is not started in a tight loop.
        await asyncio.sleep(_RETRY_S)
        seconds = min(_RETRY_MOST_S, _RETRY_S * 2 ** min(failures - 1, 10)) if failures else 0.0
        try:
            async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):
                await self._kick.wait()
        except TimeoutError:
            pass

    async def _serve(self) -> None:
        self._lost.clear()
        self._stale.clear()
        # Told when it is late, and not when it has been ended, which takes its time.
        late = asyncio.get_running_loop().call_later(self._limits.tool_connect_s, self._note_late)
        async with AsyncExitStack() as stack:
            stack.callback(late.cancel)
            # Not around the stack's end: a server is given time to leave.
            async with asyncio.timeout(self._limits.tool_connect_s):
                client = await stack.enter_async_context(self._session())
                await self._list(client)
            late.cancel()
            self._client, self.state, self.error = client, "ready", None
            stack.callback(self._forget_client)
            if client.server_info is not None:
                self._version = clean_text(client.server_info.version, 100)
            self._settled.set()
            self._tried.set()
            _log.info("tools.server_ready", server=self.name, tools=len(self.tools.specs))
            await stack.enter_async_context(change_notices(client, self._stale.set))
            await self._watch(client)

    def _note_late(self) -> None:
        self.error = self._why(TimeoutError())
        self._tried.set()

    def _forget_client(self) -> None:
        self._client = None

    def _session(self) -> Client:
        return Client(
            self._transport(),
            cache=None,
            read_timeout_seconds=self._limits.tool_connect_s,
            client_info=types.Implementation(name="duralite", version="1"),
        )

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[tuple[Any, Any]]:
        reach = self.config.reach
        assert reach is not None
        streams: Any
        if isinstance(reach, Command):
            streams = stdio_streams(self.name, reach, self._limits, self.config.redactor)
        else:
            streams = http_streams(reach, self._limits)
        async with streams as (received, outward):
            most = self._limits.tools_per_server
            self._screen = Screen(received, self._stale.set, self._lost.set, most)
            yield self._screen, outward

    # The list of tools

    async def _watch(self, client: Client) -> None:
        """Return never; list the tools again when the server says that they changed."""
        while True:
            lost = asyncio.ensure_future(self._lost.wait())
            stale = asyncio.ensure_future(self._stale.wait())
            try:
                await asyncio.wait((lost, stale), return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
                stale.cancel()
            if self._lost.is_set():
                raise _LostError
            # Many notices soon after one another are one.
            await asyncio.sleep(_RELIST_S)
            self._stale.clear()
            async with asyncio.timeout(self._limits.tool_connect_s):
                await self._list(client)

    async def _list(self, client: Client) -> None:
        odd = self._screen.odd if self._screen is not None else 0
        tools = await list_tools(client, self._limits.tools_per_server)
        odd = self._screen.odd - odd if self._screen is not None else 0
        made = tool_set(self.config.title, tools, self._limits, self.config.redactor, odd=odd)
        if made.problems:
            _log.warning("tools.left_out", server=self.name, problems=list(made.problems))
        # The same specs while nothing changed in them: engines know them again.
        same = made.specs == self.tools.specs
        self.tools = replace(made, specs=self.tools.specs) if same else made

    # Calls

    async def call(
        self, tool: BoundTool, arguments: dict[str, Any], timeout_s: float
    ) -> types.CallToolResult:
        """Call a tool and return its answer as it came.

        Raises:
            DeadlineExceeded: it did not answer in time; the server is told that nobody waits any longer.
            LimitExceeded: too many calls wait for this server.
            Unavailable: the server is not there, and did not come back in time; the call was not sent.
            ToolError: the server refused the call, or died while it ran.
        """
        if self._waiting >= self._limits.tool_calls_waiting:
            raise LimitExceeded(
                f"{self._waiting:,} calls wait for the tool server {self.name} already.",
                hint="Send fewer at once.",
                limit="tool_calls_waiting",
            )
        seconds = min(timeout_s, self._limits.tool_call_s)
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds) as scope:
                return await self._call(tool, arguments)
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"{tool.spec.path} did not answer within {seconds:g} seconds.",
                hint="It may have happened all the same. Ask for less, or see whether the server is well.",
                limit="tool_call_s" if seconds == self._limits.tool_call_s else None,
            ) from None
        finally:
            self._waiting -= 1

    async def _call(self, tool: BoundTool, arguments: dict[str, Any]) -> types.CallToolResult:
        for attempt in (1, 2):
            client = await self._ready_client()
            try:
                return await self._request(client, tool, arguments)
            except MCPError as error:
                over = error.error.message == _SESSION_OVER
                gone = over or error.code == types.CONNECTION_CLOSED
                if over:
                    self._lost.set()
                # A session that the server does not know was refused before anything ran.
                if gone and attempt == 1 and (over or tool.spec.idempotent):
                    await self._left(client)
                    continue
                if error.code == NOT_SENT:
                    raise self._unavailable(self._clean(error.error.message)) from None
                raise self._refusal(tool, error, gone) from None
            except (ValidationError, ValueError, RuntimeError):
                raise ToolError(
                    f"{tool.spec.path}: the server's answer is not what the protocol asks for.",
                    hint="The server has a fault; use another tool.",
                ) from None
        raise AssertionError("unreachable")

    async def _left(self, client: Client) -> None:
        """Wait until the owner has let go of a client that is no good any longer."""
        while self._client is client and self.state == "ready":
            self._lost.set()
            await asyncio.sleep(0.01)

    async def _ready_client(self) -> Client:
        while True:
            if self._closing or self.config.reach is None:
                raise self._unavailable()
            if (client := self._client) is not None and not self._lost.is_set():
                return client
            if self.state == "failed":
                self._settled.clear()
                self._kick.set()
            elif self.state == "ready":
                await asyncio.sleep(0.01)  # the owner is about to notice
                continue
            await self._settled.wait()
            if self.state == "failed":
                raise self._unavailable()

    async def _request(
        self, client: Client, tool: BoundTool, arguments: dict[str, Any]
    ) -> types.CallToolResult:
        # A task of its own: telling a server that nobody waits may take seconds, which the caller does not have.
        task = asyncio.get_running_loop().create_task(self._exchange(client, tool, arguments))
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)
        task.add_done_callback(_seen)
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _is_cancelled():
                raise ToolError(
                    f"{tool.spec.path}: the connection was closed while the tool ran.",
                    hint="It may have happened. See whether it did before calling it again.",
                ) from None
            task.cancel()
            raise
        if isinstance(answer, types.InputRequiredResult):
            raise ToolError(
                f"{tool.spec.path} asks its user for something, which a program cannot answer.",
                hint="Give it all it needs as arguments.",
            )
        return answer

    async def _exchange(
        self, client: Client, tool: BoundTool, arguments: dict[str, Any]
    ) -> types.CallToolResult | types.InputRequiredResult:
        async with self._slots:
            # Not session.call_tool: that checks the answer against a schema of the server's, without a bound.
            params = types.CallToolRequestParams(name=tool.title, arguments=arguments)
            return await client.session.send_request(
                types.CallToolRequest(params=params),
                _Answer,
                request_read_timeout_seconds=self._limits.tool_call_s,
            )

    # Errors

    def _refusal(self, tool: BoundTool, error: MCPError, gone: bool) -> DuraliteError:
        said = self._clean(error.error.message)
        if gone:
            return ToolError(
                f"{tool.spec.path}: the connection to the server broke while the tool ran: {said}.",
                hint="It may have happened. See whether it did before calling it again.",
            )
        if error.code == types.REQUEST_TIMEOUT:
            return DeadlineExceeded(f"{tool.spec.path} did not answer in time.", limit="tool_call_s")
        return ToolError(
            f"{tool.spec.path}: {said}", hint=f'See what it takes with helpers.describe("{tool.spec.path}").'
        )

    def _unavailable(self, why: str | None = None) -> Unavailable:
        return Unavailable(
            f"The tool server {self.name} is not there: {why or self.error or 'It was disconnected.'}",
            hint="Nothing was sent. It is tried again by itself; list_servers tells how it is.",
        )

    def _why(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        match error:
            case _LostError():
                return "The server went away."
            case TimeoutError():
                return f"The server did not answer within {self._limits.tool_connect_s:g} seconds."
            case Unavailable() | Forbidden():
                return self._clean(error.message)
            case MCPError() if error.code in (types.CONNECTION_CLOSED, NOT_SENT):
                return f"The server ended, or was not reached: {self._clean(error.error.message)}"
            case MCPError():
                return f"The server refused: {self._clean(error.error.message)}"
            case ValidationError():
                return "The server's messages are not what the protocol asks for."
            case _:
                # Not its text: an exception of a stranger's making may hold anything.
                return f"The connection failed ({type(error).__name__})."

    def _clean(self, text: str) -> str:
        return clean_text(self.config.redactor.safe(text), _ERROR_BYTES)


def _is_cancelled() -> bool:
    """Tell whether somebody asked the present task to end, and not only a scope within it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of how a request ended that nobody waits for any longer."""
    if not task.cancelled():
        task.exception()
