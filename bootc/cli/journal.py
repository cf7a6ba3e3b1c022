"""Milestones in the journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from bootc.events import Event, Milestone

SOCKET = Path("/run/systemd/journal/socket")
_NOTICE = "5"


class Journal:
    """Writes each milestone as one entry. A machine without a journal loses nothing else."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path

    def __call__(self, event: Event) -> None:
        if isinstance(event, Milestone):
            fields = {f"BOOTC_{name.upper()}": value for name, value in event.fields.items()}
            self._send({"MESSAGE_ID": event.kind.value, "MESSAGE": event.message, **fields})

    def close(self) -> None:
        """Nothing is open."""

    def _send(self, fields: Mapping[str, str]) -> None:
        entry = {**fields, "PRIORITY": _NOTICE, "SYSLOG_IDENTIFIER": "bootc"}
        data = b"".join(_field(name, value.encode()) for name, value in entry.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(data, os.fspath(self._path))
            except OSError:
                return


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
