"""How dates and JSON are spelled in what describes an image."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

_TIME = r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d:\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"


def parse_time(text: str) -> datetime | None:
    """RFC 3339 to a datetime; None if the text is no such date. Digits beyond microseconds are dropped."""
    match = re.fullmatch(_TIME, text, re.ASCII)
    if match is None:
        return None
    date, time, fraction, zone = match.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{fraction[:7]}{zone.upper().replace('Z', '+00:00')}")
        moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or a time that is in no year in UTC
        return None
    return moment


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces, as the status document and ostree's container store write it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
