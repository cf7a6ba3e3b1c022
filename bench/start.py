"""CPU time (user and system) of commands that people wait for, beside a Python that does nothing; medians.

usage: bench/start.py [--runs N] [--sysroot PATH]     1 if one passes the limit, or imports what it does not use
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

LIMIT = 0.25
"""seconds"""
NOTHING = ("-c", "pass")
HEAVY = ("gi", "requests", "rich", "yaml", "zstandard", "isal")


def cpu_seconds(words: Sequence[str]) -> float:
    """What one run of Python costs; it must succeed."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"python {' '.join(words)} failed")
    return usage.ru_utime + usage.ru_stime


def heavy_imports(words: Sequence[str]) -> list[str]:
    """The heavy libraries that one run imports."""
    argv = [sys.executable, "-X", "importtime", *words]
    told = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True).stderr
    names = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    return [name for name in HEAVY if name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all commands in turn, so that what else happens on the machine hits them alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--sysroot", help="an installed system, for the status of one")
    given = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Where bootc is installed its modules are compiled.
    bootc = ("-m", "bootc", *(("--sysroot", given.sysroot) if given.sysroot else ()))
    allowed = {"gi"} if given.sysroot else set[str]()
    commands: dict[tuple[str, ...], set[str]] = {
        NOTHING: set(),
        (*bootc, "--help"): set(),
        (*bootc, "status", "--json"): allowed,
        (*bootc, "status", "--format", "humanreadable"): allowed,
    }
    times: dict[tuple[str, ...], list[float]] = {words: [] for words in commands}
    for _ in range(given.runs):
        for words, measured in times.items():
            measured.append(cpu_seconds(words))
    floor, is_bad = statistics.median(times[NOTHING]), False
    for words, measured in times.items():
        median = statistics.median(measured)
        surplus = [name for name in heavy_imports(words) if name not in commands[words]]
        is_bad |= median > LIMIT or bool(surplus)
        note = f"   imports {', '.join(surplus)}" if surplus else ""
        print(f"python {' '.join(words):<60} {median:.3f} s   {median / floor:4.1f} x nothing{note}")
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
