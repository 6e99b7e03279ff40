"""A session over HTTP, with nothing but httpx: `python http_client.py http://127.0.0.1:8484`."""

import sys

import httpx


def main(url: str) -> None:
    with httpx.Client(base_url=f"{url}/v1/session/chat-42") as chat:

        def call(method: str, **arguments: object) -> dict[str, object]:
            answer = chat.post(f"/{method}", json=arguments)
            if answer.is_error:
                problem = answer.json()
                raise SystemExit(f"{problem['detail']} {problem.get('hint', '')}")
            return answer.json()

        call("create_table", name="cities", schema={"name": "TEXT PRIMARY KEY", "people": "INTEGER"})
        records = [{"name": "Oslo", "people": 709_000}, {"name": "Bergen", "people": 291_000}]
        print(call("batch_insert", table="cities", records=records, on_conflict="replace"))
        print(call("query", sql="SELECT name FROM cities WHERE people > ?", params=[500_000])["rows"])
        result = call("run", code="db.query(sql.statistics('cities', 'people'))[0]['mean']")
        print(result["status"], result["value"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8484")
