"""A figure is what was measured, beside the limits that were measured with it.

Samples are taken in turn (A, B, A, B, …) and compared pair by pair, so that what else the machine does falls on
both sides alike. A figure says its targets and whether they are met; nothing fails because one is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ("Figure", "Goal", "Noise", "Pairs", "in_turn")

_TICK = os.sysconf("SC_CLK_TCK")
_NOISY_CORES = 0.2


@dataclass(frozen=True, slots=True)
class Goal:
    """A target: the figure over that of `against` (or the plain value, without), at least or at most `bound`."""

    bound: float
    against: str | None = None
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Tell whether a ratio or value reaches it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g} × {self.against}" if self.against else f"{sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. `limits` holds the other side's median and the median of the pairs' ratios."""

    name: str
    case: str
    unit: str
    value: float
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    goals: Sequence[Goal] = ()
    noise: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def reached(self, goal: Goal) -> tuple[float, bool] | None:
        """Return the value that a goal judges and whether it is met; None if its limit was not measured."""
        if goal.against is None:
            return self.value, goal.met(self.value)
        if goal.against not in self.limits:
            return None
        ratio = self.limits[goal.against][1]
        return ratio, goal.met(ratio)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "case": self.case,
            "unit": self.unit,
            "value": self.value,
            "limits": {k: {"value": v, "ratio": r} for k, (v, r) in self.limits.items()},
            "goals": [
                {"goal": str(g), "met": None if (got := self.reached(g)) is None else got[1]}
                for g in self.goals
            ],
            "noise_cores": round(self.noise, 3),
            **({"facts": dict(self.facts)} if self.facts else {}),
        }


class Noise:
    """CPU that neither this process nor the measured servers used, in cores, since it was made."""

    def __init__(self, servers_cpu: Callable[[], float]) -> None:
        self._servers_cpu = servers_cpu
        self._begin = self._read()

    def cores(self) -> float:
        """Return the noise so far."""
        wall, busy = (now - then for now, then in zip(self._read(), self._begin, strict=True))
        return max(0.0, busy / wall)

    def _read(self) -> tuple[float, float]:
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        user, nice, system, _idle, _wait, irq, soft, stolen = fields
        mine = sum(os.times()[:4])
        busy = (user + nice + system + irq + soft + stolen) / _TICK
        return time.perf_counter(), busy - mine - self._servers_cpu()


@dataclass(slots=True)
class Pairs:
    """Values of several sides, sampled in turn."""

    values: dict[str, list[float]]
    noise: float
    facts: dict[str, Any]

    def figure(
        self, name: str, case: str, unit: str, goals: Sequence[Goal] = (), *, ours: str = "ours"
    ) -> Figure:
        """Return the figure of one side, with its ratio to every other."""
        mine = self.values[ours]
        limits = {
            side: (median(theirs), median(a / b for a, b in zip(mine, theirs, strict=True)))
            for side, theirs in self.values.items()
            if side != ours
        }
        return Figure(name, case, unit, median(mine), limits, goals, self.noise, self.facts)


def in_turn(
    rounds: int,
    sides: Mapping[str, Callable[[], tuple[float, Mapping[str, Any]]]],
    servers_cpu: Callable[[], float],
    *,
    retries: int = 1,
) -> Pairs:
    """Sample every side once a round; a round that others disturbed is taken again, `retries` times in all."""
    values: dict[str, list[float]] = {side: [] for side in sides}
    facts: dict[str, list[Mapping[str, Any]]] = {side: [] for side in sides}
    noises: list[float] = []
    while len(noises) < rounds:
        noise = Noise(servers_cpu)
        taken = {side: sample() for side, sample in sides.items()}
        cores = noise.cores()
        if cores > _NOISY_CORES and retries > 0:
            retries -= 1
            continue
        noises.append(cores)
        for side, (value, more) in taken.items():
            values[side].append(value)
            facts[side].append(more)
    medians = {
        side: {key: median(more[key] for more in taken) for key in taken[0]}
        for side, taken in facts.items()
        if taken[0]
    }
    return Pairs(values, median(noises), medians)
