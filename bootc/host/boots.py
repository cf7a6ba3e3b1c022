"""What the machine says of a boot that was not completed: the kernel's last words, and what systemd waits for."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from bootc.errors import BootcError
from bootc.machine import Command

PSTORES = (Path("/sys/fs/pstore"), Path("/var/lib/systemd/pstore"))
"""where a kernel's log from before a panic turns up after it, and where systemd-pstore.service moves it"""
_LIMIT = 1 << 20
_RECENT = 24 * 3600.0
_WORDS = re.compile(r"(Kernel panic - not syncing: .*|bootc: cannot mount the root .*)$", re.MULTILINE)
_SHOWN = 5
_OWN = "bootc-boot-late.service"
"""who asks"""


def last_words(stores: tuple[Path, ...] = PSTORES) -> str | None:
    """Why the kernel stopped in one of the last boots, if it could tell."""
    newest: tuple[float, str] | None = None
    for store in stores:
        for folder, _, names in os.walk(store):
            for name in names:
                found = _in_dump(Path(folder, name))
                newest = max(filter(None, (newest, found)), default=None)
    return newest[1] if newest else None


def waited_for(systemctl: str = "systemctl") -> str:
    """Units that failed, and jobs that are not done, as systemd names them."""
    parts = []
    failed = [words[0] for words in _lines(systemctl, "list-units", "--failed", "--plain", "--no-legend")]
    if failed:
        parts.append(f"failed: {_few(failed)}")
    jobs = [words[1] for words in _lines(systemctl, "list-jobs", "--no-legend") if words[-1] == "running"]
    waiting = [unit for unit in jobs if unit != _OWN]
    if waiting:
        parts.append(f"still waited for: {_few(waiting)}")
    return "; ".join(parts) or "boot-complete.target was not reached"


def _in_dump(path: Path) -> tuple[float, str] | None:
    """Time and last words of one dump, unless it is older than a day."""
    try:
        written = path.stat().st_mtime
        with path.open("rb") as file:
            text = file.read(_LIMIT).decode(errors="replace")
    except OSError:
        return None
    found = _WORDS.findall(text)
    return (written, found[-1].strip()) if found and time.time() - written < _RECENT else None


def _lines(*argv: str) -> list[list[str]]:
    try:
        text = Command(argv, "ask systemd what it waits for", timeout=20).run().text
    except BootcError:
        return []
    return [words for line in text.splitlines() if (words := line.split())]


def _few(names: list[str]) -> str:
    more = f" (and {len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
