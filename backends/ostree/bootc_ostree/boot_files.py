"""Kernel and initramfs in /boot: libostree takes what lies there under the right name for what it should be."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume, explain

_FOLDERS = PurePosixPath("ostree")


def mend(boot: DirectoryVolume, sources: Sequence[Path], checksum: str | None) -> None:
    """Write anew what is not as a deployment has it, before that becomes the default. The deployments of one kernel
    share its files, so a new one would start with what a bad disk left of an older one's.

    `sources` are the deployment's own kernel and initramfs; `checksum` is libostree's over them, None if it has not
    computed it yet. Raises FileSystemError, NoSpaceError.
    """
    try:
        if not sources:
            return
        name = checksum or _checksum(sources)
        for folder in boot.names(_FOLDERS):
            if folder.endswith(f"-{name}"):
                boot.sweep(_FOLDERS / folder)
                for source in sources:
                    _mend_one(boot, _FOLDERS / folder / _name_in_boot(source), source)
    except OSError as error:
        raise explain(error, str(error.filename or sources[0])) from error


def _name_in_boot(source: Path) -> str:
    """As libostree names the files of `usr/lib/modules/VERSION` in /boot."""
    return f"{source.stem}-{source.parent.name}{source.suffix}"


def _checksum(files: Iterable[Path]) -> str:
    """As libostree computes it, without device trees: with them the folder is not found, and left as it is."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _mend_one(boot: DirectoryVolume, path: PurePosixPath, source: Path) -> None:
    if boot.size(path) is None:  # libostree puts it there
        return
    there = boot.path(path)
    if not there.samefile(source) and not filecmp.cmp(there, source, shallow=False):
        boot.replace_from(path, source)
