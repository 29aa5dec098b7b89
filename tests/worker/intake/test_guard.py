"""No URL leads to an address that is not on the public internet."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.events import DeadLetterReason
from worker.intake.guard import ForbiddenAddressError, UrlPolicy, guarded_socket, is_public
from worker.intake.refusal import ImageRefusedError

FORBIDDEN = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.1.2.3 168.63.129.16 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.8 192.0.0.9 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1
    fec0::1 ff02::1 ff0e::1
"""
PUBLIC = (
    "1.1.1.1 8.8.8.8 93.184.215.14 172.32.0.1 ::ffff:8.8.8.8 2606:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888"
)


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_a_special_address_is_forbidden(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_more_public(inner: ipaddress.IPv4Address) -> None:
    assert is_public(ipaddress.IPv6Address(f"::ffff:{inner}")) == is_public(inner)
    for carrier in (f"::{inner}", f"64:ff9b::{inner}", f"2002:{int(inner) >> 16:x}:{int(inner) & 0xFFFF:x}::1"):
        assert not is_public(ipaddress.IPv6Address(carrier))


@given(st.ip_addresses())
def test_nothing_public_is_private_to_python(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not any((address.is_multicast, address.is_loopback, address.is_link_local, address.is_private))


def test_no_socket_is_made_for_a_forbidden_address() -> None:
    with pytest.raises(ForbiddenAddressError, match=r"169\.254\.169\.254"):
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("169.254.169.254", 80)))
    with pytest.raises(ForbiddenAddressError, match="fe80::1"):
        guarded_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("fe80::1%2", 80, 0, 2)))
    with guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))) as made:
        assert made.family is socket.AF_INET


POLICY = UrlPolicy(["cdn.example.com", "*.Example.NET.", "bücher.example", "192.0.2.1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/a.jpg",
        "http://CDN.example.COM:80/a.jpg",
        "https://cdn.example.com./a.jpg",
        "https://a.example.net:443/",
        "https://a.b.example.net/?u=http://127.0.0.1/",
        "https://bücher.example/ä.png",
        "https://xn--bcher-kva.example/",
        "http://192.0.2.1/",
    ],
)
def test_an_allowed_host_passes(url: str) -> None:
    POLICY.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cdn.example.com/a.jpg",
        "//cdn.example.com/a.jpg",
        "http:///a.jpg",
        "http://",
        "ftp://cdn.example.com/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http+unix://cdn.example.com/",
        "https://evil.com/",
        "https://example.net/",
        "https://notexample.net/",
        "https://cdn.example.com.evil.com/",
        "https://cdn.example.com@evil.com/",
        "https://cdn.example.com:80@evil.com/",
        "https://evil.com#@cdn.example.com/",
        "https://evil.com?@cdn.example.com/",
        "https://evil.com\\@cdn.example.com/",
        "https://cdn.example.com%00.evil.com/",
        "https://user:secret@cdn.example.com/",
        "https://user@cdn.example.com/",
        "https://:secret@cdn.example.com/",
        "https://cdn.example.com:8080/",
        "https://cdn.example.com:22/",
        "https://cdn.example.com:0/",
        "https://cdn.example.com:99999/",
        "http://[::1]/",
        "http://[::1",
        "http://127.0.0.1/",
        "http://2130706433/",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ImageRefusedError) as refused:
        POLICY.check(url)
    assert refused.value.reason is DeadLetterReason.ADDRESS_FORBIDDEN


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://cdn.example.com{text}", f"https://{text}.example.net/"):
        try:
            parsed = POLICY.check(url)
        except ImageRefusedError:
            continue
        host = (parsed.raw_host or "").rstrip(".").lower()
        assert host in {"cdn.example.com", "xn--bcher-kva.example", "192.0.2.1"} or host.endswith(".example.net")


def test_an_empty_list_refuses_all_and_a_star_takes_any_host_on_web_ports() -> None:
    with pytest.raises(ImageRefusedError, match="TIDEGATE_INTAKE_ALLOWED_HOSTS"):
        UrlPolicy([]).check("https://cdn.example.com/")
    anywhere = UrlPolicy(["*"])
    anywhere.check("https://anything.example.org/")
    with pytest.raises(ImageRefusedError, match="port 8080"):
        anywhere.check("https://anything.example.org:8080/")


@pytest.mark.parametrize("entry", ["", "*.", "*x.com", "http://x.com", "x.com/a", "x.com:80", "a b", "x@y", "*.*.com"])
def test_a_host_that_is_none_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="TIDEGATE_INTAKE_ALLOWED_HOSTS"):
        UrlPolicy([entry])
