"""The files of this folder at their places below a root directory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume
from bootc.errors import FileSystemError

UNITS = PurePosixPath("usr/lib/systemd/system")
PRESETS = PurePosixPath("usr/lib/systemd/system-preset")
COMPLETIONS = {
    "bash": PurePosixPath("usr/share/bash-completion/completions/bootc"),
    "zsh": PurePosixPath("usr/share/zsh/site-functions/_bootc"),
    "fish": PurePosixPath("usr/share/fish/vendor_completions.d/bootc.fish"),
}
WANTS = {
    "bootc-finalize-staged.service": "basic.target",
    "bootc-publish.service": "multi-user.target",
    "bootc-status-updated.path": "multi-user.target",
}
"""units that every system with this program starts, and who starts them"""
DIRECTORIES = tuple(PurePosixPath("usr/lib/bootc", name) for name in ("config.d", "install", "kargs.d"))


def install(root: Path, completions: Mapping[str, str]) -> tuple[PurePosixPath, ...]:
    """Put everything below `root`; repeating it changes nothing. Answers with the paths, relative to `root`.

    `completions` holds the completion script of each shell.
    """
    if not root.is_dir():
        raise FileSystemError(str(root), "not a directory")
    volume = DirectoryVolume(root)
    contents = {**_folder("units", UNITS), **_folder("preset", PRESETS)}
    contents |= {COMPLETIONS[shell]: script.encode() for shell, script in completions.items()}
    for path, data in contents.items():
        volume.make_directories(path.parent)
        if volume.read_optional(path) != data:
            volume.replace(path, data)
    links = {UNITS / f"{target}.wants" / unit: f"../{unit}" for unit, target in WANTS.items()}
    for path, target in links.items():
        volume.make_directories(path.parent)
        if volume.read_link(path) != target:
            volume.link(target, path)
    for directory in DIRECTORIES:
        volume.make_directories(directory)
    return tuple(sorted((*contents, *links, *DIRECTORIES)))


def _folder(name: str, destination: PurePosixPath) -> dict[PurePosixPath, bytes]:
    folder: Traversable = files("bootc.system").joinpath(name)
    return {destination / file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
