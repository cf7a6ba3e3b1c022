"""Which proxy leads to an address: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as podman and curl read them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

_PORTS = {"http": 80, "https": 443}


def proxies_for(address: str) -> Mapping[str, str]:
    """By scheme, or by `all`; empty if NO_PROXY excepts the host."""
    found = dict(getproxies_environment())
    excepted = found.pop("no", "")
    parts = urlsplit(address)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return {} if is_excepted(parts.hostname or "", port, excepted) else found


def is_excepted(host: str, port: int, excepted: str) -> bool:
    """Whether a list like `*`, `10.0.0.0/8`, `[::1]:5000`, `example.com` (with all below it) names the host.

    An address stands without brackets in `host`.
    """
    return any(_names(entry.lower(), host.lower(), port) for entry in excepted.replace(",", " ").split())


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return _names_host(entry, host, port)
    return _is_address(host) and ipaddress.ip_address(host) in network


def _names_host(entry: str, host: str, port: int) -> bool:
    try:
        parts = urlsplit(f"//{entry}")
        name, only = parts.hostname or "", parts.port
    except ValueError:
        return False
    name = name.removeprefix("*").removeprefix(".")
    is_below = host.endswith(f".{name}") and not _is_address(host)
    return only in (None, port) and bool(name) and (host == name or is_below)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
