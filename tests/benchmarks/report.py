"""The report: one line a figure, its ratios to the limits of the same run, its goals, met or missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .bench import Bench
from .figures import Figure

__all__ = ("line", "plan", "summary")

_NOISY_CORES = 0.2


def plan(bench: Bench, machine: Mapping[str, Any]) -> str:
    """Return what is about to be measured, and where."""
    pinned = (
        f"servers on core {bench.server_core}, client on core {bench.client_core}"
        if bench.server_core is not None
        else "one core only: servers and client share it, and the figures say little"
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
        f"SQLite {machine['sqlite']}\n"
        f"{pinned}; medians of {bench.rounds} samples taken in turn, {bench.seconds:g} s each; "
        "ratios are medians over pairs\n"
        f"{'figure':<30}{'case':<42}{'value':>13}  ratios and goals"
    )


def line(figure: Figure) -> str:
    """Return one line of the report."""
    ratios = [f"{ratio:.2f} × {side} ({_number(value)})" for side, (value, ratio) in figure.limits.items()]
    goals = []
    for goal in figure.goals:
        got = figure.reached(goal)
        goals.append(f"[{goal}: {'not measured' if got is None else 'met' if got[1] else 'MISSED'}]")
    noisy = [f"(noisy: {figure.noise:.1f} cores of others)"] if figure.noise > _NOISY_CORES else []
    value = f"{_number(figure.value)} {figure.unit}"
    return f"{figure.name:<30}{figure.case:<42}{value:>13}  {'  '.join((*ratios, *goals, *noisy))}".rstrip()


def summary(figures: Sequence[Figure], facts: Mapping[str, Any], kept: Path) -> str:
    """Return how many goals are met, which are missed, and where the whole result lies."""
    judged = [(f, goal, got) for f in figures for goal in f.goals if (got := f.reached(goal)) is not None]
    missed = [f"  missed: {f.name}, {f.case}: {got[0]:.3g} ({goal})" for f, goal, got in judged if not got[1]]
    noisy = sum(f.noise > _NOISY_CORES for f in figures)
    lines = [f"{len(judged) - len(missed)} of {len(judged)} goals met in {facts['took_s']} s.", *missed]
    if noisy:
        lines.append(
            f"{noisy} figures were taken while others used the machine; the ratios bear it, the values do not."
        )
    return "\n".join([*lines, f"All of it, with latencies and CPU per request: {kept}"])


def _number(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
