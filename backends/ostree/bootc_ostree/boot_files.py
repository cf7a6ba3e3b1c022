"""Kernel and initramfs in /boot: libostree takes what lies there under the right name for what it should be."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from bootc import bootable
from bootc.durable import DirectoryVolume, explain

_FOLDERS = PurePosixPath("ostree")
_CHUNK = 1 << 20


def mend(boot: DirectoryVolume, root: Path, checksum: str | None) -> None:
    """Write anew what is not as a deployment has it, before that becomes the default. The deployments of one kernel
    share its files, so a new one would start with what a bad disk left of an older one's.

    `root` is the directory of the deployment; `checksum` is libostree's over kernel and initramfs, None if it has not
    computed it yet. Raises FileSystemError, NoSpaceError.
    """
    try:
        sources = _sources(root)
        if not sources:
            return
        name = checksum or _checksum(sources.values())
        for folder in boot.names(_FOLDERS):
            if folder.endswith(f"-{name}"):
                boot.sweep(_FOLDERS / folder)
                for file, source in sources.items():
                    _mend_one(boot, _FOLDERS / folder / file, source)
    except OSError as error:
        raise explain(error, str(error.filename or root)) from error


def _sources(root: Path) -> Mapping[str, Path]:
    """The files of a deployment by the names that libostree gives them in /boot."""
    for kernel in sorted(root.glob(f"{bootable.MODULES}/*/vmlinuz")):
        version, initramfs = kernel.parent.name, kernel.parent / "initramfs.img"
        files = {f"vmlinuz-{version}": kernel}
        return {**files, f"initramfs-{version}.img": initramfs} if initramfs.exists() else files
    return {}


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
        boot.replace(path, _chunks(source))


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")
