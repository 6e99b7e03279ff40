"""The guard: what strangers' SQL may do, and how it is kept to that.

Read `policy` first (what is allowed), then `guard` (the order of the layers).
"""

from __future__ import annotations

from runtime.guard.authorizer import internal
from runtime.guard.budget import Finding, engine_findings, temp_bytes
from runtime.guard.guard import Guard
from runtime.guard.policy import READ_ONLY, SESSION, Access, Policy, SqlLimits, Verdict, narrowed
from runtime.guard.rules import RULES, Rule, rules

__all__ = (
    "READ_ONLY",
    "RULES",
    "SESSION",
    "Access",
    "Finding",
    "Guard",
    "Policy",
    "Rule",
    "SqlLimits",
    "Verdict",
    "engine_findings",
    "internal",
    "narrowed",
    "rules",
    "temp_bytes",
)
