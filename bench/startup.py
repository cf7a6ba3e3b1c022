"""CPU time (user and system) of commands that people wait for, each run in a process of its own; seconds, best of N."""

from __future__ import annotations

import os
import subprocess
import sys

COMMANDS = (("--help",), ("--version",), ("status", "--json"), ("status", "--format", "humanreadable"))
LIMIT = 0.25


def cpu_seconds(words: tuple[str, ...]) -> float:
    """What one run costs."""
    process = subprocess.Popen([sys.executable, "-m", "bootc", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bootc {' '.join(words)} failed")
    return usage.ru_utime + usage.ru_stime


def main(runs: int = 10) -> int:
    """Print a line per command; 1 if one is over the limit."""
    best = {words: min(cpu_seconds(words) for _ in range(runs)) for words in COMMANDS}
    for words, seconds in best.items():
        print(f"bootc {' '.join(words):<32} {seconds:.3f} s (limit {LIMIT} s)")
    return int(any(seconds > LIMIT for seconds in best.values()))


if __name__ == "__main__":
    sys.exit(main())
