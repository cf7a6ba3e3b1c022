"""Running the command as users do: a process of its own, its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen


@frozen
class Run:
    """How it ended."""

    code: int
    out: str
    err: str


def bootc(
    *words: str, env: Mapping[str, str] | None = None, python: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()
) -> Run:
    """Run `bootc WORDS` without a terminal."""
    done = subprocess.run(
        [sys.executable, *python, "-m", "bootc", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "BOOTC_DEBUG": "", **(env or {})},
        pass_fds=pass_fds,
        timeout=60,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def add_distribution(folder: Path, name: str, entry_point: str, code: str) -> None:
    """Make a distribution with one plugin importable from `folder`: `name`-1.0, with a module `name`."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[bootc]\n{entry_point} = {name}\n")
    (folder / f"{name}.py").write_text(code)
