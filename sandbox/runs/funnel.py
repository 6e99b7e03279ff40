"""The funnel is the one door from a program to the world: each helper call of a run goes through `Funnel.call`.

Only methods that are declared as helpers can be reached; their arguments are checked like those of any other
caller, and what they did is counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helpers.api import db_helpers
from runtime.actor import Actor
from runtime.context import CallContext
from runtime.errors import DuraliteError, NotFound
from runtime.instance import Instance
from runtime.method import MethodSpec
from sandbox.engine import Encoded, HelperSpec
from sandbox.runs.result import CALLS_LISTED, RunCall

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("Funnel", "helpers_of")


@dataclass(slots=True)
class Funnel:
    """The host's side of one run (`sandbox.engine.Host`)."""

    host: Host
    instance: Instance
    specs: dict[str, MethodSpec]
    context: CallContext
    calls: list[RunCall] = field(default_factory=list)
    writes: int = 0

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Serve one helper call."""
        spec = self.specs.get(name)
        if spec is None:
            known = ", ".join(sorted(self.specs))
            raise NotFound(f"There is no helper {name!r:.80}.", hint=f"Helpers: {known}.")
        started = time.perf_counter()
        call = RunCall(name, 0.0)
        if len(self.calls) < CALLS_LISTED:
            self.calls.append(call)
        try:
            bound = spec.bind_call(args, kwargs)
            if spec.helper == "rows":
                bound["row_format"] = "arrays"
            answer = await self.host.call(self.instance.address, spec, bound, self.context, wire=True)
            if not spec.read_only:
                self.writes += 1
            return Encoded(answer)
        except DuraliteError as error:
            call.error = f"{type(error).__name__}: {error.message}"[:300]
            raise
        finally:
            call.ms = round((time.perf_counter() - started) * 1e3, 3)

    def output(self, stream: str, text: str) -> None:
        """Take printed text; the outcome carries it whole, so nothing is done here."""


_Helpers = tuple[tuple[HelperSpec, ...], dict[str, MethodSpec]]


def helpers_of(actor_type: type[Actor]) -> _Helpers:
    """Return what code sees of a type, and the methods behind it. The same objects each time: engines know them again."""
    found: _Helpers | None = vars(actor_type).get("_code_helpers")
    if found is None:
        helpers = tuple(db_helpers(actor_type.methods.values()))
        found = helpers, {helper.path: actor_type.methods[helper.name] for helper in helpers}
        setattr(actor_type, "_code_helpers", found)  # noqa: B010 - a cache on the class, not part of its interface
    return found
