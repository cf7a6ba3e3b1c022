"""Addresses that servers and files name, and what of them may be told."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit

_ADDRESS = re.compile(r"[\x21-\x7e]{1,16384}")


def authority(address: str) -> str:
    """HOST[:PORT], without the user and the password that may stand before it."""
    return urlsplit(address).netloc.rpartition("@")[2]


def redirected(address: str, location: str) -> SplitResult | None:
    """Where the header Location of an answer from `address` leads, without its user; None if that is nowhere."""
    try:
        parts = urlsplit(urljoin(urlsplit(address)._replace(netloc=authority(address)).geturl(), location))
        is_possible = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    return parts if is_possible and parts.scheme in ("http", "https") and _ADDRESS.fullmatch(location) else None
