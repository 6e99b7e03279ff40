"""A model runs code in a session, by Chat Completions, which many services speak: `python openai_chat.py http://127.0.0.1:8484`."""

import json
import sys

import httpx
from openai import OpenAI

from recorded_model import recorded


def main(url: str) -> None:
    model = OpenAI(api_key="none", http_client=recorded("openai_chat"))
    with httpx.Client(base_url=f"{url}/v1/session/chat-completions", timeout=60) as session:
        tools = session.post("/tools", json={"format": "openai-chat"}).json()
        messages = [{"role": "user", "content": "Which of these sold most: tea 120, coffee 340, juice 75?"}]
        while True:
            turn = model.chat.completions.create(model="gpt-5.5", messages=messages, tools=tools).choices[0]
            messages.append(turn.message.model_dump(mode="json", exclude_none=True))
            if turn.finish_reason != "tool_calls":
                break
            for call in turn.message.tool_calls:
                asked = json.loads(call.function.arguments)
                ran = session.post("/run", json={"code": asked["code"], "inputs": asked.get("inputs")})
                messages.append({"role": "tool", "tool_call_id": call.id, "content": ran.text})
    print(turn.message.content)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484")
