"""The files of this folder at their places below a root directory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError

UNITS = PurePosixPath("usr/lib/systemd/system")
PRESETS = PurePosixPath("usr/lib/systemd/system-preset")
COMPLETIONS = {
    "bash": PurePosixPath("usr/share/bash-completion/completions/bootc"),
    "zsh": PurePosixPath("usr/share/zsh/site-functions/_bootc"),
    "fish": PurePosixPath("usr/share/fish/vendor_completions.d/bootc.fish"),
}
MANAGER = PurePosixPath("usr/lib/systemd/system.conf.d")
INITRAMFS = PurePosixPath("usr/lib/bootc/initramfs")
DRACUT = PurePosixPath("usr/lib/dracut/modules.d/90bootc-root")
INITRAMFS_TOOLS = PurePosixPath("usr/share/initramfs-tools")
SCRIPTS = {
    "initramfs/mount-root": INITRAMFS / "mount-root",
    "initramfs/dracut/module-setup.sh": DRACUT / "module-setup.sh",
    "initramfs/initramfs-tools/hook": INITRAMFS_TOOLS / "hooks/bootc-root",
    "initramfs/initramfs-tools/init-bottom": INITRAMFS_TOOLS / "scripts/init-bottom/bootc-root",
}
"""what the initramfs is made of, executable"""
DROP_INS = {
    "bless-boot.conf": UNITS / "systemd-bless-boot.service.d/50-bootc.conf",
    "watchdog.conf": MANAGER / "50-bootc-watchdog.conf",
}
"""settings of systemd's own parts"""
DATA = {
    "initramfs/version": INITRAMFS / "version",
    "initramfs/dracut/bootc-emergency.service": DRACUT / "bootc-emergency.service",
    "initramfs/dracut/bootc-root.service": DRACUT / "bootc-root.service",
}
"""what else it is made of"""
WANTS = {
    "bootc-boot-completed.service": "multi-user.target",
    "bootc-boot-late.timer": "sysinit.target",
    "bootc-finalize-staged.service": "basic.target",
    "bootc-publish.service": "multi-user.target",
    "bootc-status-updated.path": "multi-user.target",
}
"""units that every system with this program starts, and who starts them"""
DIRECTORIES = tuple(PurePosixPath("usr/lib/bootc", name) for name in ("config.d", "install", "kargs.d"))


@frozen
class _File:
    content: bytes
    mode: int = 0o644


def install(root: Path, completions: Mapping[str, str]) -> tuple[PurePosixPath, ...]:
    """Put everything below `root`; repeating it changes nothing. Answers with the paths, relative to `root`.

    `completions` holds the completion script of each shell.
    """
    if not root.is_dir():
        raise FileSystemError(str(root), "not a directory")
    volume = DirectoryVolume(root)
    found = {**_folder("units", UNITS), **_folder("preset", PRESETS), **_others()}
    found |= {COMPLETIONS[shell]: _File(script.encode()) for shell, script in completions.items()}
    for path, file in found.items():
        volume.make_directories(path.parent)
        if volume.read_optional(path) != file.content or volume.path(path).stat().st_mode & 0o7777 != file.mode:
            volume.replace(path, file.content, file.mode)
    links = {UNITS / f"{target}.wants" / unit: f"../{unit}" for unit, target in WANTS.items()}
    for path, target in links.items():
        volume.make_directories(path.parent)
        if volume.read_link(path) != target:
            volume.link(target, path)
    for directory in DIRECTORIES:
        volume.make_directories(directory)
    return tuple(sorted((*found, *links, *DIRECTORIES)))


def _folder(name: str, destination: PurePosixPath) -> dict[PurePosixPath, _File]:
    folder = files("bootc.system").joinpath(name)
    return {destination / file.name: _File(file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def _others() -> dict[PurePosixPath, _File]:
    here = files("bootc.system")
    scripts = {path: _File(here.joinpath(name).read_bytes(), 0o755) for name, path in SCRIPTS.items()}
    return scripts | {path: _File(here.joinpath(name).read_bytes()) for name, path in (DATA | DROP_INS).items()}
