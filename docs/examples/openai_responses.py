"""A model of OpenAI runs code in a session, by the Responses API: `python openai_responses.py http://127.0.0.1:8484`."""

import json
import sys

import httpx
from openai import OpenAI

from recorded_model import recorded


def main(url: str) -> None:
    model = OpenAI(api_key="none", http_client=recorded("openai_responses"))
    with httpx.Client(base_url=f"{url}/v1/session/chat-openai", timeout=60) as session:
        tools = session.post("/tools", json={"format": "openai"}).json()
        messages = [{"role": "user", "content": "Which of these sold most: tea 120, coffee 340, juice 75?"}]
        while True:
            turn = model.responses.create(model="gpt-5.5", input=messages, tools=tools)
            messages += [item.model_dump(mode="json", exclude_none=True) for item in turn.output]
            calls = [item for item in turn.output if item.type == "function_call"]
            if not calls:
                break
            for call in calls:
                asked = json.loads(call.arguments)
                ran = session.post("/run", json={"code": asked["code"], "inputs": asked.get("inputs")})
                messages.append({"type": "function_call_output", "call_id": call.call_id, "output": ran.text})
    print(turn.output_text)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484")
