"""`python -m tests.crash`: the long form of the campaign, on all processors. Prints the states and the violations."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.crash.campaign import Campaign, Thoroughness, ground
from tests.crash.kills import Update
from tests.crash.kinds import KINDS
from tests.crash.scenarios import SCENARIOS


def main() -> int:
    """Exit code 1 if there was a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--backend", help="only those whose names begin so")
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--width", type=int, default=8, help="how many losses to try at one moment")
    parser.add_argument("--every", type=int, default=1, help="try one of so many moments")
    parser.add_argument("--seed", type=int, default=0, help="chooses moments and losses")
    parser.add_argument("--kills", type=int, default=40, help="how often to kill the command on an opaque backend")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    _, problems = _crashes(wanted)
    if wanted.kills and wanted.backend in (None, "ostree"):
        with ground() as folder:
            report = Update.of("ostree", folder).killed(most=wanted.kills, seed=wanted.seed)
        problems += len(report.violations)
        print(f"{'ostree':30} {'switch, killed':22} {report}", flush=True)
    return 1 if problems else 0


def _crashes(wanted: argparse.Namespace) -> tuple[int, int]:
    """How many states were checked, and in how many something was wrong."""
    thorough = Thoroughness(wanted.width, wanted.every, wanted.seed, wanted.processes)
    began, total, problems = time.monotonic(), 0, 0
    for kind in KINDS:
        if not kind.name.startswith(wanted.backend or ""):
            continue
        with ground() as folder:
            campaign = Campaign.of(kind, folder)
            for scenario in SCENARIOS:
                if wanted.scenario in (None, scenario.name):
                    report = campaign.run(scenario, thorough)
                    total, problems = total + report.states, problems + len(report.violations)
                    print(f"{kind.name:30} {scenario.name:22} {report}", flush=True)
    print(f"{total} crash states, {problems} violations, {time.monotonic() - began:.0f} seconds")
    return total, problems


if __name__ == "__main__":
    sys.exit(main())
