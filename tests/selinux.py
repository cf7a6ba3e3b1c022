"""A real SELinux policy's file contexts, and libselinux's own answers, for the tests of the labels.

Debian's packages are downloaded once with `apt-get download` and unpacked into a cache directory; nothing is installed.
"""

from __future__ import annotations

import bz2
import itertools
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = ("selinux-policy-default", "selinux-utils")
_PACKAGE_MAGIC, _CONTEXTS_MAGIC = 0xF97CFF8F, 0xF97CFF90
KINDS = ("file", "dir", "lnk_file", "chr_file", "blk_file", "sock_file", "pipe")


def unpacked() -> Path:
    """The packages' files, from the cache if they are there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pybootc-tests"
    if not (cache / "selinux").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run(["apt-get", "download", *_PACKAGES], cwd=folder, check=True, capture_output=True)
            for package in sorted(Path(folder).glob("*.deb")):
                subprocess.run(["dpkg", "-x", package, f"{folder}/selinux"], check=True)
            Path(folder, "selinux").rename(cache / "selinux")
    return cache / "selinux"


def module_contexts() -> list[str]:
    """The lines of all modules of the policy, as `semodule` would put them into one file, least specific first."""
    lines: list[str] = []
    for module in sorted(unpacked().glob("usr/share/selinux/default/*.pp.bz2")):
        lines += _contexts(bz2.decompress(module.read_bytes()))
    homes = (re.sub("^HOME_DIR", "/home/[^/]+", re.sub("^HOME_ROOT", "/home", line)) for line in lines)
    return sorted(homes, key=_weight)


def _contexts(package: bytes) -> list[str]:
    """The section with file contexts of a policy package: header, number of sections, their offsets; little endian."""
    magic, _, count = struct.unpack_from("<III", package)
    assert magic == _PACKAGE_MAGIC
    offsets = [*struct.unpack_from(f"<{count}I", package, 12), len(package)]
    for start, end in itertools.pairwise(offsets):
        if struct.unpack_from("<I", package, start)[0] == _CONTEXTS_MAGIC:
            lines = package[start + 4 : end].decode().splitlines()
            return [line for line in lines if line.strip() and not line.startswith("#")]
    return []


def _weight(line: str) -> tuple[bool, int, int, bool]:
    regex, *rest = line.split()
    special = re.search(r"[.^$?*+|\[({]", regex.replace("\\.", "x"))
    stem = special.start() if special else len(regex)
    return (not special, stem, len(regex), len(rest) > 1)


def libselinux_labels(contexts: Path, kind: str, paths: Sequence[str | bytes]) -> list[str | None]:
    """What `matchpathcon` of libselinux says of paths that are all of this kind; `contexts` may have its companions."""
    program = unpacked() / "usr/sbin/matchpathcon"
    found: list[str | None] = []
    for start in range(0, len(paths), 1000):
        part = paths[start : start + 1000]
        command = [program, "-n", "-f", contexts, "-m", kind, *part]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        lines = done.stdout.splitlines()
        assert len(lines) == len(part), done.stderr
        found += [None if line == "<<none>>" else line for line in lines]
    return found
