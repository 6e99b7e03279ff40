"""`sql`: pure builders of SQL text and bound values, handed to user code beside `db`.

A builder returns a `Query(sql, params)`, which `db.query` takes as it is; no builder touches a database.
Every name is quoted, every value bound, and the text runs on SQLite 3.40 and under the guard. A table may
be a Query itself, so builders nest: `sql.count_by(sql.join(…), "country")`. camelCase spellings work too.

The package imports the standard library and itself alone: the sandbox loads the folder by its path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._counts import count_by, distinct_values, duplicates, null_analysis
from ._numbers import correlation, group_stats, histogram, moving_average, percentile, statistics
from ._periods import cohort, temporal
from ._query import Query, quote_identifier
from ._rows import join, pivot, sample, search, top_n

__all__ = (
    "BUILDERS",
    "Query",
    "cohort",
    "correlation",
    "count_by",
    "distinct_values",
    "duplicates",
    "group_stats",
    "histogram",
    "join",
    "moving_average",
    "null_analysis",
    "percentile",
    "pivot",
    "quote_identifier",
    "sample",
    "search",
    "statistics",
    "temporal",
    "top_n",
)

BUILDERS: tuple[Callable[..., Query], ...] = (
    count_by,
    top_n,
    group_stats,
    temporal,
    statistics,
    distinct_values,
    histogram,
    percentile,
    search,
    pivot,
    join,
    null_analysis,
    duplicates,
    correlation,
    moving_average,
    sample,
    cohort,
)
"""All builders, in the order in which stubs and docs show them."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_ALIASES = {_camel(name): name for name in __all__ if "_" in name}


def __getattr__(name: str) -> Any:
    """Resolve the camelCase spellings (`countBy`)."""
    if name in _ALIASES:
        return globals()[_ALIASES[name]]
    known = ", ".join(builder.__name__ for builder in BUILDERS)
    raise AttributeError(f"sql has no builder {name!r}; the builders are {known}.")


def __dir__() -> list[str]:
    """List the public names, not the modules that they come from."""
    return sorted({*__all__, *_ALIASES})
