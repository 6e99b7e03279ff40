"""Every example in the documentation runs: files as programs, blocks of pages in the order in which they stand.

`python` is a program, `python sandbox [SESSION]` a run in a session, `sh` a shell beside a running service. What is
not meant to run says so by its language: `text`, `json`, `toml`, `ini`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted((DOCS / "tutorial").glob("*.md")),
    *sorted((DOCS / "how-to").glob("*.md")),
]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {"text", "json", "toml", "ini"}
DEFAULT_URL = "http://127.0.0.1:8484"


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DURALITE_", "PYTHON"))}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@dataclass(frozen=True)
class Service:
    """A running service, and the folder that commands of a reader run in."""

    url: str
    folder: Path

    def forget(self) -> None:
        """Delete all sessions: a reader may open any page first."""
        for item in httpx.get(f"{self.url}/v1/session").json()["items"]:
            httpx.delete(f"{self.url}/v1/session/{item['name']}").raise_for_status()

    def run(self, session: str, code: str) -> None:
        answer = httpx.post(f"{self.url}/v1/session/{session}/run", json={"code": code}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "ok", answer.text

    def shell(self, script: str) -> None:
        script = script.replace(DEFAULT_URL, self.url)
        parse_only = ("-n",) if "curl " in script and shutil.which("curl") is None else ()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", *parse_only, "-c", script],
            cwd=self.folder,
            env=environment(PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a service on a free port."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "bin").mkdir()
    script(folder / "bin" / "duralite", f'exec "{sys.executable}" -m runtime "$@"')
    if found := shutil.which("curl"):
        # A page shows curl as one types it; here an error of the service must not pass for an answer.
        script(folder / "bin" / "curl", f'exec "{found}" --fail --noproxy "*" "$@"')
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime", "serve", "--port", "0"],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )
    marker = folder / ".duralite" / "server.json"
    until = time.monotonic() + 60
    while not marker.exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.05)
    yield Service(str(orjson.loads(marker.read_bytes())["url"]), folder)
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def blocks(page: Path) -> list[tuple[list[str], str]]:
    return [(info.split(), body) for info, body in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page: Path, service: Service, tmp_path: Path) -> None:
    service.forget()
    for info, body in blocks(page):
        match info:
            case ["python"]:
                done = python("-c", body, folder=tmp_path)
                assert done.returncode == 0, f"{body}\n{done.stderr}"
            case ["python", "sandbox", *session]:
                service.run(session[0] if session else page.stem, body)
            case ["sh"]:
                service.shell(body)
            case [shown]:
                assert shown in SHOWN
            case _:
                pytest.fail(f"a block without a language, or with an unknown one: {info}")


@pytest.mark.parametrize("name", ["embed", "own_actor", "tool_loop"])
def test_the_example_runs_by_itself(name: str, tmp_path: Path) -> None:
    done = python(str(DOCS / "examples" / f"{name}.py"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_example_of_a_client_runs_against_a_service(service: Service, tmp_path: Path) -> None:
    done = python(str(DOCS / "examples" / "http_client.py"), service.url, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok 500000.0"


@pytest.mark.parametrize("name", ["openai_responses", "openai_chat", "anthropic_messages"])
def test_a_model_mends_its_program_through_its_own_client_library(
    name: str, service: Service, tmp_path: Path
) -> None:
    """The real library, a real service; the model's turns are recorded, its first program has a mistake."""
    done = python(str(DOCS / "examples" / f"{name}.py"), service.url, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Coffee sold most: 340 of 535."


def test_every_example_is_listed_and_tested() -> None:
    listed = (DOCS / "examples" / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (DOCS / "examples").iterdir() if path.suffix in (".py", ".csv")}
    assert all(f"`{name}`" in listed for name in names)
    tested = {
        "embed.py",
        "own_actor.py",
        "tool_loop.py",
        "http_client.py",
        "openai_responses.py",
        "openai_chat.py",
        "anthropic_messages.py",
        "recorded_model.py",
        "penguins_program.py",
        "penguins.csv",
    }
    assert names == tested
