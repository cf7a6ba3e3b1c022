"""The steps of a scenario are the system calls that the kernel saw: none is missing, and none is only told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign, ground
from tests.crash.kinds import KINDS
from tests.crash.machine import CrashMachine, Kind

pytestmark = pytest.mark.root

CALLS = {
    "fsync": "fsync",
    "fdatasync": "fsync",
    "syncfs": "syncfs",
    "mkdir": "mkdir",
    "mkdirat": "mkdir",
    "rename": "rename",
    "renameat": "rename",
    "renameat2": "rename",
    "link": "link",
    "linkat": "link",
    "symlink": "symlink",
    "symlinkat": "symlink",
    "mknod": "mknod",
    "mknodat": "mknod",
    "unlink": "unlink",
    "unlinkat": "unlink",
    "rmdir": "rmdir",
    "setxattr": "setxattr",
    "lsetxattr": "setxattr",
    "fsetxattr": "setxattr",
    "chown": "chown",
    "lchown": "chown",
    "fchownat": "chown",
    "fchown": "chown",
    "open": "create",
    "openat": "create",
}
_LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+)")


def run_scenario(index: int, folder: Path) -> None:
    """In a process of its own: upgrade the machine in this folder, and print its steps."""
    machine = CrashMachine(folder, KINDS[index])
    machine.is_running = True
    steps: list[str] = []
    machine.observer = lambda step: steps.append(step.name)
    os.write(1, b"begin\n")
    machine.stage("3")
    machine.shut_down()
    os.write(1, "".join(f"{name}\n" for name in steps).encode())


def seen_by_the_kernel(log: str, folder: Path) -> Counter[str]:
    """Calls below the folder that succeeded, in the words of steps."""
    found: Counter[str] = Counter()
    calls = _whole(log.partition('"begin')[2].splitlines())
    for name, arguments, result in (match.groups() for match in map(_LINE.match, calls) if match):
        is_below = str(folder) in arguments or '"/proc/self/fd/' in arguments
        if name not in CALLS or int(result) < 0 or not is_below:
            continue
        step = CALLS[name]
        if step == "create" and "O_CREAT" not in arguments:
            continue
        if "AT_REMOVEDIR" in arguments:
            step = "rmdir"
        found["exchange" if "RENAME_EXCHANGE" in arguments else step] += 1
    return found


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Calls without the number of their thread; strace shows one in two parts if another came between."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        elif call.startswith("<..."):
            yield begun.pop(thread, "") + call.partition("resumed>")[2]
        else:
            yield call


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_steps_are_the_system_calls(kind: Kind, tmp_path: Path) -> None:
    with ground() as folder:
        machine = Campaign.of(kind, folder).start.write(folder / "machine", kind)
        script = f"from pathlib import Path; from {__name__} import run_scenario as run; import sys; "
        script += f"run({KINDS.index(kind)}, Path(sys.argv[1]))"
        trace = ("-e", f"trace=write,{','.join(CALLS)}")
        strace = ("strace", "-f", "-y", "-s", "200", "-o", str(tmp_path / "log"), *trace)
        done = subprocess.run(
            [*strace, sys.executable, "-B", "-c", script, str(machine.folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        told = Counter(done.stdout.split())
        seen = seen_by_the_kernel((tmp_path / "log").read_text(errors="replace"), machine.folder)
    wanted = {name: count for name, count in told.items() if name in {*CALLS.values(), "exchange"}}
    assert wanted["fsync"] > 20
    assert dict(seen) == {**wanted, "unlink": seen["unlink"]}
    assert told["unlink"] >= seen["unlink"], "a step that removes what is not there, or a directory, fails"
