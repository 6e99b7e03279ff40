"""Who may ask: keys, scopes, owners; and what a browser, a proxy or a rebound name may not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.gateway.app import create_app
from runtime.gateway.testing import LiveServer, live_server
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.testing import ManualClock

A = "/v1/notes/a"


async def _key(live: LiveServer, **wanted: Any) -> dict[str, str]:
    key, _ = await live.gateway.parts.accounts.create_key(**wanted)
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def strict(tmp_path: Path, clock: ManualClock, notes: Any) -> AsyncIterator[LiveServer]:
    async with live_server(tmp_path / "strict", notes, clock=clock, auth="required") as server:
        yield server


@contextlib.asynccontextmanager
async def _client(
    live: LiveServer, headers: dict[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=20) as http:
        yield http


async def test_without_a_key_nothing_but_health_and_docs_is_answered(strict: LiveServer) -> None:
    async with _client(strict) as http:
        for path in (
            "/v1",
            "/v1/notes",
            A,
            f"{A}/tables",
            f"{A}/events",
            "/v1/keys",
            "/v1/nosuch",
            "/metrics",
        ):
            answer = await http.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "unauthorized"
        for path in ("/healthz", "/readyz", "/version", "/openapi.json", "/docs", "/docs/errors"):
            assert (await http.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer dl_000000000000_" + "0" * 64},
        {"authorization": "Bearer"},
        {"authorization": "Bearer x"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": ""},
        {"x-api-key": "nonsense"},
        {"x-api-key": ""},
        {"authorization": "Bearer dl_' OR 1=1 --"},
    ],
)
async def test_a_bad_key_is_refused_even_where_none_is_needed(
    live: LiveServer, headers: dict[str, str]
) -> None:
    async with _client(live, headers) as http:
        assert (await http.get("/v1")).status_code == 401


async def test_a_good_key_is_taken_from_either_header(strict: LiveServer) -> None:
    header = await _key(strict)
    async with _client(strict) as http:
        for given in (
            header,
            {"x-api-key": header["authorization"][7:]},
            {"authorization": "bearer  " + header["authorization"][7:]},
        ):
            for _ in range(2):
                assert (await http.post(f"{A}/add", json={"text": "x"}, headers=given)).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["read"], {"read"}),
        (["write"], {"write"}),
        (["run"], {"run"}),
        (["read", "write"], {"read", "write"}),
        (["admin"], {"read", "write", "run", "admin"}),
    ],
)
async def test_a_key_does_what_its_scopes_say(
    strict: LiveServer, scopes: list[str], allowed: set[str]
) -> None:
    owner = await _key(strict, scopes=["read", "write"])
    async with _client(strict, await _key(strict, scopes=scopes)) as http:
        calls = [
            ("read", http.build_request("GET", f"{A}/tables")),
            ("read", http.build_request("GET", "/v1/notes")),
            ("read", http.build_request("GET", A)),
            ("read", http.build_request("POST", f"{A}/query", json={"sql": "SELECT 1"})),
            ("write", http.build_request("POST", f"{A}/add", json={"text": "x"})),
            ("run", http.build_request("POST", f"{A}/run", json={"code": "1"})),
            ("run", http.build_request("POST", "/v1/run", json={"code": "1"})),
            ("admin", http.build_request("GET", "/v1/keys")),
            ("admin", http.build_request("POST", "/v1/keys", json={})),
            ("admin", http.build_request("GET", "/metrics")),
            ("write", http.build_request("DELETE", A)),
        ]
        for scope, request in calls:
            await http.post(f"{A}/add", json={"text": "x"}, headers=owner)
            answer = await http.send(request)
            assert (answer.status_code in (200, 201, 204)) is (scope in allowed), (request.url, answer.text)
            if scope not in allowed:
                assert answer.status_code == 403
                assert answer.json()["scope"] == scope


async def test_another_account_gets_the_answers_of_a_session_that_does_not_exist(strict: LiveServer) -> None:
    async with (
        _client(strict, await _key(strict, account="alice")) as alice,
        _client(strict, await _key(strict, account="bob")) as bob,
    ):
        await alice.post("/v1/notes/secret/add", json={"text": "mine"})
        for method, path in (
            ("GET", "/v1/notes/{}"),
            ("DELETE", "/v1/notes/{}"),
            ("GET", "/v1/notes/{}/tables"),
            ("GET", "/v1/notes/{}/events"),
            ("GET", "/v1/notes?q={}"),
        ):
            seen = []
            for name in ("secret", "absent"):
                answer = await bob.request(method, path.format(name))
                body = {k: v for k, v in answer.json().items() if k not in ("instance", "request_id")}
                headers = sorted(k for k in answer.headers)
                seen.append((answer.status_code, body, headers))
            assert seen[0] == seen[1], path
        # The same name is an actor of his own.
        assert (await bob.post("/v1/notes/secret/add", json={"text": "his"})).json() == {"lines": 1}
        assert (await alice.post("/v1/notes/secret/add", json={"text": "mine"})).json() == {"lines": 2}
        assert (await bob.get("/v1/notes/secret")).json()["id"] != (
            await alice.get("/v1/notes/secret")
        ).json()["id"]


async def test_a_revoked_key_fails_with_its_next_request(strict: LiveServer) -> None:
    admin = await _key(strict, scopes=["admin"])
    async with _client(strict) as http:
        made = (await http.post("/v1/keys", json={"label": "ci", "account": "bob"}, headers=admin)).json()
        assert made["key"].startswith(f"dl_{made['id']}_")
        header = {"x-api-key": made["key"]}
        assert (await http.get("/v1", headers=header)).status_code == 200
        answer = await http.delete(f"/v1/keys/{made['id']}", headers=admin)
        assert answer.json() == {"revoked": True, "was_revoked": False}
        assert (await http.get("/v1", headers=header)).status_code == 401
        again = await http.delete(f"/v1/keys/{made['id']}", headers=admin)
        assert again.json() == {"revoked": True, "was_revoked": True}


async def test_a_key_ends_with_its_life(strict: LiveServer, clock: ManualClock) -> None:
    header = await _key(strict, expires_s=60)
    async with _client(strict, header) as http:
        assert (await http.get("/v1")).status_code == 200
        await clock.advance(61)
        assert (await http.get("/v1")).status_code == 401


async def test_keys_are_listed_in_pages_without_their_secrets(strict: LiveServer) -> None:
    async with _client(strict, await _key(strict, scopes=["admin"])) as http:
        secrets = {(await http.post("/v1/keys", json={"account": "bob"})).json()["key"] for _ in range(5)}
        url: str | None = "/v1/keys?account=bob&limit=2"
        found = []
        while url is not None:
            page = await http.get(url)
            assert not any(secret[16:] in page.text for secret in secrets)
            found += page.json()["items"]
            url = page.json()["next_url"]
        assert len(found) == 5
        assert {item["account"] for item in found} == {"bob"}


@pytest.mark.parametrize(
    "body",
    [{"scopes": []}, {"scopes": ["root"]}, {"scopes": "read"}, {"account": ""}, {"account": "a b"}, {"account": "x" * 65},
     {"expires_s": 0}, {"expires_s": -1}, {"expires_s": 1e300}, {"label": "x" * 201}, {"label": "\n"}, {"nosuch": 1}, []],
)  # fmt: skip
async def test_a_key_that_cannot_be_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["hint"]


async def test_the_file_holds_no_secret(live: LiveServer, tmp_path: Path) -> None:
    header = await _key(live)
    await live.host.directory.connection.run(
        lambda tx: tx.execute("PRAGMA wal_checkpoint(TRUNCATE)") and None, read_only=True
    )
    secret = header["authorization"].rpartition("_")[2].encode()
    for file in (tmp_path / "data").glob("directory.sqlite*"):
        assert secret not in file.read_bytes()


async def test_keys_and_deletions_are_written_down(live: LiveServer) -> None:
    async with _client(live) as http:
        made = (await http.post("/v1/keys", json={})).json()
        await http.delete(f"/v1/keys/{made['id']}")
        await http.post(f"{A}/add", json={"text": "x"})
        await http.delete(A)
    rows = await live.host.directory.connection.run(
        lambda tx: tx.all("SELECT action, target FROM audit ORDER BY id"), read_only=True
    )
    assert rows == [("key.create", made["id"]), ("key.revoke", made["id"]), ("actor.delete", "notes/a")]


async def test_the_last_use_of_a_key_is_noted(live: LiveServer) -> None:
    async with _client(live, await _key(live)) as http:
        await http.get("/v1")
    (record,) = await live.gateway.parts.accounts.list_keys()
    assert record.last_used == live.host.clock.now()


# Browsers, proxies, names


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://localhost.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_foreign_page_is_not_the_local_owner(live: LiveServer, headers: dict[str, str]) -> None:
    async with _client(live) as http:
        assert (await http.post(f"{A}/add", json={"text": "x"})).status_code == 200
        answer = await http.post(f"{A}/add", json={"text": "x"}, headers=headers)
        assert answer.status_code == 403, answer.text
        assert "access-control-allow-origin" not in answer.headers


async def test_the_services_own_page_is_the_local_owner(live: LiveServer) -> None:
    async with _client(live) as http:
        for headers in ({"origin": live.url}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            assert (await http.get("/v1", headers=headers)).status_code == 200


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip", "via"])
async def test_what_comes_through_a_proxy_needs_a_key(live: LiveServer, header: str) -> None:
    async with _client(live) as http:
        assert (await http.get("/v1", headers={header: "127.0.0.1"})).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "[::2]",
        "",
        "localhost@evil.example",
        "2130706433",
    ],
)
async def test_a_rebound_name_is_misdirected(live: LiveServer, host: str) -> None:
    async with _client(live) as http:
        answer = await http.get("/v1", headers={"host": host})
        assert answer.status_code == 421, answer.text
        assert answer.json()["code"] == "misdirected_request"
        assert (await http.get("/docs", headers={"host": host})).status_code == 421
        assert (await http.get("/healthz", headers={"host": host})).status_code == 200


async def test_loopback_names_are_answered(live: LiveServer) -> None:
    async with _client(live) as http:
        for host in ("localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8484", "[::1]"):
            assert (await http.get("/v1", headers={"host": host})).status_code == 200, host


async def test_the_operator_says_which_hosts_are_answered(tmp_path: Path, notes: Any) -> None:
    async with live_server(tmp_path, notes, allowed_hosts=("Db.example",)) as live, _client(live) as http:
        assert (await http.get("/v1", headers={"host": "db.EXAMPLE:443"})).status_code == 200
        assert (await http.get("/v1")).status_code == 421


async def test_cors_is_closed_unless_an_origin_is_named(tmp_path: Path, notes: Any) -> None:
    page = "https://app.example"
    preflight = {"origin": page, "access-control-request-method": "POST"}
    async with live_server(tmp_path / "a", notes) as live, _client(live) as http:
        answer = await http.options(f"{A}/add", headers=preflight)
        assert answer.status_code in (403, 405)
        assert "access-control-allow-origin" not in answer.headers
    async with live_server(tmp_path / "b", notes, cors_origins=(page,)) as live, _client(live) as http:
        answer = await http.options(f"{A}/add", headers=preflight)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == page
        answer = await http.post(f"{A}/add", json={"text": "x"}, headers={"origin": page})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        other = await http.post(f"{A}/add", json={"text": "x"}, headers={"origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


async def test_a_public_bind_has_no_local_owner(tmp_path: Path, notes: Any) -> None:
    """Even a request from loopback needs a key there, and metrics are not shown."""
    settings = Settings(data=tmp_path, bind="0.0.0.0")
    app = create_app(settings, registry=Registry([notes]))
    await app.start()
    try:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            assert (await http.get("/v1")).status_code == 401
            assert (await http.get("/metrics")).status_code == 404
    finally:
        await app.stop()


async def test_a_peer_that_is_not_on_loopback_needs_a_key(tmp_path: Path, notes: Any) -> None:
    app = create_app(Settings(data=tmp_path), registry=Registry([notes]))
    await app.start()
    try:
        for peer, status in (("127.0.0.1", 200), ("127.8.9.1", 200), ("::1", 200), ("10.0.0.5", 401)):
            transport = httpx.ASGITransport(app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                assert (await http.get("/v1")).status_code == status
    finally:
        await app.stop()


# Rates


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path, notes: Any) -> None:
    clock = ManualClock()
    limits = {"rate_per_s": 2.0, "rate_burst": 3}
    async with live_server(tmp_path, notes, clock=clock, limits=limits) as live, _client(live) as http:
        other = await _key(live, account="bob")
        left = [(await http.get("/v1")).headers["ratelimit"] for _ in range(3)]
        assert left == ['"default";r=2;t=0', '"default";r=1;t=0', '"default";r=0;t=1']
        for _ in range(2):
            refused = await http.post(f"{A}/add", json={"text": "x"})
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["ratelimit-policy"] == '"default";q=3;w=2'
            assert refused.json()["limit"] == "rate_per_s"
        assert (await http.get("/v1", headers=other)).status_code == 200
        assert (await http.get("/healthz")).status_code == 200
        await clock.advance(0.5)
        assert (await http.post(f"{A}/add", json={"text": "x"})).status_code == 200
        assert (await http.post(f"{A}/add", json={"text": "x"})).status_code == 429


async def test_revoking_while_a_request_checks_the_key_leaves_no_grant_behind(live: LiveServer) -> None:
    accounts = live.gateway.parts.accounts
    key, record = await accounts.create_key()
    await asyncio.gather(accounts.authenticate(key.encode()), accounts.revoke_key(record.id))
    assert accounts.known(key.encode()) is None
    assert await accounts.authenticate(key.encode()) is None
