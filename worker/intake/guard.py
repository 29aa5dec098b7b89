"""Which addresses the worker may fetch from: the guard against requests forged by way of a URL (SSRF).

Two gates. `UrlPolicy` looks at every URL, those of redirects included. `guarded_socket` looks at the very address that
is about to be connected, so literals, DNS answers and names that change their answer between look-ups all pass it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

from aiohttp import AddrInfoType
from yarl import URL

from worker.events import DeadLetterReason
from worker.intake.refusal import ImageRefusedError

_WEB_PORTS = frozenset({80, 443})
_UNICAST = ipaddress.IPv6Network("2000::/3")
_FORBIDDEN = tuple(
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24",  # protocol assignments, and the metadata service of one cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a public number that another cloud answers from inside the host
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "3fff::/20",  # documentation
    )
)


class ForbiddenAddressError(OSError):
    """The address is not on the public internet. An OSError, so that a host's other addresses are still tried."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is not an address on the public internet")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is globally routable unicast and carries no other address that is not.

    Stricter than `ipaddress.is_global`, which lets multicast, NAT64 (64:ff9b::/96), 6to4, IPv4-compatible addresses and
    some of the IANA special-purpose registries pass.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST:
            return False
    if not address.is_global or address.is_multicast:
        return False
    return not any(address in block for block in _FORBIDDEN if block.version == address.version)


def guarded_socket(info: AddrInfoType) -> socket.socket:
    """A socket for a public address: the `socket_factory` of an aiohttp connector.

    Raises:
        ForbiddenAddressError: the address that would be connected is not public.
    """
    family, kind, protocol, _, address = info
    host = str(address[0])
    if family not in {socket.AF_INET, socket.AF_INET6} or not is_public(ipaddress.ip_address(host)):
        raise ForbiddenAddressError(host)
    return socket.socket(family, kind, protocol)


class UrlPolicy:
    """Which URLs may be fetched at all.

    Args:
        allowed_hosts: host names, exact or `*.example.com` for every name below it; `*` is any host. None: no URL.
        any_port: lift the restriction to ports 80 and 443, for tests and closed networks.

    Raises:
        ValueError: one of the hosts is not a host name.
    """

    def __init__(self, allowed_hosts: Iterable[str], *, any_port: bool = False) -> None:
        self._any_port = any_port
        self._exact: set[str] = set()
        self._suffixes: list[str] = []
        for entry in allowed_hosts:
            if entry == "*":
                self._suffixes.append("")
            elif entry.startswith("*."):
                self._suffixes.append(f".{_canonical(entry[2:])}")
            else:
                self._exact.add(_canonical(entry))

    def check(self, url: str, base: URL | None = None) -> URL:
        """The URL, parsed, and completed where it is relative to a base: what is fetched is this, never the text again.

        Raises:
            ImageRefusedError: it may not be fetched.
        """
        try:
            # Quoting again what is quoted already would break signatures over the text of a URL.
            parsed = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
            if base is not None:
                parsed = base.join(parsed)
            host, port, secrets = parsed.raw_host, parsed.port, (parsed.raw_user, parsed.raw_password)
        except ValueError as error:
            raise _forbidden(f"not a URL: {error}") from error
        if parsed.scheme not in {"http", "https"} or host is None:
            raise _forbidden(f"only http and https URLs with a host are fetched, not {parsed.scheme or 'no scheme'!r}")
        if secrets != (None, None):
            raise _forbidden("a URL with a user name or password in it is not fetched")
        if not self._any_port and port not in _WEB_PORTS:
            raise _forbidden(f"port {port} of {host} is not fetched from, only 80 and 443")
        name = host.lower().removesuffix(".")
        if name not in self._exact and not any(name.endswith(suffix) for suffix in self._suffixes):
            raise _forbidden(f"the host {host} is not in TIDEGATE_INTAKE_ALLOWED_HOSTS")
        return parsed


def _canonical(name: str) -> str:
    """A host name as URLs spell it: lower case, internationalised names in ASCII."""
    try:
        host = URL.build(scheme="https", host=name.lower().removesuffix(".")).raw_host
    except ValueError:
        host = None
    if not host or "*" in host:
        raise ValueError(
            f"TIDEGATE_INTAKE_ALLOWED_HOSTS: {name!r} is not a host name; write cdn.example.com or *.example.com"
        )
    return host


def _forbidden(detail: str) -> ImageRefusedError:
    return ImageRefusedError(DeadLetterReason.ADDRESS_FORBIDDEN, detail)
