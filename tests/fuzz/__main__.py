"""Fuzz one target after the other, each in a process of its own.

usage: python -m tests.fuzz [--seconds N] [TARGET ...]      1 if something was found; see tests/fuzz/found
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import suppress

from tests.fuzz.targets import FOUND, TARGETS, found


def main() -> int:
    """One line for each target; libFuzzer's own words only where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=600, help="for each target; default: %(default)s")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failed = [name for name in given.targets or TARGETS if not _passes(name, given.seconds)]
    return int(bool(failed))


def _passes(name: str, seconds: int) -> bool:
    before = set(found(name))
    argv = [sys.executable, "-m", "tests.fuzz.run", name, str(seconds)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    with suppress(OSError):
        (FOUND / name).rmdir()
    if done.returncode == 0:
        said = [line for line in done.stdout.splitlines() if "number_of_executed_units" in line or "inputs, by" in line]
        print(f"{name}: nothing found in {seconds} s; {' '.join(said)}", flush=True)
        return True
    print("\n".join(line for line in done.stdout.splitlines() if not line.startswith("INFO: "))[-20_000:])
    kept = ", ".join(str(path.relative_to(FOUND.parents[2])) for path in sorted(set(found(name)) - before))
    print(f"{name}: failed with {done.returncode}; kept: {kept or 'nothing'}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
