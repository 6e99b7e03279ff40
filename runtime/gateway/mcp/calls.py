"""A tool call is one method of one actor: arguments are checked before anything runs, and every error is an answer.

Here is the MCP edge, where any exception of a call ends: what is foreseen becomes a tool error that says what to do,
and what is not becomes `internal_error` with a request id, its trace in the log and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from mcp_types import CallToolResult

from runtime.accounts import Grant
from runtime.context import CallContext
from runtime.errors import DuraliteError, GuardRefused, InputError, InternalError
from runtime.gateway.bodies import bind_json
from runtime.gateway.calls import missing_scope
from runtime.gateway.mcp.answers import answered, failed, protocol_error
from runtime.gateway.mcp.files import download_link, downloaded, uploaded
from runtime.gateway.mcp.progress import JobFollower, Report
from runtime.gateway.mcp.tools import ToolEntry
from runtime.host import Host
from runtime.ids import ActorAddress, check_name, new_token
from runtime.streams import Download
from runtime.values import dumps, loads

__all__ = ("Caller", "Counts", "ToolCalls")

_log = structlog.get_logger("duralite.mcp")


class Counts(Protocol):
    """What is counted of calls (`runtime.gateway.metrics.Metrics`)."""

    def refused(self, rule: str) -> None:
        """Count a refusal by the guard."""

    def ran(self, answer: bytes) -> None:
        """Count a run of user code by the answer of `run`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how the answer goes back.

    `base` is the URL of the service as the client sees it, None where there is no HTTP. `report` tells progress,
    None where the client did not ask for it.
    """

    grant: Grant
    request_id: str | None = None
    base: str | None = None
    report: Report | None = None


class ToolCalls:
    """Carries out tool calls."""

    def __init__(self, host: Host, counts: Counts | None) -> None:
        self._host = host
        self._counts = counts
        self._most = host.settings.limits.mcp_result_bytes
        self.follower = JobFollower(host)

    async def call(self, entry: ToolEntry, given: Mapping[str, Any], caller: Caller) -> CallToolResult:
        """Call a tool; what goes wrong is in the result.

        Raises:
            MCPError: the key lacks the scope.
        """
        if entry.spec.scope not in caller.grant.scopes:
            raise protocol_error(missing_scope(entry.spec.scope))
        try:
            return await self._call(entry, dict(given), caller)
        except DuraliteError as error:
            if self._counts is not None and isinstance(error, GuardRefused):
                self._counts.refused(error.rule)
            return failed(error)
        except Exception as error:  # the MCP edge: nothing unforeseen may leave as it is
            request_id = caller.request_id or new_token(8)
            _log.error("mcp.failed", request_id=request_id, tool=entry.name, exc_info=error)
            internal = InternalError(
                "The service failed in a way that was not foreseen.",
                hint=f"Report it with the request id {request_id}; the service's log has the details.",
            )
            return failed(internal, request_id)

    async def _call(self, entry: ToolEntry, given: dict[str, Any], caller: Caller) -> CallToolResult:
        _check_json(given)
        name = _actor_name(entry, given)
        spec = entry.spec
        optional = {parameter.name for parameter in spec.parameters if not parameter.required}
        # Models send null for what they leave out.
        given = {key: value for key, value in given.items() if value is not None or key not in optional}
        if entry.upload is not None and entry.upload in given:
            async with uploaded(self._host.settings, given[entry.upload], entry.upload) as upload:
                kwargs = spec.bind({**given, entry.upload: upload})
                return await self._carry_out(entry, name, kwargs, given, caller)
        kwargs = bind_json(spec, given)
        return await self._carry_out(entry, name, kwargs, given, caller)

    async def _carry_out(
        self, entry: ToolEntry, name: str, kwargs: dict[str, Any], given: dict[str, Any], caller: Caller
    ) -> CallToolResult:
        account = caller.grant.account
        address = ActorAddress(entry.type_name, account, name)
        deadline = time.monotonic() + self._host.settings.limits.call_s
        context = CallContext(account, deadline, (), caller.request_id, caller.grant.scopes)
        follows = entry.starts_job and caller.report is not None
        since = self.follower.position(address) if follows else ""
        answer = await self._host.call(address, entry.spec, kwargs, context, wire=True)
        if isinstance(answer, Download):
            link = download_link(caller.base, entry, name, given)
            return await downloaded(answer, link, self._most)
        if entry.spec.scope == "run" and self._counts is not None:
            self._counts.ran(answer)
        if follows and caller.report is not None:
            value = loads(answer)
            if _is_running_job(value):
                answer = dumps(await self.follower.follow(address, value, since, caller.report))
        return answered(entry, answer, self._most)


def _check_json(given: dict[str, Any]) -> None:
    """Refuse values that JSON readers of other edges refuse, so that no edge lets in more than another.

    Raises:
        InputError: an integer beyond 64 bits, text that is not Unicode, or nesting without end.
    """
    try:
        dumps(given)
    except TypeError as error:
        raise InputError(
            f"The arguments are not plain JSON: {error}.",
            hint="Send integers beyond 64 bits as text, text as Unicode, and no deep nesting.",
        ) from None


def _actor_name(entry: ToolEntry, given: dict[str, Any]) -> str:
    """Take the actor's name out of the arguments.

    Raises:
        InputError: it is missing, or no name.
    """
    name = given.pop(entry.argument, None)
    if name is None:
        name = entry.default
    if not isinstance(name, str):
        reason = "this field is required" if name is None else "text is needed"
        raise InputError(
            f"{entry.name}: {entry.argument}: {reason}.",
            hint=f"Name the {entry.type_name}, as {entry.argument}.",
            errors=[{"path": entry.argument, "reason": reason}],
        )
    return check_name(name)


def _is_running_job(value: Any) -> bool:
    return isinstance(value, dict) and value.get("state") == "running" and {"id", "kind"} <= value.keys()
