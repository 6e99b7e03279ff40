"""The answers of a model, recorded: a transport in place of the network, so that the examples run anywhere.

With a key of your own leave `http_client=` out of the examples, and the model itself answers.
"""

import json
from pathlib import Path

import httpx2  # what the openai and anthropic packages send with

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> httpx2.Client:
    """Return a client that answers each request with the next recorded turn."""
    turns = iter(json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8")))

    def answer(request: httpx2.Request) -> httpx2.Response:
        turn = next(turns)
        sent = json.loads(request.content)
        # What the model would need is there: the tool, and the result of each call it made.
        assert "run_code" in json.dumps(sent["tools"])
        assert all(wanted in json.dumps(sent) for wanted in turn["needs"]), sent
        return httpx2.Response(200, json=turn["answer"])

    return httpx2.Client(transport=httpx2.MockTransport(answer))
