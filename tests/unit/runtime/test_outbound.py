"""The hosts that the service may connect to on a caller's word."""

from __future__ import annotations

import ipaddress

import pytest

from runtime.errors import Forbidden, InputError, Unavailable
from runtime.outbound import AllowedHosts, check_url, is_public

ENTRIES = (
    "api.example.com",
    "*.tools.example.com",
    "10.1.0.0/16",
    "192.0.2.7:8080",
    "[::1]:9000",
    "localhost",
)
HOSTS = AllowedHosts(ENTRIES, "some_hosts")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/mcp",
        "https://API.example.com.:444/",
        "http://a.tools.example.com/",
        "http://a.b.tools.example.com:81/",
        "http://10.1.2.3/",
        "http://192.0.2.7:8080/x",
        "http://[::1]:9000/",
        "http://localhost:1234/",
    ],
)
def test_what_an_entry_names_is_allowed(url: str) -> None:
    assert HOSTS.check(url).scheme in ("http", "https")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://tools.example.com/",
        "https://eviltools.example.com/",
        "https://api.example.com.evil.example/",
        "http://10.2.0.1/",
        "http://192.0.2.7/",
        "http://[::1]/",
        "http://127.0.0.1/",
        "http://0x7f.1/",
        "http://2130706433/",
    ],
)
def test_what_no_entry_names_is_refused_with_the_setting(url: str) -> None:
    with pytest.raises(Forbidden) as caught:
        HOSTS.check(url)
    assert "some_hosts" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url",
    ["", "/x", "file:///etc/passwd", "http://", "http://a b/", "http://a/\t", "http://u@a/", "http://:p@a/", "http://a:99999/",
     "http://a:0/", "http://[::1/", "http://a/" + "x" * 3_000, "http://\u00e4/"],
)  # fmt: skip
def test_what_is_no_url_of_a_host_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check_url(url)


@pytest.mark.parametrize("entry", ["", "a b", "*", "a.*", "host:0", "host:x", "http://host", "10.0.0.1/8"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(InputError, match="some_hosts"):
        AllowedHosts((entry,), "some_hosts")


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
    ],
)
def test_private_addresses_are_seen_also_when_they_are_wrapped(text: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) is public


async def test_an_allowed_name_may_not_lead_to_an_address_that_nobody_named() -> None:
    assert await HOSTS.addresses("10.1.2.3", 80) == ["10.1.2.3"]
    assert "127.0.0.1" in await HOSTS.addresses("localhost", 80)
    careful = AllowedHosts(("*.localhost", "127.0.0.1:1"), "some_hosts")
    for host, port in (("localhost", 80), ("127.0.0.1", 2), ("169.254.169.254", 80)):
        with pytest.raises(Forbidden, match="no public address"):
            await careful.addresses(host, port)
    assert await careful.addresses("127.0.0.1", 1) == ["127.0.0.1"]
    with pytest.raises(Unavailable, match="not known"):
        await careful.addresses("no-such-host.invalid", 80)
