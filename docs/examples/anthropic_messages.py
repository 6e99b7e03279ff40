"""A model of Anthropic runs code in a session, by the Messages API: `python anthropic_messages.py http://127.0.0.1:8484`."""

import sys

import httpx
from anthropic import Anthropic

from recorded_model import recorded


def main(url: str) -> None:
    model = Anthropic(api_key="none", http_client=recorded("anthropic_messages"))
    with httpx.Client(base_url=f"{url}/v1/session/chat-anthropic", timeout=60) as session:
        tools = session.post("/tools", json={"format": "anthropic"}).json()
        messages = [{"role": "user", "content": "Which of these sold most: tea 120, coffee 340, juice 75?"}]
        while True:
            turn = model.messages.create(
                model="claude-sonnet-5", max_tokens=2_000, messages=messages, tools=tools
            )
            messages.append({"role": "assistant", "content": [each.to_dict() for each in turn.content]})
            if turn.stop_reason != "tool_use":
                break
            results = []
            for call in (each for each in turn.content if each.type == "tool_use"):
                asked = {"code": call.input["code"], "inputs": call.input.get("inputs")}
                ran = session.post("/run", json=asked)
                failed = ran.is_error or ran.json()["status"] != "ok"
                results.append(
                    {"type": "tool_result", "tool_use_id": call.id, "content": ran.text, "is_error": failed}
                )
            messages.append({"role": "user", "content": results})
    print(turn.content[0].text)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484")
