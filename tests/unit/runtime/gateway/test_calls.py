"""Calls over HTTP: names, arguments, formats, tags, deadlines, request ids."""

from __future__ import annotations

import httpx
import pytest

from runtime.gateway.testing import LiveServer

A = "/v1/notes/a"


async def _table(client: httpx.AsyncClient, rows: int = 3) -> None:
    await client.post(f"{A}/create_table", json={"name": "t", "schema": {"n": "INTEGER", "s": "TEXT"}})
    records = [{"n": i, "s": f"row {i}"} for i in range(rows)]
    answer = await client.post(f"{A}/batch_insert", json={"table": "t", "records": records})
    assert answer.status_code == 200, answer.text


async def test_a_call_answers_as_the_session_protocol_says(client: httpx.AsyncClient) -> None:
    await _table(client)
    answer = await client.post(f"{A}/query", json={"sql": "SELECT * FROM t WHERE n = ?", "params": [1]})
    body = answer.json()
    assert body.pop("duration_ms") >= 0
    assert body == {
        "columns": ["n", "s"],
        "rows": [{"n": 1, "s": "row 1"}],
        "row_count": 1,
        "truncated": False,
        "limit": None,
    }


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc/passwd", "ü ✓", "%2F", "?q#f", "a" * 1024, ".", "..", "\u202e", "keys"]
)
async def test_a_name_may_be_any_text(client: httpx.AsyncClient, live: LiveServer, name: str) -> None:
    path = "/v1/notes/" + "".join(f"%{byte:02X}" for byte in name.encode())
    for _ in range(2):
        answer = await client.post(f"{path}/add", json={"text": "x"})
        assert answer.status_code == 200, answer.text
    listed = (await client.get("/v1/notes")).json()["items"]
    assert [item["name"] for item in listed] == [name]
    assert (await client.get(path)).json()["name"] == name
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_reads_answer_get_and_do_not_make_an_actor(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/notes/nobody/tables")
    assert missing.status_code == 404
    assert missing.json()["code"] == "actor_not_found"
    assert (await client.get("/v1/notes")).json()["items"] == []
    await _table(client)
    answer = await client.get(
        f"{A}/query", params={"sql": "SELECT * FROM t WHERE n > ?", "params": "[1]", "limit": "1"}
    )
    assert answer.json()["rows"] == [{"n": 2, "s": "row 2"}]


async def test_a_text_argument_in_a_url_stays_text(client: httpx.AsyncClient) -> None:
    await client.post(f"{A}/save_state", json={"key": "12", "value": [1]})
    assert (await client.get(f"{A}/get_state", params={"key": "12"})).json() == {"value": [1], "found": True}


async def test_a_whole_number_may_be_written_as_a_float(client: httpx.AsyncClient) -> None:
    """JSON has one kind of number; 2.0 is the integer 2, and 2.5 is none."""
    answer = await client.post(f"{A}/query", json={"sql": "SELECT 1 UNION SELECT 2", "limit": 1.0})
    assert answer.json()["row_count"] == 1
    assert (await client.post(f"{A}/query", json={"sql": "SELECT 1", "limit": 1.5})).status_code == 422


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    await _table(client)
    answer = await client.head(f"{A}/query", params={"sql": "SELECT * FROM t"})
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize(
    ("accept", "query", "media"),
    [
        ("text/csv", "", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "", "application/x-ndjson"),
        ("application/json", "?format=csv", "text/csv; charset=utf-8"),
        ("*/*", "?format=ndjson", "application/x-ndjson"),
        ("text/csv;q=0.5, application/json", "", "application/json"),
        ("text/html", "", "application/json"),
        ("text/csv;q=nonsense", "", "application/json"),
    ],
)
async def test_rows_leave_in_the_format_that_was_asked_for(
    client: httpx.AsyncClient, accept: str, query: str, media: str
) -> None:
    await _table(client)
    answer = await client.post(
        f"{A}/query{query}", json={"sql": "SELECT n, s FROM t"}, headers={"accept": accept}
    )
    assert answer.headers["content-type"] == media
    if "csv" in media:
        assert answer.text == "n,s\r\n0,row 0\r\n1,row 1\r\n2,row 2\r\n"
    elif "ndjson" in media:
        assert answer.text.splitlines()[0] == '{"n":0,"s":"row 0"}'


async def test_a_cut_csv_says_so(client: httpx.AsyncClient) -> None:
    await _table(client)
    answer = await client.post(f"{A}/query?format=csv", json={"sql": "SELECT n FROM t", "limit": 2})
    assert answer.headers["x-truncated"] == "limit"
    assert answer.text == "n\r\n0\r\n1\r\n"


async def test_an_unknown_format_or_url_parameter_is_refused(client: httpx.AsyncClient) -> None:
    for query in ("format=xml", "sql=SELECT"):
        answer = await client.post(f"{A}/query?{query}", json={"sql": "SELECT 1"})
        assert answer.status_code == 422
        assert answer.json()["hint"]


async def test_a_tag_holds_until_something_is_written(client: httpx.AsyncClient) -> None:
    await _table(client)
    url = f"{A}/query?sql=SELECT+count(*)+AS+n+FROM+t"
    tag = (await client.get(url)).headers["etag"]
    again = await client.get(url, headers={"if-none-match": f'"other", {tag}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == tag
    await client.post(f"{A}/exec", json={"sql": "DELETE FROM t WHERE n = 0"})
    fresh = await client.get(url, headers={"if-none-match": tag})
    assert fresh.status_code == 200
    assert fresh.json()["rows"] == [{"n": 2}]
    assert fresh.headers["etag"] != tag


async def test_a_tag_is_not_fooled_by_an_answer_that_changes_without_a_write(
    client: httpx.AsyncClient,
) -> None:
    await _table(client)
    url = f"{A}/query?sql=SELECT+random()"
    tag = (await client.get(url)).headers["etag"]
    assert (await client.get(url, headers={"if-none-match": tag})).status_code == 200


async def test_a_request_id_is_echoed_if_it_is_decent(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 129, "a{b}"):
        answer = await client.get("/nothing", headers={"x-request-id": bad})
        assert answer.headers["x-request-id"] not in (bad, "")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_caller_can_shorten_the_deadline(client: httpx.AsyncClient) -> None:
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    answer = await client.post(f"{A}/query", json={"sql": endless}, headers={"x-request-timeout": "0.1"})
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"
    assert (await client.post(f"{A}/query", json={"sql": "SELECT 1"})).status_code == 200


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x", ""])
async def test_a_deadline_that_is_none_is_refused(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.post(f"{A}/query", json={"sql": "SELECT 1"}, headers={"x-request-timeout": value})
    assert answer.status_code == 422, answer.text
    assert answer.json()["limit"] == "call_s"


async def test_code_without_a_session_runs_in_the_default_one(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/run", json={"code": "1"})
    assert answer.json() == {"status": "ok", "value": "1", "session": "default-session"}
    named = await client.post("/v1/run", json={"code": "1", "session": "b/c"})
    assert named.json()["session"] == "b/c"
    assert (await client.get("/v1/run")).status_code == 405
    assert (await client.post("/v1/run", json={"code": "1", "session": 5})).status_code == 422
    assert (await client.post("/v1/run", json=[])).status_code == 422


async def test_a_method_that_is_not_there_is_told_with_the_nearest(client: httpx.AsyncClient) -> None:
    problem = (await client.post(f"{A}/qurey", json={})).json()
    assert problem["code"] == "method_not_found"
    assert problem["hint"].startswith("Did you mean query? Methods: ")


async def test_a_hidden_method_is_not_there(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{A}/hidden", json={})
    assert answer.status_code == 404
    assert answer.json()["code"] == "method_not_found"


async def test_the_unforeseen_becomes_an_internal_error_that_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{A}/add_then_break", json={"text": "x", "fail": True})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text
    assert (await client.post(f"{A}/add", json={"text": "y"})).json() == {"lines": 1}
    assert (await client.get(f"{A}/broken")).status_code == 500


async def test_many_calls_of_one_connection_come_back_in_order(live: LiveServer) -> None:
    """Pipelined requests are answered one after the other."""
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    for i in range(20):
        body = b'{"text":"%d"}' % i
        writer.write(
            b"POST /v1/notes/a/add HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
    for i in range(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert await reader.readexactly(length) == b'{"lines":%d}' % (i + 1)
    writer.close()
    await writer.wait_closed()
