"""A staging file is bounded, and what reached the bound is told from a full disk."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path

import pytest

from runtime.errors import LimitExceeded
from runtime.tabular.staging import Staging


@pytest.mark.parametrize("most", [1 << 20, 24 << 20], ids=["in memory yet", "on the disk"])
def test_a_file_that_reaches_its_bound_names_the_limit_and_is_removed(tmp_path: Path, most: int) -> None:
    path = tmp_path / "staging.sqlite"
    cells = [["x" * 1_000] * 1_000]
    with pytest.raises(LimitExceeded, match=f"more than {most:,} bytes") as refused, Staging(path, 1, most=most) as staging:  # fmt: skip
        for _ in repeat(None, 1_000):
            staging.add(cells, 1_000)
    assert refused.value.limit == "max_file_bytes"
    assert list(tmp_path.iterdir()) == []
