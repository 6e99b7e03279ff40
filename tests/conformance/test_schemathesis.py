"""schemathesis reads /openapi.json and tries to find an answer that the document does not promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

SHARES = 12
"""In how many tests the operations are looked at, so that they run side by side."""
ROOT = Path(__file__).resolve().parents[2]
SERVE = "import sys; from runtime.gateway.server import serve; from runtime.settings import Settings; sys.exit(serve(Settings()))"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service in a process of its own, as anybody would start it."""
    data = tmp_path_factory.mktemp("service") / "data"
    limits = {"DURALITE_LIMITS__CALL_S": "6", "DURALITE_LIMITS__RUN_WALL_S": "1"}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DURALITE_DATA": str(data),
        "DURALITE_PORT": "0",
        **limits,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=data.parent, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        ready = data / "server.json"
        while not ready.exists():
            assert process.poll() is None, "the service did not start"
            time.sleep(0.05)
        yield json.loads(ready.read_bytes())["url"]
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("share", range(SHARES))
def test_every_answer_is_one_that_the_document_promises(service: str, share: int) -> None:
    """All operations, with arguments that fit the document and with ones that do not."""
    schema = schemathesis.openapi.from_url(f"{service}/openapi.json")
    # A stream of events has no end to wait for; it has tests of its own.
    operations = [result.ok() for result in schema.exclude(path_regex="/events$").get_all_operations()]
    # A method that several actor types share is the same code behind each.
    operations = list({_shape(operation): operation for operation in operations}.values())
    assert len(operations) > 120
    found = []
    for operation in operations[share::SHARES]:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(operation, mode)
            except (Unsatisfiable, SkipTest):
                continue  # there is nothing to get wrong, or everything is right
            except BaseExceptionGroup as group:
                found += [f"{operation.label} ({mode.value}): {error}" for error in group.exceptions]
            except schemathesis.errors.SchemathesisError as error:
                found.append(f"{operation.label} ({mode.value}): {error}")
    assert not found, "\n\n".join(found)


def _shape(operation: Any) -> str:
    raw = {key: operation.definition.raw.get(key) for key in ("summary", "parameters", "requestBody")}
    tail = operation.path.split("/")[4:] if operation.path.startswith("/v1/") else operation.path
    return json.dumps([operation.method, tail, raw], sort_keys=True)


def _try(operation: Any, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    def check(case: schemathesis.Case) -> None:
        # What fits the document's types need not be good SQL, a table that exists, or an SQLite file.
        case.call_and_validate(timeout=30, excluded_checks=[positive_data_acceptance])

    check()
